//! A call of which everything is checked: its signature by `--auth strict`, and a
//! grant with a constraint, which alone allows it.
//!
//! Source of truth: AWS, "Create a signed AWS API request" (Signature Version 4).

use std::{fs, path::Path};

use aws_lc_rs::{digest, hmac};
use kms_mock::edge::sigv4::{Scope, signing_key};
use nsm_sim::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{LoadError, calls::PLAINTEXT, client::Connection, serve_command, server::Server, text};

const KEY: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// Whose policies allow everything.
const ADMINISTRATOR: &str = "AKIAADMINISTRATOR000";
/// Who has no policy and a grant.
const GRANTEE: &str = "AKIAGRANTEE000000000";

/// A seed file that knows these two and nobody else.
pub(crate) fn seed() -> String {
    let allow = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"kms:*","Resource":"*"}}"#;
    format!(
        "[[key]]\nid = '{KEY}'\n\
         [[user]]\nname = 'administrator'\npolicies = {{ all = '{allow}' }}\n\
         access_key_id = '{ADMINISTRATOR}'\nsecret_access_key = '{SECRET}'\n\
         [[user]]\nname = 'grantee'\n\
         access_key_id = '{GRANTEE}'\nsecret_access_key = '{SECRET}'\n"
    )
}

/// A server of that seed file.
pub(super) fn server(kms_mock: &Path) -> Result<Server, LoadError> {
    let system = |source| LoadError::System {
        what: "writing the seed file",
        source,
    };
    let file = tempfile::NamedTempFile::new().map_err(system)?;
    fs::write(file.path(), seed()).map_err(system)?;
    let mut command = serve_command(kms_mock);
    command
        .args(["--auth", "strict", "--seed-file"])
        .arg(file.path());
    // The file is read before the server says where it listens.
    Ok(Server::start(&mut command)?)
}

/// An Encrypt of the grantee's, allowed by its grant. It is good for 15 minutes.
pub(crate) async fn encrypt<S>(connection: &mut Connection<S>) -> Result<Vec<u8>, LoadError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let context = json!({"patient": "7"});
    let grant = json!({
        "KeyId": KEY,
        "GranteePrincipal": "arn:aws:iam::123456789012:user/grantee",
        "Operations": ["Encrypt", "Decrypt"],
        "Constraints": {"EncryptionContextSubset": context},
    });
    let body = json!({"KeyId": KEY, "Plaintext": PLAINTEXT, "EncryptionContext": context});
    let request = request("Encrypt", &body, GRANTEE);
    if connection.ask(&request).await.is_ok() {
        return Err(LoadError::Wrong(
            "Encrypt is allowed without a grant".to_owned(),
        ));
    }
    let answer = connection
        .ask(&self::request("CreateGrant", &grant, ADMINISTRATOR))
        .await?;
    let answer = serde_json::from_slice(answer).unwrap_or(Value::Null);
    text(&answer, "/GrantId")?;
    Ok(request)
}

fn request(operation: &str, body: &Value, access_key_id: &str) -> Vec<u8> {
    const SIGNED_HEADERS: &str = "content-type;host;x-amz-date;x-amz-target";
    let body = body.to_string();
    let sha256 = |text: &str| hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    let now = SystemClock.now().to_string(); // 2026-01-01T00:00:00.000Z
    let digits = |text: &str| text.replace(['-', ':'], "");
    let date = digits(now.get(..10).unwrap_or_default());
    let time = format!("{date}T{}Z", digits(now.get(11..19).unwrap_or_default()));
    let headers = format!(
        "content-type:application/x-amz-json-1.1\nhost:localhost:4566\nx-amz-date:{time}\n\
         x-amz-target:TrentService.{operation}\n"
    );
    let canonical = format!("POST\n/\n\n{headers}\n{SIGNED_HEADERS}\n{}", sha256(&body));
    let scope = Scope {
        date: date.into(),
        region: crate::REGION.into(),
        service: "kms".into(),
    };
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256(&canonical));
    let signature = hmac::sign(&signing_key(SECRET, &scope), to_sign.as_bytes());
    format!(
        "POST / HTTP/1.1\r\n{}\
         user-agent: aws-sdk-rust/1.3.9 os/linux lang/rust/1.95.0\r\n\
         authorization: AWS4-HMAC-SHA256 Credential={access_key_id}/{scope}, \
         SignedHeaders={SIGNED_HEADERS}, Signature={}\r\n\
         content-length: {}\r\n\r\n{body}",
        headers.replace('\n', "\r\n"),
        hex(signature.as_ref()),
        body.len(),
    )
    .into_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

//! Requests a second and the server's processor time a request, in times of the
//! floor.
//!
//! At sixteen connections two cores are full, one of the server's and one of the
//! generator's; so requests a second flatter a slow server's ratio a little, and
//! processor time is the figure that a machine with more cores would show too.

use std::{path::Path, time::Duration};

use nsm_sim::{
    attestation::pki::Pki,
    clock::{Clock as _, SystemClock},
    seed::WorldSeed,
};
use serde_json::{Value, json};

use super::{
    Figures, Line, LoadError, call,
    client::{Load, Requests},
    kms_request, median, own_server, rsa_public_key, serve_command,
    server::Server,
    signed, text,
};
use crate::promises::{Limit, Promise};

/// 32 bytes, as a wrapped key has.
const PLAINTEXT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const CONNECTIONS: usize = 16;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(1000);

/// What is measured: an operation, the floor beside it, and the promises.
struct Case {
    name: &'static str,
    request: Vec<u8>,
    floor: &'static str,
    per_second_at_least: Option<f64>,
    cpu_at_most: Option<f64>,
}

pub(super) async fn measure(kms_mock: &Path, tell: &mut impl FnMut(Line)) -> Result<(), LoadError> {
    let seed = WorldSeed::from_u64(1);
    let root = tempfile::NamedTempFile::new().map_err(system)?;
    let pki = Pki::new(&seed, crate::REGION);
    std::fs::write(root.path(), pki.root_pem()).map_err(system)?;
    let mut command = serve_command(kms_mock);
    command.arg("--attestation-root").arg(root.path());
    let kms = Server::start(&mut command)?;
    for case in cases(&kms, &seed).await? {
        let floor = own_server("floor", case.floor)?;
        compare(&case, &kms, &floor, tell).await?;
    }
    let strict = signed::server(kms_mock)?;
    let case = Case {
        name: "Encrypt, signature verified, by a grant",
        request: signed::encrypt(&strict, PLAINTEXT).await?,
        floor: "plain",
        per_second_at_least: None,
        cpu_at_most: None,
    };
    compare(&case, &strict, &own_server("floor", case.floor)?, tell).await?;
    Ok(())
}

fn system(source: std::io::Error) -> LoadError {
    LoadError::System {
        what: "writing the attestation root",
        source,
    }
}

async fn cases(kms: &Server, seed: &WorldSeed) -> Result<Vec<Case>, LoadError> {
    let address = kms.address();
    let symmetric = call(address, "CreateKey", json!({})).await?;
    let symmetric = text(&symmetric, "/KeyMetadata/KeyId")?;
    let signing = json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"});
    let signing = text(
        &call(address, "CreateKey", signing).await?,
        "/KeyMetadata/KeyId",
    )?;
    let plaintext = PLAINTEXT;
    let encrypt = json!({"KeyId": symmetric, "Plaintext": plaintext});
    let blob = text(
        &call(address, "Encrypt", encrypt.clone()).await?,
        "/CiphertextBlob",
    )?;
    let digest_signing = json!({
        "KeyId": signing,
        "Message": plaintext,
        "MessageType": "DIGEST",
        "SigningAlgorithm": "ECDSA_SHA_256",
    });
    let plain = |name, body: Value| Case {
        name,
        request: kms_request(name, &body),
        floor: "plain",
        per_second_at_least: Some(0.6),
        cpu_at_most: Some(1.7),
    };
    Ok(vec![
        plain("Encrypt", encrypt),
        plain("Decrypt", json!({"CiphertextBlob": blob})),
        plain(
            "GenerateDataKey",
            json!({"KeyId": symmetric, "KeySpec": "AES_256"}),
        ),
        Case {
            per_second_at_least: Some(0.4),
            cpu_at_most: None,
            ..plain("Sign", digest_signing.clone())
        },
        // Processors differ in what a signature takes more than in all the rest.
        Case {
            floor: "signing",
            per_second_at_least: Some(0.8),
            cpu_at_most: None,
            ..plain("Sign", digest_signing)
        },
        Case {
            name: "attested Decrypt",
            floor: "attested",
            per_second_at_least: None,
            cpu_at_most: Some(1.3),
            ..attested(kms, seed, plaintext).await?
        },
    ])
}

/// A Decrypt with a document of a simulated enclave, on a key that only its
/// image may use.
async fn attested(kms: &Server, seed: &WorldSeed, plaintext: &str) -> Result<Case, LoadError> {
    let address = kms.address();
    let administrator = json!({
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
        "Action": ["kms:Describe*", "kms:Encrypt", "kms:PutKeyPolicy"],
        "Resource": "*",
    });
    let enclave = json!({
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
        "Action": "kms:Decrypt",
        "Resource": "*",
        "Condition": {"StringEqualsIgnoreCase": {
            "kms:RecipientAttestation:ImageSha384": "a0".repeat(48),
        }},
    });
    let policy = json!({"Version": "2012-10-17", "Statement": [administrator, enclave]});
    let created = call(address, "CreateKey", json!({"Policy": policy.to_string()})).await?;
    let key = text(&created, "/KeyMetadata/KeyId")?;
    let sealed = call(
        address,
        "Encrypt",
        json!({"KeyId": key, "Plaintext": plaintext}),
    )
    .await?;
    let document = crate::document(seed, 1, SystemClock.now(), &rsa_public_key());
    let body = json!({
        "CiphertextBlob": text(&sealed, "/CiphertextBlob")?,
        "Recipient": {
            "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
            "AttestationDocument": base64(&document),
        },
    });
    Ok(Case {
        name: "Decrypt",
        request: kms_request("Decrypt", &body),
        floor: "plain",
        per_second_at_least: None,
        cpu_at_most: None,
    })
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}

/// One round of one server.
struct Round {
    per_second: f64,
    cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
}

async fn compare(
    case: &Case,
    kms: &Server,
    floor: &Server,
    tell: &mut impl FnMut(Line),
) -> Result<(), LoadError> {
    let requests = Requests::one(case.request.clone());
    let mut on_kms = Load::open(kms.address(), CONNECTIONS, &requests).await?;
    let mut on_floor = Load::open(floor.address(), CONNECTIONS, &requests).await?;
    let (mut of_kms, mut of_floor) = (Vec::new(), Vec::new());
    for number in 0..ROUNDS {
        // Whoever comes first finds the caches of the other; so they take turns.
        if number % 2 == 0 {
            of_floor.push(round(floor, &mut on_floor).await?);
            of_kms.push(round(kms, &mut on_kms).await?);
        } else {
            of_kms.push(round(kms, &mut on_kms).await?);
            of_floor.push(round(floor, &mut on_floor).await?);
        }
    }
    let floor_name = match case.floor {
        "plain" => "the floor",
        _ => "the floor with its cryptography",
    };
    tell(figures(format!("{}, kms-mock", case.name), &of_kms));
    tell(figures(format!("{}, {floor_name}", case.name), &of_floor));
    let ratio = |of: fn(&Round) -> f64| {
        let rounds = of_kms.iter().zip(&of_floor);
        median(rounds.map(|(kms, floor)| of(kms) / of(floor)).collect())
    };
    if let Some(least) = case.per_second_at_least {
        tell(Line::Promise(Promise {
            what: format!("{}: requests a second, in those of {floor_name}", case.name),
            measured: ratio(|round| round.per_second),
            limit: Limit::AtLeast(least),
            unit: "x",
        }));
    }
    if let Some(most) = case.cpu_at_most {
        tell(Line::Promise(Promise {
            what: format!("{}: CPU a request, in that of {floor_name}", case.name),
            measured: ratio(|round| round.cpu_us),
            limit: Limit::AtMost(most),
            unit: "x",
        }));
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // counts far below 2^53
async fn round(server: &Server, load: &mut Load) -> Result<Round, LoadError> {
    let before = server.cpu()?;
    let driven = load.drive(ROUND).await?;
    let cpu = server.cpu()?.saturating_sub(before);
    Ok(Round {
        per_second: driven.per_second(),
        cpu_us: cpu.as_secs_f64() * 1e6 / driven.requests as f64,
        p50_us: driven.latency_us(50),
        p99_us: driven.latency_us(99),
    })
}

fn figures(what: String, rounds: &[Round]) -> Line {
    let of = |of: fn(&Round) -> f64| median(rounds.iter().map(of).collect());
    Line::Figures(Figures {
        what,
        per_second: of(|round| round.per_second),
        cpu_us: of(|round| round.cpu_us),
        p50_us: of(|round| round.p50_us),
        p99_us: of(|round| round.p99_us),
    })
}

//! The cloud of a world: kms-mock with its KMS, S3, STS and IAM on one loopback
//! port, the roles of the flow, and the two keys with their policies.
//!
//! Truth: what an administrator would do in AWS, call by call, over the wire:
//! nothing here reaches into the mock. The policies are those of the main flow
//! (ground truth: KMS §2–3): the parent's role may decrypt and generate data
//! keys only through an attested enclave with the measured PCR0 and the role's
//! PCR3; the account administers but holds no cryptographic permission. In S3 each
//! role may do to the objects of the one bucket what it needs and no more.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use aws_credential_types::Credentials;
use aws_sdk_kms::config::{
    BehaviorVersion, Region, StalledStreamProtectionConfig, retry::RetryConfig,
};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use enclave_app::{clock::SystemClock, enclave::transport::Transport};
use kms_mock::{Auth, KmsMock};
use nsm_sim::{clock::SettableClock, device::Measurements};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::json;
use tokio::net::TcpStream;

/// The Region of every world.
pub const REGION: &str = "us-east-1";
/// The account of every world.
pub const ACCOUNT: &str = "123456789012";
/// The bucket of the flow.
pub const BUCKET: &str = "imaging";
/// The alias of the key under which images arrive.
pub const INPUT_ALIAS: &str = "alias/imaging-input";
/// The alias of the key under which results leave.
pub const RESULT_ALIAS: &str = "alias/imaging-results";

/// How long KMS may take: a call takes a millisecond, a loaded machine more.
const KMS_TIMEOUT: Duration = Duration::from_secs(20);

/// The host name that the enclave's TLS insists on.
#[must_use]
pub fn kms_host() -> String {
    format!("kms.{REGION}.amazonaws.com")
}

/// Who acts in the flow, each with a role of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Uploads images: may generate data keys for input.
    Uploader,
    /// The parent instance: may do nothing without its enclave.
    Parent,
    /// Reads results: may decrypt them.
    Clinician,
}

impl Role {
    const ALL: [Self; 3] = [Self::Uploader, Self::Parent, Self::Clinician];

    /// The name of the IAM role.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uploader => "imaging-uploader",
            Self::Parent => "imaging-parent",
            Self::Clinician => "imaging-clinician",
        }
    }

    /// What the role may do with the objects of the bucket, and no more.
    #[must_use]
    pub const fn s3_permissions(self) -> &'static [&'static str] {
        match self {
            // It reads what it wrote, to sign for it.
            Self::Uploader => &["s3:GetObject", "s3:PutObject"],
            // An older result is deleted before its place is taken.
            Self::Parent => &["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            Self::Clinician => &["s3:GetObject"],
        }
    }

    /// The ARN of the IAM role.
    #[must_use]
    pub fn arn(self) -> String {
        format!("arn:aws:iam::{ACCOUNT}:role/{}", self.name())
    }
}

/// A running cloud with the flow's roles and keys.
#[derive(Debug)]
pub struct Cloud {
    mock: KmsMock,
    credentials: BTreeMap<Role, Credentials>,
    input_key_arn: String,
    result_key_arn: String,
}

impl Cloud {
    /// Starts kms-mock on a free loopback port, trusting `attestation_root_pem`.
    ///
    /// # Errors
    /// If no port is to be had or the administrator's calls fail.
    pub async fn start(attestation_root_pem: &str, clock: SettableClock) -> anyhow::Result<Self> {
        let mock = KmsMock::builder()
            .region(REGION)
            .account(ACCOUNT)
            .clock(clock)
            .attestation_root_pem(attestation_root_pem)
            .auth(Auth::Lenient) // the administrator is the account's root user
            .start()
            .await
            .context("starting the cloud")?;
        let mut cloud = Self {
            mock,
            credentials: BTreeMap::new(),
            input_key_arn: String::new(),
            result_key_arn: String::new(),
        };
        for role in Role::ALL {
            let credentials = cloud.create_role(role).await?;
            cloud.credentials.insert(role, credentials);
        }
        cloud.input_key_arn = cloud
            .create_key("Images on their way in", INPUT_ALIAS)
            .await?;
        cloud.result_key_arn = cloud
            .create_key("Results on their way out", RESULT_ALIAS)
            .await?;
        Ok(cloud)
    }

    /// The server, for its audit log and its certificate authority.
    #[must_use]
    pub fn mock(&self) -> &KmsMock {
        &self.mock
    }

    /// Where KMS, S3, STS and IAM listen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.mock.address()
    }

    /// The endpoint for S3, STS and IAM.
    #[must_use]
    pub fn url(&self) -> String {
        self.mock.url()
    }

    /// The ARN of the key under which images arrive.
    #[must_use]
    pub fn input_key_arn(&self) -> &str {
        &self.input_key_arn
    }

    /// The ARN of the key under which results leave.
    #[must_use]
    pub fn result_key_arn(&self) -> &str {
        &self.result_key_arn
    }

    /// Temporary credentials of `role`, from STS AssumeRole.
    ///
    /// # Panics
    /// Never: every role has credentials once the cloud has started.
    #[must_use]
    pub fn credentials(&self, role: Role) -> Credentials {
        self.credentials
            .get(&role)
            .cloned()
            .expect("every role was assumed at the start")
    }

    /// A KMS client of `role`, TLS to the mock under KMS's real host name.
    ///
    /// # Errors
    /// If the mock's certificate authority is not a certificate.
    pub fn kms(&self, role: Role) -> anyhow::Result<aws_sdk_kms::Client> {
        self.kms_as(self.credentials(role))
    }

    /// A KMS client of the account's administrator.
    ///
    /// # Errors
    /// If the mock's certificate authority is not a certificate.
    pub fn kms_admin(&self) -> anyhow::Result<aws_sdk_kms::Client> {
        self.kms_as(administrator())
    }

    /// The same connector that the enclave uses, dialling TCP instead of vsock.
    fn kms_as(&self, credentials: Credentials) -> anyhow::Result<aws_sdk_kms::Client> {
        let address = self.address();
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.mock.ca_pem().as_bytes()) {
            roots.add(root.context("the cloud's certificate authority")?)?;
        }
        let transport = Transport::new(
            move || TcpStream::connect(address),
            ServerName::try_from(kms_host())?,
            roots,
            Arc::new(SystemClock),
            KMS_TIMEOUT,
        )?;
        let config = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(REGION))
            .endpoint_url(format!("https://{}", kms_host()))
            .credentials_provider(credentials)
            .http_client(transport)
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        Ok(aws_sdk_kms::Client::from_conf(config))
    }

    /// Binds both keys to one enclave: its image, and the parent's role.
    ///
    /// # Errors
    /// If KMS refuses a policy.
    pub async fn bind_keys(&self, image: &Measurements, parent_pcr3: &[u8]) -> anyhow::Result<()> {
        let attested = json!({ "StringEqualsIgnoreCase": {
            "kms:RecipientAttestation:ImageSha384": hex::encode(image.pcr0),
            "kms:RecipientAttestation:PCR3": hex::encode(parent_pcr3),
        }});
        let input = policy(&[
            statement(
                "Uploads",
                Role::Uploader,
                "kms:GenerateDataKey",
                &json!({
                    "StringEquals": { "kms:EncryptionContext:purpose": "inference-input" }
                }),
            ),
            statement(
                "OnlyTheMeasuredEnclaveDecrypts",
                Role::Parent,
                "kms:Decrypt",
                &attested,
            ),
        ]);
        let result = policy(&[
            statement(
                "OnlyTheMeasuredEnclaveWrites",
                Role::Parent,
                "kms:GenerateDataKey",
                &attested,
            ),
            statement(
                "Reads",
                Role::Clinician,
                "kms:Decrypt",
                &json!({
                    "StringEquals": { "kms:EncryptionContext:purpose": "inference-result" }
                }),
            ),
        ]);
        let admin = self.kms_admin()?;
        for (key, policy) in [(&self.input_key_arn, input), (&self.result_key_arn, result)] {
            admin
                .put_key_policy()
                .key_id(key)
                .policy(policy)
                .send()
                .await
                .with_context(|| format!("putting the policy of {key}"))?;
        }
        Ok(())
    }

    /// Rotates the input key: what was encrypted before is under older material.
    ///
    /// # Errors
    /// If KMS refuses.
    pub async fn rotate_input_key(&self) -> anyhow::Result<()> {
        self.kms_admin()?
            .rotate_key_on_demand()
            .key_id(&self.input_key_arn)
            .send()
            .await
            .context("rotating the input key")?;
        Ok(())
    }

    async fn create_key(&self, description: &str, alias: &str) -> anyhow::Result<String> {
        let admin = self.kms_admin()?;
        let key = admin
            .create_key()
            .description(description)
            .send()
            .await
            .context("creating a key")?
            .key_metadata
            .and_then(|metadata| metadata.arn)
            .ok_or_else(|| anyhow!("CreateKey answered no ARN"))?;
        admin
            .create_alias()
            .alias_name(alias)
            .target_key_id(&key)
            .send()
            .await
            .with_context(|| format!("creating {alias}"))?;
        Ok(key)
    }

    async fn create_role(&self, role: Role) -> anyhow::Result<Credentials> {
        let trust = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") },
                "Action": "sts:AssumeRole"
            }]
        });
        let trust = trust.to_string();
        self.query(
            "iam",
            &[
                ("Action", "CreateRole"),
                ("Version", "2010-05-08"),
                ("RoleName", role.name()),
                ("AssumeRolePolicyDocument", &trust),
            ],
        )
        .await?;
        self.allow_s3(role, role.s3_permissions()).await?;
        let arn = role.arn();
        let answer = self
            .query(
                "sts",
                &[
                    ("Action", "AssumeRole"),
                    ("Version", "2011-06-15"),
                    ("RoleArn", &arn),
                    ("RoleSessionName", "drydock"),
                ],
            )
            .await?;
        let member = |name: &str| {
            element(&answer, name)
                .ok_or_else(|| anyhow!("AssumeRole for {arn} answered no {name}: {answer}"))
        };
        Ok(Credentials::from_keys(
            member("AccessKeyId")?,
            member("SecretAccessKey")?,
            Some(member("SessionToken")?),
        ))
    }

    /// Gives a role these permissions on the objects of the bucket, in place of those
    /// that it has.
    ///
    /// # Errors
    /// If IAM refuses.
    pub async fn allow_s3(&self, role: Role, permissions: &[&str]) -> anyhow::Result<()> {
        let statements: Vec<_> = permissions
            .iter()
            .map(|permission| {
                json!({
                    "Effect": "Allow",
                    "Action": permission,
                    "Resource": format!("arn:aws:s3:::{BUCKET}/*"),
                })
            })
            .collect();
        let document = json!({ "Version": "2012-10-17", "Statement": statements });
        self.query(
            "iam",
            &[
                ("Action", "PutRolePolicy"),
                ("Version", "2010-05-08"),
                ("RoleName", role.name()),
                ("PolicyName", "objects"),
                ("PolicyDocument", &document.to_string()),
            ],
        )
        .await?;
        Ok(())
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// If S3 refuses.
    pub async fn create_bucket(&self, bucket: &str) -> anyhow::Result<()> {
        let url = format!("{}/{bucket}", self.url());
        let request = http::Request::put(url).header("x-amz-content-sha256", EMPTY_SHA256);
        self.signed("s3", request, String::new()).await?;
        Ok(())
    }

    /// One call of the query protocol that IAM and STS speak.
    async fn query(&self, service: &str, form: &[(&str, &str)]) -> anyhow::Result<String> {
        let request = http::Request::post(self.url())
            .header("content-type", "application/x-www-form-urlencoded");
        self.signed(service, request, url_encoded(form)).await
    }

    /// One call of the administrator, signed.
    async fn signed(
        &self,
        service: &str,
        request: http::request::Builder,
        body: String,
    ) -> anyhow::Result<String> {
        let mut request = request.body(body)?;
        let identity = administrator().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name(service)
            .time(now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let headers: Vec<(String, String)> = request
            .headers()
            .iter()
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
            .collect();
        let url = request.uri().to_string();
        let signable = SignableRequest::new(
            request.method().as_str(),
            &url,
            headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
            SignableBody::Bytes(request.body().as_bytes()),
        )?;
        let (instructions, _) = sign(signable, &params)?.into_parts();
        instructions.apply_to_request_http1x(&mut request);
        let answer = plain_http()?
            .execute(reqwest::Request::try_from(request)?)
            .await?;
        let status = answer.status();
        let text = answer.text().await?;
        anyhow::ensure!(status.is_success(), "{service} answered {status}: {text}");
        Ok(text)
    }
}

/// SHA-256 of nothing.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What the parent's role makes of PCR3 (ground truth: NSM §3.12).
#[must_use]
pub fn parent_pcr3() -> [u8; 48] {
    use aws_lc_rs::digest;
    let mut hash = digest::Context::new(&digest::SHA384);
    hash.update(&[0; 48]);
    hash.update(Role::Parent.arn().as_bytes());
    let mut pcr3 = [0; 48];
    pcr3.copy_from_slice(hash.finish().as_ref());
    pcr3
}

/// A client that talks to loopback only and never through a proxy.
fn plain_http() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().no_proxy().build()?)
}

/// In the lenient mode of the mock a 12-digit access key id is the root user of
/// that account.
fn administrator() -> Credentials {
    Credentials::from_keys(ACCOUNT, "administrator", None)
}

fn statement(
    sid: &str,
    role: Role,
    action: &str,
    condition: &serde_json::Value,
) -> serde_json::Value {
    json!({
        "Sid": sid,
        "Effect": "Allow",
        "Principal": { "AWS": role.arn() },
        "Action": action,
        "Resource": "*",
        "Condition": condition,
    })
}

/// A key policy: the account administers but cannot use the key, and `uses`.
fn policy(uses: &[serde_json::Value]) -> String {
    let mut statements = vec![json!({
        "Sid": "TheAccountAdministersButCannotUse",
        "Effect": "Allow",
        "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") },
        "Action": [
            "kms:Describe*", "kms:List*", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus",
            "kms:PutKeyPolicy", "kms:Enable*", "kms:Disable*", "kms:RotateKeyOnDemand",
            "kms:CreateAlias", "kms:UpdateAlias", "kms:DeleteAlias", "kms:TagResource",
            "kms:UntagResource", "kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion"
        ],
        "Resource": "*",
    })];
    statements.extend_from_slice(uses);
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

/// The text of the first element `name`: enough for the flat answers of STS.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.to_owned())
}

fn url_encoded(form: &[(&str, &str)]) -> String {
    let mut url = reqwest::Url::parse("http://localhost/").expect("a constant URL");
    url.query_pairs_mut().extend_pairs(form);
    url.query().unwrap_or_default().to_owned()
}

fn now() -> std::time::SystemTime {
    use nsm_sim::clock::{Clock as _, SystemClock};
    std::time::UNIX_EPOCH + Duration::from_millis(SystemClock.now().0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_found_in_an_answer_and_a_missing_one_is_not() {
        let answer = "<A><AccessKeyId>ASIA1</AccessKeyId><B/></A>";
        assert_eq!(element(answer, "AccessKeyId").as_deref(), Some("ASIA1"));
        assert_eq!(element(answer, "SessionToken"), None);
    }

    #[test]
    fn the_account_cannot_use_the_keys_it_administers() {
        let policy = policy(&[]);
        for action in [
            "kms:*",
            "Decrypt",
            "GenerateDataKey",
            "ReEncrypt",
            "CreateGrant",
        ] {
            assert!(!policy.contains(action), "{action} in {policy}");
        }
    }
}

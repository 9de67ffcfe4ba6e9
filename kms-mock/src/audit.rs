//! The log of calls: who called what on which key, how it ended, and every
//! decision that led there.
//!
//! Source of truth: AWS KMS developer guide, "Logging AWS KMS API calls with AWS
//! CloudTrail"; ground truth KMS §2 (`additionalEventData.recipient`: present
//! after an attested success, absent after a denial; registers in base64).
//!
//! Does not model delivery, digests and insights. The log is bounded: the oldest
//! records go first.

use std::{
    borrow::Cow,
    cell::RefCell,
    fs::File,
    io::Write,
    net::IpAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use nsm_sim::clock::UnixMillis;
use serde_json::{Value, json};

use crate::{
    policy::{Decision, EncryptionContext},
    principal::Principal,
    recipient::VerifiedDocument,
    ring::Ring,
};

/// Records kept: enough for any test, some tens of megabytes at most.
pub const RECORDS_MAX: usize = 10_000;

/// What became of one call.
#[derive(Debug)]
pub struct AuditRecord {
    /// As answered in `x-amzn-RequestId`.
    pub request_id: String,
    /// When the call was made.
    pub time: UnixMillis,
    /// The operation as the caller named it, cut to 64 characters.
    pub operation: Cow<'static, str>,
    /// The caller's ARN.
    pub principal_arn: Arc<str>,
    /// The first key that the call was about, once it was found.
    pub key_arn: Option<Arc<str>>,
    /// Whether the call carried a document that was verified.
    pub attested: bool,
    /// The exception's name; `None` after a success.
    pub error_code: Option<String>,
    /// AWS's message, when it has one.
    pub error_message: Option<String>,
    /// What AWS would not tell.
    pub reason: Option<String>,
    /// Every decision of the call, in order; two for `ReEncrypt`.
    pub decisions: Vec<Decision>,
    /// The faults that were injected into the call, in their text form.
    pub faults: Vec<String>,
    pub(crate) details: Details,
}

/// Texts that most records of a thread have in common. Each record holds a
/// reference: a log of thousands would else be mostly copies of them.
pub(crate) struct Common {
    principal: Arc<Principal>,
    principal_arn: Arc<str>,
    region: Arc<str>,
    user_agent: Arc<str>,
}

thread_local! {
    static COMMON: RefCell<Option<Common>> = const { RefCell::new(None) };
}

impl Common {
    /// Gives `take` the texts of this call, those of the last one where they
    /// are the same.
    pub(crate) fn with<T>(
        principal: &Principal,
        region: &str,
        user_agent: &str,
        take: impl FnOnce(&Self) -> T,
    ) -> T {
        COMMON.with_borrow_mut(|last| {
            let common = last.get_or_insert_with(|| Self {
                principal: Arc::new(principal.clone()),
                principal_arn: principal.arn().into(),
                region: region.into(),
                user_agent: user_agent.into(),
            });
            if *common.principal != *principal {
                common.principal = Arc::new(principal.clone());
                common.principal_arn = principal.arn().into();
            }
            for (known, text) in [
                (&mut common.region, region),
                (&mut common.user_agent, user_agent),
            ] {
                if **known != *text {
                    *known = text.into();
                }
            }
            take(common)
        })
    }

    pub(crate) fn principal(&self) -> Arc<Principal> {
        Arc::clone(&self.principal)
    }

    pub(crate) fn principal_arn(&self) -> Arc<str> {
        Arc::clone(&self.principal_arn)
    }

    pub(crate) fn region(&self) -> Arc<str> {
        Arc::clone(&self.region)
    }

    pub(crate) fn user_agent(&self) -> Arc<str> {
        Arc::clone(&self.user_agent)
    }
}

/// What else the event of CloudTrail's shape needs.
#[derive(Debug)]
pub(crate) struct Details {
    pub(crate) principal: Arc<Principal>,
    pub(crate) region: Arc<str>,
    pub(crate) user_agent: Arc<str>,
    pub(crate) source_ip: Option<IpAddr>,
    pub(crate) read_only: bool,
    pub(crate) document: Option<VerifiedDocument>,
    pub(crate) encryption_context: Option<EncryptionContext>,
}

impl AuditRecord {
    /// The record in the shape of a CloudTrail event.
    #[must_use]
    pub fn event(&self) -> Value {
        let details = &self.details;
        let account = details.principal.account();
        let mut event = json!({
            "eventVersion": "1.11",
            "userIdentity": self.user_identity(),
            "eventTime": self.time.to_string(),
            "eventSource": "kms.amazonaws.com",
            "eventName": self.operation,
            "awsRegion": &*details.region,
            "sourceIPAddress": details.source_ip.map(|ip| ip.to_string()),
            "userAgent": &*details.user_agent,
            "requestParameters": {
                "encryptionContext": details.encryption_context,
                "keyId": self.key_arn.as_deref(),
            },
            "responseElements": null,
            "requestID": self.request_id,
            "eventID": self.request_id,
            "readOnly": details.read_only,
            "resources": self.key_arn.iter().map(|arn| json!({
                "accountId": crate::keys::arn::account_of(arn),
                "type": "AWS::KMS::Key",
                "ARN": &**arn,
            })).collect::<Vec<_>>(),
            "eventType": "AwsApiCall",
            "managementEvent": true,
            "recipientAccountId": account,
            "eventCategory": "Management",
        });
        let Some(members) = event.as_object_mut() else {
            return event;
        };
        if let Some(code) = &self.error_code {
            let code = code
                .strip_suffix("Exception")
                .filter(|c| *c == "AccessDenied")
                .unwrap_or(code);
            members.insert("errorCode".to_owned(), code.into());
            members.insert("errorMessage".to_owned(), self.error_message.clone().into());
        } else if let Some(document) = &details.document {
            let additional = json!({ "recipient": recipient(document) });
            members.insert("additionalEventData".to_owned(), additional);
        }
        // Not CloudTrail's: what only an emulator can tell.
        if self.reason.is_some() || !self.faults.is_empty() {
            let own = json!({ "reason": self.reason, "faults": self.faults });
            members.insert("drydock".to_owned(), own);
        }
        event
    }

    fn user_identity(&self) -> Value {
        let principal = &self.details.principal;
        let account = principal.account();
        let arn = &*self.principal_arn;
        match &**principal {
            Principal::Root { .. } => json!({
                "type": "Root", "arn": arn, "accountId": account,
            }),
            Principal::User { path_name, .. } => json!({
                "type": "IAMUser", "arn": arn, "accountId": account,
                "userName": crate::principal::name_of(path_name),
            }),
            Principal::AssumedRole { role_path_name, .. } => json!({
                "type": "AssumedRole", "arn": arn, "accountId": account,
                "sessionContext": { "sessionIssuer": {
                    "type": "Role", "arn": principal.role_arn(), "accountId": account,
                    "userName": crate::principal::name_of(role_path_name),
                } },
            }),
            Principal::FederatedUser { name, by, .. } => json!({
                "type": "FederatedUser", "arn": arn, "accountId": account,
                "principalId": format!("{account}:{name}"),
                "sessionContext": { "sessionIssuer": match by {
                    Some(path_name) => json!({
                        "type": "IAMUser", "accountId": account,
                        "arn": format!("arn:aws:iam::{account}:user/{path_name}"),
                        "userName": crate::principal::name_of(path_name),
                    }),
                    None => json!({
                        "type": "Root", "accountId": account,
                        "arn": format!("arn:aws:iam::{account}:root"),
                    }),
                } },
            }),
        }
    }

    /// The record for `explain`: how the call ended, with every decision.
    #[must_use]
    pub fn explanation(&self) -> Value {
        json!({
            "requestId": self.request_id,
            "time": self.time.to_string(),
            "operation": self.operation,
            "principal": &*self.principal_arn,
            "key": self.key_arn.as_deref(),
            "attested": self.attested,
            "document": self.details.document.as_ref().map(|document| json!({
                "moduleId": document.module_id,
                "timestamp": document.timestamp.to_string(),
                "nitroTpm": document.nitrotpm,
                "pcrs": document.pcrs.iter()
                    .map(|(index, value)| (index.to_string(), Value::from(hex::encode(value))))
                    .collect::<serde_json::Map<_, _>>(),
            })),
            "errorCode": self.error_code,
            "errorMessage": self.error_message,
            "reason": self.reason,
            "faults": self.faults,
            "decisions": self.decisions.iter().map(Decision::to_json).collect::<Vec<_>>(),
        })
    }
}

fn recipient(document: &VerifiedDocument) -> Value {
    let mut recipient = serde_json::Map::new();
    recipient.insert(
        "attestationDocumentModuleId".to_owned(),
        document.module_id.as_str().into(),
    );
    for (index, name) in [
        (0, "attestationDocumentEnclaveImageDigest"),
        (1, "attestationDocumentEnclavePCR1"),
        (2, "attestationDocumentEnclavePCR2"),
        (3, "attestationDocumentEnclavePCR3"),
        (4, "attestationDocumentEnclavePCR4"),
        (8, "attestationDocumentEnclavePCR8"),
    ] {
        if let Some(value) = document.pcrs.get(&index) {
            recipient.insert(name.to_owned(), BASE64.encode(value).into());
        }
    }
    Value::Object(recipient)
}

/// The last [`RECORDS_MAX`] calls.
#[derive(Debug)]
pub struct AuditLog {
    records: Ring<Arc<AuditRecord>>,
    /// Where events are written too, one line each.
    file: OnceLock<Mutex<File>>,
}

impl Default for AuditLog {
    fn default() -> Self {
        Self {
            records: Ring::new(RECORDS_MAX),
            file: OnceLock::new(),
        }
    }
}

impl AuditLog {
    /// Writes the event of every further call to `file`, as one line of JSON.
    pub(crate) fn write_to(&self, file: File) {
        let _ = self.file.set(Mutex::new(file));
    }

    fn write(&self, record: &AuditRecord) {
        let Some(file) = self.file.get() else {
            return;
        };
        let line = format!("{}\n", record.event());
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // One write a line: whoever follows the file never sees half of one.
        if let Err(error) = file.write_all(line.as_bytes()) {
            tracing::error!(%error, "writing the audit log");
        }
    }

    pub(crate) fn push(&self, record: AuditRecord) {
        self.write(&record);
        self.records.push(Arc::new(record));
    }

    /// All records kept, oldest first.
    #[must_use]
    pub fn records(&self) -> Vec<Arc<AuditRecord>> {
        self.records.entries()
    }

    /// The last record of a request.
    #[must_use]
    pub fn find(&self, request_id: &str) -> Option<Arc<AuditRecord>> {
        self.records
            .find_last(|record| record.request_id == request_id)
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.records.clear();
    }
}

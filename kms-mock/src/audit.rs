//! The log of calls to KMS and S3: who called what on which key or object, how it ended, and every
//! decision that led there.
//!
//! Source of truth: AWS KMS developer guide, "Logging AWS KMS API calls with AWS
//! CloudTrail"; Amazon S3 user guide, "Amazon S3 CloudTrail events"; ground truth KMS §2 (`additionalEventData.recipient`: present
//! after an attested success, absent after a denial; registers in base64).
//!
//! Does not model delivery, digests and insights. The log is bounded: the oldest
//! records go first.

use std::{
    borrow::Cow,
    fs::File,
    io::Write,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use nsm_sim::clock::UnixMillis;
use serde_json::{Value, json};
use smallvec::SmallVec;

use crate::{
    policy::{Caller, Decision, EncryptionContext},
    recipient::VerifiedDocument,
    threads::ring::Ring,
    world::{principal::Principal, request_id::RequestId},
};

/// Records kept: enough for any test, some tens of megabytes at most.
pub const RECORDS_MAX: usize = 10_000;

/// What became of one call.
#[derive(Debug)]
pub struct AuditRecord {
    /// As answered in `x-amzn-RequestId`.
    pub request_id: RequestId,
    /// When the call was made.
    pub time: UnixMillis,
    /// The operation as the caller named it, cut to 64 characters.
    pub operation: Cow<'static, str>,
    /// The first key that the call was about, once it was found.
    pub key_arn: Option<Arc<str>>,
    /// Whether the call carried a document that was verified.
    pub attested: bool,
    /// Every decision of the call, in order; two for `ReEncrypt`.
    pub decisions: SmallVec<[Decision; 1]>,
    pub(crate) number: u64,
    pub(crate) rare: Option<Box<Rare>>,
    pub(crate) details: Details,
}

/// What the record of a plain success leaves out. Records are many and their size
/// counts: each call touches memory that was last touched ten thousand calls ago.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    error_code: Option<Cow<'static, str>>,
    error_message: Option<String>,
    reason: Option<String>,
    faults: Vec<String>,
    document: Option<VerifiedDocument>,
}

impl Rare {
    /// `None` if there is nothing to keep.
    pub(crate) fn of(
        error_code: Option<Cow<'static, str>>,
        error_message: Option<String>,
        reason: Option<&str>,
        document: Option<VerifiedDocument>,
    ) -> Option<Box<Self>> {
        if error_code.is_none() && reason.is_none() && document.is_none() {
            return None;
        }
        Some(Box::new(Self {
            error_code,
            error_message,
            reason: reason.map(str::to_owned),
            faults: Vec::new(),
            document,
        }))
    }
}

/// What else the event of CloudTrail's shape needs.
#[derive(Debug)]
pub(crate) struct Details {
    pub(crate) caller: Arc<Caller>,
    pub(crate) texts: Texts,
    pub(crate) read_only: bool,
    pub(crate) encryption_context: Option<EncryptionContext>,
    /// What a request to S3 was about; `None` of a call to KMS.
    pub(crate) object: Option<Box<Object>>,
}

/// A bucket, or an object in it.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) bucket: Option<String>,
    pub(crate) key: Option<String>,
}

impl Object {
    /// The ARN of the bucket or object; `None` of a request about all buckets.
    fn arn(&self) -> Option<String> {
        let bucket = self.bucket.as_ref()?;
        Some(match &self.key {
            Some(key) => format!("arn:aws:s3:::{bucket}/{key}"),
            None => format!("arn:aws:s3:::{bucket}"),
        })
    }

    /// As CloudTrail lists it.
    fn resources(&self) -> Vec<Value> {
        let bucket = self.bucket.iter().map(
            |bucket| json!({ "type": "AWS::S3::Bucket", "ARN": format!("arn:aws:s3:::{bucket}") }),
        );
        let object = self.key.iter().filter_map(|_| self.arn());
        let object = object.map(|arn| json!({ "type": "AWS::S3::Object", "ARN": arn }));
        object.chain(bucket).collect()
    }
}

/// The Region and the user agent of a call, in one piece of memory.
#[derive(Debug)]
pub(crate) struct Texts {
    both: String,
    region_bytes: usize,
}

impl Texts {
    pub(crate) fn new(region: &str, user_agent: &str) -> Self {
        let mut both = String::with_capacity(region.len() + user_agent.len());
        both.push_str(region);
        both.push_str(user_agent);
        Self {
            both,
            region_bytes: region.len(),
        }
    }

    /// Region and user agent.
    fn parts(&self) -> (&str, &str) {
        self.both.split_at(self.region_bytes)
    }
}

impl AuditRecord {
    /// The caller's ARN.
    #[must_use]
    pub fn principal_arn(&self) -> String {
        self.details.caller.principal.arn()
    }

    /// `kms` or `s3`.
    #[must_use]
    pub fn service(&self) -> &'static str {
        match self.details.object {
            None => "kms",
            Some(_) => "s3",
        }
    }

    /// The exception's name; `None` after a success.
    #[must_use]
    pub fn error_code(&self) -> Option<&str> {
        self.rare.as_ref()?.error_code.as_deref()
    }

    /// AWS's message, when it has one.
    #[must_use]
    pub fn error_message(&self) -> Option<&str> {
        self.rare.as_ref()?.error_message.as_deref()
    }

    /// The cause that AWS would not name.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.rare.as_ref()?.reason.as_deref()
    }

    /// The faults that were injected into the call, in their text form.
    #[must_use]
    pub fn faults(&self) -> &[String] {
        self.rare.as_ref().map_or(&[], |rare| &rare.faults)
    }

    fn document(&self) -> Option<&VerifiedDocument> {
        self.rare.as_ref()?.document.as_ref()
    }

    /// Notes what was injected, and the reason as it was answered. Only before the
    /// record is in the log, where others have it too.
    pub(crate) fn note_faults(self: &mut Arc<Self>, reason: Option<String>, faults: Vec<String>) {
        if let Some(record) = Arc::get_mut(self) {
            let rare = record.rare.get_or_insert_default();
            rare.reason = reason;
            rare.faults = faults;
        }
    }

    /// The record in the shape of a CloudTrail event.
    #[must_use]
    pub fn event(&self) -> Value {
        let details = &self.details;
        let caller = &details.caller;
        let account = caller.principal.account();
        let (region, user_agent) = details.texts.parts();
        let mut event = json!({
            "eventVersion": "1.11",
            "userIdentity": self.user_identity(),
            "eventTime": self.time.to_string(),
            "eventSource": "kms.amazonaws.com",
            "eventName": self.operation,
            "awsRegion": region,
            "sourceIPAddress": caller.source_ip.map(|ip| ip.to_string()),
            "userAgent": user_agent,
            "requestParameters": {
                "encryptionContext": details.encryption_context,
                "keyId": self.key_arn.as_deref(),
            },
            "responseElements": null,
            "requestID": self.request_id.as_str(),
            "eventID": self.request_id.as_str(),
            "readOnly": details.read_only,
            "resources": self.key_arn.iter().map(|arn| json!({
                "accountId": crate::world::arn::account_of(arn),
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
        if let Some(object) = &details.object {
            let on_object = object.key.is_some();
            members.insert("eventSource".to_owned(), "s3.amazonaws.com".into());
            let parameters = json!({ "bucketName": object.bucket, "key": object.key });
            members.insert("requestParameters".to_owned(), parameters);
            members.insert("resources".to_owned(), object.resources().into());
            members.insert("managementEvent".to_owned(), (!on_object).into());
            let category = if on_object { "Data" } else { "Management" };
            members.insert("eventCategory".to_owned(), category.into());
        }
        if let Some(code) = self.error_code() {
            let code = code
                .strip_suffix("Exception")
                .filter(|c| *c == "AccessDenied")
                .unwrap_or(code);
            members.insert("errorCode".to_owned(), code.into());
            members.insert("errorMessage".to_owned(), self.error_message().into());
        } else if let Some(document) = self.document() {
            let additional = json!({ "recipient": recipient(document) });
            members.insert("additionalEventData".to_owned(), additional);
        }
        // Not CloudTrail's: what only an emulator knows.
        if self.reason().is_some() || !self.faults().is_empty() {
            let own = json!({ "reason": self.reason(), "faults": self.faults() });
            members.insert("drydock".to_owned(), own);
        }
        event
    }

    fn user_identity(&self) -> Value {
        let principal = &self.details.caller.principal;
        let account = principal.account();
        let arn = self.principal_arn();
        match principal {
            Principal::Anonymous => json!({
                "type": "AWSAccount", "principalId": "", "accountId": account,
            }),
            Principal::Root { .. } => json!({
                "type": "Root", "arn": arn, "accountId": account,
            }),
            Principal::User { path_name, .. } => json!({
                "type": "IAMUser", "arn": arn, "accountId": account,
                "userName": crate::world::principal::name_of(path_name),
            }),
            Principal::AssumedRole { role_path_name, .. } => json!({
                "type": "AssumedRole", "arn": arn, "accountId": account,
                "sessionContext": { "sessionIssuer": {
                    "type": "Role", "arn": principal.role_arn(), "accountId": account,
                    "userName": crate::world::principal::name_of(role_path_name),
                } },
            }),
            Principal::FederatedUser { name, by, .. } => json!({
                "type": "FederatedUser", "arn": arn, "accountId": account,
                "principalId": format!("{account}:{name}"),
                "sessionContext": { "sessionIssuer": match by {
                    Some(path_name) => json!({
                        "type": "IAMUser", "accountId": account,
                        "arn": format!("arn:aws:iam::{account}:user/{path_name}"),
                        "userName": crate::world::principal::name_of(path_name),
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
            "requestId": self.request_id.as_str(),
            "time": self.time.to_string(),
            "operation": self.operation,
            "principal": self.principal_arn(),
            "key": self.key_arn.as_deref(),
            "resource": self.details.object.as_ref().and_then(|it| it.arn()),
            "attested": self.attested,
            "document": self.document().map(|document| json!({
                "moduleId": document.module_id,
                "timestamp": document.timestamp.to_string(),
                "nitroTpm": document.nitrotpm,
                "pcrs": document.pcrs.iter()
                    .map(|(index, value)| (index.to_string(), Value::from(hex::encode(value))))
                    .collect::<serde_json::Map<_, _>>(),
            })),
            "errorCode": self.error_code(),
            "errorMessage": self.error_message(),
            "reason": self.reason(),
            "faults": self.faults(),
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
        // One write a line, so that a reader who follows the file never sees half of one.
        if let Err(error) = file.write_all(line.as_bytes()) {
            tracing::error!(%error, "writing the audit log");
        }
    }

    /// The number of the next call.
    pub(crate) fn number(&self) -> u64 {
        self.records.number()
    }

    pub(crate) fn push(&self, record: Arc<AuditRecord>) {
        self.write(&record);
        self.records.push(record.number, record);
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
            .find_last(|record| *record.request_id == *request_id)
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.records.clear();
    }
}

//! Who may do what: the place where every request passes, before it changes or
//! shows anything.
//!
//! Source of truth: Amazon S3 user guide, "How Amazon S3 authorizes a request",
//! "Required permissions for Amazon S3 API operations", "Troubleshoot access denied (403
//! Forbidden) errors" (the texts), "Blocking public access to your Amazon S3 storage" and
//! "Verifying bucket ownership with bucket owner condition". Which permissions an
//! operation needs says the table of operations, who has them the one evaluator of
//! policies; nothing is decided here but what S3 alone knows: a bucket's policy and
//! access list, what of them is blocked, and that a missing key is shown only to who may
//! list.
//!
//! A canned access list counts as the policy that gives the same, where the bucket has
//! access lists at all. Of two accounts that are not the same AWS says nothing but
//! "Access Denied"; which organization they belong to is not modelled.
//!
//! Unknown and chosen: that a bucket which does not exist is said to be missing to
//! everybody, as AWS says it to callers without credentials.

use std::{
    any::Any,
    borrow::Cow,
    sync::{Arc, LazyLock},
};

use http::{HeaderMap, request::Parts};
use nsm_sim::clock::UnixMillis;
use s3s::{S3Error, S3Result, dto, s3_error};

use super::{
    errors::fault,
    request::bucket_of,
    sent::{Asked, Sent},
    store::{Access, Store},
    values::{
        access::CannedAcl,
        tags::{Tagged, Tags},
    },
};
use crate::{
    model::s3_operation::{Need, On, S3Operation, When},
    policy::{
        Decision, Denial, Facts, Outcome, Policy, PolicyKind, Request, Resource, S3Facts, decide,
    },
    wire::uri::uri_decode,
    world::principal::Principal,
};

/// The answer of an operation to a caller who may call it. Its input has been read, the
/// store has not been changed.
pub(super) fn authorized<I: 'static, T>(
    store: &Store,
    sent: Sent,
    input: I,
    operate: impl FnOnce(I, Sent) -> S3Result<T>,
) -> S3Result<T> {
    let asked = sent.asked();
    let body = Body::of(&asked, &input);
    let request = Asking {
        asked: &asked,
        body: &body,
    };
    let answer = request.check(store).and_then(|()| operate(input, sent));
    let answer = answer.map_err(|error| request.shown(store, error));
    let mut trail = asked.trail();
    trail.operation = Some((asked.operation.name(), asked.operation.row().is_read_only));
    let named = |text: &String| Some(text.clone()).filter(|it| !it.is_empty());
    (trail.bucket, trail.key) = (named(&asked.bucket), named(&asked.key));
    trail.error = answer.as_ref().err().map(|error| {
        let message = error.message().map(str::to_owned);
        (error.code().as_str().to_owned(), message)
    });
    drop(trail);
    answer
}

/// Lets an operation on many objects go on with this one, or refuses it.
pub(super) fn check_each(
    store: &Store,
    asked: &Asked,
    key: &str,
    version_id: Option<&str>,
) -> S3Result<()> {
    let body = Body::default();
    let request = Asking { asked, body: &body };
    for need in asked.operation.row().needs {
        if need.on == On::EachObject && request.is_needed(store, need) {
            request.ask(store, need, Target::Object(&asked.bucket, key, version_id))?;
        }
    }
    Ok(())
}

/// What a permission is wanted for.
#[derive(Clone, Copy, Debug)]
enum Target<'a> {
    Account,
    NewBucket,
    Bucket(&'a str),
    /// Bucket, key and version.
    Object(&'a str, &'a str, Option<&'a str>),
}

/// The source of a copy.
#[derive(Debug)]
struct Source {
    bucket: String,
    key: String,
    version_id: Option<String>,
}

/// What policies read of a request beside its headers and its query.
#[derive(Debug, Default)]
struct Body {
    source: Option<Source>,
    tags: Tags,
    lock_mode: Option<String>,
    lock_until: Option<UnixMillis>,
    legal_hold: Option<String>,
    location: Option<String>,
}

impl Body {
    fn of(asked: &Asked, input: &dyn Any) -> Self {
        let header = |name: &str| text(&asked.headers, name).map(str::to_owned);
        let mut body = Self {
            lock_mode: header("x-amz-object-lock-mode"),
            legal_hold: header("x-amz-object-lock-legal-hold"),
            ..Self::default()
        };
        if let Some(until) = header("x-amz-object-lock-retain-until-date") {
            let until = dto::Timestamp::parse(dto::TimestampFormat::DateTime, &until);
            body.lock_until = until.ok().as_ref().and_then(millis);
        }
        if let Some(tags) = text(&asked.headers, "x-amz-tagging") {
            // Those that cannot be read the operation refuses.
            body.tags = Tags::from_header(Some(tags)).unwrap_or_default();
        }
        let source = |source: &dto::CopySource| match source {
            dto::CopySource::Bucket {
                bucket,
                key,
                version_id,
            } => Some(Source {
                bucket: bucket.to_string(),
                key: key.to_string(),
                version_id: version_id.as_ref().map(ToString::to_string),
            }),
            _ => None,
        };
        if let Some(input) = input.downcast_ref::<dto::CopyObjectInput>() {
            body.source = source(&input.copy_source);
        } else if let Some(input) = input.downcast_ref::<dto::UploadPartCopyInput>() {
            body.source = source(&input.copy_source);
        } else if let Some(input) = input.downcast_ref::<dto::PutObjectTaggingInput>() {
            body.tags = Tags::read(input.tagging.clone(), Tagged::Object).unwrap_or_default();
        } else if let Some(input) = input.downcast_ref::<dto::PutObjectRetentionInput>() {
            let retention = input.retention.as_ref();
            let mode = retention.and_then(|it| it.mode.as_ref());
            body.lock_mode = mode.map(|it| it.as_str().to_owned());
            let until = retention.and_then(|it| it.retain_until_date.as_ref());
            body.lock_until = until.and_then(millis);
        } else if let Some(input) = input.downcast_ref::<dto::PutObjectLegalHoldInput>() {
            let status = input.legal_hold.as_ref().and_then(|it| it.status.as_ref());
            body.legal_hold = status.map(|it| it.as_str().to_owned());
        } else if let Some(input) = input.downcast_ref::<dto::CreateBucketInput>() {
            let asked = input.create_bucket_configuration.as_ref();
            let location = asked.and_then(|it| it.location_constraint.as_ref());
            body.location = location.map(|it| it.as_str().to_owned());
        }
        body
    }
}

fn millis(at: &dto::Timestamp) -> Option<UnixMillis> {
    let at = time::OffsetDateTime::from(at.clone()).unix_timestamp_nanos() / 1_000_000;
    u64::try_from(at).ok().map(UnixMillis)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|it| it.to_str().ok())
}

/// A request on its way to the evaluator.
struct Asking<'a> {
    asked: &'a Asked,
    body: &'a Body,
}

impl Asking<'_> {
    /// Asks for everything that the operation needs.
    fn check(&self, store: &Store) -> S3Result<()> {
        let asked = self.asked;
        for need in asked.operation.row().needs {
            let target = match need.on {
                On::Account => Target::Account,
                On::NewBucket => Target::NewBucket,
                On::Bucket => Target::Bucket(&asked.bucket),
                On::Object => {
                    Target::Object(&asked.bucket, &asked.key, asked.version_id.as_deref())
                }
                On::Source => {
                    let Some(source) = &self.body.source else {
                        return Err(s3_error!(
                            NotImplemented,
                            "Access points are not simulated; name the source as bucket/key"
                        ));
                    };
                    Target::Object(&source.bucket, &source.key, source.version_id.as_deref())
                }
                // By `check_each`, before each of them.
                On::EachObject => continue,
            };
            if self.is_needed(store, need) {
                self.ask(store, need, target)?;
            }
        }
        Ok(())
    }

    /// What is said of an error: that a key is missing is shown only to who may list its
    /// bucket.
    fn shown(&self, store: &Store, error: S3Error) -> S3Error {
        const LIST: Need = S3Operation::list_objects_v2.row().needs[0];
        if error.code().as_str() != "NoSuchKey" {
            return error;
        }
        // A copy misses its source, every other operation its own key.
        let source = self.body.source.as_ref();
        let bucket = source.map_or(&self.asked.bucket, |it| &it.bucket);
        match self.ask(store, &LIST, Target::Bucket(bucket)) {
            Ok(()) => error,
            Err(refused) => refused,
        }
    }

    fn is_needed(&self, store: &Store, need: &Need) -> bool {
        const GRANTS: [&str; 6] = [
            "x-amz-acl",
            "x-amz-grant-full-control",
            "x-amz-grant-read",
            "x-amz-grant-read-acp",
            "x-amz-grant-write",
            "x-amz-grant-write-acp",
        ];
        let headers = &self.asked.headers;
        let replaces_tags = || text(headers, "x-amz-tagging-directive") == Some("REPLACE");
        let source_has_tags = || {
            let source = self.body.source.as_ref();
            source.is_some_and(|it| {
                let tags = store.object_tags(&it.bucket, &it.key, it.version_id.as_deref());
                !tags.is_empty()
            })
        };
        match need.when {
            When::Always => true,
            When::Header(name) => headers.contains_key(name),
            When::Says(name) => {
                text(headers, name).is_some_and(|it| it.eq_ignore_ascii_case("true"))
            }
            When::Acl => GRANTS.iter().any(|name| headers.contains_key(*name)),
            When::SourceTagsCopied => !replaces_tags() && source_has_tags(),
            When::TagsCopied if replaces_tags() => headers.contains_key("x-amz-tagging"),
            When::TagsCopied => source_has_tags(),
        }
    }

    /// Asks the evaluator for one permission, and keeps its decision.
    fn ask(&self, store: &Store, need: &Need, target: Target<'_>) -> S3Result<()> {
        let asked = self.asked;
        let caller = &asked.sender.caller;
        let own = |arn| (arn, Access::of_account(caller.principal.account()));
        let (arn, access) = match target {
            Target::Account => own(Cow::Borrowed("*")),
            Target::NewBucket => own(["arn:aws:s3:::", &asked.bucket].concat().into()),
            Target::Bucket(bucket) => {
                let arn = ["arn:aws:s3:::", bucket].concat();
                (arn.into(), store.access(bucket)?)
            }
            Target::Object(bucket, key, _) => {
                let arn = ["arn:aws:s3:::", bucket, "/", key].concat();
                (arn.into(), store.access(bucket)?)
            }
        };
        let (tags, version_id) = match target {
            Target::Object(bucket, key, version) => {
                (store.object_tags(bucket, key, version), version)
            }
            _ => (Tags::default(), None),
        };
        let action = need.action(version_id.is_some());
        let signature = asked.sender.signature.as_ref();
        let facts = Facts {
            user_agent: text(&asked.headers, "user-agent"),
            region: Some(&asked.served_in),
            s3: Some(S3Facts {
                headers: &asked.headers,
                query: asked.query(),
                version_id,
                object_tags: tags.pairs(),
                request_tags: self.body.tags.pairs(),
                lock_mode: self.body.lock_mode.as_deref(),
                lock_until: self.body.lock_until,
                legal_hold: self.body.legal_hold.as_deref(),
                location: self.body.location.as_deref(),
                makes_object: asked.operation.row().makes_object,
                signature: signature.map(|it| it.facts()),
                tls_version: asked.sender.tls_version,
            }),
            ..Facts::default()
        };
        let request = Request {
            caller,
            action,
            resource: Resource::Bucket {
                arn: &arn,
                account: &access.account,
            },
            facts: &facts,
            now: asked.now,
        };
        let decision = decided(&request, &access, || match target {
            Target::Object(bucket, key, version) => store.object_acl(bucket, key, version),
            _ => None,
        });
        let refusal = match decision.outcome {
            Outcome::Allowed(_) => None,
            Outcome::Denied(denial) => Some(refusal(denial, &request, &access)),
        };
        asked.trail().decisions.push(decision);
        match refusal {
            None => Ok(()),
            Some(message) => Err(fault("AccessDenied", 403, message)),
        }
    }
}

/// How a request is decided: by the policies, and where they neither allow nor deny by
/// the access list.
fn decided(
    request: &Request<'_>,
    access: &Access,
    object_acl: impl FnOnce() -> Option<CannedAcl>,
) -> Decision {
    let caller = &request.caller.principal;
    let is_foreign = caller.account() != access.account;
    let policy = access.policy.as_ref();
    // Its owner's root user is never locked out of the policy itself.
    let of_policy = [
        "s3:GetBucketPolicy",
        "s3:PutBucketPolicy",
        "s3:DeleteBucketPolicy",
    ];
    let is_owner = matches!(caller, Principal::Root { .. }) && !is_foreign;
    let policy = policy.filter(|_| !(is_owner && of_policy.contains(&request.action)));
    // What is public is for the owner's account alone.
    let is_kept_back = |policy: &&super::values::bucket_policy::BucketPolicy| {
        is_foreign && access.restricts_public && policy.is_public()
    };
    let policy = policy.filter(|policy| !is_kept_back(policy));
    let decision = decide(request, policy.map(|it| it.policy()), Vec::new);
    let list = match access.acl {
        Some(of_bucket) if !decision.is_allowed() && !decision.has_applying_deny() => {
            acl_policy(request.action, of_bucket, object_acl)
        }
        _ => None,
    };
    match list {
        Some(list) => {
            let by_list = decide(request, Some(list), Vec::new);
            if by_list.is_allowed() {
                by_list
            } else {
                decision
            }
        }
        None => decision,
    }
}

/// The policy that gives what a canned access list gives.
fn acl_policy(
    action: &str,
    of_bucket: CannedAcl,
    of_object: impl FnOnce() -> Option<CannedAcl>,
) -> Option<&'static Arc<Policy>> {
    const READ_OBJECT: [&str; 2] = ["s3:GetObject", "s3:GetObjectVersion"];
    const READ_BUCKET: [&str; 3] = [
        "s3:ListBucket",
        "s3:ListBucketVersions",
        "s3:ListBucketMultipartUploads",
    ];
    const WRITE_BUCKET: [&str; 2] = ["s3:PutObject", "s3:DeleteObject"];
    static EVERYBODY: LazyLock<Arc<Policy>> = LazyLock::new(|| list("*", ""));
    static SIGNED: LazyLock<Arc<Policy>> = LazyLock::new(|| {
        // A caller without credentials has no account.
        list(
            "*",
            r#","Condition":{"Null":{"aws:PrincipalAccount":"false"}}"#,
        )
    });
    let reading = |acl| match acl {
        CannedAcl::Private => None,
        CannedAcl::PublicRead | CannedAcl::PublicReadWrite => Some(&*EVERYBODY),
        CannedAcl::AuthenticatedRead => Some(&*SIGNED),
    };
    if READ_OBJECT.contains(&action) {
        return reading(of_object()?);
    }
    if READ_BUCKET.contains(&action) {
        return reading(of_bucket);
    }
    let writes = WRITE_BUCKET.contains(&action) && of_bucket == CannedAcl::PublicReadWrite;
    writes.then_some(&*EVERYBODY)
}

fn list(principal: &str, condition: &str) -> Arc<Policy> {
    let text = format!(
        r#"{{"Version":"2012-10-17","Id":"access control list","Statement":[{{"Effect":"Allow","Principal":"{principal}","Action":"s3:*","Resource":"*"{condition}}}]}}"#
    );
    let policy = Policy::parse(&text, PolicyKind::Bucket);
    Arc::new(policy.expect("the text is written here"))
}

/// AWS's text for a denial.
fn refusal(denial: Denial, request: &Request<'_>, access: &Access) -> String {
    let caller = &request.caller.principal;
    if caller.account() != access.account || denial == Denial::OtherAccount {
        return "Access Denied".to_owned();
    }
    let (action, arn) = (request.action, request.resource.arn());
    let because = denial.because(action);
    // The one list of buckets is an ARN in the text, and a star in policies.
    let arn = if arn == "*" { "arn:aws:s3:::*" } else { arn };
    format!(
        "User: {} is not authorized to perform: {action} on resource: \"{arn}\" {because}",
        caller.arn()
    )
}

/// Bucket and key in a path, unescaped.
pub(super) fn place(path: &str) -> (String, String) {
    let path = path.trim_start_matches('/');
    let unescaped = |text: &str| String::from_utf8_lossy(&uri_decode(text)).into_owned();
    match path.split_once('/') {
        Some((bucket, key)) => (unescaped(bucket), unescaped(key)),
        None => (unescaped(path), String::new()),
    }
}

/// Refuses a request whose buckets belong to others than it expects.
pub(super) fn check_owners(store: &Store, parts: &Parts) -> S3Result<()> {
    let header = |name: &str| text(&parts.headers, name);
    let expectations = [
        ("x-amz-expected-bucket-owner", Some(parts.uri.path())),
        (
            "x-amz-source-expected-bucket-owner",
            header("x-amz-copy-source"),
        ),
    ];
    for (name, path) in expectations {
        let (Some(expected), Some(path)) = (header(name), path) else {
            continue;
        };
        let owner = store.owner(bucket_of(path));
        if owner.is_ok_and(|owner| owner != expected) {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

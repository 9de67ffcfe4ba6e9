//! Who may call which operation, asked of the whole store in memory.

mod requests;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;
use nsm_sim::clock::SystemClock;

use self::requests::{ALL, Sample};
use crate::{
    model::s3_operation::{On, S3Operation},
    policy::{
        Caller, Policy, PolicyKind,
        bucket::{Level, permissions},
    },
    s3::{
        ObjectStore,
        sender::{Sender, Trail},
    },
    world::principal::Principal,
};

const HERE: &str = "111122223333";
const THERE: &str = "444455556666";
const BUCKET: &str = "bucket";

/// What came of a request.
struct Answer {
    status: StatusCode,
    body: String,
    trail: Trail,
}

impl Answer {
    /// Refused for want of a permission, not for anything else.
    fn is_denied(&self) -> bool {
        let code = self.trail.error.as_ref().map(|(code, _)| code.as_str());
        let denied = code == Some("AccessDenied");
        assert_eq!(
            denied,
            self.status == StatusCode::FORBIDDEN,
            "{}",
            self.body
        );
        denied
    }

    fn message(&self) -> &str {
        let error = self.trail.error.as_ref();
        error
            .and_then(|(_, message)| message.as_deref())
            .unwrap_or_default()
    }
}

/// A store with one bucket of [`HERE`] in which there is one object, `key`.
struct World(ObjectStore);

impl World {
    async fn new() -> Self {
        let s3 = ObjectStore::new(Arc::new(SystemClock), "us-east-1", 1 << 20);
        s3.plant_bucket(BUCKET, HERE).unwrap();
        let world = Self(s3);
        for sample in ["PutBucketVersioning", "PutObject"] {
            assert_eq!(world.by_root(sample).await.status, StatusCode::OK);
        }
        world
    }

    async fn send(&self, caller: &Caller, sample: &Sample) -> Answer {
        let mut request = http::Request::builder()
            .method(sample.method)
            .uri(sample.uri);
        for (name, value) in sample.headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let body = Bytes::from_static(sample.body.as_bytes());
        parts
            .headers
            .insert(http::header::CONTENT_LENGTH, body.len().into());
        let sender = Sender {
            caller: Arc::new(caller.clone()),
            region: None,
            signature: None,
            tls_version: None,
        };
        let (response, trail) = self.0.call(parts, body, sender).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer {
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
            trail,
        }
    }

    /// The sample request of an operation, sent by the owner's root user.
    async fn by_root(&self, operation: &str) -> Answer {
        self.send(&root(), sample(operation)).await
    }

    async fn put_policy(&self, policy: &str) {
        self.by_root("DeletePublicAccessBlock").await;
        let sample = Sample {
            body: String::leak(policy.to_owned()),
            ..*sample("PutBucketPolicy")
        };
        let answer = self.send(&root(), &sample).await;
        assert_eq!(
            answer.status,
            StatusCode::NO_CONTENT,
            "{policy}: {}",
            answer.body
        );
    }

    /// Everything that the store holds.
    fn dump(&self) -> String {
        self.0.dump()
    }
}

fn sample(operation: &str) -> &'static Sample {
    let mut all = ALL.iter();
    let found = all.find(|it| it.operation == operation);
    found.unwrap_or_else(|| panic!("no sample of {operation}"))
}

fn root() -> Caller {
    Caller::new(Principal::Root {
        account: HERE.into(),
    })
}

fn user(account: &str) -> Caller {
    Caller::new(Principal::User {
        account: account.into(),
        path_name: "dana".into(),
    })
}

fn session() -> Caller {
    Caller::new(Principal::AssumedRole {
        account: HERE.into(),
        role_path_name: "worker".into(),
        session: "s".into(),
    })
}

fn anonymous() -> Caller {
    Caller::new(Principal::Anonymous)
}

/// An IAM policy of one statement.
fn iam(effect: &str, actions: &[&str], resource: &str) -> Arc<Policy> {
    let text = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"{effect}","Action":{actions:?},"Resource":"{resource}"}}]}}"#
    );
    Arc::new(Policy::parse(&text, PolicyKind::Identity).unwrap())
}

/// A statement of the bucket's policy.
fn statement(effect: &str, principal: &str, actions: &[&str]) -> String {
    // A permission on the bucket does not fit an object, nor the reverse.
    let on_bucket = actions.iter().all(|it| ON_BUCKET.contains(it));
    let resource = match (on_bucket, actions) {
        (_, ["s3:*"]) => r#"["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]"#,
        (true, _) => r#""arn:aws:s3:::bucket""#,
        (false, _) => r#""arn:aws:s3:::bucket/*""#,
    };
    format!(
        r#"{{"Effect":"{effect}","Principal":{principal},"Action":{actions:?},"Resource":{resource}}}"#
    )
}

fn document(statements: &[String]) -> String {
    let statements = statements.join(",");
    format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#)
}

const ON_BUCKET: [&str; 4] = [
    "s3:ListBucket",
    "s3:ListBucketVersions",
    "s3:GetBucketPolicy",
    "s3:PutBucketVersioning",
];

/// Operations, and what each needs in AWS's reference: written here again, not read from
/// the table that is tested.
const ACTIONS: [(&str, &[&str]); 12] = [
    ("GetObject", &["s3:GetObject"]),
    ("HeadObject", &["s3:GetObject"]),
    ("PutObject", &["s3:PutObject"]),
    ("DeleteObject", &["s3:DeleteObject"]),
    ("CopyObject", &["s3:GetObject", "s3:PutObject"]),
    ("GetObjectTagging", &["s3:GetObjectTagging"]),
    ("PutObjectTagging", &["s3:PutObjectTagging"]),
    ("CreateMultipartUpload", &["s3:PutObject"]),
    ("ListObjectsV2", &["s3:ListBucket"]),
    ("HeadBucket", &["s3:ListBucket"]),
    ("ListObjectVersions", &["s3:ListBucketVersions"]),
    ("PutBucketVersioning", &["s3:PutBucketVersioning"]),
];

/// Where permissions stand in a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Nowhere,
    Identity,
    Bucket,
    Both,
    DeniedByBucket,
    DeniedByIdentity,
}

#[tokio::test]
async fn four_callers_have_of_twelve_operations_what_six_sets_of_policies_give_them() {
    use Where::{Both, Bucket, DeniedByBucket, DeniedByIdentity, Identity, Nowhere};
    let callers = [
        ("root", root(), "arn:aws:iam::111122223333:root"),
        ("user", user(HERE), "arn:aws:iam::111122223333:user/dana"),
        (
            "session",
            session(),
            "arn:aws:iam::111122223333:role/worker",
        ),
        (
            "stranger",
            user(THERE),
            "arn:aws:iam::444455556666:user/dana",
        ),
    ];
    for (name, caller, arn) in &callers {
        for (operation, needs) in ACTIONS {
            for place in [
                Nowhere,
                Identity,
                Bucket,
                Both,
                DeniedByBucket,
                DeniedByIdentity,
            ] {
                let world = World::new().await;
                let mut caller = caller.clone();
                if matches!(place, Identity | Both | DeniedByBucket | DeniedByIdentity) {
                    caller.identity_policies.push(iam("Allow", needs, "*"));
                }
                if place == DeniedByIdentity {
                    caller.identity_policies.push(iam("Deny", &needs[..1], "*"));
                }
                if matches!(place, Bucket | Both | DeniedByBucket | DeniedByIdentity) {
                    let principal = format!(r#"{{"AWS":"{arn}"}}"#);
                    let mut statements = vec![statement("Allow", &principal, needs)];
                    if place == DeniedByBucket {
                        statements.push(statement("Deny", r#""*""#, &needs[..1]));
                    }
                    world.put_policy(&document(&statements)).await;
                }
                let expected = match (*name, place) {
                    // IAM neither gives to nor takes from the root user.
                    ("root", place) => place != DeniedByBucket,
                    ("stranger", place) => place == Both,
                    (_, place) => matches!(place, Identity | Bucket | Both),
                };
                let before = world.dump();
                let answer = world.send(&caller, sample(operation)).await;
                let what = format!("{name} {operation} {place:?}: {}", answer.body);
                assert_eq!(answer.is_denied(), !expected, "{what}");
                if !expected {
                    assert_eq!(world.dump(), before, "{what}");
                    assert!(!answer.trail.decisions.is_empty(), "{what}");
                }
            }
        }
    }
}

/// Had an operation no row, or a row without a need that is always asked for, it would
/// be found here.
#[tokio::test]
async fn every_operation_is_refused_to_who_has_no_permission_and_changes_nothing() {
    let mut seen = Vec::new();
    for sample in ALL {
        for caller in [user(HERE), user(THERE), anonymous()] {
            let world = World::new().await;
            let before = world.dump();
            let answer = world.send(&caller, sample).await;
            let what = format!(
                "{} by {}: {}",
                sample.operation, caller.principal, answer.body
            );
            let (operation, _) = answer.trail.operation.unwrap();
            assert_eq!(operation, sample.operation, "{what}");
            assert_eq!(world.dump(), before, "{what}");
            if operation == "DeleteObjects" {
                // It answers 200 and says of each object that it is denied.
                assert!(answer.body.contains("<Code>AccessDenied</Code>"), "{what}");
                assert!(!answer.body.contains("<Deleted>"), "{what}");
            } else {
                assert!(answer.is_denied(), "{what}");
            }
            assert!(
                answer.trail.decisions.iter().all(|it| !it.is_allowed()),
                "{what}"
            );
        }
        seen.push(sample.operation);
    }
    let all: Vec<&str> = S3Operation::ALL.iter().map(|it| it.name()).collect();
    assert_eq!(seen, all);
}

#[test]
fn every_permission_is_one_of_awss_and_on_what_aws_says() {
    let known: BTreeMap<&str, Level> = permissions().collect();
    for operation in S3Operation::ALL {
        for need in operation.row().needs {
            let level = match need.on {
                On::Account => None,
                On::Bucket | On::NewBucket => Some(Level::Bucket),
                On::Object | On::Source | On::EachObject => Some(Level::Object),
            };
            for action in [need.action(false), need.action(true)] {
                let name = action.strip_prefix("s3:").unwrap();
                assert_eq!(known.get(name).copied(), level, "{operation:?}: {action}");
            }
        }
    }
}

#[tokio::test]
async fn every_operation_goes_on_for_the_owners_root_user() {
    for sample in ALL {
        let world = World::new().await;
        let answer = world.send(&root(), sample).await;
        let what = format!("{}: {}", sample.operation, answer.body);
        assert!(!answer.is_denied(), "{what}");
        assert!(
            answer.trail.decisions.iter().all(|it| it.is_allowed()),
            "{what}"
        );
        assert!(!answer.trail.decisions.is_empty(), "{what}");
    }
}

#[tokio::test]
async fn a_denial_says_what_aws_says() {
    let world = World::new().await;
    let mut caller = user(HERE);
    let prefix = "User: arn:aws:iam::111122223333:user/dana is not authorized to perform: \
                  s3:GetObject on resource: \"arn:aws:s3:::bucket/key\" ";
    let get = sample("GetObject");
    let answer = world.send(&caller, get).await;
    let why = "because no identity-based policy allows the s3:GetObject action";
    assert_eq!(answer.message(), format!("{prefix}{why}"));
    assert!(
        answer.body.contains("&quot;arn:aws:s3:::bucket/key&quot;")
            || answer.body.contains("\"arn:aws:s3:::bucket/key\""),
        "{}",
        answer.body
    );

    let allow = iam("Allow", &["s3:*"], "*");
    caller.identity_policies = vec![Arc::clone(&allow), iam("Deny", &["s3:Get*"], "*")];
    let answer = world.send(&caller, get).await;
    let why = "with an explicit deny in an identity-based policy";
    assert_eq!(answer.message(), format!("{prefix}{why}"));

    caller.identity_policies = vec![Arc::clone(&allow)];
    caller.boundary = Some(iam("Allow", &["s3:ListBucket"], "*"));
    let answer = world.send(&caller, get).await;
    let why = "because no permissions boundary allows the s3:GetObject action";
    assert_eq!(answer.message(), format!("{prefix}{why}"));

    caller.boundary = None;
    caller.session_policies = vec![iam("Allow", &["s3:PutObject"], "*")];
    let answer = world.send(&caller, get).await;
    let why = "because no session policy allows the s3:GetObject action";
    assert_eq!(answer.message(), format!("{prefix}{why}"));

    caller.session_policies = vec![];
    world
        .put_policy(&document(&[statement("Deny", r#""*""#, &["s3:GetObject"])]))
        .await;
    let answer = world.send(&caller, get).await;
    let why = "with an explicit deny in a resource-based policy";
    assert_eq!(answer.message(), format!("{prefix}{why}"));

    // Of another account's bucket AWS says nothing more.
    let mut stranger = user(THERE);
    stranger.identity_policies = vec![allow];
    assert_eq!(world.send(&stranger, get).await.message(), "Access Denied");
    assert_eq!(
        world.send(&anonymous(), get).await.message(),
        "Access Denied"
    );
}

#[tokio::test]
async fn that_a_key_is_missing_is_said_to_who_may_list_only() {
    let world = World::new().await;
    for method in ["GET", "HEAD"] {
        let missing = Sample {
            method,
            uri: "/bucket/missing",
            ..*sample("GetObject")
        };
        let mut caller = user(HERE);
        caller.identity_policies = vec![iam("Allow", &["s3:GetObject"], "*")];
        let answer = world.send(&caller, &missing).await;
        assert!(answer.is_denied(), "{method}");
        assert!(
            answer
                .message()
                .contains("s3:ListBucket on resource: \"arn:aws:s3:::bucket\"")
        );
        caller
            .identity_policies
            .push(iam("Allow", &["s3:ListBucket"], "*"));
        let answer = world.send(&caller, &missing).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method}");
        // Who may list and not read learns nothing of the object.
        caller.identity_policies.remove(0);
        assert!(world.send(&caller, &missing).await.is_denied(), "{method}");
    }
    // A bucket that is not there is missing for everybody.
    let nowhere = Sample {
        uri: "/no-such-bucket/key",
        ..*sample("GetObject")
    };
    let answer = world.send(&anonymous(), &nowhere).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn permissions_are_on_the_key_as_it_is_and_not_as_it_is_written() {
    let world = World::new().await;
    let mut caller = user(HERE);
    let secret = "arn:aws:s3:::bucket/secret/*";
    caller.identity_policies = vec![iam("Allow", &["s3:*"], "*"), iam("Deny", &["s3:*"], secret)];
    for uri in [
        "/bucket/secret/k",
        "/bucket/%73ecret/k",
        "/bucket/secret%2Fk",
    ] {
        let put = Sample {
            uri,
            ..*sample("PutObject")
        };
        assert!(world.send(&caller, &put).await.is_denied(), "{uri}");
    }
    for uri in ["/bucket/Secret/k", "/bucket/secret", "/bucket/a/secret/k"] {
        let put = Sample {
            uri,
            ..*sample("PutObject")
        };
        assert!(!world.send(&caller, &put).await.is_denied(), "{uri}");
    }
}

#[tokio::test]
async fn a_copy_needs_its_source_its_target_and_the_tags_it_takes_along() {
    let world = World::new().await;
    let allow = |actions: &[&str]| {
        let mut caller = user(HERE);
        let policies = actions.iter().map(|it| iam("Allow", &[it], "*"));
        caller.identity_policies = policies.collect();
        caller
    };
    let copy = sample("CopyObject");
    for part in ["s3:GetObject", "s3:PutObject"] {
        assert!(
            world.send(&allow(&[part]), copy).await.is_denied(),
            "{part}"
        );
    }
    let both = ["s3:GetObject", "s3:PutObject"];
    assert_eq!(world.send(&allow(&both), copy).await.status, StatusCode::OK);
    world.by_root("PutObjectTagging").await;
    assert!(world.send(&allow(&both), copy).await.is_denied());
    let with_tags = [
        "s3:GetObject",
        "s3:PutObject",
        "s3:GetObjectTagging",
        "s3:PutObjectTagging",
    ];
    assert_eq!(
        world.send(&allow(&with_tags), copy).await.status,
        StatusCode::OK
    );
    // New tags are given, the old ones stay where they are.
    let replacing = Sample {
        headers: &[
            ("x-amz-copy-source", "bucket/key"),
            ("x-amz-tagging-directive", "REPLACE"),
        ],
        ..*copy
    };
    assert_eq!(
        world.send(&allow(&both), &replacing).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_version_needs_the_permissions_of_versions() {
    let world = World::new().await;
    let listed = world.by_root("ListObjectVersions").await.body;
    let (_, rest) = listed.split_once("<VersionId>").unwrap();
    let (id, _) = rest.split_once("</VersionId>").unwrap();
    let uri: &'static str = String::leak(format!("/bucket/key?versionId={id}"));
    let get = Sample {
        uri,
        ..*sample("GetObject")
    };
    let mut caller = user(HERE);
    caller.identity_policies = vec![iam("Allow", &["s3:GetObject"], "*")];
    assert!(world.send(&caller, &get).await.is_denied());
    caller.identity_policies = vec![iam("Allow", &["s3:GetObjectVersion"], "*")];
    assert_eq!(world.send(&caller, &get).await.status, StatusCode::OK);
    assert!(world.send(&caller, sample("GetObject")).await.is_denied());
}

#[tokio::test]
async fn conditions_read_what_the_request_says() {
    let world = World::new().await;
    let caller = |condition: &str| {
        let text = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{condition}}}]}}"#
        );
        let mut caller = user(HERE);
        let policy = Policy::parse(&text, PolicyKind::Identity).unwrap();
        caller.identity_policies = vec![Arc::new(policy)];
        caller
    };
    let list = |uri| Sample {
        uri,
        ..*sample("ListObjectsV2")
    };
    let put = |headers| Sample {
        uri: "/bucket/put",
        headers,
        ..*sample("PutObject")
    };
    world.by_root("PutObjectTagging").await;
    for (condition, request, allowed) in [
        (
            r#"{"StringLike":{"s3:prefix":"home/*"}}"#,
            list("/bucket?list-type=2&prefix=home/a"),
            true,
        ),
        (
            r#"{"StringLike":{"s3:prefix":"home/*"}}"#,
            list("/bucket?list-type=2&prefix=other"),
            false,
        ),
        (
            r#"{"StringLike":{"s3:prefix":"home/*"}}"#,
            list("/bucket?list-type=2"),
            false,
        ),
        (
            r#"{"NumericLessThanEquals":{"s3:max-keys":"10"}}"#,
            list("/bucket?list-type=2&max-keys=10"),
            true,
        ),
        (
            r#"{"NumericLessThanEquals":{"s3:max-keys":"10"}}"#,
            list("/bucket?list-type=2&max-keys=11"),
            false,
        ),
        (
            r#"{"StringEquals":{"s3:x-amz-storage-class":"STANDARD_IA"}}"#,
            put(&[("x-amz-storage-class", "STANDARD_IA")]),
            true,
        ),
        (
            r#"{"StringEquals":{"s3:x-amz-storage-class":"STANDARD_IA"}}"#,
            put(&[]),
            false,
        ),
        (
            r#"{"StringEquals":{"s3:RequestObjectTag/team":"a"}}"#,
            put(&[("x-amz-tagging", "team=a")]),
            true,
        ),
        (
            r#"{"StringEquals":{"s3:RequestObjectTag/team":"a"}}"#,
            put(&[("x-amz-tagging", "team=b")]),
            false,
        ),
        (
            r#"{"StringEquals":{"s3:ExistingObjectTag/k":"v"}}"#,
            *sample("GetObject"),
            true,
        ),
        (
            r#"{"StringEquals":{"s3:ExistingObjectTag/k":"w"}}"#,
            *sample("GetObject"),
            false,
        ),
        (
            r#"{"Bool":{"aws:SecureTransport":"true"}}"#,
            *sample("GetObject"),
            true,
        ),
        (
            r#"{"Bool":{"aws:SecureTransport":"false"}}"#,
            *sample("GetObject"),
            false,
        ),
        (
            r#"{"StringEquals":{"s3:ResourceAccount":"111122223333","aws:ResourceAccount":"111122223333"}}"#,
            *sample("GetObject"),
            true,
        ),
        (
            r#"{"StringEquals":{"s3:ResourceAccount":"444455556666"}}"#,
            *sample("GetObject"),
            false,
        ),
        // A header that the permission does not read is not there for policies.
        (
            r#"{"Null":{"s3:x-amz-acl":"true"}}"#,
            Sample {
                headers: &[("x-amz-acl", "private")],
                ..*sample("GetObject")
            },
            true,
        ),
    ] {
        let answer = world.send(&caller(condition), &request).await;
        assert_eq!(
            answer.is_denied(),
            !allowed,
            "{condition} {}: {}",
            request.uri,
            answer.body
        );
    }
}

#[tokio::test]
async fn a_public_bucket_is_open_to_everybody_unless_public_access_is_blocked() {
    let world = World::new().await;
    let public = document(&[statement("Allow", r#""*""#, &["s3:GetObject"])]);
    let put = Sample {
        body: String::leak(public.clone()),
        ..*sample("PutBucketPolicy")
    };
    let answer = world.send(&root(), &put).await;
    assert!(answer.is_denied(), "a new bucket blocks public policies");
    assert!(
        answer.message().contains("BlockPublicPolicy"),
        "{}",
        answer.message()
    );
    world.put_policy(&public).await;
    let status = world.by_root("GetBucketPolicyStatus").await;
    assert!(
        status.body.contains("<IsPublic>true</IsPublic>"),
        "{}",
        status.body
    );
    let get = sample("GetObject");
    let mut stranger = user(THERE);
    assert!(
        world.send(&stranger, get).await.is_denied(),
        "its own account gives nothing"
    );
    stranger.identity_policies = vec![iam("Allow", &["s3:GetObject"], "*")];
    for caller in [&anonymous(), &stranger, &user(HERE)] {
        assert_eq!(world.send(caller, get).await.status, StatusCode::OK);
    }
    assert!(
        world
            .send(&anonymous(), sample("PutObject"))
            .await
            .is_denied()
    );
    // Kept back from all but the owner's account.
    world.by_root("PutPublicAccessBlock").await;
    for caller in [&anonymous(), &stranger] {
        assert!(world.send(caller, get).await.is_denied());
    }
    assert_eq!(world.send(&user(HERE), get).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_owners_root_user_is_never_locked_out_of_the_policy() {
    let world = World::new().await;
    world
        .put_policy(&document(&[statement("Deny", r#""*""#, &["s3:*"])]))
        .await;
    assert!(world.by_root("GetObject").await.is_denied());
    let mut admin = user(HERE);
    admin.identity_policies = vec![iam("Allow", &["s3:*"], "*")];
    let delete = sample("DeleteBucketPolicy");
    assert!(world.send(&admin, delete).await.is_denied());
    assert_eq!(
        world.send(&root(), delete).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(world.by_root("GetObject").await.status, StatusCode::OK);
}

#[tokio::test]
async fn session_policies_and_boundaries_narrow_what_iam_gives_but_not_what_names_the_session() {
    let world = World::new().await;
    let get = sample("GetObject");
    let mut caller = session();
    caller.identity_policies = vec![iam("Allow", &["s3:*"], "*")];
    caller.session_policies = vec![iam("Allow", &["s3:PutObject"], "*")];
    assert!(world.send(&caller, get).await.is_denied());
    let by = |arn: &str| {
        let principal = format!(r#"{{"AWS":"{arn}"}}"#);
        document(&[statement("Allow", &principal, &["s3:GetObject"])])
    };
    world
        .put_policy(&by("arn:aws:iam::111122223333:role/worker"))
        .await;
    assert!(world.send(&caller, get).await.is_denied());
    let session = "arn:aws:sts::111122223333:assumed-role/worker/s";
    world.put_policy(&by(session)).await;
    assert_eq!(world.send(&caller, get).await.status, StatusCode::OK);
}

#[tokio::test]
async fn of_many_objects_those_are_deleted_that_the_caller_may_delete() {
    let world = World::new().await;
    let put = Sample {
        uri: "/bucket/other",
        ..*sample("PutObject")
    };
    world.send(&root(), &put).await;
    let mut caller = user(HERE);
    caller.identity_policies = vec![iam(
        "Allow",
        &["s3:DeleteObject"],
        "arn:aws:s3:::bucket/other",
    )];
    let delete = Sample {
        body: "<Delete><Object><Key>key</Key></Object><Object><Key>other</Key></Object></Delete>",
        ..*sample("DeleteObjects")
    };
    let answer = world.send(&caller, &delete).await;
    assert!(
        answer.body.contains("<Key>other</Key></Deleted>") || answer.body.contains("<Deleted>"),
        "{}",
        answer.body
    );
    assert!(
        answer.body.contains("<Code>AccessDenied</Code>"),
        "{}",
        answer.body
    );
    assert_eq!(world.by_root("GetObject").await.status, StatusCode::OK);
    let other = Sample {
        uri: "/bucket/other",
        ..*sample("GetObject")
    };
    assert_eq!(
        world.send(&root(), &other).await.status,
        StatusCode::NOT_FOUND
    );
}

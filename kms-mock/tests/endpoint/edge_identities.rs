//! Boundaries, groups, tags and federated users from outside: signed requests to
//! a real KMS, a world that is stopped and started again, and a seed file.

use std::collections::BTreeMap;

use crate::support::{ACCOUNT, NOW, NOW_TEXT, Signing, kms_call, sha256_hex, signed_post};
use kms_mock::{
    Auth,
    iam::{Credentials, Who},
    mock::builder::{Builder, KmsMock},
};
use nsm_sim::clock::SettableClock;
use serde_json::{Value, json};

fn builder() -> Builder {
    KmsMock::builder()
        .auth(Auth::Strict)
        .clock(SettableClock::frozen(NOW))
        .workers(2)
}

fn policy(effect: &str, action: &str) -> String {
    json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": effect, "Action": action, "Resource": "*" },
    ]})
    .to_string()
}

/// A signed form to STS or IAM: status and body.
pub(crate) async fn form(
    mock: &KmsMock,
    credentials: &Credentials,
    service: &str,
    pairs: &[(&str, &str)],
) -> (u16, String) {
    let mut body = url_encoded(pairs);
    body.push_str("&Version=2011-06-15");
    let mut headers = vec![
        (
            "content-type",
            "application/x-www-form-urlencoded".to_owned(),
        ),
        ("x-amz-date", NOW_TEXT.to_owned()),
    ];
    if let Some(token) = &credentials.session_token {
        headers.push(("x-amz-security-token", (**token).clone()));
    }
    let signing = Signing {
        credentials,
        service,
        date: NOW_TEXT,
        method: "POST",
        host: mock.address().to_string(),
        path: "/",
        canonical_path: "/",
        query: String::new(),
        headers,
        payload_hash: sha256_hex(body.as_bytes()),
    };
    let response = signed_post(mock, &signing, body).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

fn url_encoded(pairs: &[(&str, &str)]) -> String {
    let encode = |text: &str| -> String {
        let byte = |b: u8| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                char::from(b).to_string()
            }
            other => format!("%{other:02X}"),
        };
        text.bytes().map(byte).collect()
    };
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.join("&")
}

/// The credentials in an answer of STS.
fn credentials(body: &str) -> Credentials {
    let text = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>")).unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    };
    Credentials {
        access_key_id: text("AccessKeyId"),
        secret_access_key: text("SecretAccessKey").into(),
        session_token: Some(text("SessionToken").into()),
        expiration: None,
    }
}

/// Status and answer; operations that answer nothing answer `null`.
async fn kms(mock: &KmsMock, who: &Credentials, operation: &str, body: Value) -> (u16, Value) {
    let request = kms_call(mock, who, NOW_TEXT, operation, &body.to_string());
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

/// What happens to an Encrypt.
async fn encrypts(mock: &KmsMock, who: &Credentials, key: &str) -> Result<(), String> {
    let body = json!({ "KeyId": key, "Plaintext": "eA==" });
    match kms(mock, who, "Encrypt", body).await {
        (200, _) => Ok(()),
        (_, answer) => Err(answer["Message"].as_str().unwrap_or_default().to_owned()),
    }
}

/// A user who may do everything, and a key of its making.
async fn admin(mock: &KmsMock) -> (Credentials, String) {
    let iam = mock.iam();
    iam.create_user(ACCOUNT, "/", "admin").unwrap();
    iam.put_user_policy(ACCOUNT, "admin", "all", &policy("Allow", "*"))
        .unwrap();
    let admin = iam.create_access_key(ACCOUNT, "admin").unwrap();
    let (status, made) = kms(mock, &admin, "CreateKey", json!({})).await;
    assert_eq!(status, 200, "{made}");
    let key = made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    (admin, key)
}

#[tokio::test]
async fn a_boundary_set_by_iam_is_in_force_at_kms_at_once() {
    let mock = builder().start().await.unwrap();
    let (admin, key) = admin(&mock).await;
    let iam = mock.iam();
    iam.create_user(ACCOUNT, "/", "alice").unwrap();
    iam.put_user_policy(ACCOUNT, "alice", "keys", &policy("Allow", "kms:*"))
        .unwrap();
    let alice = iam.create_access_key(ACCOUNT, "alice").unwrap();
    assert_eq!(encrypts(&mock, &alice, &key).await, Ok(()));
    let document = policy("Allow", "kms:Decrypt");
    let (status, body) = form(
        &mock,
        &admin,
        "iam",
        &[
            ("Action", "CreatePolicy"),
            ("PolicyName", "p"),
            ("PolicyDocument", &document),
        ],
    )
    .await;
    assert_eq!(status, 200, "{body}");
    let arn = format!("arn:aws:iam::{ACCOUNT}:policy/p");
    let bound = [
        ("Action", "PutUserPermissionsBoundary"),
        ("UserName", "alice"),
        ("PermissionsBoundary", &arn),
    ];
    let (status, body) = form(&mock, &admin, "iam", &bound).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        encrypts(&mock, &alice, &key).await.unwrap_err(),
        format!(
            "User: arn:aws:iam::{ACCOUNT}:user/alice is not authorized to perform: kms:Encrypt \
             on resource: {key} because no permissions boundary allows the kms:Encrypt action"
        )
    );
    let free = [
        ("Action", "DeleteUserPermissionsBoundary"),
        ("UserName", "alice"),
    ];
    assert_eq!(form(&mock, &admin, "iam", &free).await.0, 200);
    assert_eq!(encrypts(&mock, &alice, &key).await, Ok(()));
}

#[tokio::test]
async fn a_federated_user_uses_the_keys_that_its_session_policy_or_a_key_policy_gives_it() {
    let mock = builder().start().await.unwrap();
    let (admin, key) = admin(&mock).await;
    let federate = async |more: &[(&str, &str)]| {
        let mut pairs = vec![("Action", "GetFederationToken"), ("Name", "Bob")];
        pairs.extend(more);
        let (status, body) = form(&mock, &admin, "sts", &pairs).await;
        assert_eq!(status, 200, "{body}");
        credentials(&body)
    };
    let bare = federate(&[]).await;
    let refused = encrypts(&mock, &bare, &key).await.unwrap_err();
    assert!(
        refused.contains("because no session policy allows the kms:Encrypt action"),
        "{refused}"
    );
    let allow = policy("Allow", "kms:Encrypt");
    let given = federate(&[("Policy", &allow)]).await;
    assert_eq!(encrypts(&mock, &given, &key).await, Ok(()));
    let named = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "kms:*", "Resource": "*",
          "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") } },
        { "Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*",
          "Principal": { "AWS": format!("arn:aws:sts::{ACCOUNT}:federated-user/Bob") } },
    ]});
    let put = json!({ "KeyId": key, "Policy": named.to_string() });
    assert_eq!(kms(&mock, &admin, "PutKeyPolicy", put).await.0, 200);
    assert_eq!(encrypts(&mock, &bare, &key).await, Ok(()));
    let decrypt = json!({ "KeyId": key });
    assert_eq!(kms(&mock, &bare, "DescribeKey", decrypt).await.0, 400);
}

#[tokio::test]
async fn a_session_tag_opens_the_keys_that_have_the_same_tag() {
    let mock = builder().start().await.unwrap();
    let (admin, key) = admin(&mock).await;
    let tag = json!({ "KeyId": key, "Tags": [{ "TagKey": "team", "TagValue": "imaging" }] });
    assert_eq!(kms(&mock, &admin, "TagResource", tag).await.0, 200);
    let trust = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": { "AWS": ACCOUNT },
        "Action": ["sts:AssumeRole", "sts:TagSession"],
    }})
    .to_string();
    let same = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*",
        "Condition": { "StringEquals": { "aws:ResourceTag/team": "${aws:PrincipalTag/team}" } },
    }})
    .to_string();
    let iam = mock.iam();
    iam.create_role(ACCOUNT, &kms_mock::iam::NewRole::named("r", &trust))
        .unwrap();
    iam.put_role_policy(ACCOUNT, "r", "p", &same).unwrap();
    let role = format!("arn:aws:iam::{ACCOUNT}:role/r");
    let session = async |team: &str| {
        let pairs = [
            ("Action", "AssumeRole"),
            ("RoleArn", &role),
            ("RoleSessionName", "s1"),
            ("Tags.member.1.Key", "team"),
            ("Tags.member.1.Value", team),
        ];
        let (status, body) = form(&mock, &admin, "sts", &pairs).await;
        assert_eq!(status, 200, "{body}");
        credentials(&body)
    };
    assert_eq!(
        encrypts(&mock, &session("imaging").await, &key).await,
        Ok(())
    );
    assert!(
        encrypts(&mock, &session("billing").await, &key)
            .await
            .is_err()
    );
}

const SEED: &str = r#"
[[policy]]
name = "within"
document = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"kms:Encrypt","Resource":"*"}}'

[[group]]
name = "operators"
policies = { keys = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"kms:*","Resource":"*"}}' }

[[role]]
name = "bounded"
tags = { team = "imaging" }
attached = ["arn:aws:iam::aws:policy/AdministratorAccess"]
permissions_boundary = "arn:aws:iam::123456789012:policy/within"

[[user]]
name = "alice"
groups = ["operators"]
tags = { Team = "imaging" }
access_key_id = "AKIAIOSFODNN7EXAMPLE"
secret_access_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

[[user]]
name = "bea"
groups = ["operators"]
permissions_boundary = "arn:aws:iam::123456789012:policy/within"
access_key_id = "AKIAI44QH8DHBEXAMPLE"
secret_access_key = "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY"
"#;

fn seeded(id: &str, secret: &str) -> Credentials {
    Credentials {
        access_key_id: id.to_owned(),
        secret_access_key: secret.to_owned().into(),
        session_token: None,
        expiration: None,
    }
}

#[tokio::test]
async fn a_seeded_world_holds_over_a_restart_with_every_session_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let start = async || {
        builder()
            .data_dir(dir.path())
            .seed_file(SEED)
            .start()
            .await
            .unwrap()
    };
    let alice = seeded(
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    );
    let bea = seeded(
        "AKIAI44QH8DHBEXAMPLE",
        "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY",
    );
    let mock = start().await;
    let (admin, key) = admin(&mock).await;
    let role = mock.iam().role(ACCOUNT, "bounded").unwrap();
    let session = mock
        .iam()
        .instance_credentials(role.arn(), "i-0123456789abcdef0")
        .unwrap();
    let allow = policy("Allow", "kms:Encrypt");
    let pairs = [
        ("Action", "GetFederationToken"),
        ("Name", "Bob"),
        ("Policy", &allow),
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "imaging"),
    ];
    let (status, body) = form(&mock, &admin, "sts", &pairs).await;
    assert_eq!(status, 200, "{body}");
    let bob = credentials(&body);
    let everybody = [
        ("alice", &alice),
        ("bea", &bea),
        ("session", &session),
        ("bob", &bob),
    ];
    let mut seen: Vec<BTreeMap<&str, [bool; 2]>> = Vec::new();
    let mut running = Some(mock);
    for _ in 0..2 {
        let mock = match running.take() {
            Some(first) => first,
            None => start().await,
        };
        let mut may = BTreeMap::new();
        for (name, who) in everybody {
            let encrypts = encrypts(&mock, who, &key).await.is_ok();
            let describe = json!({ "KeyId": key });
            let describes = kms(&mock, who, "DescribeKey", describe).await.0 == 200;
            may.insert(name, [encrypts, describes]);
        }
        seen.push(may);
        mock.stop().await;
    }
    let wanted = [
        ("alice", [true, true]),
        ("bea", [true, false]),
        ("session", [true, false]),
        ("bob", [true, false]),
    ];
    assert_eq!(seen, [wanted.into(), wanted.into()]);

    // Tags of the session and the principal behind it are kept too.
    let mock = start().await;
    let tagged = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "kms:*", "Resource": "*",
          "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:user/admin") } },
        { "Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*", "Principal": "*",
          "Condition": { "StringEquals": { "aws:PrincipalTag/team": "imaging" } } },
    ]});
    let put = json!({ "KeyId": key, "Policy": tagged.to_string() });
    assert_eq!(kms(&mock, &admin, "PutKeyPolicy", put).await.0, 200);
    for (name, who) in everybody {
        let is_tagged = name != "bea";
        assert_eq!(
            encrypts(&mock, who, &key).await.is_ok(),
            is_tagged,
            "{name}"
        );
    }
    // The groups are there as well, members and all.
    let iam = mock.iam();
    assert!(iam.group(ACCOUNT, "operators").is_ok());
    let (_, body) = form(
        &mock,
        &admin,
        "iam",
        &[("Action", "DeleteGroup"), ("GroupName", "operators")],
    )
    .await;
    assert!(body.contains("DeleteConflict"), "{body}");
    iam.delete_boundary(Who::role(ACCOUNT, "bounded")).unwrap();
}

#[tokio::test]
async fn a_directory_of_before_there_were_groups_is_read_and_gets_them() {
    let dir = tempfile::tempdir().unwrap();
    let start = async || builder().data_dir(dir.path()).start().await.unwrap();
    let mock = start().await;
    mock.iam().create_user(ACCOUNT, "/", "alice").unwrap();
    mock.stop().await;
    let database = redb::Database::open(dir.path().join("world.redb")).unwrap();
    let write = database.begin_write().unwrap();
    let groups = redb::TableDefinition::<&[u8], &[u8]>::new("groups");
    assert!(write.delete_table(groups).unwrap());
    write.commit().unwrap();
    drop(database);

    let mock = start().await;
    mock.iam().create_group(ACCOUNT, "/", "ops").unwrap();
    mock.iam().add_to_group(ACCOUNT, "ops", "alice").unwrap();
    mock.stop().await;
    let mock = start().await;
    assert!(mock.iam().group(ACCOUNT, "ops").is_ok());
    mock.stop().await;
}

#[tokio::test]
async fn mistakes_of_a_seed_file_are_reported_with_their_line() {
    for (text, line, what) in [
        (
            "[[user]]\nname = \"a\"\ngroups = [\n  \"none\",\n]",
            4,
            "The group with name none cannot be found.",
        ),
        (
            "[[role]]\nname = \"a\"\npermissions_boundary = \"arn:aws:iam::123456789012:policy/p\"",
            3,
            "Scope ARN: arn:aws:iam::123456789012:policy/p does not exist or is not attachable.",
        ),
        (
            "[[user]]\nname = \"a\"\npermissions_boundary = \"p\"",
            3,
            "ARN p is not valid.",
        ),
        (
            "[[group]]\nname = \"a\"\nattached = [\"arn:aws:iam::aws:policy/Unheard-of\"]",
            3,
            "Policy arn:aws:iam::aws:policy/Unheard-of does not exist or is not attachable.",
        ),
        (
            "[[policy]]\nname = \"p\"\ndocument = \"x\"",
            3,
            "Syntax errors in policy.",
        ),
        (
            "[[policy]]\nname = \"p p\"\ndocument = '{\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}}'",
            2,
            "policyName",
        ),
    ] {
        let error = builder()
            .seed_file(text)
            .start()
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("line {line}:")), "{error}");
        assert!(error.contains(what), "{error}");
    }
}

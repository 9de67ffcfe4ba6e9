//! Principals are identities, not names: a role that is deleted and made again under
//! its name has nothing of what policies and grants gave to the first one.

use std::time::Duration;

use crate::support::{ACCOUNT, NOW, NOW_TEXT, kms_call};
use kms_mock::{
    Auth, KmsMock,
    iam::{AssumeRole, Credentials, Identity, NewRole, Who},
};
use nsm_sim::clock::SettableClock;
use serde_json::{Value, json};

const FOREIGN: &str = "444455556666";

fn start(data: Option<&tempfile::TempDir>) -> KmsMock {
    let builder = KmsMock::builder()
        .auth(Auth::Strict)
        .clock(SettableClock::frozen(NOW))
        .workers(2);
    let builder = match data {
        Some(dir) => builder.data_dir(dir.path()),
        None => builder,
    };
    builder.start_blocking().unwrap()
}

fn trust(principal: &str) -> String {
    json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": { "AWS": principal }, "Action": "sts:AssumeRole" },
    ]})
    .to_string()
}

fn key_policy(principals: &[&str]) -> String {
    json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") },
          "Action": "kms:*", "Resource": "*" },
        { "Sid": "app", "Effect": "Allow", "Principal": { "AWS": principals },
          "Action": ["kms:Encrypt", "kms:DescribeKey"], "Resource": "*" },
    ]})
    .to_string()
}

fn role_arn(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

/// Makes the role; a session of it.
fn session(mock: &KmsMock, role: &str) -> Credentials {
    let root = trust(&format!("arn:aws:iam::{ACCOUNT}:root"));
    mock.iam()
        .create_role(ACCOUNT, &NewRole::named(role, &root))
        .unwrap();
    assumed(mock, role)
}

fn assumed(mock: &KmsMock, role: &str) -> Credentials {
    let request = AssumeRole {
        role_arn: &role_arn(role),
        session_name: "work",
        duration: Duration::from_secs(3600),
        policy: None,
        external_id: None,
    };
    let session = mock.iam().assume_role(&Identity::root(ACCOUNT), &request);
    session.unwrap().credentials
}

async fn call(mock: &KmsMock, who: &Credentials, operation: &str, body: Value) -> (u16, Value) {
    let request = kms_call(mock, who, NOW_TEXT, operation, &body.to_string());
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

async fn ok(mock: &KmsMock, who: &Credentials, operation: &str, body: Value) -> Value {
    let (status, answer) = call(mock, who, operation, body).await;
    assert_eq!(status, 200, "{operation}: {answer}");
    answer
}

/// A user who may do everything.
fn admin(mock: &KmsMock) -> Credentials {
    let iam = mock.iam();
    iam.create_user(ACCOUNT, "/", "admin").unwrap();
    let all = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "*", "Resource": "*" },
    ]});
    iam.put_policy(Who::user(ACCOUNT, "admin"), "all", &all.to_string())
        .unwrap();
    iam.create_access_key(ACCOUNT, "admin").unwrap()
}

#[tokio::test]
async fn a_role_made_again_under_its_name_has_nothing_of_the_first_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut mock = start(Some(&dir));
    let admin = admin(&mock);
    let first = session(&mock, "app");
    let arn = role_arn("app");
    let of_session = format!("arn:aws:sts::{ACCOUNT}:assumed-role/app/work");
    let policy = key_policy(&[&arn, &of_session]);
    let key = ok(&mock, &admin, "CreateKey", json!({ "Policy": policy })).await;
    let key = key["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let granted = ok(&mock, &admin, "CreateKey", json!({})).await;
    let granted = granted["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let grant = json!({ "KeyId": granted, "GranteePrincipal": arn, "RetiringPrincipal": arn,
        "Operations": ["Encrypt"] });
    ok(&mock, &admin, "CreateGrant", grant.clone()).await;
    let encrypt = |key: &str| json!({ "KeyId": key, "Plaintext": "eA==" });
    ok(&mock, &first, "Encrypt", encrypt(&key)).await;
    ok(&mock, &first, "Encrypt", encrypt(&granted)).await;
    let shown = ok(&mock, &admin, "GetKeyPolicy", json!({ "KeyId": key })).await;
    let shown = shown["Policy"].as_str().unwrap().to_owned();
    assert!(shown.contains(&arn) && !shown.contains("AROA"), "{shown}");
    let id = mock.iam().role(ACCOUNT, "app").unwrap().entity.id;

    let deleted = delete(&mock, &admin, "app").await;
    assert_eq!(deleted, 200);
    let (status, refused) = call(&mock, &first, "Encrypt", encrypt(&key)).await;
    assert_eq!(
        (status, refused["__type"].as_str()),
        (400, Some("UnrecognizedClientException")),
    );
    let second = session(&mock, "app");
    for again in [false, true] {
        if again {
            drop(mock);
            mock = start(Some(&dir));
        }
        for key in [&key, &granted] {
            let (status, refused) = call(&mock, &second, "Encrypt", encrypt(key)).await;
            assert_eq!(status, 400, "{refused}");
            assert_eq!(refused["__type"], "AccessDeniedException");
        }
        // The old session does not come back to life.
        let (_, refused) = call(&mock, &first, "Encrypt", encrypt(&key)).await;
        assert_eq!(refused["__type"], "UnrecognizedClientException");
        let policy = ok(&mock, &admin, "GetKeyPolicy", json!({ "KeyId": key })).await;
        let policy = policy["Policy"].as_str().unwrap();
        assert!(policy.contains(&format!("\"{id}\"")), "{policy}");
        assert!(policy.contains(&format!("\"{id}:work\"")), "{policy}");
        assert!(!policy.contains(&arn), "{policy}");
        let grants = ok(&mock, &admin, "ListGrants", json!({ "KeyId": granted })).await;
        assert_eq!(grants["Grants"][0]["GranteePrincipal"], id.as_str());
        assert_eq!(grants["Grants"][0]["RetiringPrincipal"], id.as_str());
        let mut of_new = json!({ "KeyId": granted, "GranteePrincipal": arn });
        let grants = ok(&mock, &admin, "ListGrants", of_new.clone()).await;
        assert_eq!(grants["Grants"], json!([]));
        of_new["GranteePrincipal"] = id.as_str().into();
        let grants = ok(&mock, &admin, "ListGrants", of_new).await;
        assert_eq!(grants["Grants"].as_array().unwrap().len(), 1);
        // The shown policy names somebody who does not exist.
        let put = json!({ "KeyId": key, "Policy": policy });
        let (_, refused) = call(&mock, &admin, "PutKeyPolicy", put).await;
        assert_eq!(
            refused["message"],
            "Policy contains a statement with one or more invalid principals."
        );
    }
    // Written anew, policy and grant reach the new role.
    let put = json!({ "KeyId": key, "Policy": key_policy(&[&arn]) });
    ok(&mock, &admin, "PutKeyPolicy", put).await;
    ok(&mock, &second, "Encrypt", encrypt(&key)).await;
    ok(&mock, &admin, "CreateGrant", grant).await;
    ok(&mock, &second, "Encrypt", encrypt(&granted)).await;
}

/// Deletes a role by the API; the status.
async fn delete(mock: &KmsMock, who: &Credentials, role: &str) -> u16 {
    let pairs = [("Action", "DeleteRole"), ("RoleName", role)];
    crate::edge_identities::form(mock, who, "iam", &pairs)
        .await
        .0
}

#[tokio::test]
async fn principals_that_do_not_exist_are_refused_in_accounts_that_the_world_keeps() {
    let mock = start(None);
    let admin = admin(&mock);
    let nobody = role_arn("nobody");
    let put = |principal: &str| json!({ "Policy": key_policy(&[principal]) });
    let foreign = format!("arn:aws:iam::{FOREIGN}:role/anybody");
    ok(&mock, &admin, "CreateKey", put(&foreign)).await;
    let partition = format!("arn:aws-cn:iam::{FOREIGN}:role/anybody");
    let of_nobody = format!("arn:aws:sts::{ACCOUNT}:assumed-role/nobody/s");
    for principal in [&nobody, &of_nobody, &partition] {
        let (status, refused) = call(&mock, &admin, "CreateKey", put(principal)).await;
        assert_eq!(status, 400, "{principal}");
        assert_eq!(refused["__type"], "MalformedPolicyDocumentException");
        assert_eq!(
            refused["message"],
            "Policy contains a statement with one or more invalid principals."
        );
    }
    let key = ok(&mock, &admin, "CreateKey", json!({})).await;
    let key = &key["KeyMetadata"]["KeyId"];
    let grant = |principal: &str| json!({ "KeyId": key, "GranteePrincipal": principal, "Operations": ["Encrypt"] });
    ok(&mock, &admin, "CreateGrant", grant(&foreign)).await;
    for principal in [
        &nobody,
        &of_nobody,
        &partition,
        &"s3.amazonaws.com".to_owned(),
    ] {
        let (_, refused) = call(&mock, &admin, "CreateGrant", grant(principal)).await;
        assert_eq!(refused["__type"], "InvalidArnException", "{principal}");
        assert_eq!(
            refused["message"],
            format!("ARN does not refer to a valid principal: {principal}")
        );
    }
    let refused = mock
        .iam()
        .create_role(ACCOUNT, &NewRole::named("new", &trust(&nobody)));
    assert_eq!(
        refused.unwrap_err().to_string(),
        format!("Invalid principal in policy: \"AWS\":\"{nobody}\"")
    );
    assert!(mock.iam().role(ACCOUNT, "new").is_err());
}

#[tokio::test]
async fn a_trust_policy_stays_with_the_identity_that_it_named() {
    let mock = start(None);
    let admin = admin(&mock);
    session(&mock, "first");
    let first = role_arn("first");
    mock.iam()
        .create_role(ACCOUNT, &NewRole::named("target", &trust(&first)))
        .unwrap();
    let first_id = mock.iam().role(ACCOUNT, "first").unwrap().entity.id;
    let assume = |role: &str| {
        [
            ("Action", "AssumeRole".to_owned()),
            ("RoleArn", role_arn(role)),
            ("RoleSessionName", "s2".to_owned()),
        ]
    };
    let may = async |who: &Credentials| {
        let pairs = assume("target");
        let pairs = pairs
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        crate::edge_identities::form(&mock, who, "sts", &pairs)
            .await
            .0
    };
    assert_eq!(may(&assumed(&mock, "first")).await, 200);
    assert_eq!(delete(&mock, &admin, "first").await, 200);
    let again = session(&mock, "first");
    assert_eq!(may(&again).await, 403);
    let shown = mock.iam().role(ACCOUNT, "target").unwrap();
    assert!(
        shown.trust.text().contains(&first_id),
        "{}",
        shown.trust.text()
    );
    assert!(!shown.trust.text().contains(&first));
}

#[test]
fn a_seed_may_name_roles_that_stand_further_down_and_no_others_of_its_account() {
    let seed = |named: &str| {
        format!(
            r#"
[[key]]
id = "1234abcd-12ab-34cd-56ef-1234567890ab"
policy = '''{}'''

[[role]]
name = "first"
trust = '''{}'''

[[role]]
name = "second"
"#,
            key_policy(&[&role_arn(named)]),
            trust(&role_arn(named))
        )
    };
    let start = |named: &str| KmsMock::builder().seed_file(seed(named)).start_blocking();
    drop(start("second").unwrap());
    let refused = start("third").map(drop).unwrap_err().to_string();
    assert!(refused.contains("role/third"), "{refused}");
    // Without anything of IAM in the account, roles are mere names.
    let lone = format!(
        "[[key]]\nid = \"1234abcd-12ab-34cd-56ef-1234567890ab\"\npolicy = '''{}'''",
        key_policy(&[&role_arn("third")])
    );
    drop(KmsMock::builder().seed_file(lone).start_blocking().unwrap());
}

//! Who a caller is: signatures, sessions, clock skew, lenient and strict.

use std::time::Duration;

use crate::support::{
    ACCOUNT, NOW, NOW_TEXT, Signing, builder, kms_answer, kms_request, sha256_hex, signed_post,
    user,
};
use kms_mock::{
    Auth,
    iam::{AssumeRole, Credentials, Identity, NewRole},
};

const TRUST_ACCOUNT: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Principal":{"AWS":"123456789012"},"Action":"sts:AssumeRole"}]}"#;
const ALLOW_DECRYPT: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Action":"kms:Decrypt","Resource":"*"}]}"#;

fn invented(id: &str) -> Credentials {
    Credentials {
        access_key_id: id.to_owned(),
        secret_access_key: "test".to_owned().into(),
        session_token: None,
        expiration: None,
    }
}

#[tokio::test]
async fn unknown_credentials_are_the_root_user_and_twelve_digits_choose_the_account() {
    let mock = builder().start().await.unwrap();
    for (id, account) in [("test", ACCOUNT), ("111122223333", "111122223333")] {
        let (status, answer) = kms_answer(kms_request(&mock, &invented(id), NOW_TEXT, "{}")).await;
        assert_eq!(status, 200);
        assert_eq!(answer["principal"], format!("arn:aws:iam::{account}:root"));
        assert_eq!(answer["operation"], "Decrypt");
    }
    let unsigned = reqwest::Client::new()
        .post(mock.url())
        .header("x-amz-target", "TrentService.ListKeys");
    let (status, answer) = kms_answer(unsigned).await;
    assert_eq!((status, answer["account"].as_str()), (200, Some(ACCOUNT)));
}

#[tokio::test]
async fn strict_refuses_unknown_and_unsigned_requests_with_the_words_of_aws() {
    let mock = builder().auth(Auth::Strict).start().await.unwrap();
    let (status, answer) =
        kms_answer(kms_request(&mock, &invented("AKIAUNKNOWN"), NOW_TEXT, "{}")).await;
    assert_eq!(status, 400);
    assert_eq!(answer["__type"], "UnrecognizedClientException");
    assert_eq!(
        answer["message"],
        "The security token included in the request is invalid."
    );

    let unsigned = reqwest::Client::new()
        .post(mock.url())
        .header("x-amz-target", "TrentService.ListKeys");
    let (status, answer) = kms_answer(unsigned).await;
    assert_eq!(status, 400);
    assert_eq!(answer["__type"], "MissingAuthenticationTokenException");

    let half = reqwest::Client::new()
        .post(mock.url())
        .header("x-amz-target", "TrentService.ListKeys")
        .header("x-amz-date", NOW_TEXT)
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=a/20251225/r/kms/aws4_request",
        );
    let (status, answer) = kms_answer(half).await;
    assert_eq!(status, 400);
    assert_eq!(answer["__type"], "IncompleteSignatureException");
}

#[tokio::test]
async fn an_issued_key_is_its_user_in_both_modes() {
    for auth in [Auth::Lenient, Auth::Strict] {
        let mock = builder().auth(auth).start().await.unwrap();
        let alice = user(&mock, "alice");
        mock.iam()
            .put_user_policy(ACCOUNT, "alice", "p", ALLOW_DECRYPT)
            .unwrap();
        let (status, answer) = kms_answer(kms_request(&mock, &alice, NOW_TEXT, "{}")).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["principal"], "arn:aws:iam::123456789012:user/alice");
        assert_eq!(answer["policies"], 1);
    }
}

#[tokio::test]
async fn a_wrong_signature_of_an_issued_key_is_refused_in_both_modes() {
    for auth in [Auth::Lenient, Auth::Strict] {
        let mock = builder().auth(auth).start().await.unwrap();
        let mut alice = user(&mock, "alice");
        alice.secret_access_key = "not the secret".to_owned().into();
        let response = kms_request(&mock, &alice, NOW_TEXT, "{}")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 400);
        let reason = response.headers()["x-drydock-reason"]
            .to_str()
            .unwrap()
            .to_owned();
        assert_eq!(reason, "the signature does not match the request");
        assert_eq!(response.headers()["date"], "Thu, 25 Dec 2025 16:04:18 GMT");
        let answer: serde_json::Value =
            serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(answer["__type"], "InvalidSignatureException");
        let message = answer["message"].as_str().unwrap();
        assert!(message.starts_with("The request signature we calculated does not match"));
    }
}

#[tokio::test]
async fn a_changed_body_or_target_breaks_the_signature() {
    let mock = builder().start().await.unwrap();
    let alice = user(&mock, "alice");
    let spoiled = [
        kms_request(&mock, &alice, NOW_TEXT, "{}").body("{ }"),
        kms_request(&mock, &alice, NOW_TEXT, "{}").header("x-amz-target", "TrentService.Encrypt"),
    ];
    for request in spoiled {
        let (status, answer) = kms_answer(request).await;
        assert_eq!(
            (status, answer["__type"].as_str()),
            (400, Some("InvalidSignatureException"))
        );
    }
}

#[tokio::test]
async fn signatures_more_than_fifteen_minutes_off_are_refused_either_way() {
    let mock = builder().start().await.unwrap();
    let alice = user(&mock, "alice");
    let table = [
        ("20251225T154918Z", 200, ""), // 15 minutes
        ("20251225T161918Z", 200, ""),
        (
            "20251225T154917Z",
            400,
            "Signature expired: 20251225T154917Z is now earlier than",
        ),
        (
            "20251225T161919Z",
            400,
            "Signature not yet current: 20251225T161919Z is still later",
        ),
    ];
    for (date, expected, text) in table {
        let (status, answer) = kms_answer(kms_request(&mock, &alice, date, "{}")).await;
        assert_eq!(status, expected, "{date}: {answer}");
        if expected == 400 {
            assert_eq!(answer["__type"], "InvalidSignatureException");
            assert!(
                answer["message"].as_str().unwrap().starts_with(text),
                "{answer}"
            );
        }
    }
}

#[tokio::test]
async fn a_call_is_served_in_the_region_it_was_signed_for() {
    // The signer signs for us-east-1, whatever the endpoint's own Region is.
    let mock = builder().region("eu-west-1").start().await.unwrap();
    let alice = user(&mock, "alice");
    for credentials in [&alice, &invented("test")] {
        let request = kms_request(&mock, credentials, NOW_TEXT, "{}");
        let (status, answer) = kms_answer(request).await;
        assert_eq!((status, &answer["region"]), (200, &"us-east-1".into()));
    }
}

#[tokio::test]
async fn a_session_is_its_role_until_the_worlds_clock_passes_its_end() {
    let mock = builder().auth(Auth::Strict).start().await.unwrap();
    let iam = mock.iam();
    iam.create_role(ACCOUNT, &NewRole::named("enclave", TRUST_ACCOUNT))
        .unwrap();
    iam.put_role_policy(ACCOUNT, "enclave", "p", ALLOW_DECRYPT)
        .unwrap();
    let session = iam
        .assume_role(
            &Identity::root(ACCOUNT),
            &AssumeRole {
                role_arn: "arn:aws:iam::123456789012:role/enclave",
                session_name: "job-1",
                duration: Duration::from_secs(3600),
                policy: Some(ALLOW_DECRYPT),
                external_id: None,
            },
        )
        .unwrap();
    let credentials = session.credentials;
    let (status, answer) = kms_answer(kms_request(&mock, &credentials, NOW_TEXT, "{}")).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        answer["principal"],
        "arn:aws:sts::123456789012:assumed-role/enclave/job-1"
    );
    assert_eq!(
        (&answer["policies"], &answer["sessionPolicies"]),
        (&1.into(), &1.into())
    );

    let mut without_token = credentials.clone();
    without_token.session_token = None;
    let (_, answer) = kms_answer(kms_request(&mock, &without_token, NOW_TEXT, "{}")).await;
    assert_eq!(answer["__type"], "UnrecognizedClientException");
    let mut other_token = credentials.clone();
    other_token.session_token = Some("another".to_owned().into());
    let (_, answer) = kms_answer(kms_request(&mock, &other_token, NOW_TEXT, "{}")).await;
    assert_eq!(answer["__type"], "UnrecognizedClientException");

    mock.clock().advance(Duration::from_secs(3600));
    let (status, answer) =
        kms_answer(kms_request(&mock, &credentials, "20251225T170418Z", "{}")).await;
    assert_eq!(status, 400);
    assert_eq!(answer["__type"], "ExpiredTokenException");
    assert_eq!(
        answer["message"],
        "The security token included in the request is expired"
    );
}

#[tokio::test]
async fn sts_and_iam_answer_signed_forms() {
    let mock = builder().auth(Auth::Strict).start().await.unwrap();
    let alice = user(&mock, "alice");
    let call = async |service: &str, credentials: &Credentials, body: String| {
        let signing = Signing {
            credentials,
            service,
            date: NOW_TEXT,
            method: "POST",
            host: mock.address().to_string(),
            path: "/",
            canonical_path: "/",
            query: String::new(),
            headers: vec![
                (
                    "content-type",
                    "application/x-www-form-urlencoded; charset=utf-8".to_owned(),
                ),
                ("x-amz-date", NOW_TEXT.to_owned()),
            ],
            payload_hash: sha256_hex(body.as_bytes()),
        };
        let response = signed_post(&mock, &signing, body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let who = "Action=GetCallerIdentity&Version=2011-06-15";
    let (status, body) = call("sts", &alice, who.to_owned()).await;
    assert_eq!(status, 200, "{body}");
    assert!(
        body.contains("<Arn>arn:aws:iam::123456789012:user/alice</Arn>"),
        "{body}"
    );

    let (status, body) = call("sts", &invented("AKIAUNKNOWN"), who.to_owned()).await;
    assert_eq!(status, 403);
    assert!(body.contains("<Code>InvalidClientTokenId</Code>"), "{body}");

    // The trust names the account, so alice's own policy has to allow it too.
    mock.iam()
        .create_role(ACCOUNT, &NewRole::named("enclave", TRUST_ACCOUNT))
        .unwrap();
    let assume = "Action=AssumeRole&Version=2011-06-15&RoleSessionName=job-1\
                  &RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fenclave";
    let (status, body) = call("sts", &alice, assume.to_owned()).await;
    assert_eq!(status, 403, "{body}");
    assert!(
        body.contains("is not authorized to perform: sts:AssumeRole on resource"),
        "{body}"
    );
    let allow = r#"{"Statement":{"Effect":"Allow","Action":"sts:*","Resource":"*"}}"#;
    mock.iam()
        .put_user_policy(ACCOUNT, "alice", "sts", allow)
        .unwrap();
    let (status, body) = call("sts", &alice, assume.to_owned()).await;
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("<AccessKeyId>ASIA"), "{body}");
    assert!(
        body.contains("<Expiration>2025-12-25T17:04:18Z</Expiration>"),
        "{body}"
    );
}

#[tokio::test]
async fn the_instances_role_needs_no_trust_in_anybody_here() {
    let mock = builder().auth(Auth::Strict).start().await.unwrap();
    let ec2 = r#"{"Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},
        "Action":"sts:AssumeRole"}]}"#;
    let role = mock
        .iam()
        .create_role(ACCOUNT, &NewRole::named("parent", ec2))
        .unwrap();
    let refused = mock.iam().assume_role(
        &Identity::root(ACCOUNT),
        &AssumeRole {
            role_arn: role.arn(),
            session_name: "me",
            duration: Duration::from_secs(900),
            policy: None,
            external_id: None,
        },
    );
    assert!(refused.is_err());
    let credentials = mock
        .iam()
        .instance_credentials(role.arn(), "i-0123456789abcdef0")
        .unwrap();
    let (_, answer) = kms_answer(kms_request(&mock, &credentials, NOW_TEXT, "{}")).await;
    assert_eq!(
        answer["principal"],
        "arn:aws:sts::123456789012:assumed-role/parent/i-0123456789abcdef0"
    );
}

#[tokio::test]
async fn a_seeded_world_issues_the_same_keys_again() {
    let seed = || nsm_sim::seed::WorldSeed::from_u64(7);
    let (first, again) = (
        builder().seed(seed()).start().await.unwrap(),
        builder().seed(seed()).start().await.unwrap(),
    );
    let (a, b) = (user(&first, "alice"), user(&again, "alice"));
    assert_eq!(a.access_key_id, b.access_key_id);
    assert_eq!(*a.secret_access_key, *b.secret_access_key);
}

#[tokio::test]
async fn received_requests_can_be_read_back() {
    let mock = builder().start().await.unwrap();
    let alice = user(&mock, "alice");
    let refuse = kms_request(&mock, &alice, NOW_TEXT, "{}").header("user-agent", "test/1");
    kms_answer(refuse).await;
    let received = mock.received();
    assert_eq!(received.len(), 1);
    assert_eq!(
        (received[0].service, &*received[0].operation),
        ("kms", "Decrypt")
    );
    assert_eq!(received[0].at, NOW);
    assert_eq!(
        received[0].principal.as_deref(),
        Some("arn:aws:iam::123456789012:user/alice")
    );
    assert!(!received[0].tls);
}

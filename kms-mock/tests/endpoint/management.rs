//! The management port from outside, `explain` in all its forms, faults on the
//! wire, seed files, expectations and the audit file.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use kms_mock::{Expectation, Fault, KmsMock, StartError};
use nsm_sim::clock::{Clock, SettableClock, UnixMillis};
use serde_json::{Value, json};

/// A call in the lenient mode: the account's root user.
async fn kms(mock: &KmsMock, operation: &str, body: Value) -> (u16, Value, String, Option<String>) {
    let answer = send(&mock.url(), operation, &body).await.unwrap();
    let header = |name| {
        let value = answer.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let id = header("x-amzn-requestid").unwrap();
    let (status, reason) = (answer.status().as_u16(), header("x-drydock-reason"));
    let body = answer.bytes().await.unwrap();
    let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
    (status, json, id, reason)
}

async fn send(
    url: &str,
    operation: &str,
    body: &Value,
) -> Result<reqwest::Response, reqwest::Error> {
    client()
        .post(url)
        .header("x-amz-target", format!("TrentService.{operation}"))
        .header("content-type", "application/x-amz-json-1.1")
        .body(body.to_string())
        .send()
        .await
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn manage(mock: &KmsMock, method: &str, path: &str, body: &str) -> (u16, Value) {
    let url = format!("{}{path}", mock.management_url().unwrap());
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let request = client().request(method, url).body(body.to_owned());
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let bytes = answer.bytes().await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap())
}

async fn managed() -> KmsMock {
    KmsMock::builder().management(true).start().await.unwrap()
}

/// A key that only an attested enclave may use, and that the account manages.
const BOUND: &str = r#"{"Version":"2012-10-17","Statement":[
    {"Sid":"Admin","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},
     "Action":["kms:PutKeyPolicy","kms:DescribeKey"],"Resource":"*"},
    {"Sid":"Enclave","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},
     "Action":"kms:GenerateDataKey","Resource":"*",
     "Condition":{"StringEqualsIgnoreCase":{"kms:RecipientAttestation:ImageSha384":"abcd"}}}]}"#;

#[tokio::test]
async fn a_denial_explains_itself_over_http_in_the_library_and_on_the_command_line() {
    let mock = managed().await;
    let (_, key, ..) = kms(&mock, "CreateKey", json!({ "Policy": BOUND })).await;
    let key = &key["KeyMetadata"]["Arn"];
    let body = json!({ "KeyId": key, "KeySpec": "AES_256" });
    let (status, denied, id, _) = kms(&mock, "GenerateDataKey", body).await;
    assert_eq!(
        (status, &denied["__type"]),
        (400, &"AccessDeniedException".into())
    );

    let (status, json) = manage(&mock, "GET", &format!("/explain/{id}"), "").await;
    assert_eq!(status, 200);
    assert_eq!(json["decisions"][0]["allowed"], false);
    let conditions = &json["decisions"][0]["policies"][0]["statements"][1]["conditions"];
    assert_eq!(conditions[0]["expected"], json!(["abcd"]));
    assert_eq!(conditions[0]["presented"], Value::Null);

    let explanation = mock.explain(&id).unwrap();
    assert_eq!(explanation.json(), &json);
    let text = explanation.to_string();
    for line in [
        "GenerateDataKey refused: AccessDeniedException",
        "document  none: the call is not attested",
        "Decision 1: Denied: no resource-based policy allows",
        "! kms:RecipientAttestation:ImageSha384 is absent",
        "statement 1 \"Admin\", Allow: is about other actions",
        "statement 2 \"Enclave\", Allow: condition not satisfied",
        "FAILS  StringEqualsIgnoreCase kms:RecipientAttestation:ImageSha384",
        "expected  abcd",
        "presented nothing",
    ] {
        assert!(text.contains(line), "`{line}` is not in\n{text}");
    }

    let url = mock.management_url().unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kms-mock"));
        command.args(["explain", "--management", &url]).args(more);
        command.output().unwrap()
    };
    let shown = run(&[&id]);
    assert_eq!(String::from_utf8_lossy(&shown.stdout), text);
    let shown = run(&[&id, "--json"]);
    assert_eq!(
        serde_json::from_slice::<Value>(&shown.stdout).unwrap(),
        json
    );
    let unknown = run(&["00000000-0000-0000-0000-000000000000"]);
    assert!(!unknown.status.success());
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(said.contains("the log has no request 0000"), "{said}");

    // S3 is in the same log.
    let answer = client().get(format!("{}/no-bucket/k", mock.url())).send();
    let id = answer.await.unwrap().headers()["x-amzn-requestid"].clone();
    let text = mock.explain(id.to_str().unwrap()).unwrap().to_string();
    assert!(
        text.starts_with("GetObject refused: NoSuchBucket"),
        "{text}"
    );
}

#[tokio::test]
async fn the_clock_is_frozen_advanced_and_shifted() {
    let mock = managed().await;
    let freeze = r#"{"at":"2030-01-01T00:00:00Z"}"#;
    let (status, at) = manage(&mock, "POST", "/clock/freeze", freeze).await;
    assert_eq!(
        (status, &at["now"]),
        (200, &"2030-01-01T00:00:00.000Z".into())
    );
    let (_, at) = manage(&mock, "POST", "/clock/advance", r#"{"by":"3h"}"#).await;
    assert_eq!(at["now"], "2030-01-01T03:00:00.000Z");
    let (_, at) = manage(&mock, "POST", "/clock/advance", r#"{"ms":1500}"#).await;
    assert_eq!(at["now"], "2030-01-01T03:00:01.500Z");
    assert_eq!(manage(&mock, "GET", "/clock", "").await.1, at);
    assert_eq!(at["nowMs"], mock.clock().now().0);
    let (_, at) = manage(&mock, "POST", "/clock/shift", r#"{"ms":0}"#).await;
    assert!(at["nowMs"].as_u64().unwrap() < 1_893_456_000_000);
    for (path, body) in [
        ("/clock/freeze", r#"{"at":"noon"}"#),
        ("/clock/advance", "{}"),
        ("/clock/advance", r#"{"ms":-1}"#),
        ("/clock/shift", "[]"),
        ("/clock/stop", "{}"),
    ] {
        let (status, error) = manage(&mock, "POST", path, body).await;
        assert_eq!(status, 400, "{path} {body}");
        assert!(error["error"].is_string());
    }
}

#[tokio::test]
async fn the_audit_log_is_listed_since_a_time_found_by_id_and_forgotten_by_a_reset() {
    let clock = SettableClock::frozen(UnixMillis(1_000_000));
    let builder = KmsMock::builder().management(true).clock(clock.clone());
    let mock = builder.start().await.unwrap();
    kms(&mock, "CreateKey", json!({})).await;
    clock.advance(Duration::from_secs(60));
    let (_, _, id, _) = kms(&mock, "ListKeys", json!({})).await;
    let (_, all) = manage(&mock, "GET", "/audit", "").await;
    assert_eq!(all["Records"].as_array().unwrap().len(), 2);
    let (_, late) = manage(&mock, "GET", "/audit?since=1000001", "").await;
    assert_eq!(late["Records"].as_array().unwrap().len(), 1);
    assert_eq!(late["Records"][0]["eventName"], "ListKeys");
    let (_, one) = manage(&mock, "GET", "/audit?limit=1", "").await;
    assert_eq!(one["Records"], late["Records"]);
    let (_, found) = manage(&mock, "GET", &format!("/audit/{id}"), "").await;
    assert_eq!(found["requestID"], id.as_str());

    let (status, _) = manage(&mock, "POST", "/reset", "").await;
    assert_eq!(status, 200);
    let (status, _) = manage(&mock, "GET", &format!("/audit/{id}"), "").await;
    assert_eq!(status, 404);
    let (_, keys, ..) = kms(&mock, "ListKeys", json!({})).await;
    assert_eq!(keys["Keys"], json!([]));
    assert!(
        mock.clock().now().0 > 1_700_000_000_000,
        "the clock runs again"
    );
}

#[tokio::test]
async fn faults_are_armed_listed_and_removed_and_marked_in_the_header() {
    let mock = managed().await;
    let spec = json!({ "spec": "throttle,operation=ListKeys,next=1" }).to_string();
    let (status, armed) = manage(&mock, "POST", "/faults", &spec).await;
    assert_eq!((status, &armed["id"]), (200, &1.into()));
    let (status, body, _, reason) = kms(&mock, "ListKeys", json!({})).await;
    assert_eq!(
        (status, &body["__type"]),
        (400, &"ThrottlingException".into())
    );
    assert_eq!(
        body["message"],
        "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls."
    );
    assert_eq!(reason.as_deref(), Some("injected fault: throttle"));
    let (status, .., reason) = kms(&mock, "ListKeys", json!({})).await;
    assert_eq!((status, reason), (200, None));
    let (_, list) = manage(&mock, "GET", "/faults", "").await;
    let spent = json!({ "id": 1, "spec": "throttle,operation=ListKeys,next=0", "hits": 1 });
    assert_eq!(list["faults"], json!([spent]));
    assert_eq!(manage(&mock, "DELETE", "/faults/1", "").await.0, 200);
    assert_eq!(manage(&mock, "DELETE", "/faults/1", "").await.0, 404);
    let (status, error) = manage(&mock, "POST", "/faults", r#"{"spec":"slow"}"#).await;
    assert_eq!(status, 400);
    assert!(
        error["error"]
            .as_str()
            .unwrap()
            .contains("`slow` is not a fault")
    );
}

#[tokio::test]
async fn dropped_and_cut_answers_break_the_connection_after_the_work_is_done() {
    let mock = managed().await;
    for spec in ["drop,next=1", "cut=10,next=1", "cut=0,next=1"] {
        mock.faults().add(spec.parse().unwrap());
        let broken = match send(&mock.url(), "CreateKey", &json!({})).await {
            Err(_) => true,
            Ok(answer) => answer.bytes().await.is_err(),
        };
        assert!(broken, "{spec}");
    }
    let (status, keys, ..) = kms(&mock, "ListKeys", json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(
        keys["Keys"].as_array().unwrap().len(),
        3,
        "the work was done"
    );
    let records = mock.kms().audit().records();
    let marks: Vec<_> = records.iter().flat_map(|r| r.faults().to_vec()).collect();
    assert_eq!(marks, ["drop", "cut=10", "cut=0"]);
}

#[tokio::test]
async fn latency_holds_a_call_back() {
    let mock = KmsMock::builder()
        .fault(
            "latency=60ms,operation=ListKeys,next=1"
                .parse::<Fault>()
                .unwrap(),
        )
        .start()
        .await
        .unwrap();
    let begun = Instant::now();
    let (_, _, _, reason) = kms(&mock, "ListKeys", json!({})).await;
    assert!(begun.elapsed() >= Duration::from_millis(60));
    assert_eq!(reason.as_deref(), Some("injected fault: latency=60ms"));
}

#[tokio::test]
async fn the_management_port_refuses_other_hosts_and_browsers() {
    let mock = managed().await;
    let url = format!("{}/health", mock.management_url().unwrap());
    for (name, value) in [("host", "evil.example"), ("origin", "http://evil.example")] {
        let answer = client().get(&url).header(name, value).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 403, "{name}");
    }
    let (_, health) = manage(&mock, "GET", "/health", "").await;
    assert_eq!(health["status"], "running");
    assert_eq!(manage(&mock, "GET", "/nothing", "").await.0, 404);
    let anywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let refused = KmsMock::builder().management_bind(anywhere).start().await;
    assert!(matches!(refused, Err(StartError::ManagementNotLocal(_))));
    assert!(
        KmsMock::builder()
            .start()
            .await
            .unwrap()
            .management_url()
            .is_none()
    );
}

const SEED: &str = include_str!("../../examples/seed.toml");

#[tokio::test]
async fn the_example_seed_file_makes_what_it_says() {
    let mock = KmsMock::builder().seed_file(SEED).start().await.unwrap();
    let (status, key, ..) = kms(
        &mock,
        "DescribeKey",
        json!({ "KeyId": "alias/imaging-input" }),
    )
    .await;
    assert_eq!(status, 200, "{key}");
    let id = "1234abcd-12ab-34cd-56ef-1234567890ab";
    assert_eq!(key["KeyMetadata"]["KeyId"], id);
    assert_eq!(
        mock.iam()
            .role("123456789012", "imaging-parent")
            .unwrap()
            .entity
            .name,
        "imaging-parent"
    );
    let list = client()
        .get(format!("{}/imaging", mock.url()))
        .send()
        .await
        .unwrap();
    assert_eq!(list.status().as_u16(), 200);
    // Known material: what one server encrypts another one opens.
    let other = KmsMock::builder().seed_file(SEED).start().await.unwrap();
    let plain = json!({ "KeyId": id, "Plaintext": "c2VjcmV0" });
    let (_, sealed, ..) = kms(&mock, "Encrypt", plain).await;
    let blob = json!({ "CiphertextBlob": sealed["CiphertextBlob"] });
    let (status, opened, ..) = kms(&other, "Decrypt", blob).await;
    assert_eq!((status, &opened["Plaintext"]), (200, &"c2VjcmV0".into()));
}

#[tokio::test]
async fn mistakes_in_a_seed_file_are_reported_with_their_line() {
    let table = [
        ("[[key]]\nid = 7", "line 2"),
        ("[[key]]\n\nid = \"short\"", "line 3: a key's id"),
        (
            "[[key]]\nid = \"1234abcd-12ab-34cd-56ef-1234567890ab\"\npolicy = '{'",
            "line 3: ",
        ),
        (
            "[[key]]\nid = \"1234abcd-12ab-34cd-56ef-1234567890ab\"\nmaterial = \"00\"",
            "line 3: material must be 32 bytes",
        ),
        (
            "[[key]]\nid = \"1234abcd-12ab-34cd-56ef-1234567890ab\"\naliases = [\n\"alias/a\",\n\"beta\"]",
            "line 5: an alias",
        ),
        ("[[role]]\nname = \"r\"\ntrust = '[]'", "line 3: "),
        (
            "[[user]]\nname = \"u\"\naccess_key_id = \"AKIAIOSFODNN7EXAMPLE\"",
            "line 2: access_key_id and",
        ),
        (
            "[[user]]\nname = \"u\"\naccount = \"12\"",
            "line 3: an account has twelve digits",
        ),
        ("[[bucket]]\nname = \"B\"", "line 2: a bucket's name"),
        ("[[queue]]\nname = \"q\"", "line 1"),
    ];
    for (text, says) in table {
        let error = KmsMock::builder()
            .seed_file(text)
            .start()
            .await
            .unwrap_err();
        assert!(matches!(error, StartError::Seed(_)));
        assert!(error.to_string().contains(says), "{text}\n{error}");
    }
    let mock = managed().await;
    assert_eq!(manage(&mock, "POST", "/seed", SEED).await.0, 200);
    let (status, again) = manage(&mock, "POST", "/seed", SEED).await;
    assert_eq!(status, 400);
    assert!(again["error"].as_str().unwrap().contains("already exists"));
}

#[tokio::test]
async fn a_failed_expectation_prints_the_requests_received() {
    let mock = managed().await;
    kms(&mock, "ListKeys", json!({})).await;
    mock.expect(Expectation::of("ListKeys").answered(200).times(1));
    mock.verify().unwrap();
    mock.expect(Expectation::of("Decrypt"));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(mock)));
    let said = panicked.unwrap_err();
    let said = said.downcast_ref::<String>().unwrap();
    assert!(
        said.contains("expected Decrypt, at least once; received none"),
        "{said}"
    );
    assert!(
        said.contains("200 kms ListKeys by arn:aws:iam::123456789012:root"),
        "{said}"
    );
}

#[test]
fn serve_takes_faults_a_seed_file_and_an_audit_log() {
    let folder = std::env::temp_dir().join(format!("kms-mock-serve-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let log = folder.join("audit.jsonl");
    let mut server = Command::new(env!("CARGO_BIN_EXE_kms-mock"))
        .args([
            "serve",
            "--bind",
            "127.0.0.1:0",
            "--management",
            "127.0.0.1:0",
        ])
        .args(["--fault", "throttle,operation=ListAliases"])
        .args([
            "--seed-file",
            concat!(env!("CARGO_MANIFEST_DIR"), "/examples/seed.toml"),
        ])
        .arg("--audit-log")
        .arg(&log)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let url = lines
        .find_map(|line| {
            Some(
                line.unwrap()
                    .strip_prefix("export AWS_ENDPOINT_URL=")?
                    .to_owned(),
            )
        })
        .unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (throttled, listed) = runtime.block_on(async {
        let throttled = send(&url, "ListAliases", &json!({})).await.unwrap();
        (
            throttled.status(),
            send(&url, "ListKeys", &json!({}))
                .await
                .unwrap()
                .text()
                .await
                .unwrap(),
        )
    });
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(throttled.as_u16(), 400);
    assert!(
        listed.contains("1234abcd-12ab-34cd-56ef-1234567890ab"),
        "{listed}"
    );
    let events = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let events: Vec<Value> = events
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["errorCode"], "ThrottlingException");
    assert_eq!(events[0]["drydock"]["faults"], json!(["throttle"]));
    assert_eq!(events[1]["eventName"], "ListKeys");
    assert_eq!(events[1]["eventSource"], "kms.amazonaws.com");
}

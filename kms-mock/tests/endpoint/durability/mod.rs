//! What a data directory keeps: a world goes on where its last server stopped.
//!
//! Reading order: `keys`, `identities`, `objects` (what is kept), `worlds` (seeds,
//! seed files, resets), `damage` (what a server does not start with).

mod damage;
mod identities;
mod keys;
mod objects;
mod worlds;

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use kms_mock::{
    KmsMock, kms::Call, mock::builder::Builder, policy::Caller, world::principal::Principal,
};
use nsm_sim::clock::{Clock, SettableClock, UnixMillis};
use serde_json::{Value, json};

const ACCOUNT: &str = "123456789012";
const START: UnixMillis = UnixMillis(1_767_225_600_000);
const DAY: Duration = Duration::from_secs(86_400);

/// A world that can be stopped and started.
struct World {
    dir: tempfile::TempDir,
    clock: SettableClock,
    mock: Option<KmsMock>,
}

impl World {
    fn new() -> Self {
        Self::of(tempfile::tempdir().unwrap())
    }

    fn of(dir: tempfile::TempDir) -> Self {
        let clock = SettableClock::frozen(START);
        let mut world = Self {
            dir,
            clock,
            mock: None,
        };
        world.start();
        world
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    fn builder(&self) -> Builder {
        KmsMock::builder()
            .data_dir(self.path())
            .clock(self.clock.clone())
            .workers(2)
    }

    fn start(&mut self) {
        self.start_with(|builder| builder);
    }

    fn start_with(&mut self, with: impl FnOnce(Builder) -> Builder) {
        self.mock = Some(with(self.builder()).start_blocking().unwrap());
    }

    fn stop(&mut self) {
        self.mock = None;
    }

    fn restart(&mut self) {
        self.stop();
        self.start();
    }

    fn mock(&self) -> &KmsMock {
        self.mock.as_ref().unwrap()
    }

    fn call_in(&self, region: Option<&str>, operation: &str, body: &Value) -> (u16, Value) {
        call(self.mock(), region, operation, body)
    }

    fn ok(&self, operation: &str, body: Value) -> Value {
        self.ok_in(None, operation, body)
    }

    fn ok_in(&self, region: Option<&str>, operation: &str, body: Value) -> Value {
        let (status, answer) = self.call_in(region, operation, &body);
        assert_eq!(status, 200, "{operation} {body}: {answer}");
        answer
    }

    fn refused(&self, operation: &str, body: Value) -> String {
        let (status, answer) = self.call_in(None, operation, &body);
        assert_ne!(status, 200, "{operation} {body}: {answer}");
        text(&answer["__type"])
    }

    fn key(&self, body: Value) -> String {
        text(&self.ok("CreateKey", body)["KeyMetadata"]["Arn"])
    }

    fn metadata(&self, key: &str) -> Value {
        self.ok("DescribeKey", json!({ "KeyId": key }))["KeyMetadata"].clone()
    }

    fn encrypt(&self, key: &str) -> Value {
        let body = json!({ "KeyId": key, "Plaintext": BASE64.encode("kept") });
        self.ok("Encrypt", body)["CiphertextBlob"].clone()
    }

    fn opens(&self, blob: &Value) {
        let opened = self.ok("Decrypt", json!({ "CiphertextBlob": blob }));
        assert_eq!(opened["Plaintext"], BASE64.encode("kept"));
    }
}

fn call(mock: &KmsMock, region: Option<&str>, operation: &str, body: &Value) -> (u16, Value) {
    let caller = Arc::new(Caller::new(Principal::Root {
        account: ACCOUNT.to_owned(),
    }));
    let reply = mock.kms().call(&Call {
        operation,
        body: body.to_string().as_bytes(),
        region,
        caller: &caller,
        request_id: kms_mock::RequestId::random(),
        user_agent: "test",
    });
    let answer = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    (reply.status, answer)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// `20260101T000000Z`
fn date_of(clock: &SettableClock) -> String {
    clock.now().to_string().replace(['-', ':'], "")
}

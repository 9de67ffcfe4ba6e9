//! A million keys beside a thousand: the latency of Encrypt over keys drawn from
//! all of them, and the memory a key takes.
//!
//! The servers are this program in another role ([`serve`]): the KMS and the
//! edge of `kms-mock serve`, filled by calls in process, because a million
//! `CreateKey` by HTTP would take most of the bench's time.

use std::{
    convert::Infallible,
    io::{self, Write},
    net::IpAddr,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use kms_mock::{
    KmsMock,
    api::{Call, Kms},
    principal::{Caller, Principal},
};
use serde_json::{Value, json};

use super::{
    Line, LoadError,
    client::{Load, Requests},
    kms_request, median, own_server,
    server::{Server, resident_bytes},
};
use crate::promises::{Limit, Promise};

const FEW: usize = 1_000;
const MANY: usize = 1_000_000;
/// Keys that requests go to; ten times what the processor's caches hold.
const NAMED_MAX: usize = 200_000;
/// Calls in a filled audit log, so that it is no part of what keys take.
const WARM_UP: usize = 20_000;
const ACCOUNT: &str = "123456789012";

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(700);
/// As long as a key id.
const PLACEHOLDER: &str = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

pub(super) async fn measure(tell: &mut impl FnMut(Line)) -> Result<(), LoadError> {
    let few = Filled::start(FEW)?;
    let many = Filled::start(MANY)?;
    for connections in [1, 16] {
        let mut on_few = few.load(connections).await?;
        let mut on_many = many.load(connections).await?;
        let mut ratios = Vec::with_capacity(ROUNDS);
        for number in 0..ROUNDS {
            let (a, b) = if number % 2 == 0 {
                let a = on_few.drive(ROUND).await?;
                (a, on_many.drive(ROUND).await?)
            } else {
                let b = on_many.drive(ROUND).await?;
                (on_few.drive(ROUND).await?, b)
            };
            ratios.push(b.latency_us(50) / a.latency_us(50));
        }
        tell(Line::Promise(Promise {
            what: format!("Encrypt over {MANY} keys, in that over {FEW}, at {connections}"),
            measured: median(ratios),
            limit: Limit::AtMost(1.2),
            unit: "x",
        }));
    }
    tell(Line::Promise(Promise {
        what: format!("memory of a key, of {MANY}"),
        measured: many.bytes_a_key,
        limit: Limit::AtMost(1024.0),
        unit: "B",
    }));
    Ok(())
}

struct Filled {
    server: Server,
    ids: Arc<[String]>,
    bytes_a_key: f64,
}

impl Filled {
    fn start(keys: usize) -> Result<Self, LoadError> {
        let mut server = own_server("filled", &keys.to_string())?;
        let wrong = || LoadError::Wrong("the filled server does not say what it holds".to_owned());
        let bytes_a_key = server.line()?.parse().map_err(|_| wrong())?;
        let ids: Vec<String> = server.line()?.split(' ').map(str::to_owned).collect();
        if ids.len() != keys.min(NAMED_MAX) {
            return Err(wrong());
        }
        Ok(Self {
            server,
            ids: ids.into(),
            bytes_a_key,
        })
    }

    async fn load(&self, connections: usize) -> Result<Load, LoadError> {
        let body = json!({"KeyId": PLACEHOLDER, "Plaintext": "AAECAwQFBgcICQoLDA0ODw=="});
        let request = kms_request("Encrypt", &body);
        let requests = Requests::over_names(request, PLACEHOLDER, Arc::clone(&self.ids));
        Ok(Load::open(self.server.address(), connections, &requests).await?)
    }
}

/// Serves a KMS of `count` keys until the process is killed. Prints, a line
/// each: where it listens, the bytes a key takes, and the ids of keys spread
/// evenly over all, as many as the load generator asks for.
///
/// # Errors
/// When the server does not start, or a key is refused.
pub fn serve(count: usize) -> Result<Infallible, String> {
    let mock = KmsMock::builder()
        .start_blocking()
        .map_err(|error| error.to_string())?;
    let caller = Caller {
        source_ip: Some(IpAddr::from([127, 0, 0, 1])),
        ..Caller::new(Principal::Root {
            account: ACCOUNT.to_owned(),
        })
    };
    let kms = mock.kms();
    let first = create(kms, &caller)?;
    for _ in 0..WARM_UP {
        let body = json!({"KeyId": first, "Plaintext": "AAECAwQFBgcICQoLDA0ODw=="});
        call(kms, &caller, "Encrypt", &body)?;
    }
    let bytes = || resident_bytes("self").map_err(|error| error.to_string());
    let before = bytes()?;
    let step = count.div_ceil(NAMED_MAX);
    let mut ids = Vec::with_capacity(count.min(NAMED_MAX));
    for number in 0..count {
        let id = create(kms, &caller)?;
        if number % step == 0 {
            ids.push(id);
        }
    }
    let ids = ids.join(" ");
    let held = bytes()?
        .saturating_sub(before)
        .saturating_sub(ids.len() as u64);
    #[allow(clippy::cast_precision_loss)] // far below 2^53
    let bytes_a_key = held as f64 / count as f64;
    say(mock.address(), bytes_a_key, &ids).map_err(|error| error.to_string())?;
    loop {
        std::thread::park();
    }
}

fn say(address: SocketAddr, bytes_a_key: f64, ids: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{address}\n{bytes_a_key}\n{ids}")?;
    out.flush()
}

fn create(kms: &Kms, caller: &Caller) -> Result<String, String> {
    let answer = call(kms, caller, "CreateKey", &json!({}))?;
    let id = answer.pointer("/KeyMetadata/KeyId").and_then(Value::as_str);
    id.map(str::to_owned)
        .ok_or_else(|| format!("CreateKey answered {answer}"))
}

fn call(kms: &Kms, caller: &Caller, operation: &str, body: &Value) -> Result<Value, String> {
    let reply = kms.call(&Call {
        operation,
        body: body.to_string().as_bytes(),
        region: None,
        caller,
        request_id: kms_mock::RequestId::random(),
        user_agent: "operations",
    });
    if reply.status != 200 {
        return Err(format!("{operation}: {:?}", reply.error_type));
    }
    serde_json::from_slice(&reply.body).map_err(|error| error.to_string())
}

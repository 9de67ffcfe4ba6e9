//! A million keys beside a thousand: the latency of Encrypt over keys drawn from
//! all of them, and the memory a key takes.
//!
//! The servers are filled as any client fills them, by CreateKey, sixteen at a
//! time; that takes most of this section's time.

use std::{io, path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    Line, LoadError,
    client::{ClientError, Connection, Load, Requests},
    kms_request,
    place::Places,
    serve_command,
    server::Server,
};
use crate::promise::{Limit, Promise, median};

const FEW: usize = 1_000;
const MANY: usize = 1_000_000;
/// Keys that requests go to; ten times what the processor's caches hold.
const NAMED_MAX: usize = 200_000;
const FILLING: usize = 16;
/// Calls in a filled audit log, so that it is not a part of what keys take.
const WARM_UP: usize = 20_000;

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(700);
/// As long as a key id.
const PLACEHOLDER: &str = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

pub(super) async fn measure(kms_mock: &Path, tell: &mut impl FnMut(Line)) -> Result<(), LoadError> {
    let few = Filled::start(kms_mock, FEW).await?;
    let many = Filled::start(kms_mock, MANY).await?;
    let places = Places::find().map_err(placing)?;
    let servers = [few.server.id(), many.server.id()];
    for connections in [1, 16] {
        if let Some(places) = &places {
            let placed = match connections {
                1 => places.take(&servers),
                _ => places.leave(&servers),
            };
            placed.map_err(placing)?;
        }
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
    async fn start(kms_mock: &Path, keys: usize) -> Result<Self, LoadError> {
        let server = Server::start(&mut serve_command(kms_mock))?;
        let first = create(&server, 1, 1).await?;
        let [first] = first.as_slice() else {
            return Err(LoadError::Wrong(
                "CreateKey did not answer a key".to_owned(),
            ));
        };
        let request = encrypt(first);
        let mut connection = Connection::open(server.address()).await?;
        for _ in 0..WARM_UP {
            connection.ask(&request).await?;
        }
        let before = server.resident_bytes()?;
        let ids = create(&server, keys, keys.div_ceil(NAMED_MAX)).await?;
        let held = server.resident_bytes()?.saturating_sub(before);
        #[allow(clippy::cast_precision_loss)] // far below 2^53
        let bytes_a_key = held as f64 / keys as f64;
        Ok(Self {
            server,
            ids: ids.into(),
            bytes_a_key,
        })
    }

    async fn load(&self, connections: usize) -> Result<Load, LoadError> {
        let request = encrypt(PLACEHOLDER);
        let requests = Requests::over_names(request, PLACEHOLDER, Arc::clone(&self.ids));
        Ok(Load::open(self.server.address(), connections, &requests).await?)
    }
}

fn encrypt(key: &str) -> Vec<u8> {
    let body = json!({"KeyId": key, "Plaintext": "AAECAwQFBgcICQoLDA0ODw=="});
    kms_request("Encrypt", &body)
}

/// Makes `count` keys; the id of every `step`th.
async fn create(server: &Server, count: usize, step: usize) -> Result<Vec<String>, LoadError> {
    let address = server.address();
    let mut filling = JoinSet::new();
    for lane in 0..FILLING {
        filling.spawn(async move {
            let request = kms_request("CreateKey", &json!({}));
            let mut connection = Connection::open(address).await?;
            let mut ids = Vec::new();
            for number in (lane..count).step_by(FILLING) {
                let answer = connection.ask(&request).await?;
                if number.is_multiple_of(step) {
                    ids.push(key_id(answer)?);
                }
            }
            Ok::<_, ClientError>(ids)
        });
    }
    let mut ids = Vec::with_capacity(count.div_ceil(step));
    while let Some(filled) = filling.join_next().await {
        ids.append(&mut filled.map_err(|error| ClientError::Form(error.to_string()))??);
    }
    Ok(ids)
}

fn key_id(answer: &[u8]) -> Result<String, ClientError> {
    let answer: Value =
        serde_json::from_slice(answer).map_err(|error| ClientError::Form(error.to_string()))?;
    let id = answer.pointer("/KeyMetadata/KeyId").and_then(Value::as_str);
    id.map(str::to_owned)
        .ok_or_else(|| ClientError::Form(answer.to_string()))
}

fn placing(source: io::Error) -> LoadError {
    LoadError::System {
        what: "binding generator and servers to processors",
        source,
    }
}

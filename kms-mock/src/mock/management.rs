//! The management port: what a test or a person does to the world from outside
//! it. Not AWS's; JSON over HTTP/1.1, on a port of its own, loopback only.
//!
//! | request | does |
//! |---|---|
//! | `GET /health` | says who it is |
//! | `POST /reset` | forgets keys, identities, objects, faults and logs, in the data directory too; the clock runs by the machine's again |
//! | `GET /clock` | `{"now":"2026-…Z","nowMs":…}` |
//! | `POST /clock/freeze` | `{"at": MS or RFC 3339}` stops it there, `{}` now |
//! | `POST /clock/advance` | `{"by":"3h"}` or `{"ms":…}` moves it forward |
//! | `POST /clock/shift` | `{"ms":…}` runs it, so far from the machine's clock |
//! | `GET /audit` | `{"Records":[…]}` in CloudTrail's shape; `?since=MS or RFC 3339`, `?limit=N` newest |
//! | `GET /audit/REQUEST_ID` | one event |
//! | `GET /explain/REQUEST_ID` | why it ended as it did; `?text` for people |
//! | `GET /received` | the requests answered, of all services |
//! | `GET /faults` | `{"faults":[{"id","spec","hits"}]}` |
//! | `POST /faults` | `{"spec":"throttle,operation=Decrypt,next=2"}` arms one |
//! | `DELETE /faults`, `DELETE /faults/ID` | disarms |
//! | `POST /seed` | a seed file (TOML) is the body; see `seed` |
//!
//! A browser is kept out: the `Host` must be this machine, and what changes the
//! world must come without an `Origin`. Errors are `{"error":"…"}` with a 4xx,
//! or with a 500 if the data directory cannot be written.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_TYPE, HOST, ORIGIN},
};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use nsm_sim::clock::{Clock, SettableClock, UnixMillis};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

use super::{
    explain::Explanation,
    seed::{self, Present},
};
use crate::{
    edge::{
        Edge,
        body::{self, Bounds},
        connection_timer::ConnectionTimer,
    },
    faults::{Fault, FaultId, parse_time},
    journal::Unwritten,
    kms::Kms,
};

/// Connections at once: one person and a few tests.
const CONNECTIONS_MAX: usize = 64;
/// A seed file with a few thousand keys.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Events of one answer, when no limit is named.
const EVENTS_DEFAULT: usize = 1_000;

/// What the port manages.
pub(crate) struct ManagementPort {
    pub(crate) kms: Arc<Kms>,
    pub(crate) edge: Arc<Edge>,
    pub(crate) clock: SettableClock,
}

type Answer = Result<Answered, ManagementError>;

enum Answered {
    Json(Value),
    Text(String),
}

/// Why a management request is refused. The caller is at fault, unless the data
/// directory cannot be written.
#[derive(Debug, thiserror::Error)]
enum ManagementError {
    #[error(
        "there is no {method} {path}; the documentation of kms_mock::mock::management lists the requests"
    )]
    NoSuchPath { method: Method, path: String },
    #[error("the log has no request {0}")]
    NoSuchRequest(String),
    #[error("no fault has the id {0}; list the faults to see the ids")]
    NoSuchFault(String),
    #[error(
        "the Host header does not name this machine, or the request comes from a browser's page"
    )]
    NotLocal,
    #[error("the body could not be read: {0}")]
    Body(#[from] body::BodyError),
    #[error("{0}")]
    Wrong(String),
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
}

impl ManagementError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchPath { .. } | Self::NoSuchRequest(_) | Self::NoSuchFault(_) => {
                StatusCode::NOT_FOUND
            }
            Self::NotLocal => StatusCode::FORBIDDEN,
            Self::Body(_) | Self::Wrong(_) => StatusCode::BAD_REQUEST,
            Self::Unwritten(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Serves until `stop` changes.
pub(crate) async fn serve(
    port: Arc<ManagementPort>,
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "accepting a management connection");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
            _ = stop.changed() => return,
        };
        let port = Arc::clone(&port);
        let mut stop = stop.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let port = Arc::clone(&port);
                async move { Ok::<_, Infallible>(port.respond(request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(port.edge.limits.header_timeout)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ended = connection => {}
                _ = stop.changed() => {}
            }
            drop(permit);
        });
    }
}

impl ManagementPort {
    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, content_type, text) = match self.answer(request).await {
            Ok(Answered::Json(json)) => (StatusCode::OK, "application/json", json.to_string()),
            Ok(Answered::Text(text)) => (StatusCode::OK, "text/plain; charset=utf-8", text),
            Err(error) => {
                let body = json!({ "error": error.to_string() });
                (error.status(), "application/json", body.to_string())
            }
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (parts, incoming) = request.into_parts();
        if !is_local(&parts.headers) {
            return Err(ManagementError::NotLocal);
        }
        let query = parts.uri.query().unwrap_or_default();
        let timer = ConnectionTimer::default();
        let bounds = Bounds::of(&self.edge.limits, BODY_BYTES_MAX, &timer);
        let body = body::collect(incoming, false, bounds).await?;
        let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
        match (&parts.method, path.as_slice()) {
            (&Method::GET, ["health"]) => Ok(Answered::Json(json!({
                "status": "running",
                "version": env!("CARGO_PKG_VERSION"),
                "region": self.edge.region,
                "account": self.edge.account,
                "simulated": true,
            }))),
            (&Method::POST, ["reset"]) => {
                self.reset()?;
                Ok(done())
            }
            (&Method::GET, ["clock"]) => Ok(self.time()),
            (&Method::POST, ["clock", how]) => self.set_clock(how, &body),
            (&Method::GET, ["audit"]) => self.audit(query),
            (&Method::GET, ["audit", id]) => match self.kms.audit().find(id) {
                Some(record) => Ok(Answered::Json(record.event())),
                None => Err(ManagementError::NoSuchRequest((*id).to_owned())),
            },
            (&Method::GET, ["explain", id]) => {
                let explanation = explain(&self.kms, &self.edge, id)
                    .ok_or_else(|| ManagementError::NoSuchRequest((*id).to_owned()))?;
                Ok(if parameter(query, "text").is_some() {
                    Answered::Text(explanation.to_string())
                } else {
                    Answered::Json(explanation.json().clone())
                })
            }
            (&Method::GET, ["received"]) => {
                let received = self.edge.received.entries().into_iter();
                let received: Vec<Value> = received
                    .map(|one| {
                        json!({
                            "requestId": one.request_id.as_str(), "time": one.at.to_string(),
                            "service": one.service, "operation": one.operation,
                            "principal": one.principal.as_deref(), "status": one.status,
                            "reason": one.reason, "tls": one.tls,
                        })
                    })
                    .collect();
                Ok(Answered::Json(json!({ "received": received })))
            }
            (&Method::GET, ["faults"]) => {
                let list = self.edge.faults.list();
                let list: Vec<Value> = list.iter().map(|armed| armed.to_json()).collect();
                Ok(Answered::Json(json!({ "faults": list })))
            }
            (&Method::POST, ["faults"]) => {
                let body = object(&body)?;
                let spec = body.get("spec").and_then(Value::as_str);
                let spec = spec.ok_or_else(|| {
                    ManagementError::Wrong("give the fault as \"spec\"".to_owned())
                })?;
                let fault: Fault = spec.parse().map_err(wrong)?;
                let id = self.edge.faults.add(fault);
                Ok(Answered::Json(json!({ "id": id.0 })))
            }
            (&Method::DELETE, ["faults"]) => {
                self.edge.faults.clear();
                Ok(done())
            }
            (&Method::DELETE, ["faults", id]) => {
                let known = id
                    .parse()
                    .is_ok_and(|id| self.edge.faults.remove(FaultId(id)));
                if known {
                    Ok(done())
                } else {
                    Err(ManagementError::NoSuchFault((*id).to_owned()))
                }
            }
            (&Method::POST, ["seed"]) => {
                let text = std::str::from_utf8(&body).map_err(wrong)?;
                let planted = seed::SeedFile::parse(text)
                    .and_then(|file| file.plant(&self.kms, &self.edge, Present::IsAMistake))
                    .map_err(wrong)?;
                Ok(Answered::Json(json!({ "keys": planted.keys })))
            }
            (method, _) => Err(ManagementError::NoSuchPath {
                method: method.clone(),
                path: parts.uri.path().to_owned(),
            }),
        }
    }

    fn reset(&self) -> Result<(), ManagementError> {
        self.kms.reset()?;
        self.edge.iam.clear()?;
        self.edge.s3.clear()?;
        self.edge.faults.clear();
        self.edge.received.clear();
        self.clock.shift(0);
        Ok(())
    }

    fn time(&self) -> Answered {
        let now = self.clock.now();
        Answered::Json(json!({ "now": precise(now), "nowMs": now.0 }))
    }

    fn set_clock(&self, how: &str, body: &[u8]) -> Answer {
        let body = object(body)?;
        let ms = body.get("ms").and_then(Value::as_i64);
        match how {
            "freeze" => {
                let at = match body.get("at") {
                    None | Some(Value::Null) => self.clock.now(),
                    Some(Value::Number(ms)) => UnixMillis(ms.as_u64().ok_or_else(no_time)?),
                    Some(Value::String(text)) => instant(text)?,
                    Some(_) => return Err(no_time()),
                };
                self.clock.freeze(at);
            }
            "advance" => {
                let by = match (ms, body.get("by").and_then(Value::as_str)) {
                    (Some(ms), None) => {
                        Duration::from_millis(u64::try_from(ms).map_err(|_| no_time())?)
                    }
                    (None, Some(text)) => parse_time(text).map_err(wrong)?,
                    _ => {
                        let text = "say how far: {\"by\":\"3h\"} or {\"ms\":10800000}";
                        return Err(ManagementError::Wrong(text.to_owned()));
                    }
                };
                self.clock.advance(by);
            }
            "shift" => self.clock.shift(ms.ok_or_else(|| {
                ManagementError::Wrong(
                    "say how far from the machine's clock: {\"ms\":-60000}".to_owned(),
                )
            })?),
            _ => {
                return Err(ManagementError::Wrong(format!(
                    "a clock can freeze, advance and shift, not {how}"
                )));
            }
        }
        Ok(self.time())
    }

    fn audit(&self, query: &str) -> Answer {
        let since = parameter(query, "since").map(instant).transpose()?;
        let limit = match parameter(query, "limit") {
            None => EVENTS_DEFAULT,
            Some(text) => text.parse().map_err(wrong)?,
        };
        let mut records = self.kms.audit().records();
        if let Some(since) = since {
            records.retain(|record| record.time >= since);
        }
        let newest = records.len().saturating_sub(limit);
        let events: Vec<Value> = records.iter().skip(newest).map(|r| r.event()).collect();
        Ok(Answered::Json(json!({ "Records": events })))
    }
}

/// Why a request ended as it did: from the audit log, or, if it never came to
/// KMS, from the list of requests.
pub(crate) fn explain(kms: &Kms, edge: &Edge, request_id: &str) -> Option<Explanation> {
    if let Some(record) = kms.audit().find(request_id) {
        return Some(Explanation::of(&record));
    }
    let received = edge.received.entries();
    received
        .iter()
        .rev()
        .find(|one| *one.request_id == *request_id)
        .map(Explanation::of_received)
}

fn done() -> Answered {
    Answered::Json(json!({}))
}

fn wrong(error: impl std::fmt::Display) -> ManagementError {
    ManagementError::Wrong(error.to_string())
}

fn no_time() -> ManagementError {
    let text = "give a time in milliseconds since 1970 or like 2026-11-23T12:00:00Z";
    ManagementError::Wrong(text.to_owned())
}

/// Milliseconds since 1970, or RFC 3339.
fn instant(text: &str) -> Result<UnixMillis, ManagementError> {
    if let Ok(ms) = text.parse() {
        return Ok(UnixMillis(ms));
    }
    let text = text.replace("%3A", ":").replace("%3a", ":");
    let at = OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| no_time())?;
    let ms = at.unix_timestamp_nanos() / 1_000_000;
    u64::try_from(ms).map(UnixMillis).map_err(|_| no_time())
}

/// With milliseconds, which `Display` leaves out.
fn precise(at: UnixMillis) -> String {
    let text = at.to_string();
    text.strip_suffix('Z').map_or_else(
        || text.clone(),
        |seconds| format!("{seconds}.{:03}Z", at.0 % 1000),
    )
}

/// The JSON object of a body; an empty body is an empty object.
fn object(body: &[u8]) -> Result<Value, ManagementError> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    let value: Value = serde_json::from_slice(body).map_err(wrong)?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(ManagementError::Wrong(
            "the body is no JSON object".to_owned(),
        ))
    }
}

/// The value of a query parameter; values here need no decoding.
fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}

/// Whether the request is for this machine and from no web page.
fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let name = host.map(|host| match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    });
    matches!(name, Some("localhost" | "127.0.0.1" | "[::1]")) && !headers.contains_key(ORIGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_this_machine_and_pages_are_not_asked_in() {
        let table = [
            ("localhost:4567", true),
            ("127.0.0.1:4567", true),
            ("127.0.0.1", true),
            ("[::1]:4567", true),
            ("evil.example:4567", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ];
        for (host, local) in table {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            assert_eq!(is_local(&headers), local, "{host}");
            headers.insert(ORIGIN, "http://localhost".parse().unwrap());
            assert!(!is_local(&headers), "{host}");
        }
    }

    #[test]
    fn instants_are_milliseconds_or_rfc_3339() {
        assert_eq!(instant("1500").unwrap(), UnixMillis(1500));
        assert_eq!(instant("1970-01-01T00:00:01.5Z").unwrap(), UnixMillis(1500));
        assert_eq!(
            instant("1970-01-01T00%3A00%3A01Z").unwrap(),
            UnixMillis(1000)
        );
        assert!(instant("yesterday").is_err());
        assert!(instant("1969-01-01T00:00:00Z").is_err());
        assert_eq!(precise(UnixMillis(1500)), "1970-01-01T00:00:01.500Z");
    }
}

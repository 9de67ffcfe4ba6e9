//! Stand-ins for S3 and for the enclave.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::{digest, hmac};
use bytes::Bytes;
use ciborium::Value;
use enclave_app::job::StoredObject;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_bytes::ByteBuf;
use tokio::{io::AsyncWriteExt, net::TcpListener};

pub(crate) const ACCESS_KEY: &str = "AKIDEXAMPLE";
pub(crate) const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// An object that looks encrypted: it carries a wrapped key.
pub(crate) fn object(body: &[u8]) -> StoredObject {
    StoredObject {
        metadata: BTreeMap::from([
            ("x-amz-c".into(), "115".into()),
            ("x-amz-3".into(), "d3JhcHBlZA==".into()),
            ("x-amz-t".into(), r#"{"purpose":"inference-input"}"#.into()),
        ]),
        body: ByteBuf::from(body),
    }
}

/// An attestation document as far as the parent looks: COSE_Sign1 around a map
/// with `user_data`. Signed by nobody.
pub(crate) fn receipt_for(body: &[u8]) -> ByteBuf {
    let user_data = digest::digest(&digest::SHA256, body).as_ref().to_vec();
    let document = Value::Map(vec![
        (
            Value::Text("module_id".into()),
            Value::Text("i-0-enc0".into()),
        ),
        (Value::Text("user_data".into()), Value::Bytes(user_data)),
    ]);
    let mut payload = Vec::new();
    ciborium::into_writer(&document, &mut payload).unwrap();
    let message = Value::Array(vec![
        Value::Bytes(vec![0xa1, 0x01, 0x38, 0x22]),
        Value::Map(vec![]),
        Value::Bytes(payload),
        Value::Bytes(vec![0; 96]),
    ]);
    let mut bytes = Vec::new();
    ciborium::into_writer(&message, &mut bytes).unwrap();
    ByteBuf::from(bytes)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request as the S3 double saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Bytes,
}

impl Seen {
    /// Whether the signature is what AWS Signature Version 4 gives for exactly
    /// this request; computed here from its description, not by the signer.
    pub(crate) fn signature_verifies(&self) -> bool {
        let authorization = &self.headers["authorization"];
        let field = |name: &str| {
            let (_, rest) = authorization.split_once(&format!("{name}="))?;
            Some(rest.split(',').next()?.trim().to_owned())
        };
        let (Some(credential), Some(signed), Some(signature)) = (
            field("Credential"),
            field("SignedHeaders"),
            field("Signature"),
        ) else {
            return false;
        };
        let Some(scope) = credential.strip_prefix(&format!("{ACCESS_KEY}/")) else {
            return false;
        };
        let payload = hex::encode(digest::digest(&digest::SHA256, &self.body));
        if self.headers.get("x-amz-content-sha256") != Some(&payload) {
            return false;
        }
        let mut canonical = format!("{}\n{}\n\n", self.method, self.path);
        for name in signed.split(';') {
            let Some(value) = self.headers.get(name) else {
                return false;
            };
            canonical.push_str(&format!("{name}:{value}\n"));
        }
        canonical.push_str(&format!("\n{signed}\n{payload}"));
        let digest = hex::encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
        let date = &self.headers["x-amz-date"];
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}");
        let mut key = format!("AWS4{SECRET_KEY}").into_bytes();
        for part in scope.split('/') {
            key = mac(&key, part.as_bytes());
        }
        // Everything that S3 acts on must be under the signature.
        let all_signed = self
            .headers
            .keys()
            .filter(|name| name.starts_with("x-amz-") || *name == "host")
            .all(|name| signed.split(';').any(|listed| listed == name));
        all_signed && hex::encode(mac(&key, text.as_bytes())) == signature
    }
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
        .as_ref()
        .to_vec()
}

/// An answer that the S3 double gives instead of its own.
pub(crate) enum Scripted {
    /// Status and body, as they are.
    Answer(u16, &'static str),
    /// A 200 with this many zero bytes, in chunks, without an announced length.
    Endless(usize),
    /// Takes effect, then hangs up without an answer.
    HangUpAfterwards,
}

/// S3 in memory behind a real HTTP server on a free loopback port.
pub(crate) struct S3Double {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct State {
    seen: Mutex<Vec<Seen>>,
    objects: Mutex<BTreeMap<String, StoredObject>>,
    script: Mutex<VecDeque<Scripted>>,
}

impl Drop for S3Double {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl S3Double {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&state), request));
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            state,
            accepting,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn store(&self, path: &str, object: StoredObject) {
        lock(&self.state.objects).insert(path.to_owned(), object);
    }

    pub(crate) fn stored(&self, path: &str) -> Option<StoredObject> {
        lock(&self.state.objects).get(path).cloned()
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        lock(&self.state.objects).keys().cloned().collect()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.state.seen).clone()
    }

    pub(crate) fn next_answers(&self, script: impl IntoIterator<Item = Scripted>) {
        lock(&self.state.script).extend(script);
    }
}

type Answered = Response<http_body_util::combinators::BoxBody<Bytes, std::io::Error>>;

fn full(status: u16, body: impl Into<Bytes>) -> Answered {
    let body = Full::new(body.into())
        .map_err(|never: Infallible| match never {})
        .boxed();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Answered, std::io::Error> {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .to_bytes();
    let path = parts.uri.path().to_owned();
    let headers: BTreeMap<String, String> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let metadata = headers
        .iter()
        .filter_map(|(name, value)| {
            Some((name.strip_prefix("x-amz-meta-")?.to_owned(), value.clone()))
        })
        .collect();
    let (method, seen_body) = (parts.method.clone(), body.clone());
    let seen = Seen {
        method: method.to_string(),
        path: path.clone(),
        headers,
        body: seen_body,
    };
    lock(&state.seen).push(seen);

    let script = lock(&state.script).pop_front();
    match &script {
        Some(Scripted::Answer(status, body)) => return Ok(full(*status, *body)),
        Some(Scripted::Endless(bytes)) => return Ok(endless(*bytes)),
        Some(Scripted::HangUpAfterwards) | None => {}
    }
    let own = match method {
        Method::PUT => {
            let object = StoredObject {
                metadata,
                body: ByteBuf::from(body.to_vec()),
            };
            lock(&state.objects).insert(path, object);
            full(200, "")
        }
        Method::DELETE => {
            lock(&state.objects).remove(&path);
            full(204, "")
        }
        _ => match lock(&state.objects).get(&path) {
            None if method == Method::HEAD => full(404, ""),
            None => full(
                404,
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code>\
                 <Message>The specified key does not exist.</Message></Error>",
            ),
            Some(object) => {
                let mut response = full(200, object.body.to_vec());
                for (name, value) in &object.metadata {
                    let name = format!("x-amz-meta-{name}");
                    let name = hyper::header::HeaderName::from_bytes(name.as_bytes()).unwrap();
                    response.headers_mut().insert(name, value.parse().unwrap());
                }
                response
            }
        },
    };
    match script {
        Some(_) => Err(std::io::Error::other("hangs up")),
        None => Ok(own),
    }
}

fn endless(bytes: usize) -> Answered {
    let (mut write, read) = tokio::io::duplex(8 * 1024);
    tokio::spawn(async move {
        let _ = write.write_all(&vec![0; bytes]).await;
    });
    Response::new(Piped(read).boxed())
}

/// A body that is whatever comes out of a pipe: no length is announced.
struct Piped(tokio::io::DuplexStream);

impl hyper::body::Body for Piped {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, std::io::Error>>> {
        use tokio::io::AsyncRead;
        let mut space = [0u8; 4096];
        let mut buffer = tokio::io::ReadBuf::new(&mut space);
        match std::pin::Pin::new(&mut self.0).poll_read(cx, &mut buffer) {
            std::task::Poll::Pending => std::task::Poll::Pending,
            std::task::Poll::Ready(Err(error)) => std::task::Poll::Ready(Some(Err(error))),
            std::task::Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                std::task::Poll::Ready(None)
            }
            std::task::Poll::Ready(Ok(())) => {
                let data = Bytes::copy_from_slice(buffer.filled());
                std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(data))))
            }
        }
    }
}

//! A KMS that says what a test wants, behind real TLS on a loopback port.
//!
//! It believes every request and checks nothing: the tests are about the client.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ciborium::Value as Cbor;
use enclave_app::{
    clock::Clock,
    enclave::{
        keys::KeyPool,
        kms::{AttestedKms, CallBounds},
        nsm::{NsmError, SecureModule},
        steps::Steps,
        transport::{Dial, Transport},
    },
    job::wire::JobCredentials,
};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{RootCertStore, ServerConfig, pki_types::ServerName};
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::enclave::{
    certificates::Authority,
    cms_writer::{Flaw, Spelling, envelope},
};

pub(crate) const HOST: &str = "kms.us-east-1.amazonaws.com";

/// A request as the double saw it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) operation: String,
    pub(crate) body: Value,
    pub(crate) headers: http::HeaderMap,
}

impl Received {
    /// The public key that the request's attestation document carries.
    pub(crate) fn public_key(&self) -> Vec<u8> {
        document_field(&self.document(), "public_key").unwrap()
    }

    pub(crate) fn document(&self) -> Vec<u8> {
        let text = self.body["Recipient"]["AttestationDocument"]
            .as_str()
            .unwrap();
        STANDARD.decode(text).unwrap()
    }

    /// `CiphertextForRecipient` with these 32 bytes, as KMS would answer.
    pub(crate) fn enveloped(&self, data_key: &[u8]) -> String {
        STANDARD.encode(envelope(
            &self.public_key(),
            data_key,
            Spelling::FormA,
            Flaw::None,
        ))
    }
}

/// What the double says: status and body.
pub(crate) type Answer = (u16, Vec<u8>);

pub(crate) fn json(status: u16, body: Value) -> Answer {
    (status, body.to_string().into_bytes())
}

pub(crate) struct Double {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    _serving: JoinSet<()>,
}

impl Double {
    pub(crate) async fn start(
        tls: Arc<ServerConfig>,
        answer: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(tls, true, answer).await
    }

    /// `keep_alive`: whether a connection outlives its first answer.
    pub(crate) async fn start_with(
        tls: Arc<ServerConfig>,
        keep_alive: bool,
        answer: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let mut serving = JoinSet::new();
        serving.spawn(accept(
            listener,
            keep_alive,
            TlsAcceptor::from(tls),
            received.clone(),
            Arc::new(answer),
        ));
        Self {
            address,
            received,
            _serving: serving,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

async fn accept(
    listener: TcpListener,
    keep_alive: bool,
    tls: TlsAcceptor,
    received: Arc<Mutex<Vec<Received>>>,
    answer: Arc<dyn Fn(&Received) -> Answer + Send + Sync>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, received, answer) = (tls.clone(), received.clone(), answer.clone());
        connections.spawn(async move {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let service = service_fn(|request: http::Request<Incoming>| {
                let (received, answer) = (received.clone(), answer.clone());
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let target = head.headers["x-amz-target"].to_str().unwrap();
                    let request = Received {
                        operation: target.strip_prefix("TrentService.").unwrap().into(),
                        body: serde_json::from_slice(&body).unwrap(),
                        headers: head.headers,
                    };
                    let (status, body) = answer(&request);
                    received.lock().unwrap().push(request);
                    let reply = http::Response::builder()
                        .status(status)
                        .header("content-type", "application/x-amz-json-1.1")
                        .header("x-amzn-requestid", "11111111-2222-3333-4444-555555555555")
                        .body(Full::new(Bytes::from(body)));
                    Ok::<_, Infallible>(reply.unwrap())
                }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .keep_alive(keep_alive)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Stands where it is put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Still(pub(crate) u64);

impl Clock for Still {
    fn now_ms(&self) -> u64 {
        self.0
    }
}

/// 2026-11-23T00:00:00Z
pub(crate) const NOW: Still = Still(1_795_392_000_000);

/// A security module whose documents nobody signed.
#[derive(Debug)]
pub(crate) struct PaperModule {
    pub(crate) timestamp_ms: u64,
}

impl SecureModule for PaperModule {
    fn attest(
        &self,
        public_key: Option<&[u8]>,
        user_data: Option<&[u8]>,
    ) -> Result<Vec<u8>, NsmError> {
        let bytes = |field: Option<&[u8]>| field.map_or(Cbor::Null, |it| Cbor::Bytes(it.to_vec()));
        let payload = Cbor::Map(vec![
            (
                Cbor::Text("timestamp".into()),
                Cbor::Integer(self.timestamp_ms.into()),
            ),
            (Cbor::Text("public_key".into()), bytes(public_key)),
            (Cbor::Text("user_data".into()), bytes(user_data)),
        ]);
        Ok(cbor(&Cbor::Array(vec![
            Cbor::Bytes(vec![0xa1, 0x01, 0x38, 0x22]),
            Cbor::Map(vec![]),
            Cbor::Bytes(cbor(&payload)),
            Cbor::Bytes(vec![0; 96]),
        ])))
    }

    fn random(&self) -> Result<Zeroizing<Vec<u8>>, NsmError> {
        Err(NsmError::NotRandom)
    }
}

fn cbor(value: &Cbor) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).unwrap();
    out
}

/// A field of a paper document.
pub(crate) fn document_field(document: &[u8], name: &str) -> Option<Vec<u8>> {
    let parts: Cbor = ciborium::from_reader(document).unwrap();
    let payload = parts.as_array().unwrap()[2].as_bytes().unwrap().clone();
    let payload: Cbor = ciborium::from_reader(payload.as_slice()).unwrap();
    let (_, value) = payload
        .as_map()
        .unwrap()
        .iter()
        .find(|(key, _)| key.as_text() == Some(name))
        .unwrap();
    value.as_bytes().cloned()
}

/// Dials one TCP address, and counts.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    pub(crate) to: SocketAddr,
    pub(crate) dials: Arc<AtomicUsize>,
}

impl Counted {
    pub(crate) fn to(to: SocketAddr) -> Self {
        Self {
            to,
            dials: Arc::default(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.dials.load(Ordering::SeqCst)
    }
}

impl Dial for Counted {
    type Stream = TcpStream;

    fn dial(&self) -> impl Future<Output = io::Result<TcpStream>> + Send {
        self.dials.fetch_add(1, Ordering::SeqCst);
        TcpStream::connect(self.to)
    }
}

pub(crate) const BOUNDS: CallBounds = CallBounds {
    attempts_max: 3,
    backoff: Duration::from_millis(1),
    clock_skew_max: Duration::from_secs(60),
};

/// The client under test, with everything about it adjustable.
pub(crate) struct Setting {
    pub(crate) roots: RootCertStore,
    pub(crate) clock: Still,
    pub(crate) document_ms: u64,
    pub(crate) timeout: Duration,
    pub(crate) bounds: CallBounds,
}

impl Setting {
    pub(crate) fn trusting(authority: &Authority) -> Self {
        Self {
            roots: authority.roots(),
            clock: NOW,
            document_ms: NOW.0,
            timeout: Duration::from_secs(10),
            bounds: BOUNDS,
        }
    }

    pub(crate) fn client<D: Dial>(self, dial: D) -> AttestedKms {
        let clock = Arc::new(self.clock);
        let host = ServerName::try_from(HOST).unwrap();
        let transport =
            Transport::new(dial, host, self.roots, clock.clone(), self.timeout).unwrap();
        AttestedKms::new(
            "us-east-1",
            HOST,
            transport,
            Arc::new(PaperModule {
                timestamp_ms: self.document_ms,
            }),
            clock,
            keys(),
            self.bounds,
        )
    }
}

/// One pool for all tests: keys are what takes the time.
fn keys() -> Arc<KeyPool> {
    static KEYS: OnceLock<Arc<KeyPool>> = OnceLock::new();
    let start = || Arc::new(KeyPool::start(NonZeroUsize::MIN).unwrap());
    KEYS.get_or_init(start).clone()
}

pub(crate) fn credentials() -> JobCredentials {
    JobCredentials {
        access_key_id: "ASIAEXAMPLE".into(),
        secret_access_key: "secret".into(),
        session_token: Some("token".into()),
    }
}

pub(crate) fn steps() -> Steps {
    Steps::of("test".into())
}

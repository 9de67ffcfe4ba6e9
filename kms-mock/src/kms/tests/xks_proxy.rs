//! An external key store proxy for tests, with a key manager behind it.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;

use super::{import::with, *};
use crate::edge::{
    sigv4::{self, PathEncoding, Signed},
    tls::Authority,
};

/// What this proxy wants back with its ciphertexts.
const METADATA: &[u8] = b"version=1";
pub(super) const ACCESS_KEY_ID: &str = "ABCDEFGHIJKLMNOPQRST";
pub(super) const SECRET: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJK";

/// An external key store proxy with a key manager behind it: keys in memory,
/// signatures verified, every request remembered. It stops with the test.
pub(super) struct XksProxy {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
    _stop: tokio::sync::oneshot::Sender<()>,
}

#[derive(Default)]
pub(super) struct State {
    /// Name, secret, and what `GetKeyMetadata` says.
    keys: BTreeMap<String, (u8, Value)>,
    pub(super) requests: Vec<(String, Value)>,
    /// Answers everything with this instead.
    pub(super) instead: Option<(u16, String)>,
    /// Put over the answers to `Encrypt`.
    pub(super) amend: Value,
    /// Never answers.
    pub(super) is_silent: bool,
    sealed: u8,
}

impl XksProxy {
    pub(super) fn start() -> Self {
        Self::start_with(None)
    }

    /// Speaks TLS with a certificate for `localhost`, among others.
    pub(super) fn start_tls(authority: &Authority) -> Self {
        Self::start_with(Some(authority.server_config("us-east-1").unwrap()))
    }

    pub(super) fn start_with(tls: Option<rustls::ServerConfig>) -> Self {
        let tls = tls.map(|config| tokio_rustls::TlsAcceptor::from(Arc::new(config)));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let stream = tokio::select! {
                        accepted = listener.accept() => accepted.unwrap().0,
                        _ = &mut stopped => return,
                    };
                    let state = Arc::clone(&shared);
                    let tls = tls.clone();
                    tokio::spawn(async move {
                        let service = service_fn(|request| serve(Arc::clone(&state), request));
                        let http = hyper::server::conn::http1::Builder::new();
                        let _ = match tls {
                            None => http.serve_connection(TokioIo::new(stream), service).await,
                            Some(tls) => {
                                let Ok(stream) = tls.accept(stream).await else {
                                    return;
                                };
                                http.serve_connection(TokioIo::new(stream), service).await
                            }
                        };
                    });
                }
            });
        });
        Self {
            address,
            state,
            _stop: stop,
        }
    }

    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_key(&self, name: &str, more: Value) {
        let mut metadata = json!({
            "keySpec": "AES_256", "keyUsage": ["ENCRYPT", "DECRYPT"], "keyStatus": "ENABLED",
        });
        for (name, value) in more.as_object().unwrap() {
            metadata[name] = value.clone();
        }
        let mut state = self.state();
        let secret = u8::try_from(state.keys.len()).unwrap() + 1;
        state.keys.insert(name.to_owned(), (secret, metadata));
    }

    pub(super) fn store(&self, name: &str) -> Value {
        json!({
            "CustomKeyStoreName": name,
            "CustomKeyStoreType": "EXTERNAL_KEY_STORE",
            "XksProxyUriEndpoint": format!("http://{}", self.address),
            "XksProxyUriPath": "/kms/xks/v1",
            "XksProxyAuthenticationCredential": {
                "AccessKeyId": ACCESS_KEY_ID, "RawSecretAccessKey": SECRET,
            },
            "XksProxyConnectivity": "PUBLIC_ENDPOINT",
        })
    }
}

async fn serve(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let is_silent = state
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .is_silent;
    if is_silent {
        std::future::pending::<()>().await;
    }
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let (status, answer) = match state.instead.clone() {
        Some(instead) => instead,
        None if !is_signed(&parts, &body) => refusal(401, "AuthenticationFailedException"),
        None => {
            let body: Value = serde_json::from_slice(&body).unwrap();
            let path = parts.uri.path().to_owned();
            state.requests.push((path.clone(), body.clone()));
            state.answer(&path, &body)
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(answer)));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
    Ok(response)
}

/// Verified with the server's half of SigV4, which the client does not use.
fn is_signed(parts: &http::request::Parts, body: &[u8]) -> bool {
    let Ok(Some(claim)) = sigv4::claim(parts) else {
        return false;
    };
    let payload_hash = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body));
    let signed = Signed {
        method: &parts.method,
        path: parts.uri.path(),
        query: "",
        headers: &parts.headers,
        payload_hash: &payload_hash,
        encoding: PathEncoding::Twice,
    };
    let key = sigv4::signing_key(SECRET, &claim.scope);
    claim.access_key_id == ACCESS_KEY_ID
        && claim.scope.service == "kms-xks-proxy"
        && claim.scope.region == "us-east-1"
        && sigv4::verify(&claim, &signed, &key)
}

/// The authenticated data inside the key manager, as the specification puts it
/// together.
fn bound(aad: &[u8]) -> Vec<u8> {
    let length = u16::try_from(aad.len()).unwrap().to_be_bytes();
    let metadata_length = [u8::try_from(METADATA.len()).unwrap()];
    [&length, aad, &metadata_length, METADATA].concat()
}

fn refusal(status: u16, name: &str) -> (u16, String) {
    (status, json!({ "errorName": name }).to_string())
}

impl State {
    fn answer(&mut self, path: &str, body: &Value) -> (u16, String) {
        let Some(path) = path.strip_prefix("/kms/xks/v1/") else {
            return refusal(404, "InvalidUriPathException");
        };
        if path == "health" {
            let answer = json!({
                "xksProxyFleetSize": 1, "xksProxyVendor": "test", "xksProxyModel": "test",
                "ekmVendor": "test",
                "ekmFleetDetails": [{ "id": "1", "model": "test", "healthStatus": "ACTIVE" }],
            });
            return (200, answer.to_string());
        }
        let mut path = path.split('/').skip(1);
        let (id, action) = (path.next().unwrap(), path.next().unwrap());
        let Some((secret, metadata)) = self.keys.get(id).cloned() else {
            return refusal(404, "KeyNotFoundException");
        };
        if metadata["keyStatus"] != "ENABLED" && action != "metadata" {
            return refusal(400, "InvalidStateException");
        }
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[secret; 32]).unwrap());
        let aad = unbase64(
            &body["additionalAuthenticatedData"]
                .as_str()
                .map_or_else(|| "".into(), Value::from),
        );
        match action {
            "metadata" => (200, metadata.to_string()),
            "encrypt" => {
                assert_eq!(body["ciphertextDataIntegrityValueAlgorithm"], "SHA_256");
                self.sealed += 1;
                let context = aad.clone();
                let iv = [self.sealed; 12];
                let mut data = unbase64(&body["plaintext"]);
                let nonce = Nonce::assume_unique_for_key(iv);
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(bound(&aad)), &mut data)
                    .unwrap();
                // Written apart from the client's.
                let sealed = [&context, METADATA, &iv, &data, tag.as_ref()].concat();
                let integrity = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &sealed);
                let answer = json!({
                    "authenticationTag": BASE64.encode(tag), "ciphertext": BASE64.encode(data),
                    "initializationVector": BASE64.encode(iv),
                    "ciphertextMetadata": BASE64.encode(METADATA),
                    "ciphertextDataIntegrityValue": BASE64.encode(integrity),
                });
                let answer = match &self.amend {
                    Value::Object(_) => with(answer, self.amend.clone()),
                    _ => answer,
                };
                (200, answer.to_string())
            }
            _ => {
                let mut data = unbase64(&body["ciphertext"]);
                data.extend(unbase64(&body["authenticationTag"]));
                let iv: [u8; 12] = unbase64(&body["initializationVector"]).try_into().unwrap();
                let nonce = Nonce::assume_unique_for_key(iv);
                assert_eq!(unbase64(&body["ciphertextMetadata"]), METADATA);
                match key.open_in_place(nonce, Aad::from(bound(&aad)), &mut data) {
                    Ok(opened) => (
                        200,
                        json!({ "plaintext": BASE64.encode(opened) }).to_string(),
                    ),
                    Err(_) => refusal(400, "InvalidCiphertextException"),
                }
            }
        }
    }
}

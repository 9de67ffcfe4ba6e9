//! The floor: a bare hyper server that does what any HTTP service has to do and
//! nothing else. It collects the body, reads it into borrowed text and answers
//! 300 bytes of JSON.
//!
//! For attested calls and for signatures there are floors of their own, the same
//! server with the cryptography that such a call cannot do without (see
//! [`Crypto`]) done once a request. So the sum of the floors is measured under the
//! same load, on the same cores and by the same clock as the KMS beside it.

use std::{
    borrow::Cow, convert::Infallible, future::Future, hint::black_box, io, net::SocketAddr,
    sync::Arc,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    cipher::{AES_256, PaddedBlockEncryptingKey, UnboundCipherKey},
    digest::{Digest, SHA256},
    rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey},
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED, EcdsaKeyPair, UnparsedPublicKey,
    },
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use p384::ecdsa::{Signature, SigningKey, signature::Signer as _};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};

/// Threads of the floor; `kms-mock` has as many on two cores.
const WORKERS: usize = 2;

const ANSWER_BYTES: usize = 300;

/// What the server does for each request beside HTTP and JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing.
    None,
    /// The cryptography of an attested Decrypt.
    Attested,
    /// An ECDSA P-256 signature over a digest.
    Signing,
}

/// The members of the requests measured, borrowed from the body.
#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow, rename = "KeyId")]
    key_id: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "Plaintext")]
    plaintext: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "CiphertextBlob")]
    ciphertext: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "Message")]
    message: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "Recipient")]
    recipient: Option<Recipient<'a>>,
}

#[derive(Deserialize)]
struct Recipient<'a> {
    #[serde(borrow, rename = "AttestationDocument")]
    document: Option<Cow<'a, str>>,
}

/// The floors of an attested Decrypt whose chain is known, each done once:
/// * one ECDSA P-384 verification over as many bytes as a document signs,
/// * an RSA-2048 SubjectPublicKeyInfo read, and 32 bytes encrypted to it with
///   OAEP and SHA-256,
/// * a blob of 32 bytes opened with AES-256-GCM, its key set up,
/// * 32 bytes encrypted with AES-256-CBC, its key set up and its IV drawn.
///
/// Not in it, though every implementation has to do them: base64, CBOR, the
/// derivation of the blob's key, the certificates' digest for the cache, the
/// envelope's encoding.
///
/// And beside them what `Sign` does: one ECDSA P-256 signature over 32 bytes.
pub struct Crypto {
    signing: EcdsaKeyPair,
    public: UnparsedPublicKey<Vec<u8>>,
    signed: Vec<u8>,
    signature: Vec<u8>,
    spki: Vec<u8>,
    sealed: Vec<u8>,
}

const KEY: [u8; 32] = [7; 32];
const NONCE: [u8; 12] = [9; 12];
/// Bytes under a document's signature, of the ones this bench sends.
const SIGNED_BYTES: usize = 4300;

impl Crypto {
    /// Makes what the operations work on.
    ///
    /// # Panics
    /// Never: the keys are fixed and the library makes RSA keys.
    #[must_use]
    pub fn new() -> Self {
        let key = SigningKey::from_slice(&KEY_384).expect("a scalar below the order");
        let signed = vec![0x5a; SIGNED_BYTES];
        let signature: Signature = key.sign(&signed);
        let point = key.verifying_key().to_sec1_point(false);
        let mut sealed = vec![1; 32];
        gcm()
            .seal_in_place_append_tag(nonce(), Aad::empty(), &mut sealed)
            .expect("32 bytes are sealed");
        let signing = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING);
        Self {
            signing: signing.expect("the library makes P-256 keys"),
            public: UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point.as_bytes().to_vec()),
            signed,
            signature: signature.to_bytes().to_vec(),
            spki: super::calls::RSA_PUBLIC_KEY.to_vec(),
            sealed,
        }
    }

    /// Does the work of a request.
    ///
    /// # Panics
    /// Never: what it works on was made for it.
    pub fn run(&self, work: Work) {
        match work {
            Work::None => {}
            Work::Attested => self.decrypt(),
            Work::Signing => {
                let digest = Digest::import_less_safe(black_box(&KEY), &SHA256).expect("32 bytes");
                black_box(self.signing.sign_digest(&digest).expect("it signs"));
            }
        }
    }

    fn decrypt(&self) {
        self.public
            .verify(black_box(&self.signed), &self.signature)
            .expect("it verifies");
        let rsa = PublicEncryptingKey::from_der(black_box(&self.spki)).expect("an RSA key");
        let rsa = OaepPublicEncryptingKey::new(rsa).expect("an RSA key");
        let mut wrapped = [0; 256];
        rsa.encrypt(&OAEP_SHA256_MGF1SHA256, &KEY, &mut wrapped, None)
            .expect("32 bytes fit");
        let mut blob = self.sealed.clone();
        gcm()
            .open_in_place(nonce(), Aad::empty(), black_box(&mut blob))
            .expect("it opens");
        let cbc = UnboundCipherKey::new(&AES_256, &KEY).expect("32 bytes");
        let cbc = PaddedBlockEncryptingKey::cbc_pkcs7(cbc).expect("a cipher");
        let mut content = KEY.to_vec();
        cbc.encrypt(black_box(&mut content)).expect("it encrypts");
        black_box((wrapped, content));
    }
}

impl Default for Crypto {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Crypto {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Crypto(..)")
    }
}

const KEY_384: [u8; 48] = [7; 48];

fn gcm() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &KEY).expect("32 bytes"))
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key(NONCE)
}

/// Serves on a free port until the process is killed; gives the address to
/// `ready` first.
///
/// # Errors
/// If no port or no thread is to be had.
pub fn serve(work: Work, ready: impl FnOnce(SocketAddr)) -> io::Result<Infallible> {
    let shared = Arc::new(Shared::new(work));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        ready(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(connection(stream, Arc::clone(&shared)));
        }
    })
}

/// Serves one connection over a stream that is open.
pub fn serve_stream<S>(work: Work, stream: S) -> impl Future<Output = ()> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    connection(stream, Arc::new(Shared::new(work)))
}

async fn connection<S>(stream: S, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| answer(request, &shared));
    // A client that goes away ends its connection, nothing more.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

struct Shared {
    work: Work,
    crypto: Crypto,
    answer: Bytes,
}

impl Shared {
    fn new(work: Work) -> Self {
        let answer = format!("{{\"Answer\":\"{}\"}}", "x".repeat(ANSWER_BYTES - 13));
        Self {
            work,
            crypto: Crypto::new(),
            answer: answer.into(),
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: &Shared,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let Ok(asked) = serde_json::from_slice::<Asked<'_>>(&body) else {
        let mut response = Response::new(Full::new(Bytes::new()));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    };
    black_box((&asked.key_id, &asked.plaintext));
    black_box((&asked.ciphertext, &asked.message));
    black_box(asked.recipient.as_ref().map(|it| &it.document));
    shared.crypto.run(shared.work);
    let mut response = Response::new(Full::new(shared.answer.clone()));
    let json = HeaderValue::from_static("application/x-amz-json-1.1");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cryptography_of_the_floors_can_be_done() {
        let crypto = Crypto::new();
        for work in [Work::None, Work::Attested, Work::Signing] {
            crypto.run(work);
        }
    }

    #[test]
    fn an_answer_has_300_bytes() {
        let answer = format!("{{\"Answer\":\"{}\"}}", "x".repeat(ANSWER_BYTES - 13));
        assert_eq!(answer.len(), ANSWER_BYTES);
    }
}

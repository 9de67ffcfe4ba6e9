//! A server as the cases of clients need it: with a management port for faults,
//! beside one whose clock is an hour ahead, and with an enclave of its world.

use std::time::Duration;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rsa::{KeySize, PrivateDecryptingKey},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ciborium::Value;
use kms_mock::{Auth, KmsMock};
use nsm_sim::{clock::SettableClock, device::Nsm, seed::WorldSeed};

use crate::clients::{Surroundings, administrator};

const AHEAD: Duration = Duration::from_secs(3600);

/// The servers, and what a client is told of them.
pub(crate) struct Stand {
    pub(crate) surroundings: Surroundings,
    _mock: KmsMock,
    _ahead: Ahead,
    _folder: tempfile::TempDir,
}

impl Stand {
    /// As a developer's machine has it: plain HTTP, and the account's root user.
    pub(crate) async fn lenient() -> Self {
        Self::new(Auth::Lenient).await
    }

    /// Everything verified: TLS, and a user's signatures.
    pub(crate) async fn strict_over_tls() -> Self {
        Self::new(Auth::Strict).await
    }

    async fn new(auth: Auth) -> Self {
        let seed = WorldSeed::random();
        let mock = KmsMock::builder().seed(seed.clone()).auth(auth);
        let mock = mock.management(true).start().await.unwrap();
        let ahead = Ahead::start().await;
        let folder = tempfile::tempdir().unwrap();
        let told = match auth {
            Auth::Strict => Surroundings::user_over_tls(&mock, folder.path()),
            _ => Surroundings::root(&mock),
        };
        let surroundings = told
            .and("CASES_MANAGEMENT", &mock.management_url().unwrap())
            .and("CASES_AHEAD", &ahead.told)
            .and("CASES_ENCLAVE", &enclave(&seed));
        Self {
            surroundings,
            _mock: mock,
            _ahead: ahead,
            _folder: folder,
        }
    }
}

/// A server whose clock is an hour ahead, and which verifies every signature.
pub(crate) struct Ahead {
    /// Its endpoint and the access key of a user.
    pub(crate) told: String,
    _mock: KmsMock,
}

impl Ahead {
    pub(crate) async fn start() -> Self {
        let clock = SettableClock::running();
        clock.advance(AHEAD);
        let mock = KmsMock::builder().clock(clock).auth(Auth::Strict);
        let mock = mock.start().await.unwrap();
        let (_, key) = administrator(&mock);
        let (key_id, secret) = (&key.access_key_id, &*key.secret_access_key);
        Self {
            told: format!("{} {key_id} {secret}", mock.url()),
            _mock: mock,
        }
    }
}

/// An attestation document of the world, and the private half of the key in it.
pub(crate) fn enclave(seed: &WorldSeed) -> String {
    let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    let private: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let nsm = Nsm::builder().seed(seed.clone()).build();
    let fields = vec![
        (text("user_data"), Value::Null),
        (text("nonce"), Value::Null),
        (text("public_key"), Value::Bytes(public.as_ref().to_vec())),
    ];
    let mut request = Vec::new();
    let asked = Value::Map(vec![(text("Attestation"), Value::Map(fields))]);
    ciborium::into_writer(&asked, &mut request).unwrap();
    let reply: Value = ciborium::from_reader(&*nsm.request_bytes(&request)).unwrap();
    let document = reply
        .as_map()
        .and_then(|reply| reply.first()?.1.as_map()?.first()?.1.as_bytes())
        .unwrap_or_else(|| panic!("no document: {reply:?}"));
    let (document, private) = (BASE64.encode(document), BASE64.encode(private.as_ref()));
    format!("{document} {private}")
}

fn text(name: &str) -> Value {
    Value::Text(name.to_owned())
}

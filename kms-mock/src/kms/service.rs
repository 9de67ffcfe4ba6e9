//! A Key Management Service as data: what it is made of, how it is set up, what
//! comes in and what goes out.
//!
//! Source of truth: the KMS service model (JSON 1.1, version 2014-11-01) for what a
//! request and an answer consist of. How a call is answered is `dispatch`.

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use nsm_sim::{clock::Clock, seed::WorldSeed};

use crate::{
    audit::AuditLog,
    journal::Journal,
    keys::{
        custom_stores::CustomKeyStores,
        store::Store,
        wrapping::TokenKey,
        xks::{XksClient, XksSettings},
    },
    policy::Caller,
    recipient::DocumentVerifier,
    world::{
        directory::{Directory, NoDirectory},
        entropy::Entropy,
        request_id::RequestId,
    },
};

/// A Key Management Service. Calls may come from many threads at once; no lock
/// is held while anything is encrypted, decrypted or verified.
#[derive(Debug)]
pub struct Kms {
    pub(super) settings: Settings,
    pub(super) store: Store,
    pub(super) entropy: Entropy,
    pub(super) token_key: OnceLock<TokenKey>,
    /// Held while it is made.
    pub(super) token_key_making: Mutex<()>,
    pub(super) key_stores: CustomKeyStores,
    pub(super) xks: XksClient,
    pub(super) audit: AuditLog,
    /// Who stands behind the principals of policies and grants.
    pub(super) directory: Arc<dyn Directory>,
}

/// How a KMS is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The Region of calls that name none. There are keys in every Region.
    pub region: String,
    /// Its time.
    pub clock: Arc<dyn Clock>,
    /// Makes keys, identifiers and blobs repeat; `None` draws them from the
    /// system.
    pub seed: Option<WorldSeed>,
    /// Verifies the documents of attested calls.
    pub attestation_roots: Arc<dyn DocumentVerifier>,
    /// How old a document may be; AWS's is said to be 300 s.
    pub freshness_window: Duration,
    /// Refuses documents with larger RSA keys, as AWS's documentation words it.
    pub rsa_2048_only: bool,
    /// How external key store proxies are reached.
    pub xks: XksSettings,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// `X-Amz-Target` after `TrentService.`.
    pub operation: &'a str,
    /// The JSON body.
    pub body: &'a [u8],
    /// The Region that the call was signed for; `None` for the KMS's own.
    pub region: Option<&'a str>,
    /// Who calls.
    pub caller: &'a Arc<Caller>,
    /// What the reply's `x-amzn-RequestId` will be.
    pub request_id: RequestId,
    /// The `User-Agent` header.
    pub user_agent: &'a str,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// JSON; empty where AWS answers an empty body.
    pub body: Vec<u8>,
    /// The exception's name.
    pub error_type: Option<&'static str>,
    /// What AWS does not reveal, for the mock-only header.
    pub reason: Option<String>,
}

impl Kms {
    /// An empty KMS, in memory.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::with_journal(settings, &Journal::memory(), 1, Arc::new(NoDirectory))
    }

    /// An empty KMS whose changes go by `journal`, in the world's start number
    /// `start`; `directory` says who stands behind a principal.
    pub(crate) fn with_journal(
        settings: Settings,
        journal: &Journal,
        start: u64,
        directory: Arc<dyn Directory>,
    ) -> Self {
        let entropy = settings
            .seed
            .as_ref()
            .map_or_else(Entropy::system, |seed| Entropy::seeded(seed, start));
        Self {
            xks: XksClient::new(settings.xks.clone()),
            settings,
            store: Store::new(journal.clone()),
            entropy,
            token_key: OnceLock::new(),
            token_key_making: Mutex::default(),
            key_stores: CustomKeyStores::new(journal.clone()),
            audit: AuditLog::default(),
            directory,
        }
    }

    /// The Region that a call is made to.
    pub(super) fn region_of<'a>(&'a self, call: &Call<'a>) -> &'a str {
        call.region.unwrap_or(&self.settings.region)
    }

    /// The log of calls.
    #[must_use]
    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }

    /// How it was set up.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

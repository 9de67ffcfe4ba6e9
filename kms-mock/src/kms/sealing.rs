//! Sealing and opening under symmetric encryption keys, wherever their material is.
//!
//! Source of truth: AWS KMS developer guide, "Key stores"; the external key store
//! proxy API specification. What a key in an external key store encrypts is first
//! sealed with material kept here, then by the proxy, so that the proxy never sees
//! plaintext.

use serde_json::json;
use zeroize::Zeroizing;

use super::{
    call::{CallContext, Found},
    error::{BadState, Failure},
};
use crate::{
    keys::{
        custom_store::{Connection, StoreKind},
        key::Key,
        material::{Blob, BlobError, Maker, SymmetricMaterial},
        xks::{NOT_CONNECTED, Proxy, ProxyCall, ProxyError, Sealed},
    },
    policy::EncryptionContext,
};

/// A key that can encrypt symmetrically, with the material that does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Symmetric<'a> {
    pub(crate) current: &'a SymmetricMaterial,
    pub(crate) found: &'a Found,
}

impl<'a> Symmetric<'a> {
    /// The material of a symmetric encryption key that has passed its checks.
    pub(crate) fn of(found: &'a Found) -> Result<Self, Failure> {
        let current = found.record.current().ok_or(Failure::Internal)?;
        Ok(Self {
            current: &current.material,
            found,
        })
    }
}

impl Symmetric<'_> {
    /// Seals under the current material with fresh nonces.
    pub(crate) fn seal(
        self,
        call: &CallContext<'_>,
        maker: Maker,
        context: &EncryptionContext,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, Failure> {
        let seal = |plaintext: &[u8]| {
            let (keys, entropy) = (&self.found.message_keys, call.entropy());
            let key = keys.to_seal(self.current, entropy)?;
            key.seal(maker, context, plaintext, &entropy.array())
        };
        let inner = seal(plaintext).ok_or(Failure::Internal)?;
        let Some((proxy, id)) = self.proxy(call)? else {
            return Ok(inner);
        };
        let proxy_call = proxy_call(call, call.operation().name(), Some(&self.found.key));
        let sealed = proxy
            .encrypt(&id, &inner, &authenticated(context), proxy_call)
            .map_err(failed_in_use)?;
        sealed
            .to_bytes()
            .and_then(|bytes| seal(&bytes))
            .ok_or(Failure::Internal)
    }

    /// Opens a blob of the material.
    pub(crate) fn open(
        self,
        call: &CallContext<'_>,
        context: &EncryptionContext,
        blob: &Blob<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let opened = self.open_here(context, blob).map_err(unopened)?;
        let Some((proxy, id)) = self.proxy(call)? else {
            return Ok(opened);
        };
        let proxy_call = proxy_call(call, call.operation().name(), Some(&self.found.key));
        let sealed = Sealed::parse(&opened).ok_or(Failure::Internal)?;
        let inner = proxy
            .decrypt(&id, &sealed, &authenticated(context), proxy_call)
            .map_err(failed_in_use)?;
        let strange = || failed_in_use(ProxyError::Strange);
        let blob = Blob::parse(&inner).map_err(|_| strange())?;
        self.open_here(context, &blob).map_err(|_| strange())
    }

    /// What is inside a blob after it was opened with the material kept here.
    fn open_here(
        self,
        context: &EncryptionContext,
        blob: &Blob<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, BlobError> {
        let keys = &self.found.message_keys;
        let key = keys.to_open(self.current, blob);
        let key = key.ok_or(BlobError::Authentication)?;
        blob.open(&key, context)
    }

    /// The proxy of a key in an external key store with its key there; `None` for
    /// all other keys.
    fn proxy(self, call: &CallContext<'_>) -> Result<Option<(Proxy, String)>, Failure> {
        let Some(backing) = &self.found.key.backing else {
            return Ok(None);
        };
        let unavailable = || self.found.in_state(BadState::Unavailable);
        let store = call
            .key_stores()
            .get(&backing.store)
            .ok_or_else(unavailable)?;
        if store.connection != Connection::Connected {
            return Err(match &store.kind {
                StoreKind::CloudHsm { .. } => unavailable(),
                StoreKind::External { .. } => Failure::ProxyState {
                    message: NOT_CONNECTED,
                },
            });
        }
        Ok(match (&store.kind, &backing.xks_key_id) {
            (StoreKind::External { proxy, .. }, Some(id)) => Some((proxy.clone(), id.clone())),
            _ => None,
        })
    }
}

/// A blob that does not open.
pub(crate) fn unopened(error: BlobError) -> Failure {
    Failure::InvalidCiphertext {
        cause: error.cause(),
    }
}

/// What a proxy learns about the call that it works for.
pub(crate) fn proxy_call<'a>(
    call: &'a CallContext<'_>,
    operation: &'a str,
    key: Option<&'a Key>,
) -> ProxyCall<'a> {
    ProxyCall {
        client: &call.kms.xks,
        region: call.region(),
        now: call.now,
        operation,
        request_id: call.request_id.as_str(),
        principal_arn: call.principal_arn(),
        key_arn: key.map(|key| &*key.arn),
    }
}

/// A proxy that does not do what a key is used for.
pub(crate) fn failed_in_use(error: ProxyError) -> Failure {
    let message = error.message();
    Failure::ProxyState { message }
}

/// The encryption context as the proxy authenticates it: sorted JSON.
fn authenticated(context: &EncryptionContext) -> Vec<u8> {
    json!(context).to_string().into_bytes()
}

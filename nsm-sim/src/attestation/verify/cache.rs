//! Chains whose every link was once verified, so that the next document of the
//! same leaf costs one signature check and not five.
//!
//! What is remembered of a chain cannot change: that its certificates have the
//! right form and sign each other, the leaf's key, and when each certificate is
//! valid. What can change is asked anew at each use: the time, by
//! [`Chain::is_valid_at`], and the pinned root, by the caller. An entry is found
//! by the SHA-256 of all its certificates' bytes, so one changed bit is another
//! chain. Nothing about a refused chain is kept.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use aws_lc_rs::digest::{Context, SHA256};

use super::{
    chain::{Chain, verify},
    error::VerifyError,
};

/// Chains remembered. An entry takes a few hundred bytes and serves one enclave
/// for two hours; only authorities under a pinned root can make new ones.
pub(super) const CHAINS_MAX: usize = 256;

/// Shared by all clones of a verifier.
#[derive(Default)]
pub(super) struct Chains {
    known: RwLock<KnownChains>,
}

#[derive(Default)]
struct KnownChains {
    chains: BTreeMap<Digest, Arc<Chain>>,
    /// Oldest first: the order in which they are forgotten.
    order: VecDeque<Digest>,
}

type Digest = [u8; 32];

impl Chains {
    /// The chain of `leaf` under `cabundle`, valid at `now` (unix seconds). The
    /// answer is the one that [`verify`] gives.
    pub(super) fn verified(
        &self,
        leaf: &[u8],
        cabundle: &[Vec<u8>],
        now: u64,
    ) -> Result<Arc<Chain>, VerifyError> {
        let digest = digest(leaf, cabundle);
        if let Some(chain) = self.find(&digest) {
            chain.is_valid_at(now)?;
            return Ok(chain);
        }
        // Outside the lock: two threads may verify the same new chain.
        let chain = Arc::new(verify(leaf, cabundle, now)?);
        // Nothing below panics between the two changes of an insertion.
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.remember(digest, &chain);
        Ok(chain)
    }

    /// Documents of known chains, which are nearly all, do not wait for each other.
    fn find(&self, digest: &Digest) -> Option<Arc<Chain>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.chains.get(digest).cloned()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(known.chains.len(), known.order.len());
        known.order.len()
    }
}

impl KnownChains {
    fn remember(&mut self, digest: Digest, chain: &Arc<Chain>) {
        if self.chains.insert(digest, Arc::clone(chain)).is_some() {
            return;
        }
        self.order.push_back(digest);
        if self.order.len() > CHAINS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.chains.remove(&oldest);
        }
    }
}

impl fmt::Debug for Chains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chains").finish_non_exhaustive()
    }
}

/// SHA-256 of the certificates, each after its length, so that no two chains
/// hash the same bytes.
fn digest(leaf: &[u8], cabundle: &[Vec<u8>]) -> Digest {
    let mut hash = Context::new(&SHA256);
    for certificate in cabundle.iter().map(Vec::as_slice).chain([leaf]) {
        hash.update(&(certificate.len() as u64).to_be_bytes());
        hash.update(certificate);
    }
    let mut out = [0; 32];
    // A SHA-256 digest has 32 bytes.
    out.copy_from_slice(hash.finish().as_ref());
    out
}

//! What a key may be used for: its usage, and the algorithms of its spec.
//!
//! Source of truth: the recorded texts of `InvalidKeyUsageException`.

use super::{call::Found, error::Failure};
use crate::{
    keys::secret::{Secret, Works},
    model::spec::KeyUsage,
};

impl Found {
    /// Refuses a key of another usage.
    pub(crate) fn must_be_for(
        &self,
        usage: KeyUsage,
        operation: &'static str,
    ) -> Result<(), Failure> {
        if self.key.usage == usage {
            return Ok(());
        }
        Err(self.not_for(operation))
    }

    /// The refusal of a key that `operation` cannot use.
    pub(crate) fn not_for(&self, operation: &'static str) -> Failure {
        Failure::InvalidKeyUsage {
            arn: self.key.arn.to_string(),
            usage: self.key.usage.name(),
            operation,
        }
    }

    /// Refuses an algorithm that is not among those of the key's spec.
    pub(crate) fn must_accept<T: PartialEq>(
        &self,
        algorithm: &T,
        name: &'static str,
        accepted: &[T],
    ) -> Result<(), Failure> {
        if accepted.contains(algorithm) {
            return Ok(());
        }
        Err(Failure::AlgorithmMismatch {
            algorithm: name,
            spec: self.key.spec.name(),
        })
    }

    /// The key's secret, when it is not a symmetric encryption key.
    pub(crate) fn secret(&self) -> Result<&Secret, Failure> {
        self.record.secret.as_deref().ok_or(Failure::Internal)
    }

    /// What the key does.
    pub(crate) fn works(&self) -> Result<&Works, Failure> {
        Ok(&self.secret()?.works)
    }
}

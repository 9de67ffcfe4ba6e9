//! The parent's AWS credentials, which sign its S3 requests and which it lends
//! the enclave for KMS.
//!
//! Source of truth: the default chain of AWS's SDKs (environment, profile files,
//! web identity, container and instance metadata) as aws-config implements it.
//! kms.md §7: these credentials are no secret from the parent, and lending them
//! gives the enclave no more than the parent has; what KMS reveals is decided by
//! the attestation conditions of its key policies. Does not model choosing among
//! several identities.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_config::{Region, default_provider::credentials::DefaultCredentialsChain};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, error::CredentialsError},
};
use tokio::{sync::Mutex, time::timeout};

use crate::{causes::with_causes, clock::Clock, job::JobCredentials};

/// Credentials this close to their expiry are renewed: a job lent them must be
/// able to finish.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);
/// Longest wait for the chain. Instance metadata answers in milliseconds or, on
/// a machine that has none, not at all.
const CHAIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialSourceError {
    /// No source has any, or one that should have failed.
    #[error(
        "no AWS credentials: {}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
         choose a profile with AWS_PROFILE, or attach a role to the instance",
        with_causes(source)
    )]
    NotFound {
        /// What the chain said.
        source: CredentialsError,
    },
    /// The sources did not answer in time.
    #[error("no AWS credentials: no source answered within {} s", waited.as_secs())]
    TimedOut {
        /// The bound.
        waited: Duration,
    },
}

/// Where credentials come from; renews those that expire.
pub struct CredentialSource {
    provider: Option<DefaultCredentialsChain>,
    held: Mutex<Option<Credentials>>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialSource")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

impl CredentialSource {
    /// The default chain. `region` is that of the STS calls which some profiles
    /// need. Asks nobody yet.
    pub async fn default_chain(region: &str, clock: Arc<dyn Clock>) -> Self {
        let provider = DefaultCredentialsChain::builder()
            .region(Region::new(region.to_owned()))
            .build()
            .await;
        Self {
            provider: Some(provider),
            held: Mutex::new(None),
            clock,
        }
    }

    /// Always `credentials`.
    #[must_use]
    pub fn fixed(credentials: Credentials, clock: Arc<dyn Clock>) -> Self {
        Self {
            provider: None,
            held: Mutex::new(Some(credentials)),
            clock,
        }
    }

    /// Credentials good for at least five more minutes, if the source has such.
    ///
    /// # Errors
    /// [`CredentialSourceError`].
    pub async fn current(&self) -> Result<Credentials, CredentialSourceError> {
        let mut held = self.held.lock().await;
        let Some(provider) = &self.provider else {
            return held.clone().ok_or_else(|| CredentialSourceError::NotFound {
                source: CredentialsError::not_loaded("none were given"),
            });
        };
        let renew_at = system_time(&*self.clock) + RENEW_BEFORE;
        if let Some(credentials) = &*held
            && credentials.expiry().is_none_or(|expiry| expiry > renew_at)
        {
            return Ok(credentials.clone());
        }
        let fresh = timeout(CHAIN_TIMEOUT, provider.provide_credentials())
            .await
            .map_err(|_| CredentialSourceError::TimedOut {
                waited: CHAIN_TIMEOUT,
            })?
            .map_err(|source| CredentialSourceError::NotFound { source })?;
        *held = Some(fresh.clone());
        Ok(fresh)
    }
}

/// The clock's time in the type that the AWS crates want.
pub(crate) fn system_time(clock: &dyn Clock) -> SystemTime {
    // No number of milliseconds in 64 bits is too many for Linux's time.
    UNIX_EPOCH + Duration::from_millis(clock.now_ms())
}

/// What the enclave is lent.
#[must_use]
pub fn for_the_enclave(credentials: &Credentials) -> JobCredentials {
    JobCredentials {
        access_key_id: credentials.access_key_id().to_owned(),
        secret_access_key: credentials.secret_access_key().to_owned(),
        session_token: credentials.session_token().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[tokio::test]
    async fn given_credentials_are_handed_on_whole() {
        let given = Credentials::from_keys("AKIA", "secret", Some("token".into()));
        let source = CredentialSource::fixed(given, Arc::new(SystemClock));
        let lent = for_the_enclave(&source.current().await.unwrap());
        assert_eq!(lent.access_key_id, "AKIA");
        assert_eq!(lent.secret_access_key, "secret");
        assert_eq!(lent.session_token.as_deref(), Some("token"));
    }

    #[test]
    fn an_error_names_its_cause() {
        let inner = std::io::Error::other("no route");
        let outer = CredentialsError::not_loaded(inner);
        assert!(with_causes(&outer).contains("no route"));
    }
}

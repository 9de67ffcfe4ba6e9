//! TLS for the endpoint: a private certificate authority, made at start, and a
//! leaf for the AWS host names of the Region.
//!
//! Source of truth: RFC 5280, and `rustls`' requirements on server leaves. It
//! does not imitate Amazon Trust Services: the names say that it is simulated,
//! and no public root leads here. Certificates are valid at every time a world's
//! clock may show, because they are not what a test of time is about.
//!
//! The cryptographic library gathers entropy when it makes its first key, which
//! takes longer than all the rest of a start. So an endpoint's certificates are
//! made when they are first asked for (`Endpoint`), and a start does not wait.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate could not be made or the given key could not be read.
    #[error("making the TLS certificates: {0}")]
    Certificate(#[from] rcgen::Error),
    /// rustls does not take what was made.
    #[error("configuring TLS: {0}")]
    Config(#[from] rustls::Error),
}

/// The certificate authority of an endpoint.
pub struct Authority {
    cert_pem: String,
    key: KeyPair,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority(..)")
    }
}

impl Authority {
    /// A fresh authority with a P-256 key.
    ///
    /// # Errors
    /// [`TlsError::Certificate`] if the key cannot be made.
    pub fn generate() -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let cert_pem = authority_params().self_signed(&key)?.pem();
        Ok(Self { cert_pem, key })
    }

    /// An authority kept from an earlier start: its certificate as
    /// [`Authority::cert_pem`] gave it and its key as [`Authority::key_pem`] did.
    ///
    /// # Errors
    /// [`TlsError::Certificate`] if the key is not a P-256 key in PEM.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self, TlsError> {
        Ok(Self {
            cert_pem: cert_pem.to_owned(),
            key: KeyPair::from_pem(key_pem)?,
        })
    }

    /// The root certificate that clients trust, PEM.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The private key, PKCS#8 PEM, for keeping the authority between starts.
    #[must_use]
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.key.serialize_pem())
    }

    /// A server configuration with a fresh leaf for the endpoint's names.
    ///
    /// # Errors
    /// [`TlsError`] if the leaf cannot be made.
    pub fn server_config(&self, region: &str) -> Result<rustls::ServerConfig, TlsError> {
        let addresses = [
            IpAddr::from([127, 0, 0, 1]),
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ];
        self.server_config_for(host_names(region), &addresses)
    }

    /// The same for other names.
    pub(crate) fn server_config_for(
        &self,
        names: Vec<String>,
        addresses: &[IpAddr],
    ) -> Result<rustls::ServerConfig, TlsError> {
        let leaf_key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        let addresses = addresses.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(addresses);
        params.distinguished_name = name("Drydock simulated endpoint");
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2120, 1, 1);
        params.use_authority_key_identifier_extension = true;
        params.key_usages.push(KeyUsagePurpose::DigitalSignature);
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ServerAuth);
        let issuer = Issuer::new(authority_params(), &self.key);
        let leaf = params.signed_by(&leaf_key, &issuer)?;

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// What serves TLS: an authority and a leaf under it, made when first needed.
pub(crate) struct Endpoint {
    region: String,
    made: OnceLock<Result<Made, TlsError>>,
}

struct Made {
    cert_pem: String,
    acceptor: TlsAcceptor,
}

impl Endpoint {
    /// An endpoint with a fresh authority.
    pub(crate) fn fresh(region: &str) -> Self {
        Self {
            region: region.to_owned(),
            made: OnceLock::new(),
        }
    }

    /// An endpoint with a leaf under a kept authority, made at once, so that the
    /// start fails if the authority cannot be used.
    pub(crate) fn under(authority: &Authority, region: &str) -> Result<Self, TlsError> {
        let made = Made::under(authority, region)?;
        Ok(Self {
            region: region.to_owned(),
            made: OnceLock::from(Ok(made)),
        })
    }

    /// Takes connections; makes the certificates if nobody asked before.
    pub(crate) fn acceptor(&self) -> Result<&TlsAcceptor, &TlsError> {
        self.made().map(|made| &made.acceptor)
    }

    /// The root certificate that clients trust, PEM.
    pub(crate) fn ca_pem(&self) -> Result<&str, &TlsError> {
        self.made().map(|made| made.cert_pem.as_str())
    }

    fn made(&self) -> Result<&Made, &TlsError> {
        self.made
            .get_or_init(|| Made::under(&Authority::generate()?, &self.region))
            .as_ref()
    }
}

impl Made {
    fn under(authority: &Authority, region: &str) -> Result<Self, TlsError> {
        Ok(Self {
            cert_pem: authority.cert_pem().to_owned(),
            acceptor: TlsAcceptor::from(Arc::new(authority.server_config(region)?)),
        })
    }
}

/// The names an SDK may ask for in `region`.
fn host_names(region: &str) -> Vec<String> {
    let mut names: Vec<String> = ["kms", "kms-fips", "s3", "*.s3", "sts"]
        .iter()
        .map(|service| format!("{service}.{region}.amazonaws.com"))
        .collect();
    names.extend(
        [
            "sts.amazonaws.com",
            "iam.amazonaws.com",
            "localhost",
            "*.localhost",
        ]
        .map(str::to_owned),
    );
    names
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Drydock simulated endpoint CA");
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Drydock (simulated, not AWS)");
    name.push(DnType::CommonName, common_name);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_authority_signs_again_under_the_same_root() {
        let first = Authority::generate().unwrap();
        let again = Authority::from_pem(first.cert_pem(), &first.key_pem()).unwrap();
        assert_eq!(first.cert_pem(), again.cert_pem());
        assert_eq!(
            again.server_config("eu-west-1").unwrap().alpn_protocols,
            [b"http/1.1"]
        );
    }

    #[test]
    fn an_endpoint_makes_its_certificates_once_and_only_when_asked() {
        let endpoint = Endpoint::fresh("eu-west-1");
        assert!(endpoint.made.get().is_none());
        let first = endpoint.ca_pem().unwrap().to_owned();
        endpoint.acceptor().unwrap();
        assert_eq!(endpoint.ca_pem().unwrap(), first);
        let kept = Authority::generate().unwrap();
        let endpoint = Endpoint::under(&kept, "eu-west-1").unwrap();
        assert_eq!(endpoint.ca_pem().unwrap(), kept.cert_pem());
    }

    #[test]
    fn an_authority_without_a_key_is_refused() {
        let first = Authority::generate().unwrap();
        assert!(Authority::from_pem(first.cert_pem(), "not a key").is_err());
    }
}

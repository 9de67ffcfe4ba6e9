//! Just enough X.509 to be a certificate authority for one host name.
//!
//! Source of truth: RFC 5280 for the structure. Writes P-256 certificates with the
//! few extensions that a TLS client looks at; valid from 2020 to 2049.

use std::sync::Arc;

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer},
};

/// A moment after every certificate made here: 2050-01-01.
pub(crate) const AFTER_ALL_MS: u64 = 2_524_608_000_000;

pub(crate) struct Authority {
    key: EcdsaKeyPair,
    certificate: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = fresh_key();
        let extensions = [
            extension(&[0x55, 0x1d, 0x13], true, &sequence(&[&[0x01, 0x01, 0xff]])), // CA
            extension(&[0x55, 0x1d, 0x0f], true, &[0x03, 0x02, 0x01, 0x06]),         // keyCertSign
        ];
        let certificate = certificate(1, &key, &key, "test authority", &extensions);
        Self { key, certificate }
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(self.certificate.clone()))
            .unwrap();
        roots
    }

    pub(crate) fn pem(&self) -> String {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let body = STANDARD.encode(&self.certificate);
        let lines: Vec<&str> = body
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            lines.join("\n")
        )
    }

    /// A TLS server that can prove to be `host`.
    pub(crate) fn server(&self, host: &str) -> Arc<ServerConfig> {
        let key = fresh_key();
        let name = tlv(0x82, &[host.as_bytes()]);
        let extensions = [
            extension(&[0x55, 0x1d, 0x11], false, &sequence(&[&name])),
            extension(
                &[0x55, 0x1d, 0x25],
                false,
                &sequence(&[&oid(&[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01])]),
            ),
        ];
        let leaf = certificate(2, &key, &self.key, "test server", &extensions);
        let pkcs8 = key.to_pkcs8v1().unwrap().as_ref().to_vec();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(leaf)],
                PrivateKeyDer::try_from(pkcs8).unwrap(),
            )
            .unwrap();
        Arc::new(config)
    }
}

fn fresh_key() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()
}

fn certificate(
    serial: u8,
    subject_key: &EcdsaKeyPair,
    issuer_key: &EcdsaKeyPair,
    subject: &str,
    extensions: &[Vec<u8>],
) -> Vec<u8> {
    let algorithm = sequence(&[&oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02])]);
    let spki: PublicKeyX509Der<'_> = subject_key.public_key().as_der().unwrap();
    let validity = sequence(&[
        &tlv(0x17, &[b"200101000000Z"]),
        &tlv(0x17, &[b"491231000000Z"]),
    ]);
    let extensions: Vec<&[u8]> = extensions.iter().map(Vec::as_slice).collect();
    let body = sequence(&[
        &tlv(0xa0, &[&[0x02, 0x01, 0x02]]), // v3
        &[0x02, 0x01, serial],
        &algorithm,
        &name("test authority"),
        &validity,
        &name(subject),
        spki.as_ref(),
        &tlv(0xa3, &[&sequence(&extensions)]),
    ]);
    let signature = issuer_key.sign(&SystemRandom::new(), &body).unwrap();
    sequence(&[&body, &algorithm, &tlv(0x03, &[&[0], signature.as_ref()])])
}

fn name(common_name: &str) -> Vec<u8> {
    let value = tlv(0x0c, &[common_name.as_bytes()]);
    sequence(&[&tlv(
        0x31,
        &[&sequence(&[&oid(&[0x55, 0x04, 0x03]), &value])],
    )])
}

fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[0x01, 0x01, 0xff] } else { &[] };
    sequence(&[&oid(id), critical, &tlv(0x04, &[value])])
}

fn oid(content: &[u8]) -> Vec<u8> {
    tlv(0x06, &[content])
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts)
}

/// Tag, definite length, the parts one after the other.
pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        short @ 0..=0x7f => out.push(short as u8),
        one @ 0x80..=0xff => out.extend([0x81, one as u8]),
        two => {
            out.push(0x82);
            out.extend(u16::try_from(two).unwrap().to_be_bytes());
        }
    }
    out.extend(content);
    out
}

//! The certificate chain: leaf ← … ← pinned root (ground truth NSM §4.4, step 4;
//! RFC 5280 §6.1 for what AWS leaves unsaid).
//!
//! Takes the algorithms and forms of AWS's chain and no others: version 3,
//! ecdsa-with-SHA384, P-384 keys as uncompressed points, names compared byte
//! for byte. The root's own signature is not checked: its bytes are pinned.

use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1, UnparsedPublicKey};
use der::{Decode, Encode, Reader as _, SliceReader, asn1::ObjectIdentifier};
use x509_cert::{
    Certificate, Version,
    ext::{
        Extension,
        pkix::{AuthorityKeyIdentifier, BasicConstraints, KeyUsage, SubjectKeyIdentifier},
    },
};

use super::error::{Place, VerifyError};
use crate::clock::UnixMillis;

const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const SUBJECT_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const AUTHORITY_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");

/// A P-384 point, uncompressed.
const POINT_BYTES: usize = 97;

/// Whether `der` is one certificate and nothing else.
pub(super) fn is_certificate(der: &[u8]) -> bool {
    Certificate::from_der(der).is_ok()
}

/// A chain that was found good at one time, with all it takes to judge it at
/// another.
pub(super) struct Chain {
    pub(super) leaf_key: [u8; POINT_BYTES],
    /// Root first.
    validity: Vec<Validity>,
}

impl Chain {
    /// Whether all of its certificates are valid at `now` (unix seconds): the
    /// only one of [`verify`]'s questions whose answer changes.
    pub(super) fn is_valid_at(&self, now: u64) -> Result<(), VerifyError> {
        self.validity
            .iter()
            .try_for_each(|certificate| certificate.includes(now))
    }
}

/// When one certificate is valid, unix seconds, both ends included.
#[derive(Clone, Copy)]
struct Validity {
    place: Place,
    not_before: u64,
    not_after: u64,
}

impl Validity {
    fn includes(self, now: u64) -> Result<(), VerifyError> {
        let Self {
            place,
            not_before,
            not_after,
        } = self;
        let at = UnixMillis::from_secs;
        if now < not_before {
            return Err(VerifyError::NotYetValid {
                place,
                not_before: at(not_before),
                now: at(now),
            });
        }
        if now > not_after {
            return Err(VerifyError::Expired {
                place,
                not_after: at(not_after),
                now: at(now),
            });
        }
        Ok(())
    }
}

/// Verifies the chain at `now` (unix seconds). The caller has compared
/// `cabundle[0]` with its pins.
pub(super) fn verify(leaf: &[u8], cabundle: &[Vec<u8>], now: u64) -> Result<Chain, VerifyError> {
    let mut validity = Vec::with_capacity(cabundle.len() + 1);
    let mut issuer: Option<Link<'_>> = None;
    for (index, der) in cabundle.iter().enumerate() {
        let link = Link::read(der, Place::Cabundle(index))?;
        validity.push(link.validity());
        link.validity().includes(now)?;
        // Authorities between this one and the leaf.
        link.may_issue(cabundle.len() - 1 - index)?;
        if let Some(issuer) = &issuer {
            link.is_issued_by(issuer)?;
        }
        issuer = Some(link);
    }
    let leaf = Link::read(leaf, Place::Leaf)?;
    validity.push(leaf.validity());
    leaf.validity().includes(now)?;
    leaf.may_sign_documents()?;
    if let Some(issuer) = &issuer {
        leaf.is_issued_by(issuer)?;
    }
    Ok(Chain {
        leaf_key: leaf.key,
        validity,
    })
}

/// One certificate, read.
struct Link<'a> {
    place: Place,
    /// The signed bytes as received.
    tbs: &'a [u8],
    certificate: Certificate,
    key: [u8; POINT_BYTES],
    basic_constraints: BasicConstraints,
    key_usage: Option<KeyUsage>,
    subject_key_id: Option<Vec<u8>>,
    authority_key_id: Option<Vec<u8>>,
}

impl<'a> Link<'a> {
    fn read(der: &'a [u8], place: Place) -> Result<Self, VerifyError> {
        let unreadable = || VerifyError::CertificateUnreadable { place };
        let certificate = Certificate::from_der(der).map_err(|_| unreadable())?;
        let tbs = signed_part(der).ok_or_else(unreadable)?;
        let inner = certificate.tbs_certificate();
        if inner.version() != Version::V3 {
            return Err(unreadable());
        }
        for algorithm in [inner.signature(), certificate.signature_algorithm()] {
            if algorithm.oid != ECDSA_WITH_SHA384 || algorithm.parameters.is_some() {
                return Err(VerifyError::CertificateAlgorithm { place });
            }
        }
        let key = public_key(&certificate).ok_or(VerifyError::CertificateKey { place })?;

        let mut basic_constraints = None;
        let mut key_usage = None;
        let mut subject_key_id = None;
        let mut authority_key_id = None;
        let extensions = inner.extensions().map_or(&[][..], Vec::as_slice);
        for (index, extension) in extensions.iter().enumerate() {
            let id = extension.extn_id;
            let refused = || VerifyError::Extension {
                place,
                oid: id.to_string(),
            };
            if extensions
                .iter()
                .skip(index + 1)
                .any(|other| other.extn_id == id)
            {
                return Err(refused());
            }
            match id {
                BASIC_CONSTRAINTS => {
                    basic_constraints = decoded(extension).filter(|_| extension.critical);
                }
                KEY_USAGE => {
                    let usage = decoded(extension).ok_or(VerifyError::KeyUsage { place })?;
                    key_usage = Some(usage);
                }
                SUBJECT_KEY_ID => {
                    let SubjectKeyIdentifier(id) = decoded(extension).ok_or_else(refused)?;
                    subject_key_id = Some(id.into_bytes().into_vec());
                }
                AUTHORITY_KEY_ID => {
                    let id: AuthorityKeyIdentifier = decoded(extension).ok_or_else(refused)?;
                    authority_key_id = id.key_identifier.map(|id| id.into_bytes().into_vec());
                }
                _ if extension.critical => return Err(refused()),
                _ => {} // CRL distribution points among them
            }
        }
        let basic_constraints = basic_constraints.ok_or(VerifyError::BasicConstraints { place })?;
        Ok(Self {
            place,
            tbs,
            certificate,
            key,
            basic_constraints,
            key_usage,
            subject_key_id,
            authority_key_id,
        })
    }

    fn validity(&self) -> Validity {
        let validity = self.certificate.tbs_certificate().validity();
        Validity {
            place: self.place,
            not_before: validity.not_before.to_unix_duration().as_secs(),
            not_after: validity.not_after.to_unix_duration().as_secs(),
        }
    }

    fn may_issue(&self, authorities_below: usize) -> Result<(), VerifyError> {
        let place = self.place;
        if !self.basic_constraints.ca {
            return Err(VerifyError::NotAnAuthority { place });
        }
        if let Some(allowed) = self.basic_constraints.path_len_constraint
            && authorities_below > usize::from(allowed)
        {
            return Err(VerifyError::PathTooLong {
                place,
                allowed,
                found: authorities_below,
            });
        }
        if !self.key_usage.as_ref().is_some_and(KeyUsage::key_cert_sign) {
            return Err(VerifyError::KeyUsage { place });
        }
        Ok(())
    }

    fn may_sign_documents(&self) -> Result<(), VerifyError> {
        if self.basic_constraints.ca || self.basic_constraints.path_len_constraint.is_some() {
            return Err(VerifyError::LeafIsAuthority);
        }
        if !self
            .key_usage
            .as_ref()
            .is_some_and(KeyUsage::digital_signature)
        {
            return Err(VerifyError::KeyUsage { place: self.place });
        }
        Ok(())
    }

    fn is_issued_by(&self, issuer: &Self) -> Result<(), VerifyError> {
        let place = self.place;
        let names = [
            self.certificate.tbs_certificate().issuer().to_der(),
            issuer.certificate.tbs_certificate().subject().to_der(),
        ];
        match names {
            [Ok(named), Ok(found)] if named == found => {}
            _ => return Err(VerifyError::IssuerMismatch { place }),
        }
        // Instance certificates before 2024 and leaves carry none.
        if let (Some(named), Some(found)) = (&self.authority_key_id, &issuer.subject_key_id)
            && named != found
        {
            return Err(VerifyError::KeyIdMismatch { place });
        }
        let refused = VerifyError::CertificateSignature { place };
        let Some(signature) = self.certificate.signature().as_bytes() else {
            return Err(refused);
        };
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, issuer.key)
            .verify(self.tbs, signature)
            .map_err(|_| refused)
    }
}

fn decoded<'a, T: Decode<'a>>(extension: &'a Extension) -> Option<T> {
    T::from_der(extension.extn_value.as_bytes()).ok()
}

/// The bytes of the certificate's first element, as received.
fn signed_part(der: &[u8]) -> Option<&[u8]> {
    let mut outer = SliceReader::new(der).ok()?;
    der::Header::decode(&mut outer).ok()?;
    outer.tlv_bytes().ok()
}

fn public_key(certificate: &Certificate) -> Option<[u8; POINT_BYTES]> {
    let info = certificate.tbs_certificate().subject_public_key_info();
    if info.algorithm.oid != EC_PUBLIC_KEY {
        return None;
    }
    let curve: ObjectIdentifier = info.algorithm.parameters.as_ref()?.decode_as().ok()?;
    if curve != SECP384R1 {
        return None;
    }
    let point = info.subject_public_key.as_bytes()?;
    if point.first() != Some(&4) {
        return None;
    }
    point.try_into().ok()
}

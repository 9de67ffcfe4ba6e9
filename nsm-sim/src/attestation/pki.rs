//! The simulated attestation PKI: root → regional → zonal → instance → leaf.
//!
//! Models: ground truth NSM §4.3 – subjects with their DN orders and string
//! types, lifetimes, serials, extensions in AWS's order, a leaf minted lazily
//! with `notBefore` three seconds before issue and reused – as read from the 42
//! real chains. The root alone is not AWS's shape in its names: its subject
//! says that it is simulated, and no AWS root has signed anything below it.
//!
//! Chosen where hardware is unknown: the leaf is renewed two hours after issue
//! (the oldest seen in use was 6017 s old). Certificates above it are issued on
//! a grid of times that the seed fixes, so that two runs of a seeded world
//! minutes apart share them. Does not model revocation: the CRL distribution
//! points have AWS's shape and nothing behind them, and AWS asks verifiers to
//! keep CRL checking off.

use std::fmt;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use p384::ecdsa::{Signature, SigningKey, signature::Signer};
use rand_chacha::{ChaCha20Rng, rand_core::RngCore};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{
    der::{element, tag, unsigned},
    pem,
    verify::Verifier,
};
use crate::{
    cbor::{ARRAY, put_bytes, put_head, put_text},
    clock::UnixMillis,
    seed::WorldSeed,
};

/// A world's authority for one Region's documents.
pub struct Pki {
    seed: WorldSeed,
    region: String,
    root: Authority,
    root_der: Vec<u8>,
}

impl Pki {
    /// The authority of the world `seed` in `region`. The root depends on the
    /// seed alone.
    #[must_use]
    pub fn new(seed: &WorldSeed, region: &str) -> Self {
        let root = Authority::new(seed, "nsm root", root_name());
        let mut serial = [0; 16];
        seed.stream("nsm root serial").fill_bytes(&mut serial);
        let root_der = certificate(
            &Tbs {
                serial: &serial,
                subject: &root.name,
                not_before: ROOT_NOT_BEFORE,
                not_after: ROOT_NOT_BEFORE + ROOT_LIFE_SECS,
                public_key: &root.public_key,
                extensions: &[
                    basic_constraints(Some(None)),
                    subject_key_id(&root.key_id),
                    key_usage(true, CA_KEY_USAGE),
                ],
            },
            &root,
        );
        Self {
            seed: seed.clone(),
            region: region.to_owned(),
            root,
            root_der,
        }
    }

    /// The root certificate, DER: what a verifier of this world's documents pins.
    #[must_use]
    pub fn root_der(&self) -> &[u8] {
        &self.root_der
    }

    /// The root certificate, PEM.
    #[must_use]
    pub fn root_pem(&self) -> String {
        pem::encode(&self.root_der)
    }

    /// A verifier that trusts this root and no other.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        Verifier::pinned_to(&self.root_der)
    }

    /// Mints a leaf for an enclave, and the chain above it as it stands at
    /// `now`. `enclave_id` is the 64 bits at the end of `module_id`.
    #[must_use]
    pub fn mint(
        &self,
        instance_id: &str,
        module_id: &str,
        enclave_id: u64,
        now: UnixMillis,
    ) -> Identity {
        let region = self.region.as_str();
        let issued = certificate_secs(now);
        let leaf_from = issued - LEAF_BACKDATED_SECS;

        // Each level starts on the seed's grid, no later than the level below
        // it, and with more than the leaf's life left.
        let instance_label = format!("nsm instance {region} {instance_id}");
        let zonal_label = format!("nsm zonal {region}");
        let regional_label = format!("nsm regional {region}");
        let instance_from = self.grid(&instance_label, INSTANCE_RENEWED_SECS, leaf_from);
        let zonal_from = self.grid(&zonal_label, ZONAL_RENEWED_SECS, instance_from);
        let regional_from = self.grid(&regional_label, REGIONAL_RENEWED_SECS, zonal_from);

        let mut draw = self.draws(&regional_label, regional_from);
        let regional_name = name(&[
            (oid::C, "US"),
            (oid::O, "Amazon"),
            (oid::OU, "AWS"),
            (
                oid::CN,
                &format!("{:016x}.{region}.aws.nitro-enclaves", draw.next_u64()),
            ),
        ]);
        let regional = Authority::new(&self.seed, &draw.label, regional_name);
        let regional_der = certificate(
            &Tbs {
                serial: &draw.serial::<16>(),
                subject: &regional.name,
                not_before: regional_from,
                not_after: regional_from + REGIONAL_LIFE_SECS,
                public_key: &regional.public_key,
                extensions: &[
                    basic_constraints(Some(Some(2))),
                    authority_key_id(&self.root.key_id),
                    subject_key_id(&regional.key_id),
                    key_usage(true, CA_KEY_USAGE),
                    crl_distribution_point(ROOT_CRL),
                ],
            },
            &self.root,
        );

        let mut draw = self.draws(&zonal_label, zonal_from);
        let zonal_name = name(&[
            // Without leading zeros, and in the reverse order.
            (
                oid::CN,
                &format!("{:x}.zonal.{region}.aws.nitro-enclaves", draw.next_u64()),
            ),
            (oid::OU, "AWS"),
            (oid::O, "Amazon"),
            (oid::C, "US"),
            (oid::ST, "WA"),
            (oid::L, "Seattle"),
        ]);
        let zonal = Authority::new(&self.seed, &draw.label, zonal_name);
        let life_hours = ZONAL_LIFE_HOURS.0
            + (draw.next_u64() % (ZONAL_LIFE_HOURS.1 - ZONAL_LIFE_HOURS.0 + 1) as u64) as i64;
        let zonal_der = certificate(
            &Tbs {
                serial: &draw.serial::<16>(),
                subject: &zonal.name,
                not_before: zonal_from,
                not_after: zonal_from + life_hours * 3600,
                public_key: &zonal.public_key,
                extensions: &[
                    basic_constraints(Some(Some(1))),
                    authority_key_id(&regional.key_id),
                    subject_key_id(&zonal.key_id),
                    key_usage(true, CA_KEY_USAGE),
                    crl_distribution_point(&format!(
                        "http://crl-{region}-aws-nitro-enclaves.s3.{region}.amazonaws.com/crl/{}.crl",
                        draw.uuid()
                    )),
                ],
            },
            &regional,
        );

        let mut draw = self.draws(&instance_label, instance_from);
        let place = [
            (oid::C, "US"),
            (oid::ST, "Washington"),
            (oid::L, "Seattle"),
            (oid::O, "Amazon"),
            (oid::OU, "AWS"),
        ];
        let named = |common_name: &str| {
            let mut attributes = place.to_vec();
            attributes.push((oid::CN, common_name));
            name(&attributes)
        };
        let instance = Authority::new(
            &self.seed,
            &draw.label,
            named(&format!("{instance_id}.{region}.aws.nitro-enclaves")),
        );
        let instance_der = certificate(
            &Tbs {
                serial: &draw.serial::<20>(),
                subject: &instance.name,
                not_before: instance_from,
                not_after: instance_from + INSTANCE_LIFE_SECS,
                public_key: &instance.public_key,
                extensions: &[
                    basic_constraints(Some(Some(0))),
                    key_usage(true, KEY_CERT_SIGN),
                    subject_key_id(&instance.key_id),
                    authority_key_id(&zonal.key_id),
                ],
            },
            &zonal,
        );

        let leaf = Authority::new(
            &self.seed,
            &format!("nsm leaf {region} {module_id} {issued}"),
            named(&format!("{module_id}.{region}.aws")),
        );
        let mut serial = [0; 16];
        let (enclave, time) = serial.split_at_mut(8);
        enclave.copy_from_slice(&enclave_id.to_be_bytes());
        time.copy_from_slice(&issued.to_be_bytes());
        let leaf_der = certificate(
            &Tbs {
                serial: &serial,
                subject: &leaf.name,
                not_before: leaf_from,
                not_after: issued + LEAF_LIFE_SECS,
                public_key: &leaf.public_key,
                extensions: &[
                    basic_constraints(None),
                    key_usage(false, DIGITAL_SIGNATURE_NON_REPUDIATION),
                ],
            },
            &instance,
        );

        let chain_cbor = chain_entries(
            &leaf_der,
            &[&self.root_der, &regional_der, &zonal_der, &instance_der],
        );
        Identity {
            leaf_key: leaf.key,
            issued,
            chain_cbor,
        }
    }

    /// The last point of `label`'s grid at or before `at`.
    fn grid(&self, label: &str, period: i64, at: i64) -> i64 {
        let phase = (self.seed.stream(&format!("{label} grid")).next_u64() % period as u64) as i64;
        (at - (at - phase).rem_euclid(period)).max(TIME_MIN)
    }

    fn draws(&self, label: &str, from: i64) -> Draws {
        let label = format!("{label} {from}");
        Draws {
            stream: self.seed.stream(&format!("{label} fields")),
            label,
        }
    }
}

impl fmt::Debug for Pki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pki")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// A leaf with its key and the chain above it, ready to sign documents.
pub struct Identity {
    leaf_key: SigningKey, // wiped on drop by its own type
    /// Unix seconds.
    issued: i64,
    chain_cbor: Vec<u8>,
}

impl Identity {
    /// Whether a document written at `now` still uses this leaf.
    #[must_use]
    pub fn serves_at(&self, now: UnixMillis) -> bool {
        let now = certificate_secs(now);
        // A clock set back before notBefore needs a leaf of that time.
        (self.issued - LEAF_BACKDATED_SECS..self.issued + LEAF_RENEWED_SECS).contains(&now)
    }

    pub(crate) const fn leaf_key(&self) -> &SigningKey {
        &self.leaf_key
    }

    /// The `certificate` and `cabundle` entries of a document's payload.
    pub(crate) fn chain_cbor(&self) -> &[u8] {
        &self.chain_cbor
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("issued", &self.issued)
            .finish_non_exhaustive()
    }
}

/// 2019-10-28T13:28:05Z, as AWS's root.
const ROOT_NOT_BEFORE: i64 = 1_572_269_285;
/// Thirty years and an hour, as AWS's root.
const ROOT_LIFE_SECS: i64 = 946_774_800;
/// Twenty days and an hour.
const REGIONAL_LIFE_SECS: i64 = 1_731_600;
/// Shortest and longest life seen.
const ZONAL_LIFE_HOURS: (i64, i64) = (133, 145);
const INSTANCE_LIFE_SECS: i64 = 86_400;
/// From issue to expiry; the certificate's life is three seconds longer.
const LEAF_LIFE_SECS: i64 = 10_800;
const LEAF_BACKDATED_SECS: i64 = 3;
/// Hardware's renewal point lies between 6017 s and 10800 s and is unknown.
const LEAF_RENEWED_SECS: i64 = 7200;

/// Half of each life or less, so that a level outlives what is issued below it.
/// The instance's is the one seen on hardware.
const INSTANCE_RENEWED_SECS: i64 = 43_200;
const ZONAL_RENEWED_SECS: i64 = 66 * 3600;
const REGIONAL_RENEWED_SECS: i64 = 10 * 86_400;

/// Certificates carry years 1 to 9999 at most; these bound whatever a clock says
/// to 1970–9998.
const TIME_MIN: i64 = 0;
const TIME_MAX: i64 = 253_370_764_800;

/// The second of `now`, or the last one that a certificate can say.
fn certificate_secs(now: UnixMillis) -> i64 {
    i64::try_from(now.as_secs()).map_or(TIME_MAX, |secs| secs.min(TIME_MAX))
}

/// The one CRL that all regional certificates name.
const ROOT_CRL: &str =
    "http://aws-nitro-enclaves-crl.s3.amazonaws.com/crl/ab4960cc-7d63-42bd-9e9f-59338cb67f84.crl";

/// The subject that makes a simulated document unmistakable.
fn root_name() -> Vec<u8> {
    name(&[
        (oid::C, "US"),
        (oid::O, "Drydock"),
        (oid::OU, "Simulated, not AWS"),
        (oid::CN, "drydock simulated nitro-enclaves root"),
    ])
}

/// A key and the names that certificates call it by.
pub(super) struct Authority {
    pub(super) key: SigningKey,
    /// Uncompressed point, 97 bytes.
    pub(super) public_key: Vec<u8>,
    /// SHA-1 of the point (RFC 5280 §4.2.1.2, method 1), as AWS's.
    pub(super) key_id: Vec<u8>,
    /// DER.
    pub(super) name: Vec<u8>,
}

impl Authority {
    pub(super) fn new(seed: &WorldSeed, label: &str, name: Vec<u8>) -> Self {
        let mut stream = seed.stream(&format!("{label} key"));
        let key = loop {
            let mut scalar = Zeroizing::new([0; 48]);
            stream.fill_bytes(scalar.as_mut());
            // Refused only outside 1..n: less often than once in 2^190 draws.
            if let Ok(key) = SigningKey::from_slice(scalar.as_ref()) {
                break key;
            }
        };
        let public_key = key.verifying_key().to_sec1_point(false).as_bytes().to_vec();
        let key_id = digest(&SHA1_FOR_LEGACY_USE_ONLY, &public_key)
            .as_ref()
            .to_vec();
        Self {
            key,
            public_key,
            key_id,
            name,
        }
    }
}

/// Names and numbers of one certificate.
struct Draws {
    label: String,
    stream: ChaCha20Rng,
}

impl Draws {
    fn next_u64(&mut self) -> u64 {
        self.stream.next_u64()
    }

    fn serial<const N: usize>(&mut self) -> [u8; N] {
        let mut serial = [0; N];
        self.stream.fill_bytes(&mut serial);
        serial
    }

    /// A random UUID (RFC 9562 version 4).
    fn uuid(&mut self) -> String {
        let [a, b] = [self.next_u64(), self.next_u64()];
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            a >> 16 & 0xffff,
            a & 0xfff,
            b >> 48 & 0x3fff | 0x8000,
            b & 0xffff_ffff_ffff
        )
    }
}

pub(super) struct Tbs<'a> {
    pub(super) serial: &'a [u8],
    pub(super) subject: &'a [u8],
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    pub(super) public_key: &'a [u8],
    pub(super) extensions: &'a [Vec<u8>],
}

pub(super) fn certificate(tbs: &Tbs<'_>, issuer: &Authority) -> Vec<u8> {
    let version_3 = element(tag::constructed(0), &[&unsigned(&[2])]);
    let algorithm = element(
        tag::SEQUENCE,
        &[&element(tag::OID, &[oid::ECDSA_WITH_SHA384])],
    );
    let validity = element(
        tag::SEQUENCE,
        &[&time(tbs.not_before), &time(tbs.not_after)],
    );
    let key = element(
        tag::SEQUENCE,
        &[
            &element(
                tag::SEQUENCE,
                &[
                    &element(tag::OID, &[oid::EC_PUBLIC_KEY]),
                    &element(tag::OID, &[oid::SECP384R1]),
                ],
            ),
            &element(tag::BIT_STRING, &[&[0], tbs.public_key]),
        ],
    );
    let extensions: Vec<&[u8]> = tbs.extensions.iter().map(Vec::as_slice).collect();
    let extensions = element(tag::constructed(3), &[&element(tag::SEQUENCE, &extensions)]);
    let tbs = element(
        tag::SEQUENCE,
        &[
            &version_3,
            &unsigned(tbs.serial),
            &algorithm,
            &issuer.name,
            &validity,
            tbs.subject,
            &key,
            &extensions,
        ],
    );
    let signature: Signature = issuer.key.sign(&tbs);
    let (r, s) = signature.split_bytes();
    let signature = element(tag::SEQUENCE, &[&unsigned(&r), &unsigned(&s)]);
    element(
        tag::SEQUENCE,
        &[
            &tbs,
            &algorithm,
            &element(tag::BIT_STRING, &[&[0], &signature]),
        ],
    )
}

/// One attribute an RDN, in the order given; the country is a PrintableString,
/// everything else UTF-8, as AWS has it.
pub(super) fn name(attributes: &[(&[u8], &str)]) -> Vec<u8> {
    let rdns: Vec<Vec<u8>> = attributes
        .iter()
        .map(|(attribute, value)| {
            let string = if *attribute == oid::C {
                tag::PRINTABLE_STRING
            } else {
                tag::UTF8_STRING
            };
            let pair = element(
                tag::SEQUENCE,
                &[
                    &element(tag::OID, &[attribute]),
                    &element(string, &[value.as_bytes()]),
                ],
            );
            element(tag::SET, &[&pair])
        })
        .collect();
    element(
        tag::SEQUENCE,
        &rdns.iter().map(Vec::as_slice).collect::<Vec<_>>(),
    )
}

/// RFC 5280 §4.1.2.5: two-digit years through 2049, four digits after.
fn time(unix_secs: i64) -> Vec<u8> {
    let at = OffsetDateTime::from_unix_timestamp(unix_secs.clamp(TIME_MIN, TIME_MAX + 86_400))
        .expect("a time of the years 1970 to 9999");
    let rest = format!(
        "{:02}{:02}{:02}{:02}{:02}Z",
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    );
    if at.year() < 2050 {
        let year = format!("{:02}", at.year() % 100);
        element(tag::UTC_TIME, &[year.as_bytes(), rest.as_bytes()])
    } else {
        let year = format!("{:04}", at.year());
        element(tag::GENERALIZED_TIME, &[year.as_bytes(), rest.as_bytes()])
    }
}

pub(super) fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let id = element(tag::OID, &[id]);
    let value = element(tag::OCTET_STRING, &[value]);
    if critical {
        element(
            tag::SEQUENCE,
            &[&id, &element(tag::BOOLEAN, &[&[0xff]]), &value],
        )
    } else {
        element(tag::SEQUENCE, &[&id, &value])
    }
}

/// Critical. `None`: no authority. `Some(None)`: one without a path length.
pub(super) fn basic_constraints(authority: Option<Option<u8>>) -> Vec<u8> {
    let ca = element(tag::BOOLEAN, &[&[0xff]]);
    let value = match authority {
        None => element(tag::SEQUENCE, &[]),
        Some(None) => element(tag::SEQUENCE, &[&ca]),
        Some(Some(path_len)) => element(tag::SEQUENCE, &[&ca, &unsigned(&[path_len])]),
    };
    extension(oid::BASIC_CONSTRAINTS, true, &value)
}

/// Digital signature, certificate sign, CRL sign.
pub(super) const CA_KEY_USAGE: [u8; 2] = [1, 0x86];
pub(super) const KEY_CERT_SIGN: [u8; 2] = [2, 0x04];
pub(super) const DIGITAL_SIGNATURE_NON_REPUDIATION: [u8; 2] = [6, 0xc0];

/// `bits`: unused bits, then the bits.
pub(super) fn key_usage(critical: bool, bits: [u8; 2]) -> Vec<u8> {
    extension(
        oid::KEY_USAGE,
        critical,
        &element(tag::BIT_STRING, &[&bits]),
    )
}

pub(super) fn subject_key_id(id: &[u8]) -> Vec<u8> {
    extension(
        oid::SUBJECT_KEY_ID,
        false,
        &element(tag::OCTET_STRING, &[id]),
    )
}

pub(super) fn authority_key_id(id: &[u8]) -> Vec<u8> {
    let value = element(tag::SEQUENCE, &[&element(tag::context(0), &[id])]);
    extension(oid::AUTHORITY_KEY_ID, false, &value)
}

fn crl_distribution_point(uri: &str) -> Vec<u8> {
    let uri = element(tag::context(6), &[uri.as_bytes()]);
    let full_name = element(tag::constructed(0), &[&uri]);
    let point = element(
        tag::SEQUENCE,
        &[&element(tag::constructed(0), &[&full_name])],
    );
    extension(
        oid::CRL_DISTRIBUTION_POINTS,
        false,
        &element(tag::SEQUENCE, &[&point]),
    )
}

/// Object identifiers, as the content of their DER.
pub(super) mod oid {
    pub(in crate::attestation) const CN: &[u8] = &[0x55, 4, 3];
    pub(in crate::attestation) const C: &[u8] = &[0x55, 4, 6];
    pub(in crate::attestation) const L: &[u8] = &[0x55, 4, 7];
    pub(in crate::attestation) const ST: &[u8] = &[0x55, 4, 8];
    pub(in crate::attestation) const O: &[u8] = &[0x55, 4, 10];
    pub(in crate::attestation) const OU: &[u8] = &[0x55, 4, 11];
    pub(in crate::attestation) const SUBJECT_KEY_ID: &[u8] = &[0x55, 0x1d, 14];
    pub(in crate::attestation) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
    pub(in crate::attestation) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
    pub(in crate::attestation) const CRL_DISTRIBUTION_POINTS: &[u8] = &[0x55, 0x1d, 31];
    pub(in crate::attestation) const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 35];
    /// 1.2.840.10045.2.1
    pub(in crate::attestation) const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    /// 1.2.840.10045.4.3.3
    pub(in crate::attestation) const ECDSA_WITH_SHA384: &[u8] =
        &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
    /// 1.3.132.0.34
    pub(in crate::attestation) const SECP384R1: &[u8] = &[0x2b, 0x81, 4, 0, 34];
}

/// The `certificate` and `cabundle` entries of a payload: encoded once a leaf,
/// copied into every document.
pub(crate) fn chain_entries(leaf: &[u8], cabundle: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    put_text(&mut out, "certificate");
    put_bytes(&mut out, leaf);
    put_text(&mut out, "cabundle");
    put_head(&mut out, ARRAY, cabundle.len() as u64);
    for certificate in cabundle {
        put_bytes(&mut out, certificate);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_outlives_the_leaf_at_any_time() {
        let pki = Pki::new(&WorldSeed::from_u64(1), "us-east-1");
        for step in 0..2000 {
            let at = 1_700_000_000 + step * 5003;
            let instance = pki.grid("i", INSTANCE_RENEWED_SECS, at - LEAF_BACKDATED_SECS);
            let zonal = pki.grid("z", ZONAL_RENEWED_SECS, instance);
            let regional = pki.grid("r", REGIONAL_RENEWED_SECS, zonal);
            assert!(regional <= zonal && zonal <= instance && instance <= at - 3);
            let leaf_end = at + LEAF_LIFE_SECS;
            assert!(instance + INSTANCE_LIFE_SECS > leaf_end);
            assert!(zonal + ZONAL_LIFE_HOURS.0 * 3600 > instance + INSTANCE_LIFE_SECS);
            assert!(regional + REGIONAL_LIFE_SECS > zonal + ZONAL_LIFE_HOURS.1 * 3600);
        }
    }

    #[test]
    fn a_leaf_serves_from_its_backdating_to_its_renewal() {
        let pki = Pki::new(&WorldSeed::from_u64(1), "us-east-1");
        let leaf = pki.mint("i-0", "i-0-enc0", 0, UnixMillis::from_secs(1_700_000_000));
        for (secs, serves) in [
            (-4, false),
            (-3, true),
            (0, true),
            (6017, true),
            (7199, true),
            (7200, false),
        ] {
            let at = UnixMillis::from_secs(1_700_000_000_u64.saturating_add_signed(secs));
            assert_eq!(leaf.serves_at(at), serves, "{secs} s after issue");
        }
    }

    #[test]
    fn no_clock_is_too_far_off_to_mint_under() {
        let pki = Pki::new(&WorldSeed::from_u64(1), "us-east-1");
        for now in [0, 1, 2_600_000_000_000, u64::MAX] {
            let _ = pki.mint("i-0", "i-0-enc0", u64::MAX, UnixMillis(now));
        }
    }

    #[test]
    fn years_past_2049_have_four_digits() {
        assert_eq!(
            time(2_524_607_999),
            [b"\x17\x0d".as_slice(), b"491231235959Z"].concat()
        );
        assert_eq!(
            time(2_524_608_000),
            [b"\x18\x0f".as_slice(), b"20500101000000Z"].concat()
        );
    }
}

//! Our chain against a real one, field by field.

use der::{Encode, Tagged};
use nsm_sim::{
    attestation::{
        pki::Pki,
        variance::Variance,
        verify::{AttestationDocument, Verifier},
    },
    clock::UnixMillis,
    device::{Measurements, NitroSecureModule, Profile},
    seed::WorldSeed,
};
use x509_cert::{Certificate, der::Decode};

/// The newest real document: its instance, enclave and time are ours too.
const REAL: &str = "20260630-prod-tkhq-277e236b.cbor";

fn ours(real: &AttestationDocument) -> AttestationDocument {
    let seed = WorldSeed::from_u64(1);
    let (instance_id, enclave) = real.module_id.split_once("-enc").unwrap();
    let enclave = u64::from_str_radix(enclave, 16).unwrap();
    let profile = Profile {
        measurements: Measurements::of_one_part(b"image"),
        role_arn: None,
        instance_id: instance_id.to_owned(),
        region: "us-east-1".to_owned(),
        debug: false,
        created: UnixMillis(enclave >> 16),
        enclave_nonce: (enclave & 0xffff) as u16,
    };
    let mut module = NitroSecureModule::new(profile, &seed, Variance::default());
    // As old a leaf as the real one is: 56 s.
    let minted = UnixMillis(real.timestamp.0 - 53_000);
    module.handle(minted, b"\xa1\x6bAttestation\xa0");
    let reply = module.handle(real.timestamp, b"\xa1\x6bAttestation\xa0");
    let document = &reply[26..]; // behind a1 6b"Attestation" a1 68"document" 59xxxx
    Pki::new(&seed, "us-east-1")
        .verifier()
        .verify(document, real.timestamp)
        .unwrap()
}

fn chain(document: &AttestationDocument) -> Vec<Certificate> {
    document
        .cabundle
        .iter()
        .chain([&document.certificate])
        .map(|der| Certificate::from_der(der).unwrap())
        .collect()
}

/// Every property that does not name a key, a place or a time.
fn shape(certificate: &Certificate) -> Vec<String> {
    let tbs = certificate.tbs_certificate();
    let mut shape = vec![
        format!("{:?}", tbs.version()),
        format!("signed {}", tbs.signature().oid),
        format!("signed {}", certificate.signature_algorithm().oid),
        format!("parameters {:?}", tbs.signature().parameters),
        format!("key {}", tbs.subject_public_key_info().algorithm.oid),
        format!(
            "curve {}",
            hex::encode(
                tbs.subject_public_key_info()
                    .algorithm
                    .parameters
                    .to_der()
                    .unwrap()
            )
        ),
        format!("from {:?}", tbs.validity().not_before.tag()),
        format!(
            "unique ids {:?} {:?}",
            tbs.issuer_unique_id(),
            tbs.subject_unique_id()
        ),
    ];
    for (kind, name) in [("issuer", tbs.issuer()), ("subject", tbs.subject())] {
        for attribute in name.iter() {
            shape.push(format!(
                "{kind} {} {:?}",
                attribute.oid,
                attribute.value.tag()
            ));
        }
    }
    for extension in tbs.extensions().unwrap() {
        let value = extension.extn_value.as_bytes();
        // Key identifiers by shape, everything else by value.
        let value = match extension.extn_id.to_string().as_str() {
            "2.5.29.14" => format!("{} of {}", hex::encode(&value[..2]), value.len()),
            "2.5.29.35" => format!("{} of {}", hex::encode(&value[..4]), value.len()),
            "2.5.29.31" => {
                let uri = String::from_utf8_lossy(&value[10..]).into_owned();
                // The zonal CRL's UUID is drawn.
                if uri.contains("crl-us-east-1") {
                    let uuid = uri.find("/crl/").unwrap() + 5;
                    format!("{}…{} of {}", &uri[..uuid], &uri[uuid + 36..], value.len())
                } else {
                    uri
                }
            }
            _ => hex::encode(value),
        };
        shape.push(format!(
            "{} critical {} {value}",
            extension.extn_id, extension.critical
        ));
    }
    shape
}

fn life_secs(certificate: &Certificate) -> u64 {
    let validity = certificate.tbs_certificate().validity();
    let (from, to) = (validity.not_before, validity.not_after);
    to.to_unix_duration().as_secs() - from.to_unix_duration().as_secs()
}

fn subject_values(certificate: &Certificate) -> Vec<String> {
    certificate
        .tbs_certificate()
        .subject()
        .iter()
        .map(|attribute| String::from_utf8(attribute.value.value().to_vec()).unwrap())
        .collect()
}

fn real_document() -> Option<AttestationDocument> {
    let document = crate::corpus::path("attestation")?.join(REAL);
    Some(
        Verifier::aws()
            .verify_at_own_time(&std::fs::read(document).unwrap())
            .unwrap(),
    )
}

#[test]
fn versions_algorithms_dn_orders_string_types_and_extensions_are_a_real_chains() {
    let Some(real) = real_document() else { return };
    let (real, ours) = (chain(&real), chain(&ours(&real)));
    assert_eq!((real.len(), ours.len()), (5, 5));
    for (place, (real, ours)) in ["root", "regional", "zonal", "instance", "leaf"]
        .iter()
        .zip(real.iter().zip(&ours))
    {
        assert_eq!(shape(ours), shape(real), "{place}");
    }
}

#[test]
fn lifetimes_are_a_real_chains() {
    let Some(real) = real_document() else { return };
    let (real, ours) = (chain(&real), chain(&ours(&real)));
    let [real, ours] = [&real, &ours].map(|chain| chain.iter().map(life_secs).collect::<Vec<_>>());
    assert_eq!(
        [real[0], real[1], real[3], real[4]],
        [ours[0], ours[1], ours[3], ours[4]]
    );
    // The zonal one lives whole hours, 133 to 145 of them.
    assert!(
        ours[2] % 3600 == 0 && (133..=145).contains(&(ours[2] / 3600)),
        "{}",
        ours[2]
    );
}

#[test]
fn names_below_the_root_are_awss_and_the_root_is_unmistakably_not() {
    let Some(real) = real_document() else { return };
    let (real_chain, our_chain) = (chain(&real), chain(&ours(&real)));
    // Instance and leaf name the same instance, enclave and Region.
    for place in [3, 4] {
        assert_eq!(
            subject_values(&our_chain[place]),
            subject_values(&real_chain[place])
        );
    }
    // Regional and zonal differ in the drawn number only.
    for (place, common_name) in [(1, 3), (2, 0)] {
        let [mut real, mut ours] =
            [&real_chain, &our_chain].map(|chain| subject_values(&chain[place]));
        for values in [&mut real, &mut ours] {
            let (number, rest) = values[common_name].split_once('.').unwrap();
            assert!(u64::from_str_radix(number, 16).is_ok(), "{number}");
            values[common_name] = rest.to_owned();
        }
        assert_eq!(ours, real);
    }
    assert_eq!(
        subject_values(&our_chain[0]),
        [
            "US",
            "Drydock",
            "Simulated, not AWS",
            "drydock simulated nitro-enclaves root"
        ]
    );
}

#[test]
fn a_leafs_serial_is_the_enclave_and_its_issue_time() {
    let Some(real) = real_document() else { return };
    let (real_chain, our_chain) = (chain(&real), chain(&ours(&real)));
    for chain in [&real_chain, &our_chain] {
        let tbs = chain[4].tbs_certificate();
        let issued = tbs.validity().not_before.to_unix_duration().as_secs() + 3;
        let serial = format!("019f15f1504dc31d{issued:016x}");
        assert_eq!(hex::encode(tbs.serial_number().as_bytes()), serial);
    }
    // 128-bit serials above, about 160-bit for the instance.
    for (place, bytes) in [(0, 16), (1, 16), (2, 16), (3, 20)] {
        let len = our_chain[place]
            .tbs_certificate()
            .serial_number()
            .as_bytes()
            .len();
        assert!((bytes - 1..=bytes + 1).contains(&len), "{place}: {len}");
    }
}

#[test]
fn key_identifiers_are_the_sha1_of_the_key_and_link_the_chain() {
    let Some(real) = real_document() else { return };
    for chain in [chain(&real), chain(&ours(&real))] {
        let value = |certificate: &Certificate, oid: &str| {
            let extensions = certificate.tbs_certificate().extensions().unwrap();
            let extension = extensions.iter().find(|e| e.extn_id.to_string() == oid);
            extension.map(|extension| extension.extn_value.as_bytes().to_vec())
        };
        for (issuer, issued) in chain.iter().zip(&chain[1..4]) {
            let key = issuer.tbs_certificate().subject_public_key_info();
            let id = aws_lc_rs::digest::digest(
                &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
                key.subject_public_key.raw_bytes(),
            );
            assert_eq!(&value(issuer, "2.5.29.14").unwrap()[2..], id.as_ref());
            assert_eq!(&value(issued, "2.5.29.35").unwrap()[4..], id.as_ref());
        }
    }
}

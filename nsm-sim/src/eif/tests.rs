//! The format as a whole: golden images, damage, round trips.

use std::{fs, path::PathBuf};

use p384::ecdsa::SigningKey;
use proptest::prelude::*;

use super::{ramdisk::*, *};
use crate::clock::UnixMillis;

/// The folder of measured images, or `None` with a printed reason. In CI it has
/// to be there.
fn corpus() -> Option<PathBuf> {
    let root = std::env::var_os("DRYDOCK_CORPUS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus")),
        PathBuf::from,
    );
    let folder = root.join("eif");
    if folder.join("INDEX.json").exists() {
        return Some(folder);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "no measured images at {}",
        folder.display()
    );
    println!("skipped: no measured images at {}", folder.display());
    None
}

fn parts() -> (Vec<u8>, &'static str, Vec<u8>, Vec<u8>) {
    let kernel: Vec<u8> = (0..3000_u32).map(|n| n.to_le_bytes()[0] ^ 0x5a).collect();
    let boot = write_cpio_gz(&[Entry::executable("init", "#!/bin/sh\n")]).unwrap();
    let application = write_cpio_gz(&[
        Entry::file("cmd", "/bin/app\n"),
        Entry::file("env", "A=1\n"),
        Entry::executable("rootfs/bin/app", "program"),
    ])
    .unwrap();
    (kernel, "reboot=k console=ttyS0", boot, application)
}

fn signing_key() -> SigningKey {
    SigningKey::from_slice(&[7; 48]).unwrap()
}

fn small() -> Vec<u8> {
    let (kernel, cmdline, boot, application) = parts();
    EifBuilder::new(&kernel, cmdline)
        .metadata(reproducible_metadata("small", "1"))
        .ramdisk(&boot)
        .ramdisk(&application)
        .build()
        .unwrap()
}

#[test]
fn official_images_measure_as_the_official_library_measured_them() {
    let Some(folder) = corpus() else { return };
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("INDEX.json")).unwrap()).unwrap();
    let images = index["images"].as_object().unwrap();
    assert_eq!(images.len(), 4);
    for (name, expected) in images {
        let file = fs::read(folder.join(name)).unwrap();
        let image = Eif::read(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        let measured = image.measurements();
        assert_eq!(hex::encode(measured.pcr0), expected["PCR0"], "{name}");
        assert_eq!(hex::encode(measured.pcr1), expected["PCR1"], "{name}");
        assert_eq!(hex::encode(measured.pcr2), expected["PCR2"], "{name}");
        let pcr8 = measured.pcr8.map(hex::encode);
        assert_eq!(pcr8.as_deref(), expected["PCR8"].as_str(), "{name}");
        assert_eq!(image.verify_signature(), Ok(name == "signed.eif"), "{name}");
    }
}

#[test]
fn official_images_come_out_byte_for_byte_when_rebuilt_from_their_parts() {
    let Some(folder) = corpus() else { return };
    let part = |name: &str| fs::read(folder.join(name)).unwrap();
    let (kernel, r0, r1, r2) = (
        part("kernel"),
        part("r0.cpio.gz"),
        part("r1.cpio.gz"),
        part("r2.cpio.gz"),
    );
    for (name, ramdisks) in [
        ("one-ramdisk.eif", vec![&r0]),
        ("plain.eif", vec![&r0, &r1]),
        ("three-ramdisks.eif", vec![&r0, &r1, &r2]),
    ] {
        let original = part(name);
        let image = Eif::read(&original).unwrap();
        let section = |kind| image.section(kind).unwrap().data;
        let cmdline = std::str::from_utf8(section(SectionKind::Cmdline)).unwrap();
        let builder = ramdisks
            .iter()
            .fold(EifBuilder::new(&kernel, cmdline), |builder, disk| {
                builder.ramdisk(disk)
            });

        let bare = builder.build().unwrap();
        assert_eq!(
            Eif::read(&bare).unwrap().measurements(),
            image.measurements(),
            "{name}"
        );
        let whole = builder
            .metadata(section(SectionKind::Metadata))
            .build()
            .unwrap();
        assert!(whole == original, "{name} is rebuilt with other bytes");
    }
}

#[test]
fn the_official_signature_names_its_signer_and_holds_for_no_other_image() {
    let Some(folder) = corpus() else { return };
    let file = fs::read(folder.join("signed.eif")).unwrap();
    let image = Eif::read(&file).unwrap();
    let signature = image.signature().unwrap();
    assert!(
        signature.subject().contains("CN=eif-signer"),
        "{}",
        signature.subject()
    );
    assert!(matches!(
        signature.verify(&[0; 48]),
        Err(SignatureError::OtherImage { .. })
    ));
    let description = image.describe();
    assert_eq!(description.signature_check, Some(true));
    let json = serde_json::to_value(&description).unwrap();
    assert_eq!(
        json["Measurements"]["PCR8"],
        hex::encode(image.measurements().pcr8.unwrap())
    );
    assert_eq!(json["CheckCRC"], true);

    // The same section on another image: PCR8 is the same, the signature fails.
    let other = fs::read(folder.join("three-ramdisks.eif")).unwrap();
    let other = Eif::read(&other).unwrap();
    let mut sections: Vec<(SectionKind, &[u8])> = other
        .sections()
        .iter()
        .map(|section| (section.kind, section.data))
        .collect();
    sections.push((
        SectionKind::Signature,
        image.section(SectionKind::Signature).unwrap().data,
    ));
    let moved = layout::write(other.header(), &sections).unwrap();
    let moved = Eif::read(&moved).unwrap();
    assert_eq!(moved.measurements().pcr8, image.measurements().pcr8);
    assert!(matches!(
        moved.verify_signature(),
        Err(EifError::Signature(SignatureError::OtherImage { .. }))
    ));
    assert!(moved.describe().to_string().contains("DOES NOT HOLD"));
}

#[test]
fn the_official_application_unpacks_to_its_command_environment_and_files() {
    let Some(folder) = corpus() else { return };
    let file = fs::read(folder.join("plain.eif")).unwrap();
    let application = Eif::read(&file).unwrap().application().unwrap();
    assert_eq!(application.cmd, ["/bin/hello", "one", "two words"]);
    assert_eq!(
        application.env,
        [
            ("GREETING".to_owned(), "hola".to_owned()),
            ("PATH".to_owned(), "/bin".to_owned())
        ]
    );
    let root = tempfile::tempdir().unwrap();
    unpack(&application.rootfs, root.path()).unwrap();
    assert_eq!(
        fs::read_to_string(root.path().join("etc/motd")).unwrap(),
        "from the image\n"
    );
    assert!(
        fs::read(root.path().join("bin/hello"))
            .unwrap()
            .starts_with(b"\x7fELF")
    );

    let one = fs::read(folder.join("one-ramdisk.eif")).unwrap();
    assert_eq!(
        Eif::read(&one).unwrap().application(),
        Err(ApplicationError::NoRamdisk.into())
    );
}

#[test]
fn diff_of_official_images_names_the_ramdisk_that_moved_pcr0_and_pcr2() {
    let Some(folder) = corpus() else { return };
    let (a, b) = (
        fs::read(folder.join("plain.eif")).unwrap(),
        fs::read(folder.join("three-ramdisks.eif")).unwrap(),
    );
    let text = diff::diff(&Eif::read(&a).unwrap(), &Eif::read(&b).unwrap()).to_string();
    assert!(text.contains("PCR0 moved by: ramdisk 2"), "{text}");
    assert!(text.contains("PCR2 moved by: ramdisk 2"), "{text}");
    assert!(!text.contains("PCR1 moved"), "{text}");
}

#[test]
fn a_flipped_bit_anywhere_is_refused_and_past_the_version_it_is_a_wrong_checksum() {
    let file = small();
    for at in 0..file.len() {
        let mut flipped = file.clone();
        flipped[at] ^= 1 << (at % 8);
        match Eif::read(&flipped) {
            Err(EifError::Crc { .. }) => {}
            Err(EifError::NotAnEif { .. } | EifError::UnsupportedVersion { .. }) if at < 6 => {}
            other => panic!("bit {} of byte {at}: {other:?}", at % 8),
        }
    }
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let file = small();
    for length in 0..file.len() {
        assert!(Eif::read(&file[..length]).is_err(), "{length} bytes");
    }
}

/// Changes the file and sets the checksum right again.
fn forged(mut file: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut file);
    let crc = layout::checksum(&file);
    file[544..548].copy_from_slice(&crc.to_be_bytes());
    file
}

#[test]
fn every_broken_rule_is_named_even_with_a_right_checksum() {
    let put = |at: usize, bytes: &'static [u8]| {
        forged(small(), |file| {
            file[at..at + bytes.len()].copy_from_slice(bytes)
        })
    };
    let read = |file: &[u8]| Eif::read(file).map(|_| ()).unwrap_err();
    assert_eq!(read(&put(6, &[0, 2])), EifError::UnknownFlags { flags: 2 });
    assert_eq!(
        read(&put(24, &[1, 0])),
        EifError::ReservedNotZero { field: "reserved" }
    );
    assert_eq!(
        read(&put(26, &[0, 33])),
        EifError::TooManySections { count: 33 }
    );
    assert!(
        matches!(read(&put(26, &[0, 4])), EifError::ReservedNotZero { .. }),
        "five, not four"
    );
    assert!(matches!(
        read(&put(26, &[0, 6])),
        EifError::SectionNotContiguous { index: 5, .. }
    ));
    assert!(matches!(
        read(&put(28 + 7, &[0x25])),
        EifError::SectionNotContiguous { index: 0, .. }
    ));
    assert!(matches!(
        read(&put(284, &[0xff])),
        EifError::SectionSizeMismatch { index: 0, .. }
    ));
    assert_eq!(
        read(&put(548, &[0, 9])),
        EifError::UnknownSection { index: 0, kind: 9 }
    );
    assert_eq!(
        read(&put(548, &[0, 0])),
        EifError::UnknownSection { index: 0, kind: 0 }
    );
    assert_eq!(
        read(&put(548, &[0, 2])),
        EifError::MissingSection {
            kind: SectionKind::Kernel
        }
    );
    assert_eq!(
        read(&put(550, &[0, 1])),
        EifError::ReservedNotZero {
            field: "section flags"
        }
    );
    assert_eq!(read(&put(4, &[0, 3])), EifError::MetadataBeforeVersion4);
    assert_eq!(
        read(&put(4, &[0, 5])),
        EifError::UnsupportedVersion { version: 5 }
    );
    let huge = forged(small(), |file| {
        file[284..292].copy_from_slice(&u64::MAX.to_be_bytes());
        file[552..560].copy_from_slice(&u64::MAX.to_be_bytes());
    });
    assert!(matches!(
        read(&huge),
        EifError::SectionPastEnd {
            index: 0,
            size: u64::MAX,
            ..
        }
    ));
    let longer = forged(small(), |file| file.extend(b"more"));
    assert_eq!(read(&longer), EifError::TrailingBytes { count: 4 });
    assert_eq!(read(b".eif"), EifError::TooShort);
    assert!(matches!(read(b"\x7fELF...."), EifError::NotAnEif { .. }));
}

#[test]
fn version_3_and_aarch64_are_read_as_they_are_written() {
    let header = Header {
        version: 3,
        architecture: Architecture::Aarch64,
        default_memory_bytes: 5 << 20,
        default_cpus: 3,
    };
    let builder = EifBuilder::new(b"kernel", "quiet")
        .ramdisk(b"disk")
        .header(header.clone());
    let file = builder.build().unwrap();
    assert_eq!(*Eif::read(&file).unwrap().header(), header);
    assert_eq!(
        builder.metadata("{}").build(),
        Err(EifError::MetadataBeforeVersion4)
    );
}

#[test]
fn building_twice_gives_the_same_bytes_signed_or_not() {
    assert_eq!(small(), small());
    let (kernel, cmdline, boot, application) = parts();
    let key = signing_key();
    let builder = EifBuilder::new(&kernel, cmdline)
        .ramdisk(&boot)
        .ramdisk(&application)
        .sign(SIGNING_CERTIFICATE, &key);
    let file = builder.build().unwrap();
    assert_eq!(file, builder.build().unwrap());

    let image = Eif::read(&file).unwrap();
    assert_eq!(image.verify_signature(), Ok(true));
    let unsigned = builder.clone();
    assert!(image.measurements().pcr8.is_some());
    assert_eq!(
        unsigned.sign("no certificate", &key).build(),
        Err(SignatureError::CertificatePem.into())
    );
    let other = SigningKey::from_slice(&[8; 48]).unwrap();
    assert_eq!(
        builder.sign(SIGNING_CERTIFICATE, &other).build(),
        Err(SignatureError::KeyMismatch.into())
    );
}

#[test]
fn a_changed_signature_does_not_hold_and_a_broken_section_is_refused() {
    let (kernel, cmdline, boot, _) = parts();
    let key = signing_key();
    let file = EifBuilder::new(&kernel, cmdline)
        .ramdisk(&boot)
        .sign(SIGNING_CERTIFICATE, &key)
        .build()
        .unwrap();
    // The last byte is an integer above 23: two bytes, the second free to change.
    let last = file.len() - 1;
    let forged_signature = forged(file.clone(), |file| file[last] ^= 1);
    let image = Eif::read(&forged_signature).unwrap();
    assert_eq!(image.verify_signature(), Err(SignatureError::Forged.into()));
    assert_eq!(image.describe().signature_check, Some(false));

    let image = Eif::read(&file).unwrap();
    let rewritten = |section: &[u8]| {
        let mut sections: Vec<(SectionKind, &[u8])> = image
            .sections()
            .iter()
            .map(|section| (section.kind, section.data))
            .collect();
        sections.pop();
        sections.push((SectionKind::Signature, section));
        let file = layout::write(image.header(), &sections).unwrap();
        Eif::read(&file).map(|_| ()).unwrap_err()
    };
    assert_eq!(rewritten(b""), SignatureError::NotCbor.into());
    assert_eq!(rewritten(&[0x80]), SignatureError::NotOneSignature.into());
    assert_eq!(
        rewritten(&[0x81, 0xa0]),
        SignatureError::Field {
            field: "signing_certificate"
        }
        .into()
    );
    assert_eq!(rewritten(&[0x81, 0xa0, 0]), SignatureError::NotCbor.into());
    assert_eq!(
        rewritten(&vec![0; 70_000]),
        SignatureError::TooLarge { size: 70_000 }.into()
    );
}

#[test]
fn a_certificate_is_valid_from_its_first_second_to_its_last() {
    let (kernel, cmdline, boot, _) = parts();
    let file = EifBuilder::new(&kernel, cmdline)
        .ramdisk(&boot)
        .sign(SIGNING_CERTIFICATE, &signing_key())
        .build()
        .unwrap();
    let image = Eif::read(&file).unwrap();
    let signature = image.signature().unwrap();
    let (first, last) = (1_795_445_387, 4_949_045_387); // as `openssl x509 -dates` tells
    let check = |secs| signature.check_validity(UnixMillis::from_secs(secs));
    assert_eq!(check(first), Ok(()));
    assert_eq!(check(last), Ok(()));
    let (not_before, not_after) = (UnixMillis::from_secs(first), UnixMillis::from_secs(last));
    let now = UnixMillis::from_secs(first - 1);
    assert_eq!(
        check(first - 1),
        Err(SignatureError::NotYetValid { not_before, now })
    );
    let now = UnixMillis::from_secs(last + 1);
    assert_eq!(
        check(last + 1),
        Err(SignatureError::Expired { not_after, now })
    );
}

#[test]
fn the_builder_refuses_what_no_reader_would_take() {
    let builder = EifBuilder::new(b"k", "quiet");
    assert_eq!(
        builder.build(),
        Err(EifError::MissingSection {
            kind: SectionKind::Ramdisk
        })
    );
    assert_eq!(
        builder.clone().ramdisk(b"").metadata("{").build(),
        Err(EifError::MetadataNotJson)
    );
    let nul = EifBuilder::new(b"k", "quiet\0").ramdisk(b"");
    assert_eq!(nul.build(), Err(EifError::CmdlineWithNul));
    let many = (0..31).fold(builder, |builder, _| builder.ramdisk(b""));
    assert_eq!(many.build(), Err(EifError::TooManySections { count: 33 }));
}

#[test]
fn the_text_shows_no_control_characters_of_the_image() {
    let file = EifBuilder::new(b"k", "quiet \x1b[31m")
        .ramdisk(b"")
        .build()
        .unwrap();
    let text = Eif::read(&file).unwrap().describe().to_string();
    assert!(!text.contains('\x1b'), "{text:?}");
}

proptest! {
    #[test]
    fn any_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
        prop_assert!(Eif::read(&bytes).is_err());
        let mut with_magic = b".eif\x00\x04".to_vec();
        with_magic.extend(&bytes);
        prop_assert!(Eif::read(&with_magic).is_err());
    }

    #[test]
    fn any_header_with_a_right_checksum_is_read_or_refused_without_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..10)
    ) {
        let file = forged(small(), |file| for (index, value) in changes {
            // Header and section headers, where the structure is.
            let at = index.index(600);
            file[at] = value;
        });
        if let Ok(image) = Eif::read(&file) {
            let _ = (image.measurements(), image.describe(), image.application());
        }
    }

    #[test]
    fn any_signature_section_is_read_or_refused_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200)
    ) {
        if let Ok(signature) = Signature::parse(&bytes) {
            let _ = signature.verify(&[0; 48]);
        }
    }

    #[test]
    fn what_is_written_is_read_again(
        kernel in proptest::collection::vec(any::<u8>(), 0..300),
        cmdline in "[ -~]{0,60}",
        disks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..6),
        arm in any::<bool>(),
    ) {
        let architecture = if arm { Architecture::Aarch64 } else { Architecture::X86_64 };
        let file = disks
            .iter()
            .fold(EifBuilder::new(&kernel, &cmdline), |builder, disk| builder.ramdisk(disk))
            .architecture(architecture)
            .metadata("{}")
            .build()
            .unwrap();
        let image = Eif::read(&file).unwrap();
        prop_assert_eq!(image.header().architecture, architecture);
        prop_assert_eq!(image.section(SectionKind::Kernel).unwrap().data, &kernel);
        prop_assert_eq!(image.section(SectionKind::Cmdline).unwrap().data, cmdline.as_bytes());
        let read: Vec<&[u8]> = image.ramdisks().collect();
        prop_assert_eq!(read, disks.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let sections: Vec<(SectionKind, &[u8])> =
            image.sections().iter().map(|section| (section.kind, section.data)).collect();
        prop_assert_eq!(layout::write(image.header(), &sections).unwrap(), file.clone());
    }
}

/// Of the key whose scalar is 48 times the byte 7; valid from 2026-11-23 to 2126-10-30.
const SIGNING_CERTIFICATE: &str = include_str!("../../tests/runner/signing-certificate.pem");

//! Enclave images, their ramdisks, and the pictures that jobs bring.

use std::io::Read as _;

use enclave_app::image::{self, Limits};
use nsm_sim::eif::{
    Eif, EifBuilder,
    ramdisk::{Entry, read_cpio, write_cpio, write_cpio_gz},
};

use super::{Corpus, Mutating, Target, Verdict};
use crate::{mutate, random::Random};

/// Where an EIF header keeps the checksum of everything else.
const CRC_AT: usize = 544;

/// Pictures beyond it cost more time than they are worth.
const PICTURE_BYTES_MAX: u64 = 160 << 10;

pub(super) fn eif(corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    let mut seeds = corpus.files("eif", &[".eif"], 1 << 20)?;
    let init = write_cpio_gz(&[Entry::executable("init", b"init".as_slice())])?;
    let application = write_cpio_gz(&[
        Entry::file("cmd", b"/bin/app\n--flag\n".as_slice()),
        Entry::file("env", b"A=1\nB=2\n".as_slice()),
        Entry::directory("rootfs"),
        Entry::executable("rootfs/bin/app", b"#!".as_slice()),
        Entry::symlink("rootfs/link", "bin/app"),
    ])?;
    let image = EifBuilder::new(b"kernel", "console=ttyS0")
        .ramdisk(&init)
        .ramdisk(&application)
        .metadata(br#"{"ImageName":"fuzz"}"#.as_slice());
    seeds.push(image.build()?);
    Ok(Box::new(Mutating {
        seeds,
        change: |random, input, other| {
            mutate::bytes(random, input, other);
            if !random.one_in(8) {
                right_checksum(input);
            }
        },
        run: |input: &[u8]| {
            let read = Eif::read(input);
            if let Ok(eif) = &read {
                let measured = eif.measurements();
                assert_eq!(measured, eif.measurements());
                let _ = (eif.describe(), eif.metadata(), eif.verify_signature());
                let _ = eif.application();
            }
            Verdict::from(&read)
        },
    }))
}

fn right_checksum(image: &mut [u8]) {
    if image.len() < CRC_AT + 4 {
        return;
    }
    let mut crc = flate2::Crc::new();
    crc.update(&image[..CRC_AT]);
    crc.update(&image[CRC_AT + 4..]);
    image[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.sum().to_be_bytes());
}

pub(super) fn cpio(corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    let mut seeds = corpus.files("eif", &[".cpio.gz"], 1 << 20)?;
    for at in 0..seeds.len() {
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(seeds[at].as_slice()).read_to_end(&mut plain)?;
        seeds.push(plain);
    }
    seeds.push(write_cpio(&[
        Entry::directory("a"),
        Entry::file("a/b", vec![7; 600]),
        Entry::symlink("a/c", "b"),
    ])?);
    Ok(Box::new(Mutating {
        seeds,
        change: mutate::bytes,
        run: |input: &[u8]| {
            let read = read_cpio(input);
            if let Ok(entries) = &read
                && let Ok(written) = write_cpio(entries)
            {
                let again = read_cpio(&written);
                assert!(
                    again.as_ref() == Ok(entries),
                    "what was written reads differently"
                );
            }
            Verdict::from(&read)
        },
    }))
}

pub(super) fn picture(corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    let mut seeds = corpus.files("images", &[".dcm", ".png", ".jpg"], PICTURE_BYTES_MAX)?;
    if seeds.is_empty() {
        let mut dicom = vec![0; 128];
        dicom.extend(b"DICM\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0");
        seeds.push(dicom);
        seeds.push(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0".to_vec());
        seeds.push(b"\xff\xd8\xff\xc0\0\x0b\x08\0\x01\0\x01\x01\x01\x11\0".to_vec());
    }
    let limits = Limits {
        pixels_max: 1 << 20,
        inflated_bytes_max: 8 << 20,
        ..Limits::default()
    };
    Ok(Box::new(Mutating {
        seeds,
        change: change_picture,
        run: move |input: &[u8]| {
            let decoded = image::decode(input, &limits);
            if let Ok(image) = &decoded {
                let pixels = u64::from(image.width) * u64::from(image.height);
                assert_eq!(image.pixels.len() as u64, pixels);
                assert!(pixels <= limits.pixels_max, "more pixels than allowed");
                let _ = image::preprocess(image);
            }
            Verdict::from(&decoded)
        },
    }))
}

/// Every second change goes where a DICOM file describes its pixels.
fn change_picture(random: &mut Random, input: &mut Vec<u8>, other: &[u8]) {
    let group = [0x28, 0];
    let description = input.windows(2).position(|bytes| bytes == group);
    match description {
        Some(from) if random.one_in(2) => {
            let until = input.len().min(from + 400);
            let mut window = input[from..until].to_vec();
            mutate::bytes(random, &mut window, other);
            input.splice(from..until, window);
        }
        _ => mutate::bytes(random, input, other),
    }
}

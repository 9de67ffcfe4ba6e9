//! AWS's own crate beside ours: the same parts become the same image and the same
//! registers, and each reader reads what the other's writer wrote.
//!
//! Source of truth: `aws-nitro-enclaves-image-format`, the crate of `nitro-cli`.
//! Not judged: its KMS signatures, and metadata beyond what its reader takes.
//! Run by `cargo ci eif-oracle`.

use std::{collections::BTreeMap, fs::File, path::Path};

use anyhow::{Context as _, anyhow, ensure};
use aws_nitro_enclaves_image_format::{
    defs::{EifBuildInfo, EifIdentityInfo},
    utils::{
        EifBuilder as TheirBuilder, PcrSignatureChecker,
        eif_reader::EifReader as TheirReader,
        eif_signer::{SignKey, SignKeyData},
    },
};
use nsm_sim::{
    device::Measurements,
    eif::{Architecture, Eif, EifBuilder, SectionKind, Signature},
};
use openssl::{
    asn1::{Asn1Integer, Asn1Time},
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    x509::{X509, X509NameBuilder},
};
use p384::ecdsa::SigningKey;
use sha2::{Digest as _, Sha384};

/// Images of generated parts beside those with a name.
const GENERATED: u64 = 200;

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let signers = [
        Signer::new("P-256", Nid::X9_62_PRIME256V1, MessageDigest::sha256())?,
        Signer::new("P-384", Nid::SECP384R1, MessageDigest::sha384())?,
        Signer::new("P-521", Nid::SECP521R1, MessageDigest::sha512())?,
    ];
    let mut tally = Tally::default();
    for parts in named_parts()
        .into_iter()
        .chain((0..GENERATED).map(generated))
    {
        for signer in std::iter::once(None).chain(signers.iter().map(Some)) {
            for architecture in [Architecture::X86_64, Architecture::Aarch64] {
                compare(folder.path(), &parts, signer, architecture, &mut tally).with_context(
                    || {
                        let by = signer.map_or("nobody", |signer| signer.name);
                        format!("{}, {architecture}, signed by {by}", parts.name)
                    },
                )?;
            }
        }
    }
    println!("{tally}");
    Ok(())
}

/// What has been compared, without a difference.
#[derive(Default)]
struct Tally {
    identical: u32,
    same_but_for_signature: u32,
    theirs_read: u32,
    ours_read: u32,
    signatures_of_ours: u32,
    damaged: u32,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{:>6} unsigned images are the same byte for byte",
            self.identical
        )?;
        writeln!(
            f,
            "{:>6} signed images are the same but for the signature itself",
            self.same_but_for_signature
        )?;
        writeln!(
            f,
            "{:>6} images of theirs: our reader measures PCR0, 1, 2, 8 as they do and accepts the signature",
            self.theirs_read
        )?;
        writeln!(
            f,
            "{:>6} images of ours: their reader measures as we do and finds the checksum right",
            self.ours_read
        )?;
        writeln!(
            f,
            "{:>6} signatures of ours: theirs verifies them",
            self.signatures_of_ours
        )?;
        write!(f, "{:>6} damaged images: both refuse them", self.damaged)
    }
}

/// What an image is made of.
struct Parts {
    name: String,
    kernel: Vec<u8>,
    cmdline: String,
    ramdisks: Vec<Vec<u8>>,
}

fn named_parts() -> Vec<Parts> {
    let parts = |name: &str, kernel: &[u8], cmdline: &str, ramdisks: &[&[u8]]| Parts {
        name: name.to_owned(),
        kernel: kernel.to_vec(),
        cmdline: cmdline.to_owned(),
        ramdisks: ramdisks.iter().map(|ramdisk| ramdisk.to_vec()).collect(),
    };
    vec![
        parts("one ramdisk", b"kernel", "quiet", &[b"boot"]),
        parts("two ramdisks", b"kernel", "quiet", &[b"boot", b"app"]),
        parts("three ramdisks", b"kernel", "", &[b"boot", b"a", b"b"]),
        parts("an empty ramdisk", b"kernel", "quiet", &[b"boot", b""]),
        parts("an empty kernel", b"", "reboot=k panic=30", &[b"boot"]),
    ]
}

/// Parts that are a function of their number alone.
fn generated(number: u64) -> Parts {
    let mut state = number;
    let mut next = |below: u64| {
        // SplitMix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    };
    let mut bytes =
        |longest: u64| -> Vec<u8> { (0..next(longest)).map(|_| next(256) as u8).collect() };
    let (kernel, cmdline) = (bytes(4096), bytes(200));
    let ramdisks = (0..1 + number % 5).map(|_| bytes(5000)).collect();
    Parts {
        name: format!("generated parts {number}"),
        kernel,
        cmdline: cmdline
            .iter()
            .map(|byte| char::from(b' ' + byte % 95))
            .collect(),
        ramdisks,
    }
}

/// Somebody who signs images.
struct Signer {
    name: &'static str,
    key: PKey<Private>,
    certificate_pem: String,
    /// For our writer, which signs on P-384 alone.
    ours: Option<SigningKey>,
}

impl Signer {
    fn new(name: &'static str, curve: Nid, digest: MessageDigest) -> anyhow::Result<Self> {
        let key = EcKey::generate(&*EcGroup::from_curve_name(curve)?)?;
        let ours = match curve {
            Nid::SECP384R1 => {
                let number = key.private_key().to_vec_padded(48)?;
                Some(SigningKey::from_slice(&number).map_err(|_| anyhow!("no P-384 key"))?)
            }
            _ => None,
        };
        let key = PKey::from_ec_key(key)?;
        let mut subject = X509NameBuilder::new()?;
        subject.append_entry_by_text("CN", name)?;
        let subject = subject.build();
        let mut certificate = X509::builder()?;
        certificate.set_version(2)?;
        let serial = Asn1Integer::from_bn(&*BigNum::from_u32(7)?)?;
        certificate.set_serial_number(&serial)?;
        certificate.set_subject_name(&subject)?;
        certificate.set_issuer_name(&subject)?;
        certificate.set_not_before(&*Asn1Time::days_from_now(0)?)?;
        certificate.set_not_after(&*Asn1Time::days_from_now(1)?)?;
        certificate.set_pubkey(&key)?;
        certificate.sign(&key, digest)?;
        Ok(Self {
            name,
            key,
            certificate_pem: String::from_utf8(certificate.build().to_pem()?)?,
            ours,
        })
    }

    fn for_them(&self) -> anyhow::Result<SignKeyData> {
        Ok(SignKeyData {
            cert: self.certificate_pem.clone().into_bytes(),
            key: SignKey::LocalPrivateKey(self.key.private_key_to_pem_pkcs8()?),
        })
    }
}

fn compare(
    folder: &Path,
    parts: &Parts,
    signer: Option<&Signer>,
    architecture: Architecture,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let (theirs, their_registers) = build_theirs(folder, parts, signer, architecture)?;
    let read = Eif::read(&theirs).context("our reader, their image")?;
    ensure!(
        registers(&read.measurements()) == their_registers,
        "our reader measures {:?}, they {their_registers:?}",
        read.measurements()
    );
    ensure!(
        read.verify_signature()? == signer.is_some(),
        "signed or not"
    );
    tally.theirs_read += 1;

    // Their metadata has the time in it; ours takes theirs as it is.
    let metadata = read
        .sections()
        .iter()
        .find(|section| section.kind == SectionKind::Metadata)
        .context("they write metadata")?;
    let mut builder = EifBuilder::new(&parts.kernel, &parts.cmdline)
        .architecture(architecture)
        .metadata(metadata.data);
    for ramdisk in &parts.ramdisks {
        builder = builder.ramdisk(ramdisk);
    }
    if let Some(signer) = signer {
        let Some(key) = &signer.ours else {
            return Ok(()); // a curve that we read and do not write
        };
        builder = builder.sign(&signer.certificate_pem, key);
    }
    let ours = builder.build()?;
    match signer {
        None => {
            ensure!(ours == theirs, "the images differ");
            tally.identical += 1;
        }
        Some(_) => {
            let mine = Eif::read(&ours)?;
            let parts = |image: &Eif<'_>| -> Vec<(SectionKind, Vec<u8>)> {
                image
                    .sections()
                    .iter()
                    .filter(|section| section.kind != SectionKind::Signature)
                    .map(|section| (section.kind, section.data.to_vec()))
                    .collect()
            };
            let signed_by = |image: &Eif<'_>| {
                image
                    .signature()
                    .map(Signature::certificate_der)
                    .map(<[u8]>::to_vec)
            };
            ensure!(
                mine.header() == read.header()
                    && parts(&mine) == parts(&read)
                    && signed_by(&mine) == signed_by(&read),
                "the images differ beyond the signature"
            );
            tally.same_but_for_signature += 1;
        }
    }
    read_ours(folder, &ours, &their_registers, signer.is_some(), tally)
}

/// Their reader on our image, whole and damaged.
fn read_ours(
    folder: &Path,
    ours: &[u8],
    expected: &BTreeMap<String, String>,
    signed: bool,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let file = folder.join("ours.eif");
    let path = file
        .to_str()
        .context("a folder with a plain name")?
        .to_owned();
    std::fs::write(&file, ours)?;
    let mut reader = TheirReader::from_eif(path.clone()).map_err(anyhow::Error::msg)?;
    ensure!(reader.check_crc(), "they find our checksum wrong");
    let measured = without_algorithm(reader.get_measurements().map_err(anyhow::Error::msg)?);
    ensure!(
        measured == *expected,
        "their reader measures {measured:?} of our image"
    );
    tally.ours_read += 1;
    let mut checker = PcrSignatureChecker::from_eif(&path).map_err(anyhow::Error::msg)?;
    ensure!(
        checker.is_empty() != signed,
        "they find a signature, or none"
    );
    if signed {
        checker.verify().map_err(anyhow::Error::msg)?;
        tally.signatures_of_ours += 1;
    }

    let mut damaged = ours.to_vec();
    if let Some(last) = damaged.last_mut() {
        *last ^= 1;
    }
    std::fs::write(&file, &damaged)?;
    let theirs_takes_it = TheirReader::from_eif(path).is_ok_and(|reader| reader.check_crc());
    ensure!(!theirs_takes_it, "they take a damaged image");
    ensure!(Eif::read(&damaged).is_err(), "we take a damaged image");
    tally.damaged += 1;
    Ok(())
}

/// Their writer: the file and the registers.
fn build_theirs(
    folder: &Path,
    parts: &Parts,
    signer: Option<&Signer>,
    architecture: Architecture,
) -> anyhow::Result<(Vec<u8>, BTreeMap<String, String>)> {
    let kernel = folder.join("kernel");
    std::fs::write(&kernel, &parts.kernel)?;
    let info = EifIdentityInfo {
        img_name: "oracle".to_owned(),
        img_version: "1.0".to_owned(),
        build_info: EifBuildInfo {
            build_time: "2026-01-01T00:00:00Z".to_owned(),
            build_tool: "eif-oracle".to_owned(),
            build_tool_version: "1".to_owned(),
            img_os: "Linux".to_owned(),
            img_kernel: "6".to_owned(),
        },
        docker_info: serde_json::json!({}),
        custom_info: serde_json::json!({"a": [1, null]}),
    };
    let flags = match architecture {
        Architecture::Aarch64 => 1,
        _ => 0,
    };
    let sign = signer.map(Signer::for_them).transpose()?;
    let mut builder = TheirBuilder::new(
        &kernel,
        parts.cmdline.clone(),
        sign,
        Sha384::new(),
        flags,
        info,
    );
    for (index, ramdisk) in parts.ramdisks.iter().enumerate() {
        let file = folder.join(format!("ramdisk-{index}"));
        std::fs::write(&file, ramdisk)?;
        builder.add_ramdisk(&file);
    }
    let image = folder.join("theirs.eif");
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(&image)?;
    let registers = builder.write_to(&mut file);
    Ok((std::fs::read(&image)?, without_algorithm(registers)))
}

fn without_algorithm(mut registers: BTreeMap<String, String>) -> BTreeMap<String, String> {
    registers.remove("HashAlgorithm");
    registers
}

fn registers(measured: &Measurements) -> BTreeMap<String, String> {
    let mut registers = BTreeMap::from([
        ("PCR0".to_owned(), hex::encode(measured.pcr0)),
        ("PCR1".to_owned(), hex::encode(measured.pcr1)),
        ("PCR2".to_owned(), hex::encode(measured.pcr2)),
    ]);
    if let Some(pcr8) = measured.pcr8 {
        registers.insert("PCR8".to_owned(), hex::encode(pcr8));
    }
    registers
}

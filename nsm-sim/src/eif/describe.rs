//! What an image is, for people and for programs.
//!
//! Models the fields of the official `describe-eif` output where they exist
//! (EifVersion, Measurements, IsSigned, CheckCRC, SignatureCheck, ImageName,
//! ImageVersion, Metadata, SigningCertificate), so that scripts which read them
//! read ours too; adds the sections and what the ramdisks hold. Unlike the
//! official tool an image with a wrong checksum is not described but refused, so
//! CheckCRC is always true.

use std::fmt;

use serde::Serialize;

use super::{Eif, SectionKind, ramdisk};

/// What an image is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct Description {
    /// Format version.
    pub eif_version: u16,
    /// What the kernel runs on.
    pub architecture: String,
    /// Memory unless told otherwise, in bytes.
    pub default_memory_bytes: u64,
    /// Virtual CPUs unless told otherwise.
    pub default_cpus: u64,
    /// The registers, in hex.
    pub measurements: Registers,
    /// Whether there is a signature section.
    pub is_signed: bool,
    /// Always true: an image with another checksum is refused.
    #[serde(rename = "CheckCRC")]
    pub check_crc: bool,
    /// Whether the signature holds for this image; absent when unsigned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature_check: Option<bool>,
    /// Who signed it; absent when unsigned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_certificate: Option<SignatureDescription>,
    /// The metadata's image name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_name: Option<String>,
    /// The metadata's image version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_version: Option<String>,
    /// The whole metadata section. Not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Value>,
    /// The sections in the order of the file.
    pub sections: Vec<SectionDescription>,
    /// The command the image starts, if it has an application ramdisk in the
    /// usual layout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
}

/// The registers an image determines, in hex.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub struct Registers {
    /// As the official tool spells it.
    #[serde(rename = "HashAlgorithm")]
    pub hash_algorithm: &'static str,
    /// Kernel, command line, all ramdisks.
    pub pcr0: String,
    /// Kernel, command line, first ramdisk.
    pub pcr1: String,
    /// The other ramdisks.
    pub pcr2: String,
    /// Signing certificate; absent when unsigned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcr8: Option<String>,
}

/// The signing certificate and what is wrong with the signature, if anything.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct SignatureDescription {
    /// Subject, RFC 4514.
    pub subject_name: String,
    /// Issuer, RFC 4514.
    pub issuer_name: String,
    /// First second of validity, RFC 3339. Not judged: it does not affect PCR8.
    pub not_before: String,
    /// Last second of validity, RFC 3339. Not judged.
    pub not_after: String,
    /// Why the signature does not hold; absent if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// One section.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct SectionDescription {
    /// `kernel`, `cmdline`, `metadata`, `ramdisk 0`, … or `signature`.
    pub name: String,
    /// Where its data starts in the file.
    pub offset: usize,
    /// Size of its data.
    pub size_bytes: usize,
    /// The registers it goes into.
    #[serde(rename = "PCRs")]
    pub pcrs: Vec<u8>,
    /// What it says or holds.
    pub content: String,
}

/// Name of each section and the registers it goes into.
pub(crate) fn names(image: &Eif<'_>) -> Vec<(String, Vec<u8>)> {
    let mut ramdisks = 0_usize;
    image
        .sections()
        .iter()
        .map(|section| match section.kind {
            SectionKind::Kernel | SectionKind::Cmdline => (section.kind.to_string(), vec![0, 1]),
            SectionKind::Ramdisk => {
                let index = ramdisks;
                ramdisks += 1;
                (
                    format!("ramdisk {index}"),
                    vec![0, if index == 0 { 1 } else { 2 }],
                )
            }
            SectionKind::Signature => (section.kind.to_string(), vec![8]),
            SectionKind::Metadata => (section.kind.to_string(), Vec::new()),
        })
        .collect()
}

pub(crate) fn describe(image: &Eif<'_>) -> Description {
    let measured = image.measurements();
    let metadata = image.metadata().ok().flatten();
    let text = |key: &str| {
        metadata
            .as_ref()
            .and_then(|value| value.get(key)?.as_str())
            .map(str::to_owned)
    };
    let fault = image.signature().map(|signature| {
        signature
            .verify(&measured.pcr0)
            .err()
            .map(|error| error.to_string())
    });
    Description {
        eif_version: image.header().version,
        architecture: image.header().architecture.to_string(),
        default_memory_bytes: image.header().default_memory_bytes,
        default_cpus: image.header().default_cpus,
        measurements: Registers {
            hash_algorithm: "Sha384 { ... }",
            pcr0: hex::encode(measured.pcr0),
            pcr1: hex::encode(measured.pcr1),
            pcr2: hex::encode(measured.pcr2),
            pcr8: measured.pcr8.map(hex::encode),
        },
        is_signed: image.signature().is_some(),
        check_crc: true,
        signature_check: fault.as_ref().map(Option::is_none),
        signing_certificate: image.signature().map(|signature| {
            let (not_before, not_after) = signature.validity();
            SignatureDescription {
                subject_name: signature.subject(),
                issuer_name: signature.issuer(),
                not_before,
                not_after,
                fault: fault.flatten(),
            }
        }),
        image_name: text("ImageName"),
        image_version: text("ImageVersion"),
        metadata,
        sections: names(image)
            .into_iter()
            .zip(image.sections())
            .map(|((name, pcrs), section)| SectionDescription {
                name,
                offset: section.offset,
                size_bytes: section.data.len(),
                pcrs,
                content: content(section.kind, section.data),
            })
            .collect(),
        command: image.application().ok().map(|application| application.cmd),
    }
}

fn content(kind: SectionKind, data: &[u8]) -> String {
    match kind {
        SectionKind::Cmdline => String::from_utf8_lossy(data).into_owned(),
        SectionKind::Ramdisk => {
            let how = match ramdisk::compression(data) {
                Some(name) => format!("{name}, "),
                None => String::new(),
            };
            match ramdisk::read_cpio(data) {
                Ok(entries) => format!("{how}cpio, {} entries", entries.len()),
                Err(error) => format!("{how}not listed: {error}"),
            }
        }
        SectionKind::Metadata => match serde_json::from_slice::<serde::de::IgnoredAny>(data) {
            Ok(_) => "JSON, not measured".to_owned(),
            Err(_) => "not JSON, not measured".to_owned(),
        },
        SectionKind::Signature => "certificate and COSE_Sign1".to_owned(),
        SectionKind::Kernel => String::new(),
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "EIF version {}, {}, {} MiB and {} CPUs by default, CRC32 correct",
            self.eif_version,
            self.architecture,
            self.default_memory_bytes >> 20,
            self.default_cpus
        )?;
        if let Some(name) = &self.image_name {
            let version = self.image_version.as_deref().unwrap_or("");
            writeln!(
                f,
                "image {} {} (by its metadata)",
                printable(name),
                printable(version)
            )?;
        }
        writeln!(f, "\nPCR0 {}", self.measurements.pcr0)?;
        writeln!(f, "PCR1 {}", self.measurements.pcr1)?;
        writeln!(f, "PCR2 {}", self.measurements.pcr2)?;
        if let Some(pcr8) = &self.measurements.pcr8 {
            writeln!(f, "PCR8 {pcr8}")?;
        }
        writeln!(
            f,
            "\n{:<12} {:>10} {:>10}  {:<8} content",
            "section", "offset", "bytes", "PCRs"
        )?;
        for section in &self.sections {
            let pcrs: Vec<String> = section.pcrs.iter().map(u8::to_string).collect();
            let pcrs = if pcrs.is_empty() {
                "-".to_owned()
            } else {
                pcrs.join(",")
            };
            let line = format!(
                "{:<12} {:>10} {:>10}  {pcrs:<8} {}",
                section.name,
                section.offset,
                section.size_bytes,
                printable(&section.content)
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        if let Some(command) = &self.command {
            let words: Vec<String> = command.iter().map(|word| format!("{word:?}")).collect();
            writeln!(f, "\ncommand {}", words.join(" "))?;
        }
        match &self.signing_certificate {
            None => writeln!(f, "\nnot signed"),
            Some(signer) => {
                writeln!(
                    f,
                    "\nsigned by {}, issued by {}, valid {} to {}",
                    printable(&signer.subject_name),
                    printable(&signer.issuer_name),
                    signer.not_before,
                    signer.not_after
                )?;
                match &signer.fault {
                    None => writeln!(f, "the signature covers this PCR0"),
                    Some(fault) => writeln!(f, "THE SIGNATURE DOES NOT HOLD: {}", printable(fault)),
                }
            }
        }
    }
}

/// Text of an image goes to somebody's terminal: no control characters.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

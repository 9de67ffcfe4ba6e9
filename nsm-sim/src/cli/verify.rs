//! `nsm-sim verify`: is this attestation document genuine, and what does it say?
//!
//! Exit codes: 0 accepted, 1 refused (the cause on stdout), and the program's
//! own error code when a file or an option cannot be read. Checks what
//! [`Verifier`] checks, then the PCR values it was given. Freshness is for the
//! reader: the document's time and nonce are printed.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nsm_sim::{
    attestation::verify::{AttestationDocument, DOCUMENT_BYTES_MAX, Verifier, VerifyError},
    clock::{Clock as _, SystemClock, UnixMillis},
};
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Verify an attestation document.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The document: COSE_Sign1 bytes or their base64; `-` is standard input.
    #[arg(value_name = "DOC")]
    document: PathBuf,

    /// The root to trust: `aws`, or a file with a certificate (PEM or DER).
    #[arg(long, value_name = "aws|FILE", default_value = "aws")]
    root: String,

    /// When the chain must be valid: an RFC 3339 time, or `document` for the
    /// document's own timestamp. Now, unless given.
    #[arg(long, value_name = "TIME|document")]
    at: Option<String>,

    /// Require this value of PCR0 (96 hex digits).
    #[arg(long, value_name = "HEX")]
    pcr0: Option<String>,
    /// Require this value of PCR1.
    #[arg(long, value_name = "HEX")]
    pcr1: Option<String>,
    /// Require this value of PCR2.
    #[arg(long, value_name = "HEX")]
    pcr2: Option<String>,
    /// Require this value of PCR3 (the role).
    #[arg(long, value_name = "HEX")]
    pcr3: Option<String>,
    /// Require this value of PCR4 (the instance).
    #[arg(long, value_name = "HEX")]
    pcr4: Option<String>,
    /// Require this value of PCR8 (the signing certificate).
    #[arg(long, value_name = "HEX")]
    pcr8: Option<String>,
    /// Require a value of any register.
    #[arg(long = "pcr", value_name = "N=HEX")]
    pcrs: Vec<String>,

    /// Take the document of an instance's NitroTPM, which is refused otherwise; the
    /// values above are then of its registers.
    #[arg(long)]
    nitrotpm: bool,

    /// Take public_key, user_data and nonce longer than AWS documents.
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    field_bytes_max: usize,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let expected = expected_pcrs(&args)?;
    let verifier = verifier(&args.root)?.field_bytes_max(args.field_bytes_max);
    let document = read_document(&args.document)?;
    let verified = match args.at.as_deref() {
        None => verifier.verify(&document, SystemClock.now()),
        Some("document") => verifier.verify_at_own_time(&document),
        Some(time) => verifier.verify(&document, parse_time(time)?),
    };
    let verified = verified
        .map_err(Refusal::from)
        .and_then(|document| of_bank(document, args.nitrotpm));
    let mismatches = verified.as_ref().map_or_else(
        |_| Vec::new(),
        |document| {
            expected
                .iter()
                .filter(|pcr| !pcr.matches(document))
                .collect()
        },
    );
    let accepted = verified.is_ok() && mismatches.is_empty();

    let report = if args.json {
        format!("{:#}\n", json_report(&verified, &mismatches))
    } else {
        text_report(&verified, &mismatches)
    };
    std::io::stdout().lock().write_all(report.as_bytes())?;
    Ok(if accepted {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error(
        "it is the document of an instance's NitroTPM, not of an enclave; --nitrotpm verifies those"
    )]
    OfNitroTpm,
    #[error("it is the document of an enclave, not of a NitroTPM; leave --nitrotpm out")]
    OfEnclave,
}

/// The document, if it is of the kind that was asked for: the registers of an enclave
/// and of a NitroTPM mean different things under the same numbers.
fn of_bank(document: AttestationDocument, nitrotpm: bool) -> Result<AttestationDocument, Refusal> {
    match document.is_nitrotpm() {
        true if !nitrotpm => Err(Refusal::OfNitroTpm),
        false if nitrotpm => Err(Refusal::OfEnclave),
        _ => Ok(document),
    }
}

impl Refusal {
    /// One word for programs.
    const fn name(&self) -> &'static str {
        match self {
            Self::Verify(error) => error.name(),
            Self::OfNitroTpm => "nitrotpm-document",
            Self::OfEnclave => "enclave-document",
        }
    }
}

/// The registers that the document states: an enclave's or a NitroTPM's.
fn registers(document: &AttestationDocument) -> &BTreeMap<u8, Vec<u8>> {
    if document.is_nitrotpm() {
        &document.nitrotpm_pcrs
    } else {
        &document.pcrs
    }
}

/// A register that the caller requires a value of.
struct ExpectedPcr {
    index: u8,
    value: Vec<u8>,
}

impl ExpectedPcr {
    fn matches(&self, document: &AttestationDocument) -> bool {
        registers(document).get(&self.index) == Some(&self.value)
    }
}

fn expected_pcrs(args: &Args) -> anyhow::Result<Vec<ExpectedPcr>> {
    let named = [
        (0, &args.pcr0),
        (1, &args.pcr1),
        (2, &args.pcr2),
        (3, &args.pcr3),
        (4, &args.pcr4),
        (8, &args.pcr8),
    ];
    let mut expected = Vec::new();
    for (index, value) in named {
        if let Some(value) = value {
            expected.push(expected_pcr(index, value)?);
        }
    }
    for pair in &args.pcrs {
        let (index, value) = pair
            .split_once('=')
            .with_context(|| format!("`--pcr {pair}` is not of the form N=HEX"))?;
        let index = index.parse().ok().filter(|index| *index < 32);
        let index = index.with_context(|| format!("`--pcr {pair}`: PCRs are 0 to 31"))?;
        expected.push(expected_pcr(index, value)?);
    }
    Ok(expected)
}

fn expected_pcr(index: u8, value: &str) -> anyhow::Result<ExpectedPcr> {
    let value = hex::decode(value)
        .ok()
        .filter(|value| value.len() == 48)
        .with_context(|| format!("the value for PCR{index} is not 96 hex digits"))?;
    Ok(ExpectedPcr { index, value })
}

fn verifier(root: &str) -> anyhow::Result<Verifier> {
    if root == "aws" {
        return Ok(Verifier::aws());
    }
    let bytes = std::fs::read(root).with_context(|| format!("cannot read the root `{root}`"))?;
    match std::str::from_utf8(&bytes) {
        Ok(pem) if pem.contains("-----BEGIN") => Verifier::with_root_pem(pem),
        _ => Verifier::with_root_der(&bytes),
    }
    .with_context(|| format!("`{root}`"))
}

fn read_document(path: &Path) -> anyhow::Result<Vec<u8>> {
    // Base64 of the longest document, with room for line breaks; what is longer
    // is refused by the verifier or here, unread.
    let limit = DOCUMENT_BYTES_MAX as u64 * 2;
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(limit)
            .read_to_end(&mut bytes)
            .context("standard input")?;
    } else {
        let file = std::fs::File::open(path);
        let file = file.with_context(|| format!("cannot read `{}`", path.display()))?;
        file.take(limit)
            .read_to_end(&mut bytes)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
    }
    if bytes.is_empty() {
        bail!("`{}` is empty", path.display());
    }
    // A document starts with an array's head or a tag: no base64 digit.
    if bytes.first().is_some_and(u8::is_ascii) {
        let text: Vec<u8> = bytes
            .iter()
            .copied()
            .filter(|b| !b.is_ascii_whitespace())
            .collect();
        if let Ok(decoded) = STANDARD.decode(&text) {
            return Ok(decoded);
        }
    }
    Ok(bytes)
}

fn parse_time(text: &str) -> anyhow::Result<UnixMillis> {
    let at = OffsetDateTime::parse(text, &Rfc3339).with_context(|| {
        format!("`--at {text}`: give a time like 2026-06-30T00:33:40Z, or `document`")
    })?;
    let millis = at.unix_timestamp_nanos() / 1_000_000;
    Ok(UnixMillis(
        u64::try_from(millis).context("times before 1970 are not supported")?,
    ))
}

fn text_report(
    verified: &Result<AttestationDocument, Refusal>,
    mismatches: &[&ExpectedPcr],
) -> String {
    let mut out = String::new();
    let document = match verified {
        Ok(document) => document,
        Err(error) => return format!("refused ({}): {error}\n", error.name()),
    };
    for ExpectedPcr { index, value } in mismatches {
        let found = registers(document)
            .get(index)
            .map_or_else(|| "absent".to_owned(), hex::encode);
        // Writing to a String does not fail.
        let _ = writeln!(
            out,
            "refused (pcr-mismatch): PCR{index} is {found}, but {} is required",
            hex::encode(value)
        );
    }
    if mismatches.is_empty() {
        out.push_str("accepted\n");
    }
    let _ = writeln!(out, "module_id  {}", document.module_id);
    let _ = writeln!(
        out,
        "timestamp  {} ({} ms)",
        document.timestamp, document.timestamp.0
    );
    if document.is_nitrotpm() {
        out.push_str("bank       NitroTPM: an instance, not an enclave\n");
    }
    if document.is_debug() {
        out.push_str("debug      yes: PCR0, PCR1 and PCR2 are zero\n");
    }
    for (index, value) in registers(document) {
        if value.iter().any(|byte| *byte != 0) {
            let name = format!("PCR{index}");
            let _ = writeln!(out, "{name:<10} {}", hex::encode(value));
        }
    }
    for (name, value) in optional_fields(document) {
        if let Some(value) = value {
            let _ = writeln!(out, "{name:<10} {}", hex::encode(value));
        }
    }
    out
}

fn json_report(
    verified: &Result<AttestationDocument, Refusal>,
    mismatches: &[&ExpectedPcr],
) -> serde_json::Value {
    let document = match verified {
        Ok(document) => document,
        Err(error) => {
            return json!({
                "accepted": false,
                "cause": error.name(),
                "message": error.to_string(),
            });
        }
    };
    let mut report = json!({
        "accepted": mismatches.is_empty(),
        "module_id": document.module_id,
        "digest": document.digest,
        "timestamp_ms": document.timestamp.0,
        "time": document.timestamp.to_string(),
        "debug": document.is_debug(),
        "nitrotpm": document.is_nitrotpm(),
        "pcrs": registers(document).iter()
            .map(|(index, value)| (index.to_string(), json!(hex::encode(value))))
            .collect::<serde_json::Map<_, _>>(),
    });
    for (name, value) in optional_fields(document) {
        report[name] = json!(value.map(hex::encode));
    }
    if !mismatches.is_empty() {
        report["cause"] = json!("pcr-mismatch");
        report["pcr_mismatches"] = mismatches
            .iter()
            .map(|pcr| {
                json!({
                    "pcr": pcr.index,
                    "expected": hex::encode(&pcr.value),
                    "found": registers(document).get(&pcr.index).map(hex::encode),
                })
            })
            .collect();
    }
    report
}

fn optional_fields(document: &AttestationDocument) -> [(&'static str, Option<&Vec<u8>>); 3] {
    [
        ("public_key", document.public_key.as_ref()),
        ("user_data", document.user_data.as_ref()),
        ("nonce", document.nonce.as_ref()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(bank: &str) -> AttestationDocument {
        let registers = BTreeMap::from([(8, vec![1; 48])]);
        let (pcrs, nitrotpm_pcrs) = match bank {
            "pcrs" => (registers, BTreeMap::new()),
            _ => (BTreeMap::new(), registers),
        };
        AttestationDocument {
            module_id: "i-1".to_owned(),
            digest: "SHA384".to_owned(),
            timestamp: UnixMillis(1),
            pcrs,
            nitrotpm_pcrs,
            certificate: Vec::new(),
            cabundle: Vec::new(),
            public_key: None,
            user_data: None,
            nonce: None,
        }
    }

    #[test]
    fn a_nitrotpms_document_with_the_required_value_is_no_enclaves() {
        let required = ExpectedPcr {
            index: 8,
            value: vec![1; 48],
        };
        for (bank, nitrotpm, refused) in [
            ("pcrs", false, None),
            ("nitrotpm_pcrs", true, None),
            ("nitrotpm_pcrs", false, Some("nitrotpm-document")),
            ("pcrs", true, Some("enclave-document")),
        ] {
            let judged = of_bank(document(bank), nitrotpm);
            assert_eq!(judged.as_ref().err().map(Refusal::name), refused, "{bank}");
            let report = text_report(&judged, &[]);
            assert_eq!(report.starts_with("refused"), refused.is_some(), "{report}");
            if let Ok(document) = judged {
                assert!(required.matches(&document), "{bank}");
            }
        }
    }
}

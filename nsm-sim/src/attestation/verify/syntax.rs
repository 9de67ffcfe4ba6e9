//! The document's syntax: the COSE_Sign1 frame and the payload's fields with
//! their types and sizes (ground truth NSM §4.4, steps 1 to 3).
//!
//! Unknown payload keys are skipped: the signature covers them, and hardware
//! has added one before (`nitrotpm_pcrs`).

use std::collections::BTreeMap;

use super::{
    AttestationDocument, DOCUMENT_BYTES_MAX,
    cbor::{CborFault, Fault, Reader},
    error::{Field, VerifyError},
};
use crate::clock::UnixMillis;

/// `{1: -35}`: ES384, the only header hardware writes.
const PROTECTED_ES384: [u8; 4] = [0xa1, 0x01, 0x38, 0x22];

/// r ‖ s of P-384.
const SIGNATURE_BYTES: usize = 96;

/// Hardware sends four; AWS sets no limit but the document's own. Every entry
/// costs a signature check.
const CABUNDLE_MAX: u64 = 8;

/// AWS's limit of one certificate.
const CERTIFICATE_BYTES_MAX: usize = 1024;

/// The longest real one has 39 characters.
const MODULE_ID_BYTES_MAX: usize = 256;

/// Entries of the payload's map: nine on hardware, and room for new ones.
const PAYLOAD_ENTRIES_MAX: usize = 32;

/// A COSE_Sign1 frame over its received bytes.
pub(super) struct Signed<'a> {
    pub(super) payload: &'a [u8],
    pub(super) signature: &'a [u8],
}

impl Signed<'_> {
    /// RFC 9052 §4.4: what is signed, around the payload as it was received.
    pub(super) fn sig_structure(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.payload.len() + 32);
        out.extend(b"\x84\x6aSignature1\x44");
        out.extend(PROTECTED_ES384);
        out.push(0x40); // no external data
        let len = self.payload.len(); // at most DOCUMENT_BYTES_MAX
        match len {
            0..=0x17 => out.push(0x40 | len as u8),
            0x18..=0xff => out.extend([0x58, len as u8]),
            _ => {
                out.push(0x59);
                out.extend((len as u16).to_be_bytes());
            }
        }
        out.extend_from_slice(self.payload);
        out
    }
}

pub(super) fn read_cose(document: &[u8]) -> Result<Signed<'_>, VerifyError> {
    if document.len() > DOCUMENT_BYTES_MAX {
        return Err(VerifyError::TooLong {
            bytes: document.len(),
            max: DOCUMENT_BYTES_MAX,
        });
    }
    let fault = in_part("COSE frame");
    let mut reader = Reader::new(document);
    // Hardware's are untagged; AWS's own text shows the tag.
    match reader.tag().map_err(fault)? {
        None | Some(18) => {}
        Some(tag) => return Err(VerifyError::WrongTag { tag }),
    }
    match reader.array().map_err(fault)? {
        4 => {}
        elements => return Err(VerifyError::NotCoseSign1 { elements }),
    }
    if reader.bytes().map_err(fault)? != PROTECTED_ES384 {
        return Err(VerifyError::WrongAlgorithm);
    }
    if reader.definite_map().map_err(fault)? != 0 {
        return Err(VerifyError::UnprotectedHeader);
    }
    let payload = reader.bytes().map_err(fault)?;
    let signature = reader.bytes().map_err(fault)?;
    reader.end().map_err(fault)?;
    if signature.len() != SIGNATURE_BYTES {
        return Err(VerifyError::SignatureLength {
            bytes: signature.len(),
        });
    }
    Ok(Signed { payload, signature })
}

/// The fields as read; each at most once.
#[derive(Default)]
struct Fields<'a> {
    module_id: Option<&'a str>,
    digest: Option<&'a str>,
    timestamp: Option<u64>,
    pcrs: Option<BTreeMap<u8, Vec<u8>>>,
    nitrotpm_pcrs: Option<BTreeMap<u8, Vec<u8>>>,
    certificate: Option<&'a [u8]>,
    cabundle: Option<Vec<Vec<u8>>>,
    public_key: Option<Option<&'a [u8]>>,
    user_data: Option<Option<&'a [u8]>>,
    nonce: Option<Option<&'a [u8]>>,
}

pub(super) fn read_payload(
    payload: &[u8],
    field_bytes_max: usize,
) -> Result<AttestationDocument, VerifyError> {
    let fields = read_fields(payload, field_bytes_max)?;

    let module_id = fields
        .module_id
        .ok_or(VerifyError::FieldMissing(Field::ModuleId))?;
    size(
        Field::ModuleId,
        module_id.len() as u64,
        "bytes",
        1,
        MODULE_ID_BYTES_MAX as u64,
    )?;
    if module_id.chars().any(char::is_control) {
        return Err(VerifyError::ControlCharacter(Field::ModuleId));
    }
    let digest = fields
        .digest
        .ok_or(VerifyError::FieldMissing(Field::Digest))?;
    if digest != "SHA384" {
        return Err(VerifyError::WrongDigest);
    }
    let timestamp = fields
        .timestamp
        .ok_or(VerifyError::FieldMissing(Field::Timestamp))?;
    if timestamp == 0 {
        return Err(VerifyError::TimestampZero);
    }
    let (pcrs, nitrotpm_pcrs) = match (fields.pcrs, fields.nitrotpm_pcrs) {
        (Some(pcrs), None) => (pcrs, BTreeMap::new()),
        (None, Some(pcrs)) => (BTreeMap::new(), pcrs),
        (Some(_), Some(_)) => return Err(VerifyError::TwoBanks),
        (None, None) => return Err(VerifyError::FieldMissing(Field::Pcrs)),
    };
    let certificate = fields
        .certificate
        .ok_or(VerifyError::FieldMissing(Field::Certificate))?;
    size(
        Field::Certificate,
        certificate.len() as u64,
        "bytes",
        1,
        CERTIFICATE_BYTES_MAX as u64,
    )?;
    let cabundle = fields
        .cabundle
        .ok_or(VerifyError::FieldMissing(Field::Cabundle))?;

    Ok(AttestationDocument {
        module_id: module_id.to_owned(),
        digest: digest.to_owned(),
        timestamp: UnixMillis(timestamp),
        pcrs,
        nitrotpm_pcrs,
        certificate: certificate.to_vec(),
        cabundle,
        public_key: fields.public_key.flatten().map(<[u8]>::to_vec),
        user_data: fields.user_data.flatten().map(<[u8]>::to_vec),
        nonce: fields.nonce.flatten().map(<[u8]>::to_vec),
    })
}

fn read_fields(payload: &[u8], field_bytes_max: usize) -> Result<Fields<'_>, VerifyError> {
    let fault = in_part("payload");
    let mut reader = Reader::new(payload);
    let mut fields = Fields::default();
    let mut entries = reader.map().map_err(fault)?;
    let mut unknown = Vec::new();
    let mut read = 0;
    while reader.more(&mut entries).map_err(fault)? {
        read += 1;
        if read > PAYLOAD_ENTRIES_MAX {
            return Err(VerifyError::Cbor {
                part: "payload",
                at: reader.offset(),
                fault: CborFault::NotA("a map of a document's size"),
            });
        }
        let at = reader.offset();
        let key = reader.text().map_err(fault)?;
        let field = match key {
            "module_id" => Field::ModuleId,
            "digest" => Field::Digest,
            "timestamp" => Field::Timestamp,
            "pcrs" => Field::Pcrs,
            "nitrotpm_pcrs" => Field::NitrotpmPcrs,
            "certificate" => Field::Certificate,
            "cabundle" => Field::Cabundle,
            "public_key" => Field::PublicKey,
            "user_data" => Field::UserData,
            "nonce" => Field::Nonce,
            _ => {
                if unknown.contains(&key) {
                    return Err(fault((at, CborFault::NotA("a key given once"))));
                }
                unknown.push(key);
                reader.skip().map_err(fault)?;
                continue;
            }
        };
        let optional = matches!(field, Field::PublicKey | Field::UserData | Field::Nonce);
        let null = reader.null().map_err(fault)?;
        if null && !optional {
            return Err(VerifyError::FieldNull(field));
        }
        match field {
            Field::ModuleId => once(field, &mut fields.module_id, reader.text().map_err(fault)?)?,
            Field::Digest => once(field, &mut fields.digest, reader.text().map_err(fault)?)?,
            Field::Timestamp => {
                once(
                    field,
                    &mut fields.timestamp,
                    reader.unsigned().map_err(fault)?,
                )?;
            }
            Field::Pcrs => once(field, &mut fields.pcrs, read_pcrs(&mut reader, field)?)?,
            Field::NitrotpmPcrs => {
                once(
                    field,
                    &mut fields.nitrotpm_pcrs,
                    read_pcrs(&mut reader, field)?,
                )?;
            }
            Field::Certificate => {
                once(
                    field,
                    &mut fields.certificate,
                    reader.bytes().map_err(fault)?,
                )?;
            }
            Field::Cabundle => once(field, &mut fields.cabundle, read_cabundle(&mut reader)?)?,
            Field::PublicKey | Field::UserData | Field::Nonce => {
                let value = if null {
                    None
                } else {
                    Some(reader.bytes().map_err(fault)?)
                };
                // Nothing can be encrypted to a key of no bytes.
                let min = u64::from(field == Field::PublicKey);
                if let Some(value) = value {
                    let max = field_bytes_max as u64;
                    size(field, value.len() as u64, "bytes", min, max)?;
                }
                let slot = match field {
                    Field::PublicKey => &mut fields.public_key,
                    Field::UserData => &mut fields.user_data,
                    _ => &mut fields.nonce,
                };
                once(field, slot, value)?;
            }
        }
    }
    reader.end().map_err(fault)?;
    Ok(fields)
}

fn read_pcrs(reader: &mut Reader<'_>, field: Field) -> Result<BTreeMap<u8, Vec<u8>>, VerifyError> {
    let fault = in_part("payload");
    let count = reader.definite_map().map_err(fault)?;
    size(field, count, "registers", 1, 32)?;
    let mut pcrs = BTreeMap::new();
    for _ in 0..count {
        let index = reader.unsigned().map_err(fault)?;
        let register = u8::try_from(index).ok().filter(|register| *register < 32);
        let register = register.ok_or(VerifyError::PcrIndex { index })?;
        let value = reader.bytes().map_err(fault)?;
        if !matches!(value.len(), 32 | 48 | 64) {
            return Err(VerifyError::PcrLength {
                index: register,
                bytes: value.len(),
            });
        }
        if pcrs.insert(register, value.to_vec()).is_some() {
            return Err(VerifyError::FieldTwice(field));
        }
    }
    Ok(pcrs)
}

fn read_cabundle(reader: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, VerifyError> {
    let fault = in_part("payload");
    let count = reader.array().map_err(fault)?;
    size(Field::Cabundle, count, "certificates", 1, CABUNDLE_MAX)?;
    (0..count)
        .map(|_| {
            let certificate = reader.bytes().map_err(fault)?;
            size(
                Field::Cabundle,
                certificate.len() as u64,
                "bytes",
                1,
                CERTIFICATE_BYTES_MAX as u64,
            )?;
            Ok(certificate.to_vec())
        })
        .collect()
}

fn once<T>(field: Field, slot: &mut Option<T>, value: T) -> Result<(), VerifyError> {
    if slot.replace(value).is_some() {
        Err(VerifyError::FieldTwice(field))
    } else {
        Ok(())
    }
}

fn size(
    field: Field,
    size: u64,
    unit: &'static str,
    min: u64,
    max: u64,
) -> Result<(), VerifyError> {
    if (min..=max).contains(&size) {
        return Ok(());
    }
    Err(VerifyError::FieldSize {
        field,
        size,
        unit,
        min,
        max,
    })
}

fn in_part(part: &'static str) -> impl Fn(Fault) -> VerifyError + Copy {
    move |(at, fault)| VerifyError::Cbor { part, at, fault }
}

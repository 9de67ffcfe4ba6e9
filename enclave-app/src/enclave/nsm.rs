//! The Nitro Secure Module, through AWS's own driver on `/dev/nsm`.
//!
//! Source of truth: ground truth NSM §1.3 (what the driver does with errors), §2
//! (replies), §3.8 (random numbers), §4.2 (where a document keeps its time). Every
//! document is checked on its way through: it must carry the public key and the
//! user data that were asked for, and its time must agree with the local clock
//! (ground truth: KMS §6, attack 13).
//!
//! Does not verify a document's signature: the device is what this enclave stands
//! on, and others do that. Does not use registers or locks.

use std::{fmt, path::Path, time::Duration};

use aws_nitro_enclaves_nsm_api::{
    api::{ErrorCode, Request, Response},
    driver,
};
use ciborium::Value;
use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

use crate::clock::Clock;

/// What the pipeline needs of the module. Calls block for as long as the device
/// takes (the kernel gives it 120 s): keep them off the async threads.
pub trait SecureModule: Send + Sync {
    /// A fresh attestation document with these fields.
    ///
    /// # Errors
    /// What the module answered instead.
    fn attest(
        &self,
        public_key: Option<&[u8]>,
        user_data: Option<&[u8]>,
    ) -> Result<Vec<u8>, NsmError>;

    /// Random bytes, as many as the module gives in one reply.
    ///
    /// # Errors
    /// What the module answered instead.
    fn random(&self) -> Result<Zeroizing<Vec<u8>>, NsmError>;
}

/// Asks for a document and checks it against the request and the clock.
///
/// # Errors
/// The module's own, and a document that cannot be the answer or whose time is
/// more than `skew_max` off.
pub fn attest_now(
    module: &dyn SecureModule,
    clock: &dyn Clock,
    skew_max: Duration,
    public_key: Option<&[u8]>,
    user_data: Option<&[u8]>,
) -> Result<Vec<u8>, NsmError> {
    let document = module.attest(public_key, user_data)?;
    let claims = Claims::read(&document)?;
    if claims.public_key.as_deref() != public_key || claims.user_data.as_deref() != user_data {
        return Err(NsmError::OtherRequest);
    }
    let local_ms = clock.now_ms();
    if u128::from(claims.timestamp_ms.abs_diff(local_ms)) > skew_max.as_millis() {
        return Err(NsmError::ClockSkew {
            document_ms: claims.timestamp_ms,
            local_ms,
        });
    }
    Ok(document)
}

/// Whether a document is that of an enclave in debug mode: one of PCR0, PCR1 and PCR2,
/// which measure image, kernel and application, is zero.
///
/// # Errors
/// [`NsmError::MalformedDocument`], also if one of the three is absent.
pub fn is_debug_mode(document: &[u8]) -> Result<bool, NsmError> {
    let claims = Claims::read(document)?;
    let mut zero = false;
    for index in 0..3 {
        let register = claims.pcrs.iter().find(|(at, _)| *at == index);
        let (_, value) = register.ok_or(NsmError::MalformedDocument)?;
        if value.is_empty() {
            return Err(NsmError::MalformedDocument);
        }
        zero |= value.iter().all(|byte| *byte == 0);
    }
    Ok(zero)
}

/// Checks that the module's generator lives: two replies of a decent length that
/// differ from each other and are not one repeated byte.
///
/// # Errors
/// [`NsmError::NotRandom`], and the module's own.
pub fn check_randomness(module: &dyn SecureModule) -> Result<Zeroizing<Vec<u8>>, NsmError> {
    let one = module.random()?;
    let two = module.random()?;
    let constant = |bytes: &[u8]| bytes.windows(2).all(|pair| pair.first() == pair.last());
    if one.len() < RANDOM_BYTES_MIN || two.len() < RANDOM_BYTES_MIN || one == two {
        return Err(NsmError::NotRandom);
    }
    if constant(&one) || constant(&two) {
        return Err(NsmError::NotRandom);
    }
    Ok(one)
}

/// Hardware gives 256 bytes; less than a key's worth is a fault.
const RANDOM_BYTES_MIN: usize = 32;

/// A document's bound: the driver's response buffer.
const DOCUMENT_BYTES_MAX: usize = 0x3000;

/// The device, open for as long as this lives.
#[derive(Debug)]
pub struct Device {
    descriptor: i32,
}

impl Device {
    /// Opens `/dev/nsm`.
    ///
    /// # Errors
    /// [`NsmError::Absent`].
    pub fn open() -> Result<Self, NsmError> {
        match driver::nsm_init() {
            descriptor if descriptor >= 0 => Ok(Self { descriptor }),
            _ => Err(NsmError::Absent {
                node_exists: Path::new("/dev/nsm").exists(),
            }),
        }
    }
}

impl SecureModule for Device {
    fn attest(
        &self,
        public_key: Option<&[u8]>,
        user_data: Option<&[u8]>,
    ) -> Result<Vec<u8>, NsmError> {
        let request = Request::Attestation {
            user_data: user_data.map(ByteBuf::from),
            nonce: None,
            public_key: public_key.map(ByteBuf::from),
        };
        match driver::nsm_process_request(self.descriptor, request) {
            Response::Attestation { document } => Ok(document),
            other => Err(refusal(&other)),
        }
    }

    fn random(&self) -> Result<Zeroizing<Vec<u8>>, NsmError> {
        match driver::nsm_process_request(self.descriptor, Request::GetRandom) {
            Response::GetRandom { random } => Ok(Zeroizing::new(random)),
            other => Err(refusal(&other)),
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        driver::nsm_exit(self.descriptor);
    }
}

/// Why there is no document or no randomness.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NsmError {
    /// No device to open.
    #[error(
        "/dev/nsm {}: the application runs only inside a Nitro Enclave (or under `nsm-sim run`)",
        if *node_exists { "cannot be opened" } else { "does not exist" }
    )]
    Absent {
        /// Whether the node is there at all.
        node_exists: bool,
    },
    /// The module answered an error.
    #[error("the security module answered {code}")]
    Refused {
        /// Its code.
        code: NsmErrorCode,
    },
    /// The module answered another request than the one made.
    #[error("the security module's answer does not belong to this request")]
    OtherRequest,
    /// The document cannot be read.
    #[error("the security module's document is malformed")]
    MalformedDocument,
    /// The document's time is too far from the local clock.
    #[error(
        "the attestation document's time ({document_ms} ms) and the local clock ({local_ms} ms) disagree"
    )]
    ClockSkew {
        /// Unix milliseconds in the document.
        document_ms: u64,
        /// Unix milliseconds of the local clock.
        local_ms: u64,
    },
    /// Short, constant or repeated output.
    #[error("the security module's random numbers are not random")]
    NotRandom,
}

/// The module's error codes, by the names they have on the wire. The driver folds
/// every failed system call but one, and every reply it cannot decode, into
/// `InternalError`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are all there is
#[non_exhaustive]
pub enum NsmErrorCode {
    Success,
    InvalidArgument,
    InvalidIndex,
    InvalidResponse,
    ReadOnlyIndex,
    InvalidOperation,
    BufferTooSmall,
    InputTooLarge,
    InternalError,
}

impl fmt::Display for NsmErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

fn refusal(response: &Response) -> NsmError {
    let Response::Error(code) = response else {
        return NsmError::OtherRequest;
    };
    let code = match code {
        ErrorCode::Success => NsmErrorCode::Success,
        ErrorCode::InvalidArgument => NsmErrorCode::InvalidArgument,
        ErrorCode::InvalidIndex => NsmErrorCode::InvalidIndex,
        ErrorCode::InvalidResponse => NsmErrorCode::InvalidResponse,
        ErrorCode::ReadOnlyIndex => NsmErrorCode::ReadOnlyIndex,
        ErrorCode::InvalidOperation => NsmErrorCode::InvalidOperation,
        ErrorCode::BufferTooSmall => NsmErrorCode::BufferTooSmall,
        ErrorCode::InputTooLarge => NsmErrorCode::InputTooLarge,
        ErrorCode::InternalError => NsmErrorCode::InternalError,
    };
    NsmError::Refused { code }
}

/// The few claims of a document that are compared here.
struct Claims {
    timestamp_ms: u64,
    public_key: Option<Vec<u8>>,
    user_data: Option<Vec<u8>>,
    /// As listed; absent in the documents that tests make for other claims.
    pcrs: Vec<(u64, Vec<u8>)>,
}

impl Claims {
    /// COSE_Sign1, tagged or not, over a map with text keys; null is absent.
    fn read(document: &[u8]) -> Result<Self, NsmError> {
        const MALFORMED: NsmError = NsmError::MalformedDocument;
        if document.len() > DOCUMENT_BYTES_MAX {
            return Err(MALFORMED);
        }
        let sign1 = match ciborium::from_reader(document).map_err(|_| MALFORMED)? {
            Value::Tag(18, inner) => *inner,
            other => other,
        };
        let Some(Value::Bytes(payload)) = sign1.as_array().and_then(|parts| parts.get(2)) else {
            return Err(MALFORMED);
        };
        let payload: Value = ciborium::from_reader(payload.as_slice()).map_err(|_| MALFORMED)?;
        let fields = payload.as_map().ok_or(MALFORMED)?;
        let field = |name: &str| {
            fields
                .iter()
                .find(|(key, _)| key.as_text() == Some(name))
                .map(|(_, value)| value)
        };
        let bytes = |name: &str| match field(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bytes(bytes)) => Ok(Some(bytes.clone())),
            Some(_) => Err(MALFORMED),
        };
        let registers = match field("pcrs") {
            None => &[][..],
            Some(value) => value.as_map().ok_or(MALFORMED)?,
        };
        let pcrs = registers
            .iter()
            .map(|(index, value)| {
                let index = index.as_integer().and_then(|at| u64::try_from(at).ok());
                index.zip(value.as_bytes().cloned()).ok_or(MALFORMED)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            pcrs,
            timestamp_ms: field("timestamp")
                .and_then(Value::as_integer)
                .and_then(|at| u64::try_from(at).ok())
                .ok_or(MALFORMED)?,
            public_key: bytes("public_key")?,
            user_data: bytes("user_data")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug)]
    struct Still(u64);
    impl Clock for Still {
        fn now_ms(&self) -> u64 {
            self.0
        }
    }

    /// Answers with one document and a list of random replies.
    struct Script {
        document: Vec<u8>,
        random: std::sync::Mutex<Vec<Vec<u8>>>,
    }
    impl SecureModule for Script {
        fn attest(&self, _: Option<&[u8]>, _: Option<&[u8]>) -> Result<Vec<u8>, NsmError> {
            Ok(self.document.clone())
        }
        fn random(&self) -> Result<Zeroizing<Vec<u8>>, NsmError> {
            Ok(Zeroizing::new(self.random.lock().unwrap().remove(0)))
        }
    }

    fn cbor(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        ciborium::into_writer(value, &mut out).unwrap();
        out
    }

    fn document(timestamp_ms: u64, public_key: Option<&[u8]>) -> Vec<u8> {
        let optional =
            |bytes: Option<&[u8]>| bytes.map_or(Value::Null, |bytes| Value::Bytes(bytes.to_vec()));
        let payload = Value::Map(vec![
            (
                Value::Text("timestamp".into()),
                Value::Integer(timestamp_ms.into()),
            ),
            (Value::Text("public_key".into()), optional(public_key)),
            (Value::Text("user_data".into()), Value::Null),
        ]);
        cbor(&Value::Array(vec![
            Value::Bytes(vec![]),
            Value::Map(vec![]),
            Value::Bytes(cbor(&payload)),
            Value::Bytes(vec![0; 96]),
        ]))
    }

    fn attest(document: Vec<u8>, key: Option<&[u8]>) -> Result<Vec<u8>, NsmError> {
        let module = Script {
            document,
            random: Vec::new().into(),
        };
        attest_now(
            &module,
            &Still(1_000_000),
            Duration::from_millis(500),
            key,
            None,
        )
    }

    #[test]
    fn a_documents_time_may_differ_from_the_clock_by_the_bound_and_no_more() {
        for at in [999_500, 1_000_000, 1_000_500] {
            assert!(
                attest(document(at, Some(b"key")), Some(b"key")).is_ok(),
                "{at}"
            );
        }
        for at in [0, 999_499, 1_000_501, u64::MAX] {
            assert_eq!(
                attest(document(at, Some(b"key")), Some(b"key")),
                Err(NsmError::ClockSkew {
                    document_ms: at,
                    local_ms: 1_000_000
                }),
            );
        }
    }

    #[test]
    fn refuses_a_document_that_carries_another_public_key() {
        for other in [None, Some(&b"other"[..])] {
            assert_eq!(
                attest(document(1_000_000, other), Some(b"key")),
                Err(NsmError::OtherRequest)
            );
        }
    }

    #[test]
    fn refuses_bytes_that_are_not_a_document() {
        for bytes in [vec![], vec![0x84], b"text".to_vec(), vec![0xff; 0x3001]] {
            assert_eq!(attest(bytes, None), Err(NsmError::MalformedDocument));
        }
    }

    #[test]
    fn randomness_that_is_short_repeated_or_constant_is_a_fault() {
        let fresh = |seed: u8| {
            (0..64)
                .map(|i: u8| i.wrapping_mul(7).wrapping_add(seed))
                .collect()
        };
        let check = |replies: [Vec<u8>; 2]| {
            let module = Script {
                document: vec![],
                random: replies.to_vec().into(),
            };
            check_randomness(&module).map(|_| ())
        };
        assert_eq!(check([fresh(1), fresh(2)]), Ok(()));
        assert_eq!(check([fresh(1), fresh(1)]), Err(NsmError::NotRandom));
        assert_eq!(check([fresh(1), vec![]]), Err(NsmError::NotRandom));
        assert_eq!(check([vec![1; 31], fresh(1)]), Err(NsmError::NotRandom));
        assert_eq!(check([vec![0; 256], fresh(1)]), Err(NsmError::NotRandom));
        assert_eq!(check([fresh(1), vec![9; 256]]), Err(NsmError::NotRandom));
    }

    #[test]
    fn every_error_code_keeps_its_name() {
        let refused = refusal(&Response::Error(ErrorCode::InputTooLarge));
        assert_eq!(
            refused,
            NsmError::Refused {
                code: NsmErrorCode::InputTooLarge
            }
        );
        assert_eq!(
            refused.to_string(),
            "the security module answered InputTooLarge"
        );
        assert_eq!(refusal(&Response::LockPCR), NsmError::OtherRequest);
    }

    proptest! {
        #[test]
        fn reading_any_document_never_panics(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = Claims::read(&bytes);
        }
    }
}

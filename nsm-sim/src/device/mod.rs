//! The Nitro Secure Module as a state machine: time and bytes in, bytes out.
//!
//! Models: the seven requests with their PCR and lock arithmetic, error names
//! and limits (ground truth NSM §2–§3, QEMU's second implementation where it
//! agrees). It opens nothing and spawns nothing; the runner, the in-process
//! [`Nsm`] and any server share it. Does not model the ioctl layer (request
//! copy-in, response truncation: the runner's) nor hardware's timing.
//!
//! Reading order: [`NitroSecureModule`], [`profile`] (what it is told before
//! boot), `request` and `reply` (the wire), `pcr` (the bank), [`Nsm`].

mod nsm;
mod pcr;
pub mod profile;
mod reply;
mod request;

use std::fmt;

use rand_chacha::{ChaCha20Rng, rand_core::RngCore};

pub use self::{
    nsm::{Nsm, NsmBuilder},
    profile::{Measurements, Profile},
    request::DecodeFault,
};
use self::{
    pcr::{Bank, PCR_COUNT, Pcr},
    reply::{ErrorCode, Reply},
    request::{AttestationFields, Command},
};
use crate::{
    attestation::{
        document::{self, Contents},
        pki::{Identity, Pki},
        variance::Variance,
    },
    clock::UnixMillis,
    seed::WorldSeed,
};

/// The longest request the driver passes on (`NSM_REQUEST_MAX_SIZE`, 0x1000, in
/// drivers/misc/nsm.c), inclusive.
pub const REQUEST_BYTES_MAX: usize = 4096;

/// The driver's response buffer (`NSM_RESPONSE_MAX_SIZE`, 0x3000). Every reply
/// fits: the largest, an attestation of a 4096-byte request with 32 PCRs, has
/// about 9.3 KB.
pub const RESPONSE_BYTES_MAX: usize = 12288;

/// Bytes that one GetRandom request gives, on hardware and in QEMU.
const RANDOM_BYTES: usize = 256;

/// Whether a request is one of those that take a hash at most, by its first bytes
/// as AWS's crate writes them. Whatever else a request is, it may take a
/// signature.
#[must_use]
pub fn is_quick(request: &[u8]) -> bool {
    const QUICK: [&[u8]; 6] = [
        b"\xa1\x6bDescribePCR",
        b"\xa1\x69ExtendPCR",
        b"\xa1\x67LockPCR\xa1",
        b"\xa1\x68LockPCRs",
        b"\x6bDescribeNSM",
        b"\x69GetRandom",
    ];
    QUICK.iter().any(|start| request.starts_with(start))
}

/// One enclave's NSM.
///
/// Requests are answered in two steps so that a caller who fails to deliver a
/// reply can act as if the request had never been made: [`prepare`] computes
/// the reply and holds PCR changes back, [`commit`] lets them take effect. At
/// most one prepared reply may be outstanding, as behind the driver's mutex.
///
/// [`prepare`]: Self::prepare
/// [`commit`]: Self::commit
pub struct NitroSecureModule {
    profile: Profile,
    module_id: String,
    bank: Bank,
    pki: Pki,
    /// The leaf minted at the first attestation and reused until it is renewed.
    identity: Option<Identity>,
    random: ChaCha20Rng,
    variance: Variance,
    variance_stream: ChaCha20Rng,
}

/// A reply whose PCR changes have not taken effect yet. Dropped, it leaves the
/// bank as it was.
#[must_use = "PCR changes take effect only when committed"]
#[derive(Debug)]
pub struct Prepared {
    reply: Vec<u8>,
    effect: Effect,
    refusal: Option<Refusal>,
}

impl Prepared {
    /// The CBOR reply, at most [`RESPONSE_BYTES_MAX`] bytes.
    #[must_use]
    pub fn reply(&self) -> &[u8] {
        &self.reply
    }

    /// Why the reply is an error, for logs: the wire carries the error's name only.
    #[must_use]
    pub const fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }
}

/// Why a request was answered with an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The request is longer than [`REQUEST_BYTES_MAX`]; the driver would have
    /// answered EMSGSIZE. On the wire: `InputTooLarge`.
    #[error("the request has {bytes} bytes; the device takes at most {REQUEST_BYTES_MAX}")]
    RequestTooLarge {
        /// Length of the request.
        bytes: usize,
    },
    /// The request is not one of the seven commands. On the wire:
    /// `InvalidOperation`.
    #[error("undecodable request: {0}")]
    Undecodable(#[from] DecodeFault),
    /// There is no such register, or a lock range ends past the last one. On
    /// the wire: `InvalidIndex`.
    #[error("PCR index or range {index} is past the bank of {PCR_COUNT}")]
    NoSuchPcr {
        /// The index, or the range's exclusive end.
        index: u16,
    },
    /// The register is locked. On the wire: `ReadOnlyIndex`.
    #[error("PCR{index} is locked")]
    Locked {
        /// The register.
        index: u16,
    },
    /// The document could not be signed. On the wire: `InternalError`.
    #[error("the document could not be signed")]
    Signing,
}

impl Refusal {
    const fn code(&self) -> ErrorCode {
        match self {
            Self::RequestTooLarge { .. } => ErrorCode::InputTooLarge,
            Self::Undecodable(_) => ErrorCode::InvalidOperation,
            Self::NoSuchPcr { .. } => ErrorCode::InvalidIndex,
            Self::Locked { .. } => ErrorCode::ReadOnlyIndex,
            Self::Signing => ErrorCode::InternalError,
        }
    }
}

/// What a committed reply does to the bank.
#[derive(Clone, Copy, Debug)]
enum Effect {
    None,
    Set { index: u16, value: Pcr },
    Lock { mask: u32 },
}

impl NitroSecureModule {
    /// The NSM of an enclave that is about to boot. Root, chain, leaf keys and
    /// GetRandom bytes are drawn from `seed`: the same profile, seed, requests
    /// and times give the same replies byte for byte.
    #[must_use]
    pub fn new(profile: Profile, seed: &WorldSeed, variance: Variance) -> Self {
        let module_id = profile.module_id();
        Self {
            bank: profile.bank(),
            pki: Pki::new(seed, &profile.region),
            identity: None,
            random: seed.stream(&format!("nsm random {module_id}")),
            variance,
            variance_stream: seed.stream(&format!("nsm variance {module_id}")),
            module_id,
            profile,
        }
    }

    /// The authority behind this NSM's documents.
    #[must_use]
    pub const fn pki(&self) -> &Pki {
        &self.pki
    }

    /// What the NSM was told before boot.
    #[must_use]
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Answers a request: [`prepare`](Self::prepare), then [`commit`](Self::commit).
    pub fn handle(&mut self, now: UnixMillis, request: &[u8]) -> Vec<u8> {
        let mut prepared = self.prepare(now, request);
        let reply = std::mem::take(&mut prepared.reply);
        self.commit(prepared);
        reply
    }

    /// Computes the reply to `request` without changing a PCR or a lock.
    /// Random bytes are drawn and a leaf is minted all the same.
    pub fn prepare(&mut self, now: UnixMillis, request: &[u8]) -> Prepared {
        match self.answer(now, request) {
            Ok((reply, effect)) => Prepared {
                reply,
                effect,
                refusal: None,
            },
            Err(refusal) => Prepared {
                reply: Reply::Error(refusal.code()).encode(),
                effect: Effect::None,
                refusal: Some(refusal),
            },
        }
    }

    /// Lets the PCR changes of `prepared` take effect.
    pub fn commit(&mut self, prepared: Prepared) {
        match prepared.effect {
            Effect::None => {}
            Effect::Set { index, value } => self.bank.set(index, value),
            Effect::Lock { mask } => self.bank.lock(mask),
        }
    }

    fn answer(&mut self, now: UnixMillis, request: &[u8]) -> Result<(Vec<u8>, Effect), Refusal> {
        if request.len() > REQUEST_BYTES_MAX {
            return Err(Refusal::RequestTooLarge {
                bytes: request.len(),
            });
        }
        match request::decode(request)? {
            Command::DescribePcr { index } => {
                let data = self.bank.get(index).ok_or(Refusal::NoSuchPcr { index })?;
                let lock = self.bank.is_locked(index);
                Ok((Reply::DescribePcr { lock, data }.encode(), Effect::None))
            }
            Command::ExtendPcr { index, data } => {
                let value = pcr::extended(self.writable(index)?, &data);
                Ok((
                    Reply::ExtendPcr { data: &value }.encode(),
                    Effect::Set { index, value },
                ))
            }
            Command::LockPcr { index } => {
                self.writable(index)?;
                Ok((Reply::LockPcr.encode(), Effect::Lock { mask: 1 << index }))
            }
            Command::LockPcrs { range } => {
                if range > PCR_COUNT {
                    return Err(Refusal::NoSuchPcr { index: range });
                }
                // `range` is a count, and 32 of them do not fit a shift of u32.
                let mask = u32::MAX
                    .checked_shr(u32::from(PCR_COUNT - range))
                    .unwrap_or(0);
                Ok((Reply::LockPcrs.encode(), Effect::Lock { mask }))
            }
            Command::DescribeNsm => {
                let reply = Reply::DescribeNsm {
                    module_id: &self.module_id,
                    locked: self.bank.locked(),
                };
                Ok((reply.encode(), Effect::None))
            }
            Command::Attestation(fields) => {
                let document = self.attest(now, &fields)?;
                Ok((
                    Reply::Attestation {
                        document: &document,
                    }
                    .encode(),
                    Effect::None,
                ))
            }
            Command::GetRandom => {
                let mut random = [0; RANDOM_BYTES];
                self.random.fill_bytes(&mut random);
                Ok((Reply::GetRandom { random: &random }.encode(), Effect::None))
            }
        }
    }

    fn writable(&self, index: u16) -> Result<&Pcr, Refusal> {
        let value = self.bank.get(index).ok_or(Refusal::NoSuchPcr { index })?;
        if self.bank.is_locked(index) {
            Err(Refusal::Locked { index })
        } else {
            Ok(value)
        }
    }

    fn attest(
        &mut self,
        now: UnixMillis,
        fields: &AttestationFields<'_>,
    ) -> Result<Vec<u8>, Refusal> {
        let identity = match self.identity.take() {
            Some(identity) if identity.serves_at(now) => identity,
            _ => self.pki.mint(
                &self.profile.instance_id,
                &self.module_id,
                self.profile.enclave_id(),
                now,
            ),
        };
        let contents = Contents {
            module_id: &self.module_id,
            timestamp: now,
            pcrs: self.bank.locked_registers(),
            public_key: fields.public_key.as_deref(),
            user_data: fields.user_data.as_deref(),
            nonce: fields.nonce.as_deref(),
        };
        let indefinite = self.variance.indefinite(&mut self.variance_stream);
        let document = document::write(contents, &identity, indefinite);
        self.identity = Some(identity);
        document.map_err(|_| Refusal::Signing)
    }
}

impl fmt::Debug for NitroSecureModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys and streams stay out.
        f.debug_struct("NitroSecureModule")
            .field("module_id", &self.module_id)
            .field("locked", &format_args!("{:#010x}", self.bank.locked()))
            .finish_non_exhaustive()
    }
}

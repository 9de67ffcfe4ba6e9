//! The NSM's replies in the exact bytes that AWS's crate reads.
//!
//! Source of truth: ground truth NSM §2, "Responses" (struct order of AWS's
//! crate, definite maps, minimal integers). The Linux driver compares the head
//! of a GetRandom reply byte by byte and every Rust client refuses an
//! indefinite outer map, so nothing here varies. Does not model the order
//! hardware writes DescribeNSM and DescribePCR fields in: unknown, and free to
//! decoders.

use crate::cbor::{ARRAY, MAP, UNSIGNED, put_bytes, put_head, put_text};

/// A reply, borrowing what it carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply<'a> {
    DescribePcr {
        lock: bool,
        data: &'a [u8],
    },
    ExtendPcr {
        data: &'a [u8],
    },
    LockPcr,
    LockPcrs,
    /// `locked`: bit `i` says that PCR `i` is locked.
    DescribeNsm {
        module_id: &'a str,
        locked: u32,
    },
    Attestation {
        document: &'a [u8],
    },
    GetRandom {
        random: &'a [u8],
    },
    Error(ErrorCode),
}

/// The error names a device sends (ground truth NSM §3.5). `Success` and
/// `InvalidResponse` exist on the client's side only; `BufferTooSmall` and
/// `InvalidArgument` have no case here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    InvalidIndex,
    ReadOnlyIndex,
    InvalidOperation,
    InputTooLarge,
    InternalError,
}

impl ErrorCode {
    const fn name(self) -> &'static str {
        match self {
            Self::InvalidIndex => "InvalidIndex",
            Self::ReadOnlyIndex => "ReadOnlyIndex",
            Self::InvalidOperation => "InvalidOperation",
            Self::InputTooLarge => "InputTooLarge",
            Self::InternalError => "InternalError",
        }
    }
}

impl Reply<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(match self {
            Self::Attestation { document } => document.len() + 32,
            Self::GetRandom { random } => random.len() + 32,
            _ => 192,
        });
        match *self {
            Self::DescribePcr { lock, data } => {
                put_named_map(&mut out, "DescribePCR", 2);
                put_text(&mut out, "lock");
                out.push(if lock { 0xf5 } else { 0xf4 });
                put_text(&mut out, "data");
                put_bytes(&mut out, data);
            }
            Self::ExtendPcr { data } => {
                put_named_map(&mut out, "ExtendPCR", 1);
                put_text(&mut out, "data");
                put_bytes(&mut out, data);
            }
            Self::LockPcr => put_text(&mut out, "LockPCR"),
            Self::LockPcrs => put_text(&mut out, "LockPCRs"),
            Self::DescribeNsm { module_id, locked } => {
                put_named_map(&mut out, "DescribeNSM", 7);
                for (name, number) in [
                    ("version_major", 1),
                    ("version_minor", 0),
                    ("version_patch", 0),
                ] {
                    put_text(&mut out, name);
                    put_head(&mut out, UNSIGNED, number);
                }
                put_text(&mut out, "module_id");
                put_text(&mut out, module_id);
                put_text(&mut out, "max_pcrs");
                put_head(&mut out, UNSIGNED, 32);
                put_text(&mut out, "locked_pcrs");
                put_head(&mut out, ARRAY, u64::from(locked.count_ones()));
                for index in (0..32).filter(|index| locked & (1 << index) != 0) {
                    put_head(&mut out, UNSIGNED, index);
                }
                put_text(&mut out, "digest");
                put_text(&mut out, "SHA384");
            }
            Self::Attestation { document } => {
                put_named_map(&mut out, "Attestation", 1);
                put_text(&mut out, "document");
                put_bytes(&mut out, document);
            }
            Self::GetRandom { random } => {
                put_named_map(&mut out, "GetRandom", 1);
                put_text(&mut out, "random");
                put_bytes(&mut out, random);
            }
            Self::Error(code) => {
                put_head(&mut out, MAP, 1);
                put_text(&mut out, "Error");
                put_text(&mut out, code.name());
            }
        }
        out
    }
}

fn put_named_map(out: &mut Vec<u8>, name: &str, entries: u64) {
    put_head(out, MAP, 1);
    put_text(out, name);
    put_head(out, MAP, entries);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ground truth NSM §2, "Responses".
    #[test]
    fn replies_are_the_bytes_that_awss_crate_writes() {
        let pcr = [7; 48];
        let pcr_hex = "07".repeat(48);
        let module_id = "i-1234567890abcdef0-enc1234567890abcdef";
        let cases = [
            (
                Reply::DescribePcr {
                    lock: true,
                    data: &pcr,
                },
                format!("a16b4465736372696265504352a2646c6f636bf564646174615830{pcr_hex}"),
            ),
            (
                Reply::DescribePcr {
                    lock: false,
                    data: &pcr,
                },
                format!("a16b4465736372696265504352a2646c6f636bf464646174615830{pcr_hex}"),
            ),
            (
                Reply::ExtendPcr { data: &pcr },
                format!("a169457874656e64504352a164646174615830{pcr_hex}"),
            ),
            (Reply::LockPcr, "674c6f636b504352".to_owned()),
            (Reply::LockPcrs, "684c6f636b50435273".to_owned()),
            (
                Reply::DescribeNsm {
                    module_id,
                    locked: 0xffff,
                },
                format!(
                    "a16b44657363726962654e534da7\
                     6d76657273696f6e5f6d616a6f7201\
                     6d76657273696f6e5f6d696e6f7200\
                     6d76657273696f6e5f706174636800\
                     696d6f64756c655f69647827{}\
                     686d61785f706372731820\
                     6b6c6f636b65645f7063727390000102030405060708090a0b0c0d0e0f\
                     66646967657374\
                     66534841333834",
                    hex::encode(module_id)
                ),
            ),
            (
                Reply::Attestation { document: &[1, 2] },
                "a16b4174746573746174696f6ea168646f63756d656e74420102".to_owned(),
            ),
            (
                Reply::GetRandom { random: &[9; 256] },
                format!(
                    "a16947657452616e646f6da16672616e646f6d590100{}",
                    "09".repeat(256)
                ),
            ),
            (
                Reply::Error(ErrorCode::InvalidIndex),
                "a1654572726f726c496e76616c6964496e646578".to_owned(),
            ),
        ];
        for (reply, bytes) in cases {
            assert_eq!(hex::encode(reply.encode()), bytes, "{reply:?}");
        }
        assert_eq!(Reply::GetRandom { random: &[9; 256] }.encode().len(), 278);
    }

    #[test]
    fn all_locked_pcrs_are_listed_in_order() {
        let reply = Reply::DescribeNsm {
            module_id: "m",
            locked: u32::MAX,
        }
        .encode();
        let mut list = vec![0x98, 32];
        list.extend(0..24);
        list.extend((24..32).flat_map(|index| [0x18, index]));
        assert!(reply.windows(list.len()).any(|window| window == list));
    }
}

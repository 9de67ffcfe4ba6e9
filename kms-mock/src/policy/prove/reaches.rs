//! What a way to the key leads to.
//!
//! Source of truth: ground truth KMS §2 and §6 (what an attacker wants of a key).

/// What somebody has at the end of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reaches {
    /// The plaintext of what was encrypted before.
    PlaintextBefore,
    /// The plaintext of what will be encrypted.
    PlaintextAfter,
    /// Control of what the enclave decrypts.
    Contents,
    /// What the key vouches for.
    Signatures,
    /// All of it, by a policy of one's own.
    Everything,
    /// The end of the key.
    EndOfKey,
}

impl Reaches {
    /// In words.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::PlaintextBefore => "the plaintext of what was encrypted before",
            Self::PlaintextAfter => "the plaintext of what will be encrypted",
            Self::Contents => "control of what the enclave decrypts",
            Self::Signatures => "signatures or MACs of the key",
            Self::Everything => "a key policy of the caller's choice, and with it everything",
            Self::EndOfKey => "the end of the key",
        }
    }
}

//! Answers of a KMS that is not on the enclave's side, or of somebody who plays
//! KMS: well formed, signed by nobody, and wrong.
//!
//! Source of truth: ground truth KMS §6, attacks 1, 2, 3, 7 and 10; §1.2 for the
//! forms that were seen.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::der;
use crate::{
    keys::material::{Maker, SymmetricMaterial},
    policy::EncryptionContext,
    recipient::{Recipient, cms::Oaep},
    world::entropy::Entropy,
};

/// The key that the attacker knows: the content of forged answers.
pub const ATTACKERS_KEY: [u8; 32] = *b"the attacker knows this data key";

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hostile {
    /// A valid CMS for the document's public key, around [`ATTACKERS_KEY`]:
    /// whoever sees the document can make one.
    ForgedCms,
    /// The CMS of the first answer that this fault met, for an earlier key of
    /// the enclave. That first answer is honest.
    ReplayedCms,
    /// The same CMS in DER, which is not an attack and must not stop anybody.
    Der,
    /// A `Plaintext` (the attacker's) beside the honest CMS.
    PlaintextBeside,
    /// A `Plaintext` (the attacker's) and no CMS: what most emulators answer.
    PlaintextInstead,
    /// An answer without any key in it.
    NoCms,
    /// The ARN of another key in `KeyId`.
    WrongKeyId,
    /// In `CiphertextBlob` a blob of a key that nobody here has.
    OtherBlob,
    /// The withdrawn SHA-1 parameters in the CMS.
    Sha1Oaep,
    /// A CMS without its last sixteen bytes.
    TruncatedCms,
    /// A CMS with one byte more.
    TrailingByte,
    /// A valid CMS around a key of sixteen bytes.
    ShortKey,
    /// A CMS that names another public key.
    OtherRecipient,
}

const NAMES: [(Hostile, &str); 13] = [
    (Hostile::ForgedCms, "forged-cms"),
    (Hostile::ReplayedCms, "replayed-cms"),
    (Hostile::Der, "der"),
    (Hostile::PlaintextBeside, "plaintext-beside"),
    (Hostile::PlaintextInstead, "plaintext-instead"),
    (Hostile::NoCms, "no-cms"),
    (Hostile::WrongKeyId, "wrong-key-id"),
    (Hostile::OtherBlob, "other-blob"),
    (Hostile::Sha1Oaep, "sha1-oaep"),
    (Hostile::TruncatedCms, "truncated-cms"),
    (Hostile::TrailingByte, "trailing-byte"),
    (Hostile::ShortKey, "short-key"),
    (Hostile::OtherRecipient, "other-recipient"),
];

const CMS: &str = "CiphertextForRecipient";

/// What a hostile answer is made with.
pub(crate) struct AnswerForger<'a> {
    /// The recipient of the call, if its document is one.
    pub(crate) recipient: Option<&'a Recipient>,
    pub(crate) entropy: &'a Entropy,
    /// The answer to replay.
    pub(crate) earlier: Option<&'a str>,
}

impl Hostile {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.into_iter().map(|(hostile, _)| hostile)
    }

    /// Its name in the text form of a fault.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(hostile, _)| *hostile == self)
            .map_or("hostile", |(_, name)| name)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        NAMES
            .iter()
            .find(|(_, name)| *name == text)
            .map(|(hostile, _)| *hostile)
    }

    /// Whether it only makes sense for a call with a `Recipient`.
    pub(super) fn needs_recipient(self) -> bool {
        !matches!(self, Self::WrongKeyId | Self::OtherBlob)
    }

    /// Makes an honest answer hostile; `None` if that answer has nothing to
    /// change.
    pub(crate) fn twist(self, honest: &[u8], forger: &AnswerForger<'_>) -> Option<Vec<u8>> {
        let Value::Object(mut members) = serde_json::from_slice(honest).ok()? else {
            return None;
        };
        match self {
            Self::ForgedCms => {
                put_cms(&mut members, forger.seal(&ATTACKERS_KEY, Oaep::Sha256)?)?;
            }
            Self::ShortKey => {
                let short = ATTACKERS_KEY.get(..16)?;
                put_cms(&mut members, forger.seal(short, Oaep::Sha256)?)?;
            }
            Self::Sha1Oaep => {
                let forged = forger.seal(&ATTACKERS_KEY, Oaep::Sha1Default)?;
                put_cms(&mut members, forged)?;
            }
            Self::ReplayedCms => {
                let earlier = forger.earlier?;
                *members.get_mut(CMS)? = earlier.into();
            }
            Self::Der => {
                let honest = cms(&members)?;
                put_cms(&mut members, der::from_ber(&honest)?)?;
            }
            Self::PlaintextBeside => put_plaintext(&mut members)?,
            Self::PlaintextInstead => {
                put_plaintext(&mut members)?;
                members.remove(CMS);
            }
            Self::NoCms => {
                members.remove(CMS)?;
            }
            Self::WrongKeyId => {
                let key_id = members.get_mut("KeyId")?;
                let (before, _) = key_id.as_str()?.rsplit_once('/')?;
                *key_id = format!("{before}/00000000-0000-4000-8000-000000000000").into();
            }
            Self::OtherBlob => {
                let secret = Zeroizing::new(forger.entropy.array());
                let blob = SymmetricMaterial::new(&secret, "a key of nobody here").seal(
                    Maker::GenerateDataKey,
                    &EncryptionContext::new(),
                    &ATTACKERS_KEY,
                    &forger.entropy.array(),
                )?;
                *members.get_mut("CiphertextBlob")? = BASE64.encode(blob).into();
            }
            Self::TruncatedCms => {
                let mut short = cms(&members)?;
                short.truncate(short.len().checked_sub(16)?);
                put_cms(&mut members, short)?;
            }
            Self::TrailingByte => {
                let mut long = cms(&members)?;
                long.push(0);
                put_cms(&mut members, long)?;
            }
            Self::OtherRecipient => {
                let mut other = cms(&members)?;
                // The first byte of the subject key identifier, after its header.
                let at = other.windows(2).position(|pair| pair == [0x80, 0x20])? + 2;
                *other.get_mut(at)? ^= 1;
                put_cms(&mut members, other)?;
            }
        }
        Some(Value::Object(members).to_string().into_bytes())
    }
}

impl AnswerForger<'_> {
    fn seal(&self, content: &[u8], oaep: Oaep) -> Option<Vec<u8>> {
        self.recipient?.seal_with(content, self.entropy, oaep)
    }
}

/// The answer's CMS.
fn cms(members: &Map<String, Value>) -> Option<Vec<u8>> {
    BASE64.decode(members.get(CMS)?.as_str()?).ok()
}

fn put_cms(members: &mut Map<String, Value>, bytes: Vec<u8>) -> Option<()> {
    *members.get_mut(CMS)? = BASE64.encode(bytes).into();
    Some(())
}

fn put_plaintext(members: &mut Map<String, Value>) -> Option<()> {
    members.get(CMS)?;
    let text = BASE64.encode(ATTACKERS_KEY);
    members.insert("Plaintext".to_owned(), text.into());
    Some(())
}

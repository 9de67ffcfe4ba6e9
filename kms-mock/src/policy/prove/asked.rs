//! The permissions a proof asks about, and what each would mean.
//!
//! Source of truth: ground truth KMS §1 (the five operations with `Recipient`;
//! `GenerateRandom` needs no key), §2 (ways round an attestation condition) and
//! §6.

use crate::{
    model::{
        condition_key::ConditionKey,
        operation::Operation,
        spec::{KeySpec, KeyUsage, Named},
    },
    policy::GRANT_OPERATIONS,
};

/// A permission on a key.
#[derive(Debug)]
pub(super) struct Asked {
    /// The operation that needs it.
    pub(super) operation: Operation,
    /// Its name, when it is not the operation's.
    permission: Option<&'static str>,
    pub(super) gives: Gives,
    pub(super) specs: &'static [KeySpec],
    pub(super) usages: &'static [KeyUsage],
}

impl Asked {
    /// The permission as policies name it.
    pub(super) fn action(&self) -> &'static str {
        self.permission.unwrap_or(self.operation.permission())
    }

    /// The usual spec of a key that the permission is about.
    pub(super) fn spec(&self) -> KeySpec {
        *self.specs.first().expect("keys have specs")
    }

    /// The usual usage of a key that the permission is about.
    pub(super) fn usage(&self) -> KeyUsage {
        *self.usages.first().expect("keys have usages")
    }

    /// Whether requests for the permission have the condition key.
    pub(super) fn has(&self, key: &ConditionKey) -> bool {
        key.row().is_some_and(|row| row.is_on(self.operation))
    }

    /// Whether the operation takes a `Recipient`.
    pub(super) fn is_attested(&self) -> bool {
        self.has(&ConditionKey::ImageSha384)
    }
}

/// What somebody with the permission gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    /// The use of the key outside of any enclave.
    Use(&'static str),
    /// A way to give that away.
    Grant,
    /// The key made unusable.
    Unavailability,
}

const SYMMETRIC: &[KeySpec] = &[KeySpec::SymmetricDefault];
const ENCRYPTS: &[KeySpec] = &[
    KeySpec::SymmetricDefault,
    KeySpec::Rsa2048,
    KeySpec::Rsa3072,
    KeySpec::Rsa4096,
    KeySpec::Sm2,
];
const CURVES: &[KeySpec] = &[
    KeySpec::EccNistP256,
    KeySpec::EccNistP384,
    KeySpec::EccNistP521,
    KeySpec::Sm2,
];
const SIGNS: &[KeySpec] = &[
    KeySpec::EccNistP256,
    KeySpec::EccNistP384,
    KeySpec::EccNistP521,
    KeySpec::EccSecgP256k1,
    KeySpec::EccNistEdwards25519,
    KeySpec::Rsa2048,
    KeySpec::Rsa3072,
    KeySpec::Rsa4096,
    KeySpec::Sm2,
    KeySpec::MlDsa44,
    KeySpec::MlDsa65,
    KeySpec::MlDsa87,
];
const MACS: &[KeySpec] = &[
    KeySpec::Hmac256,
    KeySpec::Hmac224,
    KeySpec::Hmac384,
    KeySpec::Hmac512,
];
const ENCAPSULATES: &[KeySpec] = &[KeySpec::MlKem768, KeySpec::MlKem512, KeySpec::MlKem1024];
/// What data key pairs may be.
pub(super) const PAIRS: &[KeySpec] = &[
    KeySpec::Rsa2048,
    KeySpec::Rsa3072,
    KeySpec::Rsa4096,
    KeySpec::EccNistP256,
    KeySpec::EccNistP384,
    KeySpec::EccNistP521,
    KeySpec::EccSecgP256k1,
    KeySpec::Sm2,
    KeySpec::EccNistEdwards25519,
];
const ENCRYPT_DECRYPT: &[KeyUsage] = &[KeyUsage::EncryptDecrypt];
const ANY_USAGE: &[KeyUsage] = &[
    KeyUsage::EncryptDecrypt,
    KeyUsage::SignVerify,
    KeyUsage::GenerateVerifyMac,
    KeyUsage::KeyAgreement,
];

const fn on_symmetric(operation: Operation, why: &'static str) -> Asked {
    Asked {
        operation,
        permission: None,
        gives: Gives::Use(why),
        specs: SYMMETRIC,
        usages: ENCRYPT_DECRYPT,
    }
}

const fn on_asymmetric(
    operation: Operation,
    why: &'static str,
    specs: &'static [KeySpec],
    usages: &'static [KeyUsage],
) -> Asked {
    Asked {
        specs,
        usages,
        ..on_symmetric(operation, why)
    }
}

const fn on_any(operation: Operation, gives: Gives) -> Asked {
    Asked {
        operation,
        permission: None,
        gives,
        specs: KeySpec::ALL,
        usages: ANY_USAGE,
    }
}

/// Everything a proof asks, the most direct first.
pub(super) static ASKED: [Asked; 16] = [
    Asked {
        specs: ENCRYPTS,
        ..on_symmetric(
            Operation::Decrypt,
            "Decrypt answers the plaintext to the caller",
        )
    },
    Asked {
        specs: ENCRYPTS,
        permission: Some("kms:ReEncryptFrom"),
        ..on_symmetric(
            Operation::ReEncrypt,
            "ReEncrypt wraps the key's ciphertexts for another key, which decrypts them",
        )
    },
    on_symmetric(
        Operation::GenerateDataKey,
        "GenerateDataKey answers a plaintext data key",
    ),
    on_symmetric(
        Operation::GenerateDataKeyPair,
        "GenerateDataKeyPair answers a plaintext private key",
    ),
    on_asymmetric(
        Operation::DeriveSharedSecret,
        "DeriveSharedSecret answers the secret to the caller",
        CURVES,
        &[KeyUsage::KeyAgreement],
    ),
    on_asymmetric(
        Operation::Decapsulate,
        "Decapsulate takes no Recipient and answers the secret to the caller",
        ENCAPSULATES,
        ANY_USAGE,
    ),
    on_asymmetric(
        Operation::Sign,
        "Sign takes no Recipient: every caller that may sign does so outside of an enclave",
        SIGNS,
        &[KeyUsage::SignVerify],
    ),
    on_asymmetric(
        Operation::GenerateMac,
        "GenerateMac takes no Recipient: every caller that may use it does so outside of an enclave",
        MACS,
        &[KeyUsage::GenerateVerifyMac],
    ),
    Asked {
        specs: ENCRYPTS,
        permission: Some("kms:ReEncryptTo"),
        ..on_symmetric(
            Operation::ReEncrypt,
            "ReEncrypt puts contents of the caller's choice under the key",
        )
    },
    on_symmetric(
        Operation::GenerateDataKeyWithoutPlaintext,
        "GenerateDataKeyWithoutPlaintext puts new data keys under the key outside of an enclave",
    ),
    on_symmetric(
        Operation::GenerateDataKeyPairWithoutPlaintext,
        "GenerateDataKeyPairWithoutPlaintext puts new private keys under the key outside of an enclave",
    ),
    on_any(Operation::CreateGrant, Gives::Grant),
    on_any(
        Operation::PutKeyPolicy,
        Gives::Use("PutKeyPolicy replaces the policy, and its conditions with it"),
    ),
    on_any(
        Operation::ReplicateKey,
        Gives::Use(
            "ReplicateKey gives a replica (of a multi-Region key) a policy of the caller's choice",
        ),
    ),
    on_any(Operation::ScheduleKeyDeletion, Gives::Unavailability),
    on_any(Operation::DisableKey, Gives::Unavailability),
];

/// What a grant can pass on that counts, by its action.
pub(super) fn grantable(asked: &Asked) -> Option<&'static str> {
    let operation = asked.action().strip_prefix("kms:")?;
    GRANT_OPERATIONS
        .iter()
        .find(|name| **name == operation && operation != "CreateGrant")
        .copied()
}

//! The permissions a proof asks about, and what each would mean.
//!
//! Source of truth: ground truth KMS §1 (the five operations with `Recipient`;
//! `GenerateRandom` needs no key), §2 (ways round an attestation condition) and
//! §6.

/// A permission on a key.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) action: &'static str,
    pub(super) gives: Gives,
    /// Whether the operation takes a `Recipient`.
    pub(super) is_attested: bool,
    /// Whether the request has an encryption context.
    pub(super) has_context: bool,
    pub(super) takes_alias: bool,
    /// Whether it works on another account's key.
    pub(super) crosses_accounts: bool,
    pub(super) specs: &'static [&'static str],
    pub(super) usages: &'static [&'static str],
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

const SYMMETRIC: &[&str] = &["SYMMETRIC_DEFAULT"];
const ENCRYPTS: &[&str] = &[
    "SYMMETRIC_DEFAULT",
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "SM2",
];
const CURVES: &[&str] = &["ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521", "SM2"];
const SIGNS: &[&str] = &[
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    "ECC_NIST_EDWARDS25519",
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "SM2",
    "ML_DSA_44",
    "ML_DSA_65",
    "ML_DSA_87",
];
const MACS: &[&str] = &["HMAC_256", "HMAC_224", "HMAC_384", "HMAC_512"];
const ANY_SPEC: &[&str] = &[
    "SYMMETRIC_DEFAULT",
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    "ECC_NIST_EDWARDS25519",
    "SM2",
    "HMAC_224",
    "HMAC_256",
    "HMAC_384",
    "HMAC_512",
    "ML_DSA_44",
    "ML_DSA_65",
    "ML_DSA_87",
    "ML_KEM_512",
    "ML_KEM_768",
    "ML_KEM_1024",
];
const ENCRYPT_DECRYPT: &[&str] = &["ENCRYPT_DECRYPT"];
const ANY_USAGE: &[&str] = &[
    "ENCRYPT_DECRYPT",
    "SIGN_VERIFY",
    "GENERATE_VERIFY_MAC",
    "KEY_AGREEMENT",
];

const fn on_symmetric(action: &'static str, is_attested: bool, why: &'static str) -> Asked {
    Asked {
        action,
        gives: Gives::Use(why),
        is_attested,
        has_context: true,
        takes_alias: true,
        crosses_accounts: true,
        specs: SYMMETRIC,
        usages: ENCRYPT_DECRYPT,
    }
}

const fn on_asymmetric(
    action: &'static str,
    why: &'static str,
    specs: &'static [&'static str],
    usages: &'static [&'static str],
) -> Asked {
    Asked {
        has_context: false,
        specs,
        usages,
        ..on_symmetric(action, false, why)
    }
}

const fn on_any(action: &'static str, gives: Gives) -> Asked {
    Asked {
        action,
        gives,
        is_attested: false,
        has_context: false,
        takes_alias: false,
        crosses_accounts: false,
        specs: ANY_SPEC,
        usages: ANY_USAGE,
    }
}

/// Everything a proof asks, the most direct first.
pub(super) static ASKED: [Asked; 16] = [
    Asked {
        specs: ENCRYPTS,
        ..on_symmetric(
            "kms:Decrypt",
            true,
            "Decrypt answers the plaintext to whoever calls",
        )
    },
    Asked {
        specs: ENCRYPTS,
        ..on_symmetric(
            "kms:ReEncryptFrom",
            false,
            "ReEncrypt wraps the key's ciphertexts for another key, which decrypts them",
        )
    },
    on_symmetric(
        "kms:GenerateDataKey",
        true,
        "GenerateDataKey answers a plaintext data key",
    ),
    on_symmetric(
        "kms:GenerateDataKeyPair",
        true,
        "GenerateDataKeyPair answers a plaintext private key",
    ),
    Asked {
        is_attested: true,
        ..on_asymmetric(
            "kms:DeriveSharedSecret",
            "DeriveSharedSecret answers the secret to whoever calls",
            CURVES,
            &["KEY_AGREEMENT"],
        )
    },
    on_asymmetric(
        "kms:Decapsulate",
        "Decapsulate takes no Recipient and answers the secret to whoever calls",
        &["ML_KEM_768", "ML_KEM_512", "ML_KEM_1024"],
        ANY_USAGE,
    ),
    on_asymmetric(
        "kms:Sign",
        "Sign takes no Recipient: whoever may sign, signs outside of an enclave",
        SIGNS,
        &["SIGN_VERIFY"],
    ),
    on_asymmetric(
        "kms:GenerateMac",
        "GenerateMac takes no Recipient: whoever may use it, uses it outside of an enclave",
        MACS,
        &["GENERATE_VERIFY_MAC"],
    ),
    Asked {
        specs: ENCRYPTS,
        ..on_symmetric(
            "kms:ReEncryptTo",
            false,
            "ReEncrypt puts contents of the caller's choice under the key",
        )
    },
    on_symmetric(
        "kms:GenerateDataKeyWithoutPlaintext",
        false,
        "GenerateDataKeyWithoutPlaintext puts new data keys under the key outside of an enclave",
    ),
    on_symmetric(
        "kms:GenerateDataKeyPairWithoutPlaintext",
        false,
        "GenerateDataKeyPairWithoutPlaintext puts new private keys under the key outside of an enclave",
    ),
    Asked {
        crosses_accounts: true,
        ..on_any("kms:CreateGrant", Gives::Grant)
    },
    on_any(
        "kms:PutKeyPolicy",
        Gives::Use("PutKeyPolicy replaces the policy, and its conditions with it"),
    ),
    on_any(
        "kms:ReplicateKey",
        Gives::Use(
            "ReplicateKey gives a replica (of a multi-Region key) a policy of the caller's choice",
        ),
    ),
    on_any("kms:ScheduleKeyDeletion", Gives::Unavailability),
    on_any("kms:DisableKey", Gives::Unavailability),
];

/// What a grant can pass on that counts, by its action.
pub(super) fn grantable(asked: &Asked) -> Option<&'static str> {
    let operation = asked.action.strip_prefix("kms:")?;
    crate::policy::GRANT_OPERATIONS
        .iter()
        .find(|name| **name == operation && operation != "CreateGrant")
        .copied()
}

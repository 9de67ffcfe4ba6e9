//! What each of the 56 operations is to the search: a goal, a move towards one, or
//! harmless, with the reason.
//!
//! Source of truth: ground truth KMS §1 (the five operations with `Recipient`;
//! `GenerateRandom` needs no key), §2 (ways round an attestation condition) and
//! §6. Which kinds of keys an operation works on, and which condition keys its
//! requests have, say the tables of the server.
//!
//! [`role`] matches on the operation without a wildcard: an operation that is new in
//! the table does not compile until somebody has said what it is.

use std::sync::LazyLock;

use super::reaches::Reaches;
use crate::{
    model::{
        condition_key::ConditionKey,
        operation::{Check, Operation},
        spec::{KeySpec, KeyUsage, Named, Origin},
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
}

/// What somebody with the permission gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    /// The use of the key outside of any enclave, and why.
    Use(Reaches, &'static str),
    /// A way to give that away.
    Grant,
    /// The key, or the enclave's access to it, taken away; and how.
    Unavailability(&'static str),
}

/// What an operation is to the search.
pub(super) enum Role {
    /// It is asked about, by each of its permissions.
    Asked(&'static [Asked]),
    /// It leads nowhere; why.
    Harmless(&'static str),
}

/// What keys are made of: spec, usage, origin and, of a multi-Region key, its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyKind {
    pub(super) spec: KeySpec,
    pub(super) usage: KeyUsage,
    pub(super) origin: Origin,
    pub(super) multi_region: Option<&'static str>,
}

impl Asked {
    const fn new(operation: Operation, gives: Gives) -> Self {
        Self {
            operation,
            permission: None,
            gives,
        }
    }

    const fn half(operation: Operation, permission: &'static str, gives: Gives) -> Self {
        Self {
            permission: Some(permission),
            ..Self::new(operation, gives)
        }
    }

    /// The permission as policies name it.
    pub(super) fn action(&self) -> &'static str {
        self.permission.unwrap_or(self.operation.permission())
    }

    /// Whether requests for the permission have the condition key.
    pub(super) fn has(&self, key: &ConditionKey) -> bool {
        key.row().is_some_and(|row| row.is_on(self.operation))
    }

    /// Whether the operation takes a `Recipient`.
    pub(super) fn is_attested(&self) -> bool {
        self.operation.row().takes_recipient
    }

    /// Whether it opens a way to the key, rather than ends it.
    pub(super) fn is_path(&self) -> bool {
        !matches!(self.gives, Gives::Unavailability(_))
    }

    /// The kinds of keys that the operation works on and that can have a grant for
    /// `granted`, the usual one first.
    pub(super) fn kinds(&self, granted: Option<Operation>) -> Vec<KeyKind> {
        let row = self.operation.row();
        let mut out = Vec::new();
        for spec in KeySpec::ALL.iter().filter(|spec| spec.is_available()) {
            for usage in spec.usages() {
                let suits = |operation: Operation| operation.suits(*spec, *usage);
                if !suits(self.operation) || !granted.is_none_or(suits) {
                    continue;
                }
                for origin in Origin::ALL {
                    let is_stored_here = matches!(origin, Origin::AwsKms | Origin::External);
                    let fits = !row.checks.contains(&Check::Origin) || row.origins.contains(origin);
                    if !fits || !(is_stored_here || spec.is_symmetric_encryption()) {
                        continue;
                    }
                    let types: &[_] = match (self.operation, is_stored_here) {
                        (Operation::ReplicateKey, true) => &[Some("PRIMARY")],
                        (Operation::ReplicateKey, false) => &[],
                        (_, true) => &[None, Some("PRIMARY"), Some("REPLICA")],
                        (_, false) => &[None],
                    };
                    out.extend(types.iter().map(|multi_region| KeyKind {
                        spec: *spec,
                        usage: *usage,
                        origin: *origin,
                        multi_region: *multi_region,
                    }));
                }
            }
        }
        out
    }
}

/// Everything that is asked about, the most direct first.
pub(super) static ASKED: LazyLock<Vec<&'static Asked>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for operation in Operation::all() {
        if let Role::Asked(asked) = role(*operation) {
            all.extend(asked);
        }
    }
    all.sort_by_key(|asked| match asked.gives {
        Gives::Use(reaches, _) => (0, reaches != Reaches::Everything, reaches),
        Gives::Grant => (0, true, Reaches::Everything),
        Gives::Unavailability(_) => (1, true, Reaches::EndOfKey),
    });
    all.sort_by_key(|asked| !matches!(asked.operation, Operation::Decrypt));
    all
});

/// What must have been asked for before material is imported.
pub(super) static IMPORT_PARAMETERS: Asked = Asked::new(
    Operation::GetParametersForImport,
    Gives::Use(
        Reaches::PlaintextAfter,
        "GetParametersForImport answers a wrapping key",
    ),
);

/// What the operation is to the search.
#[allow(clippy::too_many_lines)] // a table
pub(super) fn role(operation: Operation) -> Role {
    use Gives::{Grant, Unavailability, Use};
    use Operation as O;
    use Reaches::{Contents, Everything, PlaintextAfter, PlaintextBefore, Signatures};
    macro_rules! asked {
        ($($gives:expr),+) => { Role::Asked(const { &[$($gives),+] }) };
    }
    match operation {
        O::Decrypt => asked!(Asked::new(
            O::Decrypt,
            Use(
                PlaintextBefore,
                "Decrypt answers the plaintext to the caller"
            )
        )),
        O::ReEncrypt => asked!(
            Asked::half(
                O::ReEncrypt,
                "kms:ReEncryptFrom",
                Use(
                    PlaintextBefore,
                    "ReEncrypt wraps the key's ciphertexts for another key, which decrypts them"
                )
            ),
            Asked::half(
                O::ReEncrypt,
                "kms:ReEncryptTo",
                Use(
                    Contents,
                    "ReEncrypt puts contents of the caller's choice under the key"
                )
            )
        ),
        O::DeriveSharedSecret => asked!(Asked::new(
            O::DeriveSharedSecret,
            Use(
                PlaintextBefore,
                "DeriveSharedSecret answers the secret to the caller"
            )
        )),
        O::Decapsulate => asked!(Asked::new(
            O::Decapsulate,
            Use(
                PlaintextBefore,
                "Decapsulate takes no Recipient and answers the secret to the caller"
            )
        )),
        O::GenerateDataKey => asked!(Asked::new(
            O::GenerateDataKey,
            Use(
                PlaintextAfter,
                "GenerateDataKey answers a plaintext data key"
            )
        )),
        O::GenerateDataKeyPair => asked!(Asked::new(
            O::GenerateDataKeyPair,
            Use(
                PlaintextAfter,
                "GenerateDataKeyPair answers a plaintext private key"
            )
        )),
        O::ImportKeyMaterial => asked!(Asked::new(
            O::ImportKeyMaterial,
            Use(
                PlaintextAfter,
                "who imports the material of a key of origin EXTERNAL has chosen it, and decrypts without KMS"
            )
        )),
        O::UpdateAlias => asked!(Asked::new(
            O::UpdateAlias,
            Use(
                PlaintextAfter,
                "UpdateAlias points an alias of the key at another key, under which the next caller encrypts"
            )
        )),
        O::DeleteAlias => asked!(Asked::new(
            O::DeleteAlias,
            Use(
                PlaintextAfter,
                "DeleteAlias frees an alias of the key, and CreateAlias gives it to another key, under which the next caller encrypts"
            )
        )),
        O::Encrypt => asked!(Asked::new(
            O::Encrypt,
            Use(
                Contents,
                "Encrypt takes no Recipient and puts contents of the caller's choice under the key"
            )
        )),
        O::GenerateDataKeyWithoutPlaintext => asked!(Asked::new(
            O::GenerateDataKeyWithoutPlaintext,
            Use(
                Contents,
                "GenerateDataKeyWithoutPlaintext puts new data keys under the key outside of an enclave"
            )
        )),
        O::GenerateDataKeyPairWithoutPlaintext => asked!(Asked::new(
            O::GenerateDataKeyPairWithoutPlaintext,
            Use(
                Contents,
                "GenerateDataKeyPairWithoutPlaintext puts new private keys under the key outside of an enclave"
            )
        )),
        O::Sign => asked!(Asked::new(
            O::Sign,
            Use(
                Signatures,
                "Sign takes no Recipient: every caller that may sign does so outside of an enclave"
            )
        )),
        O::GenerateMac => asked!(Asked::new(
            O::GenerateMac,
            Use(
                Signatures,
                "GenerateMac takes no Recipient: every caller that may use it does so outside of an enclave"
            )
        )),
        O::CreateGrant => asked!(Asked::new(O::CreateGrant, Grant)),
        O::PutKeyPolicy => asked!(Asked::new(
            O::PutKeyPolicy,
            Use(
                Everything,
                "PutKeyPolicy replaces the policy, and its conditions with it"
            )
        )),
        O::ReplicateKey => asked!(Asked::new(
            O::ReplicateKey,
            Use(
                Everything,
                "ReplicateKey gives a replica (of a multi-Region key) a policy of the caller's choice"
            )
        )),
        O::ScheduleKeyDeletion => asked!(Asked::new(
            O::ScheduleKeyDeletion,
            Unavailability("kms:ScheduleKeyDeletion makes the key unusable")
        )),
        O::DisableKey => asked!(Asked::new(
            O::DisableKey,
            Unavailability("kms:DisableKey makes the key unusable")
        )),
        O::DeleteImportedKeyMaterial => asked!(Asked::new(
            O::DeleteImportedKeyMaterial,
            Unavailability("kms:DeleteImportedKeyMaterial makes a key of origin EXTERNAL unusable")
        )),
        O::RevokeGrant => asked!(Asked::new(
            O::RevokeGrant,
            Unavailability("kms:RevokeGrant ends what an enclave may do by a grant")
        )),

        O::CreateAlias => Role::Harmless(
            "a further name for the key: requests are supposed to come by any alias there could be",
        ),
        O::TagResource | O::UntagResource => {
            Role::Harmless("changes tags: the key is supposed to have any tags there could be")
        }
        O::UpdatePrimaryRegion => Role::Harmless(
            "a replica becomes the primary key: the key is supposed to be either already",
        ),
        O::GetParametersForImport => {
            Role::Harmless("answers a wrapping key; ImportKeyMaterial is asked about")
        }
        O::Encapsulate | O::GetPublicKey | O::Verify => {
            Role::Harmless("works on the public key, which is no secret")
        }
        O::VerifyMac => Role::Harmless("says of a MAC whether it is right, and makes none"),
        O::DisableKeyRotation | O::EnableKeyRotation | O::RotateKeyOnDemand => Role::Harmless(
            "changes when KMS makes new material, which nobody sees; imported material is asked about by ImportKeyMaterial",
        ),
        O::CancelKeyDeletion | O::EnableKey | O::UpdateKeyDescription => {
            Role::Harmless("changes who may do what with the key in nothing")
        }
        O::RetireGrant => {
            Role::Harmless("only takes away, and by a right that the grant itself gives")
        }
        O::DescribeKey
        | O::GetKeyLastUsage
        | O::GetKeyPolicy
        | O::GetKeyRotationStatus
        | O::ListAliases
        | O::ListGrants
        | O::ListKeyPolicies
        | O::ListKeyRotations
        | O::ListKeys
        | O::ListResourceTags
        | O::ListRetirableGrants => Role::Harmless("only shows what is no secret of the key"),
        O::CreateKey | O::GenerateRandom => Role::Harmless("does nothing to this key"),
        O::ConnectCustomKeyStore
        | O::CreateCustomKeyStore
        | O::DeleteCustomKeyStore
        | O::DescribeCustomKeyStores
        | O::DisconnectCustomKeyStore
        | O::UpdateCustomKeyStore => Role::Harmless(
            "is about a custom key store: no key policy decides it, and the verdict names it as an assumption",
        ),
    }
}

/// The operations that lead nowhere, each with the reason.
pub(super) fn harmless() -> impl Iterator<Item = (&'static str, &'static str)> {
    Operation::all()
        .iter()
        .filter_map(|operation| match role(*operation) {
            Role::Harmless(why) => Some((operation.permission(), why)),
            Role::Asked(_) => None,
        })
}

/// What a grant can pass on that counts, by its action.
pub(super) fn grantable(asked: &Asked) -> Option<&'static str> {
    let operation = asked.action().strip_prefix("kms:")?;
    GRANT_OPERATIONS
        .iter()
        .find(|name| **name == operation && operation != "CreateGrant" && asked.is_path())
        .copied()
}

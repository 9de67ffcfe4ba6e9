//! The 56 operations of the API as one table: what each may be asked for, and what
//! is checked of a key before it is used.
//!
//! Source of truth: `operations` of the KMS service model (version 2014-11-01); AWS
//! KMS developer guide, "KMS permissions reference" (which operations work on
//! another account's key) and "Key states of AWS KMS keys"; the order of the checks
//! as recorded on AWS, where it was. The table decides nothing by itself: the
//! dispatcher, the operations and the prover read it.
//!
//! Disputed, and easy to turn: that a wrong usage is refused before a wrong state
//! ([`uses`], [`CIPHER`]: one source says so, another the reverse), and that a
//! disabled key still shows its public key.

use super::spec::{KeySpec, KeyUsage, Origin};

/// What the API knows of one operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Whether it only reads, as CloudTrail's `readOnly` says.
    pub(crate) is_read_only: bool,
    /// Whether it works on a key of another account at all.
    pub(crate) crosses_accounts: bool,
    /// Whether its `KeyId` may be an alias.
    pub(crate) takes_alias: bool,
    /// Whether it takes a `Recipient`.
    pub(crate) takes_recipient: bool,
    /// Whether a success counts as the key's last usage.
    pub(crate) is_tracked: bool,
    /// What is checked of the key once permission was given, in this order.
    pub(crate) checks: &'static [Check],
    /// The key states that [`Check::State`] accepts.
    pub(crate) states: States,
    /// The usage that [`Check::Usage`] accepts; `None` for every usage.
    pub(crate) usage: Option<KeyUsage>,
    /// The specs that [`Check::Usage`] and [`Check::Spec`] accept.
    pub(crate) specs: Specs,
    /// The origins that [`Check::Origin`] accepts.
    pub(crate) origins: &'static [Origin],
    /// The members that may ask for a new RSA key, which takes up to a second.
    pub(crate) new_key_specs: &'static [&'static str],
}

/// One thing that is checked of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// The key is in one of the row's states.
    State,
    /// The key has the row's usage and one of the row's specs; otherwise
    /// `InvalidKeyUsageException`.
    Usage,
    /// The key has one of the row's specs; otherwise
    /// `UnsupportedOperationException`.
    Spec,
    /// The key has one of the row's origins.
    Origin,
    /// The key is not a replica of a multi-Region key.
    NotReplica,
    /// The ciphertext of the request is not another key's.
    Ciphertext,
    /// The ciphertext has the form of one that KMS made, unless its algorithm says
    /// that RSA made it.
    Form,
    /// The algorithm of the request is one of the key's spec.
    Algorithm,
    /// The request has no encryption context beside an asymmetric key.
    Context,
    /// The operations that a grant allows are some for the key's spec and usage.
    GrantOperations,
    /// A grant constrains the encryption context of a symmetric encryption key alone.
    GrantConstraint,
}

/// `KeyState`, without what belongs to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Enabled,
    Disabled,
    PendingImport,
    Updating,
    PendingReplicaDeletion,
    PendingDeletion,
}

impl State {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 6] = [
        Self::Enabled,
        Self::Disabled,
        Self::PendingImport,
        Self::Updating,
        Self::PendingReplicaDeletion,
        Self::PendingDeletion,
    ];
}

/// A set of key states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct States(u8);

impl States {
    const NONE: Self = Self(0);
    /// Keys that do cryptography: also while their primary Region changes.
    const USABLE: Self = Self::NONE.and(State::Enabled).and(State::Updating);
    /// Keys that wait for their deletion.
    pub(crate) const PENDING_DELETION: Self = Self::NONE
        .and(State::PendingDeletion)
        .and(State::PendingReplicaDeletion);
    /// Keys that do not wait for their deletion.
    const STAYING: Self = Self::USABLE.and(State::Disabled).and(State::PendingImport);
    /// The same, not while their primary Region changes.
    const SETTLED: Self = Self::NONE
        .and(State::Enabled)
        .and(State::Disabled)
        .and(State::PendingImport);
    const ANY: Self = Self(Self::STAYING.0 | Self::PENDING_DELETION.0);

    const fn and(self, state: State) -> Self {
        Self(self.0 | 1 << state as u8)
    }

    pub(crate) const fn contains(self, state: State) -> bool {
        self.0 & 1 << state as u8 != 0
    }
}

/// A set of key specs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Specs {
    Any,
    /// Symmetric encryption keys.
    Symmetric,
    /// Keys with a public key.
    Pairs,
}

impl Specs {
    pub(crate) fn contains(self, spec: KeySpec) -> bool {
        match self {
            Self::Any => true,
            Self::Symmetric => spec.is_symmetric_encryption(),
            Self::Pairs => spec.is_pair(),
        }
    }
}

/// Changes something; nothing is checked of a key.
const CHANGE: Row = Row {
    is_read_only: false,
    crosses_accounts: false,
    takes_alias: false,
    takes_recipient: false,
    is_tracked: false,
    checks: &[],
    states: States::ANY,
    usage: None,
    specs: Specs::Any,
    origins: &[
        Origin::AwsKms,
        Origin::External,
        Origin::CloudHsm,
        Origin::ExternalKeyStore,
    ],
    new_key_specs: &[],
};

/// Changes a key in one of `states`.
const fn change(states: States) -> Row {
    Row {
        checks: &[Check::State],
        states,
        ..CHANGE
    }
}

/// Shows something.
const READ: Row = Row {
    is_read_only: true,
    ..CHANGE
};

/// Uses a key of `usage`.
const fn uses(usage: KeyUsage) -> Row {
    Row {
        crosses_accounts: true,
        takes_alias: true,
        is_tracked: true,
        checks: &[Check::Usage, Check::State, Check::Algorithm],
        states: States::USABLE,
        usage: Some(usage),
        ..READ
    }
}

/// Uses a key of `ENCRYPT_DECRYPT` on plaintext or ciphertext of the request.
const CIPHER: Row = Row {
    checks: &[
        Check::Ciphertext,
        Check::Usage,
        Check::State,
        Check::Form,
        Check::Algorithm,
        Check::Context,
    ],
    ..uses(KeyUsage::EncryptDecrypt)
};

/// Makes something new and encrypts it under a symmetric encryption key.
const DATA_KEY: Row = Row {
    specs: Specs::Symmetric,
    ..uses(KeyUsage::EncryptDecrypt)
};

/// Turns automatic rotation on or off: of material that KMS makes itself, in the
/// primary Region. Only imported keys wait for an import, and their origin refuses.
const AUTOMATIC_ROTATION: Row = Row {
    checks: &[Check::State, Check::Spec, Check::Origin, Check::NotReplica],
    states: States::USABLE.and(State::PendingImport),
    specs: Specs::Symmetric,
    origins: &[Origin::AwsKms],
    ..CHANGE
};

/// Changes imported material.
const IMPORT: Row = Row {
    checks: &[Check::Origin, Check::State],
    origins: &[Origin::External],
    ..CHANGE
};

macro_rules! operations {
    ($($name:ident => $row:expr),+ $(,)?) => {
        /// An operation, by the name after `TrentService.`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Operation { $($name),+ }

        const COUNT: usize = [$(stringify!($name)),+].len();

        /// By name.
        const ALL: [Operation; COUNT] = [$(Operation::$name),+];

        impl Operation {
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// The permission that goes by the operation's name.
            pub(crate) const fn permission(self) -> &'static str {
                match self { $(Self::$name => concat!("kms:", stringify!($name))),+ }
            }

            /// What the API knows of the operation.
            pub(crate) fn row(self) -> &'static Row {
                match self {
                    $(Self::$name => { const ROW: &Row = &$row; ROW })+
                }
            }
        }
    };
}

operations!(
    CancelKeyDeletion => change(States::PENDING_DELETION),
    ConnectCustomKeyStore => CHANGE,
    CreateAlias => change(States::STAYING),
    CreateCustomKeyStore => CHANGE,
    CreateGrant => Row {
        crosses_accounts: true,
        checks: &[Check::State, Check::GrantOperations, Check::GrantConstraint],
        ..change(States::USABLE)
    },
    CreateKey => Row { new_key_specs: &["KeySpec", "CustomerMasterKeySpec"], ..CHANGE },
    Decapsulate => uses(KeyUsage::EncapsulateDecapsulate),
    Decrypt => Row { takes_recipient: true, ..CIPHER },
    DeleteAlias => CHANGE,
    DeleteCustomKeyStore => CHANGE,
    DeleteImportedKeyMaterial => Row {
        states: States(States::SETTLED.0 | States::PENDING_DELETION.0),
        ..IMPORT
    },
    DeriveSharedSecret => Row { takes_recipient: true, ..uses(KeyUsage::KeyAgreement) },
    DescribeCustomKeyStores => READ,
    DescribeKey => Row { crosses_accounts: true, takes_alias: true, ..READ },
    DisableKey => change(States::NONE.and(State::Enabled).and(State::Disabled)),
    DisableKeyRotation => AUTOMATIC_ROTATION,
    DisconnectCustomKeyStore => CHANGE,
    EnableKey => change(States::NONE.and(State::Enabled).and(State::Disabled)),
    EnableKeyRotation => AUTOMATIC_ROTATION,
    Encapsulate => uses(KeyUsage::EncapsulateDecapsulate),
    Encrypt => CIPHER,
    GenerateDataKey => Row { takes_recipient: true, ..DATA_KEY },
    GenerateDataKeyPair => Row {
        takes_recipient: true,
        new_key_specs: &["KeyPairSpec"],
        ..DATA_KEY
    },
    GenerateDataKeyPairWithoutPlaintext => Row { new_key_specs: &["KeyPairSpec"], ..DATA_KEY },
    GenerateDataKeyWithoutPlaintext => DATA_KEY,
    GenerateMac => uses(KeyUsage::GenerateVerifyMac),
    GenerateRandom => Row { takes_recipient: true, ..READ },
    GetKeyLastUsage => READ,
    GetKeyPolicy => READ,
    GetKeyRotationStatus => Row { crosses_accounts: true, ..READ },
    GetParametersForImport => Row {
        is_read_only: true,
        states: States::SETTLED,
        new_key_specs: &["WrappingKeySpec"],
        ..IMPORT
    },
    GetPublicKey => Row {
        crosses_accounts: true,
        takes_alias: true,
        checks: &[Check::State, Check::Spec],
        states: States::USABLE.and(State::Disabled),
        specs: Specs::Pairs,
        ..READ
    },
    ImportKeyMaterial => Row {
        states: States::STAYING,
        ..IMPORT
    },
    ListAliases => READ,
    ListGrants => Row { crosses_accounts: true, ..READ },
    ListKeyPolicies => READ,
    ListKeyRotations => Row {
        checks: &[Check::Spec, Check::State],
        states: States::STAYING,
        specs: Specs::Symmetric,
        ..READ
    },
    ListKeys => READ,
    ListResourceTags => READ,
    ListRetirableGrants => READ,
    PutKeyPolicy => CHANGE,
    ReEncrypt => CIPHER,
    ReplicateKey => change(States::NONE.and(State::Enabled)),
    RetireGrant => Row { crosses_accounts: true, ..CHANGE },
    RevokeGrant => Row { crosses_accounts: true, ..CHANGE },
    RotateKeyOnDemand => Row {
        checks: &[Check::State, Check::Spec, Check::Origin, Check::NotReplica],
        states: States::USABLE,
        specs: Specs::Symmetric,
        origins: &[Origin::AwsKms, Origin::External],
        ..CHANGE
    },
    ScheduleKeyDeletion => change(States::SETTLED),
    Sign => uses(KeyUsage::SignVerify),
    TagResource => change(States::STAYING),
    UntagResource => change(States::STAYING),
    UpdateAlias => change(States::STAYING),
    UpdateCustomKeyStore => CHANGE,
    UpdateKeyDescription => change(States::STAYING),
    UpdatePrimaryRegion => change(States::NONE.and(State::Enabled)),
    Verify => uses(KeyUsage::SignVerify),
    VerifyMac => uses(KeyUsage::GenerateVerifyMac),
);

/// By the length of the name and then by name, for the search: few names are compared
/// with more than a number.
const BY_LENGTH: [Operation; COUNT] = {
    let mut sorted = ALL;
    let mut end = 1;
    while end < COUNT {
        let mut at = end;
        while at > 0 && sorted[at - 1].name().len() > sorted[at].name().len() {
            sorted.swap(at - 1, at);
            at -= 1;
        }
        end += 1;
    }
    sorted
};

impl Operation {
    /// The operation of that name, if there is one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let at = BY_LENGTH.binary_search_by(|operation| {
            let name = operation.name();
            let by_length = name.len().cmp(&text.len());
            by_length.then_with(|| name.cmp(text))
        });
        at.ok().and_then(|at| BY_LENGTH.get(at)).copied()
    }

    /// The operation that a grant allows; `ReEncrypt` is granted in two halves.
    pub(crate) fn of_grant(name: &str) -> Option<Self> {
        match name {
            "ReEncryptFrom" | "ReEncryptTo" => Some(Self::ReEncrypt),
            _ => Self::parse(name),
        }
    }

    /// Whether a key of `spec` and `usage` can ever be used by the operation.
    pub(crate) fn suits(self, spec: KeySpec, usage: KeyUsage) -> bool {
        let row = self.row();
        row.usage.is_none_or(|its| its == usage) && row.specs.contains(spec)
    }

    /// All of them, by name.
    pub(crate) fn all() -> &'static [Self] {
        &ALL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_found_by_its_name_and_nothing_else_is() {
        assert_eq!(ALL.len(), 56);
        assert!(ALL.is_sorted_by_key(|operation| operation.name()));
        for operation in &ALL {
            assert_eq!(Operation::parse(operation.name()), Some(*operation));
            let permission = format!("kms:{}", operation.name());
            assert_eq!(operation.permission(), permission);
        }
        for other in ["", "decrypt", "Decryp", "Decrypts", "ZZZ", "A"] {
            assert_eq!(Operation::parse(other), None, "{other}");
        }
    }

    /// CloudTrail's `readOnly` as it was recorded goes by the name, except for the
    /// cryptographic operations.
    #[test]
    fn what_only_reads_is_what_shows_or_uses_a_key() {
        for operation in &ALL {
            let name = operation.name();
            let shows = ["Describe", "Get", "List", "Generate", "Verify"]
                .iter()
                .any(|verb| name.starts_with(verb));
            let row = operation.row();
            assert_eq!(row.is_read_only, shows || row.is_tracked, "{name}");
        }
    }
}

//! The 56 operations of the API.
//!
//! Source of truth: `operations` of the KMS service model (version 2014-11-01);
//! AWS KMS developer guide, "KMS permissions reference" (which operations work
//! on another account's key).

macro_rules! operations {
    ($($name:ident),+ $(,)?) => {
        /// An operation, by the name after `TrentService.`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Operation { $($name),+ }

        impl Operation {
            pub(crate) fn parse(text: &str) -> Option<Self> {
                $(if text == stringify!($name) { return Some(Self::$name); })+
                None
            }

            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// The permission that goes by the operation's name.
            pub(crate) fn permission(self) -> &'static str {
                match self { $(Self::$name => concat!("kms:", stringify!($name))),+ }
            }
        }
    };
}

operations!(
    CancelKeyDeletion,
    ConnectCustomKeyStore,
    CreateAlias,
    CreateCustomKeyStore,
    CreateGrant,
    CreateKey,
    Decapsulate,
    Decrypt,
    DeleteAlias,
    DeleteCustomKeyStore,
    DeleteImportedKeyMaterial,
    DeriveSharedSecret,
    DescribeCustomKeyStores,
    DescribeKey,
    DisableKey,
    DisableKeyRotation,
    DisconnectCustomKeyStore,
    EnableKey,
    EnableKeyRotation,
    Encapsulate,
    Encrypt,
    GenerateDataKey,
    GenerateDataKeyPair,
    GenerateDataKeyPairWithoutPlaintext,
    GenerateDataKeyWithoutPlaintext,
    GenerateMac,
    GenerateRandom,
    GetKeyLastUsage,
    GetKeyPolicy,
    GetKeyRotationStatus,
    GetParametersForImport,
    GetPublicKey,
    ImportKeyMaterial,
    ListAliases,
    ListGrants,
    ListKeyPolicies,
    ListKeyRotations,
    ListKeys,
    ListResourceTags,
    ListRetirableGrants,
    PutKeyPolicy,
    ReEncrypt,
    ReplicateKey,
    RetireGrant,
    RevokeGrant,
    RotateKeyOnDemand,
    ScheduleKeyDeletion,
    Sign,
    TagResource,
    UntagResource,
    UpdateAlias,
    UpdateCustomKeyStore,
    UpdateKeyDescription,
    UpdatePrimaryRegion,
    Verify,
    VerifyMac,
);

impl Operation {
    /// Whether the operation works on a key of another account at all.
    pub(crate) fn crosses_accounts(self) -> bool {
        matches!(
            self,
            Self::CreateGrant
                | Self::Decapsulate
                | Self::Decrypt
                | Self::DeriveSharedSecret
                | Self::DescribeKey
                | Self::Encapsulate
                | Self::Encrypt
                | Self::GenerateDataKey
                | Self::GenerateDataKeyPair
                | Self::GenerateDataKeyPairWithoutPlaintext
                | Self::GenerateDataKeyWithoutPlaintext
                | Self::GenerateMac
                | Self::GetKeyRotationStatus
                | Self::GetPublicKey
                | Self::ListGrants
                | Self::ReEncrypt
                | Self::RetireGrant
                | Self::RevokeGrant
                | Self::Sign
                | Self::Verify
                | Self::VerifyMac
        )
    }

    /// Whether the operation only reads, as CloudTrail's `readOnly` tells.
    pub(crate) fn is_read_only(self) -> bool {
        let name = self.name();
        ["Describe", "Get", "List", "Generate", "Verify"]
            .iter()
            .any(|p| name.starts_with(p))
            || matches!(
                self,
                Self::Encrypt
                    | Self::Decrypt
                    | Self::ReEncrypt
                    | Self::Sign
                    | Self::DeriveSharedSecret
                    | Self::Encapsulate
                    | Self::Decapsulate
            )
    }
}

//! What KMS answers when it refuses, in AWS's words.
//!
//! Source of truth: the errors recorded on AWS in `kms-errors` and ground truth
//! KMS §4: HTTP 400 for whatever the client did, 500 for the service;
//! `{"__type", "message"}`, with `Message` for `AccessDeniedException` and no
//! message at all for `InvalidCiphertextException`.
//!
//! Texts that were never recorded are the emulator's own; those about
//! attestation documents say so (`[drydock]`), since AWS's
//! are not published.

use std::{borrow::Cow, fmt};

use serde_json::json;

use crate::{
    journal::Unwritten,
    policy::{Denial, Named, PolicyError},
    recipient::RecipientError,
    world::arn::NoReference,
};

/// Every way a call is refused.
#[derive(Debug)]
pub(crate) enum Failure {
    UnknownOperation,
    /// The body is not a JSON object, or a member has the wrong JSON type.
    Serialization(Malformed),
    /// Members outside what the service model allows.
    Constraints(Vec<Violation>),
    /// What the service itself refuses as `ValidationException`.
    Invalid(Invalid),
    AccessDenied(Box<Refusal>),
    NotFound(NotFound),
    /// Of a grant.
    InvalidPrincipal {
        text: String,
    },
    Disabled {
        arn: String,
    },
    InvalidState {
        arn: String,
        state: BadState,
    },
    InvalidKeyUsage {
        arn: String,
        usage: &'static str,
        operation: &'static str,
    },
    AlgorithmMismatch {
        algorithm: &'static str,
        spec: &'static str,
    },
    IncorrectKey,
    InvalidSignature,
    InvalidMac,
    /// The other side's key in `DeriveSharedSecret`.
    InvalidPublicKey,
    InvalidCiphertext {
        cause: &'static str,
    },
    /// Imported material that is not the same as before.
    IncorrectKeyMaterial {
        cause: &'static str,
    },
    InvalidImportToken,
    ExpiredImportToken,
    /// New material while other new material waits for its rotation.
    MaterialPending {
        arn: String,
        new: String,
        pending: String,
    },
    ReplicaExists {
        arn: String,
    },
    AliasExists {
        arn: String,
    },
    ReservedAlias,
    CustomKeyStoreNotFound,
    KeyStore(StoreFault),
    /// The failure of an external key store proxy, in an answer about a store or a
    /// new key.
    Proxy {
        fault: StoreFault,
        message: &'static str,
    },
    /// The same in an answer about a key in use.
    ProxyState {
        message: &'static str,
    },
    MalformedPolicy(BadPolicy),
    LimitExceeded(Limit),
    Tag(TagFault),
    Unsupported(Unsupported),
    /// The operation is not for keys of this spec.
    UnsupportedForKey {
        spec: &'static str,
    },
    DryRun,
    InvalidGrantToken,
    InvalidMarker,
    /// The cryptographic library failed.
    Internal,
    /// The data directory could not be written; nothing was changed.
    Unwritten(Unwritten),
}

impl Failure {
    /// A required member that is absent.
    pub(crate) fn absent(member: &'static str) -> Self {
        Self::Constraints(vec![Violation {
            member: member.into(),
            value: None,
            constraint: Constraint::NotNull,
        }])
    }
}

impl From<Unwritten> for Failure {
    fn from(unwritten: Unwritten) -> Self {
        match unwritten {
            Unwritten::Gone { what } => Self::NotFound(NotFound::Key {
                arn: what.to_string(),
            }),
            Unwritten::Disk { .. } | Unwritten::Closed => Self::Unwritten(unwritten),
        }
    }
}

#[derive(Debug)]
pub(crate) enum Malformed {
    Body,
    /// A list or structure where another type is expected.
    Unexpected {
        found: &'static str,
    },
    Type {
        found: &'static str,
        wanted: &'static str,
    },
    Base64,
}

/// One constraint of the service model that a member fails.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) member: Cow<'static, str>,
    /// `None` when AWS does not print the value (blobs, lists, nulls).
    pub(crate) value: Option<String>,
    pub(crate) constraint: Constraint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Constraint {
    NotNull,
    MinLength(usize),
    MaxLength(usize),
    MinValue(i64),
    MaxValue(i64),
    Pattern(&'static str),
    Enum(&'static str),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "Value '{value}' at '{}'", self.member)?,
            None => write!(f, "Value at '{}'", self.member)?,
        }
        f.write_str(" failed to satisfy constraint: Member must ")?;
        match self.constraint {
            Constraint::NotNull => f.write_str("not be null"),
            Constraint::MinLength(n) => write!(f, "have length greater than or equal to {n}"),
            Constraint::MaxLength(n) => write!(f, "have length less than or equal to {n}"),
            Constraint::MinValue(n) => write!(f, "have value greater than or equal to {n}"),
            Constraint::MaxValue(n) => write!(f, "have value less than or equal to {n}"),
            Constraint::Pattern(p) => write!(f, "satisfy regular expression pattern: {p}"),
            Constraint::Enum(values) => write!(f, "satisfy enum value set: {values}"),
        }
    }
}

#[derive(Debug)]
pub(crate) enum Invalid {
    AliasPrefix,
    NumberOfBytesRequired,
    OneDataKeySize,
    KeyUsageRequired,
    UsageForSpec {
        usage: &'static str,
        spec: &'static str,
    },
    SpecsDiffer,
    CustomId,
    PendingWindow,
    PolicyName,
    CiphertextRequired,
    DryRunModifiersWithoutDryRun,
    GranteeRequired,
    /// Both a service and a principal are the grantee, or retire the grant.
    ServiceAndPrincipal(&'static str),
    /// A grant for a service without what it needs.
    ServiceGrant,
    OnlyCreateGrant,
    TwoConstraints,
    ConstraintSize,
    ConstraintOfKey {
        spec: &'static str,
    },
    GrantOperation {
        operation: &'static str,
        spec: &'static str,
    },
    GrantReference,
    AliasTarget {
        from: &'static str,
        to: &'static str,
    },
    DigestLength {
        algorithm: &'static str,
    },
    MessageType {
        message_type: &'static str,
        /// The algorithm or key spec that does not take it.
        with: String,
    },
    PlaintextLength {
        algorithm: &'static str,
        spec: &'static str,
        bytes_max: usize,
    },
    ContextWithAsymmetric,
    KeyIdRequired,
    Recipient(RecipientError),
    ValidToMissing,
    ValidToPast,
    ValidToFar,
    ValidToUnwanted,
    MaterialIdOfNew,
    ForSymmetricImports,
    CloudHsmMembers,
    XksMembers,
    StoreIdAndName,
    StoreForOrigin,
}

/// Who may not do what, as the text needs it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) denial: Denial,
    pub(crate) caller_arn: String,
    pub(crate) action: &'static str,
    pub(crate) resource: RefusedResource,
}

#[derive(Debug)]
pub(crate) enum RefusedResource {
    Arn(String),
    Ciphertext(String),
    Nothing,
}

#[derive(Debug)]
pub(crate) enum NotFound {
    Key { arn: String },
    KeyId { text: String },
    Arn { text: String },
    Alias { arn: String },
    Policy,
    Grant { id: String },
    Material { id: String },
}

impl From<NoReference> for Failure {
    fn from(none: NoReference) -> Self {
        Self::NotFound(match none {
            NoReference::KeyId(text) => NotFound::KeyId { text },
            NoReference::Arn(text) => NotFound::Arn { text },
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadState {
    PendingDeletion,
    NotPendingDeletion,
    PendingImport,
    PendingReplicaDeletion,
    Updating,
    NoMaterialPending,
    /// Its custom key store is not connected.
    Unavailable,
}

/// What is wrong with a custom key store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreFault {
    NameInUse,
    ClusterInUse,
    UriInUse,
    InvalidState,
    HasKeys,
    ProxyUnreachable,
    ProxyCredential,
    ProxyResponse,
    ProxyConfiguration,
    XksKeyNotFound,
    XksKeyInUse,
    XksKeyConfiguration,
}

impl StoreFault {
    fn code(self) -> &'static str {
        match self {
            Self::NameInUse => "CustomKeyStoreNameInUseException",
            Self::ClusterInUse => "CloudHsmClusterInUseException",
            Self::UriInUse => "XksProxyUriInUseException",
            Self::InvalidState => "CustomKeyStoreInvalidStateException",
            Self::HasKeys => "CustomKeyStoreHasCMKsException",
            Self::ProxyUnreachable => "XksProxyUriUnreachableException",
            Self::ProxyCredential => "XksProxyIncorrectAuthenticationCredentialException",
            Self::ProxyResponse => "XksProxyInvalidResponseException",
            Self::ProxyConfiguration => "XksProxyInvalidConfigurationException",
            Self::XksKeyNotFound => "XksKeyNotFoundException",
            Self::XksKeyInUse => "XksKeyAlreadyInUseException",
            Self::XksKeyConfiguration => "XksKeyInvalidConfigurationException",
        }
    }
}

#[derive(Debug)]
pub(crate) enum BadPolicy {
    Unreadable(PolicyError),
    Lockout,
}

#[derive(Debug)]
pub(crate) enum Limit {
    OnDemandRotations { arn: String },
    PolicyBytes,
    AliasesOfKey,
    GrantsOfKey,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum TagFault {
    Duplicate,
    Reserved,
    TooMany,
}

#[derive(Debug)]
pub(crate) enum Unsupported {
    Spec {
        spec: &'static str,
    },
    /// Custom key stores hold symmetric keys of one Region.
    InKeyStore,
    /// The operation is not for keys of this origin.
    OriginNotValid {
        arn: String,
        origin: &'static str,
    },
    /// A list filtered by an AWS service.
    ServiceFilter,
    /// This build leaves it out.
    NotBuilt {
        feature: &'static str,
    },
    NotPrimary {
        arn: String,
    },
    AlreadyPrimary {
        arn: String,
    },
    Wrapping {
        algorithm: &'static str,
        spec: &'static str,
    },
    /// The material of such a key does not fit.
    WrappingOf {
        algorithm: &'static str,
        spec: &'static str,
        key_spec: &'static str,
    },
}

impl Failure {
    /// The exception's name.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::UnknownOperation => "UnknownOperationException",
            Self::Serialization(_) => "SerializationException",
            Self::Constraints(_) | Self::Invalid(_) | Self::InvalidPublicKey => {
                "ValidationException"
            }
            Self::AccessDenied(_) => "AccessDeniedException",
            Self::NotFound(_) => "NotFoundException",
            Self::InvalidPrincipal { .. } => "InvalidArnException",
            Self::Disabled { .. } => "DisabledException",
            Self::InvalidState { .. } | Self::MaterialPending { .. } | Self::ProxyState { .. } => {
                "KMSInvalidStateException"
            }
            Self::IncorrectKeyMaterial { .. } => "IncorrectKeyMaterialException",
            Self::InvalidImportToken => "InvalidImportTokenException",
            Self::ExpiredImportToken => "ExpiredImportTokenException",
            Self::InvalidKeyUsage { .. } | Self::AlgorithmMismatch { .. } => {
                "InvalidKeyUsageException"
            }
            Self::IncorrectKey => "IncorrectKeyException",
            Self::InvalidSignature => "KMSInvalidSignatureException",
            Self::InvalidMac => "KMSInvalidMacException",
            Self::InvalidCiphertext { .. } => "InvalidCiphertextException",
            Self::AliasExists { .. } | Self::ReplicaExists { .. } => "AlreadyExistsException",
            Self::ReservedAlias => "InvalidAliasNameException",
            Self::CustomKeyStoreNotFound => "CustomKeyStoreNotFoundException",
            Self::KeyStore(fault) | Self::Proxy { fault, .. } => fault.code(),
            Self::MalformedPolicy(_) => "MalformedPolicyDocumentException",
            Self::LimitExceeded(_) => "LimitExceededException",
            Self::Tag(_) => "TagException",
            Self::Unsupported(_) | Self::UnsupportedForKey { .. } => {
                "UnsupportedOperationException"
            }
            Self::DryRun => "DryRunOperationException",
            Self::InvalidGrantToken => "InvalidGrantTokenException",
            Self::InvalidMarker => "InvalidMarkerException",
            Self::Internal | Self::Unwritten(_) => "KMSInternalException",
        }
    }

    /// 500 for the service's own failures, 400 for everything else, access
    /// denied and throttling included.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Internal | Self::Unwritten(_) => 500,
            _ => 400,
        }
    }

    /// AWS's message; `None` where AWS sends none.
    pub(crate) fn message(&self) -> Option<String> {
        Some(match self {
            Self::Serialization(Malformed::Body | Malformed::Base64) => return None,
            Self::Serialization(Malformed::Unexpected { found }) => {
                format!("Start of {found} found where not expected.")
            }
            Self::Serialization(Malformed::Type { found, wanted }) => {
                format!("{found} cannot be converted to {wanted}")
            }
            Self::Constraints(violations) => {
                let count = violations.len();
                let plural = if count == 1 { "error" } else { "errors" };
                let list: Vec<String> = violations.iter().map(ToString::to_string).collect();
                format!("{count} validation {plural} detected: {}", list.join("; "))
            }
            Self::Invalid(invalid) => invalid.to_string(),
            Self::AccessDenied(refusal) => {
                let named = match &refusal.resource {
                    RefusedResource::Arn(arn) => Named::Arn(arn),
                    RefusedResource::Ciphertext(arn) => Named::Ciphertext(arn),
                    RefusedResource::Nothing => Named::Nothing,
                };
                refusal
                    .denial
                    .message(&refusal.caller_arn, refusal.action, named)
            }
            Self::NotFound(what) => match what {
                NotFound::Key { arn } => format!("Key '{arn}' does not exist"),
                NotFound::KeyId { text } => format!("Invalid keyId '{text}'"),
                NotFound::Arn { text } => format!("Invalid arn {text}"),
                NotFound::Alias { arn } => format!("Alias {arn} is not found."),
                NotFound::Policy => "No such policy exists".to_owned(),
                NotFound::Grant { id } => format!("Grant ID {id} not found"),
                NotFound::Material { id } => format!("Key material ID {id} not found"),
            },
            Self::InvalidPrincipal { text } => {
                format!("ARN does not refer to a valid principal: {text}")
            }
            Self::Disabled { arn } => format!("{arn} is disabled."),
            Self::InvalidState { arn, state } => match state {
                BadState::PendingDeletion => format!("{arn} is pending deletion."),
                BadState::NotPendingDeletion => format!("{arn} is not pending deletion."),
                BadState::PendingImport => format!("{arn} is pending import."),
                BadState::PendingReplicaDeletion => format!("{arn} is pending replica deletion."),
                BadState::Updating => format!("{arn} is updating."),
                BadState::Unavailable => format!("{arn} is unavailable."),
                BadState::NoMaterialPending => {
                    format!("No available key material pending rotation for the key: {arn}.")
                }
            },
            Self::InvalidKeyUsage {
                arn,
                usage,
                operation,
            } => {
                format!("{arn} key usage is {usage} which is not valid for {operation}.")
            }
            Self::AlgorithmMismatch { algorithm, spec } => {
                format!("Algorithm {algorithm} is incompatible with key spec {spec}.")
            }
            Self::IncorrectKey => {
                "The key ID in the request does not identify a CMK that can perform this operation."
                    .to_owned()
            }
            Self::MaterialPending { arn, new, pending } => format!(
                "New key material (id: {new}) cannot be imported into KMS key {arn}, because another key material (id: {pending}) is pending rotation."
            ),
            Self::Proxy { message, .. } | Self::ProxyState { message } => (*message).to_owned(),
            Self::ReplicaExists { arn } => format!("Key {arn} already exists"),
            Self::AliasExists { arn } => {
                format!("An alias with the name {arn} already exists")
            }
            Self::MalformedPolicy(BadPolicy::Lockout) => {
                "The new key policy will not allow you to update the key policy in the future."
                    .to_owned()
            }
            // AWS says nothing about any other fault of a policy.
            Self::MalformedPolicy(BadPolicy::Unreadable(error)) => {
                return error.text_of_kms().map(str::to_owned);
            }
            Self::LimitExceeded(limit) => limit.to_string(),
            Self::Tag(TagFault::Duplicate) => "Duplicate tag keys".to_owned(),
            Self::Tag(TagFault::Reserved) => "Tags beginning with aws: are reserved".to_owned(),
            Self::Tag(TagFault::TooMany) => "Too many tags".to_owned(),
            Self::Unsupported(what) => what.to_string(),
            Self::DryRun => {
                "The request would have succeeded, but the DryRun option is set.".to_owned()
            }
            Self::InvalidMarker => "Could not deserialize marker".to_owned(),
            Self::UnknownOperation
            | Self::InvalidSignature
            | Self::InvalidMac
            | Self::InvalidPublicKey
            | Self::UnsupportedForKey { .. }
            | Self::InvalidCiphertext { .. }
            | Self::IncorrectKeyMaterial { .. }
            | Self::InvalidImportToken
            | Self::ExpiredImportToken
            | Self::InvalidGrantToken
            | Self::ReservedAlias
            | Self::CustomKeyStoreNotFound
            | Self::KeyStore(_)
            | Self::Internal
            | Self::Unwritten(_) => return None,
        })
    }

    /// What AWS does not reveal: for the mock-only header, the log and `explain`.
    pub(crate) fn reason(&self) -> Option<String> {
        match self {
            Self::InvalidCiphertext { cause } | Self::IncorrectKeyMaterial { cause } => {
                Some((*cause).to_owned())
            }
            Self::Unwritten(unwritten) => Some(unwritten.to_string()),
            Self::InvalidPublicKey => {
                Some("the public key is not a point of the key's curve in SPKI form".to_owned())
            }
            Self::UnsupportedForKey { spec } => {
                Some(format!("the operation is not for keys of spec {spec}"))
            }
            Self::Invalid(Invalid::Recipient(error)) => Some(error.reason().to_owned()),
            Self::MalformedPolicy(BadPolicy::Unreadable(error)) => Some(error.to_string()),
            _ => None,
        }
    }

    /// The JSON body.
    pub(crate) fn body(&self) -> Vec<u8> {
        let code = self.code();
        let body = match (self, self.message()) {
            (_, None) => json!({ "__type": code }),
            (Self::AccessDenied(_), Some(message)) => json!({ "__type": code, "Message": message }),
            (_, Some(message)) => json!({ "__type": code, "message": message }),
        };
        body.to_string().into_bytes()
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AliasPrefix => f.write_str(
                "Alias must start with the prefix \"alias/\". Please see https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html",
            ),
            Self::NumberOfBytesRequired => f.write_str("NumberOfBytes is required."),
            Self::OneDataKeySize => {
                f.write_str("Please specify either number of bytes or key spec.")
            }
            Self::KeyUsageRequired => f.write_str(
                "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.",
            ),
            Self::UsageForSpec { usage, spec } => {
                write!(f, "KeyUsage {usage} is not compatible with KeySpec {spec}")
            }
            Self::SpecsDiffer => f.write_str(
                "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated.",
            ),
            Self::CustomId => f.write_str(
                "[drydock] The tag _custom_id_ must hold an id that no key has: a UUID, or mrk- and 32 hexadecimal digits for a multi-Region key.",
            ),
            Self::PendingWindow => {
                f.write_str("PendingWindowInDays must be between 7 and 30, inclusive.")
            }
            Self::PolicyName => f.write_str("The only valid policy name is default."),
            Self::CiphertextRequired => f.write_str("CiphertextBlob is required."),
            Self::DryRunModifiersWithoutDryRun => {
                f.write_str("DryRunModifiers can be specified only when DryRun is true.")
            }
            Self::GranteeRequired => f.write_str("GranteePrincipal is required."),
            Self::ServiceAndPrincipal(role) => write!(
                f,
                "[drydock] Either {role}Principal or {role}ServicePrincipal can be specified, not both."
            ),
            Self::ServiceGrant => f.write_str(
                "[drydock] A grant with GranteeServicePrincipal needs the constraint SourceArn, and RetiringPrincipal or RetiringServicePrincipal.",
            ),
            Self::OnlyCreateGrant => {
                f.write_str("Grants must not contain only the CreateGrant operation.")
            }
            Self::TwoConstraints => f.write_str("More than one constraint supplied"),
            Self::ConstraintSize => f.write_str(
                "[drydock] A grant constraint has at most 8 pairs, and values of at most 384 characters.",
            ),
            Self::ConstraintOfKey { spec } => write!(
                f,
                "[drydock] Encryption context grant constraints are for symmetric encryption keys, and KeySpec is {spec}."
            ),
            Self::GrantOperation { operation, spec } => {
                write!(f, "Operation {operation} is not compatible with KeySpec {spec}")
            }
            Self::GrantReference => {
                f.write_str("Either a GrantToken or both a KeyId and a GrantId must be specified.")
            }
            Self::AliasTarget { from, to } => {
                write!(f, "Alias cannot be moved from a {from} key to a {to} key")
            }
            Self::DigestLength { algorithm } => {
                write!(f, "Digest is invalid length for algorithm {algorithm}.")
            }
            Self::MessageType { message_type, with } => write!(
                f,
                "Message type {message_type} is incompatible with {with}."
            ),
            Self::PlaintextLength {
                algorithm,
                spec,
                bytes_max,
            } => write!(
                f,
                "Algorithm {algorithm} and key spec {spec} cannot encrypt data larger than {bytes_max} bytes."
            ),
            Self::ContextWithAsymmetric => {
                f.write_str("EncryptionContext is not supported with asymmetric KMS keys.")
            }
            Self::KeyIdRequired => {
                f.write_str("KeyId is required for ciphertexts of asymmetric KMS keys.")
            }
            Self::Recipient(error) => write!(f, "[drydock] {error}"),
            Self::ValidToMissing => f.write_str(
                "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES",
            ),
            Self::ValidToPast => f.write_str("ValidTo must be in the future."),
            Self::ValidToFar => f.write_str("ValidTo must be within 365 days."),
            Self::ValidToUnwanted => f.write_str(
                "A validTo date must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE",
            ),
            Self::CloudHsmMembers => f.write_str(
                "[drydock] An AWS_CLOUDHSM key store takes CloudHsmClusterId, TrustAnchorCertificate and KeyStorePassword.",
            ),
            Self::XksMembers => f.write_str(
                "[drydock] An EXTERNAL_KEY_STORE takes XksProxyUriEndpoint, XksProxyUriPath, XksProxyAuthenticationCredential, XksProxyConnectivity and, for VPC_ENDPOINT_SERVICE, XksProxyVpcEndpointServiceName.",
            ),
            Self::StoreIdAndName => f.write_str(
                "[drydock] Only one of CustomKeyStoreId and CustomKeyStoreName can be specified.",
            ),
            Self::StoreForOrigin => f.write_str(
                "[drydock] CustomKeyStoreId goes with Origin AWS_CLOUDHSM or EXTERNAL_KEY_STORE as its store's type is, XksKeyId with EXTERNAL_KEY_STORE.",
            ),
            Self::ForSymmetricImports => f.write_str(
                "[drydock] ImportType, KeyMaterialDescription and KeyMaterialId are for symmetric encryption keys only.",
            ),
            Self::MaterialIdOfNew => f.write_str(
                "KeyMaterialId must not be specified when ImportType is NEW_KEY_MATERIAL.",
            ),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnDemandRotations { arn } => write!(
                f,
                "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed for this key: {arn}"
            ),
            Self::PolicyBytes => f.write_str("The key policy exceeds 32768 bytes."),
            Self::AliasesOfKey => f.write_str("A KMS key can have at most 50 aliases."),
            Self::GrantsOfKey => f.write_str("A KMS key can have at most 50000 grants."),
        }
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spec { spec } => {
                write!(f, "KeySpec {spec} is not supported in this Region")
            }
            Self::InKeyStore => f.write_str(
                "[drydock] Custom key stores hold symmetric encryption keys of a single Region.",
            ),
            Self::OriginNotValid { arn, origin } => {
                write!(
                    f,
                    "{arn} origin is {origin} which is not valid for this operation."
                )
            }
            Self::ServiceFilter => f.write_str(
                "[drydock] GranteeServicePrincipal and RetiringServicePrincipal of a list can be used by AWS services only.",
            ),
            Self::NotBuilt { feature } => write!(
                f,
                "[drydock] This kms-mock was built without its feature `{feature}`."
            ),
            Self::NotPrimary { arn } => write!(f, "{arn} is not a multi-region primary key."),
            Self::AlreadyPrimary { arn } => {
                write!(f, "{arn} is already the multi-region primary key.")
            }
            Self::WrappingOf {
                algorithm,
                spec,
                key_spec,
            } => write!(
                f,
                "[drydock] Wrapping algorithm {algorithm} with {spec} cannot wrap {key_spec} key material; use RSA_AES_KEY_WRAP_SHA_256."
            ),
            Self::Wrapping { algorithm, spec } => write!(
                f,
                "[drydock] Wrapping algorithm {algorithm} with {spec} is not available in this emulator."
            ),
        }
    }
}

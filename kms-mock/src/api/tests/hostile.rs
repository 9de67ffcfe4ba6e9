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

const OPERATIONS: [&str; 36] = [
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
    "Nothing",
];

const MEMBERS: [&str; 28] = [
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
    fn no_bytes_make_an_operation_panic(
        operation in ".{0,20}",
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let world = World::new();
        prop_assert_eq!(world.raw(&world.root, &operation, &body).status, 400);
    }
}

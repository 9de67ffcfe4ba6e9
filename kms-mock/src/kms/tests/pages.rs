//! Lists in pages, for every operation that has them, dry runs of grants, and
//! members that are seldom given.

use super::{
    import::{import, new_material, pending, with},
    *,
};

/// Every list operation with a request that has at least three entries to tell.
fn lists(world: &World) -> Vec<(&'static str, Value, &'static str)> {
    let key = world.key();
    world.key();
    world.key();
    let principal = format!("arn:aws:iam::{ACCOUNT}:role/r");
    for name in ["a", "b", "c"] {
        let alias = json!({ "AliasName": format!("alias/{name}"), "TargetKeyId": key });
        world.ok("CreateAlias", alias);
        let tag = json!({ "TagKey": name, "TagValue": "" });
        world.ok("TagResource", json!({ "KeyId": key, "Tags": [tag] }));
        let grant = json!({
            "KeyId": key, "GranteePrincipal": principal, "RetiringPrincipal": principal,
            "Operations": ["Decrypt"], "Name": name,
        });
        world.ok("CreateGrant", grant);
        world.ok("RotateKeyOnDemand", json!({ "KeyId": key }));
        let store = json!({
            "CustomKeyStoreName": name,
            "CloudHsmClusterId": format!("cluster-{}", name.repeat(11)),
            "TrustAnchorCertificate": "certificate", "KeyStorePassword": "password",
        });
        world.ok("CreateCustomKeyStore", store);
    }
    let imported = pending(world, json!({}));
    for material in 1..=3 {
        let more = if material == 1 {
            json!({})
        } else {
            new_material()
        };
        import(world, &imported, material, more);
        if material > 1 {
            world.ok("RotateKeyOnDemand", json!({ "KeyId": imported }));
        }
    }
    let of = |key: &str| json!({ "KeyId": key });
    let all = |key: &str| json!({ "KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL" });
    vec![
        ("ListKeys", json!({}), "Keys"),
        ("ListAliases", json!({}), "Aliases"),
        ("ListAliases", of(&key), "Aliases"),
        ("ListGrants", of(&key), "Grants"),
        (
            "ListRetirableGrants",
            json!({ "RetiringPrincipal": principal }),
            "Grants",
        ),
        ("ListKeyRotations", of(&key), "Rotations"),
        ("ListKeyRotations", all(&key), "Rotations"),
        ("ListKeyRotations", all(&imported), "Rotations"),
        ("ListResourceTags", of(&key), "Tags"),
        ("DescribeCustomKeyStores", json!({}), "CustomKeyStores"),
    ]
}

#[test]
fn every_list_is_the_same_in_pages_as_in_one() {
    let world = World::new();
    for (operation, body, member) in lists(&world) {
        let whole = world.ok(operation, body.clone());
        assert_eq!(whole["Truncated"], false, "{operation}");
        assert!(whole.get("NextMarker").is_none());
        let whole = whole[member].as_array().unwrap().clone();
        assert!(whole.len() >= 3, "{operation}");
        for limit in [1, 2] {
            let mut paged = Vec::new();
            let mut marker = Value::Null;
            for _ in 0..=whole.len() {
                let asked = with(body.clone(), json!({ "Limit": limit, "Marker": marker }));
                let page = world.ok(operation, asked);
                let items = page[member].as_array().unwrap();
                assert!(items.len() <= limit, "{operation}");
                paged.extend(items.iter().cloned());
                let Some(next) = page.get("NextMarker") else {
                    assert_eq!(page["Truncated"], false);
                    break;
                };
                assert_eq!(page["Truncated"], true);
                marker = next.clone();
            }
            assert_eq!(paged, whole, "{operation} by {limit}");
        }
        let foreign = with(body.clone(), json!({ "Marker": "?" }));
        let refused = world.err(operation, foreign);
        assert_eq!(refused.code, "InvalidMarkerException", "{operation}");
        let nothing = world.err(operation, with(body, json!({ "Limit": 0 })));
        assert_eq!(nothing.code, "ValidationException", "{operation}");
    }
}

#[test]
fn a_dry_run_revokes_and_retires_nothing() {
    let world = World::new();
    let key = world.key();
    let principal = format!("arn:aws:iam::{ACCOUNT}:role/r");
    let grant = world.ok(
        "CreateGrant",
        json!({ "KeyId": key, "GranteePrincipal": principal, "Operations": ["Decrypt"] }),
    );
    let by_id = json!({ "KeyId": key, "GrantId": grant["GrantId"] });
    let by_token = json!({ "GrantToken": grant["GrantToken"] });
    for (operation, body) in [
        ("RevokeGrant", by_id.clone()),
        ("RetireGrant", by_id.clone()),
        ("RetireGrant", by_token),
    ] {
        let trial = with(body, json!({ "DryRun": true }));
        world.err(operation, trial).says(
            "DryRunOperationException",
            "The request would have succeeded, but the DryRun option is set.",
        );
    }
    world.ok("RevokeGrant", by_id.clone());
    // What would not have succeeded does not.
    let again = with(by_id, json!({ "DryRun": true }));
    assert_eq!(world.err("RevokeGrant", again).code, "NotFoundException");
}

#[test]
fn members_that_are_seldom_given_are_held_to_the_model_too() {
    let world = World::new();
    let key = world.key();
    let pattern = "Member must satisfy regular expression pattern: ";
    for (operation, member, value, constraint) in [
        (
            "CreateGrant",
            "GranteeServicePrincipal",
            json!("rds"),
            pattern,
        ),
        (
            "ListRetirableGrants",
            "RetiringServicePrincipal",
            json!("a..b.c"),
            pattern,
        ),
        (
            "UpdateCustomKeyStore",
            "XksProxyVpcEndpointServiceName",
            json!("com.amazonaws.vpce.vpce-svc-1"),
            pattern,
        ),
        (
            "UpdateCustomKeyStore",
            "XksProxyVpcEndpointServiceOwner",
            json!("12345678901a"),
            pattern,
        ),
        (
            "Decrypt",
            "DryRunModifiers",
            json!(["IGNORE"]),
            "Member must satisfy enum value set: [IGNORE_CIPHERTEXT]",
        ),
        (
            "ListKeys",
            "ResourceOwners",
            json!(["ALL"]),
            "Member must satisfy enum value set: [SELF, OTHER_ACCOUNTS_VIA_RAM]",
        ),
    ] {
        let body = json!({ "KeyId": key, "CustomKeyStoreId": "cks-1", "Operations": ["Decrypt"] });
        let refused = world.err(operation, with(body, json!({ member: value })));
        assert_eq!(refused.code, "ValidationException", "{operation}");
        let told = refused.message.unwrap();
        assert!(told.contains(constraint), "{operation}: {told}");
    }
}

//! Grants: who may retire and list them, what they must not contain, grants for AWS
//! services, the condition keys of `CreateGrant`.

use super::*;

fn arn(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{name}")
}

#[test]
fn the_grant_says_who_retires_it_and_beside_that_iam_of_the_accounts_concerned() {
    let world = World::new();
    // The key policy lets everybody do everything, which is no permission to retire.
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*" },
        { "Effect": "Allow", "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") }, "Action": "kms:*", "Resource": "*" },
    ]});
    let created = world.ok("CreateKey", json!({ "Policy": policy.to_string() }));
    let key = text(&created["KeyMetadata"]["Arn"]);
    let grant = |more: Value| {
        let mut body = json!({ "KeyId": key, "GranteePrincipal": arn("grantee"),
            "RetiringPrincipal": arn("retirer"), "Operations": ["Decrypt"] });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        world.ok("CreateGrant", body)["GrantToken"].clone()
    };
    let may = |caller: &Caller, token: &Value| {
        let body = json!({ "GrantToken": token, "DryRun": true });
        let refused = world.call_as(caller, "RetireGrant", body).unwrap_err();
        match refused.code.as_str() {
            "DryRunOperationException" => true,
            "AccessDeniedException" => false,
            other => panic!("{other}"),
        }
    };
    let plain = grant(json!({}));
    let by_grantee = grant(json!({ "Operations": ["Decrypt", "RetireGrant"] }));
    let by_account = grant(json!({ "RetiringPrincipal": format!("arn:aws:iam::{OTHER}:root") }));
    let (retirer, grantee) = (role(ACCOUNT, "retirer"), role(ACCOUNT, "grantee"));
    let allowed = |caller: Caller| with_iam(caller, "Allow", "kms:RetireGrant");
    let denied = |caller: Caller| with_iam(caller, "Deny", "kms:RetireGrant");
    for (caller, token, wanted) in [
        (&retirer, &plain, true),
        (&denied(retirer.clone()), &plain, false),
        (&grantee, &plain, false),
        (&grantee, &by_grantee, true),
        (&denied(grantee.clone()), &by_grantee, false),
        // A stranger, whom the key policy allows everything.
        (&role(ACCOUNT, "stranger"), &plain, false),
        (&role(OTHER, "stranger"), &plain, false),
        (&allowed(role(OTHER, "stranger")), &plain, false),
        // The account in which the grant was made, and which owns the key.
        (&allowed(role(ACCOUNT, "stranger")), &plain, true),
        (&world.root, &plain, true),
        // The account that is the retiring principal.
        (&root(OTHER), &by_account, true),
        (&allowed(role(OTHER, "anybody")), &by_account, true),
        (&role(OTHER, "anybody"), &by_account, false),
        (&root(OTHER), &plain, false),
    ] {
        assert_eq!(may(caller, token), wanted, "{}", caller.principal);
    }
    let left = world.ok("ListGrants", json!({ "KeyId": key }));
    assert_eq!(left["Grants"].as_array().unwrap().len(), 3);
}

#[test]
fn retirable_grants_are_listed_over_accounts_for_who_may_ask_about_the_principal() {
    let world = World::new();
    let retirer = format!("arn:aws:iam::{OTHER}:role/retirer");
    let key = world.key();
    world.ok(
        "CreateGrant",
        json!({ "KeyId": key, "GranteePrincipal": arn("a"), "RetiringPrincipal": retirer,
            "Operations": ["Decrypt"] }),
    );
    let list = |caller: &Caller| {
        let body = json!({ "RetiringPrincipal": retirer });
        world.call_as(caller, "ListRetirableGrants", body)
    };
    let grants = list(&root(OTHER)).unwrap()["Grants"].clone();
    assert_eq!(grants.as_array().unwrap().len(), 1);
    assert!(text(&grants[0]["KeyId"]).contains(ACCOUNT));
    // Not of the principal's account.
    assert_eq!(list(&world.root).unwrap_err().code, "AccessDeniedException");
    let policy = |resource: &str| {
        let text = json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Action": "kms:ListRetirableGrants", "Resource": resource },
        ]});
        let mut caller = role(OTHER, "somebody");
        let policy = Policy::parse(&text.to_string(), PolicyKind::Identity).unwrap();
        caller.identity_policies.push(Arc::new(policy));
        caller
    };
    assert!(list(&policy(&retirer)).is_ok());
    let refused = list(&policy("arn:aws:kms:*:*:key/*")).unwrap_err();
    assert_eq!(refused.code, "AccessDeniedException");
}

#[test]
fn what_a_grant_must_not_be_is_refused_in_the_words_of_aws() {
    let world = World::new();
    let key = world.key();
    let hmac = world.ok(
        "CreateKey",
        json!({ "KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC" }),
    );
    let hmac = text(&hmac["KeyMetadata"]["KeyId"]);
    let context = |value: &str| json!({ "EncryptionContextEquals": { "a": value } });
    let long = "x".repeat(385);
    let nine: Value = (0..9)
        .map(|n| (n.to_string(), json!("v")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    #[rustfmt::skip]
    let table = [
        (&key, json!({ "Operations": ["CreateGrant"] }), "Grants must not contain only the CreateGrant operation."),
        (&key, json!({ "Constraints": { "EncryptionContextEquals": { "a": "b" }, "EncryptionContextSubset": { "a": "b" } } }), "More than one constraint supplied"),
        (&key, json!({ "Constraints": context(&long) }), "[drydock] A grant constraint has"),
        (&key, json!({ "Constraints": { "EncryptionContextSubset": nine } }), "[drydock] A grant constraint has"),
        (&hmac, json!({ "Operations": ["GenerateMac"], "Constraints": context("b") }), "[drydock] Encryption context grant constraints are for symmetric"),
        (&hmac, json!({}), "Operation Decrypt is not compatible with KeySpec HMAC_256"),
        (&key, json!({ "GranteeServicePrincipal": "rds.amazonaws.com" }), "[drydock] Either GranteePrincipal or"),
        (&key, json!({ "RetiringPrincipal": arn("r"), "RetiringServicePrincipal": "rds.amazonaws.com" }), "[drydock] Either RetiringPrincipal or"),
    ];
    let grant = |key: &str, more: &Value| {
        let mut body =
            json!({ "KeyId": key, "GranteePrincipal": arn("app"), "Operations": ["Decrypt"] });
        let more = more.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(more);
        body
    };
    for (key, more, message) in &table {
        let refused = world.err("CreateGrant", grant(key, more));
        assert_eq!(refused.code, "ValidationException", "{more}");
        let said = refused.message.unwrap_or_default();
        assert!(said.starts_with(message), "{more}: {said}");
    }
    let fits = json!({ "Constraints": context(&long[1..]) });
    world.ok("CreateGrant", grant(&key, &fits));
    let app = "nobody";
    let refused = world.err(
        "CreateGrant",
        grant(&key, &json!({ "GranteePrincipal": app })),
    );
    assert_eq!(refused.code, "InvalidArnException");
    assert_eq!(
        refused.message.unwrap(),
        "ARN does not refer to a valid principal: nobody"
    );
}

#[test]
fn a_repeated_grant_has_the_same_id_and_a_token_of_its_own() {
    let world = World::new();
    let key = world.key();
    let body = json!({ "KeyId": key, "GranteePrincipal": arn("app"), "Name": "n",
        "RetiringPrincipal": arn("app"), "Operations": ["Decrypt"] });
    let [first, second] = [(); 2].map(|()| world.ok("CreateGrant", body.clone()));
    assert_eq!(first["GrantId"], second["GrantId"]);
    assert_ne!(first["GrantToken"], second["GrantToken"]);
    let retire = |token: &Value| {
        let body = json!({ "GrantToken": token });
        world.call_as(&role(ACCOUNT, "app"), "RetireGrant", body)
    };
    retire(&second["GrantToken"]).unwrap();
    let refused = retire(&first["GrantToken"]).unwrap_err();
    assert_eq!(refused.code, "NotFoundException");
}

#[test]
fn names_of_a_constraint_are_compared_without_regard_to_case_and_values_are_not() {
    let world = World::new();
    let key = world.key();
    world.ok(
        "CreateGrant",
        json!({ "KeyId": key, "GranteePrincipal": arn("app"), "Operations": ["Encrypt"],
            "Constraints": { "EncryptionContextEquals": { "Job": "A" } } }),
    );
    let encrypt = |context: Value| {
        let body = json!({ "KeyId": key, "Plaintext": "eA==", "EncryptionContext": context });
        world
            .call_as(&role(ACCOUNT, "app"), "Encrypt", body)
            .is_ok()
    };
    assert!(encrypt(json!({ "Job": "A" })));
    assert!(encrypt(json!({ "job": "A" })));
    assert!(!encrypt(json!({ "Job": "a" })));
    assert!(!encrypt(json!({ "Job": "A", "more": "b" })));
}

#[test]
fn a_grant_for_a_service_is_made_under_its_conditions_shown_and_allows_nobody_here() {
    let world = World::new();
    let key = world.key();
    let source = "arn:aws:rds:us-east-1:123456789012:db:a";
    let body = |source: Option<&str>| {
        let constraints = source.map_or(json!({}), |arn| json!({ "SourceArn": arn }));
        json!({ "KeyId": key, "GranteeServicePrincipal": "rds.amazonaws.com",
            "RetiringServicePrincipal": "rds.amazonaws.com", "Operations": ["Decrypt"],
            "Constraints": constraints })
    };
    assert_eq!(
        world.err("CreateGrant", body(None)).code,
        "ValidationException"
    );
    let under = |condition: Value| {
        let text = json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Action": "kms:*", "Resource": "*", "Condition": condition },
        ]});
        let mut caller = role(ACCOUNT, "admin");
        let policy = Policy::parse(&text.to_string(), PolicyKind::Identity).unwrap();
        caller.identity_policies.push(Arc::new(policy));
        world.call_as(&caller, "CreateGrant", body(Some(source)))
    };
    for (key, value) in [
        ("kms:GranteeServicePrincipal", "rds.amazonaws.com"),
        ("kms:RetiringServicePrincipal", "rds.amazonaws.com"),
        ("kms:GrantConstraintSourceArn", source),
    ] {
        under(json!({ "StringEquals": { key: value } })).unwrap();
        let refused = under(json!({ "StringEquals": { key: "other" } })).unwrap_err();
        assert_eq!(refused.code, "AccessDeniedException", "{key}");
    }
    under(json!({ "Null": { "kms:GranteePrincipal": "true" } })).unwrap();
    let listed = world.ok("ListGrants", json!({ "KeyId": key }));
    let grant = &listed["Grants"][0];
    assert_eq!(grant["GranteeServicePrincipal"], "rds.amazonaws.com");
    assert_eq!(grant["RetiringServicePrincipal"], "rds.amazonaws.com");
    assert_eq!(grant["Constraints"]["SourceArn"], source);
    assert!(grant.get("GranteePrincipal").is_none());

    // Nobody here calls on behalf of a resource.
    let more = json!({ "GranteePrincipal": arn("app"), "GranteeServicePrincipal": null,
        "RetiringServicePrincipal": null });
    let mut for_role = body(Some(source));
    for_role
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    world.ok("CreateGrant", for_role);
    let blob = world.encrypt(&key, b"x", json!({}));
    let refused = world.call_as(
        &role(ACCOUNT, "app"),
        "Decrypt",
        json!({ "CiphertextBlob": blob }),
    );
    assert_eq!(refused.unwrap_err().code, "AccessDeniedException");
}

#[test]
fn permissions_without_a_key_are_asked_for_the_account_and_region() {
    let world = World::new();
    let under = |effect: &str, resource: &str| {
        let text = json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Action": "kms:*", "Resource": if effect == "Deny" { "*" } else { resource } },
            { "Effect": effect, "Action": "kms:*", "Resource": resource },
        ]});
        let mut caller = role(ACCOUNT, "admin");
        let policy = Policy::parse(&text.to_string(), PolicyKind::Identity).unwrap();
        caller.identity_policies.push(Arc::new(policy));
        caller
    };
    let here = format!("arn:aws:kms:us-east-1:{ACCOUNT}:*");
    for operation in [
        "CreateKey",
        "ListKeys",
        "ListAliases",
        "GenerateRandom",
        "DescribeCustomKeyStores",
    ] {
        let body = if operation == "GenerateRandom" {
            json!({ "NumberOfBytes": 1 })
        } else {
            json!({})
        };
        let may = |caller: &Caller| match world.call_as(caller, operation, body.clone()) {
            Ok(_) => true,
            Err(refused) => {
                assert_eq!(refused.code, "AccessDeniedException", "{operation}");
                let message = refused.message.unwrap_or_default();
                assert!(message.contains("on resource: *"), "{message}");
                false
            }
        };
        for (resource, wanted) in [
            (here.as_str(), true),
            ("arn:aws:kms:*:*:*", true),
            ("arn:aws:kms:eu-west-1:123456789012:*", false),
            ("arn:aws:kms:us-east-1:444455556666:*", false),
            ("arn:aws:kms:us-east-1:123456789012:key/*", false),
        ] {
            assert_eq!(
                may(&under("Allow", resource)),
                wanted,
                "{operation} {resource}"
            );
            assert_eq!(
                may(&under("Deny", resource)),
                !wanted,
                "{operation} {resource}"
            );
        }
    }
}

/// What is asked for by a role whose IAM policy allows everything under a condition.
#[test]
fn the_condition_keys_of_each_operation_have_their_values() {
    let world = World::new();
    let key = world.key();
    let app = arn("app");
    let grant = |more: Value| {
        let body = json!({ "KeyId": key, "GranteePrincipal": app, "Operations": ["Decrypt"] });
        import::with(body, more)
    };
    let constraint = json!({ "Constraints": { "EncryptionContextSubset": { "job": "7" } } });
    let token = world.ok("CreateGrant", grant(constraint.clone()))["GrantToken"].clone();
    let retire = json!({ "GrantToken": token, "DryRun": true });
    #[rustfmt::skip]
    let table = [
        ("CreateGrant", grant(constraint.clone()), r#"{"StringEquals":{"kms:EncryptionContext:Job":"7"}}"#, true),
        ("CreateGrant", grant(constraint.clone()), r#"{"StringEquals":{"kms:EncryptionContext:job":"8"}}"#, false),
        ("CreateGrant", grant(constraint), r#"{"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["job"]},"Null":{"kms:EncryptionContextKeys":"false"}}"#, true),
        ("CreateGrant", grant(json!({})), r#"{"Null":{"kms:EncryptionContextKeys":"false"}}"#, false),
        ("RetireGrant", retire.clone(), r#"{"StringEquals":{"kms:EncryptionContext:job":"7","kms:GrantConstraintType":"EncryptionContextSubset"}}"#, true),
        ("RetireGrant", retire, r#"{"StringEquals":{"kms:EncryptionContext:job":"8"}}"#, false),
        ("ListGrants", json!({ "KeyId": key }), r#"{"Bool":{"kms:GrantIsForAWSResource":"false"}}"#, true),
        ("ListGrants", json!({ "KeyId": key }), r#"{"Bool":{"kms:GrantIsForAWSResource":"true"}}"#, false),
        ("EnableKeyRotation", json!({ "KeyId": key }), r#"{"NumericEquals":{"kms:RotationPeriodInDays":"365"}}"#, true),
        ("EnableKeyRotation", json!({ "KeyId": key, "RotationPeriodInDays": 90 }), r#"{"NumericEquals":{"kms:RotationPeriodInDays":"365"}}"#, false),
        ("CreateKey", json!({ "MultiRegion": true }), r#"{"StringEquals":{"kms:MultiRegionKeyType":"PRIMARY"}}"#, true),
        ("CreateKey", json!({}), r#"{"Null":{"kms:MultiRegionKeyType":"true"},"Bool":{"kms:MultiRegion":"false"}}"#, true),
        ("CreateKey", json!({ "MultiRegion": true }), r#"{"StringEquals":{"kms:MultiRegionKeyType":"REPLICA"}}"#, false),
    ];
    for (operation, body, condition, wanted) in table {
        let text = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"kms:*","Resource":"*","Condition":{condition}}}]}}"#
        );
        let mut caller = role(ACCOUNT, "admin");
        let policy = Policy::parse(&text, PolicyKind::Identity).unwrap();
        caller.identity_policies.push(Arc::new(policy));
        let answer = world.call_as(&caller, operation, body);
        let refused = answer.err().map_or("", |refused| {
            let is_denied = refused.code == "AccessDeniedException";
            if is_denied { "denied" } else { "" }
        });
        assert_eq!(refused != "denied", wanted, "{operation} {condition}");
    }
    // When imported material ends.
    let pending = world.ok("CreateKey", json!({ "Origin": "EXTERNAL" }));
    let pending = &pending["KeyMetadata"]["KeyId"];
    for (date, wanted) in [
        ("2027-01-01T00:00:00Z", true),
        ("2026-01-02T00:00:00Z", false),
    ] {
        let text = json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Action": "kms:*", "Resource": "*",
              "Condition": { "DateLessThan": { "kms:ValidTo": date } } },
        ]});
        let mut caller = role(ACCOUNT, "admin");
        let policy = Policy::parse(&text.to_string(), PolicyKind::Identity).unwrap();
        caller.identity_policies.push(Arc::new(policy));
        let valid_to = START.as_secs() + 30 * 24 * 3600;
        let body = json!({ "KeyId": pending, "ImportToken": "AAAA", "EncryptedKeyMaterial": "AAAA",
            "ValidTo": valid_to });
        let refused = world
            .call_as(&caller, "ImportKeyMaterial", body)
            .unwrap_err();
        assert_eq!(
            refused.code != "AccessDeniedException",
            wanted,
            "{date}: {refused:?}"
        );
    }
}

//! Policies, grants and the texts of refusals from outside.

use super::*;

#[test]
fn the_default_policy_is_returned_in_the_layout_of_kms() {
    let world = World::new();
    let key = world.key();
    let policy = world.ok("GetKeyPolicy", json!({ "KeyId": key }));
    let expected = format!(
        "{{\n  \"Version\" : \"2012-10-17\",\n  \"Id\" : \"key-default-1\",\n  \"Statement\" : [ {{\n    \"Sid\" : \"Enable IAM User Permissions\",\n    \"Effect\" : \"Allow\",\n    \"Principal\" : {{\n      \"AWS\" : \"arn:aws:iam::{ACCOUNT}:root\"\n    }},\n    \"Action\" : \"kms:*\",\n    \"Resource\" : \"*\"\n  }} ]\n}}"
    );
    assert_eq!(
        policy,
        json!({ "Policy": expected, "PolicyName": "default" })
    );
}

pub(super) fn policy_for(principal: &str, action: &str) -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Principal": { "AWS": principal }, "Action": action, "Resource": "*",
        }],
    })
    .to_string()
}

#[test]
fn policies_that_lock_out_or_name_nobody_are_refused() {
    let world = World::new();
    let key = world.key();
    let put = |policy: &str| world.err("PutKeyPolicy", json!({ "KeyId": key, "Policy": policy }));
    let lockout = "The new key policy will not allow you to update the key policy in the future.";
    let other = policy_for(&format!("arn:aws:iam::{ACCOUNT}:role/Other"), "kms:*");
    put(&other).says("MalformedPolicyDocumentException", lockout);
    put(&policy_for(
        &format!("arn:aws:iam::{ACCOUNT}:role/*"),
        "kms:*",
    ))
    .says(
        "MalformedPolicyDocumentException",
        "Policy contains a statement with one or more invalid principals.",
    );
    put("not a policy").is_silent("MalformedPolicyDocumentException");
    assert!(put("{}").reason.unwrap().contains("lacks `Statement`"));
    let huge = policy_for(ACCOUNT, &format!("kms:{}", "a".repeat(33_000)));
    assert_eq!(put(&huge).code, "LimitExceededException");
    world
        .err("CreateKey", json!({ "Policy": other }))
        .says("MalformedPolicyDocumentException", lockout);
    // The old policy is still in place; with the bypass it is not.
    world.ok("GetKeyPolicy", json!({ "KeyId": key }));
    world.ok(
        "PutKeyPolicy",
        json!({ "KeyId": key, "Policy": other, "BypassPolicyLockoutSafetyCheck": true }),
    );
    assert_eq!(
        world.err("GetKeyPolicy", json!({ "KeyId": key })).code,
        "AccessDeniedException"
    );
}

#[test]
fn every_text_of_access_denied_is_provoked() {
    let world = World::new();
    let app = role(ACCOUNT, "app");
    let app_arn = format!("arn:aws:sts::{ACCOUNT}:assumed-role/app/session");
    let encrypt = |caller: &Caller, key: &str| {
        let body = json!({ "KeyId": key, "Plaintext": "eA==" });
        world.call_as(caller, "Encrypt", body).expect_err("denied")
    };
    let says = |refused: Refused, arn: &str, action: &str, rest: &str| {
        refused.says(
            "AccessDeniedException",
            &format!("User: {arn} is not authorized to perform: {action} {rest}"),
        );
    };
    let closed = world.key_with_policy(&policy_for(
        &format!("arn:aws:iam::{ACCOUNT}:role/x"),
        "kms:*",
    ));
    says(
        encrypt(&app, &closed),
        &app_arn,
        "kms:Encrypt",
        &format!(
            "on resource: {closed} because no resource-based policy allows the kms:Encrypt action"
        ),
    );
    let delegated = world.key();
    says(
        encrypt(&app, &delegated),
        &app_arn,
        "kms:Encrypt",
        &format!(
            "on resource: {delegated} because no identity-based policy allows the kms:Encrypt action"
        ),
    );
    let denied = with_iam(app.clone(), "Deny", "kms:Encrypt");
    says(
        encrypt(&denied, &delegated),
        &app_arn,
        "kms:Encrypt",
        &format!("on resource: {delegated} with an explicit deny in an identity-based policy"),
    );
    let mut limited = with_iam(app.clone(), "Allow", "kms:*");
    limited.session_policies = with_iam(app.clone(), "Allow", "kms:Decrypt").identity_policies;
    says(
        encrypt(&limited, &delegated),
        &app_arn,
        "kms:Encrypt",
        &format!(
            "on resource: {delegated} because no session policy allows the kms:Encrypt action"
        ),
    );
    let deny = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*" },
    ]});
    let shut = world.key_with_policy(&deny.to_string());
    says(
        encrypt(&app, &shut),
        &app_arn,
        "kms:Encrypt",
        &format!("on resource: {shut} with an explicit deny in a resource-based policy"),
    );

    let stranger = with_iam(role(OTHER, "app"), "Allow", "kms:*");
    let stranger_arn = format!("arn:aws:sts::{OTHER}:assumed-role/app/session");
    let hidden = "because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access";
    for key in [
        &delegated,
        &shut,
        &format!("arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"),
        &format!("arn:aws:kms:us-east-1:{ACCOUNT}:alias/none"),
    ] {
        says(
            encrypt(&stranger, key),
            &stranger_arn,
            "kms:Encrypt",
            &format!("on this resource {hidden}"),
        );
    }
    let blob = world.encrypt(&delegated, b"x", json!({}));
    let decrypt = json!({ "CiphertextBlob": blob });
    says(
        world
            .call_as(&stranger, "Decrypt", decrypt.clone())
            .unwrap_err(),
        &stranger_arn,
        "kms:Decrypt",
        &format!("on the resource associated with this ciphertext {hidden}"),
    );
    says(
        world.call_as(&app, "Decrypt", decrypt).unwrap_err(),
        &app_arn,
        "kms:Decrypt",
        &format!(
            "on resource: {delegated} because no identity-based policy allows the kms:Decrypt action"
        ),
    );

    says(
        world.call_as(&app, "CreateKey", json!({})).unwrap_err(),
        &app_arn,
        "kms:CreateKey",
        "on resource: * because no identity-based policy allows the kms:CreateKey action",
    );
    let creator = with_iam(app.clone(), "Allow", "kms:CreateKey");
    let tagged = json!({ "Tags": [{ "TagKey": "a", "TagValue": "b" }] });
    says(
        world.call_as(&creator, "CreateKey", tagged).unwrap_err(),
        &app_arn,
        "kms:TagResource",
        "because no identity-based policy allows the kms:TagResource action",
    );
    says(
        world
            .call_as(&app, "GenerateRandom", json!({ "NumberOfBytes": 1 }))
            .unwrap_err(),
        &app_arn,
        "kms:GenerateRandom",
        "on resource: * because no identity-based policy allows the kms:GenerateRandom action",
    );

    // Management of another account's key is not even a matter of policies.
    let open = world.key_with_policy(&policy_for("*", "kms:*"));
    assert!(
        world
            .call_as(&stranger, "DescribeKey", json!({ "KeyId": open }))
            .is_ok()
    );
    says(
        world
            .call_as(&stranger, "DisableKey", json!({ "KeyId": open }))
            .unwrap_err(),
        &stranger_arn,
        "kms:DisableKey",
        &format!("on this resource {hidden}"),
    );
}

#[test]
fn dry_runs_ask_for_everything_and_do_nothing() {
    let world = World::new();
    let key = world.key();
    let blob = world.encrypt(&key, b"x", json!({}));
    for (operation, body) in [
        (
            "Encrypt",
            json!({ "KeyId": key, "Plaintext": "eA==", "DryRun": true }),
        ),
        ("Decrypt", json!({ "CiphertextBlob": blob, "DryRun": true })),
        (
            "Decrypt",
            json!({ "KeyId": key, "DryRun": true, "DryRunModifiers": ["IGNORE_CIPHERTEXT"] }),
        ),
        (
            "ReEncrypt",
            json!({ "CiphertextBlob": blob, "DestinationKeyId": key, "DryRun": true }),
        ),
        (
            "GenerateDataKey",
            json!({ "KeyId": key, "KeySpec": "AES_256", "DryRun": true }),
        ),
        (
            "GenerateDataKeyWithoutPlaintext",
            json!({ "KeyId": key, "KeySpec": "AES_256", "DryRun": true }),
        ),
        (
            "CreateGrant",
            json!({ "KeyId": key, "GranteePrincipal": format!("arn:aws:iam::{ACCOUNT}:role/r"), "Operations": ["Decrypt"], "DryRun": true }),
        ),
    ] {
        world.err(operation, body.clone()).says(
            "DryRunOperationException",
            "The request would have succeeded, but the DryRun option is set.",
        );
        let denied = world
            .call_as(&role(ACCOUNT, "nobody"), operation, body)
            .unwrap_err();
        assert_eq!(denied.code, "AccessDeniedException", "{operation}");
    }
    assert_eq!(
        world
            .err(
                "Decrypt",
                json!({ "CiphertextBlob": "AAAA", "DryRun": true })
            )
            .code,
        "InvalidCiphertextException"
    );
    assert_eq!(
        world.ok("ListGrants", json!({ "KeyId": key }))["Grants"],
        json!([])
    );
}

#[test]
fn grants_are_created_used_listed_narrowed_retired_and_revoked() {
    let world = World::new();
    let key = world.key();
    let app = role(ACCOUNT, "app");
    let app_arn = format!("arn:aws:iam::{ACCOUNT}:role/app");
    let blob = world.encrypt(&key, b"x", json!({ "job": "7", "study": "a" }));
    let decrypt = || {
        let body =
            json!({ "CiphertextBlob": blob, "EncryptionContext": { "job": "7", "study": "a" } });
        world.call_as(&app, "Decrypt", body)
    };
    assert!(decrypt().is_err());
    let request = json!({
        "KeyId": key, "GranteePrincipal": app_arn, "RetiringPrincipal": app_arn, "Name": "n",
        "Operations": ["Decrypt", "CreateGrant"],
        "Constraints": { "EncryptionContextSubset": { "job": "7" } },
    });
    let created = world.ok("CreateGrant", request.clone());
    assert_eq!(text(&created["GrantId"]).len(), 64);
    assert_eq!(
        world.ok("CreateGrant", request)["GrantId"],
        created["GrantId"]
    );
    assert!(decrypt().is_ok());
    let listed = world.ok("ListGrants", json!({ "KeyId": key }));
    let grant = &listed["Grants"][0];
    assert_eq!(grant["Constraints"]["EncryptionContextSubset"]["job"], "7");
    assert_eq!(
        grant["IssuingAccount"],
        format!("arn:aws:iam::{ACCOUNT}:root")
    );
    assert_eq!(grant["Operations"], json!(["Decrypt", "CreateGrant"]));
    let retirable = world.ok(
        "ListRetirableGrants",
        json!({ "RetiringPrincipal": app_arn }),
    );
    assert_eq!(retirable["Grants"][0], *grant);

    let pass_on = |operations: Value, constraints: Value| {
        world.call_as(
            &app,
            "CreateGrant",
            json!({
                "KeyId": key, "GranteePrincipal": format!("arn:aws:iam::{ACCOUNT}:role/next"),
                "Operations": operations, "Constraints": constraints,
            }),
        )
    };
    assert_eq!(
        pass_on(
            json!(["Encrypt"]),
            json!({ "EncryptionContextSubset": { "job": "7" } })
        )
        .unwrap_err()
        .code,
        "AccessDeniedException"
    );
    assert_eq!(
        pass_on(json!(["Decrypt"]), json!({})).unwrap_err().code,
        "AccessDeniedException"
    );
    assert!(
        pass_on(
            json!(["Decrypt"]),
            json!({ "EncryptionContextEquals": { "job": "7", "study": "b" } })
        )
        .is_ok()
    );

    let with_token = json!({
        "CiphertextBlob": blob, "EncryptionContext": { "job": "7", "study": "a" },
        "GrantTokens": [created["GrantToken"]],
    });
    assert!(world.call_as(&app, "Decrypt", with_token).is_ok());
    let refused = world.err(
        "DescribeKey",
        json!({ "KeyId": key, "GrantTokens": ["nonsense"] }),
    );
    assert_eq!(refused.code, "InvalidGrantTokenException");
    world
        .call_as(
            &app,
            "RetireGrant",
            json!({ "GrantToken": created["GrantToken"] }),
        )
        .unwrap();
    assert!(decrypt().is_err());
    let rest = world.ok("ListGrants", json!({ "KeyId": key }));
    let id = text(&rest["Grants"][0]["GrantId"]);
    world.ok("RevokeGrant", json!({ "KeyId": key, "GrantId": id }));
    assert_eq!(
        world
            .err("RevokeGrant", json!({ "KeyId": key, "GrantId": id }))
            .code,
        "NotFoundException"
    );
    assert_eq!(
        world
            .err(
                "CreateGrant",
                json!({ "KeyId": key, "GranteePrincipal": app_arn, "Operations": ["Sign"] })
            )
            .code,
        "ValidationException"
    );
    assert_eq!(
        world
            .err("RetireGrant", json!({ "GrantToken": "AAAA" }))
            .code,
        "InvalidGrantTokenException"
    );
}

#[test]
fn a_boundary_and_a_federated_session_are_refused_in_the_words_of_aws() {
    let world = World::new();
    let key = world.key();
    let encrypt = |caller: &Caller, key: &str| {
        let body = json!({ "KeyId": key, "Plaintext": "eA==" });
        world.call_as(caller, "Encrypt", body)
    };
    let alice = Caller::new(Principal::User {
        account: ACCOUNT.into(),
        path_name: "alice".into(),
    });
    let mut bounded = with_iam(alice.clone(), "Allow", "kms:*");
    let boundary = |effect: &str, action: &str| {
        with_iam(alice.clone(), effect, action)
            .identity_policies
            .pop()
    };
    bounded.boundary = boundary("Allow", "kms:Decrypt");
    let arn = format!("arn:aws:iam::{ACCOUNT}:user/alice");
    let start = format!("User: {arn} is not authorized to perform: kms:Encrypt on resource: {key}");
    encrypt(&bounded, &key).unwrap_err().says(
        "AccessDeniedException",
        &format!("{start} because no permissions boundary allows the kms:Encrypt action"),
    );
    let named = world.key_with_policy(&policy_for(&arn, "kms:*"));
    encrypt(&bounded, &named).unwrap();
    bounded.boundary = boundary("Deny", "kms:Encrypt");
    encrypt(&bounded, &key).unwrap_err().says(
        "AccessDeniedException",
        &format!("{start} with an explicit deny in a permissions boundary"),
    );
    encrypt(&bounded, &named).unwrap_err();

    let bob = Caller::new(Principal::FederatedUser {
        account: ACCOUNT.into(),
        name: "Bob".into(),
        by: Some("alice".into()),
    });
    let bob_arn = format!("arn:aws:sts::{ACCOUNT}:federated-user/Bob");
    encrypt(&with_iam(bob.clone(), "Allow", "kms:*"), &key)
        .unwrap_err()
        .says(
            "AccessDeniedException",
            &format!(
                "User: {bob_arn} is not authorized to perform: kms:Encrypt on resource: {key} because no session policy allows the kms:Encrypt action"
            ),
        );
    let his = world.key_with_policy(&policy_for(&bob_arn, "kms:*"));
    encrypt(&bob, &his).unwrap();
    let records = world.kms.audit().records();
    let event = records.last().unwrap().event();
    assert_eq!(
        event["userIdentity"],
        json!({
            "type": "FederatedUser", "arn": bob_arn, "accountId": ACCOUNT,
            "principalId": format!("{ACCOUNT}:Bob"),
            "sessionContext": { "sessionIssuer": {
                "type": "IAMUser", "arn": arn, "accountId": ACCOUNT, "userName": "alice",
            } },
        })
    );
    // A grant is for the federated user itself, not for the user behind it.
    let grant = |grantee: &str| {
        let body = json!({ "KeyId": key, "GranteePrincipal": grantee, "Operations": ["Encrypt"] });
        world.ok("CreateGrant", body);
    };
    let mut allowed = bob.clone();
    allowed.session_policies = with_iam(bob, "Allow", "kms:*").identity_policies;
    grant(&arn);
    encrypt(&allowed, &key).unwrap_err();
    grant(&bob_arn);
    encrypt(&allowed, &key).unwrap();
}

//! Permissions boundaries: set, shown, asked for, and in force.

use super::*;

const READ_ONLY: &str =
    r#"{"Statement":{"Effect":"Allow","Action":["iam:List*","iam:Get*"],"Resource":"*"}}"#;
const ALL: &str = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;

/// The ARN of a new managed policy.
fn policy(iam: &Iam, name: &str, document: &str) -> String {
    let form = format!(
        "Action=CreatePolicy&PolicyName={name}&PolicyDocument={}",
        encoded(document)
    );
    let made = ok(iam, &Identity::root("123456789012"), &form);
    text(&made, "Arn").to_owned()
}

#[test]
fn a_boundary_is_shown_counted_in_the_way_of_its_policy_and_taken_away() {
    let (iam, root) = (world(), Identity::root("123456789012"));
    let arn = policy(&iam, "p", READ_ONLY);
    let trust = encoded(
        r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}}"#,
    );
    let shown = format!(
        "<PermissionsBoundary><PermissionsBoundaryType>Policy</PermissionsBoundaryType>\
         <PermissionsBoundaryArn>{arn}</PermissionsBoundaryArn></PermissionsBoundary>"
    );
    for kind in ["User", "Role"] {
        let named = format!("{kind}Name=it");
        let made = ok(
            &iam,
            &root,
            &format!(
                "Action=Create{kind}&{named}&AssumeRolePolicyDocument={trust}&PermissionsBoundary={arn}"
            ),
        );
        assert!(made.contains(&shown), "{made}");
        let get = || ok(&iam, &root, &format!("Action=Get{kind}&{named}"));
        assert!(get().contains(&shown), "{}", get());
        let list = ok(&iam, &root, &format!("Action=List{kind}s"));
        assert!(!list.contains("PermissionsBoundary"), "{list}");
        let uses = ok(&iam, &root, &format!("Action=GetPolicy&PolicyArn={arn}"));
        assert_eq!(text(&uses, "PermissionsBoundaryUsageCount"), "1");
        assert_eq!(text(&uses, "AttachmentCount"), "0");
        let delete_policy = format!("Action=DeletePolicy&PolicyArn={arn}");
        refused(&iam, &root, &delete_policy, "DeleteConflict");
        ok(
            &iam,
            &root,
            &format!("Action=Delete{kind}PermissionsBoundary&{named}"),
        );
        assert!(!get().contains("PermissionsBoundary"), "{}", get());
        ok(
            &iam,
            &root,
            &format!("Action=Put{kind}PermissionsBoundary&{named}&PermissionsBoundary={arn}"),
        );
        assert!(get().contains(&shown), "{}", get());
        // A boundary does not keep anybody from being deleted.
        ok(&iam, &root, &format!("Action=Delete{kind}&{named}"));
    }
    ok(&iam, &root, &format!("Action=DeletePolicy&PolicyArn={arn}"));
}

#[test]
fn what_is_no_boundary_is_told_as_recorded_on_aws() {
    let (iam, root) = (world(), Identity::root("123456789012"));
    ok(&iam, &root, "Action=CreateUser&UserName=alice");
    let no_policy = "arn:aws:iam::123456789012:not_a_policy/invalid";
    let nowhere = "arn:aws:iam::123456789012:policy/nonexistent";
    for start in [
        "Action=PutUserPermissionsBoundary&UserName=alice",
        "Action=CreateUser&UserName=bob",
    ] {
        for (arn, status, code, message) in [
            (
                no_policy,
                400,
                "InvalidInput",
                format!("ARN {no_policy} is not valid."),
            ),
            (
                nowhere,
                404,
                "NoSuchEntity",
                format!("Scope ARN: {nowhere} does not exist or is not attachable."),
            ),
        ] {
            let (got, body) = call(&iam, &root, &format!("{start}&PermissionsBoundary={arn}"));
            assert_eq!((got, text(&body, "Code")), (status, code), "{body}");
            assert_eq!(text(&body, "Message"), message);
        }
    }
    refused(&iam, &root, "Action=GetUser&UserName=bob", "NoSuchEntity");
    let unheard_of = "Action=CreateUser&UserName=bob\
                      &PermissionsBoundary=arn:aws:iam::aws:policy/Unheard-of";
    refused(&iam, &root, unheard_of, "NoSuchEntity");
}

#[test]
fn a_policy_is_shown_versioned_and_tagged_as_recorded_on_aws() {
    let (iam, root) = (world(), Identity::root("123456789012"));
    let document = encoded(READ_ONLY);
    let form =
        format!("Action=CreatePolicy&PolicyName=p&Description=what&PolicyDocument={document}");
    let made = ok(&iam, &root, &form);
    let arn = text(&made, "Arn").to_owned();
    let get = || ok(&iam, &root, &format!("Action=GetPolicy&PolicyArn={arn}"));
    let list = ok(&iam, &root, "Action=ListPolicies&Scope=Local");
    for (shown, with_description, with_tags) in [
        (&made, false, false),
        (&get(), true, true),
        (&list, false, false),
    ] {
        assert_eq!(shown.contains("<Description>"), with_description, "{shown}");
        assert_eq!(shown.contains("<Tags>"), with_tags, "{shown}");
    }
    let tag =
        format!("Action=TagPolicy&PolicyArn={arn}&Tags.member.1.Key=Team&Tags.member.1.Value=a");
    ok(&iam, &root, &tag);
    let tags = ok(
        &iam,
        &root,
        &format!("Action=ListPolicyTags&PolicyArn={arn}"),
    );
    assert!(
        tags.contains("<member><Key>Team</Key><Value>a</Value></member>"),
        "{tags}"
    );
    ok(
        &iam,
        &root,
        &format!("Action=UntagPolicy&PolicyArn={arn}&TagKeys.member.1=team"),
    );
    assert!(!get().contains("<Key>"), "{}", get());

    let version = format!("Action=CreatePolicyVersion&PolicyArn={arn}&PolicyDocument={document}");
    for _ in 2..=5 {
        ok(&iam, &root, &version);
    }
    let missing = "arn:aws:iam::123456789012:policy/none";
    let pattern = r"1 validation error detected: Value at 'versionId' failed to satisfy constraint: Member must satisfy regular expression pattern: v[1-9][0-9]*(\.[A-Za-z0-9-]*)?";
    for (form, status, message) in [
        (
            version.clone(),
            409,
            "A managed policy can have up to 5 versions. Before you create a new version, you \
             must delete an existing version."
                .to_owned(),
        ),
        (
            format!("Action=GetPolicyVersion&VersionId=1&PolicyArn={arn}"),
            400,
            pattern.to_owned(),
        ),
        (
            format!("Action=GetPolicyVersion&VersionId=v9&PolicyArn={arn}"),
            404,
            format!("Policy {arn} version v9 does not exist or is not attachable."),
        ),
        (
            format!("Action=SetDefaultPolicyVersion&VersionId=v1&PolicyArn={missing}"),
            404,
            format!("Policy {missing} version v1 does not exist or is not attachable."),
        ),
        (
            format!("Action=DeletePolicyVersion&VersionId=v1&PolicyArn={arn}"),
            409,
            "Cannot delete the default version of a policy.".to_owned(),
        ),
        (
            "Action=CreateUser&UserName=a&Path=a".to_owned(),
            400,
            "The specified value for path is invalid. It must begin and end with / and contain \
             only alphanumeric characters and/or / characters."
                .to_owned(),
        ),
    ] {
        let (got, body) = call(&iam, &root, &form);
        assert_eq!(got, status, "{form}: {body}");
        assert_eq!(text(&body, "Message"), message);
    }
}

#[test]
fn a_role_is_shown_as_recorded_on_aws() {
    let (iam, root) = (world(), Identity::root("123456789012"));
    let trust = encoded(
        r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}}"#,
    );
    let form =
        format!("Action=CreateRole&RoleName=r&Description=what&AssumeRolePolicyDocument={trust}");
    let made = ok(&iam, &root, &form);
    let got = ok(&iam, &root, "Action=GetRole&RoleName=r");
    let listed = ok(&iam, &root, "Action=ListRoles");
    let form = "Action=UpdateRoleDescription&RoleName=r&Description=what";
    let described = ok(&iam, &root, form);
    for (shown, members) in [
        (&made, ["", "", ""]),
        (&got, ["Description", "MaxSessionDuration", "RoleLastUsed"]),
        (&listed, ["Description", "MaxSessionDuration", ""]),
        (&described, ["Description", "", ""]),
    ] {
        for (name, wanted) in ["Description", "MaxSessionDuration", "RoleLastUsed"]
            .into_iter()
            .zip(members)
        {
            assert_eq!(
                shown.contains(&format!("<{name}>")),
                name == wanted,
                "{name}: {shown}"
            );
        }
    }
}

#[test]
fn a_user_and_a_role_do_what_their_policies_and_their_boundary_both_allow() {
    let (iam, root) = (world(), Identity::root("123456789012"));
    let arn = policy(&iam, "p", READ_ONLY);
    role_for_all(&iam, &root, "r");
    ok(&iam, &root, "Action=CreateUser&UserName=alice");
    let key = iam.create_access_key("123456789012", "alice").unwrap();
    let session = ok(&iam, &root, ASSUME);
    let session = text(&session, "AccessKeyId").to_owned();
    for (kind, name, key) in [
        ("User", "alice", key.access_key_id.as_str()),
        ("Role", "r", &session),
    ] {
        let caller = || identity_of(&iam, key).unwrap();
        let named = format!("{kind}Name={name}");
        let put = |document: &str| {
            let document = encoded(document);
            let form =
                format!("Action=Put{kind}Policy&{named}&PolicyName=p&PolicyDocument={document}");
            ok(&iam, &root, &form);
        };
        put(ALL);
        let create = format!("Action=CreateUser&UserName=by-{name}");
        ok(&iam, &caller(), &create);
        let bound =
            format!("Action=Put{kind}PermissionsBoundary&{named}&PermissionsBoundary={arn}");
        ok(&iam, &root, &bound);
        ok(&iam, &caller(), "Action=ListUsers");
        let (status, body) = call(&iam, &caller(), &create);
        assert_eq!(status, 403);
        let words = "because no permissions boundary allows the iam:CreateUser action";
        assert!(body.contains(words), "{body}");
        // A boundary gives nothing.
        put(r#"{"Statement":{"Effect":"Allow","Action":"kms:*","Resource":"*"}}"#);
        let (_, body) = call(&iam, &caller(), "Action=ListUsers");
        let words = "because no identity-based policy allows the iam:ListUsers action";
        assert!(body.contains(words), "{body}");
    }
}

#[test]
fn the_newest_default_version_of_the_boundary_counts_and_its_deny_is_named() {
    let (iam, root) = (world(), Identity::root("123456789012"));
    let arn = policy(&iam, "p", ALL);
    let form = format!("Action=CreateUser&UserName=alice&PermissionsBoundary={arn}");
    ok(&iam, &root, &form);
    iam.put_user_policy("123456789012", "alice", "all", ALL)
        .unwrap();
    let key = iam.create_access_key("123456789012", "alice").unwrap();
    let alice = || identity_of(&iam, &key.access_key_id).unwrap();
    ok(&iam, &alice(), "Action=ListUsers");
    let second = encoded(
        r#"{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"iam:ListUsers","Resource":"*"}]}"#,
    );
    let form = format!(
        "Action=CreatePolicyVersion&PolicyArn={arn}&SetAsDefault=true&PolicyDocument={second}"
    );
    ok(&iam, &root, &form);
    let (_, body) = call(&iam, &alice(), "Action=ListUsers");
    assert!(
        body.contains("with an explicit deny in a permissions boundary"),
        "{body}"
    );
    ok(&iam, &alice(), "Action=ListRoles");
}

#[test]
fn whoever_may_make_users_within_a_boundary_only_makes_no_others() {
    let (iam, root) = (world(), Identity::root("123456789012"));
    let (inner, outer) = (policy(&iam, "inner", READ_ONLY), policy(&iam, "outer", ALL));
    ok(&iam, &root, "Action=CreateUser&UserName=admin");
    let only_within = format!(
        r#"{{"Statement":{{"Effect":"Allow","Action":["iam:CreateUser","iam:PutUserPolicy","iam:PutUserPermissionsBoundary"],"Resource":"*","Condition":{{"StringEquals":{{"iam:PermissionsBoundary":"{inner}"}}}}}}}}"#
    );
    iam.put_user_policy("123456789012", "admin", "p", &only_within)
        .unwrap();
    let key = iam.create_access_key("123456789012", "admin").unwrap();
    let admin = identity_of(&iam, &key.access_key_id).unwrap();
    let create = "Action=CreateUser&UserName=a";
    refused(&iam, &admin, create, "AccessDenied");
    let with = |arn: &str| format!("{create}&PermissionsBoundary={arn}");
    refused(&iam, &admin, &with(&outer), "AccessDenied");
    ok(&iam, &admin, &with(&inner));
    ok(&iam, &root, "Action=CreateUser&UserName=b");
    let document = encoded(ALL);
    let put = |user: &str| {
        format!("Action=PutUserPolicy&UserName={user}&PolicyName=p&PolicyDocument={document}")
    };
    ok(&iam, &admin, &put("a"));
    refused(&iam, &admin, &put("b"), "AccessDenied");
    let widen = format!("Action=PutUserPermissionsBoundary&UserName=a&PermissionsBoundary={outer}");
    refused(&iam, &admin, &widen, "AccessDenied");
    refused(
        &iam,
        &admin,
        "Action=DeleteUserPermissionsBoundary&UserName=a",
        "AccessDenied",
    );
}

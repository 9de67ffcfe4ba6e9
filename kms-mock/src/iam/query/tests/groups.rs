//! Groups, their members and what those have of them.

use super::*;

const ACCOUNT: &str = "123456789012";

fn message(iam: &Iam, form: &str) -> String {
    let (_, body) = call(iam, &Identity::root(ACCOUNT), form);
    text(&body, "Message").to_owned()
}

#[test]
fn a_group_is_made_listed_filled_emptied_and_deleted() {
    let (iam, root) = (world(), Identity::root(ACCOUNT));
    let create = "Action=CreateGroup&GroupName=ops&Path=/team/";
    let made = ok(&iam, &root, create);
    assert_eq!(
        text(&made, "Arn"),
        "arn:aws:iam::123456789012:group/team/ops"
    );
    assert!(text(&made, "GroupId").starts_with("AGPA"), "{made}");
    refused(&iam, &root, create, "EntityAlreadyExists");
    assert_eq!(message(&iam, create), "Group with name ops already exists.");
    ok(&iam, &root, "Action=CreateGroup&GroupName=other");
    for (form, count) in [
        ("", 2),
        ("&PathPrefix=/team/", 1),
        ("&PathPrefix=/none/", 0),
    ] {
        let listed = ok(&iam, &root, &format!("Action=ListGroups{form}"));
        assert_eq!(listed.matches("<GroupName>").count(), count, "{listed}");
    }
    ok(&iam, &root, "Action=CreateUser&UserName=alice");
    let add = "Action=AddUserToGroup&UserName=alice&GroupName=ops";
    ok(&iam, &root, add);
    ok(&iam, &root, add); // once more is no mistake
    let got = ok(&iam, &root, "Action=GetGroup&GroupName=ops");
    assert_eq!(
        got.matches("<UserName>alice</UserName>").count(),
        1,
        "{got}"
    );
    assert_eq!(text(&got, "IsTruncated"), "false");
    let of_alice = || ok(&iam, &root, "Action=ListGroupsForUser&UserName=alice");
    assert_eq!(text(&of_alice(), "GroupName"), "ops");
    refused(
        &iam,
        &root,
        "Action=DeleteGroup&GroupName=ops",
        "DeleteConflict",
    );
    refused(
        &iam,
        &root,
        "Action=DeleteUser&UserName=alice",
        "DeleteConflict",
    );
    let remove = "Action=RemoveUserFromGroup&UserName=alice&GroupName=ops";
    ok(&iam, &root, remove);
    ok(&iam, &root, remove);
    assert!(!of_alice().contains("<GroupName>"), "{}", of_alice());
    ok(&iam, &root, "Action=DeleteGroup&GroupName=ops");
    ok(&iam, &root, "Action=DeleteUser&UserName=alice");
    refused(&iam, &root, "Action=GetGroup&GroupName=ops", "NoSuchEntity");
}

#[test]
fn what_is_not_there_is_named_as_recorded_on_aws() {
    let (iam, root) = (world(), Identity::root(ACCOUNT));
    ok(&iam, &root, "Action=CreateUser&UserName=alice");
    ok(&iam, &root, "Action=CreateGroup&GroupName=ops");
    for (form, wanted) in [
        (
            "GetGroup&GroupName=none",
            "The group with name none cannot be found.",
        ),
        (
            "DeleteGroup&GroupName=none",
            "The group with name none cannot be found.",
        ),
        (
            "AddUserToGroup&UserName=none&GroupName=ops",
            "The user with name none cannot be found.",
        ),
        (
            "AddUserToGroup&UserName=alice&GroupName=none",
            "The group with name none cannot be found.",
        ),
        (
            "RemoveUserFromGroup&UserName=none&GroupName=none",
            "The user with name none cannot be found.",
        ),
        (
            "GetGroupPolicy&GroupName=ops&PolicyName=p",
            "The group policy with name p cannot be found.",
        ),
        (
            "DetachGroupPolicy&GroupName=ops&PolicyArn=arn:aws:iam::aws:policy/AdministratorAccess",
            "Policy arn:aws:iam::aws:policy/AdministratorAccess was not found.",
        ),
    ] {
        refused(&iam, &root, &format!("Action={form}"), "NoSuchEntity");
        assert_eq!(message(&iam, &format!("Action={form}")), wanted, "{form}");
    }
    for form in [
        "TagGroup&GroupName=ops",
        "PutGroupPermissionsBoundary&GroupName=ops",
    ] {
        refused(&iam, &root, &format!("Action={form}"), "InvalidAction");
    }
}

#[test]
fn a_member_has_the_policies_of_its_groups_as_long_as_it_is_one() {
    let (iam, root) = (world(), Identity::root(ACCOUNT));
    ok(&iam, &root, "Action=CreateUser&UserName=alice");
    ok(&iam, &root, "Action=CreateGroup&GroupName=ops");
    let key = iam.create_access_key(ACCOUNT, "alice").unwrap();
    let may_list = || {
        let alice = identity_of(&iam, &key.access_key_id).unwrap();
        call(&iam, &alice, "Action=ListUsers").0 == 200
    };
    let document =
        encoded(r#"{"Statement":{"Effect":"Allow","Action":"iam:List*","Resource":"*"}}"#);
    let put = format!("Action=PutGroupPolicy&GroupName=ops&PolicyName=p&PolicyDocument={document}");
    ok(&iam, &root, &put);
    assert!(!may_list());
    ok(
        &iam,
        &root,
        "Action=AddUserToGroup&UserName=alice&GroupName=ops",
    );
    assert!(may_list());
    let got = ok(
        &iam,
        &root,
        "Action=GetGroupPolicy&GroupName=ops&PolicyName=p",
    );
    assert_eq!(text(&got, "PolicyDocument"), document);
    assert_eq!(text(&got, "GroupName"), "ops");
    refused(
        &iam,
        &root,
        "Action=DeleteGroup&GroupName=ops",
        "DeleteConflict",
    );
    ok(
        &iam,
        &root,
        "Action=DeleteGroupPolicy&GroupName=ops&PolicyName=p",
    );
    assert!(!may_list());
    let arn = "arn:aws:iam::aws:policy/AdministratorAccess";
    ok(
        &iam,
        &root,
        &format!("Action=AttachGroupPolicy&GroupName=ops&PolicyArn={arn}"),
    );
    assert!(may_list());
    let attached = ok(
        &iam,
        &root,
        "Action=ListAttachedGroupPolicies&GroupName=ops",
    );
    assert_eq!(text(&attached, "PolicyArn"), arn);
    // A group's Deny is its members' Deny.
    let deny =
        encoded(r#"{"Statement":{"Effect":"Deny","Action":"iam:ListUsers","Resource":"*"}}"#);
    let put = format!("Action=PutGroupPolicy&GroupName=ops&PolicyName=p&PolicyDocument={deny}");
    ok(&iam, &root, &put);
    assert!(!may_list());
    ok(
        &iam,
        &root,
        "Action=DeleteGroupPolicy&GroupName=ops&PolicyName=p",
    );
    assert!(may_list());
    ok(
        &iam,
        &root,
        "Action=RemoveUserFromGroup&UserName=alice&GroupName=ops",
    );
    assert!(!may_list());
}

#[test]
fn a_group_is_no_principal_and_a_user_is_in_ten_groups_at_most() {
    let (iam, root) = (world(), Identity::root(ACCOUNT));
    ok(&iam, &root, "Action=CreateUser&UserName=alice");
    for n in 0..11 {
        ok(&iam, &root, &format!("Action=CreateGroup&GroupName=g{n}"));
    }
    let add = |n: u32| format!("Action=AddUserToGroup&UserName=alice&GroupName=g{n}");
    for n in 0..10 {
        ok(&iam, &root, &add(n));
    }
    refused(&iam, &root, &add(10), "LimitExceeded");
    ok(&iam, &root, &add(9));
    let trust = encoded(
        r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:group/g0"},"Action":"sts:AssumeRole"}}"#,
    );
    let role = format!("Action=CreateRole&RoleName=r&AssumeRolePolicyDocument={trust}");
    refused(&iam, &root, &role, "MalformedPolicyDocument");
}

//! Tags, source identities and federated users: who is who behind a session.

use super::*;

const ACCOUNT: &str = "123456789012";

/// A role whose trust policy allows `actions` to the account under `condition`,
/// with a policy that allows everything.
fn role(iam: &Iam, name: &str, actions: &str, condition: &str) {
    let trust = format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Principal":{{"AWS":"*"}},"Action":{actions},"Condition":{condition}}}}}"#
    );
    iam.create_role(ACCOUNT, &crate::iam::NewRole::named(name, &trust))
        .unwrap();
    let all = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
    iam.put_role_policy(ACCOUNT, name, "all", all).unwrap();
}

fn assume(name: &str) -> String {
    format!("Action=AssumeRole&RoleSessionName=ab&RoleArn=arn:aws:iam::{ACCOUNT}:role/{name}")
}

/// `&Tags…` of the query protocol.
fn tags(tags: &[(&str, &str)]) -> String {
    let member = |(at, (key, value)): (usize, &(&str, &str))| {
        let n = at + 1;
        format!("&Tags.member.{n}.Key={key}&Tags.member.{n}.Value={value}")
    };
    tags.iter().enumerate().map(member).collect()
}

fn session(iam: &Iam, caller: &Identity, form: &str) -> Identity {
    identity_of(iam, text(&ok(iam, caller, form), "AccessKeyId")).unwrap()
}

/// Whether a session may do `action`, as its role's policy under a condition says.
fn satisfies(iam: &Iam, role: &str, caller: &Identity, condition: &str) -> bool {
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":"iam:ListUsers","Resource":"*","Condition":{condition}}}}}"#
    );
    iam.put_role_policy(ACCOUNT, role, "all", &policy).unwrap();
    // Policies count as they are now.
    let key = keys_of(iam, caller).remove(0);
    let now = identity_of(iam, &key).unwrap();
    call(iam, &now, "Action=ListUsers").0 == 200
}

/// The access keys that stand for the caller.
fn keys_of(iam: &Iam, caller: &Identity) -> Vec<String> {
    let ids: Vec<String> = iam.read().key_ids().collect();
    ids.into_iter()
        .filter(|id| identity_of(iam, id).is_some_and(|it| it.principal == caller.principal))
        .collect()
}

const BOTH: &str = r#"["sts:AssumeRole","sts:TagSession"]"#;

#[test]
fn a_session_has_tags_only_where_the_role_trusts_to_tag() {
    let (iam, root) = (world(), Identity::root(ACCOUNT));
    role(&iam, "r", r#""sts:AssumeRole""#, "{}");
    let tagged = format!("{}{}", assume("r"), tags(&[("Team", "imaging")]));
    ok(&iam, &root, &assume("r"));
    let (status, body) = call(&iam, &root, &tagged);
    assert_eq!(status, 403, "{body}");
    let words = "is not authorized to perform: sts:TagSession on resource: \
                 arn:aws:iam::123456789012:role/r because no role trust policy allows the \
                 sts:TagSession action";
    assert!(body.contains(words), "{body}");
    role(&iam, "t", BOTH, "{}");
    ok(
        &iam,
        &root,
        &format!("{}{}", assume("t"), tags(&[("Team", "imaging")])),
    );
}

#[test]
fn a_trust_policy_says_which_tags_a_session_must_and_may_have() {
    let (iam, root) = (world(), Identity::root(ACCOUNT));
    let condition = r#"{"StringEquals":{"aws:RequestTag/team":["a","b"]},
        "ForAllValues:StringEquals":{"aws:TagKeys":["Team","job"],"sts:TransitiveTagKeys":["Team"]}}"#;
    role(&iam, "r", BOTH, condition);
    let transitive = |key: &str| format!("&TransitiveTagKeys.member.1={key}");
    let asked = |tagged: &[(&str, &str)], more: &str| {
        let form = format!("{}{}{more}", assume("r"), tags(tagged));
        call(&iam, &root, &form).0
    };
    assert_eq!(asked(&[], ""), 403, "a tag is asked for");
    assert_eq!(asked(&[("Team", "a")], ""), 200);
    assert_eq!(asked(&[("Team", "c")], ""), 403);
    assert_eq!(asked(&[("Team", "a"), ("job", "7")], ""), 200);
    assert_eq!(asked(&[("Team", "a"), ("other", "7")], ""), 403);
    assert_eq!(asked(&[("Team", "a")], &transitive("Team")), 200);
    assert_eq!(
        asked(&[("Team", "a"), ("job", "7")], &transitive("job")),
        403
    );
}

#[test]
fn tags_of_a_principal_are_those_of_its_role_and_over_them_its_sessions() {
    let (iam, root) = (world(), Identity::root(ACCOUNT));
    role(&iam, "r", BOTH, "{}");
    let own = format!(
        "Action=TagRole&RoleName=r{}",
        tags(&[("Team", "own"), ("site", "x")])
    );
    ok(&iam, &root, &own);
    let team = |value: &str| {
        format!(
            r#"{{"StringEquals":{{"aws:PrincipalTag/TEAM":"{value}","aws:PrincipalTag/site":"x"}}}}"#
        )
    };
    let plain = session(&iam, &root, &assume("r"));
    assert!(satisfies(&iam, "r", &plain, &team("own")));
    let name = assume("r").replace("=ab", "=cd");
    let tagged = session(&iam, &root, &format!("{name}{}", tags(&[("team", "its")])));
    assert!(satisfies(&iam, "r", &tagged, &team("its")));
    assert!(!satisfies(&iam, "r", &tagged, &team("own")));
    assert!(
        satisfies(&iam, "r", &plain, &team("own")),
        "another session"
    );
}

#[test]
fn a_policy_variable_takes_the_tag_of_the_user() {
    let (iam, root) = (world(), Identity::root(ACCOUNT));
    ok(
        &iam,
        &root,
        &format!(
            "Action=CreateUser&UserName=alice{}",
            tags(&[("Boss", "bob")])
        ),
    );
    for name in ["bob", "eve"] {
        ok(&iam, &root, &format!("Action=CreateUser&UserName={name}"));
    }
    let policy = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iam:GetUser","Resource":"arn:aws:iam::123456789012:user/${aws:PrincipalTag/boss}"}}"#;
    iam.put_user_policy(ACCOUNT, "alice", "p", policy).unwrap();
    let key = iam.create_access_key(ACCOUNT, "alice").unwrap();
    let alice = || identity_of(&iam, &key.access_key_id).unwrap();
    ok(&iam, &alice(), "Action=GetUser&UserName=bob");
    refused(
        &iam,
        &alice(),
        "Action=GetUser&UserName=eve",
        "AccessDenied",
    );
    ok(
        &iam,
        &root,
        "Action=UntagUser&UserName=alice&TagKeys.member.1=BOSS",
    );
    refused(
        &iam,
        &alice(),
        "Action=GetUser&UserName=bob",
        "AccessDenied",
    );
}

#[test]
fn transitive_tags_go_along_a_chain_of_roles_and_need_its_trust() {
    let (iam, root) = (world(), Identity::root(ACCOUNT));
    role(&iam, "first", BOTH, "{}");
    role(&iam, "second", BOTH, "{}");
    role(&iam, "third", r#""sts:AssumeRole""#, "{}");
    let form = format!(
        "{}{}&TransitiveTagKeys.member.1=team",
        assume("first"),
        tags(&[("Team", "a"), ("job", "7")])
    );
    let first = session(&iam, &root, &form);
    let second = session(&iam, &first, &assume("second"));
    let equals = |tag: &str, value: &str| {
        format!(r#"{{"StringEquals":{{"aws:PrincipalTag/{tag}":"{value}"}}}}"#)
    };
    assert!(satisfies(&iam, "second", &second, &equals("Team", "a")));
    assert!(!satisfies(&iam, "second", &second, &equals("job", "7")));
    for key in ["Team", "TEAM"] {
        let form = format!("{}{}", assume("second"), tags(&[(key, "b")]));
        let (status, body) = call(&iam, &first, &form);
        assert_eq!(
            (status, text(&body, "Code")),
            (400, "InvalidParameterValue")
        );
        assert_eq!(
            text(&body, "Message"),
            "One of the specified transitive tag keys can't be set because it conflicts with a \
             transitive tag key from the calling session."
        );
    }
    // "third" does not trust anybody to tag, inherited or not.
    refused(&iam, &first, &assume("third"), "AccessDenied");
    ok(&iam, &root, &assume("third"));
}

#[test]
fn tags_that_aws_refuses_are_refused_as_recorded() {
    let (iam, root) = (world(), Identity::root(ACCOUNT));
    role(&iam, "r", BOTH, "{}");
    let (create, assume) = ("Action=CreateUser&UserName=a".to_owned(), assume("r"));
    let long = "k".repeat(129);
    let twice = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
    let unfit = |place: &str, what: &str| {
        format!(
            "1 validation error detected: Value at '{place}' failed to satisfy constraint: {what}"
        )
    };
    let characters = r"Member must satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]+";
    let many: Vec<String> = (0..51).map(|n| n.to_string()).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|it| (it.as_str(), "v")).collect();
    for (start, given, code, message) in [
        (
            &create,
            tags(&[("a", "1"), ("A", "2")]),
            "InvalidInput",
            twice.to_owned(),
        ),
        (
            &assume,
            tags(&[("a", "1"), ("A", "2")]),
            "InvalidParameterValue",
            twice.to_owned(),
        ),
        (
            &create,
            tags(&[(&long, "")]),
            "ValidationError",
            unfit(
                "tags.1.member.key",
                "Member must have length less than or equal to 128",
            ),
        ),
        (
            &create,
            tags(&[("k", &"v".repeat(257))]),
            "ValidationError",
            unfit(
                "tags.1.member.value",
                "Member must have length less than or equal to 256",
            ),
        ),
        (
            &create,
            tags(&[("k", ""), ("a%26b", "")]),
            "ValidationError",
            unfit("tags.2.member.key", characters),
        ),
        (
            &create,
            tags(&many),
            "ValidationError",
            unfit("tags", "Member must have length less than or equal to 50"),
        ),
        (
            &assume,
            format!("{}&TransitiveTagKeys.member.1=b", tags(&[("a", "1")])),
            "InvalidParameterValue",
            "The specified transitive tag key must be included in the requested tags.".to_owned(),
        ),
    ] {
        let (status, body) = call(&iam, &root, &format!("{start}{given}"));
        assert_eq!((status, text(&body, "Code")), (400, code), "{body}");
        assert_eq!(text(&body, "Message"), message);
    }
    refused(&iam, &root, "Action=GetUser&UserName=a", "NoSuchEntity");
}

#[test]
fn a_source_identity_stays_along_the_chain_and_nobody_changes_it() {
    let (iam, root) = (world(), Identity::root(ACCOUNT));
    let may_set = r#"["sts:AssumeRole","sts:SetSourceIdentity"]"#;
    let dana = r#"{"StringEquals":{"sts:SourceIdentity":"dana"}}"#;
    role(&iam, "first", may_set, dana);
    role(&iam, "second", may_set, "{}");
    role(&iam, "third", r#""sts:AssumeRole""#, "{}");
    let with = |role: &str, name: &str| format!("{}&SourceIdentity={name}", assume(role));
    refused(&iam, &root, &assume("first"), "AccessDenied");
    refused(&iam, &root, &with("first", "eve"), "AccessDenied");
    refused(&iam, &root, &with("third", "dana"), "AccessDenied");
    refused(&iam, &root, &with("first", "a%20b"), "ValidationError");
    let made = ok(&iam, &root, &with("first", "dana"));
    assert_eq!(text(&made, "SourceIdentity"), "dana");
    let first = identity_of(&iam, text(&made, "AccessKeyId")).unwrap();
    refused(&iam, &first, &with("second", "eve"), "AccessDenied");
    refused(&iam, &first, &assume("third"), "AccessDenied");
    let made = ok(&iam, &first, &assume("second"));
    assert_eq!(text(&made, "SourceIdentity"), "dana");
    let second = identity_of(&iam, text(&made, "AccessKeyId")).unwrap();
    let is = |name: &str| format!(r#"{{"StringEquals":{{"aws:SourceIdentity":"{name}"}}}}"#);
    assert!(satisfies(&iam, "second", &second, &is("dana")));
    assert!(!satisfies(&iam, "second", &second, &is("eve")));
}

/// Alice, who may make federated users and list things.
fn alice(iam: &Iam) -> Identity {
    iam.create_user(ACCOUNT, "/staff/", "alice").unwrap();
    let policy = r#"{"Statement":{"Effect":"Allow","Action":["sts:*","kms:*"],"Resource":"*"}}"#;
    iam.put_user_policy(ACCOUNT, "alice", "p", policy).unwrap();
    let key = iam.create_access_key(ACCOUNT, "alice").unwrap();
    identity_of(iam, &key.access_key_id).unwrap()
}

const FEDERATE: &str = "Action=GetFederationToken&Name=Bob";

#[test]
fn a_federated_user_has_a_name_of_its_own_and_is_asked_nothing_but_that() {
    let iam = world();
    let alice = alice(&iam);
    let made = ok(&iam, &alice, FEDERATE);
    let arn = "arn:aws:sts::123456789012:federated-user/Bob";
    assert_eq!(text(&made, "Arn"), arn);
    assert_eq!(text(&made, "FederatedUserId"), "123456789012:Bob");
    assert_eq!(text(&made, "PackedPolicySize"), "0");
    assert_eq!(text(&made, "Expiration"), "2025-12-26T04:04:18Z");
    let bob = identity_of(&iam, text(&made, "AccessKeyId")).unwrap();
    let who = ok(&iam, &bob, "Action=GetCallerIdentity");
    assert_eq!(text(&who, "Arn"), arn);
    assert_eq!(text(&who, "UserId"), "123456789012:Bob");
    refused(&iam, &bob, "Action=ListUsers", "InvalidClientTokenId");
    refused(&iam, &bob, "Action=GetSessionToken", "AccessDenied");
    refused(&iam, &bob, FEDERATE, "AccessDenied");
    role_for_all(&iam, &Identity::root(ACCOUNT), "r");
    refused(&iam, &bob, ASSUME, "AccessDenied");
    // With the user goes whoever the user stands behind.
    let root = Identity::root(ACCOUNT);
    let key = keys_of(&iam, &bob).remove(0);
    ok(
        &iam,
        &root,
        "Action=DeleteUserPolicy&UserName=alice&PolicyName=p",
    );
    for id in keys_of(&iam, &alice) {
        ok(
            &iam,
            &root,
            &format!("Action=DeleteAccessKey&UserName=alice&AccessKeyId={id}"),
        );
    }
    ok(&iam, &root, "Action=DeleteUser&UserName=alice");
    assert!(identity_of(&iam, &key).is_none());
}

#[test]
fn federation_lasts_as_long_as_asked_and_an_hour_for_the_root_user() {
    let (iam, root) = (world(), Identity::root(ACCOUNT));
    let alice = alice(&iam);
    let ends = |caller: &Identity, seconds: u32| {
        let made = ok(
            &iam,
            caller,
            &format!("{FEDERATE}&DurationSeconds={seconds}"),
        );
        text(&made, "Expiration").to_owned()
    };
    assert_eq!(ends(&alice, 900), "2025-12-25T16:19:18Z");
    assert_eq!(ends(&alice, 129_600), "2025-12-27T04:04:18Z");
    assert_eq!(ends(&root, 900), "2025-12-25T16:19:18Z");
    assert_eq!(ends(&root, 129_600), "2025-12-25T17:04:18Z");
    for (given, code) in [
        ("&DurationSeconds=899", "ValidationError"),
        ("&DurationSeconds=129601", "ValidationError"),
        ("&Policy=x", "MalformedPolicyDocument"),
        (
            "&PolicyArns.member.1.arn=arn:aws:iam::aws:policy/Unheard-of",
            "NoSuchEntity",
        ),
    ] {
        refused(&iam, &alice, &format!("{FEDERATE}{given}"), code);
    }
    let long = encoded(&format!(r#"{{"Id":"{}"}}"#, "x".repeat(2_048)));
    refused(
        &iam,
        &alice,
        &format!("{FEDERATE}&Policy={long}"),
        "ValidationError",
    );
    for name in ["B", "a%20b", &"x".repeat(33)] {
        let form = format!("Action=GetFederationToken&Name={name}");
        refused(&iam, &alice, &form, "ValidationError");
    }
}

#[test]
fn only_long_term_credentials_that_are_allowed_to_make_federated_users() {
    let (iam, root) = (world(), Identity::root(ACCOUNT));
    ok(&iam, &root, "Action=CreateUser&UserName=nobody");
    let key = iam.create_access_key(ACCOUNT, "nobody").unwrap();
    let nobody = || identity_of(&iam, &key.access_key_id).unwrap();
    let (_, body) = call(&iam, &nobody(), FEDERATE);
    let words = "is not authorized to perform: sts:GetFederationToken on resource: \
                 arn:aws:sts::123456789012:federated-user/Bob because no identity-based policy \
                 allows the sts:GetFederationToken action";
    assert!(body.contains(words), "{body}");
    let named = r#"{"Statement":{"Effect":"Allow","Action":"sts:GetFederationToken","Resource":"arn:aws:sts::*:federated-user/B*"}}"#;
    iam.put_user_policy(ACCOUNT, "nobody", "p", named).unwrap();
    ok(&iam, &nobody(), FEDERATE);
    refused(
        &iam,
        &nobody(),
        "Action=GetFederationToken&Name=Carol",
        "AccessDenied",
    );
    let tagged = format!("{FEDERATE}{}", tags(&[("team", "a")]));
    let (_, body) = call(&iam, &nobody(), &tagged);
    assert!(
        body.contains("not authorized to perform: sts:TagSession"),
        "{body}"
    );

    let alice = alice(&iam);
    let token = session(&iam, &alice, "Action=GetSessionToken");
    for form in [FEDERATE, "Action=GetSessionToken"] {
        refused(&iam, &token, form, "AccessDenied");
    }
    refused(&iam, &token, "Action=ListUsers", "InvalidClientTokenId");
    role_for_all(&iam, &root, "r");
    ok(&iam, &token, ASSUME);
    let role = session(&iam, &root, ASSUME);
    refused(&iam, &role, FEDERATE, "AccessDenied");
}

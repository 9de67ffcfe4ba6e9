//! Forms in, XML out: what STS and IAM say of identities.

mod boundaries;
mod groups;
mod sessions;

use std::sync::Arc;

use nsm_sim::{
    clock::{SettableClock, UnixMillis},
    seed::WorldSeed,
};

use super::*;

fn world() -> Iam {
    let clock = SettableClock::frozen(UnixMillis(1_766_678_658_123));
    Iam::new(Arc::new(clock), Some(&WorldSeed::from_u64(1)))
}

fn call(iam: &Iam, caller: &Identity, form: &str) -> (u16, String) {
    let answer = answer(
        iam,
        (caller, Connection::WITHIN),
        &Form::parse("", form.as_bytes()),
        "rid",
    );
    (answer.status, String::from_utf8(answer.body).unwrap())
}

#[test]
fn the_root_user_is_told_who_it_is() {
    let (status, body) = call(
        &world(),
        &Identity::root("123456789012"),
        "Action=GetCallerIdentity",
    );
    assert_eq!(status, 200);
    assert_eq!(
        body,
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:root</Arn>\
         <UserId>123456789012</UserId><Account>123456789012</Account>\
         </GetCallerIdentityResult><ResponseMetadata><RequestId>rid</RequestId>\
         </ResponseMetadata></GetCallerIdentityResponse>"
    );
}

#[test]
fn a_role_is_made_found_and_not_made_twice() {
    let (iam, root) = (world(), Identity::root("123456789012"));
    let trust = form_urlencoded::byte_serialize(
        br#"{"Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}"#,
    )
    .collect::<String>();
    let form = format!("Action=CreateRole&RoleName=app&AssumeRolePolicyDocument={trust}");
    assert_eq!(call(&iam, &root, &form).0, 200);
    let (status, body) = call(&iam, &root, &form);
    assert_eq!(status, 409);
    assert!(body.contains("<Code>EntityAlreadyExists</Code>"), "{body}");
    let (status, body) = call(&iam, &root, "Action=GetRole&RoleName=app");
    assert_eq!(status, 200);
    assert!(
        body.contains("<Arn>arn:aws:iam::123456789012:role/app</Arn>"),
        "{body}"
    );
    assert!(
        body.contains("<CreateDate>2025-12-25T16:04:18Z</CreateDate>"),
        "{body}"
    );
}

#[test]
fn wrong_parameters_get_the_documented_codes() {
    let (iam, root) = (world(), Identity::root("123456789012"));
    let table = [
        ("Action=GetRole&RoleName=none", 404, "NoSuchEntity"),
        ("Action=GetRole", 400, "ValidationError"),
        ("Action=CreateUser&UserName=a%20b", 400, "ValidationError"),
        (
            "Action=CreateRole&RoleName=a&AssumeRolePolicyDocument=x",
            400,
            "MalformedPolicyDocument",
        ),
        ("Action=CreateAccessKey&UserName=none", 404, "NoSuchEntity"),
        (
            "Action=AssumeRole&RoleArn=arn:aws:iam::1:role/x&RoleSessionName=ab",
            403,
            "AccessDenied",
        ),
        (
            "Action=AssumeRole&RoleArn=arn:aws:iam::1:role/x&RoleSessionName=ab&DurationSeconds=1",
            400,
            "ValidationError",
        ),
        (
            "Action=DeleteAccountAlias&Version=2010-05-08",
            400,
            "InvalidAction",
        ),
        ("", 400, "InvalidAction"),
    ];
    for (form, status, code) in table {
        let (got, body) = call(&iam, &root, form);
        assert_eq!(got, status, "{form}: {body}");
        assert!(
            body.contains(&format!("<Code>{code}</Code>")),
            "{form}: {body}"
        );
    }
}

#[test]
fn a_user_without_policies_may_only_ask_who_it_is() {
    let (iam, root) = (world(), Identity::root("123456789012"));
    assert_eq!(call(&iam, &root, "Action=CreateUser&UserName=alice").0, 200);
    let credentials = iam.create_access_key("123456789012", "alice").unwrap();
    let key = iam.key(&credentials.access_key_id).unwrap();
    let alice = iam.identity(&key).unwrap();
    assert_eq!(call(&iam, &alice, "Action=GetCallerIdentity").0, 200);
    let (status, body) = call(&iam, &alice, "Action=CreateUser&UserName=bob");
    assert_eq!(status, 403);
    assert!(
        body.contains(
            "User: arn:aws:iam::123456789012:user/alice is not authorized to perform: \
             iam:CreateUser on resource: arn:aws:iam::123456789012:user/bob because no \
             identity-based policy allows the iam:CreateUser action"
        ),
        "{body}"
    );
    let policy = r#"{"Statement":{"Effect":"Allow","Action":"iam:Create*","Resource":"*"}}"#;
    iam.put_user_policy("123456789012", "alice", "admin", policy)
        .unwrap();
    let alice = iam.identity(&key).unwrap();
    assert_eq!(call(&iam, &alice, "Action=CreateUser&UserName=bob").0, 200);
}

/// The text of the first element `name`.
fn text<'b>(body: &'b str, name: &str) -> &'b str {
    let (_, rest) = body.split_once(&format!("<{name}>")).unwrap();
    rest.split_once('<').unwrap().0
}

/// A call that must be answered with 200.
fn ok(iam: &Iam, caller: &Identity, form: &str) -> String {
    let (status, body) = call(iam, caller, form);
    assert_eq!(status, 200, "{form}: {body}");
    body
}

/// A call that must be refused with `code`.
fn refused(iam: &Iam, caller: &Identity, form: &str, code: &str) {
    let (status, body) = call(iam, caller, form);
    assert!(status >= 400, "{form}: {body}");
    assert_eq!(text(&body, "Code"), code, "{form}: {body}");
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

const KMS_ONLY: &str =
    r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"kms:*","Resource":"*"}}"#;

/// A role `name` that everybody may assume.
fn role_for_all(iam: &Iam, caller: &Identity, name: &str) {
    let trust = encoded(
        r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}}"#,
    );
    let form = format!("Action=CreateRole&RoleName={name}&AssumeRolePolicyDocument={trust}");
    ok(iam, caller, &form);
}

const ASSUME: &str =
    "Action=AssumeRole&RoleArn=arn:aws:iam::123456789012:role/r&RoleSessionName=ab";

fn identity_of(iam: &Iam, access_key_id: &str) -> Option<Identity> {
    iam.identity(&iam.key(access_key_id).unwrap())
}

#[test]
fn roles_and_users_have_their_policies_alike() {
    let (iam, root) = (world(), Identity::root("123456789012"));
    let trust = encoded(
        r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}}"#,
    );
    ok(&iam, &root, "Action=CreateUser&UserName=it&Path=/a/");
    let role = format!("Action=CreateRole&RoleName=it&Path=/a/&AssumeRolePolicyDocument={trust}");
    ok(&iam, &root, &role);
    let policy = encoded(KMS_ONLY);
    for kind in ["Role", "User"] {
        let named = format!("{kind}Name=it");
        let put = format!("Action=Put{kind}Policy&{named}&PolicyName=p&PolicyDocument={policy}");
        ok(&iam, &root, &put);
        let got = ok(
            &iam,
            &root,
            &format!("Action=Get{kind}Policy&{named}&PolicyName=p"),
        );
        assert_eq!(text(&got, "PolicyDocument"), policy, "{kind}");
        let listed = ok(&iam, &root, &format!("Action=List{kind}Policies&{named}"));
        assert!(
            listed.contains("<PolicyNames><member>p</member></PolicyNames>"),
            "{listed}"
        );
        refused(
            &iam,
            &root,
            &format!("Action=Delete{kind}&{named}"),
            "DeleteConflict",
        );
        ok(
            &iam,
            &root,
            &format!("Action=Delete{kind}Policy&{named}&PolicyName=p"),
        );
        let again = format!("Action=Delete{kind}Policy&{named}&PolicyName=p");
        refused(&iam, &root, &again, "NoSuchEntity");
        let tagged = format!("Action=Tag{kind}&{named}&Tags.member.1.Key=k&Tags.member.1.Value=v");
        ok(&iam, &root, &tagged);
        let tags = ok(&iam, &root, &format!("Action=List{kind}Tags&{named}"));
        assert!(
            tags.contains("<member><Key>k</Key><Value>v</Value></member>"),
            "{tags}"
        );
        ok(
            &iam,
            &root,
            &format!("Action=Untag{kind}&{named}&TagKeys.member.1=k"),
        );
        let tags = ok(&iam, &root, &format!("Action=List{kind}Tags&{named}"));
        assert!(!tags.contains("<Key>"), "{tags}");
        ok(&iam, &root, &format!("Action=Delete{kind}&{named}"));
        refused(
            &iam,
            &root,
            &format!("Action=Get{kind}&{named}"),
            "NoSuchEntity",
        );
    }
}

#[test]
fn an_attached_policy_counts_in_its_default_version_until_it_is_detached() {
    let (iam, root) = (world(), Identity::root("123456789012"));
    ok(&iam, &root, "Action=CreateUser&UserName=alice");
    let key = iam.create_access_key("123456789012", "alice").unwrap();
    let may_create = || {
        let alice = identity_of(&iam, &key.access_key_id).unwrap();
        call(&iam, &alice, "Action=ListUsers").0 == 200
    };
    let document = encoded(KMS_ONLY);
    let made = format!("Action=CreatePolicy&PolicyName=p&PolicyDocument={document}");
    let arn = text(&ok(&iam, &root, &made), "Arn").to_owned();
    assert_eq!(arn, "arn:aws:iam::123456789012:policy/p");
    refused(&iam, &root, &made, "EntityAlreadyExists");
    ok(
        &iam,
        &root,
        &format!("Action=AttachUserPolicy&UserName=alice&PolicyArn={arn}"),
    );
    assert!(!may_create());
    let lists = encoded(r#"{"Statement":{"Effect":"Allow","Action":"iam:List*","Resource":"*"}}"#);
    let second = format!("Action=CreatePolicyVersion&PolicyArn={arn}&PolicyDocument={lists}");
    assert_eq!(text(&ok(&iam, &root, &second), "VersionId"), "v2");
    assert!(!may_create(), "the first version is still the default");
    let default = format!("Action=SetDefaultPolicyVersion&PolicyArn={arn}&VersionId=v2");
    ok(&iam, &root, &default);
    assert!(may_create());
    refused(
        &iam,
        &root,
        &format!("Action=DeletePolicy&PolicyArn={arn}"),
        "DeleteConflict",
    );
    refused(
        &iam,
        &root,
        "Action=DeleteUser&UserName=alice",
        "DeleteConflict",
    );
    let detach = format!("Action=DetachUserPolicy&UserName=alice&PolicyArn={arn}");
    ok(&iam, &root, &detach);
    assert!(!may_create());
    refused(&iam, &root, &detach, "NoSuchEntity");
    refused(
        &iam,
        &root,
        &format!("Action=DeletePolicy&PolicyArn={arn}"),
        "DeleteConflict",
    );
    ok(
        &iam,
        &root,
        &format!("Action=DeletePolicyVersion&PolicyArn={arn}&VersionId=v1"),
    );
    ok(&iam, &root, &format!("Action=DeletePolicy&PolicyArn={arn}"));
    refused(
        &iam,
        &root,
        &format!("Action=GetPolicy&PolicyArn={arn}"),
        "NoSuchEntity",
    );
}

#[test]
fn a_policy_of_aws_is_attached_only_if_it_is_known_what_it_allows() {
    let (iam, root) = (world(), Identity::root("123456789012"));
    ok(&iam, &root, "Action=CreateUser&UserName=alice");
    let key = iam.create_access_key("123456789012", "alice").unwrap();
    let attach = "Action=AttachUserPolicy&UserName=alice&PolicyArn=arn:aws:iam::aws:policy/";
    refused(&iam, &root, &format!("{attach}Unheard-of"), "NoSuchEntity");
    ok(&iam, &root, &format!("{attach}AdministratorAccess"));
    let alice = identity_of(&iam, &key.access_key_id).unwrap();
    ok(&iam, &alice, "Action=CreateUser&UserName=bob");
}

#[test]
fn an_inactive_or_deleted_key_is_nobody_and_not_a_stranger() {
    let (iam, root) = (world(), Identity::root("123456789012"));
    ok(&iam, &root, "Action=CreateUser&UserName=alice");
    let made = ok(&iam, &root, "Action=CreateAccessKey&UserName=alice");
    let id = text(&made, "AccessKeyId").to_owned();
    assert!(identity_of(&iam, &id).is_some());
    let update = format!("Action=UpdateAccessKey&UserName=alice&AccessKeyId={id}&Status=");
    ok(&iam, &root, &format!("{update}Inactive"));
    assert!(identity_of(&iam, &id).is_none());
    let listed = ok(&iam, &root, "Action=ListAccessKeys&UserName=alice");
    assert_eq!(text(&listed, "Status"), "Inactive");
    ok(&iam, &root, &format!("{update}Active"));
    assert!(identity_of(&iam, &id).is_some());
    refused(
        &iam,
        &root,
        "Action=DeleteUser&UserName=alice",
        "DeleteConflict",
    );
    ok(
        &iam,
        &root,
        &format!("Action=DeleteAccessKey&UserName=alice&AccessKeyId={id}"),
    );
    assert!(identity_of(&iam, &id).is_none());
    refused(&iam, &root, &format!("{update}Active"), "NoSuchEntity");
    ok(&iam, &root, "Action=DeleteUser&UserName=alice");
}

#[test]
fn a_users_session_token_is_the_user_and_a_sessions_is_refused() {
    let (iam, root) = (world(), Identity::root("123456789012"));
    ok(&iam, &root, "Action=CreateUser&UserName=alice");
    let key = iam.create_access_key("123456789012", "alice").unwrap();
    let alice = identity_of(&iam, &key.access_key_id).unwrap();
    let body = ok(&iam, &alice, "Action=GetSessionToken&DurationSeconds=900");
    assert_eq!(text(&body, "Expiration"), "2025-12-25T16:19:18Z");
    let session = identity_of(&iam, text(&body, "AccessKeyId")).unwrap();
    assert_eq!(session.principal, alice.principal);
    let body = ok(&iam, &root, "Action=GetSessionToken");
    assert_eq!(text(&body, "Expiration"), "2025-12-25T17:04:18Z");
    let id = text(&body, "AccessKeyId").to_owned();
    assert_eq!(identity_of(&iam, &id).unwrap().principal, root.principal);
    let info = ok(
        &iam,
        &root,
        &format!("Action=GetAccessKeyInfo&AccessKeyId={id}"),
    );
    assert_eq!(text(&info, "Account"), "123456789012");
    role_for_all(&iam, &root, "r");
    let body = ok(&iam, &root, ASSUME);
    let session = identity_of(&iam, text(&body, "AccessKeyId")).unwrap();
    refused(&iam, &session, "Action=GetSessionToken", "AccessDenied");
}

#[test]
fn the_managed_policies_of_a_session_bound_it() {
    let (iam, root) = (world(), Identity::root("123456789012"));
    role_for_all(&iam, &root, "r");
    let all = "arn:aws:iam::aws:policy/AdministratorAccess";
    ok(
        &iam,
        &root,
        &format!("Action=AttachRolePolicy&RoleName=r&PolicyArn={all}"),
    );
    let may_list_users = |form: &str| {
        let body = ok(&iam, &root, form);
        let session = identity_of(&iam, text(&body, "AccessKeyId")).unwrap();
        call(&iam, &session, "Action=ListUsers").0 == 200
    };
    assert!(may_list_users(ASSUME));
    let bounded = "&PolicyArns.member.1.arn=arn:aws:iam::aws:policy/AmazonS3FullAccess";
    assert!(!may_list_users(&format!("{ASSUME}{bounded}")));
    let unknown = "&PolicyArns.member.1.arn=arn:aws:iam::aws:policy/Unheard-of";
    refused(&iam, &root, &format!("{ASSUME}{unknown}"), "NoSuchEntity");
}

#[test]
fn lists_come_in_pages_and_by_path() {
    let (iam, root) = (world(), Identity::root("123456789012"));
    for name in ["a", "b", "c"] {
        ok(
            &iam,
            &root,
            &format!("Action=CreateUser&UserName={name}&Path=/team/"),
        );
    }
    ok(&iam, &root, "Action=CreateUser&UserName=d");
    let first = ok(&iam, &root, "Action=ListUsers&MaxItems=2&PathPrefix=/team/");
    assert_eq!(first.matches("<UserName>").count(), 2);
    assert_eq!(text(&first, "IsTruncated"), "true");
    let marker = text(&first, "Marker");
    let rest = ok(
        &iam,
        &root,
        &format!("Action=ListUsers&PathPrefix=/team/&Marker={marker}"),
    );
    assert_eq!(rest.matches("<UserName>").count(), 1);
    assert_eq!(text(&rest, "UserName"), "c");
    assert_eq!(text(&rest, "IsTruncated"), "false");
    refused(
        &iam,
        &root,
        "Action=ListUsers&MaxItems=0",
        "ValidationError",
    );
}

#[test]
fn what_is_no_arn_is_told_as_recorded_on_aws() {
    let (iam, root) = (world(), Identity::root("123456789012"));
    for arn in [
        "nothing-valid-in-here",
        "arn::b:::something/test-role",
        "arn:a::::something/test-role",
        "arn:a:::something/test-role",
        "arn:a:a::aaaaaaaaaa:",
    ] {
        let form = format!("Action=AssumeRole&RoleSessionName=ab&RoleArn={arn}");
        let (status, body) = call(&iam, &root, &form);
        assert_eq!(
            (status, text(&body, "Code")),
            (400, "ValidationError"),
            "{body}"
        );
        assert_eq!(text(&body, "Message"), format!("{arn} is invalid"));
    }
}

#[test]
fn policies_that_are_too_large_together_and_roles_for_the_root_user_are_refused() {
    let (iam, root) = (world(), Identity::root("123456789012"));
    assert_eq!(call(&iam, &root, "Action=CreateUser&UserName=alice").0, 200);
    let who = crate::iam::Who::user("123456789012", "alice");
    let policy = |characters: usize, spaces: usize| {
        let start = r#"{"Statement":{"Effect":"Allow","Action":"kms:*","Resource":"*"},"Id":""#;
        let filled = "x".repeat(characters - start.len() - 2);
        format!("{start}{filled}\"{}}}", " ".repeat(spaces))
    };
    // White space does not count; all policies together do.
    iam.put_policy(who, "a", &policy(1_048, 3_000)).unwrap();
    iam.put_policy(who, "b", &policy(1_000, 0)).unwrap();
    let refused = iam.put_policy(who, "c", &policy(100, 0)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Maximum policy size of 2048 bytes exceeded for user alice"
    );
    assert_eq!(refused.code(), ("LimitExceeded", 409));
    assert!(!iam.has_policy(who, "c"));
    iam.put_policy(who, "b", &policy(900, 0)).unwrap();
    iam.put_policy(who, "c", &policy(100, 0)).unwrap();

    // Root by credentials of its own, not a stranger who passes for it.
    let credentials = iam.session_token(&root, None).unwrap();
    let key = iam.key(&credentials.access_key_id).unwrap();
    let real = iam.identity(&key).unwrap();
    let form = "Action=AssumeRole&RoleArn=arn:aws:iam::123456789012:role/x&RoleSessionName=ab";
    let (status, body) = call(&iam, &real, form);
    assert_eq!((status, text(&body, "Code")), (403, "AccessDenied"));
    assert_eq!(
        text(&body, "Message"),
        "Roles may not be assumed by root accounts."
    );
}

#[test]
fn calls_of_sts_and_iam_have_the_global_condition_keys() {
    let (iam, root) = (world(), Identity::root("123456789012"));
    assert_eq!(call(&iam, &root, "Action=CreateUser&UserName=alice").0, 200);
    let credentials = iam.create_access_key("123456789012", "alice").unwrap();
    let key = iam.key(&credentials.access_key_id).unwrap();
    let connection = Connection {
        source_ip: Some([192, 0, 2, 7].into()),
        secure_transport: false,
        user_agent: Some("terraform"),
        region: Some("eu-west-1"),
    };
    let may = |condition: &str, form: &str| {
        let policy = format!(
            r#"{{"Statement":{{"Effect":"Allow","Action":"*","Resource":"*","Condition":{condition}}}}}"#
        );
        iam.put_user_policy("123456789012", "alice", "p", &policy)
            .unwrap();
        let alice = iam.identity(&key).unwrap();
        let form = Form::parse("", form.as_bytes());
        answer(&iam, (&alice, connection), &form, "rid").status
    };
    let of_iam = "Action=ListUsers";
    let of_sts = "Action=GetAccessKeyInfo&AccessKeyId=AKIAIOSFODNN7EXAMPLE";
    let federation = "Action=GetFederationToken&Name=bob";
    for form in [of_iam, of_sts, federation] {
        for (condition, wanted) in [
            (r#"{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}"#, 200),
            (r#"{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}"#, 403),
            (r#"{"Bool":{"aws:SecureTransport":"true"}}"#, 403),
            (r#"{"Bool":{"aws:SecureTransport":"false"}}"#, 200),
            (r#"{"StringEquals":{"aws:UserAgent":"terraform"}}"#, 200),
            (
                r#"{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::123456789012:user/alice"}}"#,
                200,
            ),
            (
                r#"{"StringEquals":{"aws:PrincipalAccount":"444455556666"}}"#,
                403,
            ),
        ] {
            assert_eq!(may(condition, form), wanted, "{form} {condition}");
        }
    }
    // What the request itself says.
    for (form, condition, wanted) in [
        (
            "Action=CreateUser&UserName=b&Tags.member.1.Key=team&Tags.member.1.Value=x",
            r#"{"StringEquals":{"aws:RequestTag/team":"x"}}"#,
            200,
        ),
        (
            "Action=CreateUser&UserName=c&Tags.member.1.Key=team&Tags.member.1.Value=y",
            r#"{"StringEquals":{"aws:RequestTag/team":"x"}}"#,
            403,
        ),
        (
            "Action=CreateUser&UserName=c",
            r#"{"StringEquals":{"aws:RequestTag/team":"x"}}"#,
            403,
        ),
        (
            "Action=UntagUser&UserName=b&TagKeys.member.1=team",
            r#"{"ForAnyValue:StringEquals":{"aws:TagKeys":"team"}}"#,
            200,
        ),
        (
            "Action=UntagUser&UserName=b&TagKeys.member.1=other",
            r#"{"ForAnyValue:StringEquals":{"aws:TagKeys":"team"}}"#,
            403,
        ),
        (
            "Action=AttachUserPolicy&UserName=b&PolicyArn=arn:aws:iam::aws:policy/ReadOnlyAccess",
            r#"{"ArnEquals":{"iam:PolicyARN":"arn:aws:iam::aws:policy/AdministratorAccess"}}"#,
            403,
        ),
        (
            "Action=AttachUserPolicy&UserName=b&PolicyArn=arn:aws:iam::aws:policy/AdministratorAccess",
            r#"{"ArnEquals":{"iam:PolicyARN":"arn:aws:iam::aws:policy/AdministratorAccess"}}"#,
            200,
        ),
        (
            "Action=GetPolicy&PolicyArn=arn:aws:iam::aws:policy/AdministratorAccess",
            r#"{"ArnEquals":{"iam:PolicyARN":"arn:aws:iam::aws:policy/AdministratorAccess"}}"#,
            403,
        ),
    ] {
        assert_eq!(may(condition, form), wanted, "{form} {condition}");
    }
    // IAM is asked in us-east-1, wherever the caller is.
    for (form, region) in [(of_iam, "us-east-1"), (of_sts, "eu-west-1")] {
        let condition = format!(r#"{{"StringEquals":{{"aws:RequestedRegion":"{region}"}}}}"#);
        assert_eq!(may(&condition, form), 200, "{form}");
        let condition = condition.replace(region, "ap-east-1");
        assert_eq!(may(&condition, form), 403, "{form}");
    }
}

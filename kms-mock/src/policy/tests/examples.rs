//! The worked examples of AWS's pages, row by row: the policy as the page has it (in
//! the accounts of these tests, with KMS's actions where the page has another
//! service's), who asks for what, and what the page says comes of it.
//!
//! Source of truth: IAM user guide, "AWS JSON policy elements: NotPrincipal", "Policy
//! evaluation logic", "Permissions boundaries for IAM entities", "Session policies",
//! "Cross-account policy evaluation logic", "Set operators for multivalued context
//! keys", "Null condition operator", "IfExists condition operators"; AWS KMS developer
//! guide, "AWS KMS condition keys" and "Key policies in AWS KMS".

use super::*;

const ROOT: &str = "arn:aws:iam::111122223333:root";

/// What a request has that an example's condition reads.
#[derive(Clone, Copy, Default)]
struct Asked {
    context: &'static [(&'static str, &'static str)],
    operations: &'static [&'static str],
    grantee: Option<&'static str>,
    constraint: Option<&'static str>,
    alias: Option<&'static str>,
    on_same_key: Option<bool>,
    algorithm: Option<&'static str>,
}

const NOTHING: Asked = Asked {
    context: &[],
    operations: &[],
    grantee: None,
    constraint: None,
    alias: None,
    on_same_key: None,
    algorithm: None,
};

fn is_allowed(policy: &Arc<Policy>, caller: &Caller, action: &str, asked: Asked) -> bool {
    let context: EncryptionContext = asked
        .context
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let aliases = ["alias/ExampleAlias".into()];
    let facts = Facts {
        encryption_context: (!context.is_empty()).then_some(&context),
        grant_operations: (!asked.operations.is_empty()).then_some(asked.operations),
        grantee_principal: asked.grantee,
        grant_constraint_type: asked.constraint,
        request_alias: asked.alias,
        re_encrypt_on_same_key: asked.on_same_key,
        encryption_algorithm: asked.algorithm,
        ..Facts::default()
    };
    let request = Request {
        caller,
        action,
        resource: Resource::Key(KeyFacts {
            arn: KEY_ARN,
            account: OWNER,
            region: "us-east-1",
            spec: "SYMMETRIC_DEFAULT",
            usage: "ENCRYPT_DECRYPT",
            origin: "AWS_KMS",
            multi_region_type: None,
            aliases: &aliases,
            tags: &Default::default(),
        }),
        facts: &facts,
        now: UnixMillis(0),
    };
    decide(&request, Some(policy), Vec::new).is_allowed()
}

/// A statement for the role `ExampleRole` with a condition.
fn when(condition: &str) -> Arc<Policy> {
    key_policy(&format!(
        r#"{{"Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::111122223333:role/ExampleRole"}},"Action":"kms:*","Resource":"*","Condition":{condition}}}"#
    ))
}

#[test]
fn the_examples_of_condition_keys_and_set_operators_come_out_as_their_pages_say() {
    let of = |context| Asked { context, ..NOTHING };
    let grant = |operations| Asked {
        operations,
        ..NOTHING
    };
    let caller = session(OWNER, "ExampleRole");
    #[rustfmt::skip]
    let table: &[(&str, &str, Asked, bool)] = &[
        // kms:EncryptionContext:context-key
        (r#"{"StringEquals":{"kms:EncryptionContext:AppName":"ExampleApp"}}"#, "kms:GenerateDataKey", of(&[("AppName", "ExampleApp")]), true),
        (r#"{"StringEquals":{"kms:EncryptionContext:AppName":"ExampleApp"}}"#, "kms:GenerateDataKey", of(&[("AppName", "ExampleApp"), ("FilePath", "/x")]), true),
        (r#"{"StringEquals":{"kms:EncryptionContext:AppName":"ExampleApp"}}"#, "kms:GenerateDataKey", of(&[("AppName", "Other")]), false),
        (r#"{"StringEquals":{"kms:EncryptionContext:AppName":"ExampleApp"}}"#, "kms:GenerateDataKey", NOTHING, false),
        // "The encryption context key is not case sensitive", the value is with StringEquals.
        (r#"{"StringEquals":{"kms:EncryptionContext:appname":"ExampleApp"}}"#, "kms:Decrypt", of(&[("AppName", "ExampleApp")]), true),
        (r#"{"StringEquals":{"kms:EncryptionContext:AppName":"exampleapp"}}"#, "kms:Decrypt", of(&[("AppName", "ExampleApp")]), false),
        (r#"{"StringEqualsIgnoreCase":{"kms:EncryptionContext:AppName":"exampleapp"}}"#, "kms:Decrypt", of(&[("AppName", "ExampleApp")]), true),
        (r#"{"StringLike":{"kms:EncryptionContext:AppName":"*"}}"#, "kms:Decrypt", of(&[("AppName", "x")]), true),
        (r#"{"StringLike":{"kms:EncryptionContext:AppName":"*"}}"#, "kms:Decrypt", of(&[("Else", "x")]), false),
        // kms:EncryptionContextKeys
        (r#"{"Null":{"kms:EncryptionContextKeys":false}}"#, "kms:Encrypt", of(&[("any", "x")]), true),
        (r#"{"Null":{"kms:EncryptionContextKeys":false}}"#, "kms:Encrypt", NOTHING, false),
        (r#"{"ForAnyValue:StringEquals":{"kms:EncryptionContextKeys":"AppName"}}"#, "kms:Encrypt", of(&[("AppName", "x"), ("FilePath", "y")]), true),
        (r#"{"ForAnyValue:StringEquals":{"kms:EncryptionContextKeys":"AppName"}}"#, "kms:Encrypt", of(&[("appname", "x")]), false),
        (r#"{"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["AppName","FilePath"]}}"#, "kms:Encrypt", of(&[("AppName", "x")]), true),
        (r#"{"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["AppName","FilePath"]}}"#, "kms:Encrypt", of(&[("AppName", "x"), ("Else", "y")]), false),
        // "ForAllValues … also returns true if there are no context keys in the request".
        (r#"{"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["AppName"]}}"#, "kms:Encrypt", NOTHING, true),
        (r#"{"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["AppName"]},"Null":{"kms:EncryptionContextKeys":"false"}}"#, "kms:Encrypt", NOTHING, false),
        // "For no matching context key or if the key does not exist, … false."
        (r#"{"ForAnyValue:StringEquals":{"kms:EncryptionContextKeys":["AppName"]}}"#, "kms:Encrypt", NOTHING, false),
        // kms:GrantOperations
        (r#"{"ForAllValues:StringEquals":{"kms:GrantOperations":["Encrypt","Decrypt"]}}"#, "kms:CreateGrant", grant(&["Encrypt"]), true),
        (r#"{"ForAllValues:StringEquals":{"kms:GrantOperations":["Encrypt","Decrypt"]}}"#, "kms:CreateGrant", grant(&["Encrypt", "Decrypt"]), true),
        (r#"{"ForAllValues:StringEquals":{"kms:GrantOperations":["Encrypt","Decrypt"]}}"#, "kms:CreateGrant", grant(&["Encrypt", "CreateGrant"]), false),
        (r#"{"ForAnyValue:StringEquals":{"kms:GrantOperations":["Encrypt","Decrypt"]}}"#, "kms:CreateGrant", grant(&["Encrypt", "CreateGrant"]), true),
        // kms:GranteePrincipal, kms:GrantConstraintType
        (r#"{"StringEquals":{"kms:GranteePrincipal":"arn:aws:iam::111122223333:role/LimitedAdminRole"}}"#, "kms:CreateGrant", Asked { grantee: Some("arn:aws:iam::111122223333:role/LimitedAdminRole"), ..NOTHING }, true),
        (r#"{"StringEquals":{"kms:GranteePrincipal":"arn:aws:iam::111122223333:role/LimitedAdminRole"}}"#, "kms:CreateGrant", Asked { grantee: Some("arn:aws:iam::111122223333:role/Other"), ..NOTHING }, false),
        (r#"{"StringEquals":{"kms:GrantConstraintType":"EncryptionContextEquals"}}"#, "kms:CreateGrant", Asked { constraint: Some("EncryptionContextEquals"), ..NOTHING }, true),
        (r#"{"StringEquals":{"kms:GrantConstraintType":"EncryptionContextEquals"}}"#, "kms:CreateGrant", NOTHING, false),
        // kms:RequestAlias: absent when the key is named otherwise.
        (r#"{"StringLike":{"kms:RequestAlias":"alias/Example*"}}"#, "kms:Encrypt", Asked { alias: Some("alias/ExampleAlias"), ..NOTHING }, true),
        (r#"{"StringLike":{"kms:RequestAlias":"alias/Example*"}}"#, "kms:Encrypt", NOTHING, false),
        // kms:ReEncryptOnSameKey
        (r#"{"Bool":{"kms:ReEncryptOnSameKey":true}}"#, "kms:ReEncryptFrom", Asked { on_same_key: Some(true), ..NOTHING }, true),
        (r#"{"Bool":{"kms:ReEncryptOnSameKey":true}}"#, "kms:ReEncryptFrom", Asked { on_same_key: Some(false), ..NOTHING }, false),
        // kms:CallerAccount, kms:EncryptionAlgorithm, kms:KeySpec, kms:MultiRegion
        (r#"{"StringEquals":{"kms:CallerAccount":"111122223333"}}"#, "kms:DescribeKey", NOTHING, true),
        (r#"{"StringEquals":{"kms:CallerAccount":"444455556666"}}"#, "kms:DescribeKey", NOTHING, false),
        (r#"{"StringLike":{"kms:EncryptionAlgorithm":"RSAES_OAEP*"}}"#, "kms:Encrypt", Asked { algorithm: Some("SYMMETRIC_DEFAULT"), ..NOTHING }, false),
        (r#"{"StringEquals":{"kms:KeySpec":"SYMMETRIC_DEFAULT"}}"#, "kms:Encrypt", NOTHING, true),
        (r#"{"Bool":{"kms:MultiRegion":false}}"#, "kms:Encrypt", NOTHING, true),
        // kms:ResourceAliases has no meaning in a key policy.
        (r#"{"ForAnyValue:StringEquals":{"kms:ResourceAliases":"alias/ExampleAlias"}}"#, "kms:Encrypt", NOTHING, false),
        // kms:ViaService: "only when the request comes from a specified AWS service".
        (r#"{"StringEquals":{"kms:ViaService":"s3.us-east-1.amazonaws.com"}}"#, "kms:Decrypt", NOTHING, false),
        // IfExists, and negated operators on an absent key.
        (r#"{"StringEqualsIfExists":{"kms:ViaService":"s3.us-east-1.amazonaws.com"}}"#, "kms:Decrypt", NOTHING, true),
        (r#"{"StringNotEquals":{"kms:ViaService":"s3.us-east-1.amazonaws.com"}}"#, "kms:Decrypt", NOTHING, true),
    ];
    for (condition, action, asked, wanted) in table {
        let allowed = is_allowed(&when(condition), &caller, action, *asked);
        assert_eq!(allowed, *wanted, "{condition} {action} {:?}", asked.context);
    }
}

#[test]
fn the_example_of_resource_aliases_counts_in_iam_policies() {
    let delegated = key_policy(&allow(ROOT));
    for (alias, wanted) in [("alias/Example*", true), ("alias/Other*", false)] {
        let text = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"kms:Encrypt","Resource":"*","Condition":{{"ForAnyValue:StringLike":{{"kms:ResourceAliases":"{alias}"}}}}}}]}}"#
        );
        let mut caller = session(OWNER, "ExampleRole");
        let policy = Policy::parse(&text, PolicyKind::Identity).unwrap();
        caller.identity_policies.push(Arc::new(policy));
        let allowed = is_allowed(&delegated, &caller, "kms:Encrypt", NOTHING);
        assert_eq!(allowed, wanted, "{alias}");
    }
}

#[test]
fn the_examples_of_not_principal_deny_whom_their_page_says() {
    let user = |account: &str, name: &str| {
        let principal = Principal::User {
            account: account.into(),
            path_name: name.into(),
        };
        with_iam(Caller::new(principal), "kms:*")
    };
    let audit = |name: &str| {
        let principal = Principal::AssumedRole {
            account: OTHER.into(),
            role_path_name: "cross-account-read-only-role".into(),
            session: name.into(),
        };
        with_iam(Caller::new(principal), "kms:*")
    };
    let deny = |principals: &str| {
        key_policy(&format!(
            r#"{},{{"Effect":"Deny","NotPrincipal":{{"AWS":[{principals}]}},"Action":"kms:*","Resource":"*"}}"#,
            allow("*")
        ))
    };
    let bob = deny(r#""arn:aws:iam::444455556666:user/Bob","arn:aws:iam::444455556666:root""#);
    let app = deny(
        r#""arn:aws:sts::444455556666:assumed-role/cross-account-read-only-role/cross-account-audit-app","arn:aws:iam::444455556666:role/cross-account-read-only-role","arn:aws:iam::444455556666:root""#,
    );
    for (policy, caller, wanted) in [
        (&bob, user(OTHER, "Bob"), true),
        (&bob, user(OTHER, "Alice"), false),
        (&bob, user(OWNER, "Bob"), false),
        (&bob, user(OWNER, "Alice"), false),
        (&app, audit("cross-account-audit-app"), true),
        (&app, audit("another-app"), false),
        (&app, user(OTHER, "Bob"), false),
        (&app, user(OWNER, "Alice"), false),
    ] {
        let allowed = is_allowed(policy, &caller, "kms:Decrypt", NOTHING);
        assert_eq!(allowed, wanted, "{}", caller.principal);
    }
}

/// Who is named by the key policy; what IAM, boundary and session policy allow.
#[test]
fn the_table_of_policy_evaluation_within_and_across_accounts_comes_out() {
    let role = "arn:aws:iam::111122223333:role/R";
    let itself = "arn:aws:sts::111122223333:assumed-role/R/s";
    let across = "arn:aws:iam::444455556666:role/R";
    let across_itself = "arn:aws:sts::444455556666:assumed-role/R/s";
    #[rustfmt::skip]
    let table = [
        // Within an account: IAM and the key policy's account.
        (ROOT, OWNER, "A--", true), (ROOT, OWNER, "---", false), (ROOT, OWNER, "D--", false),
        // With a boundary: both must allow. A Deny of either closes.
        (ROOT, OWNER, "AA-", true), (ROOT, OWNER, "AN-", false), (ROOT, OWNER, "AD-", false), (ROOT, OWNER, "-A-", false),
        // With a session policy, and with both.
        (ROOT, OWNER, "A-A", true), (ROOT, OWNER, "A-N", false), (ROOT, OWNER, "A-D", false), (ROOT, OWNER, "AAA", true), (ROOT, OWNER, "ANA", false), (ROOT, OWNER, "AAN", false),
        // A key policy that names the role: IAM need not allow, the rest limits.
        (role, OWNER, "---", true), (role, OWNER, "-N-", false), (role, OWNER, "--N", false), (role, OWNER, "-AA", true), (role, OWNER, "D--", false),
        // One that names the session: implicit denies do not limit, explicit ones do.
        (itself, OWNER, "---", true), (itself, OWNER, "-N-", true), (itself, OWNER, "--N", true), (itself, OWNER, "-D-", false), (itself, OWNER, "--D", false),
        // Across accounts: both sides, and everything limits.
        (across, OTHER, "A--", true), (across, OTHER, "---", false), (across, OTHER, "AN-", false), (across, OTHER, "A-N", false), (across, OTHER, "AAA", true),
        (across_itself, OTHER, "A--", true), (across_itself, OTHER, "---", false), (across_itself, OTHER, "AN-", false),
        ("arn:aws:iam::444455556666:root", OTHER, "A--", true), ("arn:aws:iam::444455556666:root", OTHER, "---", false),
        // A key policy that names nobody of the account: IAM alone opens nothing.
        (across, OWNER, "A--", false), (role, OTHER, "A--", false),
    ];
    for (named, account, policies, wanted) in table {
        let policy = key_policy(&allow(named));
        let mut caller = session(account, "R");
        let of = |letter: u8| match letter {
            b'A' => Some(iam("Allow", "kms:Decrypt")),
            b'N' => Some(iam("Allow", "kms:Encrypt")),
            b'D' => Some(iam("Deny", "kms:Decrypt")),
            _ => None,
        };
        let [identity, boundary, session] = *policies.as_bytes() else {
            panic!("{policies}");
        };
        caller.identity_policies.extend(of(identity));
        caller.boundary = of(boundary);
        caller.session_policies.extend(of(session));
        let allowed = is_allowed(&policy, &caller, "kms:Decrypt", NOTHING);
        assert_eq!(allowed, wanted, "{named} {account} {policies}");
    }
}

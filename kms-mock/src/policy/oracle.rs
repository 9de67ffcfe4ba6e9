//! A second evaluation, written apart from the text of AWS's pages alone and as
//! plainly as can be, and thousands of generated policies on which both must agree.
//!
//! Source of truth, page by page of the IAM user guide: "Policy evaluation logic" with
//! "Determining whether a request is allowed or denied within an account" and
//! "Cross-account policy evaluation logic"; "Permissions boundaries for IAM entities";
//! "AWS JSON policy elements" Principal, NotPrincipal, NotAction, NotResource; "Multivalued
//! context keys"; of the KMS developer guide "Key policies in AWS KMS" (IAM policies
//! count only where the key policy lets them). Each function quotes its sentence.
//!
//! It reads the JSON anew, compares texts, and knows nothing of the evaluator's
//! types.

use std::sync::Arc;

use nsm_sim::clock::UnixMillis;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{recipient::VerifiedDocument, world::principal::Principal};

const OWNER: &str = "111122223333";
const OTHER: &str = "444455556666";
const ARN: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

#[derive(Clone, Debug)]
struct Situation {
    caller: Principal,
    action: &'static str,
    pcr0: Option<&'static str>,
    context: Vec<(&'static str, &'static str)>,
    tag: Option<&'static str>,
}

/// The policies of a caller.
#[derive(Clone, Debug)]
struct Own {
    identity: Value,
    boundary: Option<Value>,
    session: Option<Value>,
}

fn list(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items
            .iter()
            .map(|i| i.as_str().unwrap().to_owned())
            .collect(),
        Value::String(text) => vec![text.clone()],
        other => panic!("{other}"),
    }
}

fn wild(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => (0..=text.len()).any(|n| wild(&pattern[1..], &text[n..])),
        Some(c) => text.starts_with(c) && wild(&pattern[1..], &text[1..]),
    }
}

/// Everything that a caller is: the session or user, the role or user behind the
/// session, the account.
struct Is {
    itself: String,
    behind: Option<String>,
    account: String,
    is_root: bool,
}

impl Is {
    fn of(caller: &Principal) -> Self {
        let account = format!("arn:aws:iam::{}:root", caller.account());
        let behind = match caller {
            Principal::AssumedRole { account, .. } => {
                Some(format!("arn:aws:iam::{account}:role/app"))
            }
            Principal::FederatedUser {
                account,
                by: Some(_),
                ..
            } => Some(format!("arn:aws:iam::{account}:user/alice")),
            _ => None,
        };
        Self {
            is_root: caller.arn() == account,
            itself: caller.arn(),
            behind,
            account,
        }
    }

    /// "When you specify an AWS account, you can use the account ARN … or a shortened
    /// form".
    fn is_account(&self, text: &str) -> bool {
        text == self.account || self.account.contains(&format!("::{text}:"))
    }
}

fn listed(element: &Value) -> Vec<String> {
    if element == "*" {
        vec!["*".to_owned()]
    } else {
        list(&element["AWS"])
    }
}

/// "Use the NotPrincipal element to deny access to all principals except … specified
/// in the NotPrincipal element". "When you use NotPrincipal with Deny, you must also
/// specify the account ARN of the not-denied principal. Otherwise, the policy might
/// deny access to the entire account containing the principal." "… the assumed-role
/// user … the role … and the AWS account that the role belongs to." And: "will always
/// deny any IAM principal that has a permissions boundary policy attached".
fn is_exempt(texts: &[String], is: &Is, has_boundary: bool) -> bool {
    let has = |wanted: &str| texts.iter().any(|text| text == wanted);
    let has_account = texts.iter().any(|text| is.is_account(text));
    let has_itself = is.is_root || has(&is.itself);
    let has_behind = is.behind.as_ref().is_none_or(|behind| has(behind));
    !has_boundary && (has("*") || (has_account && has_itself && has_behind))
}

/// Whether a statement of the key policy that denies is about the caller.
fn denies_whom(statement: &Value, is: &Is, has_boundary: bool) -> bool {
    if let Some(element) = statement.get("NotPrincipal") {
        return !is_exempt(&listed(element), is, has_boundary);
    }
    // "… all identities in the account", and the principals that are named.
    listed(&statement["Principal"]).iter().any(|text| {
        let behind = is.behind.as_ref() == Some(text);
        text == "*" || *text == is.itself || behind || is.is_account(text)
    })
}

/// What a statement of the key policy that allows gives the caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Given {
    Nothing,
    /// "Allows access to the account", whose IAM policies then decide.
    ToItsAccount,
    /// To the role or user behind the session: "implicitly denied by a permissions
    /// boundary or session policy" all the same.
    ToWhatIsBehind,
    /// To the user, the role session or the federated user session: "not limited by an
    /// implicit deny".
    ToItself,
}

fn gives(statement: &Value, is: &Is) -> Given {
    let texts = listed(&statement["Principal"]);
    let has = |wanted: &dyn Fn(&str) -> bool| texts.iter().any(|text| wanted(text));
    if has(&|text| text == "*" || (!is.is_root && text == is.itself)) {
        Given::ToItself
    } else if has(&|text| is.behind.as_deref() == Some(text)) {
        Given::ToWhatIsBehind
    } else if has(&|text| is.is_account(text)) {
        Given::ToItsAccount
    } else {
        Given::Nothing
    }
}

fn value_of(key: &str, s: &Situation) -> Option<Vec<String>> {
    let key = key.to_lowercase();
    let context = |name: &str| {
        let found: Vec<_> = s
            .context
            .iter()
            .filter(|(k, _)| k.to_lowercase() == name)
            .map(|(_, v)| (*v).to_owned())
            .collect();
        (!found.is_empty()).then_some(found)
    };
    match key.as_str() {
        "kms:recipientattestation:pcr0" | "kms:recipientattestation:imagesha384" => {
            s.pcr0.map(|v| vec![v.to_owned()])
        }
        "kms:encryptioncontextkeys" => {
            let keys: Vec<_> = s.context.iter().map(|(k, _)| (*k).to_owned()).collect();
            (!keys.is_empty()).then_some(keys)
        }
        "kms:calleraccount" => Some(vec![s.caller.account().to_owned()]),
        "aws:principalarn" => Some(vec![match &s.caller {
            Principal::AssumedRole { .. } => Is::of(&s.caller).behind.unwrap(),
            other => other.arn(),
        }]),
        "aws:principaltag/team" => s.tag.map(|tag| vec![tag.to_owned()]),
        key => context(key.strip_prefix("kms:encryptioncontext:")?),
    }
}

fn holds(operator: &str, key: &str, expected: &Value, s: &Situation) -> bool {
    let presented = value_of(key, s);
    let expected = list(expected);
    if operator == "Null" {
        return expected
            .iter()
            .any(|e| (e == "true") == presented.is_none());
    }
    let (set, rest) = match operator.split_once(':') {
        Some((set, rest)) => (set, rest),
        None => ("", operator),
    };
    let (name, if_exists) = match rest.strip_suffix("IfExists") {
        Some(name) => (name, true),
        None => (rest, false),
    };
    let negated = name.contains("Not");
    let Some(presented) = presented else {
        return if_exists || set == "ForAllValues" || (set.is_empty() && negated);
    };
    let equal = |p: &String| {
        expected
            .iter()
            .any(|e| match name.replace("Not", "").as_str() {
                "StringEquals" => p == e,
                "StringEqualsIgnoreCase" => p.to_lowercase() == e.to_lowercase(),
                "StringLike" => wild(e, p),
                other => panic!("{other}"),
            })
    };
    match set {
        "ForAllValues" => presented.iter().all(|p| equal(p) != negated),
        "ForAnyValue" => presented.iter().any(|p| equal(p) != negated),
        _ => presented.iter().any(equal) != negated,
    }
}

/// Whether an element, or its opposite in its place, covers what is asked: "matches
/// everything except the specified list".
fn covers(statement: &Value, element: &str, fits: impl Fn(&str) -> bool) -> bool {
    match (
        statement.get(element),
        statement.get(format!("Not{element}")),
    ) {
        (Some(listed), _) => list(listed).iter().any(|item| fits(item)),
        (None, Some(listed)) => !list(listed).iter().any(|item| fits(item)),
        (None, None) => false,
    }
}

fn applies(statement: &Value, s: &Situation) -> bool {
    let action = s.action.to_lowercase();
    covers(statement, "Action", |item| {
        wild(&item.to_lowercase(), &action)
    }) && covers(statement, "Resource", |item| wild(item, ARN))
        && statement["Condition"]
            .as_object()
            .into_iter()
            .flatten()
            .all(|(operator, keys)| {
                keys.as_object()
                    .unwrap()
                    .iter()
                    .all(|(key, values)| holds(operator, key, values, s))
            })
}

/// Whether the call is allowed.
fn oracle(key_policy: &Value, own: &Own, s: &Situation) -> bool {
    let of = |policy: &Value, effect: &str| -> Vec<Value> {
        let statements = policy["Statement"].as_array().unwrap().iter();
        let counting = statements.filter(|it| it["Effect"] == effect && applies(it, s));
        counting.cloned().collect()
    };
    let is = Is::of(&s.caller);
    let allows = |policy: &Value| !of(policy, "Allow").is_empty();
    let denies = |policy: &Value| !of(policy, "Deny").is_empty();

    // "You cannot use identity-based policies to deny the root user permissions", nor
    // bound it; what it hands to a federated user is bounded by the session alone.
    let acts_for_root = matches!(
        s.caller,
        Principal::Root { .. } | Principal::FederatedUser { by: None, .. }
    );
    let mut limits = Vec::new();
    let mut explicit = Vec::new();
    if !acts_for_root {
        explicit.push(&own.identity);
        limits.extend(&own.boundary);
    }
    limits.extend(&own.session);
    explicit.extend(&limits);

    // "An explicit deny in any of these policies overrides the allow."
    let has_boundary = own.boundary.is_some();
    if explicit.into_iter().any(denies)
        || of(key_policy, "Deny")
            .iter()
            .any(|statement| denies_whom(statement, &is, has_boundary))
    {
        return false;
    }
    // "The request is allowed when both … allow"; a federated user session without
    // session policies has no permissions.
    let within = limits.into_iter().all(allows)
        && (own.session.is_some() || !matches!(s.caller, Principal::FederatedUser { .. }));
    let by_iam = acts_for_root || allows(&own.identity);
    let given = of(key_policy, "Allow")
        .iter()
        .map(|statement| gives(statement, &is))
        .max()
        .unwrap_or(Given::Nothing);
    // "If the account … are different, the request must be allowed by both".
    let is_same_account = s.caller.account() == OWNER;
    match given {
        Given::Nothing => false,
        Given::ToItself if is_same_account => true,
        Given::ToWhatIsBehind if is_same_account => within,
        Given::ToItsAccount | Given::ToItself | Given::ToWhatIsBehind => by_iam && within,
    }
}

fn principal() -> impl Strategy<Value = Principal> {
    let account = prop_oneof![3 => Just(OWNER), 1 => Just(OTHER)];
    (account, 0..6u8).prop_map(|(account, kind)| {
        let account = account.to_owned();
        match kind {
            0 => Principal::Root { account },
            1 => Principal::User {
                account,
                path_name: "alice".into(),
            },
            2 | 3 => Principal::FederatedUser {
                account,
                name: "bob".into(),
                by: (kind == 2).then(|| "alice".into()),
            },
            _ => Principal::AssumedRole {
                account,
                role_path_name: "app".into(),
                session: "s".into(),
            },
        }
    })
}

fn principal_text() -> impl Strategy<Value = String> {
    let account = prop_oneof![Just(OWNER), Just(OTHER)];
    (account, 0..7u8).prop_map(|(account, kind)| match kind {
        0 => "*".to_owned(),
        1 => account.to_owned(),
        2 => format!("arn:aws:iam::{account}:root"),
        3 => format!("arn:aws:iam::{account}:role/app"),
        4 => format!("arn:aws:sts::{account}:assumed-role/app/s"),
        5 => format!("arn:aws:sts::{account}:federated-user/bob"),
        _ => format!("arn:aws:iam::{account}:user/alice"),
    })
}

fn condition() -> impl Strategy<Value = Value> {
    let operator = prop_oneof![
        Just("StringEquals"),
        Just("StringNotEquals"),
        Just("StringEqualsIgnoreCase"),
        Just("StringNotEqualsIgnoreCase"),
        Just("StringLike"),
        Just("StringNotLike"),
        Just("Null"),
    ];
    let set = prop_oneof![3 => Just(""), 1 => Just("ForAnyValue:"), 1 => Just("ForAllValues:")];
    let key = prop_oneof![
        Just("kms:RecipientAttestation:PCR0"),
        Just("kms:RecipientAttestation:ImageSha384"),
        Just("KMS:EncryptionContext:Job"),
        Just("kms:EncryptionContextKeys"),
        Just("kms:CallerAccount"),
        Just("aws:PrincipalArn"),
        Just("aws:PrincipalTag/Team"),
        Just("aws:SourceVpce"),
    ];
    let value = prop_oneof![
        Just("aa"),
        Just("AA"),
        Just("bb"),
        Just("a*"),
        Just("7"),
        Just("job"),
        Just("Job"),
        Just(OWNER),
        Just("arn:aws:iam::*"),
        Just("*"),
    ];
    let values = proptest::collection::vec(value, 1..3);
    (operator, set, any::<bool>(), key, values).prop_map(
        |(operator, set, if_exists, key, values)| {
            if operator == "Null" {
                return json!({ "Null": { key: if values.len() == 1 { "true" } else { "false" } } });
            }
            let operator = format!("{set}{operator}{}", if if_exists { "IfExists" } else { "" });
            json!({ operator: { key: values } })
        },
    )
}

fn statement(with_principal: bool) -> impl Strategy<Value = Value> {
    let action = prop_oneof![
        Just("kms:*"),
        Just("*"),
        Just("kms:Decrypt"),
        Just("KMS:decrypt"),
        Just("kms:Generate*"),
        Just("s3:*"),
    ];
    let resource = prop_oneof![4 => Just("*"), 1 => Just("arn:aws:kms:*:111122223333:key/*"), 1 => Just("arn:aws:kms:*:*:alias/*")];
    (
        prop_oneof![6 => Just(("Allow", "Principal")), 1 => Just(("Deny", "Principal")), 2 => Just(("Deny", "NotPrincipal"))],
        // Enough to name all that a session is.
        proptest::collection::vec(principal_text(), 1..5),
        prop_oneof![5 => Just("Action"), 1 => Just("NotAction")],
        proptest::collection::vec(action, 1..3),
        (prop_oneof![5 => Just("Resource"), 1 => Just("NotResource")], resource),
        prop_oneof![1 => Just(None).boxed(), 1 => condition().prop_map(Some).boxed()],
    )
        .prop_map(
            move |((effect, who), principals, what, actions, (which, resource), condition)| {
                let mut statement = json!({ "Effect": effect, what: actions, which: resource });
                if with_principal {
                    statement[who] = json!({ "AWS": principals });
                }
                if let Some(condition) = condition {
                    statement["Condition"] = condition;
                }
                statement
            },
        )
}

fn policy(with_principal: bool) -> impl Strategy<Value = Value> {
    proptest::collection::vec(statement(with_principal), 1..4)
        .prop_map(|statements| json!({ "Version": "2012-10-17", "Statement": statements }))
}

fn situation() -> impl Strategy<Value = Situation> {
    (
        principal(),
        prop_oneof![Just("kms:Decrypt"), Just("kms:GenerateDataKey")],
        prop_oneof![Just(None), Just(Some("aa")), Just(Some("bb"))],
        prop_oneof![
            Just(vec![]),
            Just(vec![("job", "7")]),
            Just(vec![("Job", "aa")]),
            Just(vec![("Job", "bb"), ("job", "7")]),
        ],
        prop_oneof![Just(None), Just(Some("aa")), Just(Some("7"))],
    )
        .prop_map(|(caller, action, pcr0, context, tag)| Situation {
            caller,
            action,
            pcr0,
            context,
            tag,
        })
}

fn own() -> impl Strategy<Value = Own> {
    let limit = || proptest::option::weighted(0.3, policy(false));
    (policy(false), limit(), limit()).prop_map(|(identity, boundary, session)| Own {
        identity,
        boundary,
        session,
    })
}

fn decide_it(key_policy: &Value, own: &Own, s: &Situation) -> Decision {
    let parse = |json: &Value, kind| Arc::new(Policy::parse(&json.to_string(), kind).unwrap());
    let mut caller = Caller::new(s.caller.clone());
    caller
        .identity_policies
        .push(parse(&own.identity, PolicyKind::Identity));
    let limit = |json: &Option<Value>| json.as_ref().map(|it| parse(it, PolicyKind::Identity));
    caller.boundary = limit(&own.boundary);
    caller.session_policies.extend(limit(&own.session));
    caller
        .tags
        .extend(s.tag.map(|tag| ("team".to_owned(), tag.to_owned())));
    let document = s.pcr0.map(|pcr0| VerifiedDocument {
        module_id: String::new(),
        timestamp: UnixMillis(0),
        pcrs: [(0, hex::decode(pcr0).unwrap())].into(),
        nitrotpm: false,
        public_key: None,
    });
    let context: EncryptionContext = s
        .context
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let tags = Default::default();
    let facts = Facts {
        encryption_context: Some(&context),
        recipient: document.as_ref(),
        ..Facts::default()
    };
    let request = Request {
        caller: &caller,
        action: s.action,
        resource: Resource::Key(KeyFacts {
            arn: ARN,
            account: OWNER,
            region: "us-east-1",
            spec: "SYMMETRIC_DEFAULT",
            usage: "ENCRYPT_DECRYPT",
            origin: "AWS_KMS",
            multi_region_type: None,
            aliases: &[],
            tags: &tags,
        }),
        facts: &facts,
        now: UnixMillis(0),
    };
    decide(
        &request,
        Some(&parse(key_policy, PolicyKind::Key)),
        Vec::new,
    )
}

proptest! {
    // `PROPTEST_CASES` asks for more.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(3000),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_evaluator_agrees_with_the_oracle(
        key_policy in policy(true),
        mut own in own(),
        s in situation(),
    ) {
        // Only sessions have session policies, and no root user has a boundary.
        if matches!(s.caller, Principal::Root { .. } | Principal::User { .. }) {
            own.session = None;
        }
        if matches!(s.caller, Principal::Root { .. }) {
            own.boundary = None;
        }
        let decision = decide_it(&key_policy, &own, &s);
        prop_assert_eq!(
            decision.is_allowed(),
            oracle(&key_policy, &own, &s),
            "{:#}", decision.to_json()
        );
    }
}

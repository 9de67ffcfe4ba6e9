//! A second evaluation, written apart and as plainly as can be, and thousands of
//! generated policies on which both must agree.
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

/// 0: not named, 1: the account, 2: the role or user behind a session, 3: the
/// caller itself.
fn named(statement: &Value, caller: &Principal, has_boundary: bool) -> u8 {
    let (element, inverted) = match statement.get("NotPrincipal") {
        Some(element) => (element, true),
        None => (&statement["Principal"], false),
    };
    if inverted && has_boundary && statement["Effect"] == "Deny" {
        return 3;
    }
    let texts = if element == "*" {
        vec!["*".to_owned()]
    } else {
        list(&element["AWS"])
    };
    let account = caller.account();
    let best = texts
        .iter()
        .map(|text| match text.as_str() {
            "*" => 3,
            text if text == account || text == format!("arn:aws:iam::{account}:root") => 1,
            text if text == caller.arn() => 3,
            text if text == behind(caller) => 2,
            _ => 0,
        })
        .max()
        .unwrap();
    if inverted {
        if best == 0 { 2 } else { 0 }
    } else {
        best
    }
}

/// The role or user that a session belongs to.
fn behind(caller: &Principal) -> String {
    match caller {
        Principal::AssumedRole { account, .. } => format!("arn:aws:iam::{account}:role/app"),
        Principal::FederatedUser {
            account,
            by: Some(_),
            ..
        } => format!("arn:aws:iam::{account}:user/alice"),
        _ => String::new(),
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
            Principal::AssumedRole { .. } => behind(&s.caller),
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

fn applies(statement: &Value, s: &Situation) -> bool {
    let (Some(actions), Some(resource)) = (
        statement.get("Action").or(statement.get("NotAction")),
        statement.get("Resource"),
    ) else {
        return false;
    };
    let listed = list(actions)
        .iter()
        .any(|a| wild(&a.to_lowercase(), &s.action.to_lowercase()));
    listed == statement.get("Action").is_some()
        && list(resource).iter().any(|r| wild(r, ARN))
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

/// Whether the call is allowed, in the fewest words.
fn oracle(key_policy: &Value, own: &Own, s: &Situation) -> bool {
    let statements = |policy: &Value| policy["Statement"].as_array().unwrap().clone();
    let of = |policy: &Value, effect: &str| -> Vec<Value> {
        statements(policy)
            .into_iter()
            .filter(|statement| statement["Effect"] == effect && applies(statement, s))
            .collect()
    };
    let is_root = matches!(
        s.caller,
        Principal::Root { .. } | Principal::FederatedUser { by: None, .. }
    );
    let Own {
        identity,
        boundary,
        session,
    } = own;
    let boundary = boundary.as_ref().filter(|_| !is_root);
    let naming = |effect: &str| {
        of(key_policy, effect)
            .iter()
            .map(|statement| named(statement, &s.caller, own.boundary.is_some()))
            .max()
            .unwrap_or(0)
    };
    let denies = |policy: &Value| !of(policy, "Deny").is_empty();
    let allows = |policy: &Value| !of(policy, "Allow").is_empty();
    if naming("Deny") > 0
        || (!is_root && denies(identity))
        || boundary.is_some_and(denies)
        || session.as_ref().is_some_and(denies)
    {
        return false;
    }
    let iam = is_root || allows(identity);
    let level = naming("Allow");
    let allowed = if s.caller.account() == OWNER {
        level >= 2 || (level == 1 && iam)
    } else {
        level >= 1 && iam
    };
    let unlimited = level == 3 && s.caller.account() == OWNER;
    let in_session = match session {
        Some(policy) => allows(policy),
        None => !matches!(s.caller, Principal::FederatedUser { .. }),
    };
    allowed && (unlimited || (boundary.is_none_or(allows) && in_session))
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
        prop_oneof![3 => Just("Allow"), 1 => Just("Deny")],
        prop_oneof![5 => Just("Principal"), 1 => Just("NotPrincipal")],
        proptest::collection::vec(principal_text(), 1..3),
        prop_oneof![5 => Just("Action"), 1 => Just("NotAction")],
        proptest::collection::vec(action, 1..3),
        resource,
        prop_oneof![1 => Just(None).boxed(), 1 => condition().prop_map(Some).boxed()],
    )
        .prop_map(
            move |(effect, who, principals, what, actions, resource, condition)| {
                let mut statement =
                    json!({ "Effect": effect, what: actions, "Resource": resource });
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

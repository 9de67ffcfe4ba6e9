//! What the search does not follow to the end, and says so: services and identity
//! providers as callers, other partitions, IAM policies that may be changed; and what
//! a verdict stands on.
//!
//! Source of truth: IAM user guide, "AWS JSON policy elements: Principal"; AWS KMS
//! developer guide, "Controlling access to aliases" and "Multi-Region keys" (what IAM
//! must allow beside the key policy). The actions that change an identity's own
//! policies are IAM's of the service authorization reference.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{
    asked::{ASKED, Asked},
    claim::{Claim, ClaimError, Finding, Gap, Proof, Undecided},
    search::{Escalation, Prover},
};
use crate::{
    model::{condition_key::ConditionKey, condition_key::Filled, operation::Operation},
    policy::{
        Caller, Facts, Policy, PolicyKind, Request, Resource, decide,
        document::{Effect, Statement},
        principals::PrincipalEntry,
        question::parse_principal,
    },
    world::principal::{Principal, is_account_id},
};

/// Condition keys that only a service's own calls have.
const OF_SERVICES: [&str; 3] = [
    "aws:principalisawsservice",
    "aws:principalservicename",
    "aws:principalservicenameslist",
];

/// Actions by which somebody gives itself further IAM permissions.
const GIVES_ITSELF: [&str; 9] = [
    "iam:PutRolePolicy",
    "iam:AttachRolePolicy",
    "iam:PutUserPolicy",
    "iam:AttachUserPolicy",
    "iam:CreatePolicyVersion",
    "iam:SetDefaultPolicyVersion",
    "iam:PutGroupPolicy",
    "iam:AttachGroupPolicy",
    "iam:AddUserToGroup",
];

/// Actions by which somebody becomes somebody else.
const BECOMES_ANOTHER: [&str; 6] = [
    "sts:AssumeRole",
    "iam:UpdateAssumeRolePolicy",
    "iam:CreateAccessKey",
    "iam:CreateLoginProfile",
    "iam:UpdateLoginProfile",
    "iam:PassRole",
];

/// The whole search, which comes back here for what services may.
type Prove = fn(&Claim) -> Result<Proof, ClaimError>;

/// What cannot be decided whoever calls.
pub(super) fn gaps(claim: &Claim, prove: Prove) -> Vec<Gap> {
    let mut out = Vec::new();
    let statements = claim.policy.statements();
    for (at, statement) in statements.iter().enumerate() {
        let texts = || texts_of(statement);
        let partitions: BTreeSet<&str> = texts().filter_map(|it| foreign_partition(it)).collect();
        let covers = |asked: &&&Asked| {
            let actions = statement.actions.as_ref();
            asked.is_path() && actions.is_some_and(|it| it.cover_action(asked.action()))
        };
        if let Some(asked) = ASKED.iter().find(covers) {
            out.extend(partitions.into_iter().map(|partition| Gap {
                principal: None,
                action: asked.action(),
                why: Undecided::Beyond {
                    what: format!(
                        "principals of the partition {partition}, which statement {} names",
                        at + 1
                    ),
                },
            }));
        }
        let mut entries = statement.principals.iter().flat_map(|it| &it.items);
        if statement.effect == Effect::Allow && entries.any(|it| *it == PrincipalEntry::Foreign) {
            out.extend(what_services_may(claim, at, prove));
        }
    }
    out
}

/// The texts of a statement that name principals.
fn texts_of(statement: &Statement) -> impl Iterator<Item = &str> {
    let conditions = statement.conditions.iter().filter(|condition| {
        let row = condition.key().row();
        row.is_some_and(|row| row.filled == Filled::Identity)
            || matches!(
                condition.key(),
                ConditionKey::GranteePrincipal | ConditionKey::RetiringPrincipal
            )
    });
    conditions
        .flat_map(|condition| condition.operands())
        .map(|operand| &**operand.text())
}

/// `aws-cn` of `arn:aws-cn:…`.
fn foreign_partition(text: &str) -> Option<&str> {
    let partition = text.strip_prefix("arn:")?.split(':').next()?;
    let is_pattern = partition.contains(['*', '?', '$']);
    (partition.starts_with("aws-") && !is_pattern).then_some(partition)
}

/// What a statement gives to services and identity providers: what it would give to
/// anybody if it named anybody.
fn what_services_may(claim: &Claim, at: usize, prove: Prove) -> Vec<Gap> {
    let beyond = |action, who: &str| Gap {
        principal: None,
        action,
        why: Undecided::Beyond {
            what: format!(
                "for whom {who} calls, to which statement {} gives it",
                at + 1
            ),
        },
    };
    let document: Value = serde_json::from_str(claim.policy.text()).unwrap_or_default();
    let list = match &document["Statement"] {
        Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    };
    let Some(own) = list.get(at) else {
        return Vec::new();
    };
    let who = own["Principal"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(kind, _)| *kind != "AWS")
        .map(|(_, names)| {
            names
                .to_string()
                .replace(['"', '[', ']'], "")
                .replace(',', ", ")
        })
        .collect::<Vec<_>>()
        .join(", ");
    let mut own = own.clone();
    own["Principal"] = json!("*");
    own.as_object_mut().map(|it| it.remove("NotPrincipal"));
    if let Some(conditions) = own["Condition"].as_object_mut() {
        for tests in conditions.values_mut().filter_map(Value::as_object_mut) {
            tests.retain(|key, _| {
                let row = ConditionKey::parse(key).row();
                row.is_none_or(|row| row.filled != Filled::Identity)
            });
        }
        conditions.retain(|_, tests| tests.as_object().is_some_and(|it| !it.is_empty()));
    }
    // A Deny for everybody stops services, too.
    let for_everybody = |statement: &&Value| {
        statement["Effect"] == "Deny"
            && (statement["Principal"] == "*" || statement["Principal"]["AWS"] == "*")
            && !statement["Condition"]
                .to_string()
                .to_lowercase()
                .contains("aws:principal")
    };
    let mut statements: Vec<Value> = list.iter().filter(for_everybody).cloned().collect();
    statements.push(own);
    let version = document.get("Version").cloned();
    let reduced =
        json!({ "Version": version.unwrap_or(json!("2008-10-17")), "Statement": statements });
    let reduced = Policy::parse(&reduced.to_string(), PolicyKind::Key).map(Arc::new);
    let proof = reduced.ok().and_then(|policy| {
        let claim = Claim {
            policy,
            principals: Vec::new(),
            identity_policies: None,
            boundary: None,
            ..claim.clone()
        };
        prove(&claim).ok()
    });
    let Some(proof) = proof else {
        return vec![beyond("kms:*", &who)];
    };
    let mut seen = BTreeSet::new();
    let paths = proof
        .findings
        .iter()
        .filter(|finding| finding.kind.is_path());
    let found = paths.filter_map(|finding| action_of(finding.action()));
    let undecided = proof.undecided.iter().map(|gap| gap.action);
    found
        .chain(undecided)
        .filter(|action| seen.insert(*action))
        .map(|action| beyond(action, &who))
        .collect()
}

fn action_of(action: &str) -> Option<&'static str> {
    let asked = ASKED.iter().find(|asked| asked.action() == action);
    asked.map(|asked| asked.action())
}

/// Takes away what only a service of AWS could ask for: for whom it asks is not
/// followed.
pub(super) fn without_services(findings: Vec<Finding>) -> (Vec<Gap>, Vec<Finding>) {
    let is_of_service = |finding: &Finding| {
        let mut steps = finding.steps.iter();
        steps.any(|step| {
            let keys = &step.call.facts.condition_keys;
            OF_SERVICES.iter().any(|name| keys.contains_key(*name))
        })
    };
    let (theirs, rest): (Vec<_>, Vec<_>) = findings.into_iter().partition(is_of_service);
    let paths = theirs.iter().filter(|finding| finding.kind.is_path());
    let gaps = paths.filter_map(|finding| {
        let statement = finding.statement.as_ref().map_or(0, |(number, _)| *number);
        Some(Gap {
            principal: None,
            action: action_of(finding.action())?,
            why: Undecided::Beyond {
                what: format!(
                    "for whom services of AWS call, to which statement {statement} gives it"
                ),
            },
        })
    });
    (gaps.collect(), rest)
}

/// Whether a principal's IAM policies allow an action on a resource.
fn iam_allows(prover: &Prover<'_>, principal: &Principal, action: &str, arn: &str) -> bool {
    let (policies, boundary) = prover.iam_of(principal);
    let caller = Caller {
        identity_policies: policies.to_vec(),
        boundary: boundary.cloned(),
        session_policies: match principal {
            Principal::FederatedUser { .. } => prover.iam_of_others.clone(),
            _ => Vec::new(),
        },
        ..Caller::new(principal.clone())
    };
    let account = principal.account();
    let whole = format!("arn:aws:kms:us-east-1:{account}:*");
    let resource = match arn {
        "*" => Resource::Account {
            arn: &whole,
            account,
        },
        arn => Resource::Other { arn, account },
    };
    let request = Request {
        caller: &caller,
        action,
        resource,
        facts: &Facts {
            region: Some("us-east-1"),
            ..Facts::default()
        },
        now: prover.claim.now,
    };
    decide(&request, None, Vec::new).is_allowed()
}

/// Whether IAM allows what an operation needs beside the permission on the key: the
/// alias, the new replica.
pub(super) fn iam_allows_the_rest(
    prover: &Prover<'_>,
    principal: &Principal,
    asked: &Asked,
) -> bool {
    match asked.operation {
        Operation::UpdateAlias | Operation::DeleteAlias => {
            let account = &prover.account;
            let named = prover.claim.own_policies().flat_map(|policy| {
                let resources = policy
                    .statements()
                    .iter()
                    .filter_map(|s| s.resources.as_ref());
                resources.flat_map(|it| &it.items).filter_map(|it| {
                    Some(it.text().split_once(":alias/")?.1.replace(['*', '?'], "x"))
                })
            });
            let mut names = named.chain(["x".to_owned()]);
            names.any(|name| {
                let arn = format!("arn:aws:kms:us-east-1:{account}:alias/{name}");
                iam_allows(prover, principal, asked.action(), &arn)
            })
        }
        Operation::ReplicateKey => iam_allows(prover, principal, "kms:CreateKey", "*"),
        _ => true,
    }
}

/// Whether the principals of the claim may give themselves what their IAM policies
/// lack. What they might become instead is left open.
pub(super) fn escalation(prover: &Prover<'_>, gaps: &mut Vec<Gap>) -> Option<Escalation> {
    let claim = prover.claim;
    claim.identity_policies.as_ref()?;
    let named = claim.principals.iter().filter(|text| !is_account_id(text));
    let principals: Vec<Principal> = named
        .filter_map(|text| parse_principal(text, "session"))
        .collect();
    let covers = |action: &str| {
        let statements = claim
            .identity_policies
            .iter()
            .flatten()
            .flat_map(|it| it.statements());
        let mut allowing = statements.filter(|it| it.effect == Effect::Allow);
        allowing.any(|it| {
            it.actions
                .as_ref()
                .is_some_and(|it| it.cover_action(action))
        })
    };
    let may = |action: &str| {
        principals
            .iter()
            .any(|it| iam_allows(prover, it, action, &it.role_arn()))
    };
    let found = GIVES_ITSELF.into_iter().find(|action| may(action));
    let other = GIVES_ITSELF
        .iter()
        .chain(&BECOMES_ANOTHER)
        .find(|action| covers(action));
    if let (None, Some(action)) = (found, other) {
        gaps.push(Gap::about_all(Undecided::Beyond {
            what: format!("{action}, which an IAM policy of the principals allows"),
        }));
    }
    found.map(|by| Escalation {
        by,
        lifts_boundary: [
            "iam:DeleteRolePermissionsBoundary",
            "iam:DeleteUserPermissionsBoundary",
        ]
        .iter()
        .any(|action| may(action)),
    })
}

/// What "closed" stands on.
pub(super) fn assumptions(claim: &Claim) -> Vec<String> {
    let mut out = vec![
        "the key has no grants yet, or none that matter (aws kms list-grants)".to_owned(),
        "the enclaves of the expected images keep to themselves what they decrypt".to_owned(),
        "AWS does as it documents; its staff, its services and its grants to services (GranteeServicePrincipal) are not looked at".to_owned(),
        "the key's account has no other key policy in force, and is in the partition aws".to_owned(),
        "of a key in a custom key store, the store is trusted: no key policy decides who redirects it".to_owned(),
        "of an asymmetric key, the public key is public: what is encrypted or encapsulated with it may be anybody's".to_owned(),
    ];
    if claim.identity_policies.is_some() {
        out.push(
            "the principals have the IAM policies given and no others, and nobody gives them more"
                .to_owned(),
        );
    }
    if !claim.principals.is_empty() {
        out.push(format!(
            "only calls of {} count, and of those to whom they give grants",
            claim.principals.join(", ")
        ));
    }
    let unknown: BTreeSet<&str> = std::iter::once(&claim.policy)
        .chain(claim.own_policies())
        .flat_map(|policy| policy.statements())
        .flat_map(|statement| &statement.conditions)
        .filter(|condition| condition.key().row().is_none())
        .map(|condition| &**condition.key_text())
        .filter(|name| name.to_lowercase().starts_with("kms:"))
        .collect();
    out.extend(
        unknown
            .into_iter()
            .map(|name| format!("AWS KMS has no condition key {name}")),
    );
    out
}

//! Everybody who could call, one of each kind: each that the policies name, and
//! for every combination of patterns on principals and accounts somebody who
//! matches it, strangers included.

use std::collections::BTreeSet;

use super::{
    claim::Undecided,
    values::patterns,
    words::{Pattern, Symbol, glob, literal, words},
};
use crate::{
    model::condition_key::ConditionKey,
    policy::{
        Policy, Question, operator::Test, principals::PrincipalEntry, question::parse_principal,
        template::Character,
    },
    world::principal::{Principal, name_of},
};

/// Callers to look at. More would take minutes.
const PRINCIPALS_MAX: usize = 200;
const DIGITS: &str = "9876543210";
const NAME: &str = "xyzabcdefghijklmnopqrstuvwABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+=,.@_-";
const SESSION: &str = "session";

/// What a condition key says of a principal.
enum Part {
    Arn,
    Account,
    UserName,
}

/// One of each kind of principal, those that the policy names first.
pub(super) fn everybody(
    base: &Question,
    policies: &[(&Policy, bool)],
    owner: &str,
) -> Result<Vec<Principal>, Undecided> {
    let mut all: Vec<Pattern> = Vec::new();
    let mut named: Vec<String> = Vec::new();
    let mut accounts: BTreeSet<String> = [owner.to_owned()].into();
    let statements = || policies.iter().flat_map(|(policy, _)| policy.statements());
    for entry in statements()
        .filter_map(|s| s.principals.as_ref())
        .flat_map(|p| &p.items)
    {
        match entry {
            PrincipalEntry::Account(account) => {
                accounts.insert(account.clone());
            }
            PrincipalEntry::User { account, path_name } => {
                named.push(format!("arn:aws:iam::{account}:user/{path_name}"));
            }
            PrincipalEntry::Role { account, path_name } => {
                named.push(format!("arn:aws:iam::{account}:role/{path_name}"));
            }
            PrincipalEntry::Session { account, role, .. } => {
                named.push(format!("arn:aws:iam::{account}:role/{role}"));
            }
            PrincipalEntry::FederatedUser { account, name } => {
                named.push(format!("arn:aws:sts::{account}:federated-user/{name}"));
            }
            PrincipalEntry::Anyone | PrincipalEntry::Foreign => {}
        }
    }
    for condition in statements().flat_map(|s| &s.conditions) {
        use ConditionKey as K;
        let part = match condition.key() {
            K::PrincipalArn | K::GranteePrincipal | K::RetiringPrincipal => Part::Arn,
            K::CallerAccount | K::PrincipalAccount => Part::Account,
            K::UserName => Part::UserName,
            _ => continue,
        };
        let has_variables = condition
            .operands()
            .iter()
            .any(|o| o.variables().next().is_some());
        let is_text = matches!(
            condition.operator().test(),
            Test::Text(_) | Test::Pattern | Test::Arn | Test::Null
        );
        if has_variables || !is_text {
            return Err(Undecided::Beyond {
                what: format!("this condition on {}", condition.key_text()),
            });
        }
        for pattern in patterns(condition, base)? {
            let seen = match part {
                Part::Account => {
                    all.push(of_account("sts", &pattern));
                    of_account("iam", &pattern)
                }
                Part::UserName => {
                    let mut out = literal("arn:aws:iam::");
                    out.push(Symbol::AnyOfPart);
                    out.extend(literal(":user/"));
                    out.extend(&pattern);
                    out
                }
                Part::Arn => pattern,
            };
            all.push(seen);
        }
    }
    named.sort();
    named.dedup();
    all.extend(named.iter().map(|arn| literal(arn)));
    for service in ["iam", "sts"] {
        let of_service = |account: &String| of_account(service, &literal(account));
        all.extend(accounts.iter().map(of_service));
    }
    let mut arns = named.clone();
    for (service, tail) in [
        ("iam", ":role/"),
        ("iam", ":user/"),
        ("iam", ":root"),
        ("sts", ":federated-user/"),
    ] {
        let mut shape = literal(&format!("arn:aws:{service}::"));
        shape.extend([Symbol::Of(DIGITS); 12]);
        shape.extend(literal(tail));
        if tail != ":root" {
            shape.extend([Symbol::Of(NAME), Symbol::SomeOf(NAME)]);
        }
        arns.extend(words(&all, &shape, 1)?);
    }
    let mut seen = BTreeSet::new();
    arns.retain(|arn| seen.insert(arn.clone()));
    let mut out = Vec::new();
    for arn in &arns {
        out.extend(sessions(arn, policies));
    }
    let rank = |principal: &Principal| {
        let is_named = named.contains(&principal.role_arn());
        (!is_named, principal.account() != owner)
    };
    out.sort_by_key(rank);
    if out.len() > PRINCIPALS_MAX {
        return Err(Undecided::TooLarge {
            what: "kinds of principals".to_owned(),
            max: PRINCIPALS_MAX,
        });
    }
    Ok(out)
}

fn of_account(service: &str, account: &Pattern) -> Pattern {
    let mut out = literal(&format!("arn:aws:{service}::"));
    out.extend(account.iter().map(|symbol| match symbol {
        Symbol::Any => Symbol::AnyOfPart,
        Symbol::One => Symbol::OneOfPart,
        other => *other,
    }));
    out.push(Symbol::Char(':'));
    out.push(Symbol::Any);
    out
}

/// The principal of an ARN; for a role an ordinary session and each that the
/// policies name.
pub(super) fn sessions(arn: &str, policies: &[(&Policy, bool)]) -> Vec<Principal> {
    let mut names = vec![SESSION.to_owned()];
    for entry in policies
        .iter()
        .flat_map(|(policy, _)| policy.statements())
        .filter_map(|s| s.principals.as_ref())
        .flat_map(|p| &p.items)
    {
        if let PrincipalEntry::Session {
            account,
            role,
            session,
        } = entry
        {
            let is_of_role = parse_principal(arn, SESSION).is_some_and(|p| {
                matches!(&p, Principal::AssumedRole { role_path_name, .. } if name_of(role_path_name) == role)
                    && p.account() == account
            });
            if is_of_role && !names.contains(session) {
                names.push(session.clone());
            }
        }
    }
    let is_role = arn.contains(":role/");
    names.truncate(if is_role { names.len() } else { 1 });
    names
        .iter()
        .filter_map(|session| parse_principal(arn, session))
        .collect()
}

/// The ARNs a policy's `Resource` elements can tell apart, of keys of `owner`.
pub(super) fn key_arns(
    base: &Question,
    policies: &[(&Policy, bool)],
    owner: &str,
) -> Result<Vec<String>, Undecided> {
    let mut all = Vec::new();
    for template in policies
        .iter()
        .flat_map(|(policy, _)| policy.statements())
        .filter_map(|s| s.resources.as_ref())
        .flat_map(|r| &r.items)
    {
        if template.variables().next().is_some() {
            return Err(Undecided::Beyond {
                what: "policy variables in Resource".to_owned(),
            });
        }
        let characters = template.characters(&|_| None);
        all.extend(
            characters
                .filter(|characters| *characters != [Character::Any])
                .map(|characters| glob(&characters)),
        );
    }
    let usual = &base.key.arn;
    all.push(literal(usual));
    const REGION: &str = "abcdefghijklmnopqrstuvwxyz0123456789-";
    const ID: &str = "abcdef0123456789ghijklmnopqrstuvwxyz-";
    let mut shape = literal("arn:aws:kms:");
    shape.extend([
        Symbol::Of(REGION),
        Symbol::SomeOf(REGION),
        Symbol::Char(':'),
    ]);
    shape.extend(literal(owner));
    shape.extend(literal(":key/"));
    shape.extend([Symbol::Of(ID), Symbol::SomeOf(ID)]);
    let mut arns = vec![usual.clone()];
    if all.len() > 1 {
        arns.extend(words(&all, &shape, 1)?);
        arns.dedup();
    }
    Ok(arns)
}

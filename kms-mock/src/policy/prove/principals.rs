//! Everybody who could call, one of each kind: each that the policies name, and
//! for every combination of patterns on principals and accounts somebody who
//! matches it, strangers included. Roles and users with and without a path, sessions,
//! federated users and root users; services, identity providers and other partitions
//! are [`beyond`](super::beyond).

use std::collections::BTreeSet;

use super::{
    claim::Undecided,
    values::patterns,
    words::{Pattern, Symbol, arn as arn_pattern, glob, literal, words, words_of_any},
};
use crate::{
    model::{condition_key::ConditionKey, region::REGIONS},
    policy::{
        Policy, Question,
        operator::Test,
        principals::PrincipalEntry,
        question::parse_principal,
        template::{Case, Character, Template},
    },
    world::{
        arn::six_parts,
        principal::{Principal, is_account_id, name_of},
    },
};

/// Callers to look at. More would take minutes.
const PRINCIPALS_MAX: usize = 400;
const DIGITS: &str = "9876543210";
const NAME: &str = "xyzabcdefghijklmnopqrstuvwABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+=,.@_-";
const PATH: &str = "xyzabcdefghijklmnopqrstuvwABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+=,.@_-/";
const SESSION: &str = "session";

/// What a condition key says of a principal.
enum Part {
    Arn,
    Account,
    UserName,
}

/// Who could call, and who could be given a grant.
#[derive(Debug, Default)]
pub(super) struct Everybody {
    /// Those that the policy names first.
    pub(super) callers: Vec<Principal>,
    /// ARNs that a grant may name, each with somebody whom it names.
    pub(super) grantees: Vec<(String, Principal)>,
}

/// The accounts that a policy's conditions and principals can tell apart: a key may be
/// any of theirs. One that nothing names counts where anybody is named.
pub(super) fn accounts(base: &Question, policy: &Policy) -> Result<Vec<String>, Undecided> {
    let mut all: Vec<Pattern> = Vec::new();
    let mut is_anybody = false;
    for statement in policy.statements() {
        for entry in statement.principals.iter().flat_map(|p| &p.items) {
            match entry.account() {
                Some(account) => all.push(literal(account)),
                None => is_anybody |= *entry == PrincipalEntry::Anyone,
            }
        }
        is_anybody |= statement.principals.as_ref().is_some_and(|p| p.negated);
        for condition in &statement.conditions {
            use ConditionKey as K;
            match condition.key() {
                K::CallerAccount | K::PrincipalAccount | K::ResourceAccount => {
                    all.extend(patterns(condition, base)?);
                }
                K::PrincipalArn => {
                    let texts = condition.operands().iter().map(Template::text);
                    let of_arn = texts.filter_map(|text| six_parts(text)?.get(4).copied());
                    let characters = |part: &str| {
                        part.chars()
                            .map(Character::from_pattern)
                            .collect::<Vec<_>>()
                    };
                    all.extend(of_arn.map(|part| glob(&characters(part))));
                }
                _ => {}
            }
        }
    }
    let mut found = words(&all, &vec![Symbol::Of(DIGITS); 12], 1)?;
    // The plainest combination is of none of them.
    let is_named = |account: &String| policy.text().contains(account.as_str());
    found.retain(|account| is_anybody || is_named(account));
    found.sort_by_key(|account| !is_named(account));
    Ok(found)
}

impl PrincipalEntry {
    /// Whose account it names.
    pub(super) fn account(&self) -> Option<&str> {
        match self {
            Self::Account(account)
            | Self::User { account, .. }
            | Self::Role { account, .. }
            | Self::Session { account, .. }
            | Self::FederatedUser { account, .. } => Some(account),
            Self::Anyone | Self::Foreign => None,
        }
    }
}

/// One of each kind of principal, those that the policy names first, and of grantee.
pub(super) fn everybody(
    base: &Question,
    policies: &[(&Policy, bool)],
    owner: &str,
    asked_about: &[String],
) -> Result<Everybody, Undecided> {
    let mut all: Vec<Pattern> = Vec::new();
    let mut named: Vec<String> = Vec::new();
    // Sessions, as grants name them.
    let mut of_sessions: Vec<Pattern> = Vec::new();
    let mut accounts: BTreeSet<String> = [owner.to_owned()].into();
    accounts.extend(asked_about.iter().filter(|it| is_account_id(it)).cloned());
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
            // A session's ARN leaves out the path of its role: a role with one has the
            // same sessions, and what denies the role without one does not deny it.
            PrincipalEntry::Session { account, role, .. } => {
                named.push(format!("arn:aws:iam::{account}:role/{role}"));
                named.push(format!("arn:aws:iam::{account}:role/x/{role}"));
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
        let is_of_grants = matches!(condition.key(), K::GranteePrincipal | K::RetiringPrincipal);
        for operand in condition.operands() {
            of_sessions.extend(session_pattern(operand.text()));
        }
        for pattern in patterns(condition, base)? {
            if is_of_grants {
                of_sessions.push(pattern.clone());
            }
            let seen = match part {
                Part::Account => {
                    all.push(of_account("sts", &pattern));
                    of_account("iam", &pattern)
                }
                Part::UserName => {
                    let mut out = literal("arn:aws:iam::");
                    out.push(Symbol::AnyOfPart);
                    out.extend(literal(":user/"));
                    let mut with_path = out.clone();
                    with_path.extend([Symbol::Any, Symbol::Char('/')]);
                    with_path.extend(&pattern);
                    all.push(with_path);
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
    of_sessions.extend(
        accounts
            .iter()
            .map(|account| of_account("sts", &literal(account))),
    );
    let mut arns = named.clone();
    for (service, tail, ends) in [
        ("iam", ":role/", &[Ends::Name, Ends::PathAndName][..]),
        ("iam", ":user/", &[Ends::Name, Ends::PathAndName]),
        ("iam", ":root", &[Ends::Here]),
        ("sts", ":federated-user/", &[Ends::Name]),
    ] {
        let shapes: Vec<Pattern> = ends.iter().map(|end| shape(service, tail, *end)).collect();
        arns.extend(words_of_any(&all, &shapes)?);
    }
    let mut seen = BTreeSet::new();
    arns.retain(|arn| seen.insert(arn.clone()));
    let mut callers = Vec::new();
    for arn in &arns {
        callers.extend(sessions(arn, policies));
    }
    let rank = |principal: &Principal| {
        let is_named = named.contains(&principal.role_arn());
        (!is_named, principal.account() != owner)
    };
    callers.sort_by_key(rank);
    let mut grantees: Vec<(String, Principal)> = Vec::new();
    for caller in &callers {
        grantees.push((caller.role_arn(), caller.clone()));
    }
    for caller in &callers {
        grantees.push((caller.arn(), caller.clone()));
    }
    let of_session = shape("sts", ":assumed-role/", Ends::Session);
    for arn in words(&of_sessions, &of_session, 1)? {
        grantees.extend(Principal::parse(&arn).map(|principal| (arn, principal)));
    }
    let mut seen = BTreeSet::new();
    grantees.retain(|(arn, _)| seen.insert(arn.clone()));
    if callers.len() > PRINCIPALS_MAX || grantees.len() > 2 * PRINCIPALS_MAX {
        return Err(Undecided::TooLarge {
            what: "kinds of principals".to_owned(),
            max: PRINCIPALS_MAX,
        });
    }
    Ok(Everybody { callers, grantees })
}

/// How the ARN of a principal ends.
#[derive(Clone, Copy)]
enum Ends {
    Here,
    Name,
    PathAndName,
    /// The name of a role and that of a session.
    Session,
}

fn shape(service: &str, tail: &str, ends: Ends) -> Pattern {
    let mut shape = literal(&format!("arn:aws:{service}::"));
    shape.extend([Symbol::Of(DIGITS); 12]);
    shape.extend(literal(tail));
    let name = [Symbol::Of(NAME), Symbol::SomeOf(NAME)];
    match ends {
        Ends::Here => {}
        Ends::Name => shape.extend(name),
        Ends::PathAndName => {
            shape.extend([Symbol::Of(NAME), Symbol::SomeOf(PATH), Symbol::Char('/')]);
            shape.extend(name);
        }
        Ends::Session => {
            shape.extend(name);
            shape.push(Symbol::Char('/'));
            // Names of sessions have two characters and more.
            shape.extend([Symbol::Of(NAME), Symbol::Of(NAME), Symbol::SomeOf(NAME)]);
        }
    }
    shape
}

/// A pattern of roles as a pattern of their sessions.
fn session_pattern(text: &str) -> Option<Pattern> {
    let (before, role) = text.split_once(":role/")?;
    let name = name_of(role);
    arn_pattern(&format!(
        "{}:assumed-role/{name}/*",
        before.replacen(":iam:", ":sts:", 1)
    ))
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
    const ID: &str = "abcdef0123456789ghijklmnopqrstuvwxyz-";
    let mut arns = vec![usual.clone()];
    if all.len() > 1 {
        let shapes: Vec<Pattern> = REGIONS
            .iter()
            .map(|region| {
                let mut shape = literal(&format!("arn:aws:kms:{region}:{owner}:key/"));
                shape.extend([Symbol::Of(ID), Symbol::SomeOf(ID)]);
                shape
            })
            .collect();
        arns.extend(words_of_any(&all, &shapes)?);
        arns.dedup();
    }
    // Nothing but the resources of statements tells ARNs of keys apart.
    let mut seen = BTreeSet::new();
    let templates = || {
        let statements = policies.iter().flat_map(|(policy, _)| policy.statements());
        statements
            .filter_map(|s| s.resources.as_ref())
            .flat_map(|r| &r.items)
    };
    arns.retain(|arn| {
        let fits = templates().map(|it| it.fits(arn, Case::Sensitive, &|_| None));
        seen.insert(fits.collect::<Vec<_>>())
    });
    Ok(arns)
}

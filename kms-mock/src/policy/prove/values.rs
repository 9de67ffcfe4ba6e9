//! Which values of a condition key the conditions of a policy can tell apart.
//!
//! Values are proposed by the type of the operators that look at the key; what is
//! proposed is told apart afterwards, so that a value too many does no harm.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nsm_sim::clock::UnixMillis;

use super::{
    claim::Undecided,
    words::{self, Pattern, literal, words},
};
use crate::{
    model::condition_key::{ConditionKey, Filled},
    policy::{
        Question,
        condition::Condition,
        operator::Test,
        template::{Case, Variable, Variables},
        value::{Network, parse_date, parse_number},
    },
};

/// A condition with where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Atom<'a> {
    pub(super) condition: &'a Condition,
    pub(super) in_key_policy: bool,
}

/// Which of the conditions a question satisfies.
pub(super) fn signature(question: &Question, atoms: &[Atom<'_>]) -> Vec<bool> {
    question.with_request(|request| {
        atoms
            .iter()
            .map(|atom| {
                let trace = atom.condition.evaluate(request, atom.in_key_policy);
                trace.satisfied
            })
            .collect()
    })
}

/// Whether who calls and whose the key is decide the key's values.
pub(super) fn is_settled(key: &ConditionKey) -> bool {
    key.row().is_some_and(|row| row.filled == Filled::Identity)
}

/// The patterns that a condition holds its key against.
pub(super) fn patterns(condition: &Condition, base: &Question) -> Result<Vec<Pattern>, Undecided> {
    let test = condition.operator().test();
    let mut out = Vec::new();
    for operand in condition.operands() {
        operand.variables().try_for_each(must_be_settled)?;
        let found = base.with_request(|request| {
            let variables: Variables<'_> = &|key| request.variable(key, true);
            match test {
                Test::Text(case) => operand.plain(variables).map(|text| match case {
                    Case::Sensitive => literal(&text),
                    Case::Insensitive => words::caseless(&text),
                }),
                Test::Pattern => operand.characters(variables).map(|c| words::glob(&c)),
                Test::Arn => operand.plain(variables).and_then(|text| words::arn(&text)),
                _ => None,
            }
        });
        out.extend(found);
    }
    Ok(out)
}

pub(super) fn must_be_settled(variable: &Variable) -> Result<(), Undecided> {
    if is_settled(&variable.key) {
        return Ok(());
    }
    Err(Undecided::Beyond {
        what: format!(
            "the policy variable ${{{}}}, which ties two condition keys together",
            variable.name
        ),
    })
}

/// The texts that a policy gives as values, without variables' meaning.
fn operands(atoms: &[Atom<'_>], base: &Question) -> Result<Vec<String>, Undecided> {
    let mut out = Vec::new();
    for operand in atoms.iter().flat_map(|atom| atom.condition.operands()) {
        operand.variables().try_for_each(must_be_settled)?;
        let plain = base.with_request(|request| {
            let variables: Variables<'_> = &|key| request.variable(key, true);
            operand.plain(variables).map(std::borrow::Cow::into_owned)
        });
        out.extend(plain);
    }
    Ok(out)
}

/// How a key is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Text,
    Number,
    Date,
    Bool,
    Binary,
    Address,
}

pub(super) fn looks(atoms: &[Atom<'_>]) -> Vec<Look> {
    let mut looks = Vec::new();
    for atom in atoms {
        let look = match atom.condition.operator().test() {
            Test::Text(_) | Test::Pattern | Test::Arn => Look::Text,
            Test::Number(_) => Look::Number,
            Test::Date(_) => Look::Date,
            Test::Bool => Look::Bool,
            Test::Binary => Look::Binary,
            Test::Address => Look::Address,
            Test::Null => continue,
        };
        if !looks.contains(&look) {
            looks.push(look);
        }
    }
    looks
}

pub(super) fn mixed(atoms: &[Atom<'_>]) -> Undecided {
    let first = atoms.first().expect("operators stand in conditions");
    let key = first.condition.key_text();
    Undecided::Beyond {
        what: format!("{key} under operators of different types"),
    }
}

/// One string of the form `shape` for every combination of conditions.
pub(super) fn texts(
    base: &Question,
    atoms: &[Atom<'_>],
    shape: &Pattern,
) -> Result<Vec<String>, Undecided> {
    match looks(atoms).as_slice() {
        [] | [Look::Text] => {
            let mut all = Vec::new();
            for atom in atoms {
                all.extend(patterns(atom.condition, base)?);
            }
            words(&all, shape, 1)
        }
        [Look::Bool] => Ok(["true", "false", "x"].map(str::to_owned).to_vec()),
        [Look::Binary] => {
            let mut values = operands(atoms, base)?;
            values.extend(["".to_owned(), "eA==".to_owned(), "eHh4eHg=".to_owned()]);
            Ok(values)
        }
        [Look::Number] => {
            let mut numbers: Vec<f64> = operands(atoms, base)?
                .iter()
                .filter_map(|text| parse_number(text))
                .collect();
            numbers.sort_by(f64::total_cmp);
            let between = numbers
                .windows(2)
                .filter_map(|pair| Some(pair.first()? / 2.0 + pair.last()? / 2.0))
                .collect::<Vec<_>>();
            let ends = [
                numbers.first().map_or(0.0, |n| n - n.abs() - 1.0),
                numbers.last().map_or(0.0, |n| n + n.abs() + 1.0),
            ];
            let all = numbers.iter().chain(&between).chain(&ends);
            let mut values: Vec<String> = all.map(f64::to_string).collect();
            values.push("x".to_owned());
            Ok(values)
        }
        [Look::Date] => Ok(instants(base, atoms, UnixMillis(0))?
            .iter()
            .map(UnixMillis::to_string)
            .chain(["x".to_owned()])
            .collect()),
        [Look::Address] => Ok(addresses(base, atoms)?
            .iter()
            .map(IpAddr::to_string)
            .chain(["x".to_owned()])
            .collect()),
        _ => Err(mixed(atoms)),
    }
}

/// Now and, of every comparison with an instant, the edges that are not before `from`.
pub(super) fn instants(
    base: &Question,
    atoms: &[Atom<'_>],
    from: UnixMillis,
) -> Result<Vec<UnixMillis>, Undecided> {
    if looks(atoms)
        .iter()
        .any(|l| !matches!(l, Look::Date | Look::Number))
    {
        return Err(mixed(atoms));
    }
    let mut instants = vec![base.now];
    for text in operands(atoms, base)? {
        let date_secs = parse_date(&text).map(|nanos| nanos.div_euclid(1_000_000_000));
        #[allow(clippy::cast_possible_truncation)] // saturates
        let number_secs = parse_number(&text).map(|secs| secs.floor() as i128);
        for secs in [date_secs, number_secs].into_iter().flatten() {
            for secs in [secs - 1, secs, secs + 1] {
                // Beyond the year 9999 there is no RFC 3339 text.
                let within = u64::try_from(secs).ok().filter(|s| *s < 253_402_300_799);
                let to_come = within.map(UnixMillis::from_secs).filter(|at| *at >= from);
                instants.extend(to_come);
            }
        }
    }
    Ok(instants)
}

/// The edges of all address blocks.
pub(super) fn addresses(base: &Question, atoms: &[Atom<'_>]) -> Result<Vec<IpAddr>, Undecided> {
    if looks(atoms).iter().any(|look| *look != Look::Address) {
        return Err(mixed(atoms));
    }
    let mut addresses = vec![
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    for text in operands(atoms, base)? {
        if let Some(network) = Network::parse(&text) {
            let (first, after) = network.edges();
            addresses.push(first);
            addresses.extend(after);
        }
    }
    Ok(addresses)
}

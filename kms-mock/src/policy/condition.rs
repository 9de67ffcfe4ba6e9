//! Conditions: one operator with one key and its values, held against what a
//! request presents.
//!
//! Source of truth: ground truth KMS §3; IAM user guide, "Conditions with multiple
//! context keys or values". Where a request's values come from is the evaluator's
//! matter.
//!
//! Unknown and chosen strictly: a multi-valued key under an operator without a
//! set operator is satisfied when any value is; an operand that is not of the
//! operator's type never matches.

use std::{borrow::Cow, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::{
    operator::{Operator, Test},
    template::{Case, Template, Variables, glob},
    value::{Network, parse_bool, parse_date, parse_number},
};
use crate::{model::condition_key::ConditionKey, world::arn::six_parts};

/// One operator with one key and its values, as a policy states it.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    operator: Operator,
    key_text: Arc<str>,
    key: ConditionKey,
    values: Vec<Template>,
    value_texts: Arc<[Arc<str>]>,
}

/// Why a condition holds or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Because {
    /// A value matches.
    Matches,
    /// No value matches, and one should.
    Differs,
    /// A value matches, and none should.
    Listed,
    /// No value matches, as wanted.
    NoneListed,
    /// The request does not have the key.
    KeyAbsent,
    /// The request has the key (`Null`).
    KeyPresent,
}

impl Because {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Matches => "a presented value matches",
            Self::Differs => "no presented value matches",
            Self::Listed => "a presented value is listed",
            Self::NoneListed => "no presented value is listed",
            Self::KeyAbsent => "the request does not have this key",
            Self::KeyPresent => "the request has this key",
        }
    }
}

impl Condition {
    pub(crate) fn new(operator: Operator, key: &str, values: Vec<Template>) -> Self {
        let value_texts = values
            .iter()
            .map(|value| Arc::clone(value.text()))
            .collect();
        Self {
            operator,
            key_text: key.into(),
            key: ConditionKey::parse(key),
            values,
            value_texts,
        }
    }

    /// The condition key.
    pub(super) fn key(&self) -> &ConditionKey {
        &self.key
    }

    /// The condition key as the policy writes it.
    pub(super) fn key_text(&self) -> &Arc<str> {
        &self.key_text
    }

    /// The operator.
    pub(super) fn operator(&self) -> &Operator {
        &self.operator
    }

    /// The values of the policy.
    pub(super) fn operands(&self) -> &[Template] {
        &self.values
    }

    /// The values of the policy, as it writes them.
    pub(super) fn operand_texts(&self) -> &Arc<[Arc<str>]> {
        &self.value_texts
    }

    /// Whether what a request presents satisfies the condition, and why; `None`
    /// when it does not have the key.
    pub(super) fn judge(
        &self,
        presented: Option<&[Cow<'_, str>]>,
        variables: Variables<'_>,
    ) -> (bool, Because) {
        let operator = &self.operator;
        if operator.test() == Test::Null {
            let is_absent = presented.is_none();
            let operand = |value: &Template| value.plain(variables).and_then(|v| parse_bool(&v));
            let is_satisfied = self.values.iter().any(|v| operand(v) == Some(is_absent));
            let because = if is_absent {
                Because::KeyAbsent
            } else {
                Because::KeyPresent
            };
            return (is_satisfied, because);
        }
        let Some(presented) = presented else {
            return (operator.holds_for_absent_keys(), Because::KeyAbsent);
        };
        let is_satisfied = operator.holds_for(presented, |value| {
            self.values
                .iter()
                .any(|expected| self.matches(value, expected, variables))
        });
        let because = match (is_satisfied, operator.is_negated()) {
            (true, false) => Because::Matches,
            (false, false) => Because::Differs,
            (true, true) => Because::NoneListed,
            (false, true) => Because::Listed,
        };
        (is_satisfied, because)
    }

    fn matches(&self, presented: &str, expected: &Template, variables: Variables<'_>) -> bool {
        let plain = || expected.plain(variables);
        match self.operator.test() {
            Test::Text(Case::Sensitive) => plain().is_some_and(|v| v == presented),
            Test::Text(Case::Insensitive) => plain().is_some_and(|v| same_letters(&v, presented)),
            Test::Pattern => expected.fits(presented, Case::Sensitive, variables),
            Test::Arn => arn_fits(expected, presented, variables),
            Test::Number(comparison) => plain().is_some_and(|v| {
                let ordering = parse_number(presented)
                    .zip(parse_number(&v))
                    .and_then(|(have, want)| have.partial_cmp(&want));
                ordering.is_some_and(|o| comparison.holds(o))
            }),
            Test::Date(comparison) => plain().is_some_and(|v| {
                parse_date(presented)
                    .zip(parse_date(&v))
                    .is_some_and(|(have, want)| comparison.holds(have.cmp(&want)))
            }),
            Test::Bool => plain().is_some_and(|v| {
                parse_bool(&v).is_some() && parse_bool(&v) == parse_bool(presented)
            }),
            Test::Binary => plain().is_some_and(|v| {
                let bytes = |text: &str| BASE64.decode(text).ok();
                bytes(&v).is_some() && bytes(&v) == bytes(presented)
            }),
            Test::Address => plain().is_some_and(|v| {
                presented
                    .parse()
                    .is_ok_and(|address| Network::parse(&v).is_some_and(|n| n.holds(address)))
            }),
            Test::Null => false,
        }
    }
}

fn same_letters(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || (!a.is_ascii() && a.to_lowercase() == b.to_lowercase())
}

/// Each of the six parts of an ARN is compared on its own, so that a wildcard
/// does not run over a colon.
fn arn_fits(expected: &Template, presented: &str, variables: Variables<'_>) -> bool {
    // A colon inside `${aws:…}` does not divide, so variables are put in first.
    let Some(pattern) = expected.plain(variables) else {
        return false;
    };
    let (Some(want), Some(have)) = (six_parts(&pattern), six_parts(presented)) else {
        return false;
    };
    want.iter()
        .zip(have)
        .all(|(want, have)| glob(want, have, Case::Sensitive))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Presented values (`None` = the key is absent) against expected ones.
    fn holds(operator: &str, expected: &[&str], presented: Option<&[&str]>) -> bool {
        let values = expected.iter().map(|v| Template::new(v, true)).collect();
        let condition = Condition::new(Operator::parse(operator).unwrap(), "x:y", values);
        let presented: Option<Vec<Cow<'_, str>>> =
            presented.map(|values| values.iter().map(|v| Cow::Borrowed(*v)).collect());
        condition.judge(presented.as_deref(), &|_| None).0
    }

    #[test]
    fn every_operator_decides_as_documented() {
        let some = |v: &'static [&'static str]| Some(v);
        #[rustfmt::skip]
        type Row = (&'static str, &'static [&'static str], Option<&'static [&'static str]>, bool);
        let table: &[Row] = &[
            ("StringEquals", &["a", "b"], some(&["b"]), true),
            ("StringEquals", &["a"], some(&["A"]), false),
            ("StringEquals", &["a*"], some(&["ab"]), false),
            ("StringNotEquals", &["a", "b"], some(&["b"]), false),
            ("StringNotEquals", &["a", "b"], some(&["c"]), true),
            ("StringEqualsIgnoreCase", &["ABC"], some(&["abc"]), true),
            ("StringNotEqualsIgnoreCase", &["ABC"], some(&["abc"]), false),
            ("StringLike", &["a*c?"], some(&["abbbcd"]), true),
            ("StringLike", &["A*"], some(&["abc"]), false),
            ("StringNotLike", &["a*"], some(&["abc"]), false),
            ("NumericEquals", &["10"], some(&["10.0"]), true),
            ("NumericNotEquals", &["10"], some(&["11"]), true),
            ("NumericLessThan", &["10"], some(&["9"]), true),
            ("NumericLessThan", &["10"], some(&["10"]), false),
            ("NumericLessThanEquals", &["10"], some(&["10"]), true),
            ("NumericGreaterThan", &["10"], some(&["11"]), true),
            ("NumericGreaterThanEquals", &["10"], some(&["9"]), false),
            ("NumericEquals", &["ten"], some(&["ten"]), false),
            (
                "DateEquals",
                &["2026-01-01"],
                some(&["2026-01-01T00:00:00Z"]),
                true,
            ),
            (
                "DateNotEquals",
                &["2026-01-01"],
                some(&["2026-01-02T00:00:00Z"]),
                true,
            ),
            (
                "DateLessThan",
                &["2026-01-01T00:00:00+01:00"],
                some(&["2025-12-31T22:59:59Z"]),
                true,
            ),
            (
                "DateLessThan",
                &["2026-01-01T00:00:00+01:00"],
                some(&["2025-12-31T23:00:00Z"]),
                false,
            ),
            (
                "DateLessThanEquals",
                &["1767225600"],
                some(&["2026-01-01T00:00:00Z"]),
                true,
            ),
            (
                "DateGreaterThan",
                &["2026-01-01T00:00Z"],
                some(&["2026-01-01T00:00:01Z"]),
                true,
            ),
            (
                "DateGreaterThanEquals",
                &["soon"],
                some(&["2026-01-01T00:00:01Z"]),
                false,
            ),
            ("Bool", &["true"], some(&["TRUE"]), true),
            ("Bool", &["false"], some(&["true"]), false),
            ("BinaryEquals", &["QmluYXJ5"], some(&["QmluYXJ5"]), true),
            ("BinaryEquals", &["QmluYXJ5"], some(&["Qm9="]), false),
            (
                "IpAddress",
                &["203.0.113.0/24"],
                some(&["203.0.113.99"]),
                true,
            ),
            (
                "IpAddress",
                &["203.0.113.0/24"],
                some(&["203.0.114.1"]),
                false,
            ),
            ("IpAddress", &["0.0.0.0/0"], some(&["8.8.8.8"]), true),
            (
                "IpAddress",
                &["2001:db8::/32"],
                some(&["2001:db8:1::1"]),
                true,
            ),
            ("IpAddress", &["::/0"], some(&["2001:db8:1::1"]), true),
            (
                "IpAddress",
                &["203.0.113.7"],
                some(&["::ffff:203.0.113.7"]),
                true,
            ),
            (
                "NotIpAddress",
                &["203.0.113.0/24"],
                some(&["10.0.0.1"]),
                true,
            ),
            (
                "ArnLike",
                &["arn:aws:iam::*:role/A*"],
                some(&["arn:aws:iam::1:role/Admin"]),
                true,
            ),
            (
                "ArnLike",
                &["arn:aws:*"],
                some(&["arn:aws:iam::1:role/Admin"]),
                false,
            ),
            (
                "ArnEquals",
                &["arn:aws:iam::*:role/Admin"],
                some(&["arn:aws:iam::1:role/Admin"]),
                true,
            ),
            (
                "ArnNotEquals",
                &["arn:aws:iam::1:role/B"],
                some(&["arn:aws:iam::1:role/Admin"]),
                true,
            ),
            (
                "ArnNotLike",
                &["arn:aws:iam::*:role/A*"],
                some(&["arn:aws:iam::1:role/Admin"]),
                false,
            ),
            ("Null", &["true"], None, true),
            ("Null", &["false"], None, false),
            ("Null", &["true"], some(&["x"]), false),
            ("Null", &["false"], some(&["x"]), true),
            // A missing key: positive false, negated true, IfExists true.
            ("StringEquals", &["a"], None, false),
            ("StringNotEquals", &["a"], None, true),
            ("StringNotEqualsIgnoreCase", &["a"], None, true),
            ("NotIpAddress", &["10.0.0.0/8"], None, true),
            ("Bool", &["false"], None, false),
            ("StringEqualsIfExists", &["a"], None, true),
            ("StringEqualsIfExists", &["a"], some(&["b"]), false),
            ("BoolIfExists", &["true"], None, true),
            ("ForAllValues:StringEquals", &["a"], None, true),
            ("ForAnyValue:StringEquals", &["a"], None, false),
            ("ForAnyValue:StringNotEquals", &["a"], None, false),
            (
                "ForAnyValue:StringEqualsIgnoreCaseIfExists",
                &["a"],
                None,
                true,
            ),
            // Several values.
            (
                "ForAllValues:StringEquals",
                &["a", "b"],
                some(&["a", "b"]),
                true,
            ),
            (
                "ForAllValues:StringEquals",
                &["a", "b"],
                some(&["a", "c"]),
                false,
            ),
            (
                "ForAnyValue:StringEquals",
                &["a", "b"],
                some(&["c", "b"]),
                true,
            ),
            (
                "ForAnyValue:StringEquals",
                &["a", "b"],
                some(&["c", "d"]),
                false,
            ),
            (
                "ForAllValues:StringNotEquals",
                &["a"],
                some(&["b", "c"]),
                true,
            ),
            (
                "ForAllValues:StringNotEquals",
                &["a"],
                some(&["a", "c"]),
                false,
            ),
            (
                "ForAnyValue:StringNotEquals",
                &["a"],
                some(&["a", "c"]),
                true,
            ),
            ("ForAnyValue:StringNotEquals", &["a"], some(&["a"]), false),
            (
                "forallvalues:stringLike",
                &["a*"],
                some(&["ab", "ac"]),
                true,
            ),
        ];
        for (operator, expected, presented, wanted) in table {
            assert_eq!(
                holds(operator, expected, *presented),
                *wanted,
                "{operator} {expected:?} on {presented:?}"
            );
        }
    }
}

//! Conditions: operators, set operators, `IfExists`, and what a missing key
//! means.
//!
//! Source of truth: ground truth KMS §3 (all operators and the missing-key
//! rules); IAM user guide, "Condition operators" and "Conditions with multiple
//! context keys or values". Operator names are matched without regard to case
//! (unknown whether KMS does; policies in the wild mix `StringLike` and
//! `stringLike`).
//!
//! Unknown and chosen strictly: a multi-valued key under an operator without a
//! set operator is satisfied when any value is; an operand that is not of the
//! operator's type never matches.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use time::{OffsetDateTime, PrimitiveDateTime, format_description::well_known::Rfc3339};

use super::{
    decision::{Because, ConditionTrace},
    request::{ConditionKey, Request},
    template::{Case, Template, Variables},
};

/// One operator with one key and its values, as a policy states it.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    operator: Operator,
    key_text: Arc<str>,
    key: ConditionKey,
    values: Vec<Template>,
    value_texts: Arc<[Arc<str>]>,
}

/// An operator in all its parts: `ForAnyValue:StringNotEqualsIfExists`.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    text: Arc<str>,
    quantifier: Quantifier,
    test: Test,
    negated: bool,
    if_exists: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantifier {
    Single,
    ForAnyValue,
    ForAllValues,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Text(Case),
    Pattern,
    Arn,
    Number(Comparison),
    Date(Comparison),
    Bool,
    Binary,
    Address,
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    /// `None` when there is no such operator.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let (quantifier, name) = if let Some(name) = lower.strip_prefix("foranyvalue:") {
            (Quantifier::ForAnyValue, name)
        } else if let Some(name) = lower.strip_prefix("forallvalues:") {
            (Quantifier::ForAllValues, name)
        } else {
            (Quantifier::Single, lower.as_str())
        };
        let (name, if_exists) = match name.strip_suffix("ifexists") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (test, negated) = match name {
            "stringequals" => (Test::Text(Case::Sensitive), false),
            "stringnotequals" => (Test::Text(Case::Sensitive), true),
            "stringequalsignorecase" => (Test::Text(Case::Insensitive), false),
            "stringnotequalsignorecase" => (Test::Text(Case::Insensitive), true),
            "stringlike" => (Test::Pattern, false),
            "stringnotlike" => (Test::Pattern, true),
            // ArnEquals and ArnLike behave identically.
            "arnequals" | "arnlike" => (Test::Arn, false),
            "arnnotequals" | "arnnotlike" => (Test::Arn, true),
            "numericequals" => (Test::Number(Comparison::Equal), false),
            "numericnotequals" => (Test::Number(Comparison::Equal), true),
            "numericlessthan" => (Test::Number(Comparison::Less), false),
            "numericlessthanequals" => (Test::Number(Comparison::LessOrEqual), false),
            "numericgreaterthan" => (Test::Number(Comparison::Greater), false),
            "numericgreaterthanequals" => (Test::Number(Comparison::GreaterOrEqual), false),
            "dateequals" => (Test::Date(Comparison::Equal), false),
            "datenotequals" => (Test::Date(Comparison::Equal), true),
            "datelessthan" => (Test::Date(Comparison::Less), false),
            "datelessthanequals" => (Test::Date(Comparison::LessOrEqual), false),
            "dategreaterthan" => (Test::Date(Comparison::Greater), false),
            "dategreaterthanequals" => (Test::Date(Comparison::GreaterOrEqual), false),
            "bool" => (Test::Bool, false),
            "binaryequals" => (Test::Binary, false),
            "ipaddress" => (Test::Address, false),
            "notipaddress" => (Test::Address, true),
            "null" if !if_exists && quantifier == Quantifier::Single => (Test::Null, false),
            _ => return None,
        };
        Some(Self {
            text: text.into(),
            quantifier,
            test,
            negated,
            if_exists,
        })
    }
}

impl Operator {
    /// As written in the policy.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What is done with one presented value and one of the policy's.
    pub(super) fn test(&self) -> Test {
        self.test
    }

    /// Whether the name has a `Not` in it.
    pub(super) fn is_negated(&self) -> bool {
        self.negated
    }

    /// Whether the operator asks of a list that some value be right, rather
    /// than all.
    pub(super) fn is_existential(&self) -> bool {
        match self.quantifier {
            Quantifier::Single => !self.negated,
            Quantifier::ForAnyValue => true,
            Quantifier::ForAllValues => false,
        }
    }

    /// Whether a request without the key satisfies the operator.
    pub(super) fn holds_for_absent_keys(&self) -> bool {
        self.test != Test::Null
            && (self.if_exists
                || match self.quantifier {
                    Quantifier::Single => self.negated,
                    Quantifier::ForAnyValue => false,
                    Quantifier::ForAllValues => true,
                })
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
    pub(super) fn key_text(&self) -> &str {
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

    /// Whether the request satisfies the condition, and why.
    pub(crate) fn evaluate(&self, request: &Request<'_>, in_key_policy: bool) -> ConditionTrace {
        let presented = request.values(&self.key, in_key_policy);
        let variables = |name: &str| request.variable(name, in_key_policy);
        let (satisfied, because) = self.judge(presented.as_deref(), &variables);
        ConditionTrace {
            operator: Arc::clone(&self.operator.text),
            key: Arc::clone(&self.key_text),
            expected: Arc::clone(&self.value_texts),
            presented: presented
                .map(|values| values.into_iter().map(Cow::into_owned).collect::<Vec<_>>()),
            satisfied,
            because,
            attestation: self.key.is_attestation(),
        }
    }

    fn judge(
        &self,
        presented: Option<&[Cow<'_, str>]>,
        variables: Variables<'_>,
    ) -> (bool, Because) {
        let operator = &self.operator;
        if operator.test == Test::Null {
            let absent = presented.is_none();
            let satisfied = self.values.iter().any(|value| {
                value
                    .plain(variables)
                    .and_then(|v| parse_bool(&v))
                    .is_some_and(|v| v == absent)
            });
            return (
                satisfied,
                if absent {
                    Because::KeyAbsent
                } else {
                    Because::KeyPresent
                },
            );
        }
        let Some(presented) = presented else {
            let satisfied = operator.if_exists
                || match operator.quantifier {
                    Quantifier::Single => operator.negated,
                    Quantifier::ForAnyValue => false,
                    Quantifier::ForAllValues => true,
                };
            return (satisfied, Because::KeyAbsent);
        };
        let found = |value: &Cow<'_, str>| {
            self.values
                .iter()
                .any(|expected| self.matches(value, expected, variables))
        };
        let satisfied = match operator.quantifier {
            Quantifier::Single => presented.iter().any(found) != operator.negated,
            Quantifier::ForAnyValue => presented.iter().any(|v| found(v) != operator.negated),
            Quantifier::ForAllValues => presented.iter().all(|v| found(v) != operator.negated),
        };
        let because = if satisfied == operator.negated {
            if operator.negated {
                Because::NoneListed
            } else {
                Because::Differs
            }
        } else if operator.negated {
            Because::Listed
        } else {
            Because::Matches
        };
        (satisfied, because)
    }

    fn matches(&self, presented: &str, expected: &Template, variables: Variables<'_>) -> bool {
        let plain = || expected.plain(variables);
        match self.operator.test {
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

impl Comparison {
    fn holds(self, have_to_want: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => have_to_want.is_eq(),
            Self::Less => have_to_want.is_lt(),
            Self::LessOrEqual => have_to_want.is_le(),
            Self::Greater => have_to_want.is_gt(),
            Self::GreaterOrEqual => have_to_want.is_ge(),
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
    let want: Vec<&str> = pattern.splitn(6, ':').collect();
    let have: Vec<&str> = presented.splitn(6, ':').collect();
    want.len() == 6
        && have.len() == 6
        && want
            .iter()
            .zip(&have)
            .all(|(w, h)| super::template::glob(w, h, Case::Sensitive))
}

pub(super) fn parse_bool(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

pub(super) fn parse_number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// An instant in nanoseconds since 1970: an ISO 8601 date, a date and time with
/// or without seconds and offset, or seconds since the epoch.
pub(super) fn parse_date(text: &str) -> Option<i128> {
    use time::macros::format_description;
    if let Ok(secs) = text.parse::<i64>() {
        return Some(i128::from(secs) * 1_000_000_000);
    }
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(at.unix_timestamp_nanos());
    }
    let local = text.strip_suffix('Z').unwrap_or(text);
    if let Ok(day) = time::Date::parse(local, format_description!("[year]-[month]-[day]")) {
        return Some(day.midnight().assume_utc().unix_timestamp_nanos());
    }
    let minutes = format_description!("[year]-[month]-[day]T[hour]:[minute]");
    let seconds = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    PrimitiveDateTime::parse(local, minutes)
        .or_else(|_| PrimitiveDateTime::parse(local, seconds))
        .ok()
        .map(|at| at.assume_utc().unix_timestamp_nanos())
}

/// An address block, `203.0.113.0/24` or a single address.
pub(super) struct Network {
    bits: u128,
    length: u32,
    is_v4: bool,
}

impl Network {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let (bits, is_v4) = bits_of(address);
        let width = if is_v4 { 32 } else { 128 };
        let length = match length {
            Some(length) => length.parse().ok().filter(|l| *l <= width)?,
            None => width,
        };
        Some(Self {
            bits,
            length,
            is_v4,
        })
    }

    /// The first address of the block and, unless the block reaches the end of
    /// its family, the first after it.
    pub(super) fn edges(&self) -> (IpAddr, Option<IpAddr>) {
        let width = if self.is_v4 { 32 } else { 128 };
        let shift = width - self.length;
        let low = self.bits.checked_shr(shift).unwrap_or(0).checked_shl(shift);
        let low = low.unwrap_or(0);
        let size = 1u128.checked_shl(shift);
        let address = |bits: u128| {
            if self.is_v4 {
                u32::try_from(bits)
                    .ok()
                    .map(|bits| Ipv4Addr::from_bits(bits).into())
            } else {
                Some(Ipv6Addr::from_bits(bits).into())
            }
        };
        let first = address(low).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let after = size
            .and_then(|size| low.checked_add(size))
            .and_then(address);
        (first, after)
    }

    fn holds(&self, address: IpAddr) -> bool {
        let (bits, is_v4) = bits_of(address);
        if is_v4 != self.is_v4 {
            return false;
        }
        let width = if is_v4 { 32 } else { 128 };
        let shift = width - self.length;
        shift == 128 || (bits >> shift) == (self.bits >> shift)
    }
}

fn bits_of(address: IpAddr) -> (u128, bool) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), true),
        IpAddr::V6(v6) => (v6.to_bits(), false),
    }
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

    #[test]
    fn what_is_no_operator_is_refused() {
        for text in [
            "",
            "String",
            "NullIfExists",
            "ForAnyValue:Null",
            "ForSomeValue:Bool",
            "BinaryNotEquals",
        ] {
            assert!(Operator::parse(text).is_none(), "{text}");
        }
    }
}

//! Condition operators in all their parts: `ForAnyValue:StringNotEqualsIfExists`.
//!
//! Source of truth: ground truth KMS §3 (all operators and the rule for a missing
//! key); IAM user guide, "Condition operators". Names are matched without regard
//! to case (unknown whether KMS does; policies in the wild mix `StringLike` and
//! `stringLike`).

use std::sync::Arc;

use super::template::Case;

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
    pub(super) fn text(&self) -> &Arc<str> {
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

    /// Whether the operator is one of a set of values.
    pub(super) fn is_of_sets(&self) -> bool {
        self.quantifier != Quantifier::Single
    }

    /// Whether a request without the key satisfies the operator: the one rule of
    /// the missing key. (`Null` asks for the key itself and is decided by its values.)
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

impl Operator {
    /// Whether the operator holds for the values that a request presents, where
    /// `matches` says of one whether the policy lists it.
    pub(super) fn holds_for<T>(&self, presented: &[T], matches: impl Fn(&T) -> bool) -> bool {
        match self.quantifier {
            Quantifier::Single => presented.iter().any(matches) != self.negated,
            Quantifier::ForAnyValue => presented.iter().any(|v| matches(v) != self.negated),
            Quantifier::ForAllValues => presented.iter().all(|v| matches(v) != self.negated),
        }
    }
}

impl Comparison {
    pub(super) fn holds(self, have_to_want: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => have_to_want.is_eq(),
            Self::Less => have_to_want.is_lt(),
            Self::LessOrEqual => have_to_want.is_le(),
            Self::Greater => have_to_want.is_gt(),
            Self::GreaterOrEqual => have_to_want.is_ge(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_not_an_operator_is_refused() {
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

//! Strings of a policy: wildcards `*` and `?`, and variables `${aws:username}`.
//!
//! Source of truth: IAM user guide, "Policy variables" (including the special
//! `${*}`, `${?}`, `${$}` and defaults `${key, 'default'}`; a variable without a
//! value and without a default makes the element match nothing) and "String
//! condition operators". Variables work in version 2012-10-17 only.

use std::{borrow::Cow, sync::Arc};

use crate::model::condition_key::ConditionKey;

/// Where variables take their values from; `None` when the request has none.
pub(crate) type Variables<'a> = &'a dyn Fn(&ConditionKey) -> Option<String>;

/// A string of a policy, with what was found in it when it was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    text: Arc<str>,
    /// What the text is made of, when there are variables in it.
    pieces: Option<Arc<[Piece]>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// `${*}`, `${?}`, `${$}`: the character itself.
    Special(String),
    Variable(Variable),
}

/// A policy variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    /// As written in the policy.
    pub(super) name: String,
    pub(super) key: ConditionKey,
    default: Option<String>,
}

impl Variable {
    fn value(&self, variables: Variables<'_>) -> Option<String> {
        variables(&self.key).or_else(|| self.default.clone())
    }
}

impl Template {
    pub(crate) fn new(text: &str, variables_allowed: bool) -> Self {
        let has_variables = variables_allowed && text.contains("${");
        Self {
            text: text.into(),
            pieces: has_variables.then(|| pieces(text).collect()),
        }
    }

    /// As written in the policy.
    pub(crate) fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The string without any meaning of `*` and `?`; `None` when a variable
    /// has no value.
    pub(crate) fn plain(&self, variables: Variables<'_>) -> Option<Cow<'_, str>> {
        let Some(pieces) = &self.pieces else {
            return Some(Cow::Borrowed(&self.text));
        };
        let mut out = String::new();
        for piece in &**pieces {
            match piece {
                Piece::Text(text) | Piece::Special(text) => out.push_str(text),
                Piece::Variable(variable) => out.push_str(&variable.value(variables)?),
            }
        }
        Some(Cow::Owned(out))
    }

    /// The variables in the string.
    pub(super) fn variables(&self) -> impl Iterator<Item = &Variable> {
        let pieces = self.pieces.iter().flat_map(|pieces| pieces.iter());
        pieces.filter_map(|piece| match piece {
            Piece::Variable(variable) => Some(variable),
            Piece::Text(_) | Piece::Special(_) => None,
        })
    }

    /// The string as a pattern, character by character; `None` when a variable
    /// has no value.
    pub(super) fn characters(&self, variables: Variables<'_>) -> Option<Vec<Character>> {
        let Some(pieces) = &self.pieces else {
            return Some(self.text.chars().map(Character::from_pattern).collect());
        };
        let mut out = Vec::new();
        for piece in &**pieces {
            match piece {
                Piece::Text(text) => out.extend(text.chars().map(Character::from_pattern)),
                Piece::Special(text) => out.extend(text.chars().map(Character::Plain)),
                Piece::Variable(variable) => {
                    out.extend(variable.value(variables)?.chars().map(Character::Plain));
                }
            }
        }
        Some(out)
    }

    /// Whether `presented` fits the pattern. Wildcards inside the value of a
    /// variable are plain characters.
    pub(crate) fn fits(&self, presented: &str, case: Case, variables: Variables<'_>) -> bool {
        let Some(pieces) = &self.pieces else {
            return glob(&self.text, presented, case);
        };
        let mut tokens = Vec::new();
        for piece in &**pieces {
            match piece {
                Piece::Text(text) => tokens.extend(text.bytes().map(Token::from_pattern)),
                Piece::Special(text) => tokens.extend(text.bytes().map(Token::Byte)),
                Piece::Variable(variable) => {
                    let Some(value) = variable.value(variables) else {
                        return false;
                    };
                    tokens.extend(value.bytes().map(Token::Byte));
                }
            }
        }
        fit(|at| tokens.get(at).copied(), presented.as_bytes(), case)
    }
}

/// One character of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Character {
    /// Itself.
    Plain(char),
    /// Any one: `?`.
    One,
    /// Any number of any: `*`.
    Any,
}

impl Character {
    pub(super) fn from_pattern(c: char) -> Self {
        match c {
            '*' => Self::Any,
            '?' => Self::One,
            plain => Self::Plain(plain),
        }
    }
}

/// Whether letters of different case are the same letter (ASCII).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Sensitive,
    Insensitive,
}

/// Whether `presented` fits `pattern` with `*` and `?`.
pub(crate) fn glob(pattern: &str, presented: &str, case: Case) -> bool {
    let bytes = pattern.as_bytes();
    fit(
        |at| bytes.get(at).copied().map(Token::from_pattern),
        presented.as_bytes(),
        case,
    )
}

#[derive(Clone, Copy)]
enum Token {
    Byte(u8),
    One,
    Any,
}

impl Token {
    fn from_pattern(byte: u8) -> Self {
        match byte {
            b'*' => Self::Any,
            b'?' => Self::One,
            other => Self::Byte(other),
        }
    }
}

/// Greedy matching with one point of return, the last `*`: linear in practice,
/// the product of both lengths at worst.
fn fit(token: impl Fn(usize) -> Option<Token>, text: &[u8], case: Case) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let step = match (token(at), text.get(from)) {
            (Some(Token::Any), _) if token(at + 1).is_none() => return true,
            (Some(Token::Any), _) => {
                retry = Some((at + 1, from));
                Some((at + 1, from))
            }
            (Some(Token::One), Some(_)) => {
                let mut next = from + 1;
                while text.get(next).is_some_and(|b| b & 0xc0 == 0x80) {
                    next += 1; // the rest of one UTF-8 character
                }
                Some((at + 1, next))
            }
            (Some(Token::Byte(want)), Some(have)) => {
                let same = match case {
                    Case::Sensitive => want == *have,
                    Case::Insensitive => want.eq_ignore_ascii_case(have),
                };
                same.then_some((at + 1, from + 1))
            }
            (None, None) => return true,
            _ => None,
        };
        match (step, retry) {
            (Some((next_at, next_from)), _) => {
                at = next_at;
                from = next_from;
            }
            (None, Some((after, start))) if start < text.len() => {
                at = after;
                from = start + 1;
                retry = Some((after, start + 1));
            }
            _ => return false,
        }
    }
}

fn pieces(text: &str) -> impl Iterator<Item = Piece> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if !rest.contains('}') {
            return Some(Piece::Text(std::mem::take(&mut rest).to_owned()));
        }
        if let Some(opened) = rest.strip_prefix("${")
            && let Some((inside, after)) = opened.split_once('}')
        {
            rest = after;
            let (name, default) = match inside.split_once(',') {
                Some((name, default)) => {
                    let default = default.trim();
                    let quoted = default
                        .strip_prefix('\'')
                        .and_then(|d| d.strip_suffix('\''));
                    (name.trim(), Some(quoted.unwrap_or(default)))
                }
                None => (inside.trim(), None),
            };
            return Some(match name {
                "*" | "?" | "$" => Piece::Special(name.to_owned()),
                _ => Piece::Variable(Variable {
                    name: name.to_owned(),
                    key: ConditionKey::parse(name),
                    default: default.map(str::to_owned),
                }),
            });
        }
        let end = rest
            .char_indices()
            .skip(1)
            .find(|(at, _)| rest.get(*at..).is_some_and(|tail| tail.starts_with("${")))
            .map_or(rest.len(), |(at, _)| at);
        let (text, after) = rest.split_at(end);
        rest = after;
        Some(Piece::Text(text.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn no_variables(_: &ConditionKey) -> Option<String> {
        None
    }

    #[test]
    fn wildcards_fit_what_they_should() {
        for (pattern, text, fits) in [
            ("kms:*", "kms:Decrypt", true),
            ("KMS:GENERATEDATAKEY*", "kms:GenerateDataKeyPair", true),
            ("kms:Re?ncrypt*", "kms:ReEncryptFrom", true),
            ("kms:Decrypt", "kms:DecryptX", false),
            ("kms:Decryp?", "kms:Decryp", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("?", "é", true),
            ("??", "é", false),
            ("*a*b", "xxaxxab", true),
            ("*a*b", "xxaxxabc", false),
            ("a*", "b", false),
            ("***", "anything", true),
            ("*?x", "yx", true),
        ] {
            assert_eq!(
                glob(pattern, text, Case::Insensitive),
                fits,
                "{pattern} on {text}"
            );
        }
    }

    #[test]
    fn variables_take_values_defaults_and_the_special_characters() {
        let variables =
            |key: &ConditionKey| (*key == ConditionKey::UserName).then(|| "al*ce".to_owned());
        let case = Case::Sensitive;
        let template = Template::new("home/${aws:username}/*", true);
        assert!(template.fits("home/al*ce/x", case, &variables));
        assert!(
            !template.fits("home/alice/x", case, &variables),
            "the value's star is no wildcard"
        );
        let special = Template::new("a${*}b${?}c${$}", true);
        assert!(special.fits("a*b?c$", case, &variables));
        assert!(!special.fits("axbxc$", case, &variables));
        let default = Template::new("${aws:nothing, 'company'}-x", true);
        assert_eq!(default.plain(&variables).as_deref(), Some("company-x"));
        assert_eq!(
            Template::new("${aws:nothing}", true).plain(&variables),
            None
        );
        let old = Template::new("${aws:username}", false);
        assert_eq!(old.plain(&variables).as_deref(), Some("${aws:username}"));
        assert_eq!(
            Template::new("open ${ end", true)
                .plain(&variables)
                .as_deref(),
            Some("open ${ end")
        );
    }

    /// The definition, written as a recursion over characters.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => {
                slow(rest, text) || text.split_first().is_some_and(|(_, t)| slow(pattern, t))
            }
            (Some(('?', rest)), Some((_, t))) => slow(rest, t),
            (Some((p, rest)), Some((c, t))) => p == c && slow(rest, t),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn fitting_agrees_with_its_definition(pattern in "[ab*?é]{0,8}", text in "[abé]{0,8}") {
            let expected = slow(
                &pattern.chars().collect::<Vec<_>>(),
                &text.chars().collect::<Vec<_>>(),
            );
            prop_assert_eq!(glob(&pattern, &text, Case::Sensitive), expected);
        }

        #[test]
        fn no_text_makes_a_template_panic(text in ".{0,40}", presented in ".{0,40}") {
            let template = Template::new(&text, true);
            let _ = template.plain(&no_variables);
            let _ = template.fits(&presented, Case::Insensitive, &no_variables);
        }
    }
}

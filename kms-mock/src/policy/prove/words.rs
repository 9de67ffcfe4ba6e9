//! Which combinations of patterns a string can match, with a shortest string
//! for each: all patterns run side by side as one automaton.
//!
//! Characters that no pattern mentions are alike, so one of them stands for all;
//! that makes the search exact. It is bounded by [`STATES_MAX`].

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::claim::Undecided;
use crate::{policy::template::Character, world::arn::six_parts};

/// States of the joint automaton. Twenty 96-digit values need about 2,000.
const STATES_MAX: usize = 60_000;

/// One step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Symbol {
    /// This character.
    Char(char),
    /// This letter in either case.
    Letter(char),
    /// Any one character.
    One,
    /// Any number of any characters.
    Any,
    /// Any one character but a colon.
    OneOfPart,
    /// Any number of characters but colons.
    AnyOfPart,
    /// One of these.
    Of(&'static str),
    /// Any number of these.
    SomeOf(&'static str),
}

pub(super) type Pattern = Vec<Symbol>;

/// A pattern that is this text.
pub(super) fn literal(text: &str) -> Pattern {
    text.chars().map(Symbol::Char).collect()
}

/// A pattern that is this text in letters of any case.
pub(super) fn caseless(text: &str) -> Pattern {
    text.chars().map(Symbol::Letter).collect()
}

/// A pattern of a policy.
pub(super) fn glob(characters: &[Character]) -> Pattern {
    characters
        .iter()
        .map(|character| match character {
            Character::Plain(c) => Symbol::Char(*c),
            Character::One => Symbol::One,
            Character::Any => Symbol::Any,
        })
        .collect()
}

/// An ARN pattern, whose wildcards stay within their part; `None` when it does
/// not have six parts and thus matches nothing.
pub(super) fn arn(text: &str) -> Option<Pattern> {
    let parts = six_parts(text)?;
    let mut pattern = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let last = at == 5;
        pattern.extend(part.chars().map(|c| match (c, last) {
            ('*', true) => Symbol::Any,
            ('?', true) => Symbol::One,
            ('*', false) => Symbol::AnyOfPart,
            ('?', false) => Symbol::OneOfPart,
            (plain, _) => Symbol::Char(plain),
        }));
        if !last {
            pattern.push(Symbol::Char(':'));
        }
    }
    Some(pattern)
}

type Positions = Vec<u32>;

/// For each combination of `patterns` that a string of the form `shape` can
/// match, up to `each` such strings, shorter ones first.
pub(super) fn words(
    patterns: &[Pattern],
    shape: &Pattern,
    each: usize,
) -> Result<Vec<String>, Undecided> {
    let found = combinations(patterns, shape, each)?;
    Ok(found.into_iter().map(|(_, word)| word).collect())
}

/// The same for a string of any of the `shapes`, those of the first before the others.
pub(super) fn words_of_any(
    patterns: &[Pattern],
    shapes: &[Pattern],
) -> Result<Vec<String>, Undecided> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for shape in shapes {
        for (combination, word) in combinations(patterns, shape, 1)? {
            if seen.insert(combination) {
                out.push(word);
            }
        }
    }
    Ok(out)
}

/// Which of the patterns with wildcards a string matches, and which text without any
/// it is.
type Combination = (Vec<bool>, Option<String>);

/// Strings by what matches them. A pattern without wildcards is one string: it is
/// looked at by itself, since a hundred of them would make the automaton large.
fn combinations(
    patterns: &[Pattern],
    shape: &Pattern,
    each: usize,
) -> Result<Vec<(Combination, String)>, Undecided> {
    let mut literals = BTreeSet::new();
    let mut rest: Vec<&Pattern> = Vec::new();
    for pattern in patterns {
        match as_text(pattern) {
            Some(text) => _ = literals.insert(text),
            None => rest.push(pattern),
        }
    }
    rest.sort();
    rest.dedup();
    literals.retain(|text| accepts(shape, text));
    // A character that stands for all others is in none of the texts either.
    let alphabet = alphabet(patterns.iter().chain([shape]));
    let mut found = search(&rest, shape, each, &alphabet)?;
    if found.iter().any(|(_, word)| literals.contains(word)) {
        // One that is none of the texts may be longer.
        found = search(&rest, shape, each + literals.len(), &alphabet)?;
        found.retain(|(_, word)| !literals.contains(word));
        let mut counts: BTreeMap<Vec<bool>, usize> = BTreeMap::new();
        found.retain(|(accepted, _)| {
            let count = counts.entry(accepted.clone()).or_default();
            *count += 1;
            *count <= each
        });
    }
    let mut out: Vec<(Combination, String)> = found
        .into_iter()
        .map(|(accepted, word)| ((accepted, None), word))
        .collect();
    out.extend(literals.into_iter().map(|text| {
        let accepted = rest.iter().map(|pattern| accepts(pattern, &text)).collect();
        ((accepted, Some(text.clone())), text)
    }));
    out.sort_by_key(|(_, word)| word.len());
    Ok(out)
}

/// The only string that a pattern without wildcards and classes matches.
fn as_text(pattern: &Pattern) -> Option<String> {
    let character = |symbol: &Symbol| match symbol {
        Symbol::Char(c) => Some(*c),
        _ => None,
    };
    pattern.iter().map(character).collect()
}

fn accepts(pattern: &Pattern, text: &str) -> bool {
    let mut positions = closed(pattern, vec![0]);
    for c in text.chars() {
        positions = step(pattern, &positions, c);
        if positions.is_empty() {
            return false;
        }
    }
    positions.iter().any(|p| *p as usize == pattern.len())
}

/// Strings of the form `shape` by the patterns they match, shorter ones first.
fn search(
    patterns: &[&Pattern],
    shape: &Pattern,
    each: usize,
    alphabet: &[char],
) -> Result<Vec<(Vec<bool>, String)>, Undecided> {
    let mut all: Vec<&Pattern> = patterns.to_vec();
    all.push(shape);
    let start: Vec<Positions> = all.iter().map(|pattern| closed(pattern, vec![0])).collect();
    let mut seen: HashMap<Vec<Positions>, usize> = HashMap::new();
    seen.insert(start.clone(), 1);
    // (state, the word before, its last character)
    let mut nodes: Vec<(Vec<Positions>, usize, Option<char>)> = vec![(start, 0, None)];
    let mut queue: VecDeque<usize> = [0].into();
    let mut found: BTreeMap<Vec<bool>, usize> = BTreeMap::new();
    let mut out = Vec::new();
    while let Some(at) = queue.pop_front() {
        let Some((state, ..)) = nodes.get(at) else {
            continue;
        };
        let state = state.clone();
        let mut accepted: Vec<bool> = all
            .iter()
            .zip(&state)
            .map(|(pattern, positions)| positions.iter().any(|p| *p as usize == pattern.len()))
            .collect();
        if accepted.pop() == Some(true) {
            let count = found.entry(accepted.clone()).or_default();
            if *count < each {
                *count += 1;
                out.push((accepted, spell(&nodes, at)));
            }
        }
        for c in alphabet {
            let of_shape = match state.last() {
                Some(positions) => step(shape, positions, *c),
                None => continue,
            };
            if of_shape.is_empty() {
                continue;
            }
            let mut next: Vec<Positions> = patterns
                .iter()
                .zip(&state)
                .map(|(pattern, positions)| step(pattern, positions, *c))
                .collect();
            next.push(of_shape);
            let visits = seen.entry(next.clone()).or_default();
            if *visits >= each {
                continue;
            }
            *visits += 1;
            if nodes.len() >= STATES_MAX {
                return Err(Undecided::TooLarge {
                    what: "states of the patterns of one condition key".to_owned(),
                    max: STATES_MAX,
                });
            }
            queue.push_back(nodes.len());
            nodes.push((next, at, Some(*c)));
        }
    }
    Ok(out)
}

fn spell(nodes: &[(Vec<Positions>, usize, Option<char>)], mut at: usize) -> String {
    let mut reversed = Vec::new();
    while let Some((_, before, Some(c))) = nodes.get(at) {
        reversed.push(*c);
        at = *before;
    }
    reversed.iter().rev().collect()
}

fn closed(pattern: &Pattern, mut positions: Positions) -> Positions {
    let mut at = 0;
    while let Some(position) = positions.get(at).copied() {
        let skips = matches!(
            pattern.get(position as usize),
            Some(Symbol::Any | Symbol::AnyOfPart | Symbol::SomeOf(_))
        );
        if skips && !positions.contains(&(position + 1)) {
            positions.push(position + 1);
        }
        at += 1;
    }
    positions.sort_unstable();
    positions
}

fn step(pattern: &Pattern, positions: &Positions, c: char) -> Positions {
    let mut next = Positions::new();
    for position in positions {
        let Some(symbol) = pattern.get(*position as usize) else {
            continue;
        };
        let (fits, stays) = match symbol {
            Symbol::Char(want) => (*want == c, false),
            Symbol::Letter(want) => (want.to_lowercase().eq(c.to_lowercase()), false),
            Symbol::One => (true, false),
            Symbol::Any => (true, true),
            Symbol::OneOfPart => (c != ':', false),
            Symbol::AnyOfPart => (c != ':', true),
            Symbol::Of(class) => (class.contains(c), false),
            Symbol::SomeOf(class) => (class.contains(c), true),
        };
        let to = if stays { *position } else { *position + 1 };
        if fits && !next.contains(&to) {
            next.push(to);
        }
    }
    closed(pattern, next)
}

/// The characters that patterns mention, and one for all others; for each class
/// of characters, too.
fn alphabet<'a>(patterns: impl Iterator<Item = &'a Pattern>) -> Vec<char> {
    let mut mentioned = Vec::new();
    let mut classes = Vec::new();
    for symbol in patterns.flatten() {
        match symbol {
            Symbol::Char(c) => mentioned.push(*c),
            Symbol::Letter(c) => {
                mentioned.extend(c.to_lowercase());
                mentioned.extend(c.to_uppercase());
            }
            Symbol::Of(class) | Symbol::SomeOf(class) => classes.push(*class),
            Symbol::OneOfPart | Symbol::AnyOfPart => mentioned.push(':'),
            Symbol::One | Symbol::Any => {}
        }
    }
    mentioned.sort_unstable();
    mentioned.dedup();
    classes.sort_unstable();
    classes.dedup();
    let is_fresh = |c: &char| mentioned.binary_search(c).is_err();
    let mut out: Vec<char> = classes
        .iter()
        .filter_map(|class| class.chars().find(is_fresh))
        .collect();
    let mut others = ('a'..='z')
        .rev()
        .chain('0'..='9')
        .chain('\u{c0}'..='\u{2fff}');
    out.extend(others.find(is_fresh));
    out.extend(&mentioned);
    let mut once = Vec::new();
    for c in out {
        if !once.contains(&c) {
            once.push(c);
        }
    }
    once
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        let characters: Vec<_> = text.chars().map(Character::from_pattern).collect();
        glob(&characters)
    }

    #[test]
    fn every_combination_of_patterns_that_exists_is_found_and_no_other() {
        let patterns = [pattern("a*"), pattern("*b"), pattern("?b?"), literal("ab")];
        let words = words(&patterns, &vec![Symbol::Any], 1).unwrap();
        let combination = |word: &String| {
            ["a*", "*b", "?b?", "ab"].map(|p| {
                crate::policy::template::glob(p, word, crate::policy::template::Case::Sensitive)
            })
        };
        let mut found: Vec<_> = words.iter().map(combination).collect();
        found.sort_unstable();
        let mut by_hand = Vec::new();
        for word in ["", "a", "ab", "b", "xbx", "abx", "xbb", "abb", "axb"] {
            by_hand.push(combination(&word.to_owned()));
        }
        by_hand.sort_unstable();
        by_hand.dedup();
        assert_eq!(found, by_hand);
    }

    #[test]
    fn wildcards_of_an_arn_stay_within_their_part() {
        let shape = vec![Symbol::Any];
        let found = words(&[arn("arn:aws:iam::*:role/A*").unwrap()], &shape, 1).unwrap();
        assert!(
            found.contains(&"arn:aws:iam:::role/A".to_owned()),
            "{found:?}"
        );
        assert!(arn("arn:aws:*").is_none());
    }

    #[test]
    fn a_shape_limits_the_strings() {
        let shape = vec![Symbol::Of("0123456789abcdef"); 96];
        let value = "ab".repeat(48);
        let found = words(&[caseless(&value.to_uppercase())], &shape, 1).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found.contains(&value));
        assert!(found.iter().all(|word| word.len() == 96));
    }

    #[test]
    fn a_value_beside_all_that_a_policy_names_is_found_whatever_digits_those_have() {
        let shape = vec![Symbol::Of("0123456789abcdef"); 96];
        let (one, all) = ("a".repeat(96), "0123456789abcdef".repeat(6));
        for named in [vec![one.as_str()], vec![one.as_str(), all.as_str()]] {
            let patterns: Vec<Pattern> = named.iter().map(|text| literal(text)).collect();
            let found = words(&patterns, &shape, 1).unwrap();
            assert_eq!(found.len(), named.len() + 1, "{found:?}");
            assert!(
                named
                    .iter()
                    .all(|text| found.iter().any(|word| word == text))
            );
        }
    }

    #[test]
    fn two_spellings_of_a_caseless_word_are_found_when_asked_for() {
        let mut found = words(&[caseless("job")], &caseless("job"), 2).unwrap();
        found.sort();
        found.dedup();
        assert_eq!(found.len(), 2);
    }
}

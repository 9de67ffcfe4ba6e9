//! All encryption contexts and all sets of names that the conditions of a policy can
//! tell apart.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    claim::Undecided,
    values::{Atom, Look, looks, mixed, patterns, signature, texts},
    words::{self, Symbol, words},
};
use crate::{
    model::condition_key::ConditionKey,
    policy::{EncryptionContext, Question},
};

const CONTEXTS_MAX: usize = 20_000;
/// Kinds of members of a set, each in or out.
const SET_KINDS_MAX: usize = 8;

/// All kinds of encryption contexts: names by the conditions on names, values by
/// the conditions on each name, and as many spellings of a name as conditions
/// could want to see.
pub(super) fn contexts(
    base: &Question,
    atoms: &[Atom<'_>],
) -> Result<Vec<EncryptionContext>, Undecided> {
    let mut classes: BTreeMap<&str, Vec<Atom<'_>>> = BTreeMap::new();
    let mut names_patterns = Vec::new();
    for atom in atoms {
        match atom.condition.key() {
            ConditionKey::EncryptionContext(name) => {
                classes.entry(name).or_default().push(*atom);
            }
            _ => names_patterns.extend(patterns(atom.condition, base)?),
        }
    }
    if looks(atoms).iter().any(|look| *look != Look::Text) && classes.len() < atoms.len() {
        // Values may be numbers; names may not.
        let keys_only: Vec<_> = atoms
            .iter()
            .filter(|a| *a.condition.key() == ConditionKey::EncryptionContextKeys)
            .copied()
            .collect();
        if looks(&keys_only).iter().any(|look| *look != Look::Text) {
            return Err(mixed(&keys_only));
        }
    }
    let spellings = |atoms: &[Atom<'_>]| {
        let existential = atoms
            .iter()
            .filter(|a| a.condition.operator().is_existential());
        existential.count().max(1)
    };
    let most = classes
        .values()
        .map(|atoms| spellings(atoms))
        .max()
        .unwrap_or(1);
    names_patterns.extend(classes.keys().map(|name| words::caseless(name)));
    let mut names = Vec::new();
    let mut seen: BTreeMap<(Option<&str>, Vec<bool>), usize> = BTreeMap::new();
    for word in words(&names_patterns, &vec![Symbol::One, Symbol::Any], most)? {
        let lower = word.to_lowercase();
        let class = classes.get_key_value(lower.as_str());
        let mut alone = base.clone();
        alone.facts.encryption_context = Some([(word.clone(), "x".to_owned())].into());
        let kind = (class.map(|(name, _)| *name), signature(&alone, atoms));
        let count = seen.entry(kind).or_default();
        *count += 1;
        if *count > class.map_or(1, |(_, atoms)| spellings(atoms)) {
            continue;
        }
        let values = match class {
            Some((_, atoms)) => texts(base, atoms, &vec![Symbol::Any])?,
            None => vec!["x".to_owned()],
        };
        names.push((word, values));
    }
    let mut all = vec![EncryptionContext::new()];
    for (name, values) in names {
        let mut longer = Vec::new();
        for context in &all {
            for value in &values {
                let mut with = context.clone();
                with.insert(name.clone(), value.clone());
                longer.push(with);
            }
        }
        all.extend(longer);
        if all.len() > CONTEXTS_MAX {
            return Err(Undecided::TooLarge {
                what: "encryption contexts".to_owned(),
                max: CONTEXTS_MAX,
            });
        }
    }
    all.sort_by_key(BTreeMap::len);
    Ok(all)
}

/// All sets of members that differ in what conditions see of them, each with all of
/// `always`.
pub(super) fn kinds_of_members(
    base: &Question,
    atoms: &[Atom<'_>],
    key: &ConditionKey,
    members: Vec<String>,
    always: &[String],
) -> Result<Vec<Vec<String>>, Undecided> {
    let seen_of = |member: &String| {
        let mut alone = base.clone();
        alone.present(key, Some(vec![member.clone()]));
        signature(&alone, atoms)
    };
    let mut seen: BTreeSet<_> = always.iter().map(seen_of).collect();
    let mut kinds = Vec::new();
    for member in members {
        if seen.insert(seen_of(&member)) {
            kinds.push(member);
        }
    }
    if kinds.len() > SET_KINDS_MAX {
        return Err(Undecided::TooLarge {
            what: "kinds of members of a set".to_owned(),
            max: SET_KINDS_MAX,
        });
    }
    let mut sets: Vec<Vec<String>> = vec![always.to_vec()];
    for kind in kinds {
        let mut longer = sets.clone();
        longer.iter_mut().for_each(|set| set.push(kind.clone()));
        sets.extend(longer);
    }
    sets.sort_by_key(Vec::len);
    Ok(sets)
}

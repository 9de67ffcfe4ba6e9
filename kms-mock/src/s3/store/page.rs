//! One page of a listing: keys, and common prefixes in place of those that share
//! them.

/// One page of a listing.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) entries: Vec<(String, T)>,
    pub(crate) common_prefixes: Vec<String>,
    /// The last key or prefix given, if there is more.
    pub(crate) next: Option<String>,
}

/// What is asked of a listing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageRequest<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) delimiter: Option<&'a str>,
    /// The last key or prefix of the page before.
    pub(crate) after: &'a str,
    /// Keys and common prefixes together.
    pub(crate) max: usize,
}

/// Fills one page from `entries`, which come in the order of their keys.
pub(super) fn page<'k, T>(
    entries: impl Iterator<Item = (&'k str, T)>,
    asked: &PageRequest<'_>,
    after_group: &str,
) -> Page<T> {
    let mut page = Page {
        entries: Vec::new(),
        common_prefixes: Vec::new(),
        next: None,
    };
    if asked.max == 0 {
        return page;
    }
    let mut last = String::new();
    for (key, entry) in entries {
        let rest = key.strip_prefix(asked.prefix);
        let group = asked
            .delimiter
            .filter(|delimiter| !delimiter.is_empty())
            .and_then(|delimiter| Some(rest?.find(delimiter)? + delimiter.len()))
            .and_then(|end| key.get(..asked.prefix.len() + end));
        // A group is given once, also when the page before ended with it.
        let given = |group: &str| {
            group == after_group || page.common_prefixes.last().is_some_and(|it| it == group)
        };
        if group.is_some_and(given) {
            continue;
        }
        if page.entries.len() + page.common_prefixes.len() >= asked.max {
            page.next = Some(last);
            break;
        }
        match group {
            Some(group) => {
                group.clone_into(&mut last);
                page.common_prefixes.push(group.to_owned());
            }
            None => {
                key.clone_into(&mut last);
                page.entries.push((key.to_owned(), entry));
            }
        }
    }
    page
}

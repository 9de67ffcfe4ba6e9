//! `FIDELITY.md`: each behaviour of the real thing, the evidence for it, the test
//! that holds ours to it. Written from `conformance/fidelity.toml` and the source
//! of the conformance cases; `cargo ci fidelity` writes it, the gate only compares.
//!
//! Knows of Rust only string literals, and which function is a test. A case is a
//! literal that is followed by one that cites a source; a case whose name is put
//! together at run time is not listed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    ops::Range,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use crate::{
    step::{Passed, Step},
    workspace::Workspace,
};

const DATA: &str = "conformance/fidelity.toml";
const SUITES: &str = "conformance/src/suites";
const DOCUMENT: &str = "FIDELITY.md";

/// How a citation begins.
const SOURCES: [&str; 5] = ["NSM §", "KMS §", "QEMU §", "DESIGN", "images §"];

pub(crate) const STEP: Step = Step {
    name: "fidelity",
    about: "FIDELITY.md is what its data say, and its tests exist",
    run: |run| {
        let root = run.workspace.root();
        let written = fs::read_to_string(root.join(DOCUMENT)).context(DOCUMENT)?;
        ensure!(
            written == document(root)?,
            "{DOCUMENT} is stale: run `cargo ci fidelity` and look at what changed"
        );
        Ok(Passed::Fully)
    },
};

/// Writes the document.
pub(crate) fn write(workspace: &Workspace) -> anyhow::Result<ExitCode> {
    let root = workspace.root();
    fs::write(root.join(DOCUMENT), document(root)?).context(DOCUMENT)?;
    println!("wrote {DOCUMENT}");
    Ok(ExitCode::SUCCESS)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    /// What each class of evidence means.
    evidence: BTreeMap<String, String>,
    /// Which class stands behind a citation, or behind all that begin with it.
    truth: BTreeMap<String, String>,
    /// The class of single cases, by their names.
    case: BTreeMap<String, String>,
    area: Vec<Area>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Area {
    name: String,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    says: String,
    evidence: String,
    /// `folder/file.rs::function`.
    test: String,
}

fn document(root: &Path) -> anyhow::Result<String> {
    let data: Data =
        toml::from_str(&fs::read_to_string(root.join(DATA)).context(DATA)?).context(DATA)?;
    let mut text = String::from(
        "# Fidelity\n\n\
         Written by `cargo ci fidelity` from `conformance/fidelity.toml` and the cases of\n\
         `drydock conformance`; the gate fails when it is stale or names a test that is not\n\
         there.\n\n\
         | evidence | is |\n|---|---|\n",
    );
    for (class, meaning) in &data.evidence {
        writeln!(text, "| {class} | {meaning} |")?;
    }
    for area in &data.area {
        writeln!(
            text,
            "\n## {}\n\n| behaviour | evidence | held by |\n|---|---|---|",
            area.name
        )?;
        for row in &area.rows {
            known(&data, &row.evidence)?;
            let (file, function) = row.test.split_once("::").with_context(|| {
                format!(
                    "{DATA}: `{}` is not of the form file.rs::function",
                    row.test
                )
            })?;
            let source = fs::read_to_string(root.join(file)).with_context(|| file.to_owned())?;
            ensure!(
                is_test(&source, function),
                "{DATA}: there is no test `{function}` in {file}"
            );
            writeln!(
                text,
                "| {} | {} | [{file}]({file}): `{function}` |",
                row.says, row.evidence
            )?;
        }
    }

    text.push_str(
        "\n## Cases\n\n\
         Judged by `drydock conformance`; those of `nsm` and `attestation` on hardware too,\n\
         with `--target device`.\n\n\
         | suite | behaviour | evidence |\n|---|---|---|\n",
    );
    let mut single: BTreeSet<&str> = data.case.keys().map(String::as_str).collect();
    for file in suites(root)? {
        let suite = file.file_stem().unwrap_or_default().to_string_lossy();
        let source = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        for (name, truth) in cases(&source) {
            single.remove(name.as_str());
            let class = match data.case.get(&name) {
                Some(class) => class,
                None => class_of(&data, &truth).with_context(|| {
                    format!("{DATA}: [truth] does not say what evidence `{truth}` is")
                })?,
            };
            known(&data, class)?;
            writeln!(text, "| {suite} | {name} | {class} |")?;
        }
    }
    ensure!(single.is_empty(), "{DATA}: there is no case {single:?}");
    Ok(text)
}

fn known(data: &Data, class: &str) -> anyhow::Result<()> {
    if data.evidence.contains_key(class) {
        return Ok(());
    }
    bail!("{DATA}: `{class}` is not a class of evidence")
}

/// The class of a citation: its own, or that of the longest beginning.
fn class_of<'a>(data: &'a Data, truth: &str) -> Option<&'a str> {
    let begins = |known: &&String| truth.strip_prefix(known.as_str()).is_some_and(ends_a_word);
    let known = data.truth.keys().filter(begins).max_by_key(|it| it.len())?;
    data.truth.get(known).map(String::as_str)
}

/// Whether a citation may go on so after what is known of it: §3.1 is not §3.12.
fn ends_a_word(rest: &str) -> bool {
    !rest.starts_with(|c: char| c.is_ascii_digit() || c == '.')
}

fn suites(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join(SUITES)).context(SUITES)? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("mod.rs") {
            files.push(path);
        }
    }
    files.sort();
    ensure!(!files.is_empty(), "no suite in {SUITES}");
    Ok(files)
}

/// Names and citations, in the order of the file.
fn cases(source: &str) -> Vec<(String, String)> {
    let literals = literals(source);
    let neighbours = literals.iter().zip(literals.iter().skip(1));
    neighbours
        .filter(|(name, truth)| {
            let between = source.get(name.place.end..truth.place.start);
            between.is_some_and(|text| text.trim() == ",")
                && SOURCES.iter().any(|it| truth.text.starts_with(it))
        })
        .map(|(name, truth)| (name.text.clone(), truth.text.clone()))
        .collect()
}

/// A string literal without its quotes, and where it is with them.
struct Literal {
    text: String,
    place: Range<usize>,
}

/// The plain string literals of a source text; comments, characters and raw
/// strings are passed over.
fn literals(source: &str) -> Vec<Literal> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("'\"'") {
            3
        } else if let Some(raw) = rest.strip_prefix("r#\"") {
            raw.find("\"#").map_or(rest.len(), |end| end + 5)
        } else if let Some(string) = rest.strip_prefix('"') {
            let end = end_of(string);
            found.push(Literal {
                text: unescaped(&string[..end]),
                place: at..at + end + 2,
            });
            end + 2
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
        at += length;
    }
    found
}

/// Where a string's closing quote is.
fn end_of(string: &str) -> usize {
    let mut escaped = false;
    let closing = string.find(|c| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    });
    closing.unwrap_or(string.len())
}

/// Quotes and line continuations; other escapes are in no name.
fn unescaped(string: &str) -> String {
    let mut text = String::new();
    let mut rest = string;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        rest = after;
        if let Some(next_line) = after.strip_prefix('\n') {
            rest = next_line.trim_start();
        }
    }
    text.push_str(rest);
    text
}

/// Whether `function` is a test of the source: an attribute above it says so.
fn is_test(source: &str, function: &str) -> bool {
    let Some(at) = source.find(&format!("fn {function}(")) else {
        return false;
    };
    let above = source[..at].trim_end_matches("async ").lines().rev();
    above
        .map(str::trim)
        .take_while(|line| line.is_empty() || line.starts_with(['#', '/']))
        .any(|line| line == "#[test]" || line.starts_with("#[tokio::test"))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_case_is_a_name_with_a_source_behind_it() {
        let source = r##"
            // "in a comment", "NSM §9"
            judge.case("first", "NSM §3.1", first()).await;
            ("kms", '"', r#"raw "text""#, "two \
               lines", "KMS §6 #1");
            let other = ["a", "NSM"]; ("far", 3, "NSM §4");
        "##;
        let case = |name: &str, truth: &str| (name.to_owned(), truth.to_owned());
        assert_eq!(
            cases(source),
            [case("first", "NSM §3.1"), case("two lines", "KMS §6 #1")]
        );
    }

    #[test]
    fn a_section_is_not_the_beginning_of_another() {
        let data = Data {
            evidence: BTreeMap::new(),
            truth: [("NSM §3.1", "a"), ("KMS §6", "b"), ("KMS §6 #11", "c")]
                .map(|(truth, class)| (truth.to_owned(), class.to_owned()))
                .into(),
            case: BTreeMap::new(),
            area: Vec::new(),
        };
        for (truth, class) in [
            ("NSM §3.1", Some("a")),
            ("NSM §3.12", None),
            ("KMS §6 #2, #12", Some("b")),
            ("KMS §6 #11", Some("c")),
            ("KMS §6 #1", Some("b")),
        ] {
            assert_eq!(class_of(&data, truth), class, "{truth}");
        }
    }

    #[test]
    fn only_tests_are_tests() {
        let source = "#[test]\n#[cfg(unix)]\nfn a() {}\nfn b() {}\n#[tokio::test]\nasync fn c() {}";
        let tests: Vec<bool> = ["a", "b", "c", "d"]
            .iter()
            .map(|function| is_test(source, function))
            .collect();
        assert_eq!(tests, [true, false, true, false]);
    }
}

//! The demo on its real image: the whole flow, end to end.
//!
//! The gate runs the README's command, in the profile of the tests, so that one
//! build serves both. `cargo ci release-demo` runs it in the profile of releases.

use anyhow::{Context as _, ensure};

use crate::step::{Passed, Run, Step};

/// What the one JSON object of `demo --json` has.
const KEYS: [&str; 7] = [
    "findings",
    "model_sha256",
    "input_sha256",
    "pcrs",
    "steps",
    "refusals",
    "kms_calls",
];

pub(crate) const TEXT: Step = Step {
    name: "demo",
    about: "cargo run --bin drydock -- demo",
    run: |run| {
        let text = demo(run, &[], &[])?;
        ensure!(!text.trim().is_empty(), "the demo printed nothing");
        Ok(Passed::Fully)
    },
};

pub(crate) const JSON: Step = Step {
    name: "demo-json",
    about: "cargo run --bin drydock -- demo --json",
    run: |run| {
        let text = demo(run, &[], &["--json"])?;
        one_object(&text)?;
        Ok(Passed::Fully)
    },
};

pub(crate) const RELEASE: Step = Step {
    name: "release-demo",
    about: "cargo run --profile dist --bin drydock -- demo",
    run: |run| {
        let text = demo(run, &["--profile", "dist"], &[])?;
        ensure!(!text.trim().is_empty(), "the demo printed nothing");
        Ok(Passed::Fully)
    },
};

fn demo(run: &mut Run<'_>, build: &[&str], flags: &[&str]) -> anyhow::Result<String> {
    let mut command = run.workspace.cargo(&["run", "--quiet", "--bin", "drydock"]);
    command.args(build).args(["--", "demo"]).args(flags);
    run.stdout(&mut command)
}

/// That the text is one JSON object with the demo's keys, without reading all of
/// JSON: strings are skipped, braces are counted.
fn one_object(text: &str) -> anyhow::Result<()> {
    let mut depth = 0_usize;
    let mut keys = Vec::new();
    let mut rest = text.trim();
    ensure!(
        rest.starts_with('{'),
        "the output does not start with an object"
    );
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => {
                depth = depth
                    .checked_sub(1)
                    .context("the output closes a bracket that it did not open")?;
                ensure!(depth > 0 || rest.is_empty(), "something follows the object");
            }
            '"' => {
                let (string, after) = string(rest).context("the output ends in a string")?;
                rest = after;
                if depth == 1 && rest.trim_start().starts_with(':') {
                    keys.push(string);
                }
            }
            _ => {}
        }
    }
    ensure!(depth == 0, "the output ends inside the object");
    for key in KEYS {
        ensure!(keys.contains(&key), "the object has no `{key}`");
    }
    Ok(())
}

/// A string's text up to its closing quote, and what follows.
fn string(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    let end = text.find(|c| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    })?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn takes_one_object_with_every_key_and_nothing_else() {
        let members: Vec<String> = KEYS
            .iter()
            .map(|key| format!("\"{key}\": [{{\"x\": \"a\\\"}}\"}}]"))
            .collect();
        let object = format!("{{{}}}\n", members.join(","));
        one_object(&object).unwrap();
        for bad in [
            format!("step 1\n{object}"),
            format!("{object}{object}"),
            object.replace("refusals", "refusal"),
            object.trim_end().trim_end_matches('}').to_owned(),
            format!("{{\"all\": {object}}}"),
            String::new(),
        ] {
            assert!(one_object(&bad).is_err(), "{bad}");
        }
    }
}

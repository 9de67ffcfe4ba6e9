//! Every cargo feature compiles alone and without the others, free of warnings.
//!
//! `cargo test --workspace` builds with all of them; what forgot to say that it
//! needs one would be found by somebody else's build.

use anyhow::Context as _;

use crate::step::{Passed, Step};

/// The crates that have features.
const CRATES: [&str; 2] = ["nsm-sim", "kms-mock"];

pub(crate) const STEP: Step = Step {
    name: "features",
    about: "nsm-sim and kms-mock with no feature and with each alone",
    run: |run| {
        for name in CRATES {
            for feature in
                std::iter::once(String::new()).chain(features(run.workspace.root(), name)?)
            {
                let mut command = run.workspace.cargo(&["clippy", "--locked", "-p", name]);
                command.args(["--no-default-features", "--features", &feature]);
                command.args(["--lib", "--bins", "--", "-D", "warnings"]);
                run.check(&mut command)?;
            }
        }
        Ok(Passed::Fully)
    },
};

/// The features that a crate's manifest names, but for `default`.
fn features(root: &std::path::Path, name: &str) -> anyhow::Result<Vec<String>> {
    let path = root.join(name).join("Cargo.toml");
    let manifest = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let manifest: toml::Table = manifest.parse()?;
    let features = manifest.get("features").and_then(toml::Value::as_table);
    let features = features.with_context(|| format!("{} names no features", path.display()))?;
    Ok(features
        .keys()
        .filter(|name| *name != "default")
        .cloned()
        .collect())
}

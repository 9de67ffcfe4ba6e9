//! AWS's own image library beside ours. Not part of the gate: it needs OpenSSL's
//! headers and pkg-config, which nothing else here does.
//!
//! A workspace of its own that builds into this one's target folder; dependencies
//! of the same version and features are shared.

use anyhow::Context as _;

use crate::step::{Passed, Step};

pub(crate) const STEP: Step = Step {
    name: "eif-oracle",
    about: "images beside aws-nitro-enclaves-image-format's",
    run: |run| {
        let mut command = run.workspace.cargo(&["run", "--quiet", "--locked"]);
        command
            .args(["--manifest-path", "nsm-sim/eif-oracle/Cargo.toml"])
            .env("CARGO_TARGET_DIR", run.workspace.target());
        let compared = run.stdout(&mut command).context(
            "it needs OpenSSL's headers and pkg-config, on Debian `apt-get install libssl-dev pkg-config`",
        )?;
        print!("{compared}");
        Ok(Passed::Fully)
    },
};

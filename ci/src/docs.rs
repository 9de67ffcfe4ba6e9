//! The documentation builds without a broken link.

use crate::step::{Passed, Step};

pub(crate) const STEP: Step = Step {
    name: "docs",
    about: "cargo doc, warnings denied",
    run: |run| {
        let mut command = run
            .workspace
            .cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
        command.env("RUSTDOCFLAGS", "-D warnings");
        run.check(&mut command)?;
        Ok(Passed::Fully)
    },
};

//! The README's test command.

use crate::step::{Passed, Step};

pub(crate) const STEP: Step = Step {
    name: "test",
    about: "cargo test --workspace",
    run: |run| {
        let mut command = run.workspace.cargo(&["test", "--workspace"]);
        run.check(&mut command)?;
        Ok(Passed::Fully)
    },
};

//! The conformance suites against the simulators, with a JUnit report.

use std::fs;

use anyhow::{Context as _, ensure};

use crate::step::{Passed, Step};

pub(crate) const STEP: Step = Step {
    name: "conformance",
    about: "drydock conformance, JUnit in target/ci/conformance.xml",
    run: |run| {
        let report = run.workspace.reports().join("conformance.xml");
        // What an earlier run left would pass for this one's.
        if report.exists() {
            fs::remove_file(&report).with_context(|| report.display().to_string())?;
        }
        let mut command = run
            .workspace
            .cargo(&["run", "--quiet", "--bin", "drydock", "--"]);
        command.args(["conformance", "--junit"]).arg(&report);
        run.check(&mut command)?;
        let xml = fs::read_to_string(&report)
            .with_context(|| format!("no report at {}", report.display()))?;
        ensure!(
            xml.contains("<testsuite") && xml.contains("<testcase"),
            "{} reports no case",
            report.display()
        );
        Ok(Passed::Fully)
    },
};

//! How suites are run: against what, which of their cases, and who hears of each.

use std::path::PathBuf;

use crate::{case::OnCase, target::Target};

/// How suites are run.
#[allow(missing_debug_implementations)] // holds a callback
pub struct Plan<'a> {
    /// What is judged.
    pub target: Target,
    /// The program that plays the client inside an enclave.
    pub drydock: PathBuf,
    /// Only cases whose name holds this.
    pub filter: Option<&'a str>,
    /// Sees every case as it ends.
    pub on_case: OnCase<'a>,
}

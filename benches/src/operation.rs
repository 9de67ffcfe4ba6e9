//! Something that is timed and whose instructions are counted.

use std::fmt;

/// Something to run again and again.
pub struct Operation {
    /// Its name on the command line.
    pub name: &'static str,
    /// What one run does.
    pub what: &'static str,
    /// Runs whose instructions are counted.
    pub counted_runs: u32,
    pub(crate) prepare: fn() -> Box<dyn FnMut()>,
}

impl Operation {
    /// Makes what a run needs and runs once; each call is one run more.
    #[must_use]
    pub fn prepared(&self) -> Box<dyn FnMut()> {
        let mut run = (self.prepare)();
        run();
        run
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

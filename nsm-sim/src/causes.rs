//! An error and its causes in one line, each cause once.
//!
//! Many errors name their cause in their own text and answer it from `source()`
//! as well, so printing the whole chain would say it twice. Source of truth: the
//! texts themselves; a cause that the line already contains is left out. Does not
//! print backtraces: they mean nothing to an operator.

use std::{error::Error, iter::successors};

/// The text of `error`, followed by the causes that it does not name itself.
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    successors(error.source(), |&cause| cause.source()).fold(error.to_string(), |line, cause| {
        let cause = cause.to_string();
        if line.contains(&cause) {
            line
        } else {
            format!("{line}: {cause}")
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::with_causes;

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("cannot start: {0}")]
        NamesItsCause(#[source] io::Error),
        #[error("cannot start")]
        LeavesItOut(#[source] io::Error),
    }

    #[test]
    fn a_cause_is_said_once() {
        let cause = || io::Error::other("no route");
        for failure in [
            Failure::NamesItsCause(cause()),
            Failure::LeavesItOut(cause()),
        ] {
            assert_eq!(with_causes(&failure), "cannot start: no route");
        }
    }
}

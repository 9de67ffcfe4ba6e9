//! Text for people: colours only on a terminal, and none when `NO_COLOR` is set.

use std::{env, io::IsTerminal};

/// Whether to colour what goes to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// The style of standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self::of(&std::io::stdout())
    }

    /// The style of standard error.
    #[must_use]
    pub fn stderr() -> Self {
        Self::of(&std::io::stderr())
    }

    fn of(stream: &impl IsTerminal) -> Self {
        Self {
            colour: stream.is_terminal() && env::var_os("NO_COLOR").is_none(),
        }
    }

    /// Something that went well.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Something that did not.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// Something beside the point.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Something to look at first.
    #[must_use]
    pub fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

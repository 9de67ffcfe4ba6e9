//! `cargo ci check`: what is quick enough for every save.

use crate::{
    lints::{CLIPPY, FORMAT},
    step::Step,
};

pub(crate) const STEPS: &[Step] = &[FORMAT, CLIPPY];

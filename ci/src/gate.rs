//! `cargo ci gate`: everything that has to hold before a change lands, quickest
//! first.

use crate::{conformance, demo, deny, docs, fidelity, fuzz, lints, step::Step, tests};

pub(crate) const STEPS: &[Step] = &[
    lints::FORMAT,
    fidelity::STEP,
    lints::CLIPPY,
    docs::STEP,
    deny::STEP,
    tests::STEP,
    demo::TEXT,
    demo::JSON,
    conformance::STEP,
    fuzz::STEP,
];

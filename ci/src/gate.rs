//! `cargo ci gate`: everything that has to hold before a change lands, quickest
//! first.

use crate::{aarch64, conformance, demo, deny, docs, fidelity, fuzz, lints, step::Step, tests};

pub(crate) const STEPS: &[Step] = &[
    lints::FORMAT,
    fidelity::STEP,
    lints::CLIPPY,
    aarch64::STEP,
    docs::STEP,
    deny::STEP,
    tests::STEP,
    demo::TEXT,
    demo::JSON,
    conformance::STEP,
    fuzz::STEP,
];

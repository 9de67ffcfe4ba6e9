//! `cargo ci gate`: everything that has to hold before a change lands, quickest
//! first.

use crate::{
    aarch64, conformance, demo, deny, docs, features, fidelity, fuzz, lints, rust_version,
    step::Step, tests,
};

pub(crate) const STEPS: &[Step] = &[
    lints::FORMAT,
    fidelity::STEP,
    lints::CLIPPY,
    features::STEP,
    rust_version::STEP,
    aarch64::STEP,
    docs::STEP,
    deny::STEP,
    tests::STEP,
    demo::TEXT,
    demo::JSON,
    conformance::STEP,
    fuzz::STEP,
];

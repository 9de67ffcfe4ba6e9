//! The verbs of `drydock`, one a file.

pub mod attack;
pub mod conformance;
pub mod demo;
pub mod nsm_client;
pub mod up;

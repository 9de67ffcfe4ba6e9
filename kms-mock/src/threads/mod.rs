//! Memory that threads write without waiting for each other.
//!
//! Models nothing of AWS.

pub(crate) mod cache;
pub(crate) mod lane;
pub(crate) mod ring;
pub(crate) mod spread;

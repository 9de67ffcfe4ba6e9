//! Laid out.

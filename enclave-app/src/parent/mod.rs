//! The parent instance's half.

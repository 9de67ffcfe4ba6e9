//! A running world: how it is built, seeded, looked at and changed from outside.
//!
//! Models nothing of AWS: all of it is what an emulator has beside the real thing.
//!
//! Reading order: [`builder`] (a server in a test), [`seed`] (what it starts with),
//! `load` (a world from its data directory), `expect` and `explain` (what happened
//! and why), [`management`] (the same over HTTP), [`replay`] (what `policy check` has found,
//! tried out).

pub mod builder;
pub(crate) mod expect;
pub(crate) mod explain;
pub(crate) mod load;
pub mod management;
pub mod replay;
pub mod seed;

//! The cloud, simulated: a KMS that enforces what AWS's enforces, attested
//! `Recipient` calls included.
//!
//! Reading order: [`principal`] (who calls), [`policy`] (may they), [`recipient`]
//! (from inside which enclave), `keys` (with what), [`api`] (the operations),
//! [`audit`] (what happened and why).

pub mod api;
pub mod audit;
mod keys;
pub mod policy;
pub mod principal;
pub mod recipient;

//! The emulator from outside: the endpoint as clients meet it, its management port,
//! its commands, and what its data directory keeps.
//!
//! Reading order: `client_*` (unmodified clients), `edge_*` (raw HTTP, TLS and
//! signatures), `management`, `policy_cli`, `failures_cli`, `durability`.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests, too

mod client_aws_cli;
mod client_boto3;
mod client_encryption_sdk;
mod client_javascript;
#[path = "../clients/mod.rs"]
mod clients;
mod durability;
mod edge_auth;
mod edge_bounds;
mod edge_browsers;
mod edge_identities;
mod edge_key_stores;
mod edge_keys;
mod edge_principals;
mod edge_regions;
mod edge_s3;
mod edge_tls;
mod failures_cli;
mod histories;
mod management;
mod policy_cli;
mod policy_judge;
mod stand;
#[path = "../support/mod.rs"]
mod support;

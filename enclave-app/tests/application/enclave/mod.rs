//! The enclave's half of the application, from outside: real captures, a KMS
//! double behind real TLS, whole jobs, and the program itself.
//!
//! Nothing here comes from the emulator: the double, its certificates and its CMS
//! encoder are written for these tests alone, so that an error made twice in the
//! same way does not pass for agreement.

mod certificates;
mod cms_captures;
mod cms_writer;
mod configuration;
mod corpus;
mod decoders;
mod jobs;
mod kms_client;
mod kms_double;
mod leaks;
mod program;
mod s3ec_fixtures;

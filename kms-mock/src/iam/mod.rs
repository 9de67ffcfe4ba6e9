//! A small IAM and STS: roles with a trust policy, users and their groups, inline
//! and managed policies, permissions boundaries, tags, access keys, and sessions
//! that end by the world's clock.
//!
//! Source of truth: AWS IAM and STS API references (names, quotas, error codes
//! and texts). Answers from memory; with a data directory every change is written
//! before it shows. Not modelled: web identities and SAML, MFA, service-linked
//! roles, passwords and certificates; conditions on the tags of what an IAM call
//! is about.
//!
//! Reading order, each file using only what stands before it: `error`, `document`,
//! `names`, `terms`, `credentials`, `entity`, `managed` (what there is), `state` (all of
//! it, and what can become of it), `identity` (who calls, and what that allows),
//! `service` (how it changes), `keep` (its rows in the data directory), `ops` (what is
//! done), `recent` (who called a moment ago), `query` (the wire).

pub mod credentials;
pub mod document;
mod entity;
mod error;
mod identity;
pub(crate) mod keep;
mod managed;
mod names;
mod ops;
mod query;
mod recent;
mod service;
mod state;
mod terms;
#[cfg(test)]
mod tests;

pub use self::{
    credentials::Credentials,
    document::{Document, DocumentError},
    entity::{Entity, EntityKind, Group, Role, User, Who},
    error::IamError,
    identity::Identity,
    managed::ManagedPolicy,
    ops::{NewRole, NewUser, Session},
    service::Iam,
    terms::AssumeRole,
};
pub(crate) use self::{
    identity::Connection,
    ops::NewPolicy,
    query::{Form, FormAnswer, answer, only_reads, refusal, service},
    recent::{Holding, Known},
};

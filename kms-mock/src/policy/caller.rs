//! A principal as the evaluator sees it: with the policies that came along with its
//! credentials, and what the connection says about it.
//!
//! Source of truth: IAM user guide, "Policy evaluation logic" and "AWS global
//! condition context keys".

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use nsm_sim::clock::UnixMillis;

use super::{document::Policy, principals::CallerName};
use crate::world::principal::Principal;

/// A principal with the policies that came along with its credentials and what
/// the connection says about it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The identity.
    pub principal: Principal,
    /// The IAM policies of the user or the role. Those of the root user are not
    /// looked at: IAM cannot restrict it.
    pub identity_policies: Vec<Arc<Policy>>,
    /// The permissions boundary of the user or the role, if it has one.
    pub boundary: Option<Arc<Policy>>,
    /// The policies given to `AssumeRole`; none means no further restriction. A
    /// federated user without any may do nothing that IAM gives.
    pub session_policies: Vec<Arc<Policy>>,
    /// `aws:userid`, when known.
    pub user_id: Option<String>,
    /// `aws:PrincipalTag/…`: tags of the user or role, and of the session.
    pub tags: BTreeMap<String, String>,
    /// `aws:SourceIdentity` of a session that has one.
    pub source_identity: Option<String>,
    /// `aws:TokenIssueTime`: when temporary credentials were made.
    pub token_issued: Option<UnixMillis>,
    /// The peer's address (`aws:SourceIp`), when known.
    pub source_ip: Option<IpAddr>,
    /// Whether the call came by TLS (`aws:SecureTransport`).
    pub secure_transport: bool,
}

impl Caller {
    /// As principals of policies and grants are compared with it.
    pub(crate) fn named(&self) -> CallerName<'_> {
        CallerName {
            principal: &self.principal,
            unique_id: self.user_id.as_deref(),
        }
    }

    /// The principal alone: no policies, no address, over TLS.
    #[must_use]
    pub fn new(principal: Principal) -> Self {
        Self {
            principal,
            identity_policies: Vec::new(),
            boundary: None,
            session_policies: Vec::new(),
            user_id: None,
            tags: BTreeMap::new(),
            source_identity: None,
            token_issued: None,
            source_ip: None,
            secure_transport: true,
        }
    }
}

//! Who calls, with which policies, and what those allow.

use std::sync::Arc;

use nsm_sim::clock::UnixMillis;

use super::{AssumeRole, Document, IamError, entity::Role};
use crate::{
    policy::{Decision, Denial, Facts, Outcome, Policy, PolicySource, Request, Resource, decide},
    principal::{Caller, Principal},
};

/// An authenticated caller with its policy documents.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Who it is.
    pub principal: Principal,
    /// `AIDA…`, `AROA…:session`, or the account of a root user.
    pub unique_id: String,
    documents: Vec<Document>,
    session_documents: Vec<Document>,
}

impl Identity {
    pub(super) fn new(
        principal: Principal,
        unique_id: String,
        documents: Vec<Document>,
        session_documents: Vec<Document>,
    ) -> Self {
        Self {
            principal,
            unique_id,
            documents,
            session_documents,
        }
    }

    /// The root user of `account`.
    #[must_use]
    pub fn root(account: &str) -> Self {
        Self {
            principal: Principal::Root {
                account: account.to_owned(),
            },
            unique_id: account.to_owned(),
            documents: Vec::new(),
            session_documents: Vec::new(),
        }
    }

    /// What KMS is told about the caller.
    pub(crate) fn into_caller(self, source_ip: std::net::IpAddr, secure_transport: bool) -> Caller {
        let parsed = |documents: &[Document]| -> Vec<Arc<Policy>> {
            documents
                .iter()
                .map(|document| Arc::clone(document.policy()))
                .collect()
        };
        Caller {
            identity_policies: parsed(&self.documents),
            session_policies: parsed(&self.session_documents),
            principal: self.principal,
            source_ip: Some(source_ip),
            secure_transport,
        }
    }

    /// Whether the caller's own policies allow `action` on `resource`.
    pub(crate) fn authorize(
        &self,
        action: &str,
        resource: &str,
        now: UnixMillis,
    ) -> Result<(), IamError> {
        let resource_of = Resource::Other {
            arn: resource,
            account: self.principal.account(),
        };
        let decision = self.decide(action, resource_of, &Facts::default(), None, now);
        match decision.outcome {
            Outcome::Denied(denial) => Err(IamError::AccessDenied {
                caller: self.principal.arn(),
                action: action.to_owned(),
                resource: resource.to_owned(),
                because: format!(" {}", denial.because(action)),
            }),
            Outcome::Allowed(_) => Ok(()),
        }
    }

    /// Whether trust policy and own policies let the caller assume `role`.
    pub(super) fn may_assume(
        &self,
        role: &Role,
        role_account: &str,
        request: &AssumeRole<'_>,
        now: UnixMillis,
    ) -> Result<(), String> {
        let mut others = vec![("sts:rolesessionname", request.session_name)];
        others.extend(request.external_id.map(|id| ("sts:externalid", id)));
        let facts = Facts {
            others: &others,
            ..Facts::default()
        };
        let resource = Resource::Other {
            arn: role.arn(),
            account: role_account,
        };
        let action = "sts:AssumeRole";
        let trust = Some(role.trust.policy());
        match self.decide(action, resource, &facts, trust, now).outcome {
            Outcome::Allowed(_) => Ok(()),
            Outcome::Denied(Denial::NoResourcePolicy | Denial::OtherAccount) => Err(format!(
                " because no role trust policy allows the {action} action"
            )),
            Outcome::Denied(Denial::ExplicitDeny(PolicySource::Resource)) => {
                Err(" with an explicit deny in the role trust policy".to_owned())
            }
            Outcome::Denied(denial) => Err(format!(" {}", denial.because(action))),
        }
    }

    fn decide(
        &self,
        action: &str,
        resource: Resource<'_>,
        facts: &Facts<'_>,
        trust: Option<&Arc<Policy>>,
        now: UnixMillis,
    ) -> Decision {
        let parsed = |documents: &[Document]| -> Vec<Arc<Policy>> {
            documents.iter().map(|it| Arc::clone(it.policy())).collect()
        };
        let mut caller = Caller::new(self.principal.clone());
        caller.identity_policies = parsed(&self.documents);
        caller.session_policies = parsed(&self.session_documents);
        let request = Request {
            caller: &caller,
            action,
            resource,
            facts,
            now,
        };
        decide(&request, trust, Vec::new)
    }
}

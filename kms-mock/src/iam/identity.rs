//! Who calls, with which policies, and what those allow.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use nsm_sim::clock::UnixMillis;

use super::{
    document::Document,
    entity::Role,
    error::IamError,
    names::Tags,
    terms::{AssumeRole, SessionTags, Terms},
};
use crate::{
    policy::{
        Caller, Decision, Denial, Facts, Outcome, Policy, PolicySource, Request, Resource, decide,
    },
    world::principal::Principal,
};

/// How a call came: what global condition keys read of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection<'a> {
    pub(crate) source_ip: Option<IpAddr>,
    pub(crate) secure_transport: bool,
    pub(crate) user_agent: Option<&'a str>,
    /// The Region that answers.
    pub(crate) region: Option<&'a str>,
}

impl Connection<'_> {
    /// Of a call from within this program.
    pub(super) const WITHIN: Self = Self {
        source_ip: None,
        secure_transport: true,
        user_agent: None,
        region: None,
    };
}

/// An authenticated caller with its policy documents.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Who it is.
    pub principal: Principal,
    /// `AIDA…`, `AROA…:session`, `account:name` of a federated user, or the
    /// account of a root user.
    pub unique_id: String,
    pub(super) documents: Vec<Document>,
    pub(super) boundary: Option<Document>,
    /// Tags of the user or role.
    pub(super) own_tags: Tags,
    /// What its session was made with.
    pub(super) terms: Terms,
    /// When its session was made.
    pub(super) token_issued: Option<UnixMillis>,
}

impl Identity {
    /// A caller without policies.
    pub(super) fn new(principal: Principal, unique_id: String) -> Self {
        Self {
            principal,
            unique_id,
            documents: Vec::new(),
            boundary: None,
            own_tags: Tags::default(),
            terms: Terms::default(),
            token_issued: None,
        }
    }

    /// The root user of `account`.
    #[must_use]
    pub fn root(account: &str) -> Self {
        let principal = Principal::Root {
            account: account.to_owned(),
        };
        Self::new(principal, account.to_owned())
    }

    /// A caller without credentials.
    pub(super) fn anonymous() -> Self {
        let principal = Principal::Anonymous;
        let id = principal.arn();
        Self::new(principal, id)
    }

    /// Whether it calls with temporary credentials.
    pub(super) fn is_session(&self) -> bool {
        self.token_issued.is_some()
    }

    /// The caller as KMS sees it.
    pub(super) fn caller_from(&self, source_ip: IpAddr, secure_transport: bool) -> Caller {
        Caller {
            source_ip: Some(source_ip),
            secure_transport,
            ..self.clone().caller()
        }
    }

    fn caller(self) -> Caller {
        let parsed = |documents: &[Document]| -> Vec<Arc<Policy>> {
            documents.iter().map(|it| Arc::clone(it.policy())).collect()
        };
        Caller {
            identity_policies: parsed(&self.documents),
            boundary: self.boundary.map(|it| Arc::clone(it.policy())),
            session_policies: parsed(&self.terms.policies),
            tags: self.terms.tags.over(&self.own_tags),
            user_id: Some(self.unique_id),
            source_identity: self.terms.source_identity,
            token_issued: self.token_issued,
            ..Caller::new(self.principal)
        }
    }

    /// Whether the caller's own policies allow `action` on `resource`; `facts` are
    /// what the call has for condition keys beside the usual ones.
    pub(crate) fn authorize(
        &self,
        action: &str,
        resource: &str,
        facts: &Facts<'_>,
        when: (Connection<'_>, UnixMillis),
    ) -> Result<(), IamError> {
        self.allow(action, resource, facts, when)
    }

    /// Whether the caller may make the federated user `arn` with these tags.
    pub(super) fn may_federate(
        &self,
        arn: &str,
        tags: &SessionTags,
        when: (Connection<'_>, UnixMillis),
    ) -> Result<(), IamError> {
        let (request_tags, others) = facts_of_tags(tags);
        let facts = Facts {
            request_tags: Some(&request_tags).filter(|it| !it.is_empty()),
            others: &others,
            ..Facts::default()
        };
        self.allow("sts:GetFederationToken", arn, &facts, when)?;
        if request_tags.is_empty() {
            return Ok(());
        }
        self.allow("sts:TagSession", arn, &facts, when)
    }

    fn allow(
        &self,
        action: &str,
        resource: &str,
        facts: &Facts<'_>,
        when: (Connection<'_>, UnixMillis),
    ) -> Result<(), IamError> {
        let resource_of = Resource::Other {
            arn: resource,
            account: self.principal.account(),
        };
        match self.decide(action, resource_of, facts, None, when).outcome {
            Outcome::Denied(denial) => Err(IamError::AccessDenied {
                caller: self.principal.arn(),
                action: action.to_owned(),
                resource: resource.to_owned(),
                because: format!(" {}", denial.because(action)),
            }),
            Outcome::Allowed(_) => Ok(()),
        }
    }

    /// Whether trust policy and own policies let the caller assume `role` on these
    /// terms. A session that has tags, asked for or inherited, needs
    /// sts:TagSession, one with a source identity sts:SetSourceIdentity.
    pub(super) fn may_assume(
        &self,
        role: &Role,
        role_account: &str,
        request: &AssumeRole<'_>,
        terms: &Terms,
        when: (Connection<'_>, UnixMillis),
    ) -> Result<(), IamError> {
        let (request_tags, mut others) = facts_of_tags(&terms.tags);
        others.push(("sts:rolesessionname", request.session_name));
        others.extend(request.external_id.map(|id| ("sts:externalid", id)));
        let source_identity = terms.source_identity.as_deref();
        others.extend(source_identity.map(|it| ("sts:sourceidentity", it)));
        let facts = Facts {
            request_tags: Some(&request_tags).filter(|it| !it.is_empty()),
            others: &others,
            ..Facts::default()
        };
        let resource = Resource::Other {
            arn: role.arn(),
            account: role_account,
        };
        let trust = Some(role.trust.policy());
        let actions = [
            ("sts:AssumeRole", true),
            ("sts:TagSession", !request_tags.is_empty()),
            ("sts:SetSourceIdentity", source_identity.is_some()),
        ];
        for (action, _) in actions.into_iter().filter(|(_, is_needed)| *is_needed) {
            let outcome = self.decide(action, resource, &facts, trust, when).outcome;
            if let Outcome::Denied(denial) = outcome {
                return Err(IamError::AccessDenied {
                    caller: self.principal.arn(),
                    action: action.to_owned(),
                    resource: request.role_arn.to_owned(),
                    because: because_of_trust(denial, action),
                });
            }
        }
        Ok(())
    }

    fn decide(
        &self,
        action: &str,
        resource: Resource<'_>,
        facts: &Facts<'_>,
        trust: Option<&Arc<Policy>>,
        (connection, now): (Connection<'_>, UnixMillis),
    ) -> Decision {
        let caller = Caller {
            source_ip: connection.source_ip,
            secure_transport: connection.secure_transport,
            ..self.clone().caller()
        };
        let facts = Facts {
            user_agent: connection.user_agent,
            region: connection.region,
            ..*facts
        };
        let request = Request {
            caller: &caller,
            action,
            resource,
            facts: &facts,
            now,
        };
        decide(&request, trust, Vec::new)
    }
}

/// `aws:RequestTag/…` and `sts:TransitiveTagKeys`.
fn facts_of_tags(tags: &SessionTags) -> (BTreeMap<String, String>, Vec<(&str, &str)>) {
    let transitive = tags.transitive().iter();
    let others = transitive.map(|key| ("sts:transitivetagkeys", key.as_str()));
    (tags.all().to_map(), others.collect())
}

/// AWS's words when the resource-based policy is a trust policy.
fn because_of_trust(denial: Denial, action: &str) -> String {
    match denial {
        Denial::NoResourcePolicy | Denial::OtherAccount => {
            format!(" because no role trust policy allows the {action} action")
        }
        Denial::ExplicitDeny(PolicySource::Resource) => {
            " with an explicit deny in the role trust policy".to_owned()
        }
        denial => format!(" {}", denial.because(action)),
    }
}

//! The evaluator: one function for the server, for `explain` and for proofs.
//!
//! Source of truth: ground truth KMS §3; AWS KMS developer guide,
//! "Troubleshooting key access" (the flow of a decision); IAM user guide,
//! "Policy evaluation logic" (sessions, other accounts) and "Permissions
//! boundaries for IAM entities".
//!
//! In order: an explicit Deny anywhere; then the key policy naming the caller,
//! or naming the account together with an IAM policy, or a grant; then the
//! permissions boundary and the session's own policies. Another account's caller
//! needs both the key policy and IAM at home. IAM alone never opens a key.
//!
//! A boundary and session policies limit what IAM gives and what a key policy
//! gives to the role, or to the user behind a federated session. What a key
//! policy of the same account gives to the very user or session that calls, or
//! to anybody, they do not limit, but for their Deny statements.
//!
//! A bucket is opened in its own account by either, IAM or the bucket's policy; for
//! another account's caller both are needed; a caller without credentials has what the
//! bucket's policy gives to everybody.
//!
//! Does not model service control policies, resource control policies and VPC
//! endpoint policies.
//!
//! Unknown and chosen: which Deny is named when several apply (the key policy's
//! first), and that a grant is limited by boundary and session policies for every
//! grantee.

use std::{borrow::Cow, sync::Arc};

use smallvec::SmallVec;

use super::{
    condition::Condition,
    decision::{
        AllowedBy, ConditionTrace, Decision, Denial, GrantTrace, GrantVerdict, Outcome,
        PolicySource, PolicyTrace, StatementTrace, Verdict,
    },
    document::{Effect, Policy, Statement},
    facts::Resource,
    grant::Grant,
    principals::Naming,
    request::Request,
    template::{Case, Variables},
};
use crate::world::principal::Principal;

/// Decides a request. `resource_policy` is the key policy when the resource is a
/// key, the bucket's policy when it is a bucket or an object, or a role's trust policy when the role is to be assumed; `grants` is asked for the key's grants to the caller only when nothing
/// else allows.
pub fn decide(
    request: &Request<'_>,
    resource_policy: Option<&Arc<Policy>>,
    grants: impl FnOnce() -> Vec<Arc<Grant>>,
) -> Decision {
    let caller = request.caller;
    let looked_at = usize::from(resource_policy.is_some())
        + caller.identity_policies.len()
        + usize::from(caller.boundary.is_some())
        + caller.session_policies.len();
    let mut policies = SmallVec::with_capacity(looked_at);
    let tally =
        |source: PolicySource, list: &[Arc<Policy>], policies: &mut SmallVec<[PolicyTrace; 1]>| {
            let mut sum = Tally::default();
            for policy in list {
                let trace = trace_policy(policy, request, source);
                sum.add(policy, &trace);
                policies.push(trace);
            }
            sum
        };
    let resource = match resource_policy {
        Some(policy) => tally(
            PolicySource::Resource,
            std::slice::from_ref(policy),
            &mut policies,
        ),
        None => Tally::default(),
    };
    let is_root = matches!(caller.principal, Principal::Root { .. });
    let mut identity = Tally::default();
    let mut boundary = Tally::default();
    if caller.principal.acts_for_root() {
        identity.allowed = Naming::Direct;
        boundary.allowed = Naming::Direct;
    } else {
        identity = tally(
            PolicySource::Identity,
            &caller.identity_policies,
            &mut policies,
        );
        boundary = match &caller.boundary {
            Some(policy) => tally(
                PolicySource::Boundary,
                std::slice::from_ref(policy),
                &mut policies,
            ),
            None => Tally {
                denied: false,
                allowed: Naming::Direct,
            },
        };
    }
    let session = tally(
        PolicySource::Session,
        &caller.session_policies,
        &mut policies,
    );

    let mut grant_traces = Vec::new();
    let same_account = request.resource.account() == caller.principal.account();
    let has_policy = resource_policy.is_some();
    let is_anonymous = caller.principal == Principal::Anonymous;
    // IAM alone never opens a key, but it opens a bucket of its own account.
    let is_bucket = matches!(request.resource, Resource::Bucket { .. });
    let outcome = (|| {
        for (sum, source) in [
            (&resource, PolicySource::Resource),
            (&identity, PolicySource::Identity),
            (&boundary, PolicySource::Boundary),
            (&session, PolicySource::Session),
        ] {
            if sum.denied {
                // To callers of other accounts AWS does not show a key policy's Deny.
                let hidden = !same_account && source == PolicySource::Resource;
                return Outcome::Denied(if hidden {
                    Denial::OtherAccount
                } else {
                    Denial::ExplicitDeny(source)
                });
            }
        }
        let identity_allows = identity.allowed > Naming::No;
        let (by, limited) = match (has_policy, same_account, resource.allowed) {
            (_, true, _) if is_bucket && is_root => (AllowedBy::OwnersRoot, true),
            (_, true, Naming::Direct) if is_bucket => (AllowedBy::BucketPolicy, false),
            (_, true, Naming::Behind) if is_bucket => (AllowedBy::BucketPolicy, true),
            (_, true, _) if is_bucket && identity_allows => (AllowedBy::IdentityPolicy, true),
            (_, true, _) if is_bucket => return Outcome::Denied(Denial::NoIdentityPolicy),
            // There is no other side to ask.
            (_, false, Naming::Direct) if is_bucket && is_anonymous => {
                (AllowedBy::BucketPolicy, false)
            }
            (false, true, _) if identity_allows => (AllowedBy::IdentityPolicy, true),
            (false, true, _) => return Outcome::Denied(Denial::NoIdentityPolicy),
            (false, false, _) => return Outcome::Denied(Denial::OtherAccount),
            (true, true, Naming::Direct) => (AllowedBy::KeyPolicy, false),
            (true, true, Naming::Behind) => (AllowedBy::KeyPolicy, true),
            (true, true, Naming::Account) if is_root => (AllowedBy::RootUser, true),
            (true, true, Naming::Account) if identity_allows => (AllowedBy::IdentityPolicy, true),
            (true, false, Naming::Direct | Naming::Behind | Naming::Account) if identity_allows => {
                (AllowedBy::CrossAccount, true)
            }
            (true, _, naming) => match granted(request, grants, &mut grant_traces) {
                Some(grant_id) => (AllowedBy::Grant { grant_id }, true),
                None => {
                    return Outcome::Denied(match (same_account, naming) {
                        (false, Naming::No) => Denial::OtherAccount,
                        (true, Naming::No) => Denial::NoResourcePolicy,
                        _ => Denial::NoIdentityPolicy,
                    });
                }
            },
        };
        if limited && boundary.allowed == Naming::No {
            return Outcome::Denied(Denial::NoBoundary);
        }
        // A federated user has what its session policies give, and nothing without.
        let is_bounded = !caller.session_policies.is_empty()
            || matches!(caller.principal, Principal::FederatedUser { .. });
        if limited && is_bounded && session.allowed == Naming::No {
            return Outcome::Denied(Denial::NoSessionPolicy);
        }
        Outcome::Allowed(by)
    })();
    Decision {
        outcome,
        policies,
        grants: grant_traces,
    }
}

/// What the statements of one kind of policy come to.
#[derive(Debug)]
struct Tally {
    denied: bool,
    /// The strongest way in which an applying Allow names the caller.
    allowed: Naming,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            denied: false,
            allowed: Naming::No,
        }
    }
}

impl Tally {
    fn add(&mut self, policy: &Policy, trace: &PolicyTrace) {
        for (statement, trace) in policy.statements().iter().zip(&trace.statements) {
            let naming = match trace.verdict {
                Verdict::Applies => Naming::Behind,
                Verdict::AppliesToAccount => Naming::Account,
                Verdict::AppliesDirectly => Naming::Direct,
                _ => continue,
            };
            match statement.effect {
                Effect::Deny => self.denied = true,
                Effect::Allow => self.allowed = self.allowed.max(naming),
            }
        }
    }
}

fn trace_policy(policy: &Arc<Policy>, request: &Request<'_>, source: PolicySource) -> PolicyTrace {
    PolicyTrace {
        source,
        statements: policy
            .statements()
            .iter()
            .map(|statement| trace_statement(statement, request, source))
            .collect(),
        policy: Arc::clone(policy),
    }
}

fn trace_statement(
    statement: &Statement,
    request: &Request<'_>,
    source: PolicySource,
) -> StatementTrace {
    let without_conditions = |verdict| StatementTrace {
        verdict,
        conditions: Vec::new(),
    };
    let (Some(actions), Some(resources)) = (&statement.actions, &statement.resources) else {
        return without_conditions(Verdict::HasNoEffect);
    };
    let caller = request.caller;
    let naming = statement.names(caller.named(), caller.boundary.is_some());
    if naming == Naming::No {
        return without_conditions(Verdict::OtherPrincipal);
    }
    if !actions.cover_action(request.action) {
        return without_conditions(Verdict::OtherAction);
    }
    let in_key_policy = source == PolicySource::Resource;
    let variables: Variables<'_> = &|key| request.variable(key, in_key_policy);
    let arn = request.resource.arn();
    let listed = resources
        .items
        .iter()
        .any(|item| item.fits(arn, Case::Sensitive, variables));
    if listed == resources.negated {
        return without_conditions(Verdict::OtherResource);
    }
    let conditions: Vec<_> = statement
        .conditions
        .iter()
        .map(|condition| condition.evaluate(request, in_key_policy))
        .collect();
    let verdict = if conditions.iter().all(|condition| condition.satisfied) {
        match naming {
            Naming::Account => Verdict::AppliesToAccount,
            Naming::Direct if in_key_policy => Verdict::AppliesDirectly,
            Naming::Direct | Naming::Behind | Naming::No => Verdict::Applies,
        }
    } else {
        Verdict::ConditionUnsatisfied
    };
    StatementTrace {
        verdict,
        conditions,
    }
}

impl Condition {
    /// Whether the request satisfies the condition, and why.
    pub(super) fn evaluate(&self, request: &Request<'_>, in_key_policy: bool) -> ConditionTrace {
        let presented = request.values(self.key(), in_key_policy);
        let variables: Variables<'_> = &|key| request.variable(key, in_key_policy);
        let (satisfied, because) = self.judge(presented.as_deref(), variables);
        ConditionTrace {
            operator: Arc::clone(self.operator().text()),
            key: Arc::clone(self.key_text()),
            expected: Arc::clone(self.operand_texts()),
            presented: presented.map(|values| values.into_iter().map(Cow::into_owned).collect()),
            satisfied,
            because,
            attestation: self.key().is_attestation(),
        }
    }
}

fn granted(
    request: &Request<'_>,
    grants: impl FnOnce() -> Vec<Arc<Grant>>,
    traces: &mut Vec<GrantTrace>,
) -> Option<String> {
    for grant in grants() {
        let verdict = grant.judge(request);
        traces.push(GrantTrace {
            grant_id: grant.id.clone(),
            verdict,
        });
        if verdict == GrantVerdict::Allows {
            return Some(grant.id.clone());
        }
    }
    None
}

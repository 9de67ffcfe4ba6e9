//! Grants: create, revoke, retire.
//!
//! Source of truth: AWS KMS developer guide, "Grants in AWS KMS", "Controlling access
//! to grants" and "Retiring and revoking grants"; the KMS service model; ground truth
//! KMS §3; recorded texts of refusals. A grant counts from the moment it is made, so
//! that its token is accepted and not needed.
//!
//! A grant for an AWS service is made, shown and deleted as any other. No service
//! calls here, so it allows nothing, as a grant with the constraint `SourceArn` does:
//! nobody calls on behalf of a resource.
//!
//! Unknown and chosen: the texts about grants for services and about constraints that
//! are too long or of the wrong key; that `SourceArn` may stand beside a constraint of
//! the encryption context, and leaves `kms:GrantConstraintType` absent.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;

use crate::{
    kms::{
        answer::{Answer, answer, nothing},
        call::{CallContext, Found},
        checks::{Asked, AskedGrant},
        error::{Failure, Invalid, Limit, NotFound, RefusedResource},
        fields::{
            Fields, GRANT_ID, GRANT_NAME, GrantTokens, KEY_ID, PRINCIPAL_ID, SERVICE_PRINCIPAL,
            length,
        },
        grant_token,
        json::Object,
    },
    policy::{
        AllowedBy, Constraint, Denial, EncryptionContext, Facts, GRANT_OPERATIONS, Grant, Outcome,
        bind_grant_principal,
    },
    world::directory::Behind,
};

/// AWS's quota.
const GRANTS_OF_KEY_MAX: usize = 50_000;
/// Pairs of a constraint.
const CONSTRAINT_PAIRS_MAX: usize = 8;
/// Characters of a value of a constraint.
const CONSTRAINT_VALUE_CHARACTERS_MAX: usize = 384;
const OPERATIONS: &str = "[RetireGrant, Encrypt, DescribeKey, VerifyMac, CreateGrant, Sign, ReEncryptFrom, Decrypt, GetPublicKey, GenerateDataKeyPair, GenerateMac, Verify, GenerateDataKeyWithoutPlaintext, ReEncryptTo, GenerateDataKey, GenerateDataKeyPairWithoutPlaintext, DeriveSharedSecret, Encapsulate, Decapsulate]";

#[derive(Debug, Default)]
struct Constraints {
    equals: Option<EncryptionContext>,
    subset: Option<EncryptionContext>,
    source_arn: Option<String>,
}

impl Constraints {
    fn read(fields: &mut Fields) -> Self {
        fields
            .structure("Constraints", |inner| Self {
                equals: inner.map("EncryptionContextEquals"),
                subset: inner.map("EncryptionContextSubset"),
                source_arn: inner.text("SourceArn", length(0, 2048)),
            })
            .unwrap_or_default()
    }

    /// The constraint of the encryption context.
    fn of_context(equals: Option<EncryptionContext>, subset: Option<EncryptionContext>) -> Checked {
        let constraint = match (equals, subset) {
            (None, None) => return Ok(None),
            (Some(pairs), None) => Constraint::Equals(pairs),
            (None, Some(pairs)) => Constraint::Subset(pairs),
            (Some(_), Some(_)) => return Err(Failure::Invalid(Invalid::TwoConstraints)),
        };
        let pairs = constraint.pairs();
        let is_long = |text: &String| text.chars().count() > CONSTRAINT_VALUE_CHARACTERS_MAX;
        if pairs.len() > CONSTRAINT_PAIRS_MAX || pairs.values().any(is_long) {
            return Err(Failure::Invalid(Invalid::ConstraintSize));
        }
        Ok(Some(constraint))
    }
}

type Checked = Result<Option<Constraint>, Failure>;

/// What `CreateGrant` is given.
struct Request {
    key_id: String,
    grantee: Option<String>,
    grantee_service: Option<String>,
    retiring: Option<String>,
    retiring_service: Option<String>,
    operations: Vec<&'static str>,
    constraints: Constraints,
    tokens: GrantTokens,
    name: Option<String>,
    dry_run: bool,
}

impl Request {
    fn read(fields: &mut Fields) -> Self {
        Self {
            key_id: fields.required_text("KeyId", KEY_ID),
            grantee: fields.text("GranteePrincipal", PRINCIPAL_ID),
            grantee_service: fields.text("GranteeServicePrincipal", SERVICE_PRINCIPAL),
            retiring: fields.text("RetiringPrincipal", PRINCIPAL_ID),
            retiring_service: fields.text("RetiringServicePrincipal", SERVICE_PRINCIPAL),
            operations: fields.required_choices_by("Operations", grant_operation, OPERATIONS),
            constraints: Constraints::read(fields),
            tokens: fields.grant_tokens(),
            name: fields.text("Name", GRANT_NAME),
            dry_run: fields.flag("DryRun"),
        }
    }

    /// The grant that is asked for, without its id; its principals exist.
    fn grant(self, call: &CallContext<'_>) -> Result<Grant, Failure> {
        let invalid = |invalid| Err(Failure::Invalid(invalid));
        let is_for_service = self.grantee_service.is_some();
        let is_retired_by_service = self.retiring_service.is_some();
        let grantee = match (self.grantee, self.grantee_service) {
            (Some(grantee), None) | (None, Some(grantee)) => grantee,
            (None, None) => return invalid(Invalid::GranteeRequired),
            (Some(_), Some(_)) => return invalid(Invalid::ServiceAndPrincipal("Grantee")),
        };
        let retiring = match (self.retiring, self.retiring_service) {
            (Some(_), Some(_)) => return invalid(Invalid::ServiceAndPrincipal("Retiring")),
            (retiring, service) => retiring.or(service),
        };
        let source_arn = self.constraints.source_arn;
        if is_for_service && (source_arn.is_none() || retiring.is_none()) {
            return invalid(Invalid::ServiceGrant);
        }
        if self.operations == ["CreateGrant"] {
            return invalid(Invalid::OnlyCreateGrant);
        }
        let id_of = |principal: Option<&String>, is_service: bool| {
            let Some(principal) = principal.filter(|_| !is_service) else {
                return Ok(None);
            };
            match bind_grant_principal(principal, call.directory()) {
                Behind::Id(id) => Ok(Some(id.to_string())),
                Behind::NotKept => Ok(None),
                Behind::Nobody => Err(Failure::InvalidPrincipal {
                    text: principal.clone(),
                }),
            }
        };
        Ok(Grant {
            id: String::new(),
            name: self.name,
            grantee_id: id_of(Some(&grantee), is_for_service)?,
            grantee,
            retiring_id: id_of(retiring.as_ref(), is_retired_by_service)?,
            retiring,
            operations: self.operations,
            constraint: Constraints::of_context(self.constraints.equals, self.constraints.subset)?,
            source_arn,
            issuing_account: format!("arn:aws:iam::{}:root", call.account()),
            created: call.now,
        })
    }
}

pub(crate) fn create(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let mut request = Fields::read(body, Request::read)?;
    let key_id = std::mem::take(&mut request.key_id);
    let tokens = std::mem::take(&mut request.tokens);
    let is_dry = request.dry_run;
    let wanted = request.grant(call)?;
    call.accept_tokens(&tokens)?;
    let found = call.find(&key_id)?;
    let (grantee, service) = split(Some(&wanted.grantee));
    let (retiring, retiring_service) = split(wanted.retiring.as_ref());
    let by_name = [
        ("kms:granteeserviceprincipal", service),
        ("kms:retiringserviceprincipal", retiring_service),
        ("kms:grantconstraintsourcearn", wanted.source_arn.as_deref()),
    ];
    let others: Vec<(&str, &str)> = by_name
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
    let facts = Facts {
        grant_operations: Some(&wanted.operations),
        grantee_principal: grantee,
        retiring_principal: retiring,
        grant_is_for_aws_resource: Some(false),
        others: &others,
        ..facts_of(wanted.constraint.as_ref())
    };
    call.authorize(&found, facts)?;
    must_only_narrow(call, &found, &wanted)?;
    let asked = Asked {
        grant: Some(AskedGrant {
            operations: &wanted.operations,
            is_constrained: wanted.constraint.is_some(),
        }),
        ..Asked::default()
    };
    call.check(&found, &asked)?;
    if is_dry {
        return Err(Failure::DryRun);
    }
    let id = call.store().add_grant(&found.key, |record, grants| {
        call.check_record(&found, record, &asked)?;
        if let Some(same) = grants.values().find(|grant| is_same(grant, &wanted)) {
            return Ok(Arc::clone(same));
        }
        if grants.len() >= GRANTS_OF_KEY_MAX {
            return Err(Failure::LimitExceeded(Limit::GrantsOfKey));
        }
        let id = hex::encode(call.entropy().array::<32>());
        Ok(Arc::new(Grant {
            id,
            ..wanted.clone()
        }))
    })?;
    let token = grant_token::write(&found.key.arn, &id, &call.entropy().array());
    answer(&json!({ "GrantToken": token, "GrantId": id }))
}

/// A principal as an ARN, or as a service.
fn split(principal: Option<&String>) -> (Option<&str>, Option<&str>) {
    let arn = principal.filter(|it| it.starts_with("arn:"));
    let service = principal.filter(|it| !it.starts_with("arn:"));
    (arn.map(String::as_str), service.map(String::as_str))
}

/// What conditions find of a grant's constraint.
fn facts_of(constraint: Option<&Constraint>) -> Facts<'_> {
    Facts {
        grant_constraint_type: constraint.map(Constraint::name),
        encryption_context: constraint.map(Constraint::pairs),
        ..Facts::default()
    }
}

/// Whether a repeated request with a name asks for the grant that is there.
fn is_same(grant: &Grant, wanted: &Grant) -> bool {
    let principals = |it: &Grant| {
        (
            (it.grantee.clone(), it.grantee_id.clone()),
            (it.retiring.clone(), it.retiring_id.clone()),
        )
    };
    wanted.name.is_some()
        && grant.name == wanted.name
        && grant.operations == wanted.operations
        && grant.constraint == wanted.constraint
        && grant.source_arn == wanted.source_arn
        && principals(grant) == principals(wanted)
}

fn grant_operation(text: &str) -> Option<&'static str> {
    GRANT_OPERATIONS.iter().find(|name| **name == text).copied()
}

/// Who may create grants by a grant only may pass on no more than that grant
/// allows.
fn must_only_narrow(call: &CallContext<'_>, found: &Found, wanted: &Grant) -> Result<(), Failure> {
    let Some(Outcome::Allowed(AllowedBy::Grant { grant_id })) = call.last_outcome() else {
        return Ok(());
    };
    let narrower = found.key.grant(grant_id).is_some_and(|parent| {
        let fewer = wanted
            .operations
            .iter()
            .all(|operation| parent.operations.contains(operation));
        let stricter = match (&parent.constraint, &wanted.constraint) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(Constraint::Equals(parent)), Some(Constraint::Equals(child))) => parent == child,
            (Some(Constraint::Equals(_)), Some(Constraint::Subset(_))) => false,
            (Some(parent @ Constraint::Subset(_)), Some(child)) => parent.holds(child.pairs()),
        };
        fewer && stricter
    });
    if narrower {
        return Ok(());
    }
    let resource = RefusedResource::Arn(found.key.arn.to_string());
    Err(call.refuse(Denial::NoResourcePolicy, "kms:CreateGrant", resource))
}

pub(crate) fn revoke(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, grant_id, dry_run) = Fields::read(body, |fields| {
        (
            fields.required_text("KeyId", KEY_ID),
            fields.required_text("GrantId", GRANT_ID),
            fields.flag("DryRun"),
        )
    })?;
    let found = call.find(&key_id)?;
    let facts = Facts {
        grant_is_for_aws_resource: Some(false),
        ..Facts::default()
    };
    call.authorize(&found, facts)?;
    remove(call, &found, &grant_id, dry_run)
}

pub(crate) fn retire(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (token, key_id, grant_id, dry_run) = Fields::read(body, |fields| {
        (
            fields.text("GrantToken", length(1, 8192)),
            fields.text("KeyId", KEY_ID),
            fields.text("GrantId", GRANT_ID),
            fields.flag("DryRun"),
        )
    })?;
    let (key_id, grant_id) = match (token, key_id, grant_id) {
        (Some(token), None, None) => {
            let token = grant_token::read(&token)?;
            (token.key_arn, token.grant_id)
        }
        (None, Some(key_id), Some(grant_id)) => (key_id, grant_id),
        _ => return Err(Failure::Invalid(Invalid::GrantReference)),
    };
    let found = call.find(&key_id)?;
    let Some(grant) = found.key.grant(&grant_id) else {
        return Err(Failure::NotFound(NotFound::Grant { id: grant_id }));
    };
    call.authorize_retirement(&found, &grant, facts_of(grant.constraint.as_ref()))?;
    remove(call, &found, &grant_id, dry_run)
}

fn remove(call: &CallContext<'_>, found: &Found, grant_id: &str, dry_run: bool) -> Answer {
    let is_there = |grants: &BTreeMap<String, Arc<Grant>>| {
        if grants.contains_key(grant_id) {
            return Ok(());
        }
        let id = grant_id.to_owned();
        Err(Failure::NotFound(NotFound::Grant { id }))
    };
    if dry_run {
        found.key.with_grants(is_there)?;
        return Err(Failure::DryRun);
    }
    call.store()
        .remove_grant(&found.key, grant_id, |_, grants| is_there(grants))?;
    nothing()
}

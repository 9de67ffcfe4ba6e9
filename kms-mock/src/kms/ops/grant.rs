//! Grants: create, list, revoke, retire.
//!
//! Source of truth: AWS KMS developer guide, "Grants in AWS KMS"; the KMS
//! service model; ground truth KMS §3. A grant counts from the moment it is
//! made, so that its token is accepted and not needed.
//!
//! Does not model grants for AWS services (`GranteeServicePrincipal`,
//! `RetiringServicePrincipal`, the constraint `SourceArn`): a request with one is
//! refused.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use crate::{
    kms::{
        answer::{Answer, answer, nothing, timestamp},
        call::{CallContext, Found},
        checks::Asked,
        error::{Failure, Invalid, Limit, NotFound, RefusedResource, Unsupported},
        fields::{
            Fields, GRANT_ID, GRANT_NAME, GrantTokens, KEY_ID, PRINCIPAL_ID, Pattern, Text, length,
        },
        grant_token,
        json::Object,
    },
    model::operation::Operation,
    policy::{
        AllowedBy, Constraint, Denial, Facts, GRANT_OPERATIONS, Grant, Outcome, is_grant_principal,
    },
    world::arn::KeyArn,
};

/// AWS's quota.
const GRANTS_OF_KEY_MAX: usize = 50_000;
/// Pairs of a constraint.
const CONSTRAINT_PAIRS_MAX: usize = 8;
const OPERATIONS: &str = "[RetireGrant, Encrypt, DescribeKey, VerifyMac, CreateGrant, Sign, ReEncryptFrom, Decrypt, GetPublicKey, GenerateDataKeyPair, GenerateMac, Verify, GenerateDataKeyWithoutPlaintext, ReEncryptTo, GenerateDataKey, GenerateDataKeyPairWithoutPlaintext, DeriveSharedSecret, Encapsulate, Decapsulate]";

const SERVICE: Text = Text {
    min: 1,
    max: 128,
    pattern: Some(Pattern {
        shown: "^([A-Za-z0-9\\-]+)\\.([A-Za-z0-9\\-]+)(\\.[A-Za-z0-9\\-]+)+$",
        fits: |text| {
            let is_label = |label: &str| {
                !label.is_empty()
                    && label
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            };
            text.split('.').count() >= 3 && text.split('.').all(is_label)
        },
    }),
};

#[derive(Debug, Default)]
struct Constraints {
    equals: Option<BTreeMap<String, String>>,
    subset: Option<BTreeMap<String, String>>,
    source_arn: bool,
}

impl Constraints {
    fn read(fields: &mut Fields) -> Self {
        fields
            .structure("Constraints", |inner| Self {
                equals: inner.map("EncryptionContextEquals"),
                subset: inner.map("EncryptionContextSubset"),
                source_arn: inner.text("SourceArn", length(0, 2048)).is_some(),
            })
            .unwrap_or_default()
    }

    fn check(self) -> Result<Option<Constraint>, Failure> {
        if self.source_arn {
            return Err(Failure::Unsupported(Unsupported::ServiceGrant));
        }
        let constraint = match (self.equals, self.subset) {
            (None, None) => return Ok(None),
            (Some(pairs), None) => Constraint::Equals(pairs),
            (None, Some(pairs)) => Constraint::Subset(pairs),
            (Some(_), Some(_)) => return Err(Failure::Invalid(Invalid::GrantConstraints)),
        };
        if pairs(&constraint).len() > CONSTRAINT_PAIRS_MAX {
            return Err(Failure::Invalid(Invalid::GrantConstraints));
        }
        Ok(Some(constraint))
    }
}

fn pairs(constraint: &Constraint) -> &BTreeMap<String, String> {
    match constraint {
        Constraint::Equals(pairs) | Constraint::Subset(pairs) => pairs,
    }
}

fn constraint_type(constraint: &Constraint) -> &'static str {
    match constraint {
        Constraint::Equals(_) => "EncryptionContextEquals",
        Constraint::Subset(_) => "EncryptionContextSubset",
    }
}

/// Refuses a service principal, instead of doing as if it were not there.
fn must_not_name_a_service(service: &[Option<String>]) -> Result<(), Failure> {
    if service.iter().all(Option::is_none) {
        return Ok(());
    }
    Err(Failure::Unsupported(Unsupported::ServiceGrant))
}

/// What `CreateGrant` is given.
struct Request {
    key_id: String,
    services: [Option<String>; 2],
    grantee: Option<String>,
    retiring: Option<String>,
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
            services: [
                fields.text("GranteeServicePrincipal", SERVICE),
                fields.text("RetiringServicePrincipal", SERVICE),
            ],
            grantee: fields.text("GranteePrincipal", PRINCIPAL_ID),
            retiring: fields.text("RetiringPrincipal", PRINCIPAL_ID),
            operations: fields.required_choices_by("Operations", grant_operation, OPERATIONS),
            constraints: Constraints::read(fields),
            tokens: fields.grant_tokens(),
            name: fields.text("Name", GRANT_NAME),
            dry_run: fields.flag("DryRun"),
        }
    }
}

pub(crate) fn create(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let request = Fields::read(body, Request::read)?;
    must_not_name_a_service(&request.services)?;
    let grantee = request
        .grantee
        .ok_or(Failure::Invalid(Invalid::GranteeRequired))?;
    for principal in [Some(&grantee), request.retiring.as_ref()]
        .into_iter()
        .flatten()
    {
        if !is_grant_principal(principal) {
            let text = principal.clone();
            return Err(Failure::Invalid(Invalid::GrantPrincipal { text }));
        }
    }
    let constraint = request.constraints.check()?;
    call.accept_tokens(&request.tokens)?;
    let operations = request.operations;
    let found = call.find(&request.key_id)?;
    let facts = Facts {
        grant_operations: Some(&operations),
        grant_constraint_type: constraint.as_ref().map(constraint_type),
        grantee_principal: Some(&grantee),
        retiring_principal: request.retiring.as_deref(),
        grant_is_for_aws_resource: Some(false),
        ..Facts::default()
    };
    call.authorize(&found, facts)?;
    must_only_narrow(call, &found, &operations, constraint.as_ref())?;
    call.check(&found, &Asked::default())?;
    let (spec, usage) = (found.key.spec, found.key.usage);
    let suits = |name: &str| Operation::of_grant(name).is_some_and(|it| it.suits(spec, usage));
    if let Some(operation) = operations.iter().find(|operation| !suits(operation)) {
        let spec = spec.name();
        return Err(Failure::Invalid(Invalid::GrantOperation {
            operation,
            spec,
        }));
    }
    if request.dry_run {
        return Err(Failure::DryRun);
    }
    let wanted = Grant {
        id: String::new(),
        name: request.name,
        grantee,
        retiring: request.retiring,
        operations,
        constraint,
        issuing_account: format!("arn:aws:iam::{}:root", call.account()),
        created: call.now,
    };
    let id = grant(call, &found, wanted)?;
    let token = grant_token::write(&found.key.arn, &id);
    answer(&json!({ "GrantToken": token, "GrantId": id }))
}

/// The id of the grant that is there then: a repeated request with a name gives the
/// same one.
fn grant(call: &CallContext<'_>, found: &Found, wanted: Grant) -> Result<String, Failure> {
    let grants = found.key.grants();
    let same = grants.iter().find(|grant| {
        wanted.name.is_some()
            && grant.name == wanted.name
            && grant.grantee == wanted.grantee
            && grant.retiring == wanted.retiring
            && grant.operations == wanted.operations
            && grant.constraint == wanted.constraint
    });
    if let Some(grant) = same {
        return Ok(grant.id.clone());
    }
    if grants.len() >= GRANTS_OF_KEY_MAX {
        return Err(Failure::LimitExceeded(Limit::GrantsOfKey));
    }
    let id = hex::encode(call.entropy().array::<32>());
    call.store().add_grant(
        &found.key,
        &Arc::new(Grant {
            id: id.clone(),
            ..wanted
        }),
    )?;
    Ok(id)
}

fn grant_operation(text: &str) -> Option<&'static str> {
    GRANT_OPERATIONS.iter().find(|name| **name == text).copied()
}

/// Who may create grants by a grant only may pass on no more than that grant
/// allows.
fn must_only_narrow(
    call: &CallContext<'_>,
    found: &Found,
    operations: &[&'static str],
    constraint: Option<&Constraint>,
) -> Result<(), Failure> {
    let Some(Outcome::Allowed(AllowedBy::Grant { grant_id })) = call.last_outcome() else {
        return Ok(());
    };
    let narrower = found.key.grant(grant_id).is_some_and(|parent| {
        let fewer = operations
            .iter()
            .all(|operation| parent.operations.contains(operation));
        let stricter = match (&parent.constraint, constraint) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(Constraint::Equals(parent)), Some(Constraint::Equals(child))) => parent == child,
            (Some(Constraint::Equals(_)), Some(Constraint::Subset(_))) => false,
            (Some(Constraint::Subset(parent)), Some(child)) => {
                let child = pairs(child);
                parent
                    .iter()
                    .all(|(key, value)| child.get(key) == Some(value))
            }
        };
        fewer && stricter
    });
    if narrower {
        return Ok(());
    }
    let resource = RefusedResource::Arn(found.key.arn.to_string());
    Err(call.refuse(Denial::NoResourcePolicy, "kms:CreateGrant", resource))
}

pub(crate) fn list(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, page, grant_id, grantee, service) = Fields::read(body, |fields| {
        (
            fields.required_text("KeyId", KEY_ID),
            fields.page(50),
            fields.text("GrantId", GRANT_ID),
            fields.text("GranteePrincipal", PRINCIPAL_ID),
            fields.text("GranteeServicePrincipal", SERVICE),
        )
    })?;
    must_not_name_a_service(&[service])?;
    let found = call.find(&key_id)?;
    call.authorize(&found, Facts::default())?;
    let mut grants = found.key.grants();
    grants.retain(|grant| {
        grant_id.as_ref().is_none_or(|id| *id == grant.id)
            && grantee
                .as_ref()
                .is_none_or(|grantee| *grantee == grant.grantee)
    });
    let grants = page.after_in(grants, |grant| &grant.id)?;
    let cut = page.cut(grants, |grant| &grant.id);
    answer(&cut.to_json("Grants", |grant| entry(&found.key.arn, grant)))
}

pub(crate) fn list_retirable(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (page, retiring, service) = Fields::read(body, |fields| {
        (
            fields.page(50),
            fields.text("RetiringPrincipal", PRINCIPAL_ID),
            fields.text("RetiringServicePrincipal", SERVICE),
        )
    })?;
    must_not_name_a_service(&[service])?;
    let retiring = retiring.ok_or_else(|| Failure::absent("retiringPrincipal"))?;
    call.authorize_account("kms:ListRetirableGrants", Facts::default())?;
    let prefix = KeyArn::prefix(call.region(), call.account());
    let mut grants: Vec<(Arc<str>, Arc<Grant>)> = Vec::new();
    for arn in call.store().key_arns(&prefix, None, usize::MAX) {
        if let Some(known) = call.store().key(&arn, call.now, call.entropy())? {
            let retirable = known.key.grants().into_iter().filter(|grant| {
                grant
                    .retiring
                    .as_ref()
                    .is_some_and(|principal| *principal == retiring)
            });
            grants.extend(retirable.map(|grant| (Arc::clone(&arn), grant)));
        }
    }
    grants.sort_by(|a, b| a.1.id.cmp(&b.1.id));
    let grants = page.after_in(grants, |(_, grant)| &grant.id)?;
    let cut = page.cut(grants, |(_, grant)| &grant.id);
    answer(&cut.to_json("Grants", |(arn, grant)| entry(arn, grant)))
}

fn entry(key_arn: &str, grant: &Grant) -> Value {
    let mut entry = json!({
        "KeyId": key_arn,
        "GrantId": grant.id,
        "Name": grant.name.as_deref().unwrap_or_default(),
        "CreationDate": timestamp(grant.created),
        "GranteePrincipal": grant.grantee,
        "IssuingAccount": grant.issuing_account,
        "Operations": grant.operations,
    });
    let Some(members) = entry.as_object_mut() else {
        return entry;
    };
    if let Some(retiring) = &grant.retiring {
        members.insert("RetiringPrincipal".to_owned(), retiring.as_str().into());
    }
    if let Some(constraint) = &grant.constraint {
        let pairs = pairs(constraint);
        members.insert(
            "Constraints".to_owned(),
            json!({ constraint_type(constraint): pairs }),
        );
    }
    entry
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
    let caller = &call.caller.principal;
    // The retiring principal, or the grantee if the grant says so; for
    // everybody else permission is a matter of policies.
    let by_grant = grant.is_retired_by(caller)
        || (grant.is_for(caller) && grant.operations.contains(&"RetireGrant"));
    if !by_grant {
        call.authorize(&found, Facts::default())?;
    }
    remove(call, &found, &grant_id, dry_run)
}

fn remove(call: &CallContext<'_>, found: &Found, grant_id: &str, dry_run: bool) -> Answer {
    if found.key.grant(grant_id).is_none() {
        return Err(Failure::NotFound(NotFound::Grant {
            id: grant_id.to_owned(),
        }));
    }
    if dry_run {
        return Err(Failure::DryRun);
    }
    call.store().remove_grant(&found.key, grant_id)?;
    nothing()
}

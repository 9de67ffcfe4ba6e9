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

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use crate::{
    kms::{
        call::{Aliases, Answer, CallContext, Found, absent, after_in, answer, nothing, timestamp},
        error::{Failure, Invalid, Limit, NotFound, RefusedResource, Unsupported},
        fields::{Fields, GRANT_ID, GRANT_NAME, KEY_ID, PRINCIPAL_ID, Pattern, Text, length},
    },
    model::spec::{KeySpec, KeyUsage},
    policy::{
        AllowedBy, Constraint, Denial, Facts, GRANT_OPERATIONS, Grant, Outcome, is_grant_principal,
    },
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

/// Whether a key of `spec` and `usage` can be granted `operation`.
fn can_be_granted(spec: KeySpec, usage: KeyUsage, operation: &str) -> bool {
    match operation {
        "CreateGrant" | "RetireGrant" | "DescribeKey" => true,
        "GetPublicKey" => !spec.is_symmetric_encryption() && usage != KeyUsage::GenerateVerifyMac,
        "Encrypt" | "Decrypt" | "ReEncryptFrom" | "ReEncryptTo" => {
            usage == KeyUsage::EncryptDecrypt
        }
        "Sign" | "Verify" => usage == KeyUsage::SignVerify,
        "GenerateMac" | "VerifyMac" => usage == KeyUsage::GenerateVerifyMac,
        "DeriveSharedSecret" => usage == KeyUsage::KeyAgreement,
        "Encapsulate" | "Decapsulate" => usage == KeyUsage::EncapsulateDecapsulate,
        // Data keys and data key pairs.
        _ => spec.is_symmetric_encryption(),
    }
}

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

pub(crate) fn create(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let key_id = fields.required_text("KeyId", KEY_ID);
    let services = [
        fields.text("GranteeServicePrincipal", SERVICE),
        fields.text("RetiringServicePrincipal", SERVICE),
    ];
    let grantee = fields.text("GranteePrincipal", PRINCIPAL_ID);
    let retiring = fields.text("RetiringPrincipal", PRINCIPAL_ID);
    let operations = fields.required_choices("Operations", grant_operation, OPERATIONS);
    let constraints = Constraints::read(fields);
    let tokens = fields.texts("GrantTokens", 0, 10);
    let name = fields.text("Name", GRANT_NAME);
    let dry_run = fields.flag("DryRun");
    fields.finish()?;
    must_not_name_a_service(&services)?;
    let grantee = grantee.ok_or(Failure::Invalid(Invalid::GranteeRequired))?;
    for principal in [Some(&grantee), retiring.as_ref()].into_iter().flatten() {
        if !is_grant_principal(principal) {
            let text = principal.clone();
            return Err(Failure::Invalid(Invalid::GrantPrincipal { text }));
        }
    }
    let constraint = constraints.check()?;
    check_tokens(tokens)?;
    let found = call.find(&key_id, Aliases::Refused)?;
    let facts = Facts {
        grant_operations: Some(&operations),
        grant_constraint_type: constraint.as_ref().map(constraint_type),
        grantee_principal: Some(&grantee),
        retiring_principal: retiring.as_deref(),
        grant_is_for_aws_resource: Some(false),
        ..Facts::default()
    };
    call.authorize(&found, facts)?;
    must_only_narrow(call, &found, &operations, constraint.as_ref())?;
    found.must_be_enabled()?;
    if let Some(operation) = operations
        .iter()
        .find(|operation| !can_be_granted(found.key.spec, found.key.usage, operation))
    {
        let spec = found.key.spec.name();
        return Err(Failure::Invalid(Invalid::GrantOperation {
            operation,
            spec,
        }));
    }
    if dry_run {
        return Err(Failure::DryRun);
    }
    let grants = found.key.grants();
    // A repeated request with a name gives the same grant.
    let same = grants.iter().find(|grant| {
        name.is_some()
            && grant.name == name
            && grant.grantee == grantee
            && grant.retiring == retiring
            && grant.operations == operations
            && grant.constraint == constraint
    });
    let id = match same {
        Some(grant) => grant.id.clone(),
        None if grants.len() >= GRANTS_OF_KEY_MAX => {
            return Err(Failure::LimitExceeded(Limit::GrantsOfKey));
        }
        None => {
            let id = hex::encode(call.entropy().array::<32>());
            found.key.add_grant(&Arc::new(Grant {
                id: id.clone(),
                name,
                grantee,
                retiring,
                operations,
                constraint,
                issuing_account: format!("arn:aws:iam::{}:root", call.account()),
                created: call.now,
            }))?;
            id
        }
    };
    answer(&json!({ "GrantToken": token(&found, &id), "GrantId": id }))
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

/// A grant token names key and grant; nothing in it is secret.
fn token(found: &Found, grant_id: &str) -> String {
    BASE64.encode(format!("drydock grant token {} {grant_id}", found.key.arn))
}

fn read_token(token: &str) -> Result<(String, String), Failure> {
    let bytes = BASE64
        .decode(token)
        .map_err(|_| Failure::InvalidGrantToken)?;
    let text = String::from_utf8(bytes).map_err(|_| Failure::InvalidGrantToken)?;
    let (arn, id) = text
        .strip_prefix("drydock grant token ")
        .and_then(|rest| rest.split_once(' '))
        .ok_or(Failure::InvalidGrantToken)?;
    Ok((arn.to_owned(), id.to_owned()))
}

/// Refuses what is no grant token. A grant counts without its token here, so
/// that a token of a grant that is gone is as good as none.
pub(crate) fn check_tokens(tokens: Option<Vec<String>>) -> Result<(), Failure> {
    tokens
        .into_iter()
        .flatten()
        .try_for_each(|token| read_token(&token).map(|_| ()))
}

pub(crate) fn list(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let key_id = fields.required_text("KeyId", KEY_ID);
    let page = fields.page(50);
    let grant_id = fields.text("GrantId", GRANT_ID);
    let grantee = fields.text("GranteePrincipal", PRINCIPAL_ID);
    let service = fields.text("GranteeServicePrincipal", SERVICE);
    fields.finish()?;
    must_not_name_a_service(&[service])?;
    let found = call.find(&key_id, Aliases::Refused)?;
    call.authorize(&found, Facts::default())?;
    let mut grants = found.key.grants();
    grants.retain(|grant| {
        grant_id.as_ref().is_none_or(|id| *id == grant.id)
            && grantee
                .as_ref()
                .is_none_or(|grantee| *grantee == grant.grantee)
    });
    let grants = after_in(&page, grants, |grant| &grant.id)?;
    let cut = page.cut(grants, |grant| &grant.id);
    answer(&cut.to_json("Grants", |grant| entry(&found.key.arn, grant)))
}

pub(crate) fn list_retirable(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let page = fields.page(50);
    let retiring = fields.text("RetiringPrincipal", PRINCIPAL_ID);
    let service = fields.text("RetiringServicePrincipal", SERVICE);
    fields.finish()?;
    must_not_name_a_service(&[service])?;
    let retiring = retiring.ok_or_else(|| absent("retiringPrincipal"))?;
    call.authorize_account("kms:ListRetirableGrants", Facts::default())?;
    let prefix = crate::world::arn::key_arn(call.region(), call.account(), "");
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
    let grants = after_in(&page, grants, |(_, grant)| &grant.id)?;
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

pub(crate) fn revoke(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let key_id = fields.required_text("KeyId", KEY_ID);
    let grant_id = fields.required_text("GrantId", GRANT_ID);
    let dry_run = fields.flag("DryRun");
    fields.finish()?;
    let found = call.find(&key_id, Aliases::Refused)?;
    let facts = Facts {
        grant_is_for_aws_resource: Some(false),
        ..Facts::default()
    };
    call.authorize(&found, facts)?;
    remove(&found, &grant_id, dry_run)
}

pub(crate) fn retire(call: &mut CallContext<'_>, fields: &mut Fields) -> Answer {
    let token = fields.text("GrantToken", length(1, 8192));
    let key_id = fields.text("KeyId", KEY_ID);
    let grant_id = fields.text("GrantId", GRANT_ID);
    let dry_run = fields.flag("DryRun");
    fields.finish()?;
    let (key_id, grant_id) = match (token, key_id, grant_id) {
        (Some(token), None, None) => read_token(&token)?,
        (None, Some(key_id), Some(grant_id)) => (key_id, grant_id),
        _ => return Err(Failure::Invalid(Invalid::GrantReference)),
    };
    let found = call.find(&key_id, Aliases::Refused)?;
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
    remove(&found, &grant_id, dry_run)
}

fn remove(found: &Found, grant_id: &str, dry_run: bool) -> Answer {
    if found.key.grant(grant_id).is_none() {
        return Err(Failure::NotFound(NotFound::Grant {
            id: grant_id.to_owned(),
        }));
    }
    if dry_run {
        return Err(Failure::DryRun);
    }
    found.key.remove_grant(grant_id)?;
    nothing()
}

//! Lists of grants.
//!
//! Source of truth: AWS KMS API reference, "ListGrants" and "ListRetirableGrants"; the
//! KMS service model. A principal that is gone is shown by its unique id.
//!
//! Unknown and chosen: that the filters for AWS services are refused for everybody
//! here as an operation that is not supported.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    kms::{
        answer::{Answer, answer, timestamp},
        call::CallContext,
        error::{Failure, Invalid, RefusedResource, Unsupported},
        fields::{Fields, GRANT_ID, KEY_ID, PRINCIPAL_ID, SERVICE_PRINCIPAL},
        json::Object,
    },
    policy::{Denial, Facts, Grant, bind_grant_principal},
    world::{
        arn::{KeyArn, six_parts},
        directory::{Behind, Directory},
    },
};

/// Refuses a filter that only AWS services can use.
fn must_not_name_a_service(service: Option<&String>) -> Result<(), Failure> {
    match service {
        None => Ok(()),
        Some(_) => Err(Failure::Unsupported(Unsupported::ServiceFilter)),
    }
}

/// A principal that grants are looked for by: by its unique id, if it has one.
struct Wanted {
    arn: String,
    id: Option<Arc<str>>,
}

impl Wanted {
    /// A principal that does not exist has no grants.
    fn new(arn: String, directory: &dyn Directory) -> Self {
        let id = match bind_grant_principal(&arn, directory) {
            Behind::Id(id) => Some(id),
            Behind::NotKept | Behind::Nobody => None,
        };
        Self { arn, id }
    }

    fn is(&self, principal: &str, id: Option<&str>) -> bool {
        let is_shown = shown(principal, id) == self.arn && id.is_some();
        is_shown || (principal == self.arn && self.id.as_deref() == id)
    }
}

pub(crate) fn list(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, page, grant_id, grantee, service) = Fields::read(body, |fields| {
        (
            fields.required_text("KeyId", KEY_ID),
            fields.page(50),
            fields.text("GrantId", GRANT_ID),
            fields.text("GranteePrincipal", PRINCIPAL_ID),
            fields.text("GranteeServicePrincipal", SERVICE_PRINCIPAL),
        )
    })?;
    must_not_name_a_service(service.as_ref())?;
    let found = call.find(&key_id)?;
    let facts = Facts {
        grant_is_for_aws_resource: Some(false),
        ..Facts::default()
    };
    call.authorize(&found, facts)?;
    let grantee = grantee.map(|arn| Wanted::new(arn, call.directory()));
    let mut grants = found.key.grants();
    grants.retain(|grant| {
        grant_id.as_ref().is_none_or(|id| *id == grant.id)
            && grantee
                .as_ref()
                .is_none_or(|it| it.is(&grant.grantee, grant.grantee_id.as_deref()))
    });
    let grants = page.after_in(grants, |grant| &grant.id)?;
    let cut = page.cut(grants, |grant| &grant.id);
    let directory = call.directory();
    answer(&cut.to_json("Grants", |grant| entry(&found.key.arn, grant, directory)))
}

pub(crate) fn list_retirable(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (page, retiring, service) = Fields::read(body, |fields| {
        (
            fields.page(50),
            fields.text("RetiringPrincipal", PRINCIPAL_ID),
            fields.text("RetiringServicePrincipal", SERVICE_PRINCIPAL),
        )
    })?;
    match (&retiring, &service) {
        (Some(_), Some(_)) => {
            return Err(Failure::Invalid(Invalid::ServiceAndPrincipal("Retiring")));
        }
        (_, service) => must_not_name_a_service(service.as_ref())?,
    }
    let retiring = retiring.ok_or_else(|| Failure::absent("retiringPrincipal"))?;
    let Some([_, _, _, _, account, _]) = six_parts(&retiring) else {
        return Err(Failure::InvalidPrincipal { text: retiring });
    };
    let named = || RefusedResource::Arn(retiring.clone());
    if account != call.account() {
        return Err(call.refuse(Denial::OtherAccount, call.action(), named()));
    }
    call.authorize_other(&retiring, account)?;
    let wanted = Wanted::new(retiring, call.directory());
    // Also on keys of other accounts.
    let mut grants: Vec<(Arc<str>, Arc<Grant>)> = Vec::new();
    for arn in call.store().key_arns("", None, usize::MAX) {
        let is_here = KeyArn::parse(&arn).is_some_and(|arn| arn.region() == call.region());
        if is_here && let Some(known) = call.store().key(&arn, call.now, call.entropy())? {
            let retirable = known.key.grants().into_iter().filter(|grant| {
                let retiring = grant.retiring.as_deref();
                retiring.is_some_and(|it| wanted.is(it, grant.retiring_id.as_deref()))
            });
            grants.extend(retirable.map(|grant| (Arc::clone(&arn), grant)));
        }
    }
    grants.sort_by(|a, b| a.1.id.cmp(&b.1.id));
    let grants = page.after_in(grants, |(_, grant)| &grant.id)?;
    let cut = page.cut(grants, |(_, grant)| &grant.id);
    let directory = call.directory();
    answer(&cut.to_json("Grants", |(arn, grant)| entry(arn, grant, directory)))
}

fn entry(key_arn: &str, grant: &Grant, directory: &dyn Directory) -> Value {
    let mut entry = json!({
        "KeyId": key_arn,
        "GrantId": grant.id,
        "Name": grant.name.as_deref().unwrap_or_default(),
        "CreationDate": timestamp(grant.created),
        "IssuingAccount": grant.issuing_account,
        "Operations": grant.operations,
    });
    let mut add = |name: &str, value: Value| {
        let members = entry.as_object_mut().expect("an object was made above");
        members.insert(name.to_owned(), value);
    };
    let retiring = grant.retiring.as_deref();
    for (role, principal, id) in [
        ("Grantee", Some(&*grant.grantee), &grant.grantee_id),
        ("Retiring", retiring, &grant.retiring_id),
    ] {
        let Some(principal) = principal else {
            continue;
        };
        let gone = id.as_deref().filter(|id| !directory.is_there(id));
        let kind = if principal.starts_with("arn:") {
            ""
        } else {
            "Service"
        };
        add(
            &format!("{role}{kind}Principal"),
            shown(principal, gone).into(),
        );
    }
    let context = grant.constraint.as_ref();
    let context = context.map(|it| (it.name(), json!(it.pairs())));
    let source = grant.source_arn.as_ref();
    let source = source.map(|it| ("SourceArn", json!(it)));
    if context.is_some() || source.is_some() {
        let constraints = context.into_iter().chain(source);
        let constraints = constraints.map(|(name, value)| (name.to_owned(), value));
        add("Constraints", Value::Object(constraints.collect()));
    }
    entry
}

/// A principal by its unique id, if it is gone.
fn shown(principal: &str, gone: Option<&str>) -> String {
    let session = six_parts(principal)
        .and_then(|[.., resource]| resource.strip_prefix("assumed-role/"))
        .and_then(|rest| rest.split_once('/'));
    match (gone, session) {
        (None, _) => principal.to_owned(),
        (Some(id), None) => id.to_owned(),
        (Some(id), Some((_, session))) => format!("{id}:{session}"),
    }
}

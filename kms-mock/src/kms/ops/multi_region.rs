//! `ReplicateKey` and `UpdatePrimaryRegion`.
//!
//! Source of truth: the KMS service model; recorded answers and texts; AWS KMS
//! developer guide, "Multi-Region keys in AWS KMS". On AWS a replica is
//! `Creating` for a while; here the answer says so and the next call finds it
//! `Enabled`. Keys whose primary Region changes are `Updating` until the clock
//! has moved on.
//!
//! Unknown and chosen: the texts for a Region that has a related key already,
//! or has none.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{key_policy, tag};
use crate::{
    keys::{
        keep,
        key::{Key, NewKey},
        multi_region::Family,
        recent::Known,
        record::KeyState,
    },
    kms::{
        answer::{Answer, answer, nothing},
        call::{CallContext, Found},
        checks::Asked,
        error::{Failure, NotFound, Unsupported},
        fields::{DESCRIPTION, Fields, KEY_ID, POLICY, Pattern, Text},
        json::Object,
        metadata::metadata,
    },
    policy::{Facts, NewKeyFacts},
    world::arn::{KeyArn, is_region_name},
};

const REGION: Text = Text {
    min: 1,
    max: 32,
    pattern: Some(Pattern {
        shown: "^([a-z]+-){2,3}\\d+$",
        fits: is_region_name,
    }),
};

pub(crate) fn replicate(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, region, policy_text, bypass, description, tags) = Fields::read(body, |fields| {
        (
            fields.required_text("KeyId", KEY_ID),
            fields.required_text("ReplicaRegion", REGION),
            fields.text("Policy", POLICY),
            fields.flag("BypassPolicyLockoutSafetyCheck"),
            fields.text("Description", DESCRIPTION).unwrap_or_default(),
            tag::read(fields),
        )
    })?;
    let tags = tag::checked(tags)?;
    let found = call.find(&key_id)?;
    let facts = Facts {
        replica_region: Some(&region),
        bypass_lockout_check: Some(bypass),
        ..Facts::default()
    };
    call.authorize(&found, facts)?;
    let family = must_be_primary(&found)?;
    let account_facts = Facts {
        new_key: Some(NewKeyFacts {
            spec: found.key.spec.name(),
            usage: found.key.usage.name(),
            origin: found.key.origin.name(),
            multi_region_type: Some("REPLICA"),
        }),
        bypass_lockout_check: Some(bypass),
        request_tags: (!tags.is_empty()).then_some(&tags),
        ..Facts::default()
    };
    call.authorize_new_key(account_facts)?;
    call.check(&found, &Asked::default())?;
    let policy = match &policy_text {
        Some(text) => key_policy::parse(call, text)?,
        None => call.store().default_policy(found.key.account()),
    };
    let arn = KeyArn::new(&region, found.key.account(), found.key.id()).shared();
    let new = NewKey {
        arn: Arc::clone(&arn),
        spec: found.key.spec,
        usage: found.key.usage,
        origin: found.key.origin,
        family: Some(Arc::clone(&family)),
        backing: None,
        created: call.now,
        description,
        policy,
        tags: tags.clone(),
    };
    // The primary key is held, so that no rotation is missed.
    let replica = call.store().change_all(
        &found.key,
        &[],
        |primary, _, batch| {
            call.check_record(&found, primary, &Asked::default())?;
            must_be_primary(&found)?;
            let replica = Arc::new(Key::replica(new, primary));
            let made = Found {
                known: Known::of(Arc::clone(&replica)),
                request_alias: None,
                by_ciphertext: false,
            };
            if policy_text.is_some() && !bypass {
                key_policy::must_not_lock_out(call, &made, &made.record)?;
            }
            let is_there = call.store().as_it_is(&arn).is_some();
            if is_there || family.members().all().any(|member| *member == arn) {
                return Err(Failure::ReplicaExists {
                    arn: arn.to_string(),
                });
            }
            keep::put_key(batch, &replica, &made.record);
            Ok(replica)
        },
        |replica| {
            family.add_replica(Arc::clone(&arn));
            call.store().place(replica);
        },
    )?;
    let record = replica.record();
    let mut body = json!({
        "ReplicaKeyMetadata": while_creating(metadata(&replica, &record)),
        "ReplicaPolicy": record.policy.rendered(),
    });
    if let Some(members) = body.as_object_mut().filter(|_| !tags.is_empty()) {
        let tags = tags
            .iter()
            .map(|(key, value)| json!({ "TagKey": key, "TagValue": value }));
        members.insert("ReplicaTags".to_owned(), tags.collect());
    }
    answer(&body)
}

fn while_creating(mut metadata: Value) -> Value {
    if let Some(members) = metadata.as_object_mut() {
        members.remove("CurrentKeyMaterialId");
        members.insert("KeyState".to_owned(), "Creating".into());
        members.insert("Enabled".to_owned(), false.into());
    }
    metadata
}

pub(crate) fn update_primary(call: &mut CallContext<'_>, body: Object<'_>) -> Answer {
    let (key_id, region) = Fields::read(body, |fields| {
        (
            fields.required_text("KeyId", KEY_ID),
            fields.required_text("PrimaryRegion", REGION),
        )
    })?;
    let found = call.find(&key_id)?;
    let facts = Facts {
        primary_region: Some(&region),
        ..Facts::default()
    };
    call.authorize(&found, facts)?;
    let family = must_be_primary(&found)?;
    if region == found.key.region() {
        return Err(Failure::Unsupported(Unsupported::AlreadyPrimary {
            arn: found.key.arn.to_string(),
        }));
    }
    let arn = KeyArn::new(&region, found.key.account(), found.key.id());
    let Some(replica) = call.find_related(&arn)? else {
        return Err(Failure::NotFound(NotFound::Key {
            arn: arn.to_string(),
        }));
    };
    call.authorize(&replica, facts)?;
    for member in [&found, &replica] {
        call.check(member, &Asked::default())?;
    }
    call.store().change_all(
        &found.key,
        &[&replica.key],
        |primary, replicas, batch| {
            must_be_primary(&found)?;
            call.check_record(&found, primary, &Asked::default())?;
            for record in &*replicas {
                call.check_record(&replica, record, &Asked::default())?;
            }
            if !family.members().replicas.contains(&replica.key.arn) {
                return Err(Failure::NotFound(NotFound::Key {
                    arn: arn.to_string(),
                }));
            }
            for record in std::iter::once(primary).chain(replicas) {
                if record.state == KeyState::Enabled {
                    record.state = KeyState::Updating { since: call.now };
                }
            }
            keep::put_primary(batch, &family, &replica.key.arn);
            Ok(())
        },
        |()| {
            family.make_primary(&replica.key.arn);
        },
    )?;
    nothing()
}

fn must_be_primary(found: &Found) -> Result<Arc<Family>, Failure> {
    match &found.key.family {
        Some(family) if family.is_primary(&found.key.arn) => Ok(Arc::clone(family)),
        _ => Err(found.is_not_primary()),
    }
}

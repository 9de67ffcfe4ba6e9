//! Which images and which account a policy is about, as far as it says.
//!
//! Source of truth: ground truth KMS §2 (`kms:RecipientAttestation:*`, what debug
//! enclaves present).

use std::collections::{BTreeMap, BTreeSet};

use super::claim::Claim;
use crate::{
    model::condition_key::ConditionKey,
    policy::{document::Effect, principals::PrincipalEntry},
    world::arn::six_parts,
};

/// The account when neither the claim nor the policy names one.
const ACCOUNT_DEFAULT: &str = "123456789012";

/// Register values that policies name, zeros and what is not a register's value left
/// out.
#[derive(Debug, Default)]
pub(super) struct Pins {
    pub(super) pcr0: BTreeSet<String>,
    /// Together as good as PCR0: both are measured of parts of the image that have no
    /// byte between them.
    pub(super) pcr1: BTreeSet<String>,
    pub(super) pcr2: BTreeSet<String>,
    pub(super) nitrotpm: BTreeMap<u8, BTreeSet<String>>,
}

pub(super) fn register_value(text: &str) -> Option<String> {
    let is_hex = text.len() == 96 && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_hex.then(|| text.to_ascii_lowercase())
}

pub(super) fn is_zeros(value: &str) -> bool {
    value.bytes().all(|b| b == b'0')
}

pub(super) fn pins(claim: &Claim) -> Pins {
    let mut pins = Pins::default();
    for statement in std::iter::once(&claim.policy)
        .chain(claim.own_policies())
        .flat_map(|policy| policy.statements())
    {
        for condition in &statement.conditions {
            let texts = condition.operands().iter().map(|operand| operand.text());
            let values = texts
                .filter_map(|text| register_value(text))
                .filter(|v| !is_zeros(v));
            match condition.key() {
                ConditionKey::ImageSha384 | ConditionKey::Pcr(0) => pins.pcr0.extend(values),
                ConditionKey::Pcr(1) => pins.pcr1.extend(values),
                ConditionKey::Pcr(2) => pins.pcr2.extend(values),
                ConditionKey::NitroTpmPcr(index) => {
                    pins.nitrotpm.entry(*index).or_default().extend(values);
                }
                _ => {}
            }
        }
    }
    pins
}

/// The account the policy delegates to, or that of the first principal.
pub(super) fn owner_of(claim: &Claim) -> String {
    if let Some([_, _, _, _, account, _]) = claim.key_arn.as_deref().and_then(six_parts) {
        return account.to_owned();
    }
    let entries = || {
        claim
            .policy
            .statements()
            .iter()
            .filter(|statement| statement.effect == Effect::Allow)
            .filter_map(|statement| statement.principals.as_ref())
            .flat_map(|principals| &principals.items)
    };
    let account = |entry: &PrincipalEntry| entry.account().map(str::to_owned);
    let delegated = entries().find(|entry| matches!(entry, PrincipalEntry::Account(_)));
    delegated
        .and_then(account)
        .or_else(|| entries().find_map(account))
        .unwrap_or_else(|| ACCOUNT_DEFAULT.to_owned())
}

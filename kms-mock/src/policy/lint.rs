//! What a key policy says and its author may not have meant.
//!
//! Source of truth: ground truth KMS §2 (values that never match, operations
//! without `Recipient`, holes for a linter) and §3 (statements without effect).
//! A lint is a hint; whether a way to the key is open is what
//! [`prove`](super::prove()) decides.

use serde_json::{Value, json};

use super::{
    Policy,
    condition::Condition,
    document::{Effect, Statement},
    operator::Test,
    principals::PrincipalEntry,
    template::Case,
};
use crate::model::condition_key::ConditionKey;

/// The operations with a `Recipient`. `GenerateRandom` needs no key.
const ATTESTED: [&str; 5] = [
    "kms:Decrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyPair",
    "kms:GenerateRandom",
    "kms:DeriveSharedSecret",
];

/// Operations on a key without one that people put under such a condition.
const UNATTESTED: [&str; 15] = [
    "kms:Encrypt",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:GenerateDataKeyPairWithoutPlaintext",
    "kms:Sign",
    "kms:Verify",
    "kms:GenerateMac",
    "kms:VerifyMac",
    "kms:Decapsulate",
    "kms:GetKeyPolicy",
    "kms:PutKeyPolicy",
    "kms:CreateGrant",
    "kms:DescribeKey",
    "kms:GetPublicKey",
];

/// Ways round a Deny of `kms:Decrypt`.
const ROUND_A_DENY: [&str; 6] = [
    "kms:ReEncryptFrom",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyPair",
    "kms:DeriveSharedSecret",
    "kms:CreateGrant",
    "kms:PutKeyPolicy",
];

/// A hint about a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// What it is about.
    pub kind: LintKind,
    /// The statement, counted from one.
    pub statement: usize,
    /// Its `Sid`.
    pub sid: Option<String>,
    /// A sentence.
    pub message: String,
}

/// What a lint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LintKind {
    /// An upper-case register value under an operator that heeds case.
    UpperCaseValue,
    /// A register value that begins with `0x`.
    HexPrefix,
    /// A value that no register of 48 bytes can have.
    NotARegisterValue,
    /// A condition key below `kms:RecipientAttestation` that does not exist.
    NoSuchAttestationKey,
    /// An attestation condition on operations that take no document.
    NeverAttested,
    /// An attestation condition that calls without a document satisfy.
    SatisfiedWithoutDocument,
    /// Only registers that say nothing about the image.
    ImageNotPinned,
    /// The register value of enclaves in debug mode.
    AllZeros,
    /// A Deny that leaves ways round it.
    DenyTooNarrow,
    /// No `Action` or no `Resource`.
    WithoutEffect,
    /// An Allow for everybody.
    AnyPrincipal,
}

impl LintKind {
    /// A word for scripts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UpperCaseValue => "upper-case-value",
            Self::HexPrefix => "hex-prefix",
            Self::NotARegisterValue => "not-a-register-value",
            Self::NoSuchAttestationKey => "no-such-attestation-key",
            Self::NeverAttested => "never-attested",
            Self::SatisfiedWithoutDocument => "satisfied-without-document",
            Self::ImageNotPinned => "image-not-pinned",
            Self::AllZeros => "all-zeros",
            Self::DenyTooNarrow => "deny-too-narrow",
            Self::WithoutEffect => "without-effect",
            Self::AnyPrincipal => "any-principal",
        }
    }
}

impl Lint {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "kind": self.kind.name(),
            "statement": self.statement,
            "sid": self.sid,
            "message": self.message,
        })
    }
}

/// All hints about a key policy, statement by statement.
#[must_use]
pub fn lint(policy: &Policy) -> Vec<Lint> {
    let mut lints = Vec::new();
    for (at, statement) in policy.statements().iter().enumerate() {
        let mut say = |kind, message: String| {
            let lint = Lint {
                kind,
                statement: at + 1,
                sid: statement.sid.as_deref().map(str::to_owned),
                message,
            };
            if !lints.contains(&lint) {
                lints.push(lint);
            }
        };
        for (element, is_missing) in [
            ("Action", statement.actions.is_none()),
            ("Resource", statement.resources.is_none()),
        ] {
            if is_missing {
                say(
                    LintKind::WithoutEffect,
                    format!("the statement has no {element}; KMS accepts it and it has no effect"),
                );
            }
        }
        let is_for_anybody = statement
            .principals
            .as_ref()
            .is_some_and(|p| !p.negated && p.items.contains(&PrincipalEntry::Anyone));
        if statement.effect == Effect::Allow && is_for_anybody {
            say(
                LintKind::AnyPrincipal,
                "the statement allows every principal of every account; callers of other accounts need no more than their own IAM".to_owned(),
            );
        }
        for condition in &statement.conditions {
            lint_condition(statement, condition, &mut say);
        }
        lint_statement(statement, &mut say);
    }
    lints
}

fn lint_condition(
    statement: &Statement,
    condition: &Condition,
    say: &mut dyn FnMut(LintKind, String),
) {
    let key = condition.key_text();
    let operator = condition.operator();
    if let ConditionKey::Unknown(name) = condition.key() {
        if name.starts_with("kms:recipientattestation") {
            let always = match operator.test() {
                Test::Null => "it is always absent: Null is always true",
                _ => "it is always absent",
            };
            say(
                LintKind::NoSuchAttestationKey,
                format!("there is no condition key {key}; {always}"),
            );
        }
        return;
    }
    if !condition.key().is_attestation() {
        return;
    }
    if statement.effect == Effect::Allow && operator.holds_for_absent_keys() {
        say(
            LintKind::SatisfiedWithoutDocument,
            format!(
                "a call without an attestation document satisfies {} on {key}",
                operator.text()
            ),
        );
    }
    if operator.test() == Test::Null {
        return;
    }
    for operand in condition.operands() {
        let text = operand.text();
        let consequence = if operator.is_negated() {
            "differs from every register"
        } else {
            "never matches"
        };
        if text.starts_with("0x") || text.starts_with("0X") {
            say(
                LintKind::HexPrefix,
                format!(
                    "{key}: a value that begins with 0x {consequence}; KMS compares plain hex digits"
                ),
            );
            continue;
        }
        let has_pattern = text.contains(['*', '?', '$']) && operator.test() == Test::Pattern;
        let is_register = text.len() == 96 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !has_pattern && !is_register {
            say(
                LintKind::NotARegisterValue,
                format!("{key}: a value that is not 96 hex digits {consequence}"),
            );
            continue;
        }
        let heeds_case = operator.test() != Test::Text(Case::Insensitive);
        if heeds_case && text.bytes().any(|b| b.is_ascii_uppercase()) {
            say(
                LintKind::UpperCaseValue,
                format!(
                    "{key}: upper-case digits under {}: the value {consequence}; KMS presents lower case",
                    operator.text()
                ),
            );
        }
        if text.bytes().all(|b| b == b'0')
            && !operator.is_negated()
            && statement.effect == Effect::Allow
        {
            say(
                LintKind::AllZeros,
                format!(
                    "{key}: zeros are what an enclave in debug mode presents, and any register that nothing has extended"
                ),
            );
        }
    }
}

fn lint_statement(statement: &Statement, say: &mut dyn FnMut(LintKind, String)) {
    let Some(actions) = &statement.actions else {
        return;
    };
    let attestation: Vec<&Condition> = statement
        .conditions
        .iter()
        .filter(|c| c.key().is_attestation())
        .collect();
    if attestation.is_empty() {
        return;
    }
    let covered = |list: &[&'static str]| -> Vec<&'static str> {
        list.iter()
            .copied()
            .filter(|action| actions.cover_action(action))
            .collect()
    };
    let needs_document = attestation
        .iter()
        .any(|c| c.operator().test() != Test::Null && !c.operator().holds_for_absent_keys());
    match statement.effect {
        Effect::Allow if needs_document => {
            let never = covered(&UNATTESTED);
            if !never.is_empty() {
                say(
                    LintKind::NeverAttested,
                    format!(
                        "{} take no Recipient, so that this condition never allows them",
                        never.join(", ")
                    ),
                );
            }
            let says_image = attestation.iter().any(|c| {
                matches!(
                    c.key(),
                    ConditionKey::ImageSha384
                        | ConditionKey::Pcr(0..=2)
                        | ConditionKey::NitroTpmPcr(_)
                )
            });
            if !says_image && !covered(&ATTESTED).is_empty() {
                let keys: Vec<&str> = attestation.iter().map(|c| &**c.key_text()).collect();
                say(
                    LintKind::ImageNotPinned,
                    format!(
                        "{} alone says who runs or signed an enclave, not what runs in it, and debug enclaves have it too",
                        keys.join(", ")
                    ),
                );
            }
        }
        Effect::Deny if actions.cover_action("kms:Decrypt") => {
            let open: Vec<&str> = ROUND_A_DENY
                .into_iter()
                .filter(|action| !actions.cover_action(action))
                .collect();
            if !open.is_empty() {
                say(
                    LintKind::DenyTooNarrow,
                    format!("the Deny covers Decrypt and leaves {}", open.join(", ")),
                );
            }
        }
        Effect::Allow | Effect::Deny => {}
    }
}

//! Verdicts over real and made-up policies. Every witness is a call that a real
//! KMS allows, every closed verdict holds against random requests.

mod corpus;
mod random;
mod replay;
mod table;

use std::{collections::BTreeMap, sync::Arc};

use nsm_sim::clock::UnixMillis;
use serde_json::{Value, json};

use super::{
    asked::{ASKED, Gives},
    *,
};
use crate::{
    policy::{
        Constraint, Decision, Grant, LintKind, Policy, PolicyKind, Question, QuestionKey,
        Recipient, lint,
    },
    recipient::tests::corpus as corpus_folder,
    world::principal::{Principal, is_account_id},
};

const OWNER: &str = "111122223333";
const ROLE: &str = "arn:aws:iam::111122223333:role/data-processing";

fn policy(statements: &str) -> Arc<Policy> {
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    Arc::new(Policy::parse(&text, PolicyKind::Key).unwrap())
}

fn iam(statements: &str) -> Arc<Policy> {
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    Arc::new(Policy::parse(&text, PolicyKind::Identity).unwrap())
}

fn real_policies() -> Option<Vec<(String, Arc<Policy>)>> {
    let folder = corpus_folder("kms-policies")?;
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let json: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let policy = Policy::parse(&json["policy"].to_string(), PolicyKind::Key).unwrap();
        let name = path.file_name().unwrap().to_string_lossy();
        (name.chars().take(2).collect(), Arc::new(policy))
    };
    Some(files.iter().map(read).collect())
}

/// `kind action by statement` for each finding.
fn summary(proof: &Proof) -> Vec<String> {
    proof
        .findings
        .iter()
        .map(|finding| {
            let number = finding.statement.as_ref().map_or(0, |(number, _)| *number);
            let action = finding.action().trim_start_matches("kms:");
            format!("{} {action} {number}", finding.kind_name())
        })
        .collect()
}

/// Proves, replays each witness, and throws random requests at a closed verdict.
fn checked(claim: &Claim, calls: &mut usize) -> Proof {
    let proof = prove(claim).unwrap();
    for finding in &proof.findings {
        *calls += replay::replay(claim, finding);
    }
    if proof.verdict() == Verdict::Closed {
        random::attack(claim, &proof, 10_000);
    }
    proof
}

struct Row {
    policy: &'static str,
    claim: fn(&mut Claim),
    verdict: Verdict,
    /// Findings that must be there.
    has: &'static [&'static str],
    /// Permissions that no finding may be about.
    has_not: &'static [&'static str],
}

const ANYBODY: fn(&mut Claim) = |_| {};
const THE_ROLE: fn(&mut Claim) = |claim| claim.principals = vec![ROLE.to_owned()];

#[test]
#[allow(clippy::too_many_lines)] // a table
fn the_fourteen_real_policies_have_the_verdicts_that_are_known_of_them() {
    let Some(policies) = real_policies() else {
        return;
    };
    use Verdict::{Closed, Open};
    #[rustfmt::skip]
    let table = [
        Row { policy: "01", claim: ANYBODY, verdict: Closed, has: &[], has_not: &[] },
        Row { policy: "02", claim: ANYBODY, verdict: Closed, has: &[], has_not: &[] },
        Row { policy: "03", claim: ANYBODY, verdict: Open,
              has: &["debug-mode Decrypt 1", "un-attested CreateGrant 3", "un-attested PutKeyPolicy 3", "availability ScheduleKeyDeletion 3", "availability DisableKey 3"],
              has_not: &["un-attested Decrypt", "other-image Decrypt"] },
        Row { policy: "03", claim: THE_ROLE, verdict: Open, has: &["debug-mode Decrypt 1", "un-attested Encrypt 2"], has_not: &["un-attested Decrypt"] },
        // The Deny covers Decrypt alone.
        Row { policy: "04", claim: ANYBODY, verdict: Open,
              has: &["un-attested ReEncryptFrom 1", "un-attested ReEncryptTo 1", "un-attested GenerateDataKey 1", "un-attested CreateGrant 1", "un-attested PutKeyPolicy 1"],
              has_not: &["un-attested Decrypt", "debug-mode Decrypt", "other-image Decrypt"] },
        Row { policy: "04", claim: |claim| {
                  THE_ROLE(claim);
                  claim.identity_policies = Some(vec![iam(r#"{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"}"#)]);
              }, verdict: Closed, has: &[], has_not: &[] },
        // The Deny is for the other account alone.
        Row { policy: "05", claim: ANYBODY, verdict: Open, has: &["un-attested Decrypt 1", "un-attested PutKeyPolicy 1"], has_not: &[] },
        Row { policy: "05", claim: |claim| claim.principals = vec!["444455556666".to_owned()], verdict: Closed, has: &[], has_not: &[] },
        Row { policy: "06", claim: ANYBODY, verdict: Closed, has: &["availability ScheduleKeyDeletion 3"], has_not: &["DeriveSharedSecret"] },
        Row { policy: "07", claim: ANYBODY, verdict: Open,
              has: &["other-image Decrypt 1", "debug-mode Decrypt 1", "other-image GenerateDataKeyPair 1", "un-attested PutKeyPolicy 3"],
              has_not: &["GenerateDataKeyWithoutPlaintext", "un-attested Decrypt"] },
        Row { policy: "08", claim: ANYBODY, verdict: Open, has: &["un-attested CreateGrant 1", "un-attested PutKeyPolicy 1"], has_not: &["Decrypt", "GenerateDataKey"] },
        Row { policy: "08", claim: THE_ROLE, verdict: Closed, has: &[], has_not: &[] },
        Row { policy: "08", claim: |claim| {
                  THE_ROLE(claim);
                  claim.expected_pcr0 = vec!["2".repeat(96)];
              }, verdict: Open, has: &["other-image Decrypt 2", "other-image GenerateDataKey 2"], has_not: &["un-attested", "debug-mode"] },
        Row { policy: "09", claim: ANYBODY, verdict: Closed, has: &["availability ScheduleKeyDeletion 1", "availability DisableKey 1"], has_not: &[] },
        Row { policy: "10", claim: ANYBODY, verdict: Closed, has: &[], has_not: &[] },
        Row { policy: "11", claim: ANYBODY, verdict: Open,
              has: &["un-attested GenerateDataKey 2", "un-attested GenerateDataKeyWithoutPlaintext 2"], has_not: &["Decrypt"] },
        Row { policy: "12", claim: ANYBODY, verdict: Closed, has: &[], has_not: &[] },
        Row { policy: "13", claim: ANYBODY, verdict: Open,
              has: &["un-attested Decrypt 1", "un-attested Decrypt 2", "un-attested ReEncryptFrom 2", "un-attested Sign 1", "un-attested CreateGrant 1"], has_not: &[] },
        Row { policy: "14", claim: ANYBODY, verdict: Open, has: &["un-attested PutKeyPolicy 3"], has_not: &["Decrypt", "GenerateDataKey", "CreateGrant"] },
        Row { policy: "14", claim: THE_ROLE, verdict: Closed, has: &[], has_not: &[] },
    ];
    let mut calls = 0;
    let mut wrong = Vec::new();
    for row in &table {
        let (_, policy) = policies
            .iter()
            .find(|(name, _)| name == row.policy)
            .unwrap();
        let mut claim = Claim::about(Arc::clone(policy));
        (row.claim)(&mut claim);
        let proof = checked(&claim, &mut calls);
        let found = summary(&proof);
        let about = format!(
            "policy {} {:?}: {found:#?} {:#?}",
            row.policy, claim.principals, proof.undecided
        );
        if proof.verdict() != row.verdict {
            wrong.push(format!("is not {:?}: {about}", row.verdict));
        }
        for wanted in row.has {
            if !found.iter().any(|f| f == wanted) {
                wrong.push(format!("lacks {wanted}: {about}"));
            }
        }
        for unwanted in row.has_not {
            let is_about = |f: &&String| {
                let words: Vec<&str> = f.split(' ').collect();
                unwanted.split(' ').all(|word| words.contains(&word))
                    && !f.starts_with("availability")
            };
            if let Some(one) = found.iter().find(is_about) {
                wrong.push(format!("has {one}: {about}"));
            }
        }
        if !proof.undecided.is_empty() {
            wrong.push(format!("is undecided: {about}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("{calls} calls of witnesses were answered by KMS");
    assert!(calls > 50, "{calls}");
}

#[test]
fn the_real_policies_are_linted() {
    let Some(policies) = real_policies() else {
        return;
    };
    let kinds = |name: &str| -> Vec<LintKind> {
        let (_, policy) = policies.iter().find(|(n, _)| n == name).unwrap();
        lint(policy).iter().map(|lint| lint.kind).collect()
    };
    assert_eq!(kinds("01"), []);
    assert_eq!(kinds("03"), [LintKind::AllZeros]);
    assert_eq!(kinds("04"), [LintKind::DenyTooNarrow]);
    assert_eq!(kinds("05"), [LintKind::DenyTooNarrow]);
    assert_eq!(
        kinds("07"),
        [LintKind::NeverAttested, LintKind::ImageNotPinned]
    );
    assert_eq!(kinds("10"), [LintKind::AnyPrincipal]);
    assert_eq!(
        kinds("12"),
        [LintKind::AnyPrincipal, LintKind::NeverAttested]
    );
    assert_eq!(kinds("14"), []);
}

#[test]
fn every_lint_has_a_statement_that_earns_it() {
    let pcr = "ab".repeat(48);
    let upper = pcr.to_uppercase();
    let zeros = "0".repeat(96);
    let with = |condition: String| {
        format!(
            r#"{{"Effect":"Allow","Principal":{{"AWS":"{OWNER}"}},"Action":"kms:Decrypt","Resource":"*","Condition":{{{condition}}}}}"#
        )
    };
    let on = |operator: &str, key: &str, value: &str| {
        with(format!(
            r#""{operator}":{{"kms:RecipientAttestation{key}":"{value}"}}"#
        ))
    };
    for (statement, kinds) in [
        (
            on("StringEquals", ":PCR0", &upper),
            vec![LintKind::UpperCaseValue],
        ),
        (
            on("StringLike", ":PCR0", &upper),
            vec![LintKind::UpperCaseValue],
        ),
        (on("StringEqualsIgnoreCase", ":PCR0", &upper), vec![]),
        (
            on("StringEqualsIgnoreCase", ":PCR0", &format!("0x{pcr}")),
            vec![LintKind::HexPrefix],
        ),
        (
            on("StringEqualsIgnoreCase", ":ImageSha384", &"ab".repeat(64)),
            vec![LintKind::NotARegisterValue],
        ),
        (on("StringLike", ":PCR0", "ab*"), vec![]),
        (on("Null", "", "true"), vec![LintKind::NoSuchAttestationKey]),
        (
            on("StringEquals", ":PCR", &pcr),
            vec![LintKind::NoSuchAttestationKey],
        ),
        (
            on("StringEquals", ":PCR3", &pcr),
            vec![LintKind::ImageNotPinned],
        ),
        (
            on("StringEquals", ":PCR4", &pcr),
            vec![LintKind::ImageNotPinned],
        ),
        (
            on("StringEquals", ":PCR0", &zeros),
            vec![LintKind::AllZeros],
        ),
        (
            on("StringEqualsIfExists", ":PCR0", &pcr),
            vec![LintKind::SatisfiedWithoutDocument],
        ),
        (
            on("ForAllValues:StringEquals", ":PCR0", &pcr),
            vec![LintKind::SatisfiedWithoutDocument],
        ),
        (
            format!(
                r#"{{"Effect":"Allow","Principal":{{"AWS":"{OWNER}"}},"Action":"kms:Decrypt"}}"#
            ),
            vec![LintKind::WithoutEffect],
        ),
        (
            format!(r#"{{"Effect":"Allow","Principal":{{"AWS":"{OWNER}"}},"Resource":"*"}}"#),
            vec![LintKind::WithoutEffect],
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"kms:Verify","Resource":"*"}"#.to_owned(),
            vec![LintKind::AnyPrincipal],
        ),
    ] {
        let found: Vec<_> = lint(&policy(&statement)).iter().map(|l| l.kind).collect();
        assert_eq!(found, kinds, "{statement}");
    }
}

/// An Allow for the role with a condition.
fn allow(action: &str, condition: &str) -> String {
    format!(
        r#"{{"Effect":"Allow","Principal":{{"AWS":"{ROLE}"}},"Action":"{action}","Resource":"*","Condition":{{{condition}}}}}"#
    )
}

#[test]
fn the_search_finds_the_one_request_that_fits() {
    let pcr = "ab".repeat(48);
    let table: Vec<(String, &[&str])> = vec![
        // A value that fits one pattern and not another.
        (allow("kms:Decrypt", r#""StringLike":{"kms:EncryptionContext:job":"a*"},"StringNotLike":{"kms:EncryptionContext:job":["ab*","*z"]}"#), &["un-attested Decrypt 1"]),
        (allow("kms:Decrypt", r#""StringLike":{"kms:EncryptionContext:job":"a*"},"StringNotLike":{"kms:EncryptionContext:job":"*"}"#), &[]),
        // Two values of one name need two spellings of it.
        (allow("kms:Decrypt", r#""ForAnyValue:StringEquals":{"kms:EncryptionContext:job":"a"},"StringEquals":{"kms:EncryptionContext:job":"b"}"#), &["un-attested Decrypt 1"]),
        (allow("kms:Decrypt", r#""ForAnyValue:StringEquals":{"kms:EncryptionContext:job":"a"},"StringEquals":{"kms:EncryptionContext:job":"b"},"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":"job"}"#), &[]),
        (allow("kms:Decrypt", r#""Null":{"kms:EncryptionContextKeys":"true"}"#), &["un-attested Decrypt 1"]),
        (allow("kms:Decrypt", r#""Null":{"kms:EncryptionContextKeys":"false","kms:EncryptionContext:a":"true"}"#), &["un-attested Decrypt 1"]),
        (allow("kms:GenerateDataKey", r#""StringEquals":{"aws:ResourceTag/team":"x"}"#), &["un-attested GenerateDataKey 1"]),
        (allow("kms:Decrypt", r#""IpAddress":{"aws:SourceIp":"203.0.113.0/24"},"NotIpAddress":{"aws:SourceIp":"203.0.113.0/25"}"#), &["un-attested Decrypt 1"]),
        (allow("kms:Decrypt", r#""IpAddress":{"aws:SourceIp":"203.0.113.0/25"},"NotIpAddress":{"aws:SourceIp":"203.0.113.0/24"}"#), &[]),
        (allow("kms:Decrypt", r#""DateGreaterThan":{"aws:CurrentTime":"2030-01-01T00:00:00Z"},"DateLessThan":{"aws:CurrentTime":"2030-01-01T00:00:02Z"}"#), &["un-attested Decrypt 1"]),
        (allow("kms:Decrypt", r#""DateGreaterThan":{"aws:CurrentTime":"2030-01-01T00:00:00Z"},"NumericLessThan":{"aws:EpochTime":"1893456000"}"#), &[]),
        (allow("kms:ReEncryptFrom", r#""Bool":{"kms:ReEncryptOnSameKey":"true"}"#), &[]),
        (allow("kms:ReEncryptFrom", r#""Bool":{"kms:ReEncryptOnSameKey":"false"}"#), &["un-attested ReEncryptFrom 1"]),
        (allow("kms:Decrypt", r#""StringEquals":{"kms:RequestAlias":"alias/input"}"#), &["un-attested Decrypt 1"]),
        (allow("kms:Decrypt", r#""StringEquals":{"kms:ResourceAliases":"alias/input"}"#), &[]),
        (allow("kms:PutKeyPolicy", r#""Bool":{"kms:BypassPolicyLockoutSafetyCheck":"true"}"#), &["un-attested PutKeyPolicy 1"]),
        (allow("kms:ReplicateKey", r#""Bool":{"kms:BypassPolicyLockoutSafetyCheck":"true"}"#), &["un-attested ReplicateKey 1"]),
        // Grants: only what can be passed on counts, and only to the right grantee.
        (allow("kms:CreateGrant", r#""ForAllValues:StringEquals":{"kms:GrantOperations":["Verify","DescribeKey"]}"#), &[]),
        (allow("kms:CreateGrant", r#""ForAllValues:StringEquals":{"kms:GrantOperations":["Encrypt","DescribeKey"]}"#), &["un-attested CreateGrant 1"]),
        (allow("kms:CreateGrant", r#""ForAllValues:StringEquals":{"kms:GrantOperations":["Encrypt","Decrypt"]}"#), &["un-attested CreateGrant 1"]),
        (allow("kms:CreateGrant", r#""ForAnyValue:StringEquals":{"kms:GrantOperations":"Encrypt"}"#), &["un-attested CreateGrant 1"]),
        (allow("kms:CreateGrant", r#""StringEquals":{"kms:GrantConstraintType":"EncryptionContextEquals"}"#), &["un-attested CreateGrant 1"]),
        (allow("kms:CreateGrant", r#""ArnLike":{"kms:GranteePrincipal":"arn:aws:iam::*:role/special-*"}"#), &["un-attested CreateGrant 1"]),
        // A Deny for everybody stops what the grant allows; it must cover it all.
        (format!(r#"{},{{"Effect":"Deny","Principal":"*","Action":["kms:Decrypt","kms:Encrypt","kms:ReEncrypt*","kms:Generate*","kms:DeriveSharedSecret","kms:Sign","kms:Decapsulate"],"Resource":"*","Condition":{{"StringNotEquals":{{"kms:RecipientAttestation:PCR0":"{pcr}"}}}}}}"#, allow("kms:CreateGrant", "")), &[]),
        (format!(r#"{},{{"Effect":"Deny","Principal":{{"AWS":"{ROLE}"}},"Action":"kms:*Re*crypt*","Resource":"*"}}"#, allow("kms:CreateGrant", "")), &["un-attested CreateGrant 1"]),
        // Registers by pattern, by absence and by length.
        (allow("kms:Decrypt", r#""StringLike":{"kms:RecipientAttestation:PCR0":"ab*"}"#), &["other-image Decrypt 1"]),
        (allow("kms:Decrypt", r#""StringLike":{"kms:RecipientAttestation:PCR0":"00*"}"#), &["debug-mode Decrypt 1", "other-image Decrypt 1"]),
        (allow("kms:Decrypt", r#""StringLike":{"kms:RecipientAttestation:PCR0":"0x*"}"#), &[]),
        (allow("kms:Decrypt", &format!(r#""StringNotEquals":{{"kms:RecipientAttestation:PCR0":"{pcr}"}},"Null":{{"kms:RecipientAttestation:PCR0":"false"}}"#)), &["debug-mode Decrypt 1", "other-image Decrypt 1"]),
        (allow("kms:Decrypt", &format!(r#""StringEqualsIfExists":{{"kms:RecipientAttestation:PCR0":"{pcr}"}}"#)), &["un-attested Decrypt 1"]),
        (allow("kms:Decrypt", r#""Null":{"kms:RecipientAttestation:PCR0":"false"}"#), &["debug-mode Decrypt 1", "other-image Decrypt 1"]),
        (allow("kms:Decrypt", &format!(r#""StringEquals":{{"kms:RecipientAttestation:PCR0":"{}"}}"#, pcr.to_uppercase())), &[]),
        (allow("kms:Decrypt", r#""Null":{"kms:RecipientAttestation":"false"}"#), &[]),
        (allow("kms:Decrypt", r#""Null":{"kms:RecipientAttestation":"true"}"#), &["un-attested Decrypt 1"]),
        (allow("kms:Decrypt", &format!(r#""StringEquals":{{"kms:RecipientAttestation:NitroTPMPCR4":"{pcr}"}}"#)), &[]),
        (allow("kms:Decrypt", r#""Null":{"kms:RecipientAttestation:NitroTPMPCR4":"false"}"#), &["nitrotpm Decrypt 1"]),
        // What only AWS can present is a path, too.
        (allow("kms:Decrypt", r#""StringLike":{"kms:ViaService":"s3.*"}"#), &["un-attested Decrypt 1"]),
        (allow("kms:Decrypt", r#""StringEquals":{"aws:PrincipalTag/team":"x"}"#), &["un-attested Decrypt 1"]),
        // Principals by pattern.
        (r#"{"Effect":"Allow","Principal":"*","Action":"kms:Decrypt","Resource":"*","Condition":{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::999988887777:role/b?-*"}}}"#.to_owned(), &["un-attested Decrypt 1"]),
        (r#"{"Effect":"Allow","Principal":"*","Action":"kms:Decrypt","Resource":"*","Condition":{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::99:role/b"}}}"#.to_owned(), &[]),
        (r#"{"Effect":"Allow","Principal":"*","Action":"kms:Decrypt","Resource":"*","Condition":{"StringLike":{"kms:CallerAccount":"12*"},"StringNotLike":{"kms:CallerAccount":"123*"}}}"#.to_owned(), &["un-attested Decrypt 1"]),
        (r#"{"Effect":"Allow","Principal":"*","Action":"kms:Decrypt","Resource":"*","Condition":{"StringEquals":{"aws:username":"alice","kms:EncryptionContext:user":"${aws:username}"}}}"#.to_owned(), &["un-attested Decrypt 1"]),
        // Keys by ARN.
        (format!(r#"{{"Effect":"Allow","Principal":{{"AWS":"{ROLE}"}},"Action":"kms:Decrypt","Resource":"arn:aws:kms:eu-west-1:{OWNER}:key/abc"}}"#), &["un-attested Decrypt 1"]),
        (format!(r#"{{"Effect":"Allow","Principal":{{"AWS":"{ROLE}"}},"Action":"kms:Decrypt","Resource":"arn:aws:kms:eu-west-1:{OWNER}:alias/abc"}}"#), &[]),
        (format!(r#"{{"Effect":"Allow","Principal":{{"AWS":"{ROLE}"}},"Action":"kms:Decrypt"}}"#), &[]),
    ];
    let mut calls = 0;
    let mut wrong = Vec::new();
    for (statements, wanted) in table {
        let proof = checked(&Claim::about(policy(&statements)), &mut calls);
        let found = summary(&proof);
        if found != wanted || !proof.undecided.is_empty() {
            let gaps = &proof.undecided;
            wrong.push(format!("{statements}: {found:?}, not {wanted:?}; {gaps:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("{calls} calls of witnesses were answered by KMS");
    assert!(calls > 20, "{calls}");
}

#[test]
fn what_cannot_be_searched_is_never_called_closed() {
    let keys: Vec<String> = (0..14)
        .map(|n| format!(r#""aws:ResourceTag/t{n}":["a"]"#))
        .collect();
    let deny = r#"{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}"#;
    for statements in [
        allow(
            "kms:Decrypt",
            r#""StringEquals":{"kms:EncryptionContext:a":"${kms:EncryptionContext:b}"}"#,
        ),
        allow("kms:Decrypt", r#""StringLike":{"aws:CurrentTime":"2026*"}"#),
        allow(
            "kms:Decrypt",
            r#""StringEquals":{"aws:ResourceTag/a":"1"},"NumericLessThan":{"aws:ResourceTag/a":"1"}"#,
        ),
        format!(
            "{},{deny}",
            allow(
                "kms:Decrypt",
                &format!(
                    r#""StringEquals":{{{}}},"StringNotEquals":{{{}}}"#,
                    keys.join(","),
                    keys.join(",").replace("\"a\"", "\"b\"")
                )
            )
        ),
    ] {
        let proof = prove(&Claim::about(policy(&statements))).unwrap();
        assert_eq!(proof.verdict(), Verdict::Undecided, "{statements}");
        assert!(!proof.undecided[0].why.to_string().is_empty());
    }
}

#[test]
fn claims_that_make_no_sense_are_refused() {
    let claim = |change: fn(&mut Claim)| {
        let mut claim = Claim::about(policy(&allow("kms:Decrypt", "")));
        change(&mut claim);
        prove(&claim).unwrap_err()
    };
    assert!(matches!(
        claim(|c| c.principals = vec!["data-processing".into()]),
        ClaimError::Principal { .. }
    ));
    assert!(matches!(
        claim(|c| c.expected_pcr0 = vec!["0xab".into()]),
        ClaimError::Pcr0 { .. }
    ));
    assert_eq!(
        claim(|c| c.expected_pcr0 = vec!["0".repeat(96)]),
        ClaimError::DebugPcr0
    );
    assert!(matches!(
        claim(|c| c.account = Some("12".into())),
        ClaimError::Account { .. }
    ));
    assert!(matches!(
        claim(|c| c.key_arn = Some("key".into())),
        ClaimError::KeyArn { .. }
    ));
    assert_eq!(
        claim(|c| c.identity_policies = Some(vec![])),
        ClaimError::PoliciesWithoutPrincipals
    );
    assert_eq!(
        claim(|c| c.boundary = Some(iam(r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#))),
        ClaimError::PoliciesWithoutPrincipals
    );
}

#[test]
fn a_boundary_closes_what_it_does_not_allow_unless_the_key_policy_names_the_caller_itself() {
    let no_decrypt = r#"{"Effect":"Allow","NotAction":["kms:Decrypt","kms:ReEncrypt*","kms:GenerateDataKey*","kms:CreateGrant","kms:PutKeyPolicy","kms:ReplicateKey","kms:DeriveSharedSecret","kms:Sign","kms:GenerateMac","kms:Decapsulate","kms:Encrypt","kms:ImportKeyMaterial","kms:UpdateAlias","kms:DeleteAlias"],"Resource":"*"}"#;
    let verdict = |principal: &str, asked: &str, boundary: Option<&str>| {
        let statement = format!(
            r#"{{"Effect":"Allow","Principal":{{"AWS":"{principal}"}},"Action":"kms:*","Resource":"*"}}"#
        );
        let mut claim = Claim::about(policy(&statement));
        claim.principals = vec![asked.to_owned()];
        claim.account = Some(OWNER.to_owned());
        claim.boundary = boundary.map(iam);
        prove(&claim).unwrap().verdict()
    };
    let user = "arn:aws:iam::111122223333:user/alice";
    for (principal, asked, verdict_within) in [
        (ROLE, ROLE, Verdict::Closed),
        (OWNER, ROLE, Verdict::Closed),
        (OWNER, user, Verdict::Closed),
        (user, user, Verdict::Open),
        ("*", ROLE, Verdict::Open),
    ] {
        assert_eq!(
            verdict(principal, asked, None),
            Verdict::Open,
            "{principal}"
        );
        let within = verdict(principal, asked, Some(no_decrypt));
        assert_eq!(within, verdict_within, "{principal} {asked}");
    }
}

#[test]
fn federated_users_and_tags_of_principals_are_paths_too() {
    let bob = "arn:aws:sts::111122223333:federated-user/bob";
    let statement = format!(
        r#"{{"Effect":"Allow","Principal":{{"AWS":"{bob}"}},"Action":"kms:Decrypt","Resource":"*"}}"#
    );
    let key_policy = policy(&statement);
    let proof = prove(&Claim::about(Arc::clone(&key_policy))).unwrap();
    assert_eq!(summary(&proof), ["un-attested Decrypt 1"]);
    assert_eq!(proof.findings[0].witness().principal.arn(), bob);

    // Nobody but federated users has such an ARN or is of that type.
    for condition in [
        r#""StringNotLike":{"aws:PrincipalArn":"arn:aws:iam::*"}"#,
        r#""StringLike":{"aws:PrincipalArn":"arn:aws:sts::111122223333:federated-user/a*"}"#,
        r#""StringEquals":{"aws:PrincipalType":"FederatedUser","aws:PrincipalAccount":"111122223333"}"#,
    ] {
        let only = policy(&format!(
            r#"{{"Effect":"Allow","Principal":"*","Action":"kms:Decrypt","Resource":"*","Condition":{{{condition}}}}}"#
        ));
        let proof = prove(&Claim::about(only)).unwrap();
        assert_eq!(summary(&proof), ["un-attested Decrypt 1"], "{condition}");
    }

    let tagged = policy(
        r#"{"Effect":"Allow","Principal":"*","Action":"kms:Decrypt","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/Team":"imaging","aws:PrincipalAccount":"111122223333"}}}"#,
    );
    let proof = prove(&Claim::about(Arc::clone(&tagged))).unwrap();
    assert_eq!(proof.verdict(), Verdict::Open);
    let text = proof.to_json()["findings"][0]["witness"].to_string();
    assert!(
        text.contains(r#""principalTags":{"team":"imaging"}"#),
        "{text}"
    );
    let read: Question = serde_json::from_str(&text).unwrap();
    assert!(read.decide(&tagged, &[]).is_allowed());
}

#[test]
fn a_witness_is_a_request_that_explain_reads() {
    let statements = allow(
        "kms:Decrypt",
        r#""StringLike":{"kms:RecipientAttestation:PCR0":"ab*","kms:EncryptionContext:job":"7"}"#,
    );
    let key_policy = policy(&statements);
    let proof = prove(&Claim::about(Arc::clone(&key_policy))).unwrap();
    let text = proof.to_json()["findings"][0]["witness"].to_string();
    let read: Question = serde_json::from_str(&text).unwrap();
    assert!(read.decide(&key_policy, &[]).is_allowed(), "{text}");
    assert_eq!(serde_json::to_value(&read).unwrap().to_string(), text);
    for wrong in [
        text.replace("arn:aws:iam::", "arn:"),
        text.replace("arn:aws:kms:", "kms:"),
        text.replace("\"recipient\"", "\"receiver\""),
        text.replacen("\"0\":\"ab", "\"0\":\"xy", 1),
        text.replace("2026-01-01T00:00:00Z", "yesterday"),
    ] {
        assert!(serde_json::from_str::<Question>(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_session_that_is_allowed_may_be_of_a_role_with_a_path_that_no_deny_names() {
    let session = format!("arn:aws:sts::{OWNER}:assumed-role/worker/s");
    let statement = |effect: &str, principal: &str| {
        format!(
            r#"{{"Effect":"{effect}","Principal":{{"AWS":"{principal}"}},"Action":"kms:Decrypt","Resource":"*"}}"#
        )
    };
    let denied = |role: &str| {
        let deny = statement("Deny", &format!("arn:aws:iam::{OWNER}:role/{role}"));
        let key_policy = policy(&format!("{},{deny}", statement("Allow", &session)));
        prove(&Claim::about(key_policy)).unwrap().verdict()
    };
    assert_eq!(denied("worker"), Verdict::Open);
    assert_eq!(denied("other"), Verdict::Open);
    let deny = statement("Deny", &session);
    let key_policy = policy(&format!("{},{deny}", statement("Allow", &session)));
    let proof = prove(&Claim::about(key_policy)).unwrap();
    assert_eq!(proof.verdict(), Verdict::Closed);
}

//! The rules of a decision one by one.

mod examples;
mod principals;
mod real_policies;

use std::sync::Arc;

use nsm_sim::clock::UnixMillis;

use super::*;
use crate::{recipient::VerifiedDocument, world::principal::Principal};

const OWNER: &str = "111122223333";
const OTHER: &str = "444455556666";
const KEY_ARN: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn session(account: &str, role: &str) -> Caller {
    Caller::new(Principal::AssumedRole {
        account: account.into(),
        role_path_name: role.into(),
        session: "s".into(),
    })
}

fn root(account: &str) -> Caller {
    Caller::new(Principal::Root {
        account: account.into(),
    })
}

fn with_iam(mut caller: Caller, action: &str) -> Caller {
    caller.identity_policies.push(iam("Allow", action));
    caller
}

fn iam(effect: &str, action: &str) -> Arc<Policy> {
    let text = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"{effect}","Action":"{action}","Resource":"*"}}]}}"#
    );
    Arc::new(Policy::parse(&text, PolicyKind::Identity).unwrap())
}

fn document(pcrs: &[(u8, &str)]) -> VerifiedDocument {
    VerifiedDocument {
        module_id: "i-0-enc0".into(),
        timestamp: UnixMillis(0),
        pcrs: pcrs
            .iter()
            .map(|(n, v)| (*n, hex::decode(v).unwrap()))
            .collect(),
        nitrotpm: false,
        public_key: None,
    }
}

struct Ask<'a> {
    policy: &'a Arc<Policy>,
    caller: &'a Caller,
    action: &'a str,
    recipient: Option<&'a VerifiedDocument>,
    grants: Vec<Arc<Grant>>,
    context: Option<EncryptionContext>,
}

impl<'a> Ask<'a> {
    fn new(policy: &'a Arc<Policy>, caller: &'a Caller, action: &'a str) -> Self {
        Self {
            policy,
            caller,
            action,
            recipient: None,
            grants: Vec::new(),
            context: None,
        }
    }

    fn attested(self, recipient: &'a VerifiedDocument) -> Self {
        Self {
            recipient: Some(recipient),
            ..self
        }
    }

    fn decide(self) -> Decision {
        let tags = [("team".to_owned(), "radiology".to_owned())].into();
        let aliases = ["alias/input".into()];
        let facts = Facts {
            recipient: self.recipient,
            encryption_context: self.context.as_ref(),
            encryption_algorithm: Some("SYMMETRIC_DEFAULT"),
            request_alias: Some("alias/input"),
            ..Facts::default()
        };
        let request = Request {
            caller: self.caller,
            action: self.action,
            resource: Resource::Key(KeyFacts {
                arn: KEY_ARN,
                account: OWNER,
                region: "us-east-1",
                spec: "SYMMETRIC_DEFAULT",
                usage: "ENCRYPT_DECRYPT",
                origin: "AWS_KMS",
                multi_region_type: None,
                aliases: &aliases,
                tags: &tags,
            }),
            facts: &facts,
            now: UnixMillis(1_767_225_600_000),
        };
        decide(&request, Some(self.policy), || self.grants)
    }

    fn outcome(self) -> Outcome {
        self.decide().outcome
    }
}

const BY_KEY_POLICY: Outcome = Outcome::Allowed(AllowedBy::KeyPolicy);
const NO_RESOURCE: Outcome = Outcome::Denied(Denial::NoResourcePolicy);
const NO_IDENTITY: Outcome = Outcome::Denied(Denial::NoIdentityPolicy);
const EXPLICIT: Outcome = Outcome::Denied(Denial::ExplicitDeny(PolicySource::Resource));
const HIDDEN: Outcome = Outcome::Denied(Denial::OtherAccount);

fn key_policy(statements: &str) -> Arc<Policy> {
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    Arc::new(Policy::parse(&text, PolicyKind::Key).unwrap())
}

fn allow(principal: &str) -> String {
    format!(
        r#"{{"Effect":"Allow","Principal":{{"AWS":"{principal}"}},"Action":"kms:*","Resource":"*"}}"#
    )
}

#[test]
fn tags_of_the_principal_and_its_other_keys_are_compared_and_stand_in_for_variables() {
    let delegated = key_policy(&allow("111122223333"));
    let outcome = |caller: &Caller, condition: &str| {
        let mut caller = caller.clone();
        let text = format!(
            r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":"kms:*","Resource":"*","Condition":{condition}}}}}"#
        );
        let policy = Policy::parse(&text, PolicyKind::Identity).unwrap();
        caller.identity_policies.push(Arc::new(policy));
        Ask::new(&delegated, &caller, "kms:Encrypt")
            .decide()
            .is_allowed()
    };
    let mut caller = session(OWNER, "R");
    let team = r#"{"StringEquals":{"aws:PrincipalTag/TEAM":"radiology"}}"#;
    let same = r#"{"StringEquals":{"aws:ResourceTag/team":"${aws:PrincipalTag/team}"}}"#;
    for condition in [team, same] {
        assert!(!outcome(&caller, condition), "no tag yet: {condition}");
    }
    caller.tags.insert("Team".into(), "radiology".into());
    for condition in [team, same] {
        assert!(outcome(&caller, condition), "{condition}");
    }
    caller.tags.insert("Team".into(), "*".into());
    for condition in [team, same] {
        assert!(!outcome(&caller, condition), "{condition}");
    }

    for (key, value, other) in [
        ("aws:userid", "AROA:s", "AROA:t"),
        ("aws:SourceIdentity", "dana", "eve"),
        (
            "aws:TokenIssueTime",
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:01Z",
        ),
    ] {
        let operator = if key.ends_with("Time") {
            "DateEquals"
        } else {
            "StringEquals"
        };
        let condition = |value: &str| format!(r#"{{"{operator}":{{"{key}":"{value}"}}}}"#);
        assert!(!outcome(&session(OWNER, "R"), &condition(value)), "{key}");
        let mut caller = session(OWNER, "R");
        caller.user_id = Some("AROA:s".into());
        caller.source_identity = Some("dana".into());
        caller.token_issued = Some(UnixMillis(1_767_225_600_000));
        assert!(outcome(&caller, &condition(value)), "{key}");
        assert!(!outcome(&caller, &condition(other)), "{key}");
    }
    // Nobody has a second factor: sessions say so, long-term credentials do not.
    let without = r#"{"Bool":{"aws:MultiFactorAuthPresent":"false"}}"#;
    let mut session = session(OWNER, "R");
    assert!(!outcome(&session, without));
    session.token_issued = Some(UnixMillis(0));
    assert!(outcome(&session, without));
}

#[test]
fn statements_without_effect_and_not_elements_are_understood() {
    let caller = session(OWNER, "R");
    for (statement, wanted) in [
        (
            r#"{"Effect":"Allow","Principal":"*","Resource":"*"}"#,
            NO_RESOURCE,
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"kms:*"}"#,
            NO_RESOURCE,
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","NotAction":"kms:Decrypt","Resource":"*"}"#,
            BY_KEY_POLICY,
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","NotAction":"kms:Enc*","Resource":"*"}"#,
            NO_RESOURCE,
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"*","NotResource":"arn:aws:kms:*:*:key/*"}"#,
            NO_RESOURCE,
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"*","Resource":"arn:aws:kms:*:111122223333:key/*"}"#,
            BY_KEY_POLICY,
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"*","Resource":"arn:aws:kms:*:*:alias/*"}"#,
            NO_RESOURCE,
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"},{"Effect":"Deny","NotPrincipal":{"AWS":"arn:aws:iam::111122223333:role/X"},"Action":"*","Resource":"*"}"#,
            EXPLICIT,
        ),
    ] {
        let policy = key_policy(statement);
        assert_eq!(
            Ask::new(&policy, &caller, "kms:Encrypt").outcome(),
            wanted,
            "{statement}"
        );
    }
}

#[test]
fn condition_keys_of_key_and_call_are_presented() {
    let mut caller = session(OWNER, "R");
    caller.source_ip = Some("192.0.2.7".parse().unwrap());
    let context: EncryptionContext = [
        ("Study".to_owned(), "X1".to_owned()),
        ("job".to_owned(), "7".to_owned()),
    ]
    .into();
    for (condition, holds) in [
        (
            r#""StringEquals":{"kms:EncryptionContext:study":"X1"}"#,
            true,
        ),
        (
            r#""StringEquals":{"kms:EncryptionContext:STUDY":"x1"}"#,
            false,
        ),
        (
            r#""ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["Study","job"]}"#,
            true,
        ),
        (
            r#""ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["study","job"]}"#,
            false,
        ),
        (
            r#""ForAnyValue:StringEquals":{"kms:EncryptionContextKeys":"job"}"#,
            true,
        ),
        (
            r#""StringEquals":{"kms:CallerAccount":"111122223333"}"#,
            true,
        ),
        (r#""StringEquals":{"kms:RequestAlias":"alias/input"}"#, true),
        (
            r#""ForAnyValue:StringEquals":{"kms:ResourceAliases":"alias/input"}"#,
            false,
        ),
        (
            r#""StringEquals":{"kms:KeySpec":"SYMMETRIC_DEFAULT","kms:KeyUsage":"ENCRYPT_DECRYPT","kms:KeyOrigin":"AWS_KMS"}"#,
            true,
        ),
        (r#""Bool":{"kms:MultiRegion":false}"#, true),
        (
            r#""StringEquals":{"kms:EncryptionAlgorithm":"SYMMETRIC_DEFAULT"}"#,
            true,
        ),
        (
            r#""StringEquals":{"aws:ResourceTag/Team":"radiology"}"#,
            true,
        ),
        (
            r#""StringEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:role/R"}"#,
            true,
        ),
        (
            r#""ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/*"}"#,
            true,
        ),
        (
            r#""StringEquals":{"aws:PrincipalAccount":"${kms:CallerAccount}"}"#,
            true,
        ),
        (r#""IpAddress":{"aws:SourceIp":"192.0.2.0/24"}"#, true),
        (r#""Bool":{"aws:SecureTransport":"true"}"#, true),
        (
            r#""DateGreaterThan":{"aws:CurrentTime":"2025-12-31T23:59:59Z"}"#,
            true,
        ),
        (r#""NumericEquals":{"aws:EpochTime":1767225600}"#, true),
        // There is no such key: Null is true for every call, attested or not.
        (r#""Null":{"kms:RecipientAttestation":"true"}"#, true),
        (r#""Null":{"kms:RecipientAttestation:PCR0":"false"}"#, false),
        (
            r#""StringEquals":{"kms:ViaService":"s3.us-east-1.amazonaws.com"}"#,
            false,
        ),
    ] {
        let policy = key_policy(&format!(
            r#"{{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*","Condition":{{{condition}}}}}"#
        ));
        let ask = Ask {
            context: Some(context.clone()),
            ..Ask::new(&policy, &caller, "kms:Encrypt")
        };
        assert_eq!(ask.decide().is_allowed(), holds, "{condition}");
    }
}

#[test]
fn registers_are_lower_case_hex_and_nitrotpm_registers_have_their_own_keys() {
    let caller = session(OWNER, "R");
    let pcr = "ab".repeat(48);
    let enclave = document(&[(0, &pcr), (4, &pcr)]);
    let tpm = VerifiedDocument {
        nitrotpm: true,
        ..enclave.clone()
    };
    for (key, operator, value, document, holds) in [
        ("PCR0", "StringEquals", pcr.clone(), &enclave, true),
        ("PCR0", "StringEquals", pcr.to_uppercase(), &enclave, false),
        (
            "PCR0",
            "StringEqualsIgnoreCase",
            pcr.to_uppercase(),
            &enclave,
            true,
        ),
        (
            "PCR0",
            "StringEqualsIgnoreCase",
            format!("0x{pcr}"),
            &enclave,
            false,
        ),
        (
            "ImageSha384",
            "StringEqualsIgnoreCase",
            pcr.clone(),
            &tpm,
            false,
        ),
        ("PCR4", "StringEqualsIgnoreCase", pcr.clone(), &tpm, false),
        (
            "NitroTPMPCR4",
            "StringEqualsIgnoreCase",
            pcr.clone(),
            &tpm,
            true,
        ),
        (
            "NitroTPMPCR4",
            "StringEqualsIgnoreCase",
            pcr.clone(),
            &enclave,
            false,
        ),
        (
            "NitroTPMPCR7",
            "StringEqualsIgnoreCase",
            pcr.clone(),
            &tpm,
            false,
        ),
    ] {
        let policy = key_policy(&format!(
            r#"{{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*","Condition":{{"{operator}":{{"kms:RecipientAttestation:{key}":"{value}"}}}}}}"#
        ));
        let decision = Ask::new(&policy, &caller, "kms:Decrypt")
            .attested(document)
            .decide();
        assert_eq!(decision.is_allowed(), holds, "{key} {operator} {value}");
    }
}

#[test]
fn a_trust_policy_is_decided_by_the_same_function() {
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/app"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"x"}}}]}"#;
    let trust = Arc::new(Policy::parse(trust, PolicyKind::Trust).unwrap());
    for (role, external_id, allowed) in [
        ("app", "x", true),
        ("app", "y", false),
        ("other", "x", false),
    ] {
        let caller = session(OWNER, role);
        let others = [("sts:externalid", external_id)];
        let request = Request {
            caller: &caller,
            action: "sts:AssumeRole",
            resource: Resource::Other {
                arn: "arn:aws:iam::111122223333:role/target",
                account: OWNER,
            },
            facts: &Facts {
                others: &others,
                ..Facts::default()
            },
            now: UnixMillis(0),
        };
        let decision = decide(&request, Some(&trust), Vec::new);
        assert_eq!(decision.is_allowed(), allowed, "{role} {external_id}");
    }
}

fn grant(grantee: &str, operations: &[&'static str], constraint: Option<Constraint>) -> Arc<Grant> {
    Arc::new(Grant {
        id: "g".into(),
        name: None,
        grantee: grantee.into(),
        retiring: None,
        operations: operations.to_vec(),
        constraint,
        issuing_account: String::new(),
        created: UnixMillis(0),
        source_arn: None,
        grantee_id: None,
        retiring_id: None,
    })
}

#[test]
fn a_grant_opens_a_key_within_its_operations_and_context_but_not_against_a_deny() {
    let closed = key_policy(&allow("arn:aws:iam::111122223333:role/Other"));
    let caller = session(OWNER, "R");
    let by_grant = Outcome::Allowed(AllowedBy::Grant {
        grant_id: "g".into(),
    });
    let pairs: EncryptionContext = [("a".to_owned(), "1".to_owned())].into();
    let more: EncryptionContext = [
        ("a".to_owned(), "1".to_owned()),
        ("b".to_owned(), "2".to_owned()),
    ]
    .into();
    let role = "arn:aws:iam::111122223333:role/R";
    let equals = Some(Constraint::Equals(pairs.clone()));
    let subset = Some(Constraint::Subset(pairs.clone()));
    for (grant, action, context, wanted) in [
        (
            grant(role, &["Decrypt"], None),
            "kms:Decrypt",
            &pairs,
            &by_grant,
        ),
        (
            grant(role, &["Decrypt"], None),
            "kms:Encrypt",
            &pairs,
            &NO_RESOURCE,
        ),
        (
            grant("arn:aws:iam::111122223333:role/X", &["Decrypt"], None),
            "kms:Decrypt",
            &pairs,
            &NO_RESOURCE,
        ),
        (
            grant(role, &["Decrypt"], equals.clone()),
            "kms:Decrypt",
            &pairs,
            &by_grant,
        ),
        (
            grant(role, &["Decrypt"], equals),
            "kms:Decrypt",
            &more,
            &NO_RESOURCE,
        ),
        (
            grant(role, &["Decrypt"], subset.clone()),
            "kms:Decrypt",
            &more,
            &by_grant,
        ),
        (
            grant(role, &["Decrypt"], subset),
            "kms:Decrypt",
            &EncryptionContext::new(),
            &NO_RESOURCE,
        ),
        (
            grant("arn:aws:iam::111122223333:root", &["Decrypt"], None),
            "kms:Decrypt",
            &pairs,
            &NO_RESOURCE,
        ),
    ] {
        let ask = Ask {
            grants: vec![grant],
            context: Some(context.clone()),
            ..Ask::new(&closed, &caller, action)
        };
        assert_eq!(&ask.outcome(), wanted, "{action} {context:?}");
    }
    let deny = key_policy(
        r#"{"Effect":"Deny","Principal":"*","Action":"kms:Decrypt","Resource":"*","Condition":{"StringNotEquals":{"kms:RecipientAttestation:PCR0":"x"}}}"#,
    );
    let ask = Ask {
        grants: vec![grant(role, &["Decrypt"], None)],
        ..Ask::new(&deny, &caller, "kms:Decrypt")
    };
    assert_eq!(ask.outcome(), EXPLICIT);
}

#[test]
fn a_decision_explains_itself_down_to_the_condition() {
    let zeros = "0".repeat(96);
    let pcr = "ab".repeat(48);
    let policy = key_policy(&format!(
        r#"{{"Sid":"enclave","Effect":"Allow","Principal":"*","Action":"kms:Decrypt","Resource":"*","Condition":{{"StringEqualsIgnoreCase":{{"kms:RecipientAttestation:PCR0":"{pcr}"}}}}}}"#
    ));
    let caller = session(OWNER, "R");
    let debug = document(&[(0, &zeros)]);
    let decision = Ask::new(&policy, &caller, "kms:Decrypt")
        .attested(&debug)
        .decide();
    assert!(
        decision.remarks()[0].contains("debug mode"),
        "{:?}",
        decision.remarks()
    );
    let json = decision.to_json();
    assert_eq!(json["allowed"], false);
    let statement = &json["policies"][0]["statements"][0];
    assert_eq!(statement["sid"], "enclave");
    assert_eq!(statement["conditions"][0]["expected"][0], pcr.as_str());
    assert_eq!(statement["conditions"][0]["presented"][0], zeros.as_str());
    assert_eq!(statement["conditions"][0]["satisfied"], false);
    let absent = Ask::new(&policy, &caller, "kms:Decrypt").decide();
    assert!(
        absent.remarks()[0].contains("absent"),
        "{:?}",
        absent.remarks()
    );
    assert_eq!(
        absent.to_json()["policies"][0]["statements"][0]["conditions"][0]["presented"],
        serde_json::Value::Null
    );
}

#[test]
fn a_decision_remarks_that_another_statement_makes_the_attestation_condition_irrelevant() {
    let pcr = "ab".repeat(48);
    let policy = key_policy(&format!(
        r#"{},{{"Effect":"Allow","Principal":"*","Action":"kms:Decrypt","Resource":"*","Condition":{{"StringEqualsIgnoreCase":{{"kms:RecipientAttestation:PCR0":"{pcr}"}}}}}}"#,
        allow("arn:aws:iam::111122223333:role/R")
    ));
    let caller = session(OWNER, "R");
    let decision = Ask::new(&policy, &caller, "kms:Decrypt").decide();
    assert!(decision.is_allowed());
    assert!(
        decision
            .remarks()
            .iter()
            .any(|remark| remark.contains("irrelevant")),
        "{:?}",
        decision.remarks()
    );
}

#[test]
fn prefixes_and_upper_case_that_never_match_are_remarked() {
    let upper = "AB".repeat(48);
    let policy = key_policy(&format!(
        r#"{{"Effect":"Allow","Principal":"*","Action":"kms:Decrypt","Resource":"*","Condition":{{"StringEquals":{{"kms:RecipientAttestation:PCR0":["{upper}","0x{upper}"]}}}}}}"#
    ));
    let caller = session(OWNER, "R");
    let presented = document(&[(0, &upper)]);
    let decision = Ask::new(&policy, &caller, "kms:Decrypt")
        .attested(&presented)
        .decide();
    let remarks = decision.remarks().join("\n");
    assert!(
        remarks.contains("0x") && remarks.contains("upper-case"),
        "{remarks}"
    );
}

#[test]
fn a_refusal_remarks_on_a_key_that_aws_alone_can_present() {
    let caller = session(OWNER, "R");
    let open = allow("arn:aws:iam::111122223333:role/R");
    let deny = r#"{"Effect":"Deny","Principal":"*","Action":"kms:*","Resource":"*","Condition":{"StringNotEquals":{"aws:SourceVpce":"vpce-1"}}}"#;
    let remarks = |statements: &str| {
        let policy = key_policy(statements);
        Ask::new(&policy, &caller, "kms:Encrypt").decide().remarks()
    };
    assert_eq!(
        remarks(&format!("{open},{deny}")),
        ["aws:SourceVpce is absent: there is no VPC and no VPC endpoint here"]
    );
    assert!(remarks(&open).is_empty());
    // Only of what decided: not beside a Deny that needs nothing, nor of one that did
    // not apply.
    let plain = r#"{"Effect":"Deny","Principal":"*","Action":"kms:*","Resource":"*"}"#;
    assert!(remarks(&format!("{open},{deny},{plain}")).is_empty());
    let idle = deny.replace("StringNotEquals", "StringEquals");
    let other = r#"{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"kms:KeySpec":"RSA_2048"}}}"#;
    assert!(remarks(&format!("{idle},{other}")).is_empty());
}

#[test]
fn the_default_policy_allows_root_and_the_callers_that_iam_allows() {
    let policy = Arc::new(Policy::default_for_key(OWNER));
    assert!(
        Ask::new(&policy, &root(OWNER), "kms:PutKeyPolicy")
            .decide()
            .is_allowed()
    );
    assert_eq!(
        Ask::new(&policy, &session(OWNER, "R"), "kms:Encrypt").outcome(),
        NO_IDENTITY
    );
    let allowed = with_iam(session(OWNER, "R"), "kms:Encrypt");
    assert!(
        Ask::new(&policy, &allowed, "kms:Encrypt")
            .decide()
            .is_allowed()
    );
    assert_eq!(
        Ask::new(&policy, &root(OTHER), "kms:Encrypt").outcome(),
        HIDDEN
    );
}

//! The fourteen real policies with the trap of each, and the rules of a
//! decision one by one.

use std::sync::Arc;

use nsm_sim::clock::UnixMillis;

use super::*;
use crate::{
    principal::{Caller, Principal},
    recipient::{VerifiedDocument, tests::corpus},
};

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

fn real_policies() -> Option<Vec<Arc<Policy>>> {
    let folder = corpus("kms-policies")?;
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    names.sort();
    assert_eq!(names.len(), 14);
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let policy = Policy::parse(&json["policy"].to_string(), PolicyKind::Key);
        Arc::new(policy.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    };
    Some(names.iter().map(read).collect())
}

/// The expected hex value of a policy's condition key.
fn expected(policy: &Policy, key: &str) -> Vec<String> {
    let json: serde_json::Value = serde_json::from_str(policy.text()).unwrap();
    let mut found = Vec::new();
    for statement in json["Statement"].as_array().unwrap() {
        for operator in statement["Condition"]
            .as_object()
            .into_iter()
            .flat_map(|c| c.values())
        {
            match &operator[format!("kms:RecipientAttestation:{key}")] {
                serde_json::Value::String(text) => found.push(text.clone()),
                serde_json::Value::Array(items) => {
                    found.extend(items.iter().map(|i| i.as_str().unwrap().to_owned()));
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn the_fourteen_real_policies_decide_as_their_traps_say() {
    let Some(policies) = real_policies() else {
        return;
    };
    let [
        p01,
        p02,
        p03,
        p04,
        p05,
        p06,
        p07,
        p08,
        p09,
        p10,
        p11,
        p12,
        p13,
        p14,
    ] = policies.as_slice()
    else {
        panic!("fourteen policies");
    };
    let role = session(OWNER, "data-processing");
    let zeros = "0".repeat(96);
    let debug = document(&[(0, &zeros), (1, &zeros), (2, &zeros)]);
    let value = |policy: &Policy, key: &str| expected(policy, key).remove(0);

    // 01: three operations with ImageSha384, all of which can be attested.
    let image = value(p01, "ImageSha384");
    let good = document(&[(0, &image)]);
    for action in ["kms:Decrypt", "kms:GenerateDataKey"] {
        assert_eq!(
            Ask::new(p01, &role, action).attested(&good).outcome(),
            BY_KEY_POLICY
        );
        assert_eq!(Ask::new(p01, &role, action).outcome(), NO_RESOURCE);
        assert_eq!(
            Ask::new(p01, &role, action).attested(&debug).outcome(),
            NO_RESOURCE
        );
    }
    let other_role = session(OWNER, "data-processing2");
    assert_eq!(
        Ask::new(p01, &other_role, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        NO_RESOURCE
    );

    // 02: both registers of one operator block are needed.
    let (image, pcr3) = (value(p02, "ImageSha384"), value(p02, "PCR3"));
    let both = document(&[(0, &image), (3, &pcr3)]);
    let one = document(&[(0, &image), (3, &zeros)]);
    let absent = document(&[(0, &image)]);
    assert_eq!(
        Ask::new(p02, &role, "kms:Decrypt")
            .attested(&both)
            .outcome(),
        BY_KEY_POLICY
    );
    assert_eq!(
        Ask::new(p02, &role, "kms:Decrypt").attested(&one).outcome(),
        NO_RESOURCE
    );
    assert_eq!(
        Ask::new(p02, &role, "kms:Decrypt")
            .attested(&absent)
            .outcome(),
        NO_RESOURCE
    );

    // 03: zeros are matched by a debug enclave; Encrypt needs no enclave.
    assert_eq!(
        Ask::new(p03, &role, "kms:Decrypt")
            .attested(&debug)
            .outcome(),
        BY_KEY_POLICY
    );
    assert_eq!(Ask::new(p03, &role, "kms:Encrypt").outcome(), BY_KEY_POLICY);
    let admin = session(OWNER, "KMS-admin");
    assert_eq!(
        Ask::new(p03, &admin, "kms:PutKeyPolicy").outcome(),
        BY_KEY_POLICY
    );
    assert_eq!(Ask::new(p03, &admin, "kms:Decrypt").outcome(), NO_RESOURCE);

    // 04: the Deny hits who is not attested, since an absent key satisfies a
    // negated operator; ReEncrypt is the hole it leaves.
    let good = document(&[(0, &value(p04, "PCR0"))]);
    let anyone = with_iam(session(OWNER, "any"), "kms:*");
    assert_eq!(Ask::new(p04, &anyone, "kms:Decrypt").outcome(), EXPLICIT);
    assert_eq!(
        Ask::new(p04, &root(OWNER), "kms:Decrypt").outcome(),
        EXPLICIT
    );
    assert_eq!(
        Ask::new(p04, &anyone, "kms:Decrypt")
            .attested(&debug)
            .outcome(),
        EXPLICIT
    );
    let by_iam = Outcome::Allowed(AllowedBy::IdentityPolicy);
    assert_eq!(
        Ask::new(p04, &anyone, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        by_iam
    );
    assert_eq!(
        Ask::new(p04, &anyone, "kms:ReEncryptFrom").outcome(),
        by_iam
    );
    assert_eq!(
        Ask::new(p04, &role, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        NO_IDENTITY
    );

    // 05: another account, named by its number; IAM there must allow, and the
    // Deny is not told.
    let good = document(&[(0, &value(p05, "ImageSha384"))]);
    let stranger = session(OTHER, "enclave");
    let allowed = with_iam(stranger.clone(), "kms:Decrypt");
    assert_eq!(
        Ask::new(p05, &allowed, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        Outcome::Allowed(AllowedBy::CrossAccount)
    );
    assert_eq!(
        Ask::new(p05, &stranger, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        NO_IDENTITY
    );
    assert_eq!(Ask::new(p05, &allowed, "kms:Decrypt").outcome(), HIDDEN);
    assert_eq!(Ask::new(p05, &allowed, "kms:Encrypt").outcome(), HIDDEN);

    // 06: empty conditions are none; nobody may put a policy.
    assert_eq!(
        Ask::new(p06, &role, "kms:GetPublicKey").outcome(),
        BY_KEY_POLICY
    );
    assert_eq!(
        Ask::new(p06, &role, "kms:DeriveSharedSecret").outcome(),
        NO_RESOURCE
    );
    let good = document(&[(0, &value(p06, "PCR0"))]);
    assert_eq!(
        Ask::new(p06, &role, "kms:DeriveSharedSecret")
            .attested(&good)
            .outcome(),
        BY_KEY_POLICY
    );
    assert_eq!(
        Ask::new(p06, &root(OWNER), "kms:PutKeyPolicy").outcome(),
        NO_RESOURCE
    );

    // 07: PCR8 alone; operations without Recipient under it are dead.
    let good = document(&[(8, &value(p07, "PCR8"))]);
    assert_eq!(
        Ask::new(p07, &role, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        BY_KEY_POLICY
    );
    assert_eq!(Ask::new(p07, &role, "kms:Encrypt").outcome(), NO_RESOURCE);
    assert_eq!(
        Ask::new(p07, &role, "kms:GetKeyPolicy").outcome(),
        BY_KEY_POLICY
    );

    // 08: a list of two images, and the signer.
    let images = expected(p08, "PCR0");
    assert_eq!(images.len(), 2);
    let pcr8 = value(p08, "PCR8");
    for image in &images {
        let good = document(&[(0, image), (8, &pcr8)]);
        assert_eq!(
            Ask::new(p08, &role, "kms:Decrypt")
                .attested(&good)
                .outcome(),
            BY_KEY_POLICY
        );
    }
    let unsigned = document(&[(0, &images[0]), (8, &zeros)]);
    assert_eq!(
        Ask::new(p08, &role, "kms:Decrypt")
            .attested(&unsigned)
            .outcome(),
        NO_RESOURCE
    );
    for admin in ["Admin", "Build"] {
        let admin = session(OWNER, admin);
        assert_eq!(
            Ask::new(p08, &admin, "kms:PutKeyPolicy").outcome(),
            BY_KEY_POLICY
        );
    }

    // 09: all three registers; root may disable but not put a policy.
    let pcrs: Vec<String> = ["PCR0", "PCR1", "PCR2"]
        .iter()
        .map(|k| value(p09, k))
        .collect();
    let good = document(&[(0, &pcrs[0]), (1, &pcrs[1]), (2, &pcrs[2])]);
    let bad = document(&[(0, &pcrs[0]), (1, &pcrs[1]), (2, &zeros)]);
    assert_eq!(
        Ask::new(p09, &role, "kms:GenerateDataKey")
            .attested(&good)
            .outcome(),
        BY_KEY_POLICY
    );
    assert_eq!(
        Ask::new(p09, &role, "kms:GenerateDataKey")
            .attested(&bad)
            .outcome(),
        NO_RESOURCE
    );
    assert_eq!(
        Ask::new(p09, &root(OWNER), "kms:PutKeyPolicy").outcome(),
        NO_RESOURCE
    );
    assert_eq!(
        Ask::new(p09, &root(OWNER), "kms:DisableKey").outcome(),
        Outcome::Allowed(AllowedBy::RootUser)
    );

    // 10: anybody from that image, of whatever account, if IAM at home allows.
    let good = document(&[(0, &value(p10, "PCR0"))]);
    assert_eq!(
        Ask::new(p10, &role, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        BY_KEY_POLICY
    );
    assert_eq!(
        Ask::new(p10, &allowed, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        Outcome::Allowed(AllowedBy::CrossAccount)
    );
    assert_eq!(
        Ask::new(p10, &stranger, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        NO_IDENTITY
    );
    assert_eq!(Ask::new(p10, &role, "kms:Decrypt").outcome(), NO_RESOURCE);

    // 11: delegation to the account: IAM must allow too.
    let good = document(&[(0, &value(p11, "ImageSha384"))]);
    assert_eq!(
        Ask::new(p11, &role, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        NO_IDENTITY
    );
    let allowed_here = with_iam(role.clone(), "kms:Decrypt");
    assert_eq!(
        Ask::new(p11, &allowed_here, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        by_iam
    );
    assert_eq!(
        Ask::new(p11, &allowed_here, "kms:Decrypt").outcome(),
        NO_RESOURCE
    );

    // 12: Sign is never attested.
    assert_eq!(Ask::new(p12, &role, "kms:Sign").outcome(), NO_RESOURCE);
    assert_eq!(
        Ask::new(p12, &root(OWNER), "kms:PutKeyPolicy").outcome(),
        NO_RESOURCE
    );

    // 13: no condition at all.
    assert_eq!(Ask::new(p13, &role, "kms:Decrypt").outcome(), BY_KEY_POLICY);
    assert_eq!(
        Ask::new(p13, &role, "kms:ReEncryptFrom").outcome(),
        BY_KEY_POLICY
    );

    // 14: four conditions, two of them on the same register.
    let pcrs: Vec<String> = ["PCR0", "PCR1", "PCR2"]
        .iter()
        .map(|k| value(p14, k))
        .collect();
    assert_eq!(value(p14, "ImageSha384"), pcrs[0]);
    let good = document(&[(0, &pcrs[0]), (1, &pcrs[1]), (2, &pcrs[2])]);
    assert_eq!(
        Ask::new(p14, &role, "kms:Decrypt")
            .attested(&good)
            .outcome(),
        BY_KEY_POLICY
    );
    assert_eq!(
        Ask::new(p14, &role, "kms:Decrypt")
            .attested(&debug)
            .outcome(),
        NO_RESOURCE
    );
    let reader = with_iam(session(OWNER, "reader"), "kms:GetKeyPolicy");
    assert_eq!(Ask::new(p14, &reader, "kms:GetKeyPolicy").outcome(), by_iam);
}

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
fn a_principal_is_matched_by_its_role_its_session_its_account_or_a_star() {
    let caller = session(OWNER, "path/R");
    let user = Caller::new(Principal::User {
        account: OWNER.into(),
        path_name: "alice".into(),
    });
    #[rustfmt::skip]
    let table = [
        (&caller, "arn:aws:iam::111122223333:role/path/R", BY_KEY_POLICY),
        (&caller, "arn:aws:iam::111122223333:role/R", NO_RESOURCE),
        (&caller, "arn:aws:sts::111122223333:assumed-role/R/s", BY_KEY_POLICY),
        (&caller, "arn:aws:sts::111122223333:assumed-role/R/other", NO_RESOURCE),
        (&caller, "arn:aws:iam::111122223333:root", NO_IDENTITY),
        (&caller, "111122223333", NO_IDENTITY),
        (&caller, "444455556666", NO_RESOURCE),
        (&caller, "*", BY_KEY_POLICY),
        (&user, "arn:aws:iam::111122223333:user/alice", BY_KEY_POLICY),
        (&user, "arn:aws:iam::111122223333:user/Alice", NO_RESOURCE),
        (&user, "arn:aws:iam::111122223333:role/alice", NO_RESOURCE),
    ];
    for (caller, principal, wanted) in table {
        let policy = key_policy(&allow(principal));
        assert_eq!(
            Ask::new(&policy, caller, "kms:Encrypt").outcome(),
            wanted,
            "{principal}"
        );
    }
}

#[test]
fn iam_alone_never_opens_a_key_and_its_deny_always_closes_one() {
    let caller = with_iam(session(OWNER, "R"), "kms:*");
    let nobody = key_policy(&allow("arn:aws:iam::111122223333:role/Other"));
    assert_eq!(
        Ask::new(&nobody, &caller, "kms:Encrypt").outcome(),
        NO_RESOURCE
    );
    let open = key_policy(&allow("arn:aws:iam::111122223333:role/R"));
    let mut denied = caller;
    denied.identity_policies.push(iam("Deny", "kms:Encrypt"));
    assert_eq!(
        Ask::new(&open, &denied, "kms:Encrypt").outcome(),
        Outcome::Denied(Denial::ExplicitDeny(PolicySource::Identity))
    );
    assert_eq!(
        Ask::new(&open, &denied, "kms:Decrypt").outcome(),
        BY_KEY_POLICY
    );
}

#[test]
fn a_session_policy_limits_what_the_role_was_given_but_not_what_the_session_was() {
    let mut caller = session(OWNER, "R");
    caller.session_policies.push(iam("Allow", "kms:Encrypt"));
    let role = key_policy(&allow("arn:aws:iam::111122223333:role/R"));
    assert_eq!(
        Ask::new(&role, &caller, "kms:Encrypt").outcome(),
        BY_KEY_POLICY
    );
    assert_eq!(
        Ask::new(&role, &caller, "kms:Decrypt").outcome(),
        Outcome::Denied(Denial::NoSessionPolicy)
    );
    let this_session = key_policy(&allow("arn:aws:sts::111122223333:assumed-role/R/s"));
    assert_eq!(
        Ask::new(&this_session, &caller, "kms:Decrypt").outcome(),
        BY_KEY_POLICY
    );
    caller.session_policies.push(iam("Deny", "kms:Decrypt"));
    assert_eq!(
        Ask::new(&this_session, &caller, "kms:Decrypt").outcome(),
        Outcome::Denied(Denial::ExplicitDeny(PolicySource::Session))
    );
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
            r#"{"Effect":"Allow","NotPrincipal":{"AWS":"arn:aws:iam::111122223333:role/R"},"Action":"*","Resource":"*"}"#,
            NO_RESOURCE,
        ),
        (
            r#"{"Effect":"Allow","NotPrincipal":{"AWS":"arn:aws:iam::111122223333:role/X"},"Action":"*","Resource":"*"}"#,
            BY_KEY_POLICY,
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
fn a_decision_tells_when_another_statement_makes_the_attestation_condition_irrelevant() {
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
fn the_default_policy_lets_root_and_whom_iam_allows() {
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

//! Random requests against a closed verdict. They are made without the search's
//! own code: values are taken from the text of the policy and mutilated.

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{model::condition_key::ConditionKey, policy::QuestionFacts};

/// The strings of a policy, with what one might mistake for them.
fn strings(json: &Value, out: &mut Vec<String>) {
    match json {
        Value::String(text) => out.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, out)),
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            out.push(
                name.rsplit([':', '/'])
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            );
            strings(value, out);
        }),
        _ => {}
    }
}

fn some(rng: &mut ChaCha8Rng, pool: &[String]) -> String {
    let mut text = pool.choose(rng).cloned().unwrap_or_default();
    match rng.random_range(0..6) {
        0 => text = text.to_uppercase(),
        1 => text = text.replace('*', "x").replace('?', "y"),
        2 => text.push('x'),
        3 => text = text.replace('*', ""),
        _ => {}
    }
    text
}

fn register(rng: &mut ChaCha8Rng, pool: &[String]) -> Vec<u8> {
    let known: Vec<Vec<u8>> = pool
        .iter()
        .filter_map(|text| hex::decode(text).ok())
        .filter(|bytes| bytes.len() == 48)
        .collect();
    match rng.random_range(0..6) {
        0 => vec![0; 48],
        1 => vec![rng.random(); 48],
        2 => known.choose(rng).cloned().map_or(vec![7; 48], |mut bytes| {
            bytes[0] ^= 1;
            bytes
        }),
        _ => known.choose(rng).cloned().unwrap_or_else(|| vec![9; 48]),
    }
}

fn principal(rng: &mut ChaCha8Rng, pool: &[String], account: &str) -> Principal {
    let arns: Vec<&String> = pool
        .iter()
        .filter(|text| text.starts_with("arn:aws:iam::"))
        .collect();
    let accounts: Vec<String> = pool
        .iter()
        .flat_map(|text| text.split(':'))
        .filter(|part| is_account_id(part))
        .map(str::to_owned)
        .chain([account.to_owned(), "777788889999".to_owned()])
        .collect();
    let account = accounts.choose(rng).cloned().unwrap();
    if rng.random_bool(0.1) {
        // As good as the root user's: with every policy that a session can have.
        return Principal::FederatedUser {
            account,
            name: "f".into(),
            by: rng.random_bool(0.5).then(|| "u".into()),
        };
    }
    let named = arns.choose(rng).and_then(|arn| {
        crate::policy::question::parse_principal(&arn.replace(['*', '?'], "x"), "s")
    });
    if let Some(found) = named.filter(|_| rng.random_bool(0.6)) {
        return found;
    }
    match rng.random_range(0..3) {
        0 => Principal::Root { account },
        1 => Principal::User {
            account,
            path_name: some(rng, pool),
        },
        _ => Principal::AssumedRole {
            account,
            role_path_name: some(rng, pool),
            session: "s".into(),
        },
    }
}

fn everything() -> Vec<Arc<Policy>> {
    vec![iam(r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#)]
}

fn question(rng: &mut ChaCha8Rng, claim: &Claim, account: &str, pool: &[String]) -> Question {
    let asked = ASKED[rng.random_range(0..ASKED.len())];
    let named: Vec<Principal> = claim
        .principals
        .iter()
        .filter_map(|arn| crate::policy::question::parse_principal(arn, "other-session"))
        .collect();
    let caller = named.choose(rng).cloned().unwrap_or_else(|| {
        loop {
            let found = principal(rng, pool, account);
            let in_scope = claim.principals.is_empty()
                || claim.principals.iter().any(|a| a == found.account());
            if in_scope {
                break found;
            }
            if let Some(account) = claim.principals.iter().find(|a| is_account_id(a)) {
                break Principal::Root {
                    account: account.clone(),
                };
            }
        }
    });
    let kind = *asked.kinds(None).choose(rng).unwrap();
    let key = QuestionKey {
        arn: format!("arn:aws:kms:us-east-1:{account}:key/{}", some(rng, pool)),
        tags: (0..rng.random_range(0..3))
            .map(|_| (some(rng, pool), some(rng, pool)))
            .collect(),
        ..QuestionKey::default()
    };
    let mut out = Question::new(caller, asked.action(), key, claim.now);
    kind.put(&mut out);
    out.identity_policies = claim.identity_policies.clone().unwrap_or_else(everything);
    if matches!(out.principal, Principal::FederatedUser { .. }) {
        out.session_policies = everything();
    }
    out.boundary.clone_from(&claim.boundary);
    if asked.is_attested() && rng.random_bool(0.7) {
        // An enclave's document always has the first sixteen.
        out.recipient = Some(Recipient {
            pcrs: (0..16)
                .chain([16].into_iter().filter(|_| rng.random()))
                .collect::<Vec<_>>()
                .into_iter()
                .map(|index| (index, register(rng, pool)))
                .collect(),
            nitrotpm: rng.random_bool(0.1),
        });
    }
    let has_context = asked.has(&ConditionKey::EncryptionContextKeys);
    let takes_alias = asked.has(&ConditionKey::RequestAlias);
    out.facts = QuestionFacts {
        encryption_context: (has_context && kind.spec.is_symmetric_encryption()).then(|| {
            (0..rng.random_range(0..3))
                .map(|_| (some(rng, pool), some(rng, pool)))
                .collect()
        }),
        encryption_algorithm: kind
            .spec
            .encryption_algorithms()
            .choose(rng)
            .filter(|_| has_context)
            .map(|it| it.name().to_owned()),
        request_alias: (takes_alias && rng.random_bool(0.3)).then(|| some(rng, pool)),
        source_ip: rng
            .random_bool(0.5)
            .then(|| [203, 0, 113, rng.random::<u8>()].into()),
        principal_tags: (0..rng.random_range(0..2))
            .filter(|_| !out.principal.acts_for_root())
            .map(|_| (some(rng, pool), some(rng, pool)))
            .collect(),
        re_encrypt_on_same_key: asked.action().contains("ReEncrypt").then_some(false),
        requested_region: Some("us-east-1".to_owned()),
        ..QuestionFacts::default()
    };
    if asked.action() == "kms:PutKeyPolicy" {
        out.facts.bypass_policy_lockout_safety_check = Some(rng.random());
        out.facts.policy_name = Some("default".to_owned());
    }
    out
}

/// Whether the request goes round the expected enclave.
fn goes_round(question: &Question, proof: &Proof) -> bool {
    let Some(recipient) = &question.recipient else {
        return true;
    };
    if recipient.nitrotpm {
        // Wanted or not depends on what the policy names; not attacked.
        return false;
    }
    let pcr0 = recipient.pcrs.get(&0).map(hex::encode).unwrap_or_default();
    !proof.expected_pcr0.contains(&pcr0)
}

/// Asks `count` random questions and expects every one to be refused.
pub(super) fn attack(claim: &Claim, proof: &Proof, count: usize) {
    let mut pool = vec!["x".to_owned()];
    strings(
        &serde_json::from_str(claim.policy.text()).unwrap(),
        &mut pool,
    );
    let mut rng = ChaCha8Rng::seed_from_u64(count as u64);
    let mut asked = 0;
    while asked < count {
        let question = question(&mut rng, claim, &proof.accounts[0], &pool);
        let is_path_action = ASKED.iter().any(|asked| {
            // Material is imported with parameters that somebody had to ask for.
            let is_use =
                matches!(asked.gives, Gives::Use(..)) && asked.action() != "kms:ImportKeyMaterial";
            let crosses = asked.operation.row().crosses_accounts
                || question.principal.account() == proof.accounts[0];
            asked.action() == question.action && is_use && crosses
        });
        asked += 1;
        if !is_path_action || !goes_round(&question, proof) {
            continue;
        }
        let decision: Decision = question.decide(&claim.policy, &[]);
        assert!(
            !decision.is_allowed(),
            "closed, and yet allowed: {:#}\n{}\n{:#}",
            serde_json::to_value(&question).unwrap(),
            claim.policy.text(),
            decision.to_json()
        );
    }
}

/// A statement of pieces that get into each other's way.
fn statement(rng: &mut ChaCha8Rng) -> String {
    let pick = |rng: &mut ChaCha8Rng, list: &[&str]| (*list.choose(rng).unwrap()).to_owned();
    let effect = pick(rng, &["Allow", "Allow", "Allow", "Deny"]);
    let who = pick(
        rng,
        &[
            r#""Principal":"*""#,
            r#""Principal":{"AWS":"111122223333"}"#,
            r#""Principal":{"AWS":"arn:aws:iam::111122223333:role/a"}"#,
            r#""Principal":{"AWS":"arn:aws:iam::111122223333:role/a"}"#,
            r#""Principal":{"AWS":["444455556666","arn:aws:iam::111122223333:user/u"]}"#,
            r#""NotPrincipal":{"AWS":"arn:aws:iam::111122223333:role/a"}"#,
            r#""Principal":{"AWS":"arn:aws:sts::111122223333:federated-user/f"}"#,
        ],
    );
    // With Allow it is no policy.
    let effect = if who.contains("NotPrincipal") {
        "Deny".to_owned()
    } else {
        effect
    };
    let what = pick(
        rng,
        &[
            r#""Action":"kms:Decrypt""#,
            r#""Action":["kms:Decrypt","kms:GenerateDataKey"]"#,
            r#""Action":"kms:*""#,
            r#""Action":["kms:Put*","kms:CreateGrant"]"#,
            r#""Action":"kms:ReEncrypt*""#,
            r#""NotAction":["kms:Decrypt","kms:PutKeyPolicy"]"#,
            r#""Action":"kms:Encrypt""#,
        ],
    );
    let operator = |rng: &mut ChaCha8Rng| {
        let set = pick(rng, &["", "", "", "ForAnyValue:", "ForAllValues:"]);
        let name = pick(
            rng,
            &[
                "StringEquals",
                "StringNotEquals",
                "StringEqualsIgnoreCase",
                "StringNotEqualsIgnoreCase",
                "StringLike",
                "StringNotLike",
            ],
        );
        let end = pick(rng, &["", "", "", "IfExists"]);
        format!("{set}{name}{end}")
    };
    let mut conditions = BTreeMap::new();
    for _ in 0..rng.random_range(0..3) {
        let key = pick(
            rng,
            &[
                "kms:RecipientAttestation:PCR0",
                "kms:RecipientAttestation:ImageSha384",
                "kms:RecipientAttestation:PCR8",
                "kms:EncryptionContext:job",
                "kms:EncryptionContextKeys",
                "kms:CallerAccount",
                "aws:PrincipalArn",
                "aws:ResourceTag/team",
                "aws:PrincipalTag/team",
            ],
        );
        let operator = operator(rng);
        let (a, b, zeros) = ("a".repeat(96), "B".repeat(96), "0".repeat(96));
        let value = if key.contains("Attestation") {
            pick(rng, &[&a, &b, &zeros, "a*", "*0"])
        } else {
            pick(
                rng,
                &[
                    "a",
                    "b",
                    "a*",
                    "job",
                    "Job",
                    "*",
                    "111122223333",
                    "arn:aws:iam::*:role/a*",
                ],
            )
        };
        conditions.insert(operator, format!(r#"{{"{key}":"{value}"}}"#));
    }
    let conditions: Vec<String> = conditions
        .iter()
        .map(|(o, c)| format!(r#""{o}":{c}"#))
        .collect();
    format!(
        r#"{{"Effect":"{effect}",{who},{what},"Resource":"*","Condition":{{{}}}}}"#,
        conditions.join(",")
    )
}

#[test]
fn generated_policies_are_open_with_a_witness_or_closed_against_random_requests() {
    let count = std::env::var("DRYDOCK_PROVE_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(150);
    let mut verdicts = [0usize; 3];
    for seed in 0..count {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let statements: Vec<String> = (0..rng.random_range(1..4))
            .map(|_| statement(&mut rng))
            .collect();
        let mut claim = Claim::about(policy(&statements.join(",")));
        if rng.random_bool(0.2) {
            claim.principals = vec!["arn:aws:iam::111122223333:role/a".to_owned()];
            claim.boundary = Some(iam(
                r#"{"Effect":"Allow","Action":["kms:Decrypt","kms:Put*"],"Resource":"*"}"#,
            ));
        }
        let proof = prove(&claim).unwrap();
        verdicts[proof.verdict() as usize] += 1;
        if proof.verdict() == Verdict::Open && !claim.principals.is_empty() {
            // What one may, anybody may who is that one.
            let anybody = prove(&Claim::about(Arc::clone(&claim.policy))).unwrap();
            assert_ne!(anybody.verdict(), Verdict::Closed, "seed {seed}");
        }
        for finding in &proof.findings {
            assert!(
                finding.holds(&claim.policy),
                "seed {seed}: {}",
                claim.policy.text()
            );
        }
        if proof.verdict() == Verdict::Closed {
            attack(&claim, &proof, 500);
        }
    }
    println!("{count} policies: closed, open, undecided {verdicts:?}");
    assert!(verdicts[0] > 0 && verdicts[1] > 0, "{verdicts:?}");
}

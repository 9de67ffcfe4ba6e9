//! Single conditions against iam-rs, a library written elsewhere: the same
//! answer, or a difference with a reason in [`EXPLAINED`].
//!
//! iam-rs runs as a process of its own (`kms-mock/iam-rs-oracle`, which says why).
//! Build it and say where it is:
//!
//! ```text
//! cargo build --manifest-path kms-mock/iam-rs-oracle/Cargo.toml
//! DRYDOCK_IAM_RS=kms-mock/iam-rs-oracle/target/debug/iam-rs-oracle \
//!     DRYDOCK_IAM_RS_CASES=100000 cargo test --workspace --lib iam_rs
//! ```

use std::{
    io::Write,
    process::{Command, Stdio},
    sync::Arc,
};

use nsm_sim::clock::UnixMillis;
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::{OneOrMany, Policy, PolicyKind, Question, QuestionKey};
use crate::world::principal::Principal;

const CASES_DEFAULT: usize = 4000;
const ONE: &str = "aws:OneValue";
const MANY: &str = "kms:EncryptionContextKeys";

/// One condition and what the request presents.
#[derive(Debug)]
struct Case {
    operator: String,
    key: &'static str,
    expected: Vec<&'static str>,
    presented: Vec<&'static str>,
}

impl Case {
    fn base(&self) -> &str {
        let name = self.operator.rsplit(':').next().unwrap_or_default();
        name.strip_suffix("IfExists").unwrap_or(name)
    }

    fn is_set(&self) -> bool {
        self.operator.contains(':')
    }

    fn has_star(&self) -> bool {
        let mut texts = self.expected.iter().chain(&self.presented);
        texts.any(|text| text.contains('*'))
    }

    fn condition(&self) -> Value {
        let is_bool = matches!(self.base(), "Bool" | "Null");
        let values: Vec<Value> = self
            .expected
            .iter()
            .map(|text| {
                if is_bool {
                    json!(*text == "true")
                } else {
                    json!(text)
                }
            })
            .collect();
        // iam-rs takes no list of bools.
        let values = match values.as_slice() {
            [one] if is_bool => one.clone(),
            _ => Value::Array(values),
        };
        json!({ self.operator.as_str(): { self.key: values } })
    }

    fn question_for_iam_rs(&self) -> String {
        let presented = match (self.key, self.presented.as_slice()) {
            (_, []) => json!({}),
            (ONE, [one]) if self.base() == "Bool" => json!({ ONE: *one == "true" }),
            (ONE, [one]) => json!({ ONE: one }),
            (_, many) => json!({ MANY: many }),
        };
        json!({ "condition": self.condition(), "context": presented }).to_string()
    }

    fn our_answer(&self) -> bool {
        let text = json!({
            "Version": "2012-10-17",
            "Statement": [{ "Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*", "Condition": self.condition() }],
        });
        let policy = Arc::new(Policy::parse(&text.to_string(), PolicyKind::Key).unwrap());
        let root = Principal::Root {
            account: "123456789012".to_owned(),
        };
        let mut question =
            Question::new(root, "kms:Decrypt", QuestionKey::default(), UnixMillis(0));
        match self.key {
            ONE => {
                let one = self
                    .presented
                    .first()
                    .map(|v| (ONE.to_owned(), OneOrMany::One((*v).to_owned())));
                question.facts.condition_keys.extend(one);
            }
            _ => {
                let names = self
                    .presented
                    .iter()
                    .map(|v| ((*v).to_owned(), "x".to_owned()));
                question.facts.encryption_context = Some(names.collect());
            }
        }
        question.decide(&policy, &[]).is_allowed()
    }
}

type Explanation = (&'static str, fn(&Case, &str) -> bool);

/// Where iam-rs answers otherwise, and why we do not follow.
const EXPLAINED: [Explanation; 7] = [
    (
        "IfExists after a set operator: the grammar allows it, iam-rs cannot parse it",
        |case, theirs| {
            theirs.starts_with("error") && case.is_set() && case.operator.ends_with("IfExists")
        },
    ),
    (
        "a value of the policy that is not of the operator's type never matches; for iam-rs it is an error",
        |case, theirs| {
            let is_odd = |value: &&str| ["ten", "soon", "nowhere"].contains(value);
            theirs.starts_with("error") && case.expected.iter().any(is_odd)
        },
    ),
    (
        "ArnEquals behaves as ArnLike (IAM user guide); iam-rs compares it literally",
        |case, _| matches!(case.base(), "ArnEquals" | "ArnNotEquals") && case.has_star(),
    ),
    (
        "each of the six parts of an ARN is compared on its own; iam-rs lets a star run over colons",
        |case, _| matches!(case.base(), "ArnLike" | "ArnNotLike") && case.has_star(),
    ),
    (
        "a presented star is an ordinary character; in iam-rs a pattern's star that meets one stands for nothing else",
        |case, _| {
            matches!(case.base(), "StringLike" | "StringNotLike")
                && case.presented.iter().any(|text| text.contains('*'))
        },
    ),
    (
        "a negated operator on several presented values: we say no value may match, iam-rs that some value does not",
        |case, _| !case.is_set() && case.base().contains("Not") && case.presented.len() > 1,
    ),
    (
        "BinaryEquals compares bytes; iam-rs compares Base64 texts without regard to case",
        |case, _| case.base() == "BinaryEquals",
    ),
];

const TEXTS: [&str; 12] = [
    "a", "A", "b", "ab", "aB", "a*", "?b", "*", "a*b", "abab", "x?", "xy",
];
const NUMBERS: [&str; 7] = ["1", "1.0", "2", "10", "-3", "0.5", "ten"];
const DATES: [&str; 6] = [
    "2026-01-01T00:00:00Z",
    "2026-01-01T01:00:00+01:00",
    "2025-12-31T23:59:59Z",
    "1767225600",
    "2026-01-02T00:00:00Z",
    "soon",
];
const ADDRESSES: [&str; 7] = [
    "203.0.113.7",
    "203.0.113.0/24",
    "0.0.0.0/0",
    "10.0.0.0/8",
    "2001:db8::/32",
    "2001:db8::1",
    "nowhere",
];
const ARNS: [&str; 6] = [
    "arn:aws:iam::123456789012:role/a",
    "arn:aws:iam::123456789012:role/b",
    "arn:aws:iam::*:role/a",
    "arn:aws:iam::123456789012:role/*",
    "arn:*:role/a",
    "arn:aws:*",
];
const BINARY: [&str; 4] = ["QmluYXJ5", "qmluYXJ5", "Qm9", "Qm8="];
const BOOLS: [&str; 2] = ["true", "false"];

#[rustfmt::skip]
const OPERATORS: [(&str, &[&str]); 27] = [
    ("StringEquals", &TEXTS), ("StringNotEquals", &TEXTS),
    ("StringEqualsIgnoreCase", &TEXTS), ("StringNotEqualsIgnoreCase", &TEXTS),
    ("StringLike", &TEXTS), ("StringNotLike", &TEXTS),
    ("NumericEquals", &NUMBERS), ("NumericNotEquals", &NUMBERS), ("NumericLessThan", &NUMBERS),
    ("NumericLessThanEquals", &NUMBERS), ("NumericGreaterThan", &NUMBERS), ("NumericGreaterThanEquals", &NUMBERS),
    ("DateEquals", &DATES), ("DateNotEquals", &DATES), ("DateLessThan", &DATES),
    ("DateLessThanEquals", &DATES), ("DateGreaterThan", &DATES), ("DateGreaterThanEquals", &DATES),
    ("Bool", &BOOLS), ("Null", &BOOLS), ("BinaryEquals", &BINARY),
    ("IpAddress", &ADDRESSES), ("NotIpAddress", &ADDRESSES),
    ("ArnEquals", &ARNS), ("ArnNotEquals", &ARNS), ("ArnLike", &ARNS), ("ArnNotLike", &ARNS),
];

fn case(rng: &mut ChaCha8Rng) -> Case {
    let (base, pool) = OPERATORS.choose(rng).copied().unwrap();
    let is_text = base.starts_with("String") || base.starts_with("Arn");
    let set = match rng.random_range(0..4) {
        0 if is_text => "ForAnyValue:",
        1 if is_text => "ForAllValues:",
        _ => "",
    };
    let if_exists = base != "Null" && rng.random_bool(0.2);
    let many = is_text && rng.random_bool(0.5);
    let mut presented: Vec<&str> = (0..rng.random_range(0..if many { 4 } else { 2 }))
        .filter_map(|_| pool.choose(rng).copied())
        .collect();
    // An encryption context has no two equal names, and is sorted.
    presented.sort_unstable();
    presented.dedup();
    // Callers have addresses, not blocks.
    presented.retain(|text| !base.contains("IpAddress") || !text.contains('/'));
    let expected_count = match base {
        "Null" | "Bool" => 1,
        _ => rng.random_range(1..4),
    };
    let expected = (0..expected_count)
        .filter_map(|_| pool.choose(rng).copied())
        .collect();
    Case {
        operator: format!("{set}{base}{}", if if_exists { "IfExists" } else { "" }),
        key: if many { MANY } else { ONE },
        expected,
        presented,
    }
}

#[test]
fn single_conditions_are_decided_as_by_iam_rs_but_for_what_is_explained() {
    let Some(oracle) = std::env::var_os("DRYDOCK_IAM_RS") else {
        println!("skipped: DRYDOCK_IAM_RS does not say where iam-rs-oracle is");
        return;
    };
    let count = std::env::var("DRYDOCK_IAM_RS_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(CASES_DEFAULT);
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let cases: Vec<Case> = (0..count).map(|_| case(&mut rng)).collect();
    let mut process = Command::new(oracle)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> = cases.iter().map(Case::question_for_iam_rs).collect();
    let mut stdin = process.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all((lines.join("\n") + "\n").as_bytes()));
    let output = process.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), cases.len());
    let mut explained = [0usize; EXPLAINED.len()];
    let mut unexplained = Vec::new();
    for (case, theirs) in cases.iter().zip(&answers) {
        let ours = case.our_answer();
        if *theirs == ours.to_string() {
            continue;
        }
        match EXPLAINED
            .iter()
            .position(|(_, explains)| explains(case, theirs))
        {
            Some(at) => explained[at] += 1,
            None => unexplained.push(format!("{case:?}: we say {ours}, iam-rs {theirs}")),
        }
    }
    println!(
        "{count} cases, {} agree",
        count - explained.iter().sum::<usize>() - unexplained.len()
    );
    for (count, (reason, _)) in explained.iter().zip(&EXPLAINED) {
        println!("{count:>6} {reason}");
    }
    // The rarest is met once in a thousand cases.
    if count >= 25 * CASES_DEFAULT {
        assert!(
            !explained.contains(&0),
            "an explanation of nothing: {explained:?}"
        );
    }
    unexplained.truncate(20);
    assert!(unexplained.is_empty(), "{unexplained:#?}");
}

//! Random concurrent calls on few names, round after round. After each round what is
//! there must be what some order of the calls leaves: an alias and its key agree on each
//! other, a name was created and deleted in turns, a named grant is there once.
//!
//! `DRYDOCK_HISTORIES=100000` asks for as many rounds; a failure prints its seed, and
//! `DRYDOCK_HISTORIES_SEED` begins with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    thread,
};

use kms_mock::{KmsMock, kms::Call, policy::Caller, world::principal::Principal};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::support::ACCOUNT;

const THREADS: usize = 4;
const CALLS: usize = 5;
const KEYS: usize = 3;
const ALIASES: [&str; 3] = ["alias/a", "alias/b", "alias/c"];
const GRANTS: [&str; 2] = ["g", "h"];

/// Operation, error code if it was refused, and answer.
type Answer = Result<Value, String>;

fn call(mock: &KmsMock, operation: &str, body: &Value) -> Answer {
    let caller = Arc::new(Caller::new(Principal::Root {
        account: ACCOUNT.to_owned(),
    }));
    let reply = mock.kms().call(&Call {
        operation,
        body: body.to_string().as_bytes(),
        region: None,
        caller: &caller,
        request_id: kms_mock::RequestId::random(),
        user_agent: "histories",
    });
    let answer = serde_json::from_slice(&reply.body).unwrap_or_default();
    match reply.error_type {
        None => Ok(answer),
        Some(code) => Err(code.to_owned()),
    }
}

fn ok(mock: &KmsMock, operation: &str, body: &Value) -> Value {
    call(mock, operation, body).unwrap_or_else(|code| panic!("{operation} {body}: {code}"))
}

/// A random call, by the name that it creates or deletes.
fn draw(rng: &mut ChaCha8Rng, keys: &[String]) -> (&'static str, Value, Option<&'static str>) {
    let key = &keys[rng.random_range(0..KEYS)];
    let alias = ALIASES[rng.random_range(0..ALIASES.len())];
    let grant = GRANTS[rng.random_range(0..GRANTS.len())];
    let of_alias = json!({ "AliasName": alias, "TargetKeyId": key });
    match rng.random_range(0..16) {
        0..4 => ("CreateAlias", of_alias, Some(alias)),
        4..9 => ("UpdateAlias", of_alias, None),
        9..12 => ("DeleteAlias", json!({ "AliasName": alias }), Some(alias)),
        12 => ("DisableKey", json!({ "KeyId": key }), None),
        13 => ("EnableKey", json!({ "KeyId": key }), None),
        _ => {
            let body = json!({
                "KeyId": key, "Name": grant, "Operations": ["Decrypt"],
                "GranteePrincipal": format!("arn:aws:iam::{ACCOUNT}:role/r"),
            });
            ("CreateGrant", body, None)
        }
    }
}

/// Where each alias points, by ListAliases of all and by ListAliases of each key.
fn aliases(mock: &KmsMock, keys: &[String]) -> Result<BTreeMap<String, String>, String> {
    let listed = |body: &Value| -> BTreeMap<String, String> {
        let list = ok(mock, "ListAliases", body);
        let pairs = list["Aliases"].as_array().unwrap().iter().map(|alias| {
            let text = |name: &str| alias[name].as_str().unwrap_or("nothing").to_owned();
            (text("AliasName"), text("TargetKeyId"))
        });
        pairs.collect()
    };
    let all = listed(&json!({}));
    let mut by_key = BTreeMap::new();
    for key in keys {
        for (name, target) in listed(&json!({ "KeyId": key })) {
            if target != *key {
                return Err(format!("{key} has {name}, which points at {target}"));
            }
            if let Some(other) = by_key.insert(name.clone(), key.clone()) {
                return Err(format!("{name} is an alias of {key} and of {other}"));
            }
        }
    }
    if all != by_key {
        return Err(format!("all aliases: {all:?}; those of keys: {by_key:?}"));
    }
    Ok(all)
}

/// One round: what is wrong after it.
fn round(mock: &KmsMock, keys: &[String], seed: u64) -> Result<(), String> {
    let before = aliases(mock, keys)?;
    let answers: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_mul(31) + thread as u64);
                    let mut answers = Vec::new();
                    for _ in 0..CALLS {
                        let (operation, body, name) = draw(&mut rng, keys);
                        answers.push((operation, name, call(mock, operation, &body)));
                    }
                    answers
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|it| it.join().unwrap())
            .collect()
    });
    let after = aliases(mock, keys)?;
    for (operation, _, answer) in &answers {
        if let Err(code) = answer
            && !matches!(
                code.as_str(),
                "NotFoundException" | "AlreadyExistsException" | "DisabledException"
            )
        {
            return Err(format!("{operation} answers {code}"));
        }
    }
    // Creations and deletions of a name come in turns.
    for name in ALIASES {
        let done = |wanted: &str| {
            let of_name = answers.iter().filter(|(operation, about, answer)| {
                *operation == wanted && *about == Some(name) && answer.is_ok()
            });
            of_name.count()
        };
        let there = |all: &BTreeMap<String, String>| usize::from(all.contains_key(name));
        let (created, deleted) = (done("CreateAlias"), done("DeleteAlias"));
        if there(&before) + created != there(&after) + deleted {
            return Err(format!(
                "{name}: {created} created and {deleted} deleted, before {before:?}, after {after:?}"
            ));
        }
    }
    for key in keys {
        let grants = ok(mock, "ListGrants", &json!({ "KeyId": key }));
        let grants = grants["Grants"].as_array().unwrap().clone();
        let names: BTreeSet<&str> = grants.iter().filter_map(|it| it["Name"].as_str()).collect();
        if names.len() != grants.len() {
            return Err(format!("{key} has a named grant twice: {grants:?}"));
        }
        // Only one of two that revoke the same grant finds it.
        for grant in &grants {
            let body = json!({ "KeyId": key, "GrantId": grant["GrantId"] });
            let revoked: usize = thread::scope(|scope| {
                let revoke = || usize::from(call(mock, "RevokeGrant", &body).is_ok());
                let both = [scope.spawn(revoke), scope.spawn(revoke)];
                both.map(|it| it.join().unwrap()).iter().sum()
            });
            if revoked != 1 {
                return Err(format!("a grant was revoked {revoked} times"));
            }
        }
    }
    Ok(())
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn keys_of(mock: &KmsMock) -> Vec<String> {
    (0..KEYS)
        .map(|_| {
            let key = ok(mock, "CreateKey", &json!({}));
            key["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
        })
        .collect()
}

fn run(mock: &KmsMock, keys: &[String], first: u64, rounds: u64) {
    for seed in first..first + rounds {
        if let Err(wrong) = round(mock, keys, seed) {
            panic!("{wrong}\nDRYDOCK_HISTORIES_SEED={seed}");
        }
    }
}

#[test]
fn concurrent_calls_leave_what_some_order_of_them_leaves() {
    let mock = KmsMock::builder().workers(1).start_blocking().unwrap();
    let first = number("DRYDOCK_HISTORIES_SEED").unwrap_or(1);
    let keys = keys_of(&mock);
    run(
        &mock,
        &keys,
        first,
        number("DRYDOCK_HISTORIES").unwrap_or(2_000),
    );
}

#[test]
fn concurrent_calls_leave_the_same_in_a_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let builder = KmsMock::builder().workers(1).data_dir(dir.path());
        builder.start_blocking().unwrap()
    };
    let mut mock = start();
    let keys = keys_of(&mock);
    for part in 0..4 {
        run(&mock, &keys, 1 + part * 1_000, 10);
        let before = aliases(&mock, &keys);
        drop(mock);
        mock = start();
        assert_eq!(aliases(&mock, &keys), before);
    }
}

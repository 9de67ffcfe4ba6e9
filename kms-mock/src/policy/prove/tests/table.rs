//! Each of the 56 operations, asked about one after the other: what is a goal or a
//! move opens the key, what is declared harmless does not.

use super::*;
use crate::{
    model::operation::Operation,
    policy::prove::asked::{Role, role},
};

#[test]
fn every_operation_is_a_goal_a_move_or_harmless_for_a_reason() {
    let mut harmless = Vec::new();
    for operation in Operation::all() {
        match role(*operation) {
            Role::Harmless(why) => {
                assert!(why.len() > 20, "{}: {why}", operation.name());
                harmless.push(operation.permission());
            }
            Role::Asked(all) => {
                for asked in all {
                    assert_eq!(asked.operation, *operation);
                    // The import needs its parameters.
                    let actions = match operation {
                        Operation::ImportKeyMaterial => {
                            format!("kms:GetParametersForImport\",\"{}", asked.action())
                        }
                        _ => asked.action().to_owned(),
                    };
                    let claim = Claim::about(policy(&format!(
                        r#"{{"Effect":"Allow","Principal":"*","Action":["{actions}"],"Resource":"*"}}"#
                    )));
                    let proof = prove(&claim).unwrap();
                    let wanted = if asked.is_path() {
                        Verdict::Open
                    } else {
                        Verdict::Closed
                    };
                    assert_eq!(proof.verdict(), wanted, "{}", asked.action());
                    let mut found = proof.findings.iter();
                    assert!(
                        found.any(|it| it.steps.iter().any(|s| s.call.action == asked.action()))
                    );
                }
            }
        }
    }
    // All of them together do not open the key.
    let list = harmless.join("\",\"");
    let all = policy(&format!(
        r#"{{"Effect":"Allow","Principal":"*","Action":["{list}"],"Resource":"*"}}"#
    ));
    let proof = prove(&Claim::about(all)).unwrap();
    assert_eq!(proof.verdict(), Verdict::Closed, "{:?}", summary(&proof));
    assert!(proof.undecided.is_empty() && !proof.assumptions.is_empty());
}

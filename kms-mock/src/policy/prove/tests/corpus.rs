//! The verdict over each policy of the corpus that was written to break the search,
//! beside the right one.
//!
//! Source of truth: `policy-check/INDEX.json` of the corpus: what each policy is
//! about, its right verdict, and how that was found out.

use super::*;
use crate::{policy::PolicyError, recipient::tests::corpus};

/// Policies whose right verdict is disputed, and with what evidence.
const DISPUTED: [(&str, &str); 2] = [
    (
        "28-notprincipal.json",
        "its verdict was found on a server that let the account in a NotPrincipal spare everybody; AWS's page says that the listed principals alone are spared",
    ),
    (
        "82-chain2.json",
        "its Deny leaves out kms:Encrypt: role/enclave grants Encrypt to anybody, who puts contents of its own under the key without a document, as with GenerateDataKeyWithoutPlaintext",
    ),
];

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Closed => "closed",
        Verdict::Open => "open",
        Verdict::Undecided => "undecided",
    }
}

#[test]
fn policies_written_to_break_the_search_have_their_right_verdicts() {
    let Some(folder) = corpus("policy-check") else {
        return;
    };
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let index: Value = serde_json::from_str(&read("INDEX.json")).unwrap();
    let mut wrong = Vec::new();
    let mut refused = Vec::new();
    let mut count = 0;
    for row in index["policies"].as_array().unwrap() {
        let text = |name: &str| row[name].as_str().unwrap();
        let (file, right) = (text("file"), text("right"));
        count += 1;
        let policy = match Policy::parse(&read(file), PolicyKind::Key) {
            Ok(policy) => policy,
            // No key has it: AWS refuses `NotPrincipal` with Allow, and so does the server.
            Err(PolicyError::NotPrincipalHere { .. }) => {
                refused.push(file);
                continue;
            }
            Err(error) => panic!("{file}: {error}"),
        };
        let started = std::time::Instant::now();
        let claim = Claim::about(Arc::new(policy));
        let proof = prove(&claim).unwrap();
        let found = word(proof.verdict());
        let is_disputed = DISPUTED.iter().any(|(name, _)| *name == file);
        if is_disputed {
            // The evidence: KMS answers the calls.
            for finding in &proof.findings {
                assert!(replay::replay(&claim, finding) > 0, "{file}");
            }
        }
        let agrees = right.split(" or ").any(|one| one == found);
        let is_right = agrees != is_disputed;
        let mark = match (agrees, is_disputed) {
            (true, _) => " ",
            (false, true) => "?",
            (false, false) => "!",
        };
        let ms = started.elapsed().as_millis();
        println!(
            "{mark} {file:32} {found:10} {right:18} {ms:5} ms  {}",
            text("idea")
        );
        if !is_right {
            wrong.push(format!(
                "{file} ({}): {found}, right is {right}: {:?} {:?}",
                text("idea"),
                summary(&proof),
                proof.undecided
            ));
        }
    }
    let disputed = DISPUTED.len();
    let right = count - wrong.len() - disputed - refused.len();
    println!("{right} of {count} right, {disputed} disputed");
    assert!(count >= 76, "{count}");
    assert_eq!(refused, ["76-notprincipal-allow.json"]);
    assert!(wrong.is_empty(), "{:#?}", wrong);
}

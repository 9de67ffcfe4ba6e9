//! Who may assume a role: the trust policy and the caller's own, decided by the
//! one evaluator.

use std::{sync::Arc, time::Duration};

use nsm_sim::clock::SettableClock;

use super::*;
use crate::world::principal::Principal;

const ACCOUNT: &str = "111122223333";

/// Assumes a role that trusts by `principal` and `condition`, as user alice of
/// `caller_account` with the identity policy `own`.
fn assume(
    (principal, condition): (&str, &str),
    (caller_account, own): (&str, &str),
    external_id: Option<&str>,
) -> Result<Session, String> {
    let iam = Iam::new(Arc::new(SettableClock::running()), None);
    let trust = format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Principal":{principal},
            "Action":"sts:AssumeRole","Condition":{condition}}}}}"#
    );
    let role = iam
        .create_role(ACCOUNT, &NewRole::named("app", &trust))
        .unwrap();
    let principal = Principal::User {
        account: caller_account.to_owned(),
        path_name: "alice".to_owned(),
    };
    let own = (!own.is_empty()).then(|| Document::identity(own).unwrap());
    let documents = own.into_iter().collect();
    let caller = Identity {
        documents,
        ..Identity::new(principal, "AIDA".to_owned())
    };
    let request = AssumeRole {
        role_arn: role.arn(),
        session_name: "test",
        duration: Duration::from_secs(900),
        policy: None,
        external_id,
    };
    iam.assume_role(&caller, &request)
        .map_err(|refused| match refused {
            IamError::AccessDenied { because, .. } => because,
            other => panic!("refused otherwise: {other}"),
        })
}

const ALLOW: &str = r#"{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}}"#;
const DENY: &str = r#"{"Statement":{"Effect":"Deny","Action":"sts:*","Resource":"*"}}"#;
const ELSEWHERE: &str = r#"{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*",
        "Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}}"#;

#[test]
fn a_role_is_assumed_by_whom_it_trusts_and_who_may() {
    let user = r#"{"AWS":"arn:aws:iam::111122223333:user/alice"}"#;
    let account = r#"{"AWS":"111122223333"}"#;
    let other_account = r#"{"AWS":"arn:aws:iam::444455556666:root"}"#;
    let bob = r#"{"AWS":"arn:aws:iam::111122223333:user/bob"}"#;
    let no_trust = Some("no role trust policy allows");
    let not_own = Some("no identity-based policy allows");
    for (principal, caller, refused) in [
        (user, (ACCOUNT, ""), None),
        (
            user,
            (ACCOUNT, DENY),
            Some("explicit deny in an identity-based policy"),
        ),
        (account, (ACCOUNT, ""), not_own),
        (account, (ACCOUNT, ALLOW), None),
        (account, (ACCOUNT, ELSEWHERE), not_own),
        (bob, (ACCOUNT, ALLOW), no_trust),
        (r#""*""#, (ACCOUNT, ""), None),
        (other_account, ("444455556666", ""), not_own),
        (other_account, ("444455556666", ALLOW), None),
        (user, ("444455556666", ALLOW), no_trust),
    ] {
        match (assume((principal, "{}"), caller, None), refused) {
            (Ok(_), None) => {}
            (Err(because), Some(part)) => {
                assert!(because.contains(part), "{principal} {caller:?}: {because}");
            }
            (outcome, _) => panic!("{principal} {caller:?}: {:?}", outcome.is_ok()),
        }
    }
}

#[test]
fn an_external_id_that_the_trust_policy_asks_for_must_be_presented() {
    let trust = (
        r#"{"AWS":"arn:aws:iam::111122223333:user/alice"}"#,
        r#"{"StringEquals":{"sts:ExternalId":"x1"}}"#,
    );
    assert!(assume(trust, (ACCOUNT, ""), None).is_err());
    assert!(assume(trust, (ACCOUNT, ""), Some("x2")).is_err());
    assert!(assume(trust, (ACCOUNT, ""), Some("x1")).is_ok());
}

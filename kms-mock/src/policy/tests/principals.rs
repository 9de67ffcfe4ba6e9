//! Who is named by a statement, and what boundaries, session policies and grants
//! leave of it.

use super::*;
use crate::world::directory::{Behind, Directory};

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

const BOB: &str = "arn:aws:iam::111122223333:user/bob";
const ROLE: &str = "arn:aws:iam::111122223333:role/R";
const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/R/s";
const ACCOUNT: &str = "arn:aws:iam::111122223333:root";

/// Everybody may do everything, but for a Deny with `NotPrincipal`.
fn all_but(listed: &[&str]) -> Arc<Policy> {
    let listed = listed.join(r#"",""#);
    key_policy(&format!(
        r#"{},{{"Effect":"Deny","NotPrincipal":{{"AWS":["{listed}"]}},"Action":"kms:*","Resource":"*"}}"#,
        allow("*")
    ))
}

#[test]
fn a_deny_with_not_principal_spares_the_listed_principals_and_nobody_beside_them() {
    let bob = user(OWNER, "bob");
    let alice = user(OWNER, "alice");
    let in_session = session(OWNER, "R");
    let mut other_session = session(OWNER, "R");
    other_session.principal = Principal::AssumedRole {
        account: OWNER.into(),
        role_path_name: "R".into(),
        session: "other".into(),
    };
    let root = root(OWNER);
    #[rustfmt::skip]
    let table: [(&[&str], &Caller, bool); 15] = [
        (&[BOB, ACCOUNT], &bob, true),
        (&[BOB, "111122223333"], &bob, true),
        // The account must stand there and exempts nobody but its root user.
        (&[BOB], &bob, false),
        (&[BOB, ACCOUNT], &alice, false),
        (&[ACCOUNT], &bob, false),
        (&[ACCOUNT], &root, true),
        (&[BOB], &root, false),
        (&[BOB, "arn:aws:iam::444455556666:root"], &bob, false),
        // Of a session: itself, its role and its account.
        (&[SESSION, ROLE, ACCOUNT], &in_session, true),
        (&[SESSION, ROLE, ACCOUNT], &other_session, false),
        (&[ROLE, ACCOUNT], &in_session, false),
        (&[SESSION, ACCOUNT], &in_session, false),
        (&[SESSION, ROLE], &in_session, false),
        (&[SESSION, ROLE, ACCOUNT], &alice, false),
        (&["*"], &alice, true),
    ];
    for (listed, caller, is_spared) in table {
        let policy = all_but(listed);
        let outcome = Ask::new(&policy, caller, "kms:Encrypt").outcome();
        let wanted = if is_spared { BY_KEY_POLICY } else { EXPLICIT };
        assert_eq!(outcome, wanted, "{listed:?} {}", caller.principal);
    }
}

#[test]
fn a_policy_reaches_the_identity_that_it_named_and_not_another_one_of_that_name() {
    #[derive(Debug)]
    struct OneRole(&'static str);
    impl Directory for OneRole {
        fn behind(&self, arn: &str) -> Behind {
            match arn {
                ROLE | SESSION => Behind::Id(self.0.into()),
                _ if arn.contains("111122223333") => Behind::Nobody,
                _ => Behind::NotKept,
            }
        }
        fn is_there(&self, unique_id: &str) -> bool {
            unique_id == self.0
        }
    }
    let parse = |principal: &str| {
        let text = format!(
            r#"{{"Version":"2012-10-17","Statement":[{}]}}"#,
            allow(principal)
        );
        Policy::parse(&text, PolicyKind::Key).unwrap()
    };
    let caller = |id: &str| Caller {
        user_id: Some(format!("{id}:s")),
        ..session(OWNER, "R")
    };
    for principal in [ROLE, SESSION] {
        let policy = Arc::new(parse(principal).bound_to(&OneRole("AROA1")).unwrap());
        let outcome = |id| Ask::new(&policy, &caller(id), "kms:Encrypt").outcome();
        assert_eq!(outcome("AROA1"), BY_KEY_POLICY, "{principal}");
        assert_eq!(outcome("AROA2"), NO_RESOURCE, "{principal}");
        assert_eq!(outcome("AROA11"), NO_RESOURCE, "{principal}");
        // A mere name is compared by name.
        let by_name = session(OWNER, "R");
        let outcome_by_name = Ask::new(&policy, &by_name, "kms:Encrypt").outcome();
        assert_eq!(outcome_by_name, BY_KEY_POLICY);

        let shown = |directory: &OneRole| policy.shown(policy.rendered(), directory).into_owned();
        assert!(shown(&OneRole("AROA1")).contains(principal));
        let gone = shown(&OneRole("AROA2"));
        assert!(!gone.contains(principal), "{gone}");
        let id = if principal == ROLE {
            "AROA1"
        } else {
            "AROA1:s"
        };
        assert!(gone.contains(&format!("\"{id}\"")), "{gone}");

        let kept = Policy::parse_kept(policy.text(), PolicyKind::Key, &policy.unique_ids());
        let kept = Arc::new(kept.unwrap());
        let outcome = |id| Ask::new(&kept, &caller(id), "kms:Encrypt").outcome();
        assert_eq!(
            (outcome("AROA1"), outcome("AROA2")),
            (BY_KEY_POLICY, NO_RESOURCE)
        );
    }
    let directory = OneRole("AROA1");
    for nobody in [
        BOB,
        "arn:aws:iam::111122223333:role/r",
        "arn:aws-cn:iam::444455556666:role/R",
    ] {
        let refused = parse(nobody).bound_to(&directory).unwrap_err();
        assert!(
            matches!(refused, PolicyError::InvalidPrincipal { .. }),
            "{nobody}"
        );
    }
    for stranger in [
        "arn:aws:iam::444455556666:role/R",
        "*",
        "111122223333",
        ACCOUNT,
    ] {
        assert!(parse(stranger).bound_to(&directory).is_ok(), "{stranger}");
    }
    // No principal of another partition calls here, or is kept from calling.
    let elsewhere = Arc::new(parse("arn:aws-cn:iam::111122223333:root"));
    let caller = with_iam(session(OWNER, "R"), "kms:*");
    assert_eq!(
        Ask::new(&elsewhere, &caller, "kms:Encrypt").outcome(),
        NO_RESOURCE
    );
}

#[test]
fn what_policies_must_not_have_is_refused_in_new_ones_and_left_in_old_ones() {
    let policy =
        |statement: &str| format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#);
    let not_principal = |effect: &str, more: &str| {
        policy(&format!(
            r#"{{"Effect":"{effect}","NotPrincipal":{{"AWS":"{ACCOUNT}"}},"Action":"sts:AssumeRole"{more}}}"#
        ))
    };
    let twice = r#"{"Sid":"a","Effect":"Allow","Action":"kms:*","Resource":"*"}"#;
    let twice = policy(&format!("{twice},{twice}"));
    let resource = |text: &str| {
        policy(&format!(
            r#"{{"Effect":"Allow","Action":"kms:*","Resource":"{text}"}}"#
        ))
    };
    #[rustfmt::skip]
    let table = [
        (not_principal("Allow", r#","Resource":"*""#), PolicyKind::Key, "statement 1: `NotPrincipal` is for Deny"),
        (not_principal("Allow", ""), PolicyKind::Trust, "statement 1: `NotPrincipal` is for Deny"),
        (not_principal("Deny", ""), PolicyKind::Trust, "statement 1: `NotPrincipal` is for Deny"),
        (twice, PolicyKind::Identity, "Statement IDs (SID) in a single policy must be unique."),
        (resource(""), PolicyKind::Identity, "Resource  must be in ARN format or \"*\"."),
        (resource("key/1"), PolicyKind::Identity, "Resource key/1 must be in ARN format or \"*\"."),
        (resource("arn:aws"), PolicyKind::Identity, "Resource arn:aws must be in ARN format or \"*\"."),
    ];
    for (text, kind, message) in table {
        let refused = Policy::parse(&text, kind).unwrap_err().to_string();
        assert!(refused.starts_with(message), "{refused}");
        assert!(Policy::parse_kept(&text, kind, &Default::default()).is_ok());
    }
    for good in [
        "*",
        "arn:aws:kms:*:*:key/*",
        "arn:aws:s3:::b/k",
        "arn:aws:kms:*",
    ] {
        assert!(
            Policy::parse(&resource(good), PolicyKind::Identity).is_ok(),
            "{good}"
        );
    }
    let deny = not_principal("Deny", r#","Resource":"*""#);
    assert!(Policy::parse(&deny, PolicyKind::Key).is_ok());
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

const NO_BOUNDARY: Outcome = Outcome::Denied(Denial::NoBoundary);

fn user(account: &str, name: &str) -> Caller {
    Caller::new(Principal::User {
        account: account.into(),
        path_name: name.into(),
    })
}

/// Bob, for whom alice's credentials asked, with session policies that allow
/// `action`.
fn federated(action: &str) -> Caller {
    let mut caller = Caller::new(Principal::FederatedUser {
        account: OWNER.into(),
        name: "bob".into(),
        by: Some("alice".into()),
    });
    caller.session_policies.push(iam("Allow", action));
    caller
}

#[test]
fn a_boundary_limits_what_iam_and_the_role_are_given_but_not_what_the_caller_itself_is() {
    let bounded = |mut caller: Caller| {
        caller.boundary = Some(iam("Allow", "kms:Encrypt"));
        with_iam(caller, "kms:*")
    };
    let role = bounded(session(OWNER, "R"));
    let alice = bounded(user(OWNER, "alice"));
    let stranger = bounded(session(OTHER, "R"));
    let by_iam = Outcome::Allowed(AllowedBy::IdentityPolicy);
    let across = Outcome::Allowed(AllowedBy::CrossAccount);
    #[rustfmt::skip]
    let table = [
        (&role, "111122223333", by_iam.clone(), NO_BOUNDARY),
        (&alice, "111122223333", by_iam, NO_BOUNDARY),
        (&role, "arn:aws:iam::111122223333:role/R", BY_KEY_POLICY, NO_BOUNDARY),
        (&role, "arn:aws:sts::111122223333:assumed-role/R/s", BY_KEY_POLICY, BY_KEY_POLICY),
        (&alice, "arn:aws:iam::111122223333:user/alice", BY_KEY_POLICY, BY_KEY_POLICY),
        (&role, "*", BY_KEY_POLICY, BY_KEY_POLICY),
        (&stranger, "arn:aws:iam::444455556666:role/R", across.clone(), NO_BOUNDARY),
        (&stranger, "arn:aws:sts::444455556666:assumed-role/R/s", across, NO_BOUNDARY),
    ];
    for (caller, principal, within, beyond) in table {
        let policy = key_policy(&allow(principal));
        for (action, wanted) in [("kms:Encrypt", within), ("kms:Decrypt", beyond)] {
            let outcome = Ask::new(&policy, caller, action).outcome();
            assert_eq!(outcome, wanted, "{principal} {action}");
        }
    }
}

#[test]
fn a_boundary_gives_nothing_and_its_deny_always_closes() {
    let delegated = key_policy(&allow("111122223333"));
    let mut alice = user(OWNER, "alice");
    alice.boundary = Some(iam("Allow", "kms:*"));
    assert_eq!(
        Ask::new(&delegated, &alice, "kms:Encrypt").outcome(),
        NO_IDENTITY
    );
    alice.boundary = Some(iam("Deny", "kms:Encrypt"));
    let itself = key_policy(&allow("arn:aws:iam::111122223333:user/alice"));
    assert_eq!(
        Ask::new(&itself, &alice, "kms:Encrypt").outcome(),
        Outcome::Denied(Denial::ExplicitDeny(PolicySource::Boundary))
    );
    let explained = Ask::new(&itself, &alice, "kms:Encrypt").decide().to_json();
    assert_eq!(
        explained["because"],
        "explicit deny in a permissions boundary"
    );
    assert_eq!(
        explained["policies"][0]["statements"][0]["verdict"],
        "applies to the caller itself"
    );
    assert_eq!(explained["policies"][1]["source"], "permissions boundary");
    assert_eq!(
        explained["policies"][1]["statements"][0]["verdict"],
        "applies"
    );
    assert_eq!(
        Ask::new(&itself, &alice, "kms:Decrypt").outcome(),
        BY_KEY_POLICY
    );
}

#[test]
fn a_grant_does_not_reach_beyond_a_boundary() {
    let mut caller = session(OWNER, "R");
    let grant = |action: &'static str| {
        Arc::new(Grant {
            id: "g".into(),
            name: None,
            grantee: "arn:aws:iam::111122223333:role/R".into(),
            retiring: None,
            operations: vec![action],
            constraint: None,
            issuing_account: OWNER.into(),
            created: UnixMillis(0),
            source_arn: None,
            grantee_id: None,
            retiring_id: None,
        })
    };
    let nobody = key_policy(&allow("arn:aws:iam::111122223333:role/Other"));
    let outcome = |caller: &Caller| {
        let mut ask = Ask::new(&nobody, caller, "kms:Decrypt");
        ask.grants = vec![grant("Decrypt")];
        ask.outcome()
    };
    let by_grant = Outcome::Allowed(AllowedBy::Grant {
        grant_id: "g".into(),
    });
    assert_eq!(outcome(&caller), by_grant);
    caller.boundary = Some(iam("Allow", "kms:Encrypt"));
    assert_eq!(outcome(&caller), NO_BOUNDARY);
    caller.boundary = Some(iam("Allow", "kms:Decrypt"));
    assert_eq!(outcome(&caller), by_grant);
}

#[test]
fn a_deny_with_not_principal_denies_every_caller_with_a_boundary() {
    let all_but_alice = format!(
        r#"{},{{"Effect":"Deny","NotPrincipal":{{"AWS":["arn:aws:iam::111122223333:user/alice","111122223333"]}},"Action":"kms:*","Resource":"*"}}"#,
        allow("*")
    );
    let policy = key_policy(&all_but_alice);
    let mut alice = user(OWNER, "alice");
    assert_eq!(
        Ask::new(&policy, &alice, "kms:Encrypt").outcome(),
        BY_KEY_POLICY
    );
    alice.boundary = Some(iam("Allow", "kms:*"));
    assert_eq!(Ask::new(&policy, &alice, "kms:Encrypt").outcome(), EXPLICIT);
}

#[test]
fn a_federated_user_has_at_most_what_the_user_and_the_session_policies_both_allow() {
    let no_session = Outcome::Denied(Denial::NoSessionPolicy);
    let delegated = key_policy(&allow("111122223333"));
    let outcome = |policy: &Arc<Policy>, caller: &Caller, action: &str| {
        Ask::new(policy, caller, action).outcome()
    };
    let bob = with_iam(federated("kms:Encrypt"), "kms:*");
    let by_iam = Outcome::Allowed(AllowedBy::IdentityPolicy);
    assert_eq!(outcome(&delegated, &bob, "kms:Encrypt"), by_iam);
    assert_eq!(outcome(&delegated, &bob, "kms:Decrypt"), no_session);
    assert_eq!(
        outcome(&delegated, &federated("kms:*"), "kms:Decrypt"),
        NO_IDENTITY
    );
    let mut without = bob.clone();
    without.session_policies.clear();
    assert_eq!(outcome(&delegated, &without, "kms:Encrypt"), no_session);

    // The user behind it is named: limited. Bob is named: not limited.
    let alice = key_policy(&allow("arn:aws:iam::111122223333:user/alice"));
    assert_eq!(
        outcome(&alice, &federated("kms:Encrypt"), "kms:Encrypt"),
        BY_KEY_POLICY
    );
    assert_eq!(
        outcome(&alice, &federated("kms:Encrypt"), "kms:Decrypt"),
        no_session
    );
    let itself = key_policy(&allow("arn:aws:sts::111122223333:federated-user/bob"));
    assert_eq!(outcome(&itself, &without, "kms:Decrypt"), BY_KEY_POLICY);
    let another = key_policy(&allow("arn:aws:sts::111122223333:federated-user/eve"));
    assert_eq!(outcome(&another, &bob, "kms:Decrypt"), NO_RESOURCE);

    // The root user's federated user has all permissions to share, and no more.
    let mut of_root = federated("kms:Encrypt");
    of_root.principal = Principal::FederatedUser {
        account: OWNER.into(),
        name: "bob".into(),
        by: None,
    };
    assert_eq!(outcome(&delegated, &of_root, "kms:Encrypt"), by_iam);
    assert_eq!(outcome(&delegated, &of_root, "kms:Decrypt"), no_session);
}

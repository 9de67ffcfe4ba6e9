//! Who is named by a statement, and what boundaries, session policies and grants
//! leave of it.

use super::*;

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

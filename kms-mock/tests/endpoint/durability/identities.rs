//! Roles, users, their credentials and sessions.

use std::time::Duration;

use kms_mock::{
    Auth, KmsMock,
    iam::{AssumeRole, Identity, NewRole},
};
use serde_json::json;

use super::{ACCOUNT, World, date_of};
use crate::support;

#[test]
fn identities_and_sessions_survive_and_sessions_end_when_they_should() {
    let mut world = World::new();
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") },
        }],
    })
    .to_string();
    let allow = json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Action": "kms:*", "Resource": "*" }],
    })
    .to_string();
    let iam = world.mock().iam();
    let role = iam
        .create_role(ACCOUNT, &NewRole::named("parent", &trust))
        .unwrap();
    iam.put_role_policy(ACCOUNT, "parent", "use-keys", &allow)
        .unwrap();
    iam.create_user(ACCOUNT, "/staff/", "alice").unwrap();
    iam.put_user_policy(ACCOUNT, "alice", "use-keys", &allow)
        .unwrap();
    let long_term = iam.create_access_key(ACCOUNT, "alice").unwrap();
    let session = iam
        .assume_role(
            &Identity::root(ACCOUNT),
            &AssumeRole {
                role_arn: role.arn(),
                session_name: "session",
                duration: Duration::from_secs(3600),
                policy: Some(&allow),
                external_id: None,
            },
        )
        .unwrap()
        .credentials;
    world.stop();
    world.start_with(|builder| builder.auth(Auth::Strict));
    let iam = world.mock().iam();
    let again = iam.role(ACCOUNT, "parent").unwrap();
    assert_eq!(
        (again.arn(), &again.entity.id, again.trust.text()),
        (role.arn(), &role.entity.id, trust.as_str())
    );
    // Two keys a user, of which one is there.
    assert!(iam.create_access_key(ACCOUNT, "alice").is_ok());
    assert!(iam.create_access_key(ACCOUNT, "alice").is_err());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let list = |world: &World, credentials: &_| {
        let date = date_of(&world.clock);
        runtime.block_on(signed_list_keys(world.mock(), credentials, &date))
    };
    assert_eq!(list(&world, &long_term), 200);
    assert_eq!(list(&world, &session), 200);
    world.stop();
    world.clock.advance(Duration::from_secs(3601));
    world.start_with(|builder| builder.auth(Auth::Strict));
    assert_eq!(list(&world, &long_term), 200);
    assert_eq!(list(&world, &session), 400);
}

async fn signed_list_keys(
    mock: &KmsMock,
    credentials: &kms_mock::iam::Credentials,
    date: &str,
) -> u16 {
    let request = support::kms_call(mock, credentials, date, "ListKeys", "{}");
    request.send().await.unwrap().status().as_u16()
}

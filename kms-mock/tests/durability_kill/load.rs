//! A server that is killed under write load, again and again, has lost nothing
//! that it acknowledged: it is killed at a number of acknowledged changes that is
//! drawn anew in each round.

use std::{collections::BTreeSet, sync::mpsc};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rand::Rng;
use serde_json::{Value, json};

use super::{
    ACCOUNT, names, rounds,
    server::{Client, Server},
};

const WRITERS: usize = 8;
const ACKNOWLEDGED_MAX: usize = 240;
const BUCKET: &str = "kept";

/// What one writer was told about one key.
#[derive(Clone, Debug, Default)]
struct Told {
    arn: String,
    alias: Option<String>,
    description: Option<String>,
    /// A description that was asked for and not acknowledged.
    perhaps: Option<String>,
    tags: BTreeSet<String>,
    grants: BTreeSet<String>,
    blobs: Vec<String>,
    rotations: usize,
    deletion: bool,
    /// An object of this name and these bytes.
    object: Option<String>,
}

/// Changes keys until the server is gone; what was acknowledged.
fn write(mut client: Client, name: &str, acknowledged: &mpsc::Sender<()>) -> Vec<Told> {
    let mut told = Vec::new();
    for n in 0.. {
        let Some((200, answer)) = client.kms("CreateKey", &json!({})) else {
            return told;
        };
        let _ = acknowledged.send(());
        told.push(Told {
            arn: answer["KeyMetadata"]["Arn"].as_str().unwrap().to_owned(),
            ..Told::default()
        });
        let key = told.last_mut().unwrap();
        if change(&mut client, key, &format!("{name}-{n}"), acknowledged).is_none() {
            return told;
        }
    }
    told
}

/// Every kind of change of a key, until one is not acknowledged.
fn change(
    client: &mut Client,
    key: &mut Told,
    name: &str,
    acknowledged: &mpsc::Sender<()>,
) -> Option<()> {
    let arn = key.arn.clone();
    let acknowledge = |answer: Option<(u16, Value)>| {
        let (status, answer) = answer?;
        assert_eq!(status, 200, "{answer}");
        let _ = acknowledged.send(());
        Some(answer)
    };
    let alias = format!("alias/{name}");
    let body = json!({ "AliasName": alias, "TargetKeyId": arn });
    acknowledge(client.kms("CreateAlias", &body))?;
    key.alias = Some(alias);
    for tag in ["one", "two"] {
        let tags = json!([{ "TagKey": tag, "TagValue": name }]);
        acknowledge(client.kms("TagResource", &json!({ "KeyId": arn, "Tags": tags })))?;
        key.tags.insert(tag.to_owned());
        let description = format!("{name} {tag}");
        key.perhaps = Some(description.clone());
        let body = json!({ "KeyId": arn, "Description": description });
        acknowledge(client.kms("UpdateKeyDescription", &body))?;
        key.description = key.perhaps.take();
        let body = json!({
            "KeyId": arn, "Operations": ["Decrypt"],
            "GranteePrincipal": format!("arn:aws:iam::{ACCOUNT}:role/{tag}"),
        });
        let grant = acknowledge(client.kms("CreateGrant", &body))?;
        key.grants
            .insert(grant["GrantId"].as_str().unwrap().to_owned());
        acknowledge(client.kms("RotateKeyOnDemand", &json!({ "KeyId": arn })))?;
        key.rotations += 1;
        let body = json!({ "KeyId": arn, "Plaintext": BASE64.encode(name) });
        let sealed = acknowledge(client.kms("Encrypt", &body))?;
        key.blobs
            .push(sealed["CiphertextBlob"].as_str().unwrap().to_owned());
    }
    let (status, answer) = client.send("PUT", &format!("/{BUCKET}/{name}"), "", name)?;
    assert_eq!(status, 200, "{answer}");
    let _ = acknowledged.send(());
    key.object = Some(name.to_owned());
    if name.ends_with('3') {
        let body = json!({ "KeyId": arn, "PendingWindowInDays": 7 });
        acknowledge(client.kms("ScheduleKeyDeletion", &body))?;
        key.deletion = true;
    }
    Some(())
}

/// Everything that was acknowledged is there.
fn check(client: &mut Client, key: &Told) {
    let id = json!({ "KeyId": key.arn });
    let metadata = client.ok("DescribeKey", &id)["KeyMetadata"].clone();
    let description = metadata["Description"].as_str().unwrap();
    let expected = key.description.as_deref().unwrap_or_default();
    assert!(
        description == expected || Some(description) == key.perhaps.as_deref(),
        "{key:?}: {description}"
    );
    if let Some(alias) = &key.alias {
        let found = client.ok("DescribeKey", &json!({ "KeyId": alias }));
        assert_eq!(found["KeyMetadata"]["Arn"], key.arn.as_str());
    }
    let tags = client.ok("ListResourceTags", &id);
    let tags: BTreeSet<String> = names(&tags["Tags"], "TagKey");
    assert!(tags.is_superset(&key.tags), "{key:?}: {tags:?}");
    let grants = client.ok("ListGrants", &id);
    let grants = names(&grants["Grants"], "GrantId");
    assert!(grants.is_superset(&key.grants), "{key:?}: {grants:?}");
    if let Some(name) = &key.object {
        let object = client.send("GET", &format!("/{BUCKET}/{name}"), "", "");
        assert_eq!(object, Some((200, name.clone())), "{key:?}");
    }
    if key.deletion {
        assert_eq!(metadata["KeyState"], "PendingDeletion", "{key:?}");
        return;
    }
    if metadata["KeyState"] != "Enabled" {
        return; // a deletion that was not acknowledged and happened
    }
    let rotations = client.ok("ListKeyRotations", &id)["Rotations"]
        .as_array()
        .unwrap()
        .len();
    assert!(
        (key.rotations..=key.rotations + 1).contains(&rotations),
        "{key:?}: {rotations}"
    );
    for blob in &key.blobs {
        client.ok("Decrypt", &json!({ "CiphertextBlob": blob }));
    }
}

#[test]
fn a_server_that_is_killed_again_and_again_loses_nothing_it_acknowledged() {
    let (rounds, mut rng) = rounds();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut all: Vec<Told> = Vec::new();
    let mut acknowledged_in_all = 0;
    for round in 0..rounds {
        let mut server = Server::start(&data);
        // The round before, before anything else happens.
        let mut client = server.client();
        let fresh = all.len().saturating_sub(ACKNOWLEDGED_MAX);
        all.iter()
            .skip(fresh)
            .for_each(|key| check(&mut client, key));
        if round == 0 {
            let made = client.send("PUT", &format!("/{BUCKET}"), "", "");
            assert_eq!(made.map(|(status, _)| status), Some(200));
        }
        let (sender, acknowledged) = mpsc::channel();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (client, sender) = (server.client(), sender.clone());
                let name = format!("{round}-{writer}");
                std::thread::spawn(move || write(client, &name, &sender))
            })
            .collect();
        drop(sender);
        let enough = rng.random_range(1..ACKNOWLEDGED_MAX);
        let counted = acknowledged.iter().take(enough).count();
        server.kill();
        assert_eq!(counted, enough, "the server was gone before it was killed");
        acknowledged_in_all += counted + acknowledged.iter().count();
        for writer in writers {
            all.extend(writer.join().unwrap());
        }
    }
    let server = Server::start(&data);
    let mut client = server.client();
    all.iter().for_each(|key| check(&mut client, key));
    println!(
        "killed {rounds} times, {acknowledged_in_all} changes acknowledged, {} keys, none lost",
        all.len()
    );
}

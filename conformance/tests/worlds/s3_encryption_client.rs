//! Amazon's own S3 Encryption Client for Python against the cloud, and our
//! envelope against it, in both directions.

use std::collections::BTreeMap;

use crate::clients::{Surroundings, cases, python, run, step};
use aws_sdk_kms::primitives::Blob;
use conformance::lab::{
    cloud::{BUCKET, Cloud, REGION, Role},
    hospital::{self, OBJECT_BYTES_MAX},
};
use enclave_app::{
    envelope::{self, DataKey, EncryptionContext, Envelope, EnvelopeError, OldVersion},
    job::wire::StoredObject,
    parent::s3::ObjectStore as _,
};
use nsm_sim::{attestation::pki::Pki, clock::SettableClock, seed::WorldSeed};

const SCRIPT: &str = "s3_encryption_client.py";

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_round_trips_and_its_refusals_hold() {
    let Some(python) = python().await else { return };
    let world = World::start().await;
    let passed = cases(&python, SCRIPT, &["cases"], &world.root()).await;
    assert_eq!(passed, 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_official_client_writes_our_envelope_opens() {
    let Some(python) = python().await else { return };
    let world = World::start().await;
    for length in [0, 1, 16, 300_000] {
        let plaintext = bytes(length);
        world.write(&python, "write", &plaintext).await;
        let object = world.get().await;
        let envelope = Envelope::parse(&object.metadata).unwrap();
        assert_eq!(
            envelope.context,
            envelope::request_context(&context()).unwrap()
        );
        let opened = world.open(&envelope, &object).await.unwrap();
        assert_eq!(opened, plaintext, "{length} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_our_envelope_seals_the_official_client_reads() {
    let Some(python) = python().await else { return };
    let world = World::start().await;
    for length in [0, 1, 16, 300_000] {
        let plaintext = bytes(length);
        world.put(world.seal(&plaintext).await).await;
        let file = world.file();
        step(&python, SCRIPT, &world.arguments("read"), &world.root()).await;
        assert_eq!(std::fs::read(file).unwrap(), plaintext, "{length} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_refuses_ours_once_a_bit_is_flipped() {
    let Some(python) = python().await else { return };
    let world = World::start().await;
    let mut object = world.seal(b"pixels").await;
    object.body[3] ^= 1;
    world.put(object).await;
    let said = run(&python, SCRIPT, &world.arguments("read"), &world.root()).await;
    assert!(!said.success, "{said}");
    assert!(said.stderr.contains("S3EncryptionClient"), "{said}");
    assert!(!world.file().exists(), "it wrote a plaintext");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_clients_older_format_is_refused() {
    let Some(python) = python().await else { return };
    let world = World::start().await;
    world.write(&python, "write-v2", b"pixels").await;
    assert_eq!(
        Envelope::parse(&world.get().await.metadata).unwrap_err(),
        EnvelopeError::OldVersion {
            version: OldVersion::V2
        }
    );
}

/// A cloud with a bucket, a key of the account's, and a folder for files.
struct World {
    cloud: Cloud,
    key: String,
    folder: tempfile::TempDir,
}

/// The one object that a test is about.
const KEY: &str = "exchanged/object";

impl World {
    async fn start() -> Self {
        let root = Pki::new(&WorldSeed::random(), REGION).root_pem();
        let cloud = Cloud::start(&root, SettableClock::running()).await.unwrap();
        cloud.create_bucket(BUCKET).await.unwrap();
        let key = cloud.kms_admin().unwrap().create_key().send().await;
        Self {
            key: key.unwrap().key_metadata.unwrap().arn.unwrap(),
            cloud,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn root(&self) -> Surroundings {
        Surroundings::root(self.cloud.mock())
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("plaintext")
    }

    fn arguments(&self, verb: &str) -> [String; 6] {
        [
            verb.to_owned(),
            BUCKET.to_owned(),
            KEY.to_owned(),
            self.key.clone(),
            serde_json::to_string(&context()).unwrap(),
            self.file().to_str().unwrap().to_owned(),
        ]
    }

    async fn write(&self, python: &std::path::Path, verb: &str, plaintext: &[u8]) {
        std::fs::write(self.file(), plaintext).unwrap();
        step(python, SCRIPT, &self.arguments(verb), &self.root()).await;
    }

    async fn get(&self) -> StoredObject {
        let s3 = hospital::s3(&self.cloud, Role::Uploader).unwrap();
        s3.get(BUCKET, KEY, OBJECT_BYTES_MAX).await.unwrap()
    }

    async fn put(&self, object: StoredObject) {
        let s3 = hospital::s3(&self.cloud, Role::Uploader).unwrap();
        s3.put(BUCKET, KEY, object).await.unwrap();
    }

    async fn seal(&self, plaintext: &[u8]) -> StoredObject {
        let context = envelope::request_context(&context()).unwrap();
        let made = self
            .cloud
            .kms_admin()
            .unwrap()
            .generate_data_key()
            .key_id(&self.key)
            .number_of_bytes(32)
            .set_encryption_context(Some(context.clone().into_iter().collect()))
            .send()
            .await
            .unwrap();
        let data_key = DataKey::from_slice(made.plaintext.unwrap().as_ref()).unwrap();
        envelope::seal(
            &data_key,
            made.ciphertext_blob.unwrap().as_ref(),
            &context,
            plaintext,
        )
    }

    async fn open(
        &self,
        envelope: &Envelope,
        object: &StoredObject,
    ) -> Result<Vec<u8>, EnvelopeError> {
        let answer = self
            .cloud
            .kms_admin()
            .unwrap()
            .decrypt()
            .key_id(&self.key)
            .ciphertext_blob(Blob::new(envelope.wrapped_key.clone()))
            .set_encryption_context(Some(envelope.context.clone().into_iter().collect()))
            .send()
            .await
            .unwrap();
        let data_key = DataKey::from_slice(answer.plaintext.unwrap().as_ref()).unwrap();
        Ok(envelope.open(&data_key, &object.body)?.to_vec())
    }
}

fn context() -> EncryptionContext {
    BTreeMap::from([
        ("purpose".into(), "interoperability".into()),
        ("study".into(), "1.2.840.1 \"\\/<~>".into()),
    ])
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 % 251) as u8).collect()
}

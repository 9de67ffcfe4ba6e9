//! Attested KMS calls over the wire: what KMS checks, what it answers, what it
//! refuses. Truth: ground truth KMS §1 and §2.

use anyhow::{Context as _, bail, ensure};
use aws_nitro_enclaves_nsm_api::api::{Request, Response};
use aws_sdk_kms::{
    error::ProvideErrorMetadata as _,
    operation::decrypt::DecryptOutput,
    primitives::Blob,
    types::{DataKeySpec, KeyEncryptionMechanism, RecipientInfo},
};
use enclave_app::enclave::keys::RecipientKey;
use nsm_sim::{
    attestation::{pki::Pki, verify::Verifier},
    clock::{Clock as _, SettableClock, UnixMillis},
    device::{Measurements, Nsm},
    seed::WorldSeed,
};
use serde_bytes::ByteBuf;

use crate::{
    case::{Judge, Judged},
    lab::{
        INSTANCE_ID,
        cloud::{Cloud, INPUT_ALIAS, REGION, Role},
    },
    suites::plan::Plan,
};

/// Runs the suite against a cloud of its own.
pub(super) async fn run(plan: &Plan<'_>) -> Vec<Judged> {
    let mut judge = Judge::new("recipient", "kms-mock, over TLS", plan.filter, plan.on_case);
    let bench = match Bench::start().await {
        Ok(bench) => bench,
        Err(error) => {
            judge.fail_all(&error);
            return judge.finish();
        }
    };
    judge
        .case(
            "the right enclave gets the data key, for itself alone",
            "KMS §1.1",
            bench.succeeds(),
        )
        .await;
    judge
        .case(
            "an attested answer holds no Plaintext and no KeyMaterialId",
            "KMS §1.1",
            bench.no_plaintext(),
        )
        .await;
    judge
        .case(
            "CiphertextForRecipient is AWS's BER form and names the key by SHA-256 of its SPKI",
            "KMS §1.2",
            bench.ber_form(),
        )
        .await;
    judge
        .case(
            "a document may be used again within its window",
            "KMS §2",
            bench.replay(),
        )
        .await;
    judge
        .case(
            "another PCR0 is AccessDenied",
            "KMS §2",
            bench.other_image(),
        )
        .await;
    judge
        .case(
            "no Recipient is AccessDenied",
            "KMS §2",
            bench.no_recipient(),
        )
        .await;
    judge
        .case(
            "random bytes for a document are a ValidationException",
            "KMS §2",
            bench.garbage(),
        )
        .await;
    judge
        .case(
            "a flipped bit of a document is a ValidationException",
            "KMS §2",
            bench.flipped(),
        )
        .await;
    judge
        .case(
            "a document of another root is a ValidationException",
            "KMS §2",
            bench.other_root(),
        )
        .await;
    judge
        .case(
            "a document without a public key is a ValidationException",
            "KMS §2",
            bench.no_key(),
        )
        .await;
    judge
        .case(
            "a document older than five minutes is refused",
            "KMS §2",
            bench.stale(),
        )
        .await;
    judge
        .case(
            "GenerateDataKey and GenerateRandom answer for the recipient too",
            "KMS §1.1",
            bench.others(),
        )
        .await;
    judge.finish()
}

struct Bench {
    cloud: Cloud,
    seed: WorldSeed,
    clock: SettableClock,
    blob: Blob,
}

fn measurements() -> Measurements {
    Measurements {
        pcr0: [0xb0; 48],
        pcr1: [0xb1; 48],
        pcr2: [0xb2; 48],
        pcr8: None,
    }
}

const CONTEXT: (&str, &str) = ("purpose", "inference-input");

impl Bench {
    async fn start() -> anyhow::Result<Self> {
        let seed = WorldSeed::random();
        let clock = SettableClock::running();
        let cloud = Cloud::start(&Pki::new(&seed, REGION).root_pem(), clock.clone()).await?;
        cloud
            .bind_keys(&measurements(), &crate::lab::cloud::parent_pcr3())
            .await?;
        let blob = cloud
            .kms(Role::Uploader)?
            .generate_data_key()
            .key_id(INPUT_ALIAS)
            .key_spec(DataKeySpec::Aes256)
            .encryption_context(CONTEXT.0, CONTEXT.1)
            .send()
            .await?
            .ciphertext_blob
            .context("GenerateDataKey answered no blob")?;
        Ok(Self {
            cloud,
            seed,
            clock,
            blob,
        })
    }

    fn document(
        &self,
        measurements: Measurements,
        public_key: Option<&[u8]>,
    ) -> anyhow::Result<Vec<u8>> {
        attest(&self.seed, measurements, public_key, self.clock.now())
    }

    async fn decrypt(&self, document: Option<Vec<u8>>) -> Result<DecryptOutput, (String, String)> {
        let recipient = document.map(|document| {
            RecipientInfo::builder()
                .attestation_document(Blob::new(document))
                .key_encryption_algorithm(KeyEncryptionMechanism::RsaesOaepSha256)
                .build()
        });
        let client = self
            .cloud
            .kms(Role::Parent)
            .map_err(|e| ("client".to_owned(), e.to_string()))?;
        client
            .decrypt()
            .key_id(self.cloud.input_key_arn())
            .ciphertext_blob(self.blob.clone())
            .encryption_context(CONTEXT.0, CONTEXT.1)
            .set_recipient(recipient)
            .send()
            .await
            .map_err(|error| {
                let code = error.code().unwrap_or("no code").to_owned();
                (code, error.message().unwrap_or_default().to_owned())
            })
    }

    async fn refused(&self, document: Option<Vec<u8>>, expected: &str) -> anyhow::Result<()> {
        match self.decrypt(document).await {
            Ok(_) => bail!("KMS answered with the data key"),
            Err((code, message)) => {
                ensure!(code == expected, "KMS answered {code}: {message}");
                let leaked = ["pcr0", "root", "stale"]
                    .iter()
                    .any(|word| message.contains(word));
                ensure!(
                    expected != "AccessDeniedException" || !leaked,
                    "the answer says why: {message}"
                );
                Ok(())
            }
        }
    }

    async fn attested(&self) -> anyhow::Result<(RecipientKey, DecryptOutput)> {
        let key = RecipientKey::generate()?;
        let document = self.document(measurements(), Some(key.public_der()))?;
        let answer = self
            .decrypt(Some(document))
            .await
            .map_err(|(code, message)| anyhow::anyhow!("KMS answered {code}: {message}"))?;
        Ok((key, answer))
    }

    async fn succeeds(&self) -> anyhow::Result<()> {
        let (key, answer) = self.attested().await?;
        let cms = answer
            .ciphertext_for_recipient
            .context("no CiphertextForRecipient")?;
        let stranger = RecipientKey::generate()?;
        ensure!(
            stranger.open_data_key(cms.as_ref()).is_err(),
            "a stranger's key opens it"
        );
        key.open_data_key(cms.as_ref())
            .context("the enclave's own key does not open it")?;
        Ok(())
    }

    async fn no_plaintext(&self) -> anyhow::Result<()> {
        let (_, answer) = self.attested().await?;
        ensure!(
            answer.plaintext.is_none(),
            "Plaintext beside CiphertextForRecipient"
        );
        ensure!(
            answer.key_material_id.is_none(),
            "KeyMaterialId in an attested answer"
        );
        ensure!(
            answer.key_id.as_deref() == Some(self.cloud.input_key_arn()),
            "KeyId {:?}",
            answer.key_id
        );
        Ok(())
    }

    async fn ber_form(&self) -> anyhow::Result<()> {
        let (key, answer) = self.attested().await?;
        let cms = answer
            .ciphertext_for_recipient
            .context("no CiphertextForRecipient")?
            .into_inner();
        // ContentInfo and EnvelopedData indefinite, version 2, SET and
        // KeyTransRecipientInfo definite, version 2.
        let expected = "308006092a864886f70d010703a08030800201023182016b30820167020102";
        let head = hex::encode(cms.get(..expected.len() / 2).unwrap_or_default());
        ensure!(head == expected, "it begins with {head}");
        let ski = crate::lab::hospital::sha256(key.public_der());
        ensure!(
            cms.windows(32).any(|window| window == ski),
            "no SHA-256 of the SPKI in it"
        );
        ensure!(
            cms.ends_with(&[0; 10]),
            "it does not end with five end-of-contents"
        );
        Ok(())
    }

    async fn replay(&self) -> anyhow::Result<()> {
        let key = RecipientKey::generate()?;
        let document = self.document(measurements(), Some(key.public_der()))?;
        for _ in 0..2 {
            self.decrypt(Some(document.clone()))
                .await
                .map_err(|(code, message)| anyhow::anyhow!("KMS answered {code}: {message}"))?;
        }
        Ok(())
    }

    async fn other_image(&self) -> anyhow::Result<()> {
        let key = RecipientKey::generate()?;
        let other = Measurements {
            pcr0: [0xbb; 48],
            ..measurements()
        };
        self.refused(
            Some(self.document(other, Some(key.public_der()))?),
            "AccessDeniedException",
        )
        .await
    }

    async fn no_recipient(&self) -> anyhow::Result<()> {
        self.refused(None, "AccessDeniedException").await
    }

    async fn garbage(&self) -> anyhow::Result<()> {
        let garbage: Vec<u8> = (0..4096_u32).map(|n| (n * 31 % 251) as u8).collect();
        self.refused(Some(garbage), "ValidationException").await
    }

    async fn flipped(&self) -> anyhow::Result<()> {
        let key = RecipientKey::generate()?;
        let document = self.document(measurements(), Some(key.public_der()))?;
        for at in [0, 8, 200, document.len() / 2, document.len() - 1] {
            let mut changed = document.clone();
            changed[at] ^= 1;
            self.refused(Some(changed), "ValidationException")
                .await
                .with_context(|| format!("byte {at}"))?;
        }
        Ok(())
    }

    async fn other_root(&self) -> anyhow::Result<()> {
        let key = RecipientKey::generate()?;
        let elsewhere = WorldSeed::random();
        let document = attest(
            &elsewhere,
            measurements(),
            Some(key.public_der()),
            self.clock.now(),
        )?;
        ensure!(
            Verifier::aws().verify_at_own_time(&document).is_err(),
            "it verifies as AWS's"
        );
        self.refused(Some(document), "ValidationException").await
    }

    async fn no_key(&self) -> anyhow::Result<()> {
        self.refused(
            Some(self.document(measurements(), None)?),
            "ValidationException",
        )
        .await
    }

    async fn stale(&self) -> anyhow::Result<()> {
        let key = RecipientKey::generate()?;
        let then = UnixMillis(self.clock.now().0 - 301_000);
        let document = attest(&self.seed, measurements(), Some(key.public_der()), then)?;
        self.refused(Some(document), "ValidationException").await
    }

    async fn others(&self) -> anyhow::Result<()> {
        let key = RecipientKey::generate()?;
        let document = self.document(measurements(), Some(key.public_der()))?;
        let recipient = RecipientInfo::builder()
            .attestation_document(Blob::new(document))
            .key_encryption_algorithm(KeyEncryptionMechanism::RsaesOaepSha256)
            .build();
        let client = self.cloud.kms(Role::Parent)?;
        let generated = client
            .generate_data_key()
            .key_id(self.cloud.result_key_arn())
            .key_spec(DataKeySpec::Aes256)
            .recipient(recipient.clone())
            .send()
            .await?;
        ensure!(
            generated.plaintext.is_none(),
            "GenerateDataKey answered Plaintext"
        );
        ensure!(
            generated.ciphertext_blob.is_some(),
            "GenerateDataKey answered no blob"
        );
        let cms = generated
            .ciphertext_for_recipient
            .context("no CiphertextForRecipient")?;
        key.open_data_key(cms.as_ref())
            .context("the enclave's own key does not open it")?;
        let random = self
            .cloud
            .kms_admin()?
            .generate_random()
            .number_of_bytes(24)
            .recipient(recipient)
            .send()
            .await?;
        ensure!(
            random.plaintext.is_none(),
            "GenerateRandom answered Plaintext"
        );
        ensure!(
            random.ciphertext_for_recipient.is_some(),
            "no CiphertextForRecipient"
        );
        Ok(())
    }
}

fn attest(
    seed: &WorldSeed,
    measurements: Measurements,
    public_key: Option<&[u8]>,
    at: UnixMillis,
) -> anyhow::Result<Vec<u8>> {
    let nsm = Nsm::builder()
        .measurements(measurements)
        .role_arn(Role::Parent.arn())
        .instance_id(INSTANCE_ID)
        .region(REGION)
        .clock(SettableClock::frozen(at))
        .seed(seed.clone())
        .build();
    let public_key = public_key.map(|key| ByteBuf::from(key.to_vec()));
    match nsm.request(Request::Attestation {
        user_data: None,
        nonce: None,
        public_key,
    }) {
        Response::Attestation { document } => Ok(document),
        other => bail!("Attestation answered {other:?}"),
    }
}

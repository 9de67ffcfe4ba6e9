//! The two ends of the flow that hold plaintext: the uploader, who encrypts an
//! image in the Amazon S3 Encryption Client's V3 format and signs the job, and
//! the clinician, who reads the result as that client would and checks its
//! receipt.
//!
//! Truth: ground truth KMS §5 for the format, the main flow for contexts and
//! names. Both act with roles of their own and never touch the enclave.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context as _, ensure};
use aws_lc_rs::digest;
use aws_sdk_kms::{
    primitives::Blob,
    types::{DataKeySpec, EncryptionAlgorithmSpec},
};
use enclave_app::{
    clock::SystemClock,
    envelope::{self, DataKey, Envelope},
    job::{
        manifest::{Manifest, SubmitterKey},
        wire::StoredObject,
    },
    parent::{
        credentials::CredentialSource,
        s3::{Endpoint, ObjectStore as _, S3Client, S3Limits},
    },
};
use nsm_sim::{
    attestation::verify::{AttestationDocument, Verifier},
    clock::UnixMillis,
    device::Measurements,
};
use serde::Deserialize;

use super::cloud::{BUCKET, Cloud, INPUT_ALIAS, Role};

/// The largest object that is downloaded: the parent's own bound.
pub const OBJECT_BYTES_MAX: usize = 64 << 20;
/// How long a job may wait for its enclave.
const JOB_LIFETIME_MS: u64 = 15 * 60 * 1000;

/// Where a job's parts lie in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobObjects {
    /// The job's id.
    pub job: String,
    /// The encrypted image.
    pub key: String,
    /// The signed manifest.
    pub manifest_key: String,
    /// Where the encrypted result goes.
    pub result_key: String,
}

impl JobObjects {
    /// The names of job `job`.
    #[must_use]
    pub fn of(job: &str) -> Self {
        Self {
            job: job.to_owned(),
            key: format!("incoming/{job}"),
            manifest_key: format!("incoming/{job}.job"),
            result_key: format!("results/{job}"),
        }
    }

    /// Where the receipt lies.
    #[must_use]
    pub fn receipt_key(&self) -> String {
        format!("{}.receipt", self.result_key)
    }

    /// Where the report lies that tells the clinician why there is no result.
    #[must_use]
    pub fn report_key(&self) -> String {
        format!("{}.refused", self.result_key)
    }
}

/// An uploaded job and the secrets that only the hospital holds, for the tests
/// that search for them where they must not be.
#[allow(missing_debug_implementations)] // holds a secret
pub struct Uploaded {
    /// Where its parts lie.
    pub objects: JobObjects,
    /// The manifest that was signed.
    pub manifest: Manifest,
    /// The data key of the image.
    pub data_key: Secret,
}

/// A data key as it stands, for those who must search for it.
pub type Secret = zeroize::Zeroizing<Vec<u8>>;

/// What the clinician reads.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// The job's id.
    pub job: String,
    /// One entry per class of the model.
    pub findings: Vec<Finding>,
    /// SHA-256 of the model, hex.
    pub model_sha256: String,
    /// SHA-256 of the image as it was before encryption, hex.
    pub input_sha256: String,
    /// What kind of image it was.
    pub image: Image,
    /// What the findings are good for.
    pub notice: String,
}

/// What the clinician reads of a refused job.
#[derive(Clone, Debug, Deserialize)]
pub struct RefusalReport {
    /// The job's id.
    pub job: String,
    /// Why there are no findings.
    pub refused: Refused,
}

/// Why there are no findings; `detail` may repeat what stands in the image.
#[derive(Clone, Debug, Deserialize)]
#[allow(missing_docs)] // as in the report
pub struct Refused {
    pub code: String,
    pub reason: String,
    pub message: String,
    pub detail: String,
}

/// One class and its probability.
#[derive(Clone, Debug, Deserialize, serde::Serialize)]
pub struct Finding {
    /// The class.
    pub label: String,
    /// Between 0 and 1.
    pub probability: f64,
}

/// What kind of image was analysed.
#[derive(Clone, Debug, Deserialize, serde::Serialize)]
pub struct Image {
    /// Format and transfer syntax.
    pub format: String,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// A result that was opened and whose receipt holds.
#[allow(missing_debug_implementations)] // holds secrets
pub struct Reading {
    /// The findings.
    pub report: Report,
    /// The verified receipt.
    pub receipt: AttestationDocument,
    /// The receipt as it was stored.
    pub receipt_bytes: Vec<u8>,
    /// The encrypted result as it was stored.
    pub object: StoredObject,
    /// The data key of the result.
    pub data_key: Secret,
    /// The result as it was before encryption.
    pub plaintext: Secret,
}

/// Encrypts `image` under the input key, uploads it and signs its job.
///
/// # Errors
/// If KMS or S3 refuses.
pub async fn upload(
    cloud: &Cloud,
    submitter: &SubmitterKey,
    job: &str,
    image: &[u8],
    now: UnixMillis,
) -> anyhow::Result<Uploaded> {
    let objects = JobObjects::of(job);
    let mut manifest = Manifest {
        job: job.to_owned(),
        bucket: BUCKET.to_owned(),
        key: objects.key.clone(),
        ciphertext_sha256: [0; 32],
        study: "1.2.826.0.1.3680043.10.1338.1".to_owned(),
        issued_at_ms: now.0,
        expires_at_ms: now.0 + JOB_LIFETIME_MS,
    };
    let context = envelope::request_context(&envelope::input_context(&manifest))?;
    let answer = cloud
        .kms(Role::Uploader)?
        .generate_data_key()
        .key_id(INPUT_ALIAS)
        .key_spec(DataKeySpec::Aes256)
        .set_encryption_context(Some(context.clone().into_iter().collect()))
        .send()
        .await
        .context("the uploader's GenerateDataKey")?;
    let plaintext_key = answer
        .plaintext
        .context("GenerateDataKey answered no Plaintext")?;
    let wrapped_key = answer
        .ciphertext_blob
        .context("GenerateDataKey answered no blob")?;
    let data_key = Secret::new(plaintext_key.into_inner());
    let object = envelope::seal(&key_of(&data_key)?, wrapped_key.as_ref(), &context, image);
    manifest.ciphertext_sha256 = sha256(&object.body);
    let signed = StoredObject {
        metadata: BTreeMap::new(),
        body: manifest.sign(submitter)?.into(),
    };
    let s3 = s3(cloud, Role::Uploader)?;
    s3.put(BUCKET, &objects.key, object).await?;
    s3.put(BUCKET, &objects.manifest_key, signed).await?;
    Ok(Uploaded {
        objects,
        manifest,
        data_key,
    })
}

/// Downloads and opens the result of `uploaded` and checks its receipt: a
/// document of the expected enclave, made after the job was issued, over
/// exactly this ciphertext.
///
/// # Errors
/// If anything is missing or does not hold; nothing is shown then.
pub async fn read(
    cloud: &Cloud,
    uploaded: &Uploaded,
    verifier: &Verifier,
    expected: &Measurements,
    parent_pcr3: &[u8],
    now: UnixMillis,
) -> anyhow::Result<Reading> {
    let Fetched {
        object,
        receipt_bytes,
        receipt,
        plaintext,
        data_key,
    } = fetch(
        cloud,
        uploaded,
        &uploaded.objects.result_key,
        verifier,
        expected,
        parent_pcr3,
        now,
    )
    .await?;
    let report: Report =
        serde_json::from_slice(&plaintext).context("the result is not a findings report")?;
    ensure!(
        report.job == uploaded.objects.job,
        "the result belongs to job {}",
        report.job
    );
    Ok(Reading {
        report,
        receipt,
        receipt_bytes,
        object,
        data_key,
        plaintext,
    })
}

/// Downloads and opens the report of a refused job, as [`read`] does a result.
///
/// # Errors
/// If anything is missing or does not hold; nothing is shown then.
pub async fn read_refusal(
    cloud: &Cloud,
    uploaded: &Uploaded,
    verifier: &Verifier,
    expected: &Measurements,
    parent_pcr3: &[u8],
    now: UnixMillis,
) -> anyhow::Result<RefusalReport> {
    let key = uploaded.objects.report_key();
    let fetched = fetch(cloud, uploaded, &key, verifier, expected, parent_pcr3, now).await?;
    let context = Envelope::parse(&fetched.object.metadata)?.context;
    ensure!(
        context.get("outcome").map(String::as_str) == Some("refused"),
        "the report's encryption context is that of a result"
    );
    let report: RefusalReport = serde_json::from_slice(&fetched.plaintext)
        .context("the report does not say why the job was refused")?;
    ensure!(
        report.job == uploaded.objects.job,
        "the report belongs to job {}",
        report.job
    );
    Ok(report)
}

/// A sealed object that was opened and whose receipt holds.
struct Fetched {
    object: StoredObject,
    receipt_bytes: Vec<u8>,
    receipt: AttestationDocument,
    plaintext: Secret,
    data_key: Secret,
}

async fn fetch(
    cloud: &Cloud,
    uploaded: &Uploaded,
    key: &str,
    verifier: &Verifier,
    expected: &Measurements,
    parent_pcr3: &[u8],
    now: UnixMillis,
) -> anyhow::Result<Fetched> {
    let s3 = s3(cloud, Role::Clinician)?;
    let object = s3.get(BUCKET, key, OBJECT_BYTES_MAX).await?;
    let receipt_bytes = s3
        .get(BUCKET, &format!("{key}.receipt"), OBJECT_BYTES_MAX)
        .await?
        .body
        .into_vec();
    let receipt = check_receipt(
        &receipt_bytes,
        &object.body,
        verifier,
        expected,
        parent_pcr3,
        now,
    )?;
    ensure!(
        receipt.timestamp.0 + 1000 >= uploaded.manifest.issued_at_ms,
        "the receipt is older than the job"
    );
    let (plaintext, data_key) = open(cloud, uploaded, &object).await?;
    Ok(Fetched {
        object,
        receipt_bytes,
        receipt,
        plaintext,
        data_key,
    })
}

/// Whether `receipt` proves that the expected enclave made `body`.
///
/// # Errors
/// Says what does not hold.
pub fn check_receipt(
    receipt: &[u8],
    body: &[u8],
    verifier: &Verifier,
    expected: &Measurements,
    parent_pcr3: &[u8],
    now: UnixMillis,
) -> anyhow::Result<AttestationDocument> {
    let document = verifier
        .verify(receipt, now)
        .context("the receipt does not verify")?;
    let pcr = |index: u8| document.pcrs.get(&index).map(Vec::as_slice);
    for (index, value) in [
        (0, expected.pcr0.as_slice()),
        (1, expected.pcr1.as_slice()),
        (2, expected.pcr2.as_slice()),
        (3, parent_pcr3),
    ] {
        ensure!(
            pcr(index) == Some(value),
            "the receipt's PCR{index} is not this enclave's"
        );
    }
    ensure!(
        document.user_data.as_deref() == Some(sha256(body).as_slice()),
        "the receipt is about another result"
    );
    Ok(document)
}

async fn open(
    cloud: &Cloud,
    uploaded: &Uploaded,
    object: &StoredObject,
) -> anyhow::Result<(Secret, Secret)> {
    let envelope = Envelope::parse(&object.metadata)?;
    let stated = |name: &str| envelope.context.get(name).map(String::as_str);
    ensure!(
        stated("purpose") == Some("inference-result")
            && stated("job") == Some(&uploaded.objects.job),
        "the result's encryption context belongs to another job"
    );
    let answer = cloud
        .kms(Role::Clinician)?
        .decrypt()
        .key_id(cloud.result_key_arn())
        .ciphertext_blob(Blob::new(envelope.wrapped_key.clone()))
        .encryption_algorithm(EncryptionAlgorithmSpec::SymmetricDefault)
        .set_encryption_context(Some(envelope.context.clone().into_iter().collect()))
        .send()
        .await
        .context("the clinician's Decrypt")?;
    let key = answer.plaintext.context("Decrypt answered no Plaintext")?;
    let data_key = Secret::new(key.into_inner());
    let plaintext = envelope.open(&key_of(&data_key)?, &object.body)?;
    Ok((plaintext, data_key))
}

/// A DICOM file in implicit VR whose patient's name declares 8 bytes: the rest of it
/// stands where a tag and a length are expected.
#[must_use]
pub fn short_name(name: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 128];
    file.extend_from_slice(
        b"DICM\x02\0\0\0UL\x04\0\x1a\0\0\0\x02\0\x10\0UI\x12\x001.2.840.10008.1.2\0",
    );
    file.extend_from_slice(&[0x10, 0, 0x10, 0, 8, 0, 0, 0]);
    file.extend_from_slice(name);
    file
}

fn key_of(secret: &Secret) -> anyhow::Result<DataKey> {
    DataKey::from_slice(secret).context("the data key has another length than 32 bytes")
}

/// An S3 client of `role`.
///
/// # Errors
/// If the HTTP client cannot be built.
pub fn s3(cloud: &Cloud, role: Role) -> anyhow::Result<S3Client> {
    let clock = Arc::new(SystemClock);
    let credentials = CredentialSource::fixed(cloud.credentials(role), clock.clone());
    Ok(S3Client::new(
        Endpoint::parse(&cloud.url())?,
        super::cloud::REGION,
        Arc::new(credentials),
        clock,
        S3Limits::default(),
        None,
    )?)
}

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

//! The main job, end to end: a real radiograph through the whole attested flow,
//! then three things that must be refused.
//!
//! Truth: the design's data flow; KMS's answers are read from the cloud's audit
//! log, never made up here. The run succeeds only if the flow succeeded and
//! every attempt was refused by KMS. Not run on AWS or on Nitro hardware.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, bail, ensure};
use aws_sdk_kms::{error::ProvideErrorMetadata as _, primitives::Blob};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use enclave_app::{envelope::Envelope, parent::s3::ObjectStore as _};
use serde::Serialize;

use crate::lab::{
    JobOutcome, JobStatus, Lab, Mode, Options, Parent,
    cloud::{BUCKET, Role},
    hospital::{self, Finding, Image, OBJECT_BYTES_MAX, Reading, Uploaded},
    timeline::{Actor, Step, Timeline},
};

/// The radiograph that ships with Drydock (see its provenance file).
pub const SAMPLE: &[u8] = include_bytes!("../assets/RG1_J2KI.dcm");
/// The sample's name.
pub const SAMPLE_NAME: &str = "RG1_J2KI.dcm (bundled sample)";

/// What the demo is run with.
#[derive(Debug)]
pub struct Request {
    /// The image, as it is.
    pub image: Vec<u8>,
    /// Repeats the simulated hardware.
    pub seed: Option<u64>,
    /// Keeps the world's files.
    pub keep: Option<PathBuf>,
    /// Sees the steps as they happen.
    pub timeline: Timeline,
}

/// What the demo found; the `--json` object.
#[derive(Debug, Serialize)]
pub struct Report {
    /// One entry per class of the model.
    pub findings: Vec<Finding>,
    /// What kind of image was analysed.
    pub image: Image,
    /// What the findings are good for.
    pub notice: String,
    /// SHA-256 of the model, hex.
    pub model_sha256: String,
    /// SHA-256 of the image, hex.
    pub input_sha256: String,
    /// The enclave's registers as its receipt states them, hex; all-zero ones
    /// left out.
    pub pcrs: BTreeMap<String, String>,
    /// What happened, in order.
    pub steps: Vec<Step>,
    /// What must not work and did not.
    pub refusals: Vec<Refusal>,
    /// Every call that reached KMS from the flow's roles.
    pub kms_calls: Vec<KmsCall>,
}

/// An attempt that was refused.
#[derive(Clone, Debug, Serialize)]
pub struct Refusal {
    /// What was tried.
    pub attempt: String,
    /// What KMS answered.
    pub answer: String,
    /// Why, as KMS's own trace has it.
    pub reason: String,
}

/// One call that KMS answered.
#[derive(Clone, Debug, Serialize)]
pub struct KmsCall {
    /// The operation.
    pub operation: String,
    /// The id of the answer.
    pub request_id: String,
    /// Whether it came with an attestation document that holds.
    pub attested: bool,
    /// `Success`, or the error's type.
    pub outcome: String,
}

/// Runs the main job and its refusals.
///
/// # Errors
/// If any step of the flow fails or anything that must be refused is not.
pub async fn run(request: Request) -> anyhow::Result<Report> {
    let timeline = request.timeline;
    let lab = Lab::start(Options {
        seed: request.seed,
        keep: request.keep,
        timeline: timeline.clone(),
        ..Options::default()
    })
    .await?;

    // Two uploads with a rotation between them: one blob under the older key
    // material, one under the current one, and the enclave reads both.
    let before = upload(&lab, "before-rotation", &request.image).await?;
    timeline
        .time(
            Actor::Cloud,
            "input key rotated",
            lab.cloud.rotate_input_key(),
        )
        .await?;
    let after = upload(&lab, "after-rotation", &request.image).await?;

    let (mut parent, enclave) =
        tokio::try_join!(lab.start_parent(), lab.start_enclave(Mode::Production))?;
    let older = analyse(&lab, &mut parent, &before).await?;
    let reading = analyse(&lab, &mut parent, &after).await?;
    ensure!(
        older.report.input_sha256 == reading.report.input_sha256,
        "the same image gave two input digests"
    );

    // A job that has not run yet: the enclave runs none twice.
    let unread = upload(&lab, "to-be-changed", &request.image).await?;
    let mut refusals = vec![
        refuse_the_parent(&lab, &before).await?,
        refuse_a_changed_bit(&lab, &mut parent, &unread).await?,
    ];
    enclave.stop().await?;
    refusals.insert(1, refuse_debug_mode(&lab, &mut parent, &before).await?);
    parent.stop().await?;

    lab.keep("attestation-root.pem", lab.root_pem().as_bytes())?;
    lab.keep("kms-ca.pem", lab.cloud.mock().ca_pem().as_bytes())?;
    lab.keep("receipt.cbor", &reading.receipt_bytes)?;
    lab.keep("result.encrypted", &reading.object.body)?;
    let metadata = serde_json::to_vec_pretty(&reading.object.metadata)?;
    lab.keep("result.metadata.json", &metadata)?;
    let report = reading.report;
    Ok(Report {
        findings: report.findings,
        image: report.image,
        notice: report.notice,
        model_sha256: report.model_sha256,
        input_sha256: report.input_sha256,
        pcrs: reading
            .receipt
            .pcrs
            .iter()
            .filter(|(_, value)| value.iter().any(|byte| *byte != 0))
            .map(|(index, value)| (index.to_string(), hex::encode(value)))
            .collect(),
        steps: timeline.steps(),
        refusals,
        kms_calls: kms_calls(&lab),
    })
}

async fn upload(lab: &Lab, job: &str, image: &[u8]) -> anyhow::Result<Uploaded> {
    let work = hospital::upload(&lab.cloud, &lab.submitter, job, image, lab.now());
    lab.timeline
        .time(
            Actor::Hospital,
            &format!("image encrypted, job `{job}` signed, both in S3"),
            work,
        )
        .await
}

async fn analyse(lab: &Lab, parent: &mut Parent, uploaded: &Uploaded) -> anyhow::Result<Reading> {
    let outcome = parent.submit(&uploaded.objects).await?;
    if outcome.status != JobStatus::Done {
        bail!(
            "job `{}` failed: {}",
            uploaded.objects.job,
            describe(&outcome)
        );
    }
    lab.timeline
        .time(
            Actor::Clinician,
            "receipt verified, result decrypted",
            lab.read(uploaded),
        )
        .await
}

fn describe(outcome: &JobOutcome) -> String {
    let code = outcome.code.as_deref().unwrap_or("no code");
    let message = outcome.message.as_deref().unwrap_or("no message");
    format!("{message} ({code})")
}

/// The parent holds the role's credentials and the ciphertext, and asks itself.
async fn refuse_the_parent(lab: &Lab, uploaded: &Uploaded) -> anyhow::Result<Refusal> {
    let object = hospital::s3(&lab.cloud, Role::Parent)?
        .get(BUCKET, &uploaded.objects.key, OBJECT_BYTES_MAX)
        .await?;
    let envelope = Envelope::parse(&object.metadata)?;
    let call = lab
        .cloud
        .kms(Role::Parent)?
        .decrypt()
        .key_id(lab.cloud.input_key_arn())
        .ciphertext_blob(Blob::new(envelope.wrapped_key.clone()))
        .set_encryption_context(Some(envelope.context.clone().into_iter().collect()))
        .send();
    let answer = lab
        .timeline
        .time(Actor::Attacker, "the parent calls Decrypt itself", call)
        .await;
    let Err(error) = answer else {
        bail!("KMS gave the parent the data key without an attestation document")
    };
    ensure!(
        error.code() == Some("AccessDeniedException"),
        "KMS answered {error:?}"
    );
    last_refusal(
        lab,
        "the parent calls Decrypt itself, with its own role and no enclave",
    )
}

/// One bit of the wrapped data key is another; the signed job still fits, since
/// it states the digest of the object's body.
async fn refuse_a_changed_bit(
    lab: &Lab,
    parent: &mut Parent,
    uploaded: &Uploaded,
) -> anyhow::Result<Refusal> {
    let s3 = hospital::s3(&lab.cloud, Role::Parent)?;
    let original = s3
        .get(BUCKET, &uploaded.objects.key, OBJECT_BYTES_MAX)
        .await?;
    let mut changed = original.clone();
    let wrapped = changed
        .metadata
        .get_mut("x-amz-3")
        .context("the object has no wrapped key")?;
    let mut blob = STANDARD.decode(&*wrapped)?;
    *blob.last_mut().context("the wrapped key is empty")? ^= 1;
    *wrapped = STANDARD.encode(blob);
    s3.put(BUCKET, &uploaded.objects.key, changed).await?;
    let outcome = parent.submit(&uploaded.objects).await?;
    s3.put(BUCKET, &uploaded.objects.key, original).await?;
    ensure!(
        outcome.status == JobStatus::Refused,
        "a changed wrapped key was not refused: {}",
        describe(&outcome)
    );
    last_refusal(lab, "one bit of the wrapped data key is changed")
}

/// The same image, started with a console.
async fn refuse_debug_mode(
    lab: &Lab,
    parent: &mut Parent,
    uploaded: &Uploaded,
) -> anyhow::Result<Refusal> {
    let enclave = lab.start_enclave(Mode::Debug).await?;
    let outcome = parent.submit(&uploaded.objects).await?;
    enclave.stop().await?;
    ensure!(
        outcome.status == JobStatus::Refused,
        "an enclave in debug mode was not refused: {}",
        describe(&outcome)
    );
    last_refusal(lab, "the same enclave runs in debug mode")
}

/// What KMS answered last, which must be a refusal.
fn last_refusal(lab: &Lab, attempt: &str) -> anyhow::Result<Refusal> {
    let records = lab.cloud.mock().kms().audit().records();
    let of_kms = records.iter().rfind(|record| record.service() == "kms");
    let last = of_kms.context("KMS was never asked")?;
    let Some(code) = last.error_code() else {
        bail!("KMS answered {} although {attempt}", last.operation)
    };
    let message = last.error_message().unwrap_or_default();
    Ok(Refusal {
        attempt: attempt.to_owned(),
        answer: if message.is_empty() {
            code.to_owned()
        } else {
            format!("{code}: {message}")
        },
        reason: last
            .reason()
            .map(str::to_owned)
            .context("KMS refused without a reason in its trace")?,
    })
}

fn kms_calls(lab: &Lab) -> Vec<KmsCall> {
    let roles = [Role::Uploader, Role::Parent, Role::Clinician].map(Role::name);
    lab.cloud
        .mock()
        .kms()
        .audit()
        .records()
        .iter()
        .filter(|record| {
            let by = |role: &&str| record.principal_arn().contains(*role);
            record.service() == "kms" && roles.iter().any(by)
        })
        .map(|record| KmsCall {
            operation: record.operation.to_string(),
            request_id: record.request_id.to_string(),
            attested: record.attested,
            outcome: record.error_code().unwrap_or("Success").to_owned(),
        })
        .collect()
}

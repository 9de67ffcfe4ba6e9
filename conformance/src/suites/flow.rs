//! The main job with the programs that ship, and everything it must refuse.
//! Truth: the design's data flow and the attack table (ground truth KMS §6).
//!
//! Every refusal is judged twice: the job ends with an error, and neither a
//! result nor a receipt stands in S3 afterwards.

use std::net::TcpListener;

use anyhow::{Context as _, bail, ensure};
use enclave_app::{
    job::{manifest::SubmitterKey, wire::StoredObject},
    parent::s3::ObjectStore as _,
};
use nsm_sim::{attestation::pki::Pki, clock::UnixMillis, seed::WorldSeed};

use crate::{
    case::{Judge, Judged},
    demo,
    lab::{
        JobOutcome, JobStatus, Lab, Mode, Options, Parent, Wiring,
        cloud::{BUCKET, Cloud, REGION, Role},
        hospital::{self, JobObjects, OBJECT_BYTES_MAX, Uploaded},
        process::Process,
    },
    suites::plan::Plan,
};

/// Runs the suite in worlds of its own.
pub(super) async fn run(plan: &Plan<'_>) -> Vec<Judged> {
    let mut judge = Judge::new(
        "flow",
        "the programs under nsm-sim run",
        plan.filter,
        plan.on_case,
    );
    match Stage::set(Options::default()).await {
        Ok(mut stage) => {
            on_stage(&mut judge, &mut stage).await;
            if let Err(error) = stage.strike().await {
                judge.fail_all(&error);
            }
        }
        Err(error) => judge.fail_all(&error),
    }
    judge
        .case(
            "an enclave in debug mode gets no key",
            "KMS §2: PCR0 of a debug enclave is zero",
            debug_mode(),
        )
        .await;
    judge
        .case(
            "an enclave that is configured for production does not start in debug mode",
            "DESIGN: fail closed",
            no_debug_mode(),
        )
        .await;
    judge
        .case(
            "an enclave with one changed word of configuration gets no key",
            "NSM §3.12",
            other_image(),
        )
        .await;
    judge
        .case(
            "a KMS that cannot be reached is one clear error",
            "DESIGN: fail closed",
            unreachable_kms(),
        )
        .await;
    judge
        .case(
            "a KMS under another certificate authority is refused",
            "KMS §6 #12",
            wrong_ca(),
        )
        .await;
    judge.finish()
}

async fn on_stage(judge: &mut Judge<'_>, stage: &mut Stage) {
    judge
        .case(
            "an image is analysed and only its clinician reads the result",
            "DESIGN: data flow",
            succeeds(stage),
        )
        .await;
    judge
        .case(
            "a blob of older key material is decrypted after a rotation",
            "KMS §4",
            rotated(stage),
        )
        .await;
    judge
        .case(
            "a receipt proves its own result and no other",
            "DESIGN: data flow 7",
            receipt(stage),
        )
        .await;
    judge
        .case(
            "a changed body is refused by its digest",
            "KMS §6 #5",
            changed_body(stage),
        )
        .await;
    judge
        .case(
            "a changed wrapped key is refused by KMS",
            "KMS §2",
            changed_key(stage),
        )
        .await;
    judge
        .case(
            "a changed commitment is refused",
            "KMS §6 #11",
            changed_commitment(stage),
        )
        .await;
    judge
        .case(
            "an envelope downgraded to the older format is refused",
            "KMS §6 #11",
            downgraded(stage),
        )
        .await;
    judge
        .case(
            "two objects with their jobs swapped are refused",
            "KMS §6 #4, #5",
            swapped(stage),
        )
        .await;
    judge
        .case(
            "a job signed by a stranger is refused",
            "KMS §6 #9",
            stranger(stage),
        )
        .await;
    judge
        .case(
            "an expired job is refused",
            "DESIGN: job expiry",
            expired(stage),
        )
        .await;
    judge
        .case(
            "a job from the future is refused",
            "KMS §6 #13",
            from_the_future(stage),
        )
        .await;
    judge
        .case(
            "a file that is not an image is refused",
            "DESIGN: fail closed",
            no_image(stage),
        )
        .await;
    judge
        .case(
            "a 4 GiB length in a small DICOM file is refused",
            "images §5: trap 5",
            huge_length(stage),
        )
        .await;
    judge
        .case(
            "why an image was refused is read by its clinician alone",
            "DESIGN: data flow",
            explained(stage),
        )
        .await;
    judge
        .case(
            "an empty object is refused",
            "DESIGN: fail closed",
            empty(stage),
        )
        .await;
    judge
        .case(
            "the enclave still works after all of that",
            "DESIGN: fail closed",
            succeeds(stage),
        )
        .await;
}

/// A world with its parent and its enclave running.
pub(super) struct Stage {
    pub(super) lab: Lab,
    pub(super) parent: Parent,
    pub(super) enclave: Process,
    pub(super) jobs: u32,
}

impl Stage {
    pub(super) async fn set(options: Options) -> anyhow::Result<Self> {
        let lab = Lab::start(options).await?;
        let wiring = lab.wiring();
        Self::on(lab, &wiring, Mode::Production).await
    }

    /// The programs in a world that may be prepared, wired and started otherwise.
    pub(super) async fn on(lab: Lab, wiring: &Wiring, mode: Mode) -> anyhow::Result<Self> {
        let (parent, enclave) =
            tokio::try_join!(lab.start_parent_wired(wiring), lab.start_enclave(mode))?;
        Ok(Self {
            lab,
            parent,
            enclave,
            jobs: 0,
        })
    }

    pub(super) async fn strike(self) -> anyhow::Result<()> {
        // The enclave first: a parent that is told to stop lets its bridge's
        // connections finish, and an enclave keeps its own to KMS open.
        self.enclave.stop().await?;
        self.parent.stop().await
    }

    pub(super) async fn upload(&mut self, image: &[u8]) -> anyhow::Result<Uploaded> {
        let (key, now) = (self.lab.submitter.clone(), self.lab.now());
        self.upload_as(&key, image, now).await
    }

    async fn upload_as(
        &mut self,
        key: &SubmitterKey,
        image: &[u8],
        now: UnixMillis,
    ) -> anyhow::Result<Uploaded> {
        self.jobs += 1;
        hospital::upload(
            &self.lab.cloud,
            key,
            &format!("job-{}", self.jobs),
            image,
            now,
        )
        .await
    }

    pub(super) async fn done(&mut self, uploaded: &Uploaded) -> anyhow::Result<hospital::Reading> {
        let outcome = self.parent.submit(&uploaded.objects).await?;
        ensure!(
            outcome.status == JobStatus::Done,
            "the job ended with {outcome:?}"
        );
        self.lab.read(uploaded).await
    }

    pub(super) async fn refused(&mut self, uploaded: &Uploaded, code: &str) -> anyhow::Result<()> {
        let outcome = self.parent.submit(&uploaded.objects).await?;
        refusal(&self.lab.cloud, &uploaded.objects, &outcome, code).await
    }

    /// Changes the stored object.
    async fn tamper(
        &self,
        uploaded: &Uploaded,
        change: impl FnOnce(&mut StoredObject),
    ) -> anyhow::Result<()> {
        let s3 = hospital::s3(&self.lab.cloud, Role::Parent)?;
        let mut object = s3
            .get(BUCKET, &uploaded.objects.key, OBJECT_BYTES_MAX)
            .await?;
        change(&mut object);
        s3.put(BUCKET, &uploaded.objects.key, object).await?;
        Ok(())
    }
}

/// Refused by the enclave with `code`, and nothing was stored.
async fn refusal(
    cloud: &Cloud,
    objects: &JobObjects,
    outcome: &JobOutcome,
    code: &str,
) -> anyhow::Result<()> {
    ensure!(
        outcome.status == JobStatus::Refused,
        "the job ended with {outcome:?}"
    );
    ensure!(
        outcome.code.as_deref() == Some(code),
        "refused as {outcome:?} instead of {code}"
    );
    let message = outcome.message.as_deref().unwrap_or_default();
    ensure!(!message.is_empty(), "refused without a message");
    nothing_stored(cloud, objects).await
}

pub(super) async fn nothing_stored(cloud: &Cloud, objects: &JobObjects) -> anyhow::Result<()> {
    let s3 = hospital::s3(cloud, Role::Clinician)?;
    for key in [objects.result_key.clone(), objects.receipt_key()] {
        ensure!(
            !s3.exists(BUCKET, &key).await?,
            "{key} stands in S3 all the same"
        );
    }
    Ok(())
}

async fn succeeds(stage: &mut Stage) -> anyhow::Result<()> {
    let uploaded = stage.upload(demo::SAMPLE).await?;
    let reading = stage.done(&uploaded).await?;
    let sum: f64 = reading
        .report
        .findings
        .iter()
        .map(|finding| finding.probability)
        .sum();
    ensure!(
        (sum - 1.0).abs() < 1e-3,
        "the probabilities add up to {sum}"
    );
    let digest = hex::encode(hospital::sha256(demo::SAMPLE));
    ensure!(
        reading.report.input_sha256 == digest,
        "the input digest is {}",
        reading.report.input_sha256
    );
    Ok(())
}

async fn rotated(stage: &mut Stage) -> anyhow::Result<()> {
    let uploaded = stage.upload(demo::SAMPLE).await?;
    stage.lab.cloud.rotate_input_key().await?;
    stage.done(&uploaded).await?;
    Ok(())
}

async fn receipt(stage: &mut Stage) -> anyhow::Result<()> {
    let first = stage.upload(demo::SAMPLE).await?;
    let second = stage.upload(demo::SAMPLE).await?;
    stage.done(&first).await?;
    stage.done(&second).await?;
    let s3 = hospital::s3(&stage.lab.cloud, Role::Parent)?;
    let other = s3
        .get(BUCKET, &second.objects.receipt_key(), OBJECT_BYTES_MAX)
        .await?;
    s3.put(BUCKET, &first.objects.receipt_key(), other).await?;
    match stage.lab.read(&first).await {
        Ok(_) => bail!("a receipt of another result was accepted"),
        Err(error) => ensure!(error.to_string().contains("another result"), "{error:#}"),
    }
    Ok(())
}

async fn changed_body(stage: &mut Stage) -> anyhow::Result<()> {
    let uploaded = stage.upload(demo::SAMPLE).await?;
    stage
        .tamper(&uploaded, |object| object.body[1000] ^= 1)
        .await?;
    stage.refused(&uploaded, "manifest").await
}

async fn changed_key(stage: &mut Stage) -> anyhow::Result<()> {
    let uploaded = stage.upload(demo::SAMPLE).await?;
    stage
        .tamper(&uploaded, |StoredObject { metadata, .. }| {
            let wrapped = metadata.entry("x-amz-3".to_owned()).or_default();
            // Another last character but one: a bit of the blob's tag.
            let at = wrapped.len() - 6;
            let other = if wrapped.as_bytes()[at] == b'A' {
                "B"
            } else {
                "A"
            };
            wrapped.replace_range(at..=at, other);
        })
        .await?;
    stage.refused(&uploaded, "kms_refused").await
}

async fn changed_commitment(stage: &mut Stage) -> anyhow::Result<()> {
    let uploaded = stage.upload(demo::SAMPLE).await?;
    stage
        .tamper(&uploaded, |StoredObject { metadata, .. }| {
            metadata.insert("x-amz-d".to_owned(), "A".repeat(38) + "==");
        })
        .await?;
    stage.refused(&uploaded, "object").await
}

async fn downgraded(stage: &mut Stage) -> anyhow::Result<()> {
    let uploaded = stage.upload(demo::SAMPLE).await?;
    stage
        .tamper(&uploaded, |StoredObject { metadata, .. }| {
            let wrapped = metadata.get("x-amz-3").cloned().unwrap_or_default();
            metadata.insert("x-amz-key-v2".to_owned(), wrapped);
        })
        .await?;
    stage.refused(&uploaded, "object").await
}

async fn swapped(stage: &mut Stage) -> anyhow::Result<()> {
    let first = stage.upload(demo::SAMPLE).await?;
    let second = stage.upload(demo::SAMPLE).await?;
    let s3 = hospital::s3(&stage.lab.cloud, Role::Parent)?;
    // The whole object of the second under the first's name.
    let other = s3
        .get(BUCKET, &second.objects.key, OBJECT_BYTES_MAX)
        .await?;
    s3.put(BUCKET, &first.objects.key, other.clone()).await?;
    stage.refused(&first, "manifest").await?;
    // Only the envelope of the second: the body still fits the first's job.
    let third = stage.upload(demo::SAMPLE).await?;
    stage
        .tamper(&third, |object| object.metadata = other.metadata)
        .await?;
    stage.refused(&third, "object").await
}

async fn stranger(stage: &mut Stage) -> anyhow::Result<()> {
    let now = stage.lab.now();
    let uploaded = stage
        .upload_as(&SubmitterKey::generate()?, demo::SAMPLE, now)
        .await?;
    stage.refused(&uploaded, "manifest").await
}

async fn expired(stage: &mut Stage) -> anyhow::Result<()> {
    let key = stage.lab.submitter.clone();
    let yesterday = UnixMillis(stage.lab.now().0 - 86_400_000);
    let uploaded = stage.upload_as(&key, demo::SAMPLE, yesterday).await?;
    stage.refused(&uploaded, "expired").await
}

async fn from_the_future(stage: &mut Stage) -> anyhow::Result<()> {
    let key = stage.lab.submitter.clone();
    let tomorrow = UnixMillis(stage.lab.now().0 + 86_400_000);
    let uploaded = stage.upload_as(&key, demo::SAMPLE, tomorrow).await?;
    stage.refused(&uploaded, "expired").await
}

async fn no_image(stage: &mut Stage) -> anyhow::Result<()> {
    let uploaded = stage
        .upload(b"Dear colleague, please find attached nothing.")
        .await?;
    stage.refused(&uploaded, "image").await
}

async fn huge_length(stage: &mut Stage) -> anyhow::Result<()> {
    // The sample with the length of its pixel data (7FE0,0010, OB, undefined
    // length) claimed to be 4 GiB less two bytes.
    let mut image = demo::SAMPLE.to_vec();
    let tag = [
        0xe0, 0x7f, 0x10, 0x00, b'O', b'B', 0, 0, 0xff, 0xff, 0xff, 0xff,
    ];
    let at = image
        .windows(tag.len())
        .position(|window| window == tag)
        .context("the sample has no encapsulated pixel data")?;
    image[at + 8] = 0xfe;
    let uploaded = stage.upload(&image).await?;
    stage.refused(&uploaded, "image").await
}

async fn explained(stage: &mut Stage) -> anyhow::Result<()> {
    let uploaded = stage
        .upload(&hospital::short_name(b"QUIXOTE^ALONSO^Z"))
        .await?;
    let outcome = stage.parent.submit(&uploaded.objects).await?;
    refusal(&stage.lab.cloud, &uploaded.objects, &outcome, "image").await?;
    ensure!(
        outcome.report_key == Some(uploaded.objects.report_key()),
        "the parent stored no report: {outcome:?}"
    );
    // What follows the name's eight bytes, as a tag and as a length.
    let told = format!("{outcome:?}");
    for piece in ["4C41,4E4F", "1516130131", "ALON", "SO^Z"] {
        ensure!(!told.contains(piece), "the parent read {piece}: {told}");
    }
    let report = stage.lab.read_refusal(&uploaded).await?;
    ensure!(
        report.refused.detail.contains("1516130131"),
        "the clinician does not read what was wrong: {report:?}"
    );
    Ok(())
}

async fn empty(stage: &mut Stage) -> anyhow::Result<()> {
    let uploaded = stage.upload(b"").await?;
    stage.refused(&uploaded, "image").await
}

async fn debug_mode() -> anyhow::Result<()> {
    let lab = Lab::start(Options::default()).await?;
    let wiring = lab.wiring();
    let mut stage = Stage::on(lab, &wiring, Mode::Debug).await?;
    let uploaded = stage.upload(demo::SAMPLE).await?;
    stage.refused(&uploaded, "kms_refused").await?;
    stage.strike().await
}

async fn no_debug_mode() -> anyhow::Result<()> {
    let options = Options {
        debug_mode_forbidden: true,
        ..Options::default()
    };
    let lab = Lab::start(options).await?;
    lab.start_enclave(Mode::Production).await?.stop().await?;
    match lab.start_enclave(Mode::Debug).await {
        Ok(_) => bail!("it takes jobs in debug mode"),
        Err(error) => ensure!(error.to_string().contains("debug mode"), "{error:#}"),
    }
    Ok(())
}

async fn other_image() -> anyhow::Result<()> {
    let lab = Lab::start(Options::default()).await?;
    let other = lab.replace_image("as changed")?;
    ensure!(
        other.pcr0 != lab.measurements.pcr0 && other.pcr2 != lab.measurements.pcr2,
        "a changed word did not change PCR0 and PCR2"
    );
    ensure!(
        other.pcr1 == lab.measurements.pcr1,
        "a changed word changed PCR1"
    );
    let wiring = lab.wiring();
    let mut stage = Stage::on(lab, &wiring, Mode::Production).await?;
    let uploaded = stage.upload(demo::SAMPLE).await?;
    stage.refused(&uploaded, "kms_refused").await?;
    stage.strike().await
}

async fn unreachable_kms() -> anyhow::Result<()> {
    let lab = Lab::start(Options::default()).await?;
    // A port that was free a moment ago and that nobody listens on.
    let closed = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    let wiring = Wiring {
        kms: closed,
        ..lab.wiring()
    };
    let mut stage = Stage::on(lab, &wiring, Mode::Production).await?;
    let uploaded = stage.upload(demo::SAMPLE).await?;
    stage.refused(&uploaded, "kms_unreachable").await?;
    stage.strike().await
}

async fn wrong_ca() -> anyhow::Result<()> {
    let seed = WorldSeed::random();
    let elsewhere = Cloud::start(
        &Pki::new(&seed, REGION).root_pem(),
        nsm_sim::clock::SettableClock::running(),
    )
    .await?;
    let options = Options {
        tls_roots_pem: Some(elsewhere.mock().ca_pem().to_owned()),
        ..Options::default()
    };
    let mut stage = Stage::set(options).await?;
    let uploaded = stage.upload(demo::SAMPLE).await?;
    stage.refused(&uploaded, "kms_unreachable").await?;
    ensure!(
        stage
            .lab
            .cloud
            .mock()
            .kms()
            .audit()
            .records()
            .iter()
            .all(|call| !call.attested),
        "a document was sent to a KMS that did not prove its name"
    );
    stage.strike().await
}

//! A KMS that answers wrongly and a parent that helps it: what the enclave does
//! then, with the programs that ship. Truth: the attack table (ground truth
//! KMS §6).
//!
//! Every refusal is judged four times: the enclave refuses with the expected
//! code, neither result nor receipt stands in S3, the mock's audit log says that
//! the attack was indeed made, and at the end no wire between enclave, parent,
//! KMS and S3 has carried the image or a data key.
//!
//! Does not judge a forged data key for the *result*: an enclave cannot tell it
//! from a real one, only TLS keeps the forger out, and that is judged instead.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use aws_sdk_kms::{
    error::ProvideErrorMetadata,
    primitives::Blob,
    types::{DataKeySpec, GrantOperation},
};
use enclave_app::{
    job::{Refusal, wire::JobReply},
    parent::s3::ObjectStore as _,
    vsock::framing::{FrameLimits, read_frame},
};
use kms_mock::{
    Fault, Hostile,
    faults::{ATTACKERS_KEY, Kind, Latency},
};
use nsm_sim::{
    attestation::pki::Pki,
    clock::SettableClock,
    runner::{VsockAddr, switchboard},
    seed::WorldSeed,
};
use tokio::{io::AsyncWriteExt as _, net::UnixStream};

use crate::{
    case::{Judge, Judged},
    demo,
    lab::{
        ENCLAVE_CID, JobStatus, Lab, Mode, Options, PARENT_CID, Wiring,
        cloud::{BUCKET, Cloud, REGION, Role},
        hospital::{self, OBJECT_BYTES_MAX, Uploaded},
        image::{BRIDGE_PORT, JOB_PORT},
        wiretap::{self, Recording, Tap},
    },
    suites::{
        flow::{Stage, nothing_stored},
        plan::Plan,
    },
};

/// Where the tap on the job connection poses as the enclave.
const TAP_CID: u32 = 4712;
/// Where the parent's bridge listens behind the tap.
const TAPPED_BRIDGE_PORT: u32 = BRIDGE_PORT + 1;

/// Each hostile answer: the operation, what is answered, how the enclave
/// refuses, the name of the case, its truth.
const ANSWERS: &[(&str, Hostile, &str, &str, &str)] = &[
    (
        "Decrypt",
        Hostile::ForgedCms,
        "object",
        "a forged data key opens no image, because of the commitment",
        "KMS §6 #2",
    ),
    (
        "Decrypt",
        Hostile::PlaintextBeside,
        "kms",
        "a plaintext beside the envelope of Decrypt is refused",
        "KMS §6 #1",
    ),
    (
        "Decrypt",
        Hostile::PlaintextInstead,
        "kms",
        "a plaintext instead of the envelope of Decrypt is refused",
        "KMS §6 #1",
    ),
    (
        "Decrypt",
        Hostile::NoCms,
        "kms",
        "a Decrypt that answers no key is refused",
        "KMS §6 #1",
    ),
    (
        "Decrypt",
        Hostile::WrongKeyId,
        "kms",
        "a Decrypt by another key is refused",
        "KMS §6 #7",
    ),
    (
        "Decrypt",
        Hostile::Sha1Oaep,
        "kms",
        "an envelope with the withdrawn SHA-1 parameters is refused",
        "KMS §6 #10",
    ),
    (
        "Decrypt",
        Hostile::TruncatedCms,
        "kms",
        "a truncated envelope is refused",
        "KMS §6 #10",
    ),
    (
        "Decrypt",
        Hostile::TrailingByte,
        "kms",
        "an envelope with a byte too many is refused",
        "KMS §6 #10",
    ),
    (
        "Decrypt",
        Hostile::ShortKey,
        "kms",
        "an envelope around a short key is refused",
        "KMS §6 #10",
    ),
    (
        "Decrypt",
        Hostile::OtherRecipient,
        "kms",
        "an envelope that names another public key is refused",
        "KMS §6 #3",
    ),
    (
        "GenerateDataKey",
        Hostile::PlaintextBeside,
        "kms",
        "a plaintext beside the envelope of GenerateDataKey is refused",
        "KMS §6 #1",
    ),
    (
        "GenerateDataKey",
        Hostile::PlaintextInstead,
        "kms",
        "a plaintext instead of the envelope of GenerateDataKey is refused",
        "KMS §6 #1",
    ),
    (
        "GenerateDataKey",
        Hostile::NoCms,
        "kms",
        "a GenerateDataKey that answers no key is refused",
        "KMS §6 #1",
    ),
    (
        "GenerateDataKey",
        Hostile::WrongKeyId,
        "kms",
        "a data key of another key is refused",
        "KMS §6 #7",
    ),
    (
        "GenerateDataKey",
        Hostile::Sha1Oaep,
        "kms",
        "a data key under the withdrawn SHA-1 parameters is refused",
        "KMS §6 #10",
    ),
    (
        "GenerateDataKey",
        Hostile::ShortKey,
        "kms",
        "a short data key is refused",
        "KMS §6 #10",
    ),
];

/// Accidents that the enclave outlives by trying again with a fresh key.
const ACCIDENTS: &[(&str, &str, &str)] = &[
    (
        "throttle,operation=Decrypt,next=2",
        "two throttled calls are tried again",
        "KMS §4",
    ),
    (
        "internal,operation=Decrypt,next=1",
        "an internal error of KMS is tried again",
        "KMS §4",
    ),
    (
        "dependency-timeout,operation=GenerateDataKey,next=2",
        "two timeouts within KMS are tried again",
        "KMS §4",
    ),
    (
        "key-unavailable,operation=GenerateDataKey,next=1",
        "an unavailable key is tried again",
        "KMS §4",
    ),
    (
        "drop,operation=Decrypt,next=1",
        "a connection that ends without an answer is tried again",
        "KMS §6 #18",
    ),
    (
        "cut=40,operation=GenerateDataKey,next=1",
        "an answer cut in the middle is tried again",
        "KMS §6 #18",
    ),
    (
        "latency=100ms..300ms,next=2",
        "a slow KMS is waited for",
        "DESIGN: bounds",
    ),
    (
        "der,operation=Decrypt+GenerateDataKey,next=2",
        "envelopes in DER are read like KMS's BER",
        "KMS §1.3",
    ),
];

/// Runs the suite in worlds of its own.
pub(super) async fn run(plan: &Plan<'_>) -> Vec<Judged> {
    let mut judge = Judge::new(
        "hostile",
        "the programs under nsm-sim run",
        plan.filter,
        plan.on_case,
    );
    match Tapped::set().await {
        Ok(mut tapped) => {
            on_tapped(&mut judge, &mut tapped).await;
            if let Err(error) = tapped.stage.strike().await {
                judge.fail_all(&error);
            }
        }
        Err(error) => judge.fail_all(&error),
    }
    judge
        .case(
            "an impostor of KMS that forges data keys is not sent a request",
            "KMS §6 #2, #12",
            impostor(),
        )
        .await;
    judge.finish()
}

async fn on_tapped(judge: &mut Judge<'_>, tapped: &mut Tapped) {
    for (operation, hostile, code, name, truth) in ANSWERS {
        judge
            .case(name, truth, tapped.refuses(operation, *hostile, code))
            .await;
    }
    for (operation, name) in [
        ("Decrypt", "an envelope of an earlier Decrypt is refused"),
        (
            "GenerateDataKey",
            "an envelope of an earlier GenerateDataKey is refused",
        ),
    ] {
        judge
            .case(name, "KMS §6 #3", tapped.refuses_a_replay(operation))
            .await;
    }
    judge
        .case(
            "a data key wrapped under a foreign key opens for no one",
            "KMS §6 #7",
            tapped.foreign_blob(),
        )
        .await;
    for (spec, name, truth) in ACCIDENTS {
        judge.case(name, truth, tapped.outlives(spec)).await;
    }
    judge
        .case(
            "a KMS that always throttles is one clear error after three attempts",
            "DESIGN: bounds",
            tapped.throttled_for_ever(),
        )
        .await;
    judge
        .case(
            "a KMS whose clock is ten minutes ahead refuses the document",
            "KMS §2",
            tapped.skewed(),
        )
        .await;
    judge
        .case(
            "garbage and half-open job connections disturb no other job",
            "KMS §6 #18",
            tapped.garbage_on_the_job_port(),
        )
        .await;
    judge
        .case(
            "a job that is sent again is answered with the same bytes and not run again",
            "KMS §6 #3",
            tapped.answers_again(),
        )
        .await;
    judge
        .case(
            "a job that was run is refused with another wrapped key",
            "KMS §6 #4",
            tapped.refuses_another_key_for_a_known_job(),
        )
        .await;
    judge
        .case(
            "the parent's role alone gets nothing from either key",
            "KMS §6 #15, #17",
            parent_alone(&tapped.stage.lab),
        )
        .await;
    judge
        .case(
            "the enclave still works after all of that",
            "DESIGN: fail closed",
            tapped.outlives("latency=1ms,next=1"),
        )
        .await;
    judge
        .case(
            "no wire carried an image, a data key or the attacker's key",
            "DESIGN: data flow",
            tapped.nothing_leaked(),
        )
        .await;
}

/// A stage with a tap on every wire of the parent.
struct Tapped {
    stage: Stage,
    recording: Recording,
    secrets: Vec<hospital::Secret>,
    _taps: [Tap; 4],
}

impl Tapped {
    async fn set() -> anyhow::Result<Self> {
        let lab = Lab::start(Options::default()).await?;
        let recording = Recording::default();
        let cloud = lab.cloud.address();
        let (kms, kms_tap) = Tap::tcp(cloud, recording.clone()).await?;
        let (s3, s3_tap) = Tap::tcp(cloud, recording.clone()).await?;
        let tap = |here, there| Tap::vsock(lab.world(), here, there, recording.clone());
        let at = |cid, port| VsockAddr { cid, port };
        let job_tap = tap(at(TAP_CID, JOB_PORT), at(ENCLAVE_CID, JOB_PORT))?;
        let bridge_tap = tap(
            at(PARENT_CID, BRIDGE_PORT),
            at(PARENT_CID, TAPPED_BRIDGE_PORT),
        )?;
        let wiring = Wiring {
            kms,
            s3,
            bridge_port: TAPPED_BRIDGE_PORT,
            enclave_cid: TAP_CID,
        };
        Ok(Self {
            stage: Stage::on(lab, &wiring, Mode::Production).await?,
            recording,
            secrets: Vec::new(),
            _taps: [kms_tap, s3_tap, job_tap, bridge_tap],
        })
    }

    async fn upload(&mut self) -> anyhow::Result<Uploaded> {
        let uploaded = self.stage.upload(demo::SAMPLE).await?;
        self.secrets.push(uploaded.data_key.clone());
        Ok(uploaded)
    }

    /// Arms a fault for the parent's role, whose credentials the enclave uses.
    fn arm(&self, fault: Fault) {
        self.stage
            .lab
            .cloud
            .mock()
            .faults()
            .add(fault.by(Role::Parent.arn()));
    }

    /// Disarms everything; how many calls were met since.
    fn disarm(&self) -> u64 {
        let faults = self.stage.lab.cloud.mock().faults();
        let hits = faults.list().iter().map(|armed| armed.hits).sum();
        faults.clear();
        hits
    }

    /// The audit records that carry `mark`.
    fn marked(&self, mark: &str) -> usize {
        let records = self.stage.lab.cloud.mock().kms().audit().records();
        let marked = records
            .iter()
            .filter(|record| record.faults().iter().any(|fault| fault.starts_with(mark)));
        marked.count()
    }

    async fn refuses(
        &mut self,
        operation: &str,
        hostile: Hostile,
        code: &str,
    ) -> anyhow::Result<()> {
        let before = self.marked(hostile.name());
        let uploaded = self.upload().await?;
        self.arm(Fault::new(Kind::Answer(hostile)).on(operation).next(1));
        let refused = self.stage.refused(&uploaded, code).await;
        let hits = self.disarm();
        refused?;
        ensure!(hits == 1, "the hostile answer was given {hits} times");
        ensure!(
            self.marked(hostile.name()) == before + 1,
            "the audit log does not show the attack"
        );
        Ok(())
    }

    async fn refuses_a_replay(&mut self, operation: &str) -> anyhow::Result<()> {
        self.arm(Fault::new(Kind::Answer(Hostile::ReplayedCms)).on(operation));
        let first = self.upload().await?;
        let second = self.upload().await?;
        let honest = self.stage.done(&first).await;
        let replayed = self.stage.refused(&second, "kms").await;
        let hits = self.disarm();
        self.secrets.push(honest?.data_key);
        replayed?;
        ensure!(hits == 1, "the answer was replayed {hits} times");
        Ok(())
    }

    /// The enclave cannot know what is in a blob. Whoever made the answer gains
    /// nothing: the result is sealed under the key of the honest envelope, and
    /// nobody can unwrap it.
    async fn foreign_blob(&mut self) -> anyhow::Result<()> {
        let uploaded = self.upload().await?;
        self.arm(
            Fault::new(Kind::Answer(Hostile::OtherBlob))
                .on("GenerateDataKey")
                .next(1),
        );
        let outcome = self.stage.parent.submit(&uploaded.objects).await;
        ensure!(self.disarm() == 1, "the blob was not exchanged");
        let outcome = outcome?;
        match outcome.status {
            JobStatus::Refused => nothing_stored(&self.stage.lab.cloud, &uploaded.objects).await,
            JobStatus::Failed => bail!("the job ended with {outcome:?}"),
            JobStatus::Done => match self.stage.lab.read(&uploaded).await {
                Ok(_) => bail!("a result under a foreign key was opened"),
                Err(_) => self.sealed_under_no_known_key(&uploaded).await,
            },
        }
    }

    async fn sealed_under_no_known_key(&self, uploaded: &Uploaded) -> anyhow::Result<()> {
        let object = hospital::s3(&self.stage.lab.cloud, Role::Clinician)?
            .get(BUCKET, &uploaded.objects.result_key, OBJECT_BYTES_MAX)
            .await?;
        let envelope = enclave_app::envelope::Envelope::parse(&object.metadata)?;
        let known = enclave_app::envelope::DataKey::from_slice(&ATTACKERS_KEY)
            .context("the attacker's key has 32 bytes")?;
        ensure!(
            envelope.open(&known, &object.body).is_err(),
            "the result opens with the attacker's key"
        );
        Ok(())
    }

    async fn outlives(&mut self, spec: &str) -> anyhow::Result<()> {
        let uploaded = self.upload().await?;
        self.arm(spec.parse()?);
        let done = self.stage.done(&uploaded).await;
        let hits = self.disarm();
        self.secrets.push(done?.data_key);
        ensure!(hits > 0, "nothing went wrong");
        Ok(())
    }

    async fn throttled_for_ever(&mut self) -> anyhow::Result<()> {
        let uploaded = self.upload().await?;
        self.arm(Fault::new(Kind::Throttle));
        self.arm(Fault::new(Kind::Latency(Latency::Fixed(
            Duration::from_millis(5),
        ))));
        let refused = self.stage.refused(&uploaded, "kms_refused").await;
        let hits = self.disarm();
        refused?;
        ensure!(hits == 2 * 3, "{} attempts were made", hits / 2);
        Ok(())
    }

    async fn skewed(&mut self) -> anyhow::Result<()> {
        let uploaded = self.upload().await?;
        self.arm("clock-skew=+10m,operation=Decrypt".parse()?);
        let refused = self.stage.refused(&uploaded, "kms_refused").await;
        ensure!(self.disarm() > 0, "no clock was wrong");
        refused
    }

    async fn garbage_on_the_job_port(&mut self) -> anyhow::Result<()> {
        const GARBAGE: [(&str, &[u8]); 4] = [
            ("a frame of 4 GiB", &[0xff; 4]),
            ("an empty frame", &[0; 4]),
            (
                "a frame that is not CBOR",
                &[0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0xff],
            ),
            (
                "a CBOR array of 2^63 elements",
                &[0, 0, 0, 9, 0x9b, 0x80, 0, 0, 0, 0, 0, 0, 0],
            ),
        ];
        // More than the enclave has slots for jobs, and as many that say nothing at all.
        let mut half_open = Vec::new();
        for _ in 0..8 {
            let mut stream = self.job_connection()?;
            stream.write_all(&[0, 0]).await?; // half of a length
            half_open.push(stream);
            half_open.push(self.job_connection()?);
        }
        for (what, bytes) in GARBAGE {
            let mut stream = self.job_connection()?;
            stream.write_all(bytes).await?;
            let limits = FrameLimits::for_bodies(64 * 1024);
            let answer = read_frame(&mut stream, &limits)
                .await
                .with_context(|| format!("{what} was not answered"))?;
            match JobReply::decode(&answer)? {
                JobReply::Refused {
                    refusal: Refusal::Request(_),
                    ..
                } => {}
                JobReply::Refused { refusal, .. } => bail!("{what} was refused: {refusal}"),
                JobReply::Done { .. } => bail!("{what} was taken for a job"),
            }
        }
        self.outlives("latency=1ms,next=1").await
    }

    fn attested_calls(&self) -> usize {
        let records = self.stage.lab.cloud.mock().kms().audit().records();
        records.iter().filter(|record| record.attested).count()
    }

    async fn answers_again(&mut self) -> anyhow::Result<()> {
        let uploaded = self.upload().await?;
        let first = self.stage.done(&uploaded).await?;
        let before = self.attested_calls();
        let second = self.stage.done(&uploaded).await?;
        ensure!(
            second.object == first.object && second.receipt_bytes == first.receipt_bytes,
            "the job has two results"
        );
        ensure!(
            self.attested_calls() == before,
            "KMS was asked for keys again"
        );
        self.secrets.push(first.data_key);
        Ok(())
    }

    async fn refuses_another_key_for_a_known_job(&mut self) -> anyhow::Result<()> {
        let uploaded = self.upload().await?;
        let reading = self.stage.done(&uploaded).await?;
        self.secrets.push(reading.data_key);
        let s3 = hospital::s3(&self.stage.lab.cloud, Role::Parent)?;
        let key = &uploaded.objects.key;
        let mut object = s3.get(BUCKET, key, OBJECT_BYTES_MAX).await?;
        let wrapped = object.metadata.entry("x-amz-3".to_owned()).or_default();
        let other = if wrapped.starts_with('A') { "B" } else { "A" };
        wrapped.replace_range(..1, other);
        s3.put(BUCKET, key, object).await?;
        let before = self.attested_calls();
        let outcome = self.stage.parent.submit(&uploaded.objects).await?;
        ensure!(
            outcome.status == JobStatus::Refused && outcome.code.as_deref() == Some("repeated"),
            "the job ended with {outcome:?}"
        );
        ensure!(self.attested_calls() == before, "KMS was asked");
        Ok(())
    }

    fn job_connection(&self) -> anyhow::Result<UnixStream> {
        let enclave = VsockAddr {
            cid: ENCLAVE_CID,
            port: JOB_PORT,
        };
        let stream = switchboard::connect(self.stage.lab.world(), PARENT_CID, enclave)?;
        stream.set_nonblocking(true)?;
        Ok(UnixStream::from_std(stream)?)
    }

    async fn nothing_leaked(&mut self) -> anyhow::Result<()> {
        let honest = self.upload().await?;
        let reading = self.stage.done(&honest).await?;
        self.secrets.push(reading.data_key);
        let streams = self.recording.streams();
        ensure!(
            streams.iter().any(|stream| stream.starts_with(&[0x16, 3])),
            "no TLS was tapped"
        );
        let mut secrets: Vec<&[u8]> = self.secrets.iter().map(|key| key.as_slice()).collect();
        secrets.extend([demo::SAMPLE, &ATTACKERS_KEY]);
        if let Some(found) = wiretap::find_any(&streams, &secrets) {
            bail!("an image or a key passed: {found}");
        }
        // The search does find what passed: the ciphertext of an image.
        let object = hospital::s3(&self.stage.lab.cloud, Role::Clinician)?
            .get(BUCKET, &honest.objects.key, OBJECT_BYTES_MAX)
            .await?;
        ensure!(
            wiretap::find_any(&streams, &[&object.body]).is_some(),
            "the taps saw nothing of an encrypted image"
        );
        Ok(())
    }
}

/// What the parent can do with its role and without its enclave: nothing.
async fn parent_alone(lab: &Lab) -> anyhow::Result<()> {
    let kms = lab.cloud.kms(Role::Parent)?;
    let uploaded = hospital::upload(
        &lab.cloud,
        &lab.submitter,
        "parent-alone",
        demo::SAMPLE,
        lab.now(),
    )
    .await?;
    let object = hospital::s3(&lab.cloud, Role::Parent)?
        .get(BUCKET, &uploaded.objects.key, OBJECT_BYTES_MAX)
        .await?;
    let envelope = enclave_app::envelope::Envelope::parse(&object.metadata)?;
    let blob = || Blob::new(envelope.wrapped_key.clone());
    let context = Some(envelope.context.clone().into_iter().collect());
    let (input, result) = (lab.cloud.input_key_arn(), lab.cloud.result_key_arn());

    let decrypt = kms
        .decrypt()
        .key_id(input)
        .ciphertext_blob(blob())
        .set_encryption_context(context.clone())
        .send()
        .await;
    denied("Decrypt", decrypt)?;
    let re_encrypt = kms
        .re_encrypt()
        .ciphertext_blob(blob())
        .set_source_encryption_context(context)
        .destination_key_id(result)
        .send()
        .await;
    denied("ReEncrypt", re_encrypt)?;
    let generate = kms
        .generate_data_key()
        .key_id(result)
        .key_spec(DataKeySpec::Aes256)
        .send()
        .await;
    denied("GenerateDataKey", generate)?;
    let grant = kms
        .create_grant()
        .key_id(input)
        .grantee_principal(Role::Parent.arn())
        .operations(GrantOperation::Decrypt)
        .send()
        .await;
    denied("CreateGrant", grant)?;
    let put = kms
        .put_key_policy()
        .key_id(input)
        .policy(r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}]}"#)
        .send()
        .await;
    denied("PutKeyPolicy", put)?;
    let deletion = kms.schedule_key_deletion().key_id(input).send().await;
    denied("ScheduleKeyDeletion", deletion)
}

fn denied<T, E: ProvideErrorMetadata>(what: &str, answer: Result<T, E>) -> anyhow::Result<()> {
    match answer {
        Ok(_) => bail!("{what} was allowed"),
        Err(error) => {
            ensure!(
                error.code() == Some("AccessDeniedException"),
                "{what} ended with {:?}",
                error.code()
            );
            Ok(())
        }
    }
}

/// The parent's bridge leads to a KMS of the attacker's, with a certificate
/// authority of its own and forged answers to everything.
async fn impostor() -> anyhow::Result<()> {
    let lab = Lab::start(Options::default()).await?;
    let seed = WorldSeed::random();
    let impostor = Cloud::start(
        &Pki::new(&seed, REGION).root_pem(),
        SettableClock::running(),
    )
    .await?;
    let faults = impostor.mock().faults();
    faults.add(Fault::new(Kind::Answer(Hostile::ForgedCms)));
    let wiring = Wiring {
        kms: impostor.address(),
        ..lab.wiring()
    };
    let mut stage = Stage::on(lab, &wiring, Mode::Production).await?;
    let uploaded = stage.upload(demo::SAMPLE).await?;
    stage.refused(&uploaded, "kms_unreachable").await?;
    let records = impostor.mock().kms().audit().records();
    ensure!(
        records
            .iter()
            .all(|call| !call.attested && call.operation != "Decrypt"),
        "the impostor was sent a document"
    );
    stage.strike().await
}

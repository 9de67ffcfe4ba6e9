//! Whole jobs against a double that plays KMS honestly, and parents that do not.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex},
};

use aws_lc_rs::{digest, rand};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use enclave_app::{
    enclave::{
        answer::Answer as JobAnswer,
        config::Config,
        examine::Examiner,
        pipeline::{Finished, JobError, Pipeline, REPORT_BYTES_MULTIPLE},
        steps::name,
        worker::Workers,
    },
    envelope::{
        DataKey, EncryptionContext, Envelope, EnvelopeError, input_context, refusal_context,
        request_context, result_context, seal,
    },
    job::{
        Refusal, RefusalCode,
        manifest::{Manifest, ManifestError, SubmitterKey},
        refusal::{ImageFault, KmsCall, KmsException, RepeatFault},
        wire::{JobReply, JobRequest, StoredObject},
    },
    model::{LABELS, Model},
};
use serde_bytes::ByteBuf;
use serde_json::{Value, json};
use tempfile::TempDir;
use tracing_subscriber::fmt::MakeWriter;

use crate::enclave::{
    certificates::Authority,
    configuration::{self, INPUT_KEY, RESULT_KEY},
    kms_double::{
        Answer, Counted, Double, HOST, NOW, PaperModule, Received, Setting, credentials,
        document_field, json as answer,
    },
};

/// Wrapped key → the key, its context and the KMS key it is under.
type Wrapped = Arc<Mutex<BTreeMap<String, (Vec<u8>, Value, String)>>>;

/// A hospital, a KMS and an enclave.
struct World {
    double: Double,
    wrapped: Wrapped,
    pipeline: Pipeline,
    submitter: SubmitterKey,
    model_sha256: String,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let onnx = include_bytes!("../../../model/cxr3.onnx");
        let model_sha256 = hex::encode(digest::digest(&digest::SHA256, onnx));
        let submitter = SubmitterKey::from_seed(b"radiology");
        let authority = Authority::new();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tls-roots.pem"), authority.pem()).unwrap();
        let text = configuration::text(
            &model_sha256,
            &submitter.public().to_public_key_pem().unwrap(),
        );
        let config = Config::parse(&text, folder.path()).unwrap();

        let wrapped = Wrapped::default();
        let memory = wrapped.clone();
        let double = Double::start(authority.server(HOST), move |request| {
            honest(&memory, request)
        })
        .await;
        let kms = Setting::trusting(&authority).client(Counted::to(double.address()));
        let model = Model::load(onnx, &config.model_sha256).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_enclave-app"));
        let workers = Workers::start(program, config.limits.image, config.limits.worker).unwrap();
        let pipeline = Pipeline::new(
            &config,
            Examiner::new(Arc::new(workers), Arc::new(model)),
            kms,
            Arc::new(PaperModule {
                timestamp_ms: NOW.0,
            }),
            Arc::new(NOW),
        );
        Self {
            double,
            wrapped,
            pipeline,
            submitter,
            model_sha256,
            _folder: folder,
        }
    }

    /// What an uploader does: a data key from KMS, an S3EC V3 object.
    fn upload(&self, context: &EncryptionContext, plaintext: &[u8]) -> StoredObject {
        let context = request_context(context).unwrap();
        let (key, blob) = wrap(&self.wrapped, &json!(context), INPUT_KEY);
        seal(
            &DataKey::from_slice(&key).unwrap(),
            &blob,
            &context,
            plaintext,
        )
    }

    fn order(&self, manifest: &Manifest, object: StoredObject) -> JobRequest {
        JobRequest {
            manifest: ByteBuf::from(manifest.sign(&self.submitter).unwrap()),
            credentials: credentials(),
            object,
        }
    }

    /// An honest job over `plaintext`.
    fn job(&self, plaintext: &[u8]) -> (Manifest, StoredObject) {
        let mut manifest = manifest();
        let object = self.upload(&input_context(&manifest), plaintext);
        manifest.ciphertext_sha256 = Manifest::digest(&object.body);
        (manifest, object)
    }

    /// What the clinician reads in a sealed report with exactly this context.
    fn open(&self, object: &StoredObject, context: &EncryptionContext) -> Value {
        let envelope = Envelope::parse(&object.metadata).unwrap();
        assert_eq!(envelope.context, request_context(context).unwrap());
        let (key, _, arn) =
            self.wrapped.lock().unwrap()[&STANDARD.encode(&envelope.wrapped_key)].clone();
        assert_eq!(arn, RESULT_KEY);
        let report = envelope
            .open(&DataKey::from_slice(&key).unwrap(), &object.body)
            .unwrap();
        assert_eq!(report.len(), REPORT_BYTES_MULTIPLE);
        serde_json::from_slice(&report).unwrap()
    }

    async fn refusal(&self, request: JobRequest) -> JobError {
        self.pipeline.run(request).await.unwrap_err()
    }
}

fn manifest() -> Manifest {
    Manifest {
        job: "job-1".into(),
        bucket: "scans".into(),
        key: "incoming/1.png".into(),
        ciphertext_sha256: [0; 32],
        study: "1.2.840.1".into(),
        issued_at_ms: NOW.0 - 1_000,
        expires_at_ms: NOW.0 + 1_000,
    }
}

fn wrap(wrapped: &Wrapped, context: &Value, key_arn: &str) -> (Vec<u8>, Vec<u8>) {
    let (mut key, mut blob) = (vec![0; 32], vec![0; 184]);
    rand::fill(&mut key).unwrap();
    rand::fill(&mut blob).unwrap();
    wrapped.lock().unwrap().insert(
        STANDARD.encode(&blob),
        (key.clone(), context.clone(), key_arn.into()),
    );
    (key, blob)
}

/// KMS, as far as these jobs need it.
fn honest(wrapped: &Wrapped, request: &Received) -> Answer {
    let context = &request.body["EncryptionContext"];
    let key_arn = request.body["KeyId"].as_str().unwrap();
    match request.operation.as_str() {
        "Decrypt" => {
            let blob = request.body["CiphertextBlob"].as_str().unwrap();
            match wrapped.lock().unwrap().get(blob) {
                Some((key, bound, arn)) if bound == context && arn == key_arn => answer(
                    200,
                    json!({"KeyId": arn, "CiphertextForRecipient": request.enveloped(key)}),
                ),
                _ => answer(400, json!({"__type": "InvalidCiphertextException"})),
            }
        }
        "GenerateDataKey" => {
            let (key, blob) = wrap(wrapped, context, key_arn);
            answer(
                200,
                json!({
                    "KeyId": key_arn,
                    "CiphertextBlob": STANDARD.encode(blob),
                    "CiphertextForRecipient": request.enveloped(&key),
                }),
            )
        }
        other => panic!("{other}"),
    }
}

/// A small gray gradient.
fn picture() -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, 40, 30);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let pixels: Vec<u8> = (0..30 * 40_u32).map(|i| (i % 251) as u8).collect();
    encoder
        .write_header()
        .unwrap()
        .write_image_data(&pixels)
        .unwrap();
    out
}

#[tokio::test]
async fn a_job_turns_a_sealed_image_into_sealed_findings_and_a_receipt() {
    let world = World::new().await;
    let (manifest, object) = world.job(&picture());
    let object_sha256 = hex::encode(manifest.ciphertext_sha256);
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(log.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let Finished { result, receipt } = world
        .pipeline
        .run(world.order(&manifest, object))
        .await
        .unwrap();
    drop(guard);

    // The receipt vouches for the ciphertext.
    let result_sha256 = digest::digest(&digest::SHA256, &result.body);
    assert_eq!(
        document_field(&receipt, "user_data").unwrap(),
        result_sha256.as_ref()
    );
    assert_eq!(document_field(&receipt, "public_key"), None);

    // The result opens as the S3 Encryption Client would, under its own key and context.
    let expected = result_context(&manifest, &object_sha256, &world.model_sha256);
    let report = world.open(&result, &expected);
    assert_eq!(report["job"], "job-1");
    assert_eq!(report["study"], "1.2.840.1");
    assert_eq!(report["model_sha256"], world.model_sha256);
    assert_eq!(report["object_sha256"], object_sha256);
    let picture_sha256 = hex::encode(digest::digest(&digest::SHA256, &picture()));
    assert_eq!(report["input_sha256"], picture_sha256);
    assert_eq!(
        report["image"],
        json!({"format": "PNG", "width": 40, "height": 30})
    );
    let findings = report["findings"].as_array().unwrap();
    let mut labels: Vec<&str> = findings
        .iter()
        .map(|finding| finding["label"].as_str().unwrap())
        .collect();
    labels.sort_unstable();
    let mut expected = LABELS;
    expected.sort_unstable();
    assert_eq!(labels, expected);
    let sum: f64 = findings
        .iter()
        .map(|finding| finding["probability"].as_f64().unwrap())
        .sum();
    assert!((sum - 1.0).abs() < 1e-4, "{sum}");

    // Nothing about the image is public: its digest is not in the result's metadata.
    assert!(!format!("{:?}", result.metadata).contains(&picture_sha256));

    // Two calls, two keys.
    let received = world.double.received();
    assert_eq!(received.len(), 2);
    assert_ne!(received[0].public_key(), received[1].public_key());

    // Each step, once, in order, with its time and the job's name.
    let steps: Vec<Value> = log
        .lines()
        .into_iter()
        .filter(|line| line["target"] == "step")
        .collect();
    let names: Vec<&str> = steps
        .iter()
        .map(|step| step["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            name::JOB_CHECKED,
            name::ATTESTATION_FOR_DECRYPT,
            name::KMS_DECRYPT,
            name::OBJECT_OPENED,
            name::IMAGE_DECODED,
            name::INFERENCE,
            name::ATTESTATION_FOR_GENERATE_DATA_KEY,
            name::KMS_GENERATE_DATA_KEY,
            name::RESULT_SEALED,
            name::RECEIPT,
        ]
        .map(|name| name.as_str())
    );
    for step in steps {
        assert!(step["ms"].as_f64().unwrap() >= 0.0, "{step}");
        assert_eq!(step["job"], "job-1");
        assert_eq!(step["level"], "INFO");
    }
}

#[tokio::test]
async fn refuses_before_asking_kms_what_no_submitter_ordered() {
    let world = World::new().await;
    let refuse = |request: JobRequest| world.refusal(request);

    let (manifest, object) = world.job(&picture());
    let mut forged = world.order(&manifest, object.clone());
    forged.manifest = ByteBuf::from(
        manifest
            .sign(&SubmitterKey::from_seed(b"somebody else"))
            .unwrap(),
    );
    let error = refuse(forged).await;
    assert!(matches!(error, JobError::Manifest(_)), "{error}");
    assert_eq!(error.refusal().code(), RefusalCode::Manifest);

    let mut garbage = world.order(&manifest, object.clone());
    garbage.manifest = ByteBuf::from(b"\xd2\x84".as_slice());
    assert_eq!(
        refuse(garbage).await.refusal().code(),
        RefusalCode::Manifest
    );

    let expired = Manifest {
        expires_at_ms: NOW.0,
        ..manifest.clone()
    };
    let error = refuse(world.order(&expired, object.clone())).await;
    assert!(
        matches!(error, JobError::Manifest(ManifestError::Expired { .. })),
        "{error}"
    );
    assert_eq!(error.refusal().code(), RefusalCode::Expired);

    let mut flipped = object.clone();
    flipped.body[0] ^= 1;
    let error = refuse(world.order(&manifest, flipped)).await;
    assert!(
        matches!(
            error,
            JobError::Manifest(ManifestError::DigestMismatch { .. })
        ),
        "{error}"
    );

    let mut old = object.clone();
    old.metadata = BTreeMap::from([("x-amz-key-v2".into(), "AAAA".into())]);
    let error = refuse(world.order(&manifest, old)).await;
    assert!(
        matches!(error, JobError::Envelope(EnvelopeError::OldVersion { .. })),
        "{error}"
    );
    assert_eq!(error.refusal().code(), RefusalCode::Object);

    assert!(world.double.received().is_empty(), "KMS was asked");
}

#[tokio::test]
async fn refuses_objects_that_were_encrypted_for_another_place_purpose_study_or_job() {
    let world = World::new().await;
    let honest = manifest();
    let elsewhere = [
        Manifest {
            key: "incoming/2.png".into(),
            ..honest.clone()
        },
        Manifest {
            bucket: "other".into(),
            ..honest.clone()
        },
        Manifest {
            study: "1.2.840.2".into(),
            ..honest.clone()
        },
        Manifest {
            job: "job-2".into(),
            ..honest.clone()
        },
    ];
    let contexts = elsewhere.iter().map(input_context).chain([
        result_context(&honest, "aa", "bb"),
        EncryptionContext::new(),
        EncryptionContext::from([("extra".into(), "1".into())])
            .into_iter()
            .chain(input_context(&honest))
            .collect(),
    ]);
    for context in contexts {
        let object = world.upload(&context, &picture());
        let signed = Manifest {
            ciphertext_sha256: Manifest::digest(&object.body),
            ..honest.clone()
        };
        let error = world.refusal(world.order(&signed, object)).await;
        assert!(
            matches!(error, JobError::OtherContext),
            "{context:?}: {error}"
        );
    }
    assert!(world.double.received().is_empty(), "KMS was asked");
}

#[tokio::test]
async fn refuses_a_wrapped_key_swapped_in_from_another_object() {
    let world = World::new().await;
    let (manifest, mut object) = world.job(&picture());
    // Same KMS key, same context, another data key: only the commitment notices.
    let other = world.upload(&input_context(&manifest), &picture());
    object
        .metadata
        .insert("x-amz-3".into(), other.metadata["x-amz-3"].clone());
    let error = world.refusal(world.order(&manifest, object)).await;
    assert!(matches!(error, JobError::NotOpened), "{error}");
    assert_eq!(error.refusal().code(), RefusalCode::Object);
}

#[tokio::test]
async fn names_kmss_exception_and_quotes_nothing_of_it() {
    let world = World::new().await;
    let (manifest, mut object) = world.job(&picture());
    object
        .metadata
        .insert("x-amz-3".into(), STANDARD.encode([0; 184]));
    let error = world.refusal(world.order(&manifest, object)).await;
    let refusal = error.refusal();
    assert_eq!(
        refusal,
        Refusal::KmsRefused(KmsCall::Decrypt, KmsException::InvalidCiphertext)
    );
    assert_eq!(
        refusal.to_string(),
        "Decrypt: KMS answered InvalidCiphertextException"
    );
}

#[tokio::test]
async fn an_image_that_cannot_be_used_is_explained_to_its_clinician_alone() {
    let cut = &picture()[..60];
    let name_as_length = pn_short();
    for (plaintext, fault, detail) in [
        (
            &b"not an image"[..],
            ImageFault::UnknownFormat,
            "not an image",
        ),
        (b"", ImageFault::UnknownFormat, "not an image"),
        (
            cut,
            ImageFault::Damaged,
            "PNG: the file ends inside of a chunk",
        ),
        // What the parent used to read.
        (
            &name_as_length,
            ImageFault::Damaged,
            "declares 1515081555 bytes",
        ),
    ] {
        let world = World::new().await;
        let (manifest, object) = world.job(plaintext);
        let object_sha256 = hex::encode(manifest.ciphertext_sha256);
        let answer = JobAnswer::from(world.pipeline.run(world.order(&manifest, object)).await);
        let JobReply::Refused { refusal, report } = JobReply::from(answer) else {
            panic!("{fault:?} was done");
        };
        assert_eq!(refusal, Refusal::Image(fault));
        let report = report.expect("a report for the clinician");
        let body_sha256 = digest::digest(&digest::SHA256, &report.object.body);
        assert_eq!(
            document_field(&report.receipt, "user_data").unwrap(),
            body_sha256.as_ref()
        );
        let mut context = result_context(&manifest, &object_sha256, &world.model_sha256);
        context.extend(refusal_context());
        let text = world.open(&report.object, &context);
        assert_eq!(text["job"], "job-1");
        assert_eq!(text["study"], "1.2.840.1");
        assert_eq!(text["refused"]["code"], "image");
        assert_eq!(text["refused"]["reason"], fault.word());
        let said = text["refused"]["detail"].as_str().unwrap();
        assert!(said.contains(detail), "{said}");
        assert_eq!(text.get("findings"), None);
        // As many calls of KMS as a job with findings makes.
        let received = world.double.received();
        let operations: Vec<&str> = received
            .iter()
            .map(|request| request.operation.as_str())
            .collect();
        assert_eq!(operations, ["Decrypt", "GenerateDataKey"]);
    }
}

/// Implicit VR; the patient's name declares 8 bytes less than it has, so that its
/// rest is read as a tag and a length.
fn pn_short() -> Vec<u8> {
    let mut file = vec![0; 128];
    file.extend_from_slice(
        b"DICM\x02\0\0\0UL\x04\0\x1a\0\0\0\x02\0\x10\0UI\x12\x001.2.840.10008.1.2\0",
    );
    file.extend_from_slice(b"\x10\0\x10\0\x08\0\0\0QUIXOTE^ALONSONZ");
    file
}

#[tokio::test]
async fn an_order_is_run_once_and_answered_again_with_the_same_bytes() {
    let world = World::new().await;
    let (manifest, object) = world.job(&picture());
    let run = || world.pipeline.run(world.order(&manifest, object.clone()));
    let first = run().await.unwrap();
    for _ in 0..2 {
        let again = run().await.unwrap();
        assert_eq!(again.result, first.result);
        assert_eq!(again.receipt, first.receipt);
    }
    assert_eq!(world.double.received().len(), 2, "KMS was asked again");
    // The same name with another wrapped key is another order.
    let mut other = object.clone();
    other
        .metadata
        .insert("x-amz-3".into(), STANDARD.encode([0; 184]));
    let refusal = world.refusal(world.order(&manifest, other)).await.refusal();
    assert_eq!(refusal, Refusal::Repeated(RepeatFault::OtherOrder));
    assert_eq!(world.double.received().len(), 2, "KMS was asked");
}

#[tokio::test]
async fn a_job_that_kms_refused_may_be_run_again() {
    let world = World::new().await;
    let (manifest, object) = world.job(&picture());
    let wrapped = std::mem::take(&mut *world.wrapped.lock().unwrap());
    let error = world.refusal(world.order(&manifest, object.clone())).await;
    assert_eq!(error.refusal().code(), RefusalCode::KmsRefused);
    world.wrapped.lock().unwrap().extend(wrapped);
    world
        .pipeline
        .run(world.order(&manifest, object))
        .await
        .unwrap();
}

/// Collects log lines.
#[derive(Clone, Default)]
pub(crate) struct Log(pub(crate) Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<Value> {
        let bytes = self.0.lock().unwrap();
        bytes
            .split(|octet| *octet == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

//! Hospitals need nothing of ours: Amazon's own S3 Encryption Client for Python,
//! unmodified, uploads an image with the uploader's credentials, the enclave
//! analyses it, and the same client reads the result with the clinician's.

use crate::clients::{Surroundings, python, run, step};
use conformance::{
    demo::SAMPLE,
    lab::{
        JobStatus, Lab, Mode, Options,
        cloud::{BUCKET, INPUT_ALIAS, Role, parent_pcr3},
        hospital::{self, JobObjects, OBJECT_BYTES_MAX, Report},
    },
};
use enclave_app::{
    envelope::{Envelope, RESERVED_CONTEXT_KEY, input_context},
    job::{manifest::Manifest, wire::StoredObject},
    parent::s3::ObjectStore as _,
};

const SCRIPT: &str = "s3_encryption_client.py";

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_uploads_the_image_and_reads_the_findings() {
    let Some(python) = python().await else { return };
    let lab = Lab::start(Options::default()).await.unwrap();
    let (mut parent, enclave) =
        tokio::try_join!(lab.start_parent(), lab.start_enclave(Mode::Production)).unwrap();

    // The uploader: the official client encrypts, the hospital signs the job.
    let objects = JobObjects::of("official");
    let mut job = Manifest {
        job: objects.job.clone(),
        bucket: BUCKET.to_owned(),
        key: objects.key.clone(),
        ciphertext_sha256: [0; 32],
        study: "1.2.826.0.1.3680043.10.1338.1".to_owned(),
        issued_at_ms: lab.now().0,
        expires_at_ms: lab.now().0 + 600_000,
    };
    let image = lab.folder().join("image");
    std::fs::write(&image, SAMPLE).unwrap();
    let context = serde_json::to_string(&input_context(&job)).unwrap();
    let image = image.to_str().unwrap();
    let write = ["write", BUCKET, &objects.key, INPUT_ALIAS, &context, image];
    step(&python, SCRIPT, &write, &acting(&lab, Role::Uploader)).await;
    let s3 = hospital::s3(&lab.cloud, Role::Uploader).unwrap();
    let uploaded = s3.get(BUCKET, &objects.key, OBJECT_BYTES_MAX).await;
    job.ciphertext_sha256 = hospital::sha256(&uploaded.unwrap().body);
    let signed = StoredObject {
        metadata: [].into(),
        body: job.sign(&lab.submitter).unwrap().into(),
    };
    s3.put(BUCKET, &objects.manifest_key, signed).await.unwrap();

    let outcome = parent.submit(&objects).await.unwrap();
    assert_eq!(outcome.status, JobStatus::Done, "{outcome:?}");
    parent.stop().await.unwrap();
    enclave.stop().await.unwrap();

    // The clinician: the receipt is checked over what lies in storage, the
    // context is read from there and its job compared.
    let s3 = hospital::s3(&lab.cloud, Role::Clinician).unwrap();
    let result = s3
        .get(BUCKET, &objects.result_key, OBJECT_BYTES_MAX)
        .await
        .unwrap();
    let receipt = s3
        .get(BUCKET, &objects.receipt_key(), OBJECT_BYTES_MAX)
        .await
        .unwrap();
    hospital::check_receipt(
        &receipt.body,
        &result.body,
        &lab.verifier,
        &lab.measurements,
        &parent_pcr3(),
        lab.now(),
    )
    .unwrap();
    let mut context = Envelope::parse(&result.metadata).unwrap().context;
    context.remove(RESERVED_CONTEXT_KEY);
    assert_eq!(context["job"], objects.job);
    let context = serde_json::to_string(&context).unwrap();
    let findings = lab.folder().join("findings.json");
    let read = [
        "read",
        BUCKET,
        &objects.result_key,
        lab.cloud.result_key_arn(),
        &context,
        findings.to_str().unwrap(),
    ];
    step(&python, SCRIPT, &read, &acting(&lab, Role::Clinician)).await;
    let report: Report = serde_json::from_slice(&std::fs::read(&findings).unwrap()).unwrap();
    assert_eq!(report.job, objects.job);
    assert!(!report.findings.is_empty());
    for finding in &report.findings {
        assert!((0.0..=1.0).contains(&finding.probability), "{finding:?}");
    }
    let sample_sha256: String = hospital::sha256(SAMPLE)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(report.input_sha256, sample_sha256);

    // The parent's credentials open neither, whatever client holds them.
    std::fs::remove_file(&findings).unwrap();
    let said = run(&python, SCRIPT, &read, &acting(&lab, Role::Parent)).await;
    assert!(!said.success, "{said}");
    assert!(said.stderr.contains("AccessDenied"), "{said}");
    assert!(!findings.exists());
}

/// What a client of `role` finds in its environment.
fn acting(lab: &Lab, role: Role) -> Surroundings {
    let credentials = lab.cloud.credentials(role);
    Surroundings::new(
        &lab.cloud.url(),
        credentials.access_key_id(),
        credentials.secret_access_key(),
        credentials.session_token(),
    )
}

//! Every stage of the main job, apart and as a whole: attestation, document
//! verification and envelope in process, the NSM through the runner, image and
//! inference, attested Decrypt over the wire, and the flow with its processes;
//! the promises at the end.
//!
//! `cargo bench -p benches` prints times with their spread; compare runs of one
//! machine only.

#![allow(missing_docs)] // criterion's macros make the items
#![allow(clippy::print_stdout)] // the table of promises

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use aws_sdk_kms::{
    primitives::Blob,
    types::{DataKeySpec, KeyEncryptionMechanism, RecipientInfo},
};
use benches::{
    operations::OPERATIONS,
    promises,
    runner::{REQUESTS, Runner},
};
use conformance::{
    demo::SAMPLE,
    lab::{
        Lab, Mode, Options,
        cloud::{Cloud, INPUT_ALIAS, Role, parent_pcr3},
        hospital, image,
    },
};
use criterion::{Criterion, criterion_group, criterion_main};
use enclave_app::{
    enclave::keys::RecipientKey,
    image::{Limits, decode, preprocess},
    model::Model,
};
use nsm_sim::{
    attestation::pki::Pki,
    clock::{Clock as _, SettableClock, SystemClock},
    seed::WorldSeed,
};

/// Everything of the NSM, its documents and envelopes, each beside its floor.
fn in_process(c: &mut Criterion) {
    let mut group = c.benchmark_group("in process");
    for operation in OPERATIONS {
        let mut run = operation.prepared();
        group.bench_function(operation.name, |b| b.iter(&mut run));
    }
    group.finish();
}

/// NSM requests of a program under `nsm-sim run`, and the start of a run.
fn under_the_runner(c: &mut Criterion) {
    let runner = runner();
    let mut group = c.benchmark_group("nsm-sim run");
    group.sample_size(10);
    for name in REQUESTS {
        group.bench_function(name, |b| {
            b.iter_custom(|runs| runner.asked(name, runs).expect("the client runs"));
        });
    }
    for (name, plain) in [("start of true", false), ("start of true, plain", true)] {
        group.bench_function(name, |b| {
            b.iter(|| runner.ran_true(plain).expect("true is true"));
        });
    }
    group.finish();
}

fn runner() -> Runner {
    Runner::locate(Path::new(env!("CARGO_BIN_EXE_operations")))
}

fn analysis(c: &mut Criterion) {
    let decoded = decode(SAMPLE, &Limits::default()).expect("the sample decodes");
    let tensor = preprocess(&decoded);
    let digest = hospital::sha256(image::MODEL);
    let model = Model::load(image::MODEL, &digest).expect("the model loads");
    let mut group = c.benchmark_group("analysis");
    group.sample_size(10);
    group.bench_function("decode the sample (JPEG 2000, 1955x1841)", |b| {
        b.iter(|| decode(black_box(SAMPLE), &Limits::default()).expect("it decodes"));
    });
    group.bench_function("preprocess", |b| b.iter(|| preprocess(black_box(&decoded))));
    group.bench_function("inference", |b| {
        b.iter(|| model.infer(black_box(&tensor)).expect("findings"));
    });
    group.bench_function("load the model", |b| {
        b.iter(|| Model::load(black_box(image::MODEL), &digest).expect("the model loads"));
    });
    group.finish();
}

fn attested_decrypt(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let seed = WorldSeed::from_u64(2);
    let key = RecipientKey::generate().expect("a key");
    let (cloud, blob) = runtime.block_on(async {
        let root = Pki::new(&seed, benches::REGION).root_pem();
        let cloud = Cloud::start(&root, SettableClock::running())
            .await
            .expect("a cloud");
        let measurements = nsm_sim::device::Measurements {
            pcr0: [0xa0; 48],
            pcr1: [0xa1; 48],
            pcr2: [0xa2; 48],
            pcr8: None,
        };
        cloud
            .bind_keys(&measurements, &parent_pcr3())
            .await
            .expect("policies");
        let blob = cloud
            .kms(Role::Uploader)
            .expect("a client")
            .generate_data_key()
            .key_id(INPUT_ALIAS)
            .key_spec(DataKeySpec::Aes256)
            .encryption_context("purpose", "inference-input")
            .send()
            .await
            .expect("a data key")
            .ciphertext_blob
            .expect("a blob");
        (cloud, blob)
    });
    // KMS looks at a document's age, so these are of today.
    let document = |enclave| {
        let now = SystemClock.now();
        Blob::new(benches::document(&seed, enclave, now, key.public_der()))
    };
    let known = document(0);
    let client = cloud.kms(Role::Parent).expect("a client");
    let call = |document: Blob| {
        let recipient = RecipientInfo::builder()
            .attestation_document(document)
            .key_encryption_algorithm(KeyEncryptionMechanism::RsaesOaepSha256)
            .build();
        client
            .decrypt()
            .key_id(cloud.input_key_arn())
            .ciphertext_blob(blob.clone())
            .encryption_context("purpose", "inference-input")
            .recipient(recipient)
            .send()
    };
    let mut group = c.benchmark_group("kms");
    group.bench_function("attested Decrypt of a known enclave, over TLS", |b| {
        b.to_async(&runtime)
            .iter(|| async { call(known.clone()).await.expect("KMS answers") });
    });
    let mut enclave = 0_u16;
    group.bench_function("attested Decrypt of a new enclave, over TLS", |b| {
        b.to_async(&runtime).iter_custom(|runs| {
            // Made beforehand, so that calls follow each other as above.
            let documents: Vec<Blob> = (0..runs)
                .map(|_| {
                    enclave = enclave.wrapping_add(1);
                    document(enclave)
                })
                .collect();
            let call = &call;
            async move {
                let start = Instant::now();
                for document in documents {
                    call(document).await.expect("KMS answers");
                }
                start.elapsed()
            }
        });
    });
    let uploader = cloud.kms(Role::Uploader).expect("a client");
    group.bench_function("GenerateDataKey without attestation, over TLS", |b| {
        b.to_async(&runtime).iter(|| async {
            uploader
                .generate_data_key()
                .key_id(INPUT_ALIAS)
                .key_spec(DataKeySpec::Aes256)
                .encryption_context("purpose", "inference-input")
                .send()
                .await
                .expect("KMS answers")
        });
    });
    group.finish();
}

fn flow(c: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (lab, mut parent, enclave) = runtime.block_on(async {
        let lab = Lab::start(Options::default()).await.expect("a world");
        let (parent, enclave) =
            tokio::try_join!(lab.start_parent(), lab.start_enclave(Mode::Production))
                .expect("its processes");
        (lab, parent, enclave)
    });
    let mut number = 0;
    let mut group = c.benchmark_group("flow");
    group.sample_size(10);
    group.bench_function("one radiograph, from upload to reading", |b| {
        b.iter(|| {
            number += 1;
            runtime.block_on(async {
                let job = format!("bench-{number}");
                let uploaded =
                    hospital::upload(&lab.cloud, &lab.submitter, &job, SAMPLE, lab.now())
                        .await
                        .expect("uploaded");
                parent.submit(&uploaded.objects).await.expect("done");
                lab.read(&uploaded).await.expect("read")
            })
        });
    });
    group.finish();
    runtime.block_on(async {
        enclave.stop().await.expect("the enclave ends");
        parent.stop().await.expect("the parent ends");
    });
}

/// Prints the promises as this machine holds them now; `operations promises`
/// judges them. Not when some of the suites were asked for by name.
fn promised(_: &mut Criterion) {
    if std::env::args().skip(1).any(|word| !word.starts_with('-')) {
        return;
    }
    println!("\npromises");
    promises::check(&runner(), |promise| println!("{promise}")).expect("the client runs");
}

criterion_group! {
    name = suites;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(50)
        .nresamples(10_000);
    targets = in_process, under_the_runner, analysis, attested_decrypt, flow, promised
}
criterion_main!(suites);

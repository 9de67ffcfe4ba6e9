//! Every stage of the main job, apart and as a whole: attestation, document
//! verification, attested Decrypt over the wire, envelope, image, inference,
//! and the flow with its processes.
//!
//! `cargo bench -p benches` prints medians with their spread; compare runs of
//! one machine only.

#![allow(missing_docs)] // criterion's macros make the items

use std::hint::black_box;

use aws_sdk_kms::{
    primitives::Blob,
    types::{DataKeySpec, KeyEncryptionMechanism, RecipientInfo},
};
use conformance::{
    demo::SAMPLE,
    lab::{
        Lab, Mode, Options,
        cloud::{Cloud, INPUT_ALIAS, Role, parent_pcr3},
        hospital, image,
    },
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use enclave_app::{
    enclave::keys::RecipientKey,
    envelope::{self, DataKey, Envelope},
    image::{Limits, decode, preprocess},
    model::Model,
};
use nsm_sim::{
    attestation::{pki::Pki, verify::Verifier},
    clock::{Clock as _, SettableClock, SystemClock},
    seed::WorldSeed,
};

fn nsm(c: &mut Criterion) {
    let seed = WorldSeed::from_u64(1);
    let key = RecipientKey::generate().expect("a key");
    let request = benches::attestation_request(key.public_der());
    let mut module = benches::module(&seed);
    let mut group = c.benchmark_group("nsm");
    group.bench_function("Attestation, in process", |b| {
        b.iter(|| module.handle(SystemClock.now(), black_box(&request)));
    });
    group.bench_function("GetRandom, in process", |b| {
        b.iter(|| module.handle(SystemClock.now(), black_box(b"\x69GetRandom")));
    });
    let document = benches::document(&seed, key.public_der());
    let verifier = Verifier::with_root_pem(&Pki::new(&seed, benches::REGION).root_pem())
        .expect("a simulated root");
    group.bench_function("document verified", |b| {
        b.iter(|| {
            verifier
                .verify(black_box(&document), SystemClock.now())
                .expect("it verifies")
        });
    });
    group.finish();
}

fn envelopes(c: &mut Criterion) {
    let data_key = DataKey::from_slice(&[7; 32]).expect("32 bytes");
    let context = envelope::request_context(&[("purpose".to_owned(), "bench".to_owned())].into())
        .expect("a context");
    let plaintext = vec![0x5a; 1 << 20];
    let sealed = envelope::seal(&data_key, &[1; 184], &context, &plaintext);
    let mut group = c.benchmark_group("envelope");
    group.throughput(Throughput::Bytes(plaintext.len() as u64));
    group.bench_function("seal 1 MiB", |b| {
        b.iter(|| envelope::seal(&data_key, &[1; 184], &context, black_box(&plaintext)));
    });
    group.bench_function("open 1 MiB", |b| {
        b.iter(|| {
            let envelope = Envelope::parse(&sealed.metadata).expect("an envelope");
            envelope
                .open(&data_key, black_box(&sealed.body))
                .expect("opened")
        });
    });
    group.finish();
}

fn analysis(c: &mut Criterion) {
    let decoded = decode(SAMPLE, &Limits::default()).expect("the sample decodes");
    let tensor = preprocess(&decoded);
    let digest = hospital::sha256(image::MODEL);
    let model = Model::load(image::MODEL, &digest).expect("the model loads");
    let mut group = c.benchmark_group("analysis");
    group.sample_size(20);
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
    let document = Blob::new(benches::document(&seed, key.public_der()));
    let client = cloud.kms(Role::Parent).expect("a client");
    let call = || {
        let recipient = RecipientInfo::builder()
            .attestation_document(document.clone())
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
    group.bench_function("attested Decrypt, aws-sdk-kms over TLS", |b| {
        b.to_async(&runtime)
            .iter(|| async { call().await.expect("KMS answers") });
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
    group.sample_size(20);
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
                hospital::read(
                    &lab.cloud,
                    &uploaded,
                    &lab.verifier,
                    &lab.measurements,
                    &parent_pcr3(),
                    lab.now(),
                )
                .await
                .expect("read")
            })
        });
    });
    group.finish();
    runtime.block_on(async {
        enclave.stop().await.expect("the enclave ends");
        parent.stop().await.expect("the parent ends");
    });
}

criterion_group!(suites, nsm, envelopes, analysis, attested_decrypt, flow);
criterion_main!(suites);

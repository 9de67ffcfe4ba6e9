//! The application against a KMS and two enclaves in this process: no device, no
//! network but loopback, no AWS account.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use attested_data_key::{request, wrapped_key};
use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    rsa::{KeySize, PrivateDecryptingKey},
};
use aws_nitro_enclaves_nsm_api::api::{Request, Response};
use kms_mock::KmsMock;
use nsm_sim::{
    clock::SettableClock,
    device::{Measurements, Nsm},
    seed::WorldSeed,
};
use serde_json::{Value, json};

/// One of the world's enclaves.
fn enclave(image: &[u8], clock: &SettableClock) -> Nsm {
    Nsm::builder()
        .measurements(Measurements::of_one_part(image))
        .seed(WorldSeed::from_u64(7))
        .clock(clock.clone())
        .build()
}

/// A document for a key pair that the enclave made for this call.
fn document(enclave: &Nsm) -> Vec<u8> {
    let pair = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let attestation = Request::Attestation {
        user_data: None,
        nonce: None,
        public_key: Some(public.as_ref().to_vec().into()),
    };
    match enclave.request(attestation) {
        Response::Attestation { document } => document,
        other => panic!("{other:?}"),
    }
}

/// Status and body of KMS's answer.
fn call(kms: &KmsMock, operation: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: kms\r\nconnection: close\r\n\
         content-type: application/x-amz-json-1.1\r\n\
         x-amz-target: TrentService.{operation}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(kms.address()).unwrap();
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

#[test]
fn only_the_measured_image_gets_a_data_key() {
    let clock = SettableClock::running();
    let image = b"the image that was reviewed";
    let ours = enclave(image, &clock);
    let kms = KmsMock::builder()
        .clock(clock.clone())
        .attestation_root_pem(&ours.root_pem())
        .start_blocking()
        .unwrap();
    let pcr0: String = Measurements::of(image)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let account = json!({ "AWS": "arn:aws:iam::123456789012:root" });
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": account, "Action": ["kms:PutKeyPolicy", "kms:Describe*"], "Resource": "*" },
        { "Effect": "Allow", "Principal": account, "Action": "kms:GenerateDataKey", "Resource": "*",
          "Condition": { "StringEqualsIgnoreCase": { "kms:RecipientAttestation:ImageSha384": pcr0 } } },
    ]});
    let (status, created) = call(&kms, "CreateKey", &json!({ "Policy": policy.to_string() }));
    assert_eq!(status, 200, "{created}");
    let key_id = created["KeyMetadata"]["KeyId"].as_str().unwrap();

    let (status, answer) = call(&kms, "GenerateDataKey", &request(key_id, &document(&ours)));
    assert_eq!(status, 200, "{answer}");
    assert!(wrapped_key(&answer).is_some(), "{answer}");

    let theirs = enclave(b"the image with one line changed", &clock);
    for body in [
        request(key_id, &document(&theirs)),
        json!({ "KeyId": key_id, "KeySpec": "AES_256" }),
    ] {
        let (status, refused) = call(&kms, "GenerateDataKey", &body);
        assert_eq!(status, 400, "{refused}");
        assert_eq!(refused["__type"], "AccessDeniedException");
        assert!(wrapped_key(&refused).is_none());
    }
    let reason = kms.received().last().unwrap().reason.clone().unwrap();
    assert!(
        reason.contains("kms:RecipientAttestation:ImageSha384"),
        "{reason}"
    );
}

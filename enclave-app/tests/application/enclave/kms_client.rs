//! The attested KMS client against a double that lies in every way of the attack
//! table (ground truth KMS §6).

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use enclave_app::{
    enclave::{
        keys::RecipientKey,
        kms::{AnswerFault, AttestedKms, KmsError},
        nsm::NsmError,
        transport::{RESPONSE_BYTES_MAX, TransportError},
    },
    envelope::{DataKey, EncryptionContext},
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};

use crate::enclave::{
    certificates::{AFTER_ALL_MS, Authority},
    cms_writer::{Flaw, Spelling, envelope},
    configuration::INPUT_KEY,
    kms_double::{
        Answer, Counted, Double, HOST, NOW, Received, Setting, credentials, json as answer, steps,
    },
};

const DATA_KEY: [u8; 32] = [0x2a; 32];

fn context() -> EncryptionContext {
    EncryptionContext::from([("purpose".into(), "test".into())])
}

async fn decrypt(client: &AttestedKms) -> Result<DataKey, KmsError> {
    client
        .decrypt(&credentials(), INPUT_KEY, b"wrapped", &context(), &steps())
        .await
}

/// An honest Decrypt answer, then changed.
fn honest(request: &Received) -> Value {
    json!({
        "KeyId": INPUT_KEY,
        "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "CiphertextForRecipient": request.enveloped(&DATA_KEY),
    })
}

/// Starts a double that answers `reply`, calls Decrypt once.
async fn against(
    reply: impl Fn(&Received) -> Answer + Send + Sync + 'static,
) -> (Result<DataKey, KmsError>, Vec<Received>) {
    let authority = Authority::new();
    let double = Double::start(authority.server(HOST), reply).await;
    let client = Setting::trusting(&authority).client(Counted::to(double.address()));
    let outcome = decrypt(&client).await;
    (outcome, double.received())
}

async fn fault(reply: impl Fn(&Received) -> Value + Send + Sync + 'static) -> AnswerFault {
    let (outcome, received) = against(move |request| answer(200, reply(request))).await;
    assert_eq!(received.len(), 1, "a refused answer is not asked for again");
    match outcome {
        Err(KmsError::Answer(fault)) => fault,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("accepted"),
    }
}

#[tokio::test]
async fn opens_an_honest_answer_in_either_form_of_an_absent_plaintext() {
    for plaintext in [None, Some(Value::Null), Some(json!(""))] {
        let (outcome, _) = against(move |request| {
            let mut body = honest(request);
            if let Some(plaintext) = &plaintext {
                body["Plaintext"] = plaintext.clone();
            }
            answer(200, body)
        })
        .await;
        assert!(outcome.is_ok());
    }
}

#[tokio::test]
async fn asks_for_exactly_the_pinned_key_with_the_context_and_a_document() {
    let (outcome, received) = against(|request| answer(200, honest(request))).await;
    assert!(outcome.is_ok());
    let [request] = received.as_slice() else {
        panic!("{received:?}")
    };
    assert_eq!(request.operation, "Decrypt");
    assert_eq!(request.body["KeyId"], INPUT_KEY);
    assert_eq!(request.body["CiphertextBlob"], STANDARD.encode(b"wrapped"));
    assert_eq!(
        request.body["EncryptionContext"],
        json!({"purpose": "test"})
    );
    assert_eq!(
        request.body["Recipient"]["KeyEncryptionAlgorithm"],
        "RSAES_OAEP_SHA_256"
    );
    assert_eq!(request.headers["host"], HOST);
    assert_eq!(request.headers["x-amz-security-token"], "token");
    let authorization = request.headers["authorization"].to_str().unwrap();
    assert!(authorization.contains("ASIAEXAMPLE/"), "{authorization}");
    assert!(
        authorization.contains("/us-east-1/kms/aws4_request"),
        "{authorization}"
    );
}

#[tokio::test]
async fn refuses_an_answer_with_plaintext_even_beside_a_right_envelope() {
    let with_both = |request: &Received| {
        let mut body = honest(request);
        body["Plaintext"] = json!(STANDARD.encode(DATA_KEY));
        body
    };
    assert_eq!(fault(with_both).await, AnswerFault::Plaintext);
    let only_plaintext =
        |_: &Received| json!({"KeyId": INPUT_KEY, "Plaintext": STANDARD.encode(DATA_KEY)});
    assert_eq!(fault(only_plaintext).await, AnswerFault::Plaintext);
}

#[tokio::test]
async fn refuses_an_answer_without_an_envelope() {
    for missing in [Value::Null, json!("")] {
        let found = fault(move |request| {
            let mut body = honest(request);
            body["CiphertextForRecipient"] = missing.clone();
            body
        })
        .await;
        assert_eq!(found, AnswerFault::NoCiphertextForRecipient);
    }
    let found = fault(|_| json!({"KeyId": INPUT_KEY})).await;
    assert_eq!(found, AnswerFault::NoCiphertextForRecipient);
}

#[tokio::test]
async fn refuses_an_answer_of_another_key_or_of_none() {
    for key in [
        json!("arn:aws:kms:us-east-1:999999999999:key/11111111-2222-3333-4444-555555555555"),
        json!("arn:aws:kms:us-east-1:123456789012:alias/imaging-input"),
        json!("11111111-2222-3333-4444-555555555555"),
        Value::Null,
    ] {
        let found = fault(move |request| {
            let mut body = honest(request);
            body["KeyId"] = key.clone();
            body
        })
        .await;
        assert_eq!(found, AnswerFault::OtherKey);
    }
}

#[tokio::test]
async fn refuses_an_answer_made_with_another_algorithm() {
    let found = fault(|request| {
        let mut body = honest(request);
        body["EncryptionAlgorithm"] = json!("RSAES_OAEP_SHA_1");
        body
    })
    .await;
    assert_eq!(found, AnswerFault::OtherAlgorithm);
}

#[tokio::test]
async fn refuses_an_envelope_for_another_public_key() {
    let other = RecipientKey::generate().unwrap();
    let forged = STANDARD.encode(envelope(
        other.public_der(),
        &DATA_KEY,
        Spelling::FormA,
        Flaw::None,
    ));
    let found = fault(move |request| {
        let mut body = honest(request);
        body["CiphertextForRecipient"] = json!(forged);
        body
    })
    .await;
    assert_eq!(found, AnswerFault::NotForThisKey);
}

#[tokio::test]
async fn refuses_flawed_envelopes_for_the_right_key_all_alike() {
    for flaw in [
        Flaw::Sha1,
        Flaw::Identifier,
        Flaw::TwoRecipients,
        Flaw::Version0,
        Flaw::TrailingByte,
    ] {
        let found = fault(move |request| {
            let mut body = honest(request);
            let flawed = envelope(&request.public_key(), &DATA_KEY, Spelling::FormA, flaw);
            body["CiphertextForRecipient"] = json!(STANDARD.encode(flawed));
            body
        })
        .await;
        assert_eq!(found, AnswerFault::NotForThisKey, "{flaw:?}");
    }
    for length in [16, 31, 33] {
        let found = fault(move |request| {
            let mut body = honest(request);
            body["CiphertextForRecipient"] = json!(request.enveloped(&vec![1; length]));
            body
        })
        .await;
        assert_eq!(found, AnswerFault::NotForThisKey, "{length} bytes");
    }
}

#[tokio::test]
async fn refuses_the_recorded_answer_of_an_earlier_call() {
    let authority = Authority::new();
    let recorded: Arc<Mutex<Option<Value>>> = Arc::default();
    let double = Double::start(authority.server(HOST), move |request| {
        let mut recorded = recorded.lock().unwrap();
        answer(200, recorded.get_or_insert_with(|| honest(request)).clone())
    })
    .await;
    let client = Setting::trusting(&authority).client(Counted::to(double.address()));
    assert!(decrypt(&client).await.is_ok());
    for _ in 0..2 {
        assert!(matches!(
            decrypt(&client).await,
            Err(KmsError::Answer(AnswerFault::NotForThisKey))
        ));
    }
}

#[tokio::test]
async fn every_attempt_has_a_key_and_a_document_of_its_own() {
    let calls = AtomicUsize::new(0);
    let (outcome, received) = against(move |request| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => answer(500, json!({"__type": "KMSInternalException"})),
        1 => answer(
            400,
            json!({"__type": "ThrottlingException", "message": "slow down"}),
        ),
        _ => answer(200, honest(request)),
    })
    .await;
    assert!(outcome.is_ok());
    assert_eq!(received.len(), 3);
    let mut keys: Vec<Vec<u8>> = received.iter().map(Received::public_key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 3, "three attempts, three keys");
}

#[tokio::test]
async fn attempts_are_bounded() {
    let (outcome, received) =
        against(|_| answer(500, json!({"__type": "KMSInternalException"}))).await;
    assert_eq!(received.len(), 3);
    assert!(matches!(
        outcome,
        Err(KmsError::Refused { status: 500, .. })
    ));
}

#[tokio::test]
async fn a_refusal_by_kms_is_final_and_keeps_its_words() {
    for field in ["message", "Message"] {
        let (outcome, received) = against(move |_| {
            answer(
                400,
                json!({"__type": "AccessDeniedException", field: "no, because"}),
            )
        })
        .await;
        assert_eq!(received.len(), 1);
        match outcome {
            Err(KmsError::Refused {
                code,
                message,
                request_id,
                status,
            }) => {
                assert_eq!(code, "AccessDeniedException");
                assert_eq!(message, "no, because");
                assert_eq!(status, 400);
                assert!(request_id.is_some());
            }
            _ => panic!("not refused"),
        }
    }
    let (outcome, _) =
        against(|_| answer(400, json!({"__type": "InvalidCiphertextException"}))).await;
    let Err(error) = outcome else {
        panic!("accepted")
    };
    assert!(
        error.to_string().contains("InvalidCiphertextException"),
        "{error}"
    );
}

#[tokio::test]
async fn refuses_malformed_answers() {
    let (outcome, _) = against(|_| (200, b"<html>".to_vec())).await;
    let Err(error) = outcome else {
        panic!("accepted")
    };
    assert!(
        matches!(error, KmsError::Answer(AnswerFault::Malformed)),
        "{error:?}"
    );
    let (outcome, received) = against(|_| (200, vec![b' '; RESPONSE_BYTES_MAX + 1])).await;
    assert!(matches!(
        outcome,
        Err(KmsError::Transport(TransportError::ResponseTooLong))
    ));
    assert_eq!(received.len(), 1);
}

async fn not_the_host(server: Arc<rustls::ServerConfig>, setting: Setting) {
    let double = Double::start(server, |request| answer(200, honest(request))).await;
    let dial = Counted::to(double.address());
    let client = setting.client(dial.clone());
    match decrypt(&client).await {
        Err(KmsError::Transport(TransportError::NotTheHost { host, .. })) => {
            assert_eq!(host, HOST);
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("accepted"),
    }
    assert_eq!(dial.count(), 1, "an impostor is not asked twice");
    assert!(
        double.received().is_empty(),
        "nothing was said to the impostor"
    );
}

#[tokio::test]
async fn says_nothing_to_a_server_with_another_authoritys_certificate() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    not_the_host(theirs.server(HOST), Setting::trusting(&ours)).await;
}

#[tokio::test]
async fn says_nothing_to_a_server_with_another_hosts_certificate() {
    let authority = Authority::new();
    let server = authority.server("kms.eu-west-1.amazonaws.com");
    not_the_host(server, Setting::trusting(&authority)).await;
}

#[tokio::test]
async fn says_nothing_to_a_server_whose_certificate_has_expired() {
    let authority = Authority::new();
    let late = crate::enclave::kms_double::Still(AFTER_ALL_MS);
    let setting = Setting {
        clock: late,
        document_ms: AFTER_ALL_MS,
        ..Setting::trusting(&authority)
    };
    not_the_host(authority.server(HOST), setting).await;
}

#[tokio::test]
async fn a_bridge_that_is_down_ends_in_a_clear_error_after_bounded_attempts() {
    // Bound, so that nobody else takes the port, and not listening.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let dial = Counted::to(nobody.local_addr().unwrap());
    let client = Setting::trusting(&Authority::new()).client(dial.clone());
    let Err(error) = decrypt(&client).await else {
        panic!("accepted")
    };
    assert!(
        matches!(error, KmsError::Transport(TransportError::Dial(_))),
        "{error}"
    );
    assert_eq!(dial.count(), 3);
}

#[tokio::test]
async fn a_silent_bridge_runs_into_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let setting = Setting::trusting(&Authority::new());
    let bounds = enclave_app::enclave::kms::CallBounds {
        attempts_max: 2,
        ..setting.bounds
    };
    let dial = Counted::to(address);
    let client = Setting {
        timeout: Duration::from_millis(30),
        bounds,
        ..setting
    }
    .client(dial.clone());
    let Err(error) = decrypt(&client).await else {
        panic!("accepted")
    };
    assert!(
        matches!(error, KmsError::Transport(TransportError::Timeout(_))),
        "{error}"
    );
    assert_eq!(dial.count(), 2);
    drop(listener);
}

#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to() {
    use tokio::io::AsyncWriteExt as _;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                .await;
        }
    });
    let client = Setting::trusting(&Authority::new()).client(Counted::to(address));
    let Err(error) = decrypt(&client).await else {
        panic!("accepted")
    };
    assert!(
        matches!(error, KmsError::Transport(TransportError::Handshake { .. })),
        "{error}"
    );
    serving.abort();
}

#[tokio::test]
async fn a_document_from_another_time_is_not_sent() {
    let authority = Authority::new();
    let double = Double::start(authority.server(HOST), |request| {
        answer(200, honest(request))
    })
    .await;
    let setting = Setting {
        document_ms: NOW.0 - 60_001,
        ..Setting::trusting(&authority)
    };
    let client = setting.client(Counted::to(double.address()));
    let Err(error) = decrypt(&client).await else {
        panic!("accepted")
    };
    assert!(
        matches!(error, KmsError::Attestation(NsmError::ClockSkew { .. })),
        "{error}"
    );
    assert!(double.received().is_empty());
}

#[tokio::test]
async fn calls_share_a_connection_and_survive_its_end() {
    for (keep_alive, dials) in [(true, 1), (false, 3)] {
        let authority = Authority::new();
        let server = authority.server(HOST);
        let double =
            Double::start_with(server, keep_alive, |request| answer(200, honest(request))).await;
        let dial = Counted::to(double.address());
        let client = Setting::trusting(&authority).client(dial.clone());
        for _ in 0..3 {
            assert!(decrypt(&client).await.is_ok());
        }
        assert_eq!(dial.count(), dials, "keep-alive {keep_alive}");
    }
}

#[tokio::test]
async fn a_generated_key_comes_with_its_wrapped_form_or_not_at_all() {
    let authority = Authority::new();
    let wrapped = Arc::new(Mutex::new(json!(STANDARD.encode(b"wrapped"))));
    let says = wrapped.clone();
    let double = Double::start(authority.server(HOST), move |request| {
        assert_eq!(request.operation, "GenerateDataKey");
        assert_eq!(request.body["KeySpec"], "AES_256");
        assert_eq!(
            request.body["EncryptionContext"],
            json!({"purpose": "test"})
        );
        let mut body = honest(request);
        body["CiphertextBlob"] = says.lock().unwrap().clone();
        answer(200, body)
    })
    .await;
    let client = Setting::trusting(&authority).client(Counted::to(double.address()));
    let generate = || async {
        client
            .generate_data_key(&credentials(), INPUT_KEY, &context(), &steps())
            .await
    };
    assert_eq!(generate().await.ok().unwrap().wrapped_key, b"wrapped");
    for nothing in [
        Value::Null,
        json!(""),
        json!(STANDARD.encode(vec![0; 6145])),
    ] {
        *wrapped.lock().unwrap() = nothing;
        assert!(matches!(
            generate().await,
            Err(KmsError::Answer(AnswerFault::NoCiphertextBlob))
        ));
    }
}

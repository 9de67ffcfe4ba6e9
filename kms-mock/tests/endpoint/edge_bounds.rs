//! What a hostile or broken client can make the server do: nothing for long.

use std::time::{Duration, Instant};

use crate::support::{builder, raw};
use kms_mock::mock::builder::Limits;
use tokio::io::AsyncWriteExt;

/// Times short enough for a test and long enough for a loaded machine; no test
/// waits for them by itself, the server has to end each connection.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.handshake_timeout = Duration::from_millis(300);
    limits.header_timeout = Duration::from_millis(300);
    limits.body_idle_timeout = Duration::from_millis(300);
    limits.body_timeout = Duration::from_millis(900);
    limits.write_timeout = Duration::from_millis(300);
    limits
}

const BOUND: Duration = Duration::from_secs(20);

fn kms_head(length: usize) -> Vec<u8> {
    format!(
        "POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: TrentService.Decrypt\r\n\
         content-length: {length}\r\n\r\n"
    )
    .into_bytes()
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let mock = builder().limits(limits()).start().await.unwrap();
    let (answer, took) = raw(&mock, b"", false).await;
    assert_eq!(answer, "");
    assert!(took < BOUND, "{took:?}");
}

#[tokio::test]
async fn a_connection_that_is_idle_after_its_answer_is_closed() {
    let mock = builder().limits(limits()).start().await.unwrap();
    let request = b"GET /_localstack/health HTTP/1.1\r\nhost: x\r\n\r\n";
    let (answer, took) = raw(&mock, request, false).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!answer.contains("connection: close"), "{answer}");
    assert!(took < BOUND, "{took:?}");
}

#[tokio::test]
async fn a_client_that_closes_its_side_after_the_request_is_answered() {
    let mock = builder().limits(limits()).start().await.unwrap();
    let mut request = kms_head(2);
    request.extend_from_slice(b"{}");
    let (answer, _) = raw(&mock, &request, true).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#""operation":"Decrypt""#), "{answer}");
}

#[tokio::test]
async fn headers_that_never_end_are_closed() {
    let mock = builder().limits(limits()).start().await.unwrap();
    let (_, took) = raw(&mock, b"POST / HTTP/1.1\r\nhost: x\r\nx-slow: 1\r\n", false).await;
    assert!(took < BOUND, "{took:?}");
}

#[tokio::test]
async fn a_tls_handshake_that_never_ends_is_closed() {
    let mock = builder().limits(limits()).start().await.unwrap();
    let (_, took) = raw(&mock, &[22, 3, 1, 2, 0], false).await;
    assert!(took < BOUND, "{took:?}");
}

#[tokio::test]
async fn a_body_that_never_comes_is_refused() {
    let mock = builder().limits(limits()).start().await.unwrap();
    let mut request = kms_head(100);
    request.extend_from_slice(b"{");
    let (answer, took) = raw(&mock, &request, false).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(took < BOUND, "{took:?}");
}

#[tokio::test]
async fn a_body_cut_short_is_refused_or_dropped_and_never_served() {
    let mock = builder().limits(limits()).start().await.unwrap();
    let mut request = kms_head(100);
    request.extend_from_slice(b"{}");
    let (answer, took) = raw(&mock, &request, true).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );
    assert!(took < BOUND, "{took:?}");
    let served = mock
        .received()
        .into_iter()
        .filter(|request| request.status == 200)
        .count();
    assert_eq!(served, 0);
}

#[tokio::test]
async fn a_kms_body_over_a_mebibyte_is_refused_and_one_of_that_size_is_not() {
    let mock = builder().start().await.unwrap();
    let client = reqwest::Client::new();
    for (size, status) in [(1024 * 1024, 200), (1024 * 1024 + 1, 413)] {
        let response = client
            .post(mock.url())
            .header("x-amz-target", "TrentService.Encrypt")
            .body(vec![b' '; size])
            .send()
            .await
            .unwrap();
        assert_eq!(response.status().as_u16(), status, "{size} bytes");
    }
    // Without Content-Length the bound holds as well.
    let mut request = b"POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: TrentService.Encrypt\r\n\
        transfer-encoding: chunked\r\n\r\n"
        .to_vec();
    for _ in 0..17 {
        request.extend_from_slice(b"10000\r\n");
        request.extend_from_slice(&[b' '; 0x10000]);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    let (answer, _) = raw(&mock, &request, false).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn an_announced_giant_is_refused_without_being_read() {
    let mock = builder().limits(limits()).start().await.unwrap();
    let table = [
        (
            "POST / HTTP/1.1\r\nx-amz-target: TrentService.Encrypt\r\n",
            "413",
        ),
        ("PUT /b/k HTTP/1.1\r\n", "400"),
        ("POST /?Action=GetCallerIdentity HTTP/1.1\r\n", "413"),
    ];
    for (head, status) in table {
        let request =
            format!("{head}host: x\r\nexpect: 100-continue\r\ncontent-length: 99999999999\r\n\r\n");
        let (answer, took) = raw(&mock, request.as_bytes(), false).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{head}: {answer}"
        );
        assert!(took < BOUND, "{took:?}");
    }
}

#[tokio::test]
async fn too_many_or_too_large_headers_are_refused() {
    let mock = builder().limits(limits()).start().await.unwrap();
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    let large = format!("x-large: {}\r\n", "x".repeat(200_000));
    for headers in [many, large] {
        let request = format!("GET / HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        let (answer, took) = raw(&mock, request.as_bytes(), false).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
        assert!(took < BOUND, "{took:?}");
    }
}

#[tokio::test]
async fn another_number_of_headers_is_what_is_taken() {
    for headers_max in [3, 120] {
        let mut limits = limits();
        limits.headers_max = headers_max;
        let mock = builder().limits(limits).start().await.unwrap();
        for (count, status) in [(headers_max, "200"), (headers_max + 1, "431")] {
            let headers: String = (1..count).map(|n| format!("x-{n}: 1\r\n")).collect();
            let request = format!("GET /_localstack/health HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
            let (answer, _) = raw(&mock, request.as_bytes(), true).await;
            let expected = format!("HTTP/1.1 {status}");
            assert!(answer.starts_with(&expected), "{count}: {answer}");
        }
    }
}

#[tokio::test]
async fn bytes_that_are_no_http_are_refused_and_the_server_goes_on() {
    let mock = builder().limits(limits()).start().await.unwrap();
    let garbage: [&[u8]; 4] = [
        b"\0\0\0\0",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"\xff",
    ];
    for bytes in garbage {
        let (_, took) = raw(&mock, bytes, true).await;
        assert!(took < BOUND, "{took:?}");
    }
    let health = reqwest::get(format!("{}/_localstack/health", mock.url()))
        .await
        .unwrap();
    assert_eq!(health.status(), 200);
}

#[tokio::test]
async fn more_connections_than_allowed_wait_their_turn() {
    let mut limits = limits();
    limits.connections_max = 1;
    let mock = builder().limits(limits).start().await.unwrap();
    let silent = tokio::net::TcpStream::connect(mock.address())
        .await
        .unwrap();
    // Answered once the silent connection has run out of its time.
    let health = reqwest::get(format!("{}/_localstack/health", mock.url()))
        .await
        .unwrap();
    assert_eq!(health.status(), 200);
    drop(silent);
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_loses_its_connection() {
    let mut limits = limits();
    limits.connections_max = 1;
    let mock = builder().limits(limits).start().await.unwrap();
    for (path, size) in [("/b-1", 0), ("/b-1/k", 64 * 1024 * 1024)] {
        let put = reqwest::Client::new()
            .put(format!("{}{path}", mock.url()))
            .body(vec![0; size]);
        assert_eq!(put.send().await.unwrap().status(), 200);
    }
    let mut deaf = tokio::net::TcpStream::connect(mock.address())
        .await
        .unwrap();
    deaf.write_all(b"GET /b-1/k HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    // The only connection there may be becomes free again.
    let health = reqwest::get(format!("{}/_localstack/health", mock.url()))
        .await
        .unwrap();
    assert_eq!(health.status(), 200);
    drop(deaf);
}

#[tokio::test]
async fn an_answer_may_take_longer_than_a_head() {
    let mut limits = limits();
    limits.write_timeout = Duration::from_secs(60);
    let enough = 3 * limits.header_timeout;
    let mock = builder().limits(limits).start().await.unwrap();
    let client = reqwest::Client::new();
    let object = format!("{}/b-1/k", mock.url());
    let size = 64 * 1024 * 1024;
    for (url, size) in [(format!("{}/b-1", mock.url()), 0), (object.clone(), size)] {
        let put = client.put(url).body(vec![0; size]).send().await.unwrap();
        assert_eq!(put.status(), 200);
    }
    let mut answer = client.get(object).send().await.unwrap();
    let begun = Instant::now();
    let mut received = answer.chunk().await.unwrap().unwrap().len();
    // The rest waits while others are answered.
    while begun.elapsed() < enough {
        let health = format!("{}/_localstack/health", mock.url());
        assert_eq!(reqwest::get(health).await.unwrap().status(), 200);
    }
    while let Some(part) = answer.chunk().await.unwrap() {
        received += part.len();
    }
    assert_eq!(received, size);
}

#[tokio::test]
async fn a_stopped_server_no_longer_listens() {
    let mock = builder().start().await.unwrap();
    let address = mock.address();
    mock.stop().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    let taken = builder().bind(address).start().await.unwrap();
    let error = builder().bind(address).start().await.unwrap_err();
    assert!(error.to_string().contains("listening on"), "{error}");
    drop(taken);
}

//! What a hostile or broken client can make the server do: nothing for long.

use std::time::Duration;

use kms_mock::{KmsMock, mock::builder::Limits};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::support::{ENDS_WITHIN, builder, raw};

/// The one bound that a test is about. How soon does not matter: no test waits for it
/// by a clock of its own, but for the server to end the connection, and nothing that
/// must survive is bounded by it.
const SOON: Duration = Duration::from_millis(20);

/// Nothing is over before a test is.
fn patient() -> Limits {
    const LONG: Duration = Duration::from_secs(3600);
    let mut limits = Limits::default();
    limits.handshake_timeout = LONG;
    limits.header_timeout = LONG;
    limits.body_idle_timeout = LONG;
    limits.body_timeout = LONG;
    limits.write_timeout = LONG;
    limits
}

/// The server answers; it is asked again where it gave up on a client that this
/// machine was too slow for.
async fn assert_served(mock: &KmsMock) {
    let url = format!("{}/_localstack/health", mock.url());
    let answered = async {
        loop {
            match reqwest::get(&url).await {
                Ok(health) => return health.status(),
                Err(error) => assert!(error.is_request(), "{error:?}"),
            }
        }
    };
    let answered = tokio::time::timeout(ENDS_WITHIN, answered).await;
    assert_eq!(answered.expect("it answers nobody"), 200);
}

fn kms_head(length: usize) -> Vec<u8> {
    format!(
        "POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: TrentService.Decrypt\r\n\
         content-length: {length}\r\n\r\n"
    )
    .into_bytes()
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let mut limits = patient();
    limits.handshake_timeout = SOON;
    let mock = builder().limits(limits).start().await.unwrap();
    let answer = raw(&mock, b"", false).await;
    assert_eq!(answer, "");
}

#[tokio::test]
async fn a_connection_that_is_idle_after_its_answer_is_closed() {
    let mut limits = patient();
    limits.header_timeout = SOON;
    let mock = builder().limits(limits).start().await.unwrap();
    let request = b"GET /_localstack/health HTTP/1.1\r\nhost: x\r\n\r\n";
    let answer = raw(&mock, request, false).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn a_client_that_closes_its_side_after_the_request_is_answered() {
    // The answer takes a while, in which the server hears that nothing more comes.
    let late = "latency=50ms".parse().unwrap();
    let mock = KmsMock::builder().limits(patient()).fault(late);
    let mock = mock.start().await.unwrap();
    let body = r#"{"NumberOfBytes":8}"#;
    let request = format!(
        "POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: TrentService.GenerateRandom\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = raw(&mock, request.as_bytes(), true).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#""Plaintext":"#), "{answer}");
}

#[tokio::test]
async fn headers_that_never_end_are_closed() {
    let mut limits = patient();
    limits.header_timeout = SOON;
    let mock = builder().limits(limits).start().await.unwrap();
    raw(&mock, b"POST / HTTP/1.1\r\nhost: x\r\nx-slow: 1\r\n", false).await;
}

#[tokio::test]
async fn a_tls_handshake_that_never_ends_is_closed() {
    let mut limits = patient();
    limits.handshake_timeout = SOON;
    let mock = builder().limits(limits).start().await.unwrap();
    raw(&mock, &[22, 3, 1, 2, 0], false).await;
}

#[tokio::test]
async fn a_body_that_never_comes_is_refused() {
    let mut limits = patient();
    limits.body_idle_timeout = SOON;
    let mock = builder().limits(limits).start().await.unwrap();
    let mut request = kms_head(100);
    request.extend_from_slice(b"{");
    let answer = raw(&mock, &request, false).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn a_body_in_drops_is_refused_once_its_whole_time_is_over() {
    let mut limits = patient();
    limits.body_timeout = SOON;
    let mock = builder().limits(limits).start().await.unwrap();
    let mut stream = TcpStream::connect(mock.address()).await.unwrap();
    stream.write_all(&kms_head(1024 * 1024)).await.unwrap();
    // It is never silent, and still ends: with far fewer bytes than were announced.
    let (mut reading, mut writing) = stream.split();
    let dripping = async {
        loop {
            if writing.write_all(b" ").await.is_err() {
                std::future::pending::<()>().await; // it has ended
            }
            tokio::task::yield_now().await;
        }
    };
    let mut answer = vec![0; 12];
    tokio::select! {
        read = reading.read_exact(&mut answer) => assert_eq!(read.unwrap(), 12),
        () = dripping => unreachable!("it drips for ever"),
        () = tokio::time::sleep(ENDS_WITHIN) => panic!("the body may take for ever"),
    }
    assert_eq!(answer, b"HTTP/1.1 408");
}

#[tokio::test]
async fn a_body_cut_short_is_refused_or_dropped_and_never_served() {
    let mock = builder().limits(patient()).start().await.unwrap();
    let mut request = kms_head(100);
    request.extend_from_slice(b"{}");
    let answer = raw(&mock, &request, true).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );
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
    let answer = raw(&mock, &request, false).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn an_announced_giant_is_refused_without_being_read() {
    let mock = builder().limits(patient()).start().await.unwrap();
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
        let answer = raw(&mock, request.as_bytes(), false).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{head}: {answer}"
        );
    }
}

#[tokio::test]
async fn too_many_or_too_large_headers_are_refused() {
    let mock = builder().limits(patient()).start().await.unwrap();
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    let large = format!("x-large: {}\r\n", "x".repeat(200_000));
    for headers in [many, large] {
        let request = format!("GET / HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        let answer = raw(&mock, request.as_bytes(), false).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn another_number_of_headers_is_what_is_taken() {
    for headers_max in [3, 120] {
        let mut limits = patient();
        limits.headers_max = headers_max;
        let mock = builder().limits(limits).start().await.unwrap();
        for (count, status) in [(headers_max, "200"), (headers_max + 1, "431")] {
            let headers: String = (1..count).map(|n| format!("x-{n}: 1\r\n")).collect();
            let request = format!("GET /_localstack/health HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
            let answer = raw(&mock, request.as_bytes(), true).await;
            let expected = format!("HTTP/1.1 {status}");
            assert!(answer.starts_with(&expected), "{count}: {answer}");
        }
    }
}

#[tokio::test]
async fn bytes_that_are_not_http_are_refused_and_the_server_goes_on() {
    let mock = builder().limits(patient()).start().await.unwrap();
    let garbage: [&[u8]; 4] = [
        b"\0\0\0\0",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"\xff",
    ];
    for bytes in garbage {
        raw(&mock, bytes, true).await;
    }
    let health = reqwest::get(format!("{}/_localstack/health", mock.url()))
        .await
        .unwrap();
    assert_eq!(health.status(), 200);
}

#[tokio::test]
async fn more_connections_than_allowed_wait_their_turn() {
    let mut limits = patient();
    limits.connections_max = 1;
    limits.handshake_timeout = SOON;
    let mock = builder().limits(limits).start().await.unwrap();
    let silent = TcpStream::connect(mock.address()).await.unwrap();
    // Answered once the silent connection has run out of its time.
    assert_served(&mock).await;
    drop(silent);
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_loses_its_connection() {
    let mut limits = patient();
    limits.connections_max = 1;
    limits.write_timeout = SOON;
    let mock = builder().limits(limits).start().await.unwrap();
    put_object(&mock).await;
    let deaf = TcpSocket::new_v4().unwrap();
    deaf.set_recv_buffer_size(4096).unwrap();
    let mut deaf = deaf.connect(mock.address()).await.unwrap();
    deaf.write_all(b"GET /b-1/k HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    // The only connection there may be becomes free again.
    assert_served(&mock).await;
    drop(deaf);
}

#[tokio::test]
async fn an_answer_may_take_longer_than_a_head() {
    let mut limits = patient();
    limits.header_timeout = SOON;
    let mock = builder().limits(limits).start().await.unwrap();
    put_object(&mock).await;
    let object = format!("{}/b-1/k", mock.url());
    let mut answer = reqwest::get(object).await.unwrap();
    let mut received = answer.chunk().await.unwrap().unwrap().len();
    // The rest waits while the server runs out of patience with three heads, one
    // after the other: it has waited longer than for a head by its own clock.
    for _ in 0..3 {
        let unfinished = raw(&mock, b"GET / HTTP/1.1\r\n", false).await;
        assert!(!unfinished.starts_with("HTTP/1.1 2"), "{unfinished}");
    }
    while let Some(part) = answer.chunk().await.unwrap() {
        received += part.len();
    }
    assert_eq!(received, OBJECT_BYTES);
}

/// More than lies between a server and a client that reads nothing.
const OBJECT_BYTES: usize = 32 * 1024 * 1024;

/// `/b-1/k`, of [`OBJECT_BYTES`]; each request over a connection of its own.
async fn put_object(mock: &KmsMock) {
    for (path, size) in [("/b-1", 0), ("/b-1/k", OBJECT_BYTES)] {
        let put = reqwest::Client::new()
            .put(format!("{}{path}", mock.url()))
            .body(vec![0; size]);
        assert_eq!(put.send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_stopped_server_no_longer_listens() {
    // Tests that run at once take free ports of 127.0.0.1, and might take this one.
    let own = if cfg!(target_os = "linux") {
        "127.9.9.9:0"
    } else {
        "127.0.0.1:0"
    };
    let mock = builder().bind(own.parse().unwrap()).start().await.unwrap();
    let address = mock.address();
    mock.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
    let taken = builder().bind(address).start().await.unwrap();
    let error = builder().bind(address).start().await.unwrap_err();
    assert!(error.to_string().contains("listening on"), "{error}");
    drop(taken);
}

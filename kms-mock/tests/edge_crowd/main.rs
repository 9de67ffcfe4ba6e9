//! As many connections at once as this machine lets one process hold, up to ten
//! thousand, and clients among them that stop short or send too much.

#![allow(clippy::unwrap_used)] // test code outside test functions

#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use kms_mock::mock::builder::Limits;
use support::{builder, raw};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const CONNECTIONS_MAX: u64 = 10_000;
/// Both ends of a connection are in this process.
const FILES_A_CONNECTION: u64 = 2;
const OTHER_FILES: u64 = 200;

const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: TrentService.Encrypt\r\n\
    content-length: 2\r\n\r\n{}";

/// Reads one answer, whose body of JSON ends in the only `}` at the end of what
/// has come.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"}") {
        let read = stream.read_buf(&mut text).await.unwrap();
        assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&text));
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_crowd_is_served_whole_while_bad_requests_among_it_are_refused() {
    let wanted = CONNECTIONS_MAX * FILES_A_CONNECTION + OTHER_FILES;
    let files = rlimit::increase_nofile_limit(wanted).unwrap();
    let crowd_size = (files - OTHER_FILES) / FILES_A_CONNECTION;
    assert!(crowd_size > 100, "only {files} open files are allowed");
    if crowd_size < CONNECTIONS_MAX {
        eprintln!("{crowd_size} connections: {files} open files are allowed");
    }
    let mut limits = Limits::default();
    // What of the crowd's bodies has come lies in the kernel with its head.
    limits.body_idle_timeout = Duration::from_millis(20);
    // All connect before anybody asks, however slow the machine is.
    limits.handshake_timeout = Duration::from_secs(600);
    limits.header_timeout = Duration::from_secs(600);
    let mock = builder().limits(limits).start().await.unwrap();
    let mut crowd = Vec::new();
    for _ in 0..crowd_size.min(CONNECTIONS_MAX) {
        crowd.push(TcpStream::connect(mock.address()).await.unwrap());
    }
    for round in 0..2 {
        for stream in &mut crowd {
            stream.write_all(REQUEST).await.unwrap();
        }
        let short = [REQUEST.split_last().unwrap().1, b""].concat();
        let truncated = raw(&mock, &short, false).await;
        assert!(truncated.starts_with("HTTP/1.1 408"), "{truncated}");
        let mut giant = b"POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: TrentService.Encrypt\r\n\
            content-length: 2000000\r\nexpect: 100-continue\r\n\r\n"
            .to_vec();
        giant.push(b'{');
        let oversized = raw(&mock, &giant, false).await;
        assert!(oversized.starts_with("HTTP/1.1 413"), "{oversized}");
        for (number, stream) in crowd.iter_mut().enumerate() {
            let answer = answer(stream).await;
            assert!(
                answer.starts_with("HTTP/1.1 200"),
                "connection {number}, round {round}: {answer}"
            );
        }
    }
}

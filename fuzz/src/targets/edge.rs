//! What arrives at the server's port: whole HTTP requests, as bytes on a
//! connection of their own. The services behind it – KMS, STS and IAM, S3 – are
//! those of `kms-mock serve`.
//!
//! An answer has to be one of HTTP/1 and no confession of a fault of ours; a
//! panic of a server's thread is seen by the driver. A request that is cut off
//! need not be answered.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use anyhow::Context as _;
use kms_mock::{KmsMock, mock::builder::Limits};
use nsm_sim::{
    clock::{SettableClock, UnixMillis},
    seed::WorldSeed,
};

use super::{Corpus, Target, Verdict};
use crate::{mutate, random::Random};

const NOW: UnixMillis = UnixMillis(1_767_225_600_000);

/// Requests that one server answers: what they store does not grow for ever.
const REQUESTS_A_SERVER: u32 = 20_000;

/// How long the server may be silent before it is told that nothing more comes.
/// A request that is whole is answered long before.
const SILENCE: Duration = Duration::from_millis(4);

/// How long the server may take to end a connection that has no more to say.
const END_TIME_MAX: Duration = Duration::from_secs(10);

/// Longest answer that is read: a listing of everything stored.
const ANSWER_BYTES_MAX: usize = 8 << 20;

type Change = fn(&mut Random, &mut Vec<u8>, &[u8]);

struct Edge {
    seeds: Vec<Vec<u8>>,
    change: Change,
    server: KmsMock,
    answered: u32,
}

/// Requests of every service, their heads changed more than the rest.
pub(super) fn requests(_corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    let mut seeds = vec![
        request(
            "POST / HTTP/1.1",
            "kms",
            "x-amz-target: TrentService.ListKeys\r\ncontent-type: application/x-amz-json-1.1\r\nexpect: 100-continue\r\n",
            b"{\"Limit\":1}",
        ),
        request("GET /_localstack/health HTTP/1.1", "s3", "", b""),
        request("GET /?list-type=2&max-keys=1 HTTP/1.1", "s3", "", b""),
        request(
            "GET /fuzz/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=123456789012%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature=00 HTTP/1.1",
            "s3",
            "range: bytes=0-1\r\nif-none-match: \"x\"\r\n",
            b"",
        ),
        request(
            "POST /fuzz?delete HTTP/1.1",
            "s3",
            "content-type: application/xml\r\n",
            b"<Delete><Object><Key>key</Key></Object></Delete>",
        ),
        b"POST / HTTP/1.1\r\nhost: h\r\nx-amz-target: TrentService.ListKeys\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03".to_vec(),
    ];
    seeds.push(form("Action=GetCallerIdentity&Version=2011-06-15"));
    seeds.extend(uploads_seeds());
    edge(seeds, |random, input, other| {
        let body = body_at(input);
        if random.one_in(3) {
            return mutate::bytes(random, input, other);
        }
        let mut head = input[..body].to_vec();
        mutate::bytes(random, &mut head, other);
        input.splice(..body, head);
    })
}

/// Forms: names and values changed, the length of the body right.
pub(super) fn forms(_corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    let trust = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Principal%22%3A%7B%22AWS%22%3A%22*%22%7D%2C%22Action%22%3A%22sts%3AAssumeRole%22%7D%5D%7D";
    let policy = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22kms%3A*%22%2C%22Resource%22%3A%22*%22%7D%7D";
    let seeds = [
        "Action=GetCallerIdentity&Version=2011-06-15".to_owned(),
        format!(
            "Action=CreateRole&RoleName=R&Path=%2Fp%2F&MaxSessionDuration=3600&AssumeRolePolicyDocument={trust}"
        ),
        "Action=GetRole&RoleName=R&Version=2010-05-08".to_owned(),
        format!("Action=PutRolePolicy&RoleName=R&PolicyName=P&PolicyDocument={policy}"),
        "Action=CreateUser&UserName=U&Path=%2F".to_owned(),
        format!("Action=PutUserPolicy&UserName=U&PolicyName=P&PolicyDocument={policy}"),
        "Action=CreateAccessKey&UserName=U".to_owned(),
        format!(
            "Action=AssumeRole&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fp%2FR&RoleSessionName=s&DurationSeconds=900&ExternalId=e&Policy={policy}"
        ),
    ];
    edge(seeds.iter().map(|seed| form(seed)).collect(), change_body)
}

/// Uploads: chunks, their signatures and trailers changed, the length of the body
/// right.
pub(super) fn uploads(_corpus: &Corpus) -> anyhow::Result<Box<dyn Target>> {
    edge(uploads_seeds(), |random, input, other| {
        if random.one_in(6) {
            return mutate::bytes(random, input, other);
        }
        change_body(random, input, other);
    })
}

fn uploads_seeds() -> Vec<Vec<u8>> {
    let signature = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let signed = format!(
        "5;chunk-signature={signature}\r\nhello\r\n6;chunk-signature={signature}\r\n world\r\n0;chunk-signature={signature}\r\n"
    );
    let upload = |kind: &str, more: &str, body: &str| {
        let headers = format!(
            "x-amz-content-sha256: {kind}\r\ncontent-encoding: aws-chunked\r\nx-amz-decoded-content-length: 11\r\nx-amz-meta-a: b\r\n{more}"
        );
        request("PUT /fuzz/key HTTP/1.1", "s3", &headers, body.as_bytes())
    };
    vec![
        upload(
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            "",
            &format!("{signed}\r\n"),
        ),
        upload(
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            "x-amz-trailer: x-amz-checksum-crc32\r\n",
            &format!(
                "{signed}x-amz-checksum-crc32:DUoRhQ==\r\nx-amz-trailer-signature:{signature}\r\n\r\n"
            ),
        ),
        upload(
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            "x-amz-trailer: x-amz-checksum-crc32\r\n",
            "b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n",
        ),
    ]
}

/// A request signed, in appearance, by the account's root user.
fn request(line: &str, service: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{line}\r\nhost: localhost:4566\r\nauthorization: AWS4-HMAC-SHA256 Credential=123456789012/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host;x-amz-date, Signature=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\nx-amz-date: 20260101T000000Z\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn form(parameters: &str) -> Vec<u8> {
    let service = if parameters.contains("Role&") && !parameters.contains("AssumeRole&") {
        "iam"
    } else {
        "sts"
    };
    request(
        "POST / HTTP/1.1",
        service,
        "content-type: application/x-www-form-urlencoded\r\n",
        parameters.as_bytes(),
    )
}

/// Where the body begins, or the end of what has none.
fn body_at(request: &[u8]) -> usize {
    let end = request.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    end.map_or(request.len(), |end| end + 4)
}

/// Changes the body and announces its length.
fn change_body(random: &mut Random, input: &mut Vec<u8>, other: &[u8]) {
    let mut body = input.split_off(body_at(input));
    mutate::bytes(random, &mut body, &other[body_at(other)..]);
    let name = b"content-length: ";
    if let Some(at) = input.windows(name.len()).position(|bytes| bytes == name) {
        input.truncate(at);
        input.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
    }
    input.extend(body);
}

fn edge(seeds: Vec<Vec<u8>>, change: Change) -> anyhow::Result<Box<dyn Target>> {
    let mut target = Edge {
        seeds,
        change,
        server: server()?,
        answered: 0,
    };
    for seed in target.seeds.clone() {
        if seed.starts_with(b"P") || seed.starts_with(b"G") {
            let answer = exchange(&target.server, &seed)?;
            anyhow::ensure!(
                status(&answer).is_some(),
                "no answer to {}",
                String::from_utf8_lossy(&seed)
            );
        }
        target.run(&seed);
    }
    Ok(Box::new(target))
}

/// A server with one bucket, the same each time.
fn server() -> anyhow::Result<KmsMock> {
    let mut limits = Limits::default();
    limits.s3_store_bytes_max = 64 << 20;
    limits.s3_body_bytes_max = 1 << 20;
    let server = KmsMock::builder()
        .workers(1)
        .clock(SettableClock::frozen(NOW))
        .seed(WorldSeed::from_u64(1))
        .limits(limits)
        .received_max(16)
        .seed_file("[[bucket]]\nname = 'fuzz'\n")
        .start_blocking()?;
    Ok(server)
}

impl Target for Edge {
    fn generate(&mut self, random: &mut Random) -> Vec<u8> {
        let mut input = random.pick(&self.seeds).cloned().unwrap_or_default();
        let other = random.pick(&self.seeds).map_or(&[][..], Vec::as_slice);
        (self.change)(random, &mut input, other);
        input
    }

    fn run(&mut self, input: &[u8]) -> Verdict {
        if self.answered == REQUESTS_A_SERVER {
            self.server = server().expect("a server can be started");
            self.answered = 0;
        }
        self.answered += 1;
        let answer = exchange(&self.server, input).expect("the server can be reached");
        let Some(status) = status(&answer) else {
            // TLS, or nothing: there was no whole request.
            assert!(
                !answer.starts_with(b"HTTP"),
                "a bad status line: {}",
                String::from_utf8_lossy(&answer)
            );
            return Verdict::Refused;
        };
        assert_ne!(
            status,
            500,
            "a fault of ours: {}",
            String::from_utf8_lossy(&answer)
        );
        if status < 400 {
            Verdict::Accepted
        } else {
            Verdict::Refused
        }
    }
}

fn status(answer: &[u8]) -> Option<u16> {
    let version = [b"HTTP/1.1 ", b"HTTP/1.0 "];
    let digits = version.iter().find_map(|it| answer.strip_prefix(*it))?;
    let digits = digits.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Sends a request and reads what comes back.
fn exchange(server: &KmsMock, request: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut stream = connect(server)?;
    // A server that refuses a head reads no further.
    let _ = stream.write_all(request);
    stream.set_read_timeout(Some(SILENCE))?;
    let mut answer = Vec::new();
    let mut piece = [0; 16 << 10];
    let mut told = false;
    while answer.len() < ANSWER_BYTES_MAX && (told || !is_whole(&answer)) {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => answer.extend(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error)
                if !told && matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
            {
                told = true;
                stream.set_read_timeout(Some(END_TIME_MAX))?;
                if stream.shutdown(Shutdown::Write).is_err() {
                    break; // it is closed already
                }
            }
            Err(error) => {
                return Err(error).context("a connection without a request does not end");
            }
        }
    }
    Ok(answer)
}

/// Whether the answer's head and all of its announced body are there.
fn is_whole(answer: &[u8]) -> bool {
    let body = body_at(answer);
    let head = answer[..body].to_ascii_lowercase();
    if !head.ends_with(b"\r\n\r\n") || head.starts_with(b"http/1.1 1") {
        return false;
    }
    let name = b"\r\ncontent-length: ";
    let Some(at) = head.windows(name.len()).position(|bytes| bytes == name) else {
        return false; // told by its end, or chunked: read to the silence
    };
    let digits: String = head[at + name.len()..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .map(|byte| char::from(*byte))
        .collect();
    digits
        .parse()
        .is_ok_and(|length: usize| answer.len() - body >= length)
}

fn connect(server: &KmsMock) -> anyhow::Result<TcpStream> {
    let mut last = None;
    for _ in 0..200 {
        match TcpStream::connect(server.address()) {
            Ok(stream) => return Ok(stream),
            // The machine has used up its ports for a moment.
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
                last = Some(error);
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error).context("connecting"),
        }
    }
    Err(last.map_or_else(|| anyhow::anyhow!("no port"), anyhow::Error::from))
}

//! tokio-vsock, unmodified, between a supervised enclave and its supervised
//! parent: a thousand connections at once, and a gibibyte through one.
//!
//! The programs are this file: a test starts itself again under `nsm-sim run`,
//! told its part by the environment. Through the transport of enclave-app, whose
//! streams are tokio-vsock's.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use conformance::lab::programs::Programs;
use enclave_app::vsock::transport::{ConnectRetry, VsockAddress, connect, listen};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt as _, split},
    net::UnixStream,
    sync::{Barrier, Semaphore},
    task::JoinSet,
};

const PART: &str = "DRYDOCK_TEST_VSOCK_PART";
const ENCLAVE: VsockAddress = VsockAddress {
    cid: 16,
    port: 5000,
};
const CONNECTIONS: usize = 1000;
/// The listener's backlog is 128; who finds it full is reset, as by the driver.
const CONNECTING_MAX: usize = 100;
const BULK_BYTES: usize = 1 << 30;
const CHUNK_BYTES: usize = 256 << 10;

/// Not a test of its own: when told so, this process is one of the two programs.
#[tokio::test(flavor = "multi_thread")]
async fn plays_its_part() {
    match std::env::var(PART).as_deref() {
        Ok("serve many") => serve(CONNECTIONS).await,
        Ok("serve one") => serve(1).await,
        Ok("call many") => call_many().await,
        Ok("call one") => call_one().await,
        _ => {}
    }
}

/// Echoes on this many connections.
async fn serve(connections: usize) {
    let listener = listen(ENCLAVE.port).unwrap();
    println!("\nready");
    let mut echoes = JoinSet::new();
    for _ in 0..connections {
        let (stream, caller) = listener.accept().await.unwrap();
        assert_eq!(caller.cid(), 3);
        echoes.spawn(echo(stream));
    }
    while let Some(echoed) = echoes.join_next().await {
        echoed.unwrap();
    }
    println!("\nserved {connections}");
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let count = stream.read(&mut buffer).await.unwrap();
        if count == 0 {
            break;
        }
        stream.write_all(&buffer[..count]).await.unwrap();
    }
    stream.shutdown().await.unwrap();
}

/// All connections are open before the first says a word.
async fn call_many() {
    let open = Arc::new(Barrier::new(CONNECTIONS));
    let connecting = Arc::new(Semaphore::new(CONNECTING_MAX));
    let mut calls = JoinSet::new();
    for n in 0..CONNECTIONS {
        let (open, connecting) = (Arc::clone(&open), Arc::clone(&connecting));
        calls.spawn(async move {
            let mut stream = {
                let _turn = connecting.acquire().await.unwrap();
                connect(ENCLAVE, &ConnectRetry::of(Duration::from_secs(30)))
                    .await
                    .unwrap()
            };
            open.wait().await;
            let word = format!("connection {n}");
            stream.write_all(word.as_bytes()).await.unwrap();
            let mut heard = vec![0; word.len()];
            AsyncReadExt::read_exact(&mut stream, &mut heard)
                .await
                .unwrap();
            assert_eq!(heard, word.as_bytes());
        });
    }
    while let Some(called) = calls.join_next().await {
        called.unwrap();
    }
    println!("\ncalled {CONNECTIONS}");
}

/// A gibibyte there and back by AF_VSOCK, and by a socket pair to compare with.
async fn call_one() {
    let stream = connect(ENCLAVE, &ConnectRetry::of(Duration::from_secs(30)))
        .await
        .unwrap();
    let vsock = exchange(stream).await;
    let (ours, theirs) = UnixStream::pair().unwrap();
    let echo = tokio::spawn(echo(theirs));
    let native = exchange(ours).await;
    echo.await.unwrap();
    println!(
        "\n1 GiB echoed byte for byte: vsock {} ms, native socket pair {} ms",
        vsock.as_millis(),
        native.as_millis()
    );
}

/// Sends the bytes, and checks each that comes back.
async fn exchange(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Duration {
    let begun = Instant::now();
    let pattern = Arc::new(Pattern::new());
    let (mut read, mut write) = split(stream);
    let sent = Arc::clone(&pattern);
    let sender = tokio::spawn(async move {
        let mut at = 0;
        while at < BULK_BYTES {
            let chunk = sent.at(at, CHUNK_BYTES.min(BULK_BYTES - at));
            write.write_all(chunk).await.unwrap();
            at += chunk.len();
        }
        write.shutdown().await.unwrap();
    });
    let (mut at, mut buffer) = (0, vec![0; CHUNK_BYTES]);
    loop {
        let count = read.read(&mut buffer).await.unwrap();
        if count == 0 {
            break;
        }
        assert!(buffer[..count] == *pattern.at(at, count), "near byte {at}");
        at += count;
    }
    sender.await.unwrap();
    assert_eq!(at, BULK_BYTES);
    begun.elapsed()
}

/// Bytes that repeat with a prime period: a lost, doubled or swapped chunk shows.
struct Pattern(Vec<u8>);

impl Pattern {
    const PERIOD: usize = 1_048_573;

    fn new() -> Self {
        let mut state = 1_u32;
        let bytes = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let once: Vec<u8> = bytes.take(Self::PERIOD).collect();
        Self([&once[..], &once[..CHUNK_BYTES]].concat())
    }

    fn at(&self, position: usize, count: usize) -> &[u8] {
        let start = position % Self::PERIOD;
        &self.0[start..start + count]
    }
}

/// A folder with the programs, where anybody may run them.
struct Stage(tempfile::TempDir);

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let stage = Self(folder);
        stage.bring(&Programs::locate().unwrap().nsm_sim, "nsm-sim");
        stage.bring(&std::env::current_exe().unwrap(), "program");
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn bring(&self, from: &Path, name: &str) {
        fs::copy(from, self.path(name)).unwrap();
    }

    /// This program in its part, supervised; as nobody where we are root.
    fn start(&self, cid: u32, part: &str) -> Child {
        let mut command = Command::new("sh");
        let as_nobody = "exec setpriv --reuid 65534 --regid 65534 --clear-groups \
                         --inh-caps=-all --bounding-set=-all \"$@\"";
        let root = fs::metadata("/proc/self").unwrap().uid() == 0;
        let start = if root { as_nobody } else { "exec \"$@\"" };
        command
            // A thousand descriptors and a few.
            .args(["-c", &format!("ulimit -n 4096; {start}"), "sh"])
            .arg(self.path("nsm-sim"))
            .args(["run", "--no-nsm", "--cid", &cid.to_string(), "--world"])
            .arg(
                self.0
                    .path()
                    .file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .replace('.', "t"),
            )
            .arg(self.path("program"))
            .args(["--exact", "tokio_vsock::plays_its_part", "--nocapture"])
            .env(PART, part)
            .current_dir("/")
            .stdout(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Both programs to their ends; what the caller said.
    fn play(&self, how_many: &str) -> String {
        let mut server = self.start(ENCLAVE.cid, &format!("serve {how_many}"));
        let mut lines = BufReader::new(server.stdout.take().unwrap());
        let mut line = String::new();
        while line != "ready\n" {
            line.clear();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "it ended too early");
        }
        let caller = self.start(3, &format!("call {how_many}"));
        let caller = caller.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&caller.stdout).into_owned();
        if !caller.status.success() {
            server.kill().unwrap();
        }
        let mut served = String::new();
        lines.read_to_string(&mut served).unwrap();
        let ended = server.wait().unwrap();
        assert!(caller.status.success() && ended.success(), "{said}{served}");
        assert!(served.contains("served"), "{served}");
        said
    }
}

#[test]
fn a_thousand_connections_are_served_at_once() {
    let said = Stage::new().play("many");
    assert!(said.contains("called 1000"), "{said}");
}

#[test]
fn a_gibibyte_through_one_connection_arrives_byte_for_byte() {
    let said = Stage::new().play("one");
    let figures = said.lines().find(|line| line.starts_with("1 GiB"));
    println!("{}", figures.unwrap());
}

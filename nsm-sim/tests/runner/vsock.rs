//! AF_VSOCK for unmodified programs: the driver's rules, worlds, many
//! connections, other languages, and the unsupervised side.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, Stdio},
};

use crate::support::{Stage, User, said, succeeds, users};
use nsm_sim::runner::{VsockAddr, World, switchboard};

/// Printed by `clients/vsock_rules.c` on the AF_VSOCK driver of Linux 6.18.
const DRIVER: &str = include_str!("../clients/vsock_rules.expected");

/// A supervised server that has said it is ready.
struct Server(Child, BufReader<std::process::ChildStdout>);

impl Server {
    fn start(stage: &Stage, user: User, flags: &[&str], args: &[&str]) -> Self {
        let mut command = stage.run(user, flags);
        command
            .arg(stage.path("vsock_talk"))
            .args(args)
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        lines.read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n");
        Self(child, lines)
    }

    fn abandon(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// The rest of what it says until it ends well.
    fn finish(mut self) -> String {
        let mut rest = String::new();
        self.1.read_to_string(&mut rest).unwrap();
        assert!(self.0.wait().unwrap().success(), "{rest}");
        rest
    }
}

#[test]
fn the_rules_are_the_drivers_line_by_line() {
    let stage = Stage::new("rules");
    let program = stage.compile("vsock_rules");
    for user in users() {
        let transcript = succeeds(stage.run(user, &[]).arg(&program));
        for (n, (ours, theirs)) in transcript.lines().zip(DRIVER.lines()).enumerate() {
            assert_eq!(ours, theirs, "{user:?}, line {}", n + 1);
        }
        assert_eq!(transcript, DRIVER, "{user:?}");
    }
}

#[test]
fn connections_live_and_die_as_the_drivers_do() {
    let stage = Stage::new("life");
    let program = stage.compile("vsock_life");
    for user in users() {
        succeeds(stage.run(user, &[]).arg(&program));
    }
}

#[test]
fn an_enclave_and_its_parent_talk_over_three_hundred_connections_at_once() {
    let stage = Stage::new("many");
    stage.compile("vsock_talk");
    for user in users() {
        let server = Server::start(&stage, user, &[], &["serve", "5000", "300"]);
        let mut client = stage.run(user, &["--cid", "3"]);
        client
            .arg(stage.path("vsock_talk"))
            .args(["talk", "16", "5000", "300", "20000"]);
        assert_eq!(
            succeeds(&mut client),
            "300 connections, 20000 bytes each\n",
            "{user:?}"
        );
        assert_eq!(
            server.finish(),
            "first caller has cid 3\nserved\n",
            "{user:?}"
        );
    }
}

#[test]
fn an_enclave_calls_its_parent_and_every_byte_arrives() {
    let stage = Stage::new("bulk");
    stage.compile("vsock_talk");
    let server = Server::start(&stage, User::Own, &["--cid", "3"], &["serve", "8000", "1"]);
    let mut client = stage.run(User::Own, &[]);
    client
        .arg(stage.path("vsock_talk"))
        .args(["talk", "3", "8000", "1", "268435456"]);
    succeeds(&mut client);
    assert_eq!(server.finish(), "first caller has cid 16\nserved\n");
}

#[test]
fn no_listener_is_a_reset_and_so_is_a_listener_of_another_world_or_cid() {
    let stage = Stage::new("isolated");
    stage.compile("vsock_talk");
    for user in users() {
        let server = Server::start(&stage, user, &[], &["serve", "5000", "1"]);
        let probe = |flags: &[&str], cid: &str, port: &str| {
            let mut command = stage.run(user, flags);
            succeeds(
                command
                    .arg(stage.path("vsock_talk"))
                    .args(["probe", cid, port]),
            )
        };
        assert_eq!(
            probe(&["--cid", "3"], "16", "5001"),
            "ECONNRESET\n",
            "{user:?}"
        );
        assert_eq!(
            probe(&["--cid", "3"], "17", "5000"),
            "ECONNRESET\n",
            "{user:?}"
        );
        let mut other = stage.command(user, &stage.path("nsm-sim"));
        other.args([
            "run",
            "--no-nsm",
            "--cid",
            "3",
            "--world",
            "another-world",
            "--",
        ]);
        other
            .arg(stage.path("vsock_talk"))
            .args(["probe", "16", "5000"]);
        assert_eq!(succeeds(&mut other), "ECONNRESET\n", "{user:?}");
        assert_eq!(
            probe(&["--cid", "3"], "16", "5000"),
            "connected\n",
            "{user:?}"
        );
        server.finish();
    }
}

#[test]
fn a_listener_of_another_user_counts_as_none() {
    let stage = Stage::new("stranger");
    stage.compile("vsock_talk");
    let world: World = stage.world().parse().unwrap();
    if users().len() < 2 {
        return;
    }
    // Nobody squats on the enclave's port in root's world; root must not talk to it.
    let server = Server::start(&stage, User::Nobody, &[], &["serve", "5000", "1"]);
    let to = VsockAddr {
        cid: 16,
        port: 5000,
    };
    let refused = switchboard::connect(&world, 3, to).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionReset);
    let mut client = stage.run(User::Own, &["--cid", "3"]);
    client
        .arg(stage.path("vsock_talk"))
        .args(["probe", "16", "5000"]);
    assert_eq!(succeeds(&mut client), "ECONNRESET\n");
    server.abandon();
    // And a call of nobody's is dropped unseen by root's listener.
    let at = VsockAddr { cid: 3, port: 8000 };
    let listener = switchboard::listen(&world, at).unwrap();
    let mut client = stage.run(User::Nobody, &[]);
    client
        .arg(stage.path("vsock_talk"))
        .args(["probe", "3", "8000"]);
    succeeds(&mut client);
    listener.set_nonblocking(true).unwrap();
    let unseen = switchboard::accept(&world, &listener).unwrap_err();
    assert_eq!(unseen.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn an_unsupervised_program_listens_and_connects_as_plain_sockets() {
    let stage = Stage::new("plain");
    stage.compile("vsock_talk");
    let world: World = stage.world().parse().unwrap();
    let server = Server::start(&stage, User::Own, &[], &["serve", "5000", "1"]);
    let to = VsockAddr {
        cid: 16,
        port: 5000,
    };
    let mut stream = switchboard::connect(&world, 3, to).unwrap();
    stream.write_all(b"over the wall").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut echo = String::new();
    stream.read_to_string(&mut echo).unwrap();
    assert_eq!(echo, "over the wall");
    assert_eq!(server.finish(), "first caller has cid 3\nserved\n");

    let at = VsockAddr { cid: 3, port: 8000 };
    let listener = switchboard::listen(&world, at).unwrap();
    let mut client = stage.run(User::Own, &[]);
    client
        .arg(stage.path("vsock_talk"))
        .args(["talk", "3", "8000", "1", "1000"]);
    let client = client.stdout(Stdio::piped()).spawn().unwrap();
    let (mut stream, peer) = switchboard::accept(&world, &listener).unwrap();
    assert_eq!(peer.cid, 16);
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    stream.write_all(&heard).unwrap();
    drop(stream);
    let output = client.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn python_speaks_af_vsock_and_ctrl_c_ends_its_accept() {
    let stage = Stage::new("python");
    let Some(python) = crate::support::python() else {
        return;
    };
    let script = r#"
import os, signal, socket, threading
server = socket.socket(socket.AF_VSOCK)
server.bind((socket.VMADDR_CID_ANY, 5000)); server.listen()
assert socket.socket(fileno=os.dup(server.fileno())).family == socket.AF_VSOCK
def call():
    with socket.socket(socket.AF_VSOCK) as client:
        client.settimeout(5)
        client.connect((16, 5000))
        assert client.getpeername() == (16, 5000), client.getpeername()
        client.sendall(b"hello")
thread = threading.Thread(target=call); thread.start()
connection, (cid, port) = server.accept()
assert cid == 16 and port > 1023 and connection.getsockname() == (16, 5000)
assert connection.recv(100) == b"hello" and connection.recv(100) == b""
thread.join()
server.settimeout(0.05)
try: server.accept()
except TimeoutError: pass
else: raise SystemExit("accept must time out")
server.settimeout(None)
refused = socket.socket(socket.AF_VSOCK)
try: refused.connect((16, 77))
except ConnectionResetError: pass
else: raise SystemExit("nobody listens")
signal.setitimer(signal.ITIMER_REAL, 0.05)
signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
try: server.accept()
except KeyboardInterrupt: print("interrupted")
"#;
    for user in users() {
        let mut command = stage.run(user, &[]);
        let said = succeeds(command.arg(&python).args(["-c", script]));
        assert_eq!(said, "interrupted\n", "{user:?}");
    }
}

/// Connects to itself, then does what `argv[1]` says before it shuts down.
const TEARS_DOWN: &str = r#"
import socket, sys
def pair():
    l = socket.socket(socket.AF_VSOCK); l.bind((socket.VMADDR_CID_ANY, 5000)); l.listen()
    c = socket.socket(socket.AF_VSOCK); c.connect((16, 5000))
    return c, l.accept()[0]
client, server = socket.socketpair() if sys.argv[1] == "pair" else pair()
how = socket.SHUT_RDWR
if sys.argv[1] in ("undelivered", "half", "pair"): client.sendall(b"x" * 1000)
if sys.argv[1] == "half": how = socket.SHUT_WR
if sys.argv[1] == "unread": server.sendall(b"12345")
if sys.argv[1] == "heard":
    client.sendall(b"x" * 1000); server.recv(1000, socket.MSG_WAITALL)
    server.sendall(b"12345"); client.recv(5, socket.MSG_WAITALL)
client.shutdown(how)
if how == socket.SHUT_WR: server.recv(1000, socket.MSG_WAITALL)
print("torn down")
"#;

#[test]
fn the_lint_reports_connections_shut_down_with_bytes_on_their_way_and_no_others() {
    let stage = Stage::new("lint");
    let Some(python) = crate::support::python() else {
        return;
    };
    for user in users() {
        let reported = |flags: &[&str], how: &str| {
            let mut command = stage.run(user, flags);
            let output = command
                .arg(&python)
                .args(["-c", TEARS_DOWN, how])
                .output()
                .unwrap();
            assert_eq!(output.stdout, b"torn down\n", "{how}: {}", said(&output));
            String::from_utf8(output.stderr).unwrap()
        };
        for (how, finding) in [
            ("undelivered", "before the peer had read all that was sent"),
            ("unread", "with 5 bytes received and not read"),
        ] {
            let told = reported(&["--lint"], how);
            assert_eq!(told.lines().count(), 1, "{user:?} {how}: {told}");
            assert!(told.starts_with("nsm-sim: lint: the connection of vsock(16):"));
            assert!(told.contains(finding), "{user:?} {how}: {told}");
            assert!(told.contains("with vsock(16):5000 was"), "{user:?}: {told}");
            assert_eq!(reported(&[], how), "", "{user:?} {how}: nobody asked");
        }
        for how in ["heard", "half", "pair"] {
            assert_eq!(reported(&["--lint"], how), "", "{user:?} {how}");
        }
    }
}

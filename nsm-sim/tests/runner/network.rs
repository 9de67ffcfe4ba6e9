//! What a supervised program can reach: a loopback of its own and nothing else,
//! and what holds where the kernel does not allow that.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Command, Output, Stdio},
};

use crate::support::{Stage, User, is_root, may_have_own_loopback, python, said, succeeds, users};

/// Prints how a connection to 127.0.0.1:PORT and a datagram to a foreign address end.
const REACH: &str = r#"
import errno, socket, sys
def name(f):
    try: f()
    except OSError as e: return errno.errorcode[e.errno]
    return "ok"
here = ("127.0.0.1", int(sys.argv[1]))
elsewhere = ("192.0.2.1", 9)
print(name(lambda: socket.create_connection(here, 5)),
      name(lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", elsewhere)))
"#;

/// Listens on 127.0.0.1:PORT, says so, and waits for the end of its input.
const LISTEN: &str = r#"
import socket, sys
s = socket.socket()
s.bind(("127.0.0.1", int(sys.argv[1]))); s.listen()
c = socket.create_connection(s.getsockname()); s.accept()
print("listening", flush=True)
sys.stdin.read()
"#;

/// A server of this machine, and its port.
fn server() -> (TcpListener, String) {
    let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    (server, port)
}

/// `nsm-sim` under a profile that forbids what `denial` says.
fn denied(stage: &Stage, user: User, denial: &str, words: &[&str]) -> Command {
    let profile = stage.path("outer_profile");
    if !profile.exists() {
        stage.compile("outer_profile");
    }
    let mut command = stage.command(user, &profile);
    command
        .args([denial, "--"])
        .arg(stage.path("nsm-sim"))
        .args(words);
    command
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

#[test]
fn an_enclave_has_a_loopback_of_its_own_and_shares_the_machines_when_asked() {
    let stage = Stage::new("own");
    let Some(python) = python() else { return };
    let (_server, port) = server();
    for user in users() {
        let reach = |flags: &[&str]| {
            let mut command = stage.run(user, flags);
            let output = output(command.arg(&python).args(["-c", REACH, &port]));
            assert!(output.status.success(), "{user:?}: {}", said(&output));
            assert!(output.stderr.is_empty(), "{user:?}: {}", said(&output));
            String::from_utf8(output.stdout)
                .unwrap()
                .trim_end()
                .to_owned()
        };
        assert_eq!(
            reach(&["--network", "loopback"]),
            "ok ENETUNREACH",
            "{user:?}"
        );
        assert_eq!(
            reach(&["--cid", "3", "--network", "loopback"]),
            "ok ENETUNREACH",
            "{user:?}: a parent has what it is told"
        );
        let parent = reach(&["--cid", "3"]);
        assert!(parent.starts_with("ok "), "{user:?}: {parent}");
        if may_have_own_loopback(&stage, user) {
            for flags in [
                &[][..],
                &["--network", "own"],
                &["--cid", "3", "--network", "own"],
            ] {
                assert_eq!(
                    reach(flags),
                    "ECONNREFUSED ENETUNREACH",
                    "{user:?} {flags:?}"
                );
            }
        }
    }
}

#[test]
fn two_enclaves_and_the_machine_listen_on_one_port_side_by_side() {
    let stage = Stage::new("ports");
    let Some(python) = python() else { return };
    let (_server, port) = server();
    for user in users() {
        if !may_have_own_loopback(&stage, user) {
            continue;
        }
        let mut listeners: Vec<_> = ["16", "17"]
            .map(|cid| {
                let mut command = stage.run(user, &["--cid", cid]);
                command.arg(&python).args(["-c", LISTEN, &port]);
                command.stdin(Stdio::piped()).stdout(Stdio::piped());
                command.spawn().unwrap()
            })
            .into();
        for listener in &mut listeners {
            let mut line = String::new();
            let mut lines = BufReader::new(listener.stdout.take().unwrap());
            lines.read_line(&mut line).unwrap();
            assert_eq!(line, "listening\n", "{user:?}");
        }
        for mut listener in listeners {
            drop(listener.stdin.take());
            assert!(listener.wait().unwrap().success(), "{user:?}");
        }
    }
}

#[test]
fn the_program_stays_the_user_that_started_it() {
    let stage = Stage::new("who");
    let Some(python) = python() else { return };
    let script = "import os; print(os.getresuid(), os.getresgid(), os.getgroups())";
    for user in users() {
        let plain = succeeds(stage.command(user, &python).args(["-c", script]));
        let ours = succeeds(stage.run(user, &[]).arg(&python).args(["-c", script]));
        assert_eq!(ours, plain, "{user:?}");
    }
    if is_root() {
        let become_other = "import os; os.setgroups([12]); os.setgid(34); os.setuid(56)\n\
                            print(os.getuid(), os.getgid(), os.getgroups())";
        let mut command = stage.run(User::Own, &[]);
        let said = succeeds(command.arg(&python).args(["-c", become_other]));
        assert_eq!(
            said, "56 34 [12]\n",
            "root may become anybody, as in an enclave"
        );
    }
}

#[test]
fn an_enclaves_program_listens_on_low_ports_for_every_user() {
    let stage = Stage::new("low");
    let Some(python) = python() else { return };
    let script = "import socket; socket.socket().bind(('127.0.0.1', 80)); print('bound')";
    for user in users() {
        if may_have_own_loopback(&stage, user) {
            let mut command = stage.run(user, &[]);
            let said = succeeds(command.arg(&python).args(["-c", script]));
            assert_eq!(said, "bound\n", "{user:?}");
        }
    }
}

#[test]
fn where_namespaces_are_forbidden_loopback_is_the_machines_and_that_is_said() {
    let stage = Stage::new("shared");
    let Some(python) = python() else { return };
    let python = python.to_str().unwrap();
    let (_server, port) = server();
    for user in users() {
        for (denial, step) in [
            ("unshare", "making a network namespace"),
            ("interfaces", "bringing lo up"),
        ] {
            if denial == "interfaces" && !may_have_own_loopback(&stage, user) {
                continue; // it never comes so far
            }
            shared_loopback_is_said(&stage, user, denial, step, python, &port);
        }
    }
}

#[track_caller]
fn shared_loopback_is_said(
    stage: &Stage,
    user: User,
    denial: &str,
    step: &str,
    python: &str,
    port: &str,
) {
    let run = |flags: &[&str]| {
        let program = ["--", python, "-c", REACH, port];
        let words = [&["run", "--no-nsm"], flags, &program].concat();
        output(&mut denied(stage, user, denial, &words))
    };
    let shared = run(&[]);
    let told = said(&shared);
    assert_eq!(shared.stdout, b"ok ENETUNREACH\n", "{user:?}: {told}");
    let warning = String::from_utf8_lossy(&shared.stderr).into_owned();
    assert_eq!(warning.lines().count(), 1, "{user:?}: {warning}");
    assert!(warning.contains(step), "{user:?}: {warning}");

    let asked = run(&["--network", "loopback"]);
    let told = said(&asked);
    assert_eq!(asked.stdout, b"ok ENETUNREACH\n", "{user:?}: {told}");
    assert!(asked.stderr.is_empty(), "{user:?}: {told}");

    let demanded = run(&["--network", "own"]);
    let told = said(&demanded);
    assert_eq!(demanded.status.code(), Some(125), "{user:?}: {told}");
    assert!(demanded.stdout.is_empty(), "{user:?}: {told}");
    for word in [step, "user.max_user_namespaces", "--network loopback"] {
        assert!(told.contains(word), "{user:?}: {word}: {told}");
    }

    let explain = ["run", "--no-nsm", "--explain"];
    let told = said(&output(&mut denied(stage, user, denial, &explain)));
    let line = format!("network: loopback only, and that the machine's own ({step}");
    assert!(told.contains(&line), "{user:?}: {told}");
    let examined = output(&mut denied(stage, user, denial, &["doctor"]));
    let told = said(&examined);
    assert!(examined.status.success(), "{user:?}: {told}");
    let finding = format!("note   loopback of its own: {step}");
    assert!(told.contains(&finding), "{user:?}: {told}");
    assert!(
        told.contains("fix: allow user namespaces"),
        "{user:?}: {told}"
    );
}

#[test]
fn explain_and_the_doctor_find_the_loopback_of_its_own() {
    let stage = Stage::new("own-said");
    for user in users() {
        if !may_have_own_loopback(&stage, user) {
            continue;
        }
        let mut explain = stage.command(user, &stage.path("nsm-sim"));
        let said = succeeds(explain.args(["run", "--no-nsm", "--explain"]));
        assert!(
            said.contains("network: a loopback of its own"),
            "{user:?}: {said}"
        );
        let mut doctor = stage.command(user, &stage.path("nsm-sim"));
        let said = succeeds(doctor.arg("doctor"));
        assert!(
            said.contains("ok     loopback of its own"),
            "{user:?}: {said}"
        );
    }
}

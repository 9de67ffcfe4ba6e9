//! What stands around a run: bridges to unsupervised programs, and container
//! runtimes' seccomp profiles.

#![cfg(target_os = "linux")]
// Functions beside the tests panic and print as tests do.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod runner_support;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener},
    os::unix::net::UnixStream,
    process::Stdio,
    thread,
};

use runner_support::{Stage, User, said, succeeds, users};

#[test]
fn a_published_tcp_server_is_reached_over_vsock() {
    let stage = Stage::new("publish");
    stage.compile("vsock_talk");
    for user in users() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = format!("3:8000=tcp:{}", server.local_addr().unwrap());
        let echo = thread::spawn(move || {
            for _ in 0..10 {
                let (mut stream, _) = server.accept().unwrap();
                thread::spawn(move || {
                    let mut heard = Vec::new();
                    stream.read_to_end(&mut heard).unwrap();
                    stream.write_all(&heard).unwrap();
                });
            }
        });
        let mut client = stage.run(user, &["--publish", &to]);
        client
            .arg(stage.path("vsock_talk"))
            .args(["talk", "3", "8000", "10", "100000"]);
        succeeds(&mut client);
        echo.join().unwrap();
    }
}

#[test]
fn a_forwarded_socket_leads_into_the_world() {
    let stage = Stage::new("forward");
    stage.compile("vsock_talk");
    for user in users() {
        let socket = stage.path(&format!("{user:?}.sock"));
        let forward = format!("unix:{}=16:5000", socket.display());
        let mut server = stage.run(user, &["--forward", &forward]);
        server
            .arg(stage.path("vsock_talk"))
            .args(["serve", "5000", "1"])
            .stdout(Stdio::piped());
        let mut server = server.spawn().unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap());
        let mut ready = String::new();
        lines.read_line(&mut ready).unwrap();
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(b"through the wall").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut echo = String::new();
        stream.read_to_string(&mut echo).unwrap();
        assert_eq!(echo, "through the wall", "{user:?}");
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "first caller has cid 3\nserved\n", "{user:?}");
        assert!(server.wait().unwrap().success());
    }
}

#[test]
fn a_bridge_that_cannot_listen_is_a_clear_error() {
    let stage = Stage::new("taken");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let forward = format!("tcp:{}=16:5000", taken.local_addr().unwrap());
    let output = stage
        .run(User::Own, &["--forward", &forward])
        .arg("true")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125), "{}", said(&output));
    assert!(said(&output).contains("for a bridge"), "{}", said(&output));
}

/// A command under a filter like a container runtime's.
fn under(stage: &Stage, user: User, denials: &[&str], command: &[&str]) -> std::process::Output {
    let mut outer = stage.command(user, &stage.path("outer_profile"));
    outer
        .args(denials)
        .arg("--")
        .arg(stage.path("nsm-sim"))
        .args(command);
    outer.output().unwrap()
}

#[test]
fn a_profile_without_af_vsock_is_named_and_no_vsock_lifts_it() {
    let stage = Stage::new("docker");
    stage.compile("outer_profile");
    let run = ["run", "--no-nsm", "--", "true"];
    let run_without = ["run", "--no-nsm", "--no-vsock", "--", "true"];
    for user in users() {
        for (denial, word) in [
            ("vsock", "forbids AF_VSOCK"),
            ("pidfd_getfd", "pidfd_getfd"),
        ] {
            let output = under(&stage, user, &[denial], &run);
            assert_eq!(
                output.status.code(),
                Some(125),
                "{user:?} {denial}: {}",
                said(&output)
            );
            assert!(
                said(&output).contains(word),
                "{user:?} {denial}: {}",
                said(&output)
            );
            let output = under(&stage, user, &[denial], &run_without);
            assert!(
                output.status.success(),
                "{user:?} {denial}: {}",
                said(&output)
            );
            let output = under(&stage, user, &[denial], &["doctor"]);
            assert_eq!(
                output.status.code(),
                Some(1),
                "{user:?} {denial}: {}",
                said(&output)
            );
            let report = said(&output);
            assert!(
                report.contains("FAILS  AF_VSOCK"),
                "{user:?} {denial}: {report}"
            );
            assert!(
                report.contains("ok     /dev/nsm"),
                "{user:?} {denial}: {report}"
            );
            assert!(
                report.contains("--seccomp-profile"),
                "{user:?} {denial}: {report}"
            );
        }
    }
}

#[test]
fn a_profile_without_process_vm_readv_is_no_obstacle() {
    let stage = Stage::new("memory");
    stage.compile("outer_profile");
    for user in users() {
        let output = under(&stage, user, &["process_vm"], &["doctor"]);
        assert!(output.status.success(), "{user:?}: {}", said(&output));
    }
}

#[test]
fn a_profile_without_seccomp_is_named() {
    let stage = Stage::new("noseccomp");
    stage.compile("outer_profile");
    for user in users() {
        let output = under(
            &stage,
            user,
            &["seccomp"],
            &["run", "--no-nsm", "--", "true"],
        );
        assert_eq!(
            output.status.code(),
            Some(125),
            "{user:?}: {}",
            said(&output)
        );
        assert!(
            said(&output).contains("an outer profile forbids"),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn the_profile_for_containers_is_json_and_forbids_nothing_we_need() {
    let stage = Stage::new("profile");
    let mut doctor = stage.command(User::Own, &stage.path("nsm-sim"));
    let profile = succeeds(doctor.args(["doctor", "--seccomp-profile"]));
    let profile: serde_json::Value = serde_json::from_str(&profile).unwrap();
    let forbidden: Vec<&str> = profile["syscalls"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| rule.get("args").is_none())
        .flat_map(|rule| rule["names"].as_array().unwrap())
        .map(|name| name.as_str().unwrap())
        .collect();
    for needed in [
        "socket",
        "seccomp",
        "pidfd_getfd",
        "pidfd_open",
        "process_vm_readv",
        "process_vm_writev",
    ] {
        assert!(!forbidden.contains(&needed), "{needed}");
    }
    assert!(forbidden.contains(&"mount"));
}

//! Bridges between a world and unsupervised programs.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener},
    os::unix::net::UnixStream,
    process::Stdio,
    thread,
};

use crate::support::{Stage, User, said, succeeds, users};

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

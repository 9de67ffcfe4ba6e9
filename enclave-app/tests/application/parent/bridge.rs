//! The bridge between two loopback sockets: one in the place of vsock, one the
//! target.

use std::{io, net::SocketAddr, time::Duration};

use enclave_app::parent::bridge::{BridgeLimits, Target, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinHandle,
};

struct Bridge {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

async fn bridge_to(target: SocketAddr, limits: BridgeLimits) -> Bridge {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let target: Target = target.to_string().parse().unwrap();
    let (stop, told) = watch::channel(false);
    let running = tokio::spawn(serve(listener, target, limits, told));
    Bridge {
        address,
        stop,
        running,
    }
}

/// A target that sends back what it gets, after the sender has closed its half.
async fn echo_after_close() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let running = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut all = Vec::new();
                stream.read_to_end(&mut all).await.unwrap();
                stream.write_all(&all).await.unwrap();
            });
        }
    });
    (address, running)
}

fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..length)
        .map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed))
        .collect()
}

#[tokio::test]
async fn many_connections_at_once_keep_their_bytes_apart() {
    let (target, _echo) = echo_after_close().await;
    let bridge = bridge_to(target, BridgeLimits::default()).await;
    let clients = (0..20u8).map(|seed| async move {
        let sent = pattern(seed, 300_000 + usize::from(seed));
        let mut stream = TcpStream::connect(bridge.address).await.unwrap();
        stream.write_all(&sent).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).await.unwrap();
        assert!(back == sent, "bytes changed on connection {seed}");
    });
    let tasks: Vec<_> = clients.map(tokio::spawn).collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_their_turn() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limits = BridgeLimits {
        connections_max: 1,
        ..BridgeLimits::default()
    };
    let bridge = bridge_to(listener.local_addr().unwrap(), limits).await;

    let mut first = TcpStream::connect(bridge.address).await.unwrap();
    let (mut first_at_target, _) = listener.accept().await.unwrap();
    let mut second = TcpStream::connect(bridge.address).await.unwrap();
    second.write_all(b"second").await.unwrap();

    // As long as the first is open, the second does not reach the target.
    first.write_all(b"first").await.unwrap();
    let mut got = [0; 5];
    first_at_target.read_exact(&mut got).await.unwrap();
    tokio::select! {
        biased;
        _ = listener.accept() => panic!("a second connection was carried"),
        () = tokio::task::yield_now() => {}
    }
    drop(first);
    drop(first_at_target);
    let (mut second_at_target, _) = listener.accept().await.unwrap();
    let mut got = [0; 6];
    second_at_target.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"second");
}

#[tokio::test]
async fn a_target_that_is_not_there_closes_the_connection_and_not_the_bridge() {
    // Bound, so that nobody else takes the port, and not listening.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let target = nobody.local_addr().unwrap();
    let bridge = bridge_to(target, BridgeLimits::default()).await;
    for _ in 0..2 {
        let mut stream = TcpStream::connect(bridge.address).await.unwrap();
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest).await {
            Ok(_) => assert!(rest.is_empty()),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
    }
}

#[tokio::test]
async fn a_silent_connection_is_cut_off_on_both_sides() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limits = BridgeLimits {
        idle: Duration::from_millis(20),
        ..BridgeLimits::default()
    };
    let bridge = bridge_to(listener.local_addr().unwrap(), limits).await;
    let mut stream = TcpStream::connect(bridge.address).await.unwrap();
    let (mut at_target, _) = listener.accept().await.unwrap();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(at_target.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_stopping_bridge_lets_a_connection_end_and_accepts_no_new_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limits = BridgeLimits {
        grace: Duration::from_secs(60),
        ..BridgeLimits::default()
    };
    let bridge = bridge_to(listener.local_addr().unwrap(), limits).await;
    let mut stream = TcpStream::connect(bridge.address).await.unwrap();
    let (mut at_target, _) = listener.accept().await.unwrap();

    bridge.stop.send_replace(true);
    while TcpStream::connect(bridge.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    at_target.write_all(b"last words").await.unwrap();
    drop(at_target);
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"last words");
    drop(stream);
    bridge.running.await.unwrap();
}

#[tokio::test]
async fn a_stopping_bridge_ends_within_its_grace_period() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limits = BridgeLimits {
        grace: Duration::from_millis(10),
        ..BridgeLimits::default()
    };
    let bridge = bridge_to(listener.local_addr().unwrap(), limits).await;
    let _stream = TcpStream::connect(bridge.address).await.unwrap();
    let (_at_target, _) = listener.accept().await.unwrap();
    bridge.stop.send_replace(true);
    bridge.running.await.unwrap();
}

//! A server that is killed while the management port's reset runs: keys, identities
//! and objects are each there or forgotten, in this order, and a reset that was
//! acknowledged has forgotten all of them.

use std::{path::Path, sync::mpsc, time::Instant};

use rand::Rng;

use super::{
    planting::{Shown, is_same_world, seed_file, show},
    rounds,
    server::{Client, Server, serve},
};

fn start(data: &Path, file: &Path) -> Server {
    let mut command = serve(data);
    command
        .args(["--management", "127.0.0.1:0", "--seed-file"])
        .arg(file);
    Server::run(&mut command)
}

/// Whether the reset was acknowledged.
fn reset(mut management: Client) -> bool {
    let answer = management.send("POST", "/reset", "", "");
    answer.is_some_and(|(status, _)| status == 200)
}

/// What each service has of a world.
fn services(shown: &Shown) -> [Vec<&String>; 3] {
    let of = |starts: &[&str]| {
        let is_of = |name: &&String| starts.iter().any(|start| name.starts_with(start));
        shown.keys().filter(is_of).collect()
    };
    [
        of(&["\"arn:aws:kms:"]),
        of(&["Role ", "User "]),
        of(&["bucket "]),
    ]
}

#[test]
fn a_server_that_is_killed_while_it_resets_has_each_service_whole_or_forgotten() {
    let (rounds, mut rng) = rounds();
    let folder = tempfile::tempdir().unwrap();
    let (file, first) = (folder.path().join("seed"), folder.path().join("first"));
    std::fs::write(&file, seed_file("first")).unwrap();
    let server = start(&first, &file);
    let whole = show(&mut server.client());
    let begun = Instant::now();
    assert!(reset(server.management()));
    let took = begun.elapsed();
    drop(server);
    assert!(show(&mut Server::start(&first).client()).is_empty());

    let (mut acknowledged, mut unfinished) = (0, 0);
    for round in 0..rounds {
        let data = folder.path().join(format!("data-{round}"));
        let mut server = start(&data, &file);
        let (management, (sender, done)) = (server.management(), mpsc::channel());
        let resetting = std::thread::spawn(move || {
            let is_acknowledged = reset(management);
            let _ = sender.send(());
            is_acknowledged
        });
        let _ = done.recv_timeout(took.mul_f64(rng.random_range(0.0..1.5)));
        server.kill();
        let is_acknowledged = resetting.join().unwrap();
        let mut server = Server::start(&data);
        let left = show(&mut server.client());
        server.kill();
        let is_left: Vec<bool> = services(&left)
            .iter()
            .zip(services(&whole))
            .map(|(left, whole)| {
                assert!(
                    left.is_empty() || *left == whole,
                    "half of a service: {left:?}"
                );
                !left.is_empty()
            })
            .collect();
        assert!(
            is_left.is_sorted(),
            "keys, identities, objects: {is_left:?}"
        );
        assert!(left.iter().all(|(name, value)| whole[name] == *value));
        assert!(!is_acknowledged || left.is_empty());
        acknowledged += usize::from(is_acknowledged);
        unfinished += usize::from(!is_left[0] && is_left[2]);
        // With its seed file the next start makes all of it again, or goes on with it.
        let server = start(&data, &file);
        is_same_world(&show(&mut server.client()), &whole);
        assert!(reset(server.management()));
        assert!(show(&mut server.client()).is_empty());
    }
    println!("killed {rounds} times: {acknowledged} resets acknowledged, {unfinished} unfinished");
}

//! What a data directory goes through: the real program is killed while it
//! writes, its disk is full, its directory may not be written.
//!
//! Reading order: `server` (the program and a client), `load` (killed under write
//! load), `planting` and `resetting` (killed while it makes or forgets a world),
//! `disk` (what cannot be written).

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests

mod disk;
mod load;
mod planting;
mod resetting;
mod server;

use std::collections::BTreeSet;

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use serde_json::Value;

const ACCOUNT: &str = "123456789012";

/// How many times a test kills, and what it draws the moments from: 12 times
/// without `DRYDOCK_KILL_ROUNDS`; a failure prints the `DRYDOCK_KILL_SEED` that
/// repeats its draws.
fn rounds() -> (usize, ChaCha20Rng) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let rounds = number("DRYDOCK_KILL_ROUNDS").unwrap_or(12);
    let seed = number("DRYDOCK_KILL_SEED").unwrap_or_else(rand::random);
    println!("DRYDOCK_KILL_SEED={seed}");
    let rounds = usize::try_from(rounds).unwrap();
    (rounds, ChaCha20Rng::seed_from_u64(seed))
}

fn names(list: &Value, member: &str) -> BTreeSet<String> {
    let list = list.as_array().unwrap().iter();
    list.map(|item| item[member].as_str().unwrap().to_owned())
        .collect()
}

//! Verify an attestation document – AWS's or a simulated one – from a file.
//!
//! `cargo run --example verify DOCUMENT [ROOT.pem]`

use std::{env, error::Error, fs};

use nsm_sim::attestation::verify::Verifier;

#[allow(clippy::print_stdout)]
fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let Some(document) = args.next() else {
        return Err("usage: verify DOCUMENT [ROOT.pem]".into());
    };
    // AWS's root is pinned in the library; a simulated world's is exported by
    // `nsm-sim ca --seed N`.
    let verifier = match args.next() {
        Some(root) => Verifier::with_root_pem(&fs::read_to_string(root)?)?,
        None => Verifier::aws(),
    };
    // A document on file has outlived its leaf; a service that has just received
    // one calls `verify(&document, clock.now())` instead.
    let read = verifier.verify_at_own_time(&fs::read(document)?)?;
    println!("{} at {}", read.module_id, read.timestamp);
    for (index, value) in read.pcrs {
        println!("PCR{index:<2} {}", hex::encode(value));
    }
    Ok(())
}

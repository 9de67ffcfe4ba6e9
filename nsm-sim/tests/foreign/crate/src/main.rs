//! crates.io's nsm-nitro-enclave-utils (rustls-webpki and ring below it) on one
//! document.
//!
//! Arguments: document, root (PEM), time (Unix milliseconds). Exits with 0 if it
//! accepts, 1 if it refuses.

use std::{error::Error, fs, process::ExitCode};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use nsm_nitro_enclave_utils::{
    api::nsm::AttestationDoc, time::Time, verify::AttestationDocVerifierExt as _,
};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [document, root, at_ms] = arguments.as_slice() else {
        return Err("DOCUMENT ROOT TIME".into());
    };
    let pem = fs::read_to_string(root)?;
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let at_ms: u64 = at_ms.parse()?;
    let time = Time::new(Box::new(move || at_ms));
    match AttestationDoc::from_cose(&fs::read(document)?, &STANDARD.decode(body)?, time) {
        Ok(document) => {
            println!("{}", document.module_id);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            println!("{error:?}");
            Ok(ExitCode::FAILURE)
        }
    }
}

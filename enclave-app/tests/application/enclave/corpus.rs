//! Finds the corpus of captures.

use std::path::PathBuf;

/// The corpus folder `name`, or `None` after saying that a test was skipped. On CI
/// its absence is a failure: a skipped test must not look like a passed one.
pub(crate) fn folder(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("DRYDOCK_CORPUS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus")),
        PathBuf::from,
    );
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "no corpus at {}: set DRYDOCK_CORPUS",
        folder.display()
    );
    println!(
        "skipped: no corpus at {}; set DRYDOCK_CORPUS",
        folder.display()
    );
    None
}

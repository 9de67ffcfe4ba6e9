//! Where the corpus of real documents and QEMU vectors lies.

use std::path::PathBuf;

/// The corpus file or folder, or `None` (said in one line) where there is no
/// corpus. In CI there must be one.
pub(crate) fn path(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("DRYDOCK_CORPUS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus")),
        PathBuf::from,
    );
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "no corpus at {}",
        path.display()
    );
    println!(
        "skipped: no corpus at {} (set DRYDOCK_CORPUS)",
        path.display()
    );
    None
}

/// A document of the corpus with what its index says of it.
pub(crate) struct Document {
    pub(crate) file: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) valid: bool,
    pub(crate) index: serde_json::Value,
}

/// All documents of the corpus, in the index's order: 42 that are valid and four that
/// are not, so that no test is about an empty list.
pub(crate) fn documents() -> Option<Vec<Document>> {
    let folder = path("attestation")?;
    let index = std::fs::read(folder.join("INDEX.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let documents = index["documents"].as_array().unwrap();
    let documents: Vec<Document> = documents
        .iter()
        .map(|entry| {
            let file = entry["file"].as_str().unwrap().to_owned();
            Document {
                bytes: std::fs::read(folder.join(&file)).unwrap(),
                valid: entry["verdict"] == "valid",
                index: entry.clone(),
                file,
            }
        })
        .collect();
    let valid = documents.iter().filter(|document| document.valid).count();
    assert_eq!((valid, documents.len() - valid), (42, 4));
    Some(documents)
}

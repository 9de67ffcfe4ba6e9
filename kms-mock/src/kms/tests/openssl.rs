//! The system's OpenSSL as a second opinion on signatures, ciphertexts, secrets
//! and encodings.

use std::{
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

/// A folder for one test's files, removed with it.
pub(super) struct OpenSsl {
    folder: PathBuf,
}

impl OpenSsl {
    /// `None`, with a line that says so, where there is no OpenSSL.
    pub(super) fn find() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let version = Command::new("openssl").arg("version").output();
        let Some(version) = version.ok().filter(|output| output.status.success()) else {
            println!("skipped: there is no openssl command");
            return None;
        };
        if !version.stdout.starts_with(b"OpenSSL 3") {
            println!("skipped: the openssl command is not OpenSSL 3");
            return None;
        }
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let name = format!("kms-mock-openssl-{}-{count}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Some(Self { folder })
    }

    /// Standard output; `None` when the command fails.
    pub(super) fn run(&self, arguments: &str, files: &[(&str, &[u8])]) -> Option<Vec<u8>> {
        for (name, bytes) in files {
            std::fs::write(self.folder.join(name), bytes).unwrap();
        }
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(&self.folder)
            .output()
            .unwrap();
        output.status.success().then_some(output.stdout)
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

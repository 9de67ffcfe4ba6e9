//! What is fuzzed: one parser of outside bytes each.

mod attestation;
mod edge;
mod image;
mod jobs;
mod kms;
mod kms_calls;
mod nsm;
mod policy;
mod signatures;
mod xks;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::random::Random;

/// What a run made of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    Refused,
}

/// A parser with its own kind of input. A promise that it breaks is a panic.
pub(crate) trait Target {
    /// The input of a run.
    fn generate(&mut self, random: &mut Random) -> Vec<u8>;

    /// Gives `input` to the parser and checks what it promises.
    fn run(&mut self, input: &[u8]) -> Verdict;

    /// What the summary tells of all runs beside their number, if anything.
    fn remark(&self) -> Option<String> {
        None
    }
}

/// A target before it is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    /// Whose bytes they are in production.
    pub(crate) about: &'static str,
    pub(crate) make: fn(&Corpus) -> anyhow::Result<Box<dyn Target>>,
}

/// Every target, in the order of the data's way through an enclave.
pub(crate) const ALL: [Entry; 19] = [
    Entry {
        name: "nsm-request",
        about: "requests to the NSM, beside serde_cbor and AWS's type",
        make: nsm::requests,
    },
    Entry {
        name: "attestation",
        about: "real and simulated attestation documents, changed",
        make: attestation::documents,
    },
    Entry {
        name: "eif",
        about: "enclave images, their checksum put right",
        make: image::eif,
    },
    Entry {
        name: "cpio",
        about: "ramdisks, read, written and read again",
        make: image::cpio,
    },
    Entry {
        name: "cms",
        about: "CiphertextForRecipient, as the enclave reads it",
        make: jobs::cms,
    },
    Entry {
        name: "manifest",
        about: "signed job manifests",
        make: jobs::manifest,
    },
    Entry {
        name: "job-wire",
        about: "framed job requests and replies between parent and enclave",
        make: jobs::wire,
    },
    Entry {
        name: "object-metadata",
        about: "S3 Encryption Client metadata of an object",
        make: jobs::metadata,
    },
    Entry {
        name: "picture",
        about: "DICOM, PNG and JPEG files",
        make: image::picture,
    },
    Entry {
        name: "policy",
        about: "key, identity and trust policies, parsed and evaluated",
        make: policy::policy,
    },
    Entry {
        name: "policy-proof",
        about: "key policies, searched for ways round the enclave",
        make: policy::proof,
    },
    Entry {
        name: "kms-call",
        about: "all 56 KMS operations, one after the other, by three callers",
        make: kms::calls,
    },
    Entry {
        name: "kms-blob",
        about: "ciphertext blobs given to Decrypt",
        make: kms::blob,
    },
    Entry {
        name: "xks-answer",
        about: "answers of external key store proxies, heads and bodies",
        make: xks::answers,
    },
    Entry {
        name: "seed-file",
        about: "TOML of keys, roles, users and buckets",
        make: kms::seed_file,
    },
    Entry {
        name: "sigv4",
        about: "signed and presigned request heads",
        make: signatures::heads,
    },
    Entry {
        name: "http",
        about: "whole requests to the server's port, heads first",
        make: edge::requests,
    },
    Entry {
        name: "form",
        about: "STS and IAM forms, sent to the server",
        make: edge::forms,
    },
    Entry {
        name: "s3-upload",
        about: "aws-chunked uploads and their trailers, sent to the server",
        make: edge::uploads,
    },
];

/// The folder of real files that inputs start from; without it, those that the
/// targets make for themselves.
#[derive(Debug)]
pub(crate) struct Corpus {
    root: Option<PathBuf>,
}

impl Corpus {
    pub(crate) const fn new(root: Option<PathBuf>) -> Self {
        Self { root }
    }

    /// The contents of the files below `folder` whose name ends in one of
    /// `endings` and that have at most `bytes_max`, by name.
    pub(crate) fn files(
        &self,
        folder: &str,
        endings: &[&str],
        bytes_max: u64,
    ) -> anyhow::Result<Vec<Vec<u8>>> {
        let Some(root) = &self.root else {
            return Ok(Vec::new());
        };
        let mut paths = Vec::new();
        list(&root.join(folder), &mut paths)?;
        paths.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            endings.iter().any(|ending| name.ends_with(ending))
                && path.metadata().is_ok_and(|file| file.len() <= bytes_max)
        });
        paths.sort();
        paths
            .iter()
            .map(|path| fs::read(path).with_context(|| path.display().to_string()))
            .collect()
    }
}

fn list(folder: &Path, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, paths)?;
        } else {
            paths.push(path);
        }
    }
    Ok(())
}

/// A target whose inputs are changed seeds.
struct Mutating<F> {
    seeds: Vec<Vec<u8>>,
    change: fn(&mut Random, &mut Vec<u8>, &[u8]),
    run: F,
}

impl<F: FnMut(&[u8]) -> Verdict> Target for Mutating<F> {
    fn generate(&mut self, random: &mut Random) -> Vec<u8> {
        let mut input = random.pick(&self.seeds).cloned().unwrap_or_default();
        let other = random.pick(&self.seeds).map_or(&[][..], Vec::as_slice);
        (self.change)(random, &mut input, other);
        input
    }

    fn run(&mut self, input: &[u8]) -> Verdict {
        (self.run)(input)
    }
}

impl<T, E> From<&Result<T, E>> for Verdict {
    fn from(result: &Result<T, E>) -> Self {
        if result.is_ok() {
            Self::Accepted
        } else {
            Self::Refused
        }
    }
}

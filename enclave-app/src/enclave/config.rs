//! The enclave's configuration: a TOML file that is part of the measured image, so
//! that whoever checks PCR0 has checked it too.
//!
//! Source of truth: ours; the reasons are in the attack table of ground truth KMS
//! §6 (7: full key ARNs; 12: TLS roots; 9: submitters; 20: the model's digest).
//! Unknown keys are errors, because a misspelt limit that is silently ignored is a
//! limit that is off. Nothing here can switch a check off: bounds have bounds.
//!
//! Does not model reloading, the environment, or anything the parent could say.

use std::{
    fs::File,
    io::{self, Read as _},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde::Deserialize;

use crate::{
    enclave::worker::WorkerBounds,
    image,
    job::{manifest::SubmitterPublicKey, wire::ENVELOPE_BYTES_MAX},
};

/// Everything the enclave trusts, read and checked.
#[derive(Debug)]
pub struct Config {
    /// AWS Region of KMS and of both keys.
    pub region: String,
    /// The only key that `Decrypt` is called with: a full key ARN.
    pub input_key_arn: String,
    /// The only key that `GenerateDataKey` is called with: a full key ARN.
    pub result_key_arn: String,
    /// Whether the enclave may run in debug mode, in which KMS gives no key that is bound
    /// to its measurements.
    pub debug_mode_permitted: bool,
    /// The only roots that KMS's certificate may lead to.
    pub tls_roots: RootCertStore,
    /// The model's file.
    pub model: PathBuf,
    /// SHA-256 of the model's file.
    pub model_sha256: [u8; 32],
    /// Where KMS is.
    pub kms: KmsEndpoint,
    /// vsock port to take jobs on.
    pub listen_port: u32,
    /// Who may sign jobs; at least one.
    pub submitters: Vec<Submitter>,
    /// Bounds.
    pub limits: Limits,
}

/// KMS, as seen from the enclave: a name to insist on, a vsock address to dial.
#[derive(Clone, Debug)]
pub struct KmsEndpoint {
    /// Host name in the URL, in SNI and in the certificate.
    pub host: ServerName<'static>,
    /// Context id of the bridge; 3 is the parent.
    pub cid: u32,
    /// vsock port of the bridge.
    pub port: u32,
}

impl KmsEndpoint {
    /// The host name as text.
    #[must_use]
    pub fn host_name(&self) -> String {
        self.host.to_str().into_owned()
    }
}

/// Somebody whose signed jobs are run.
#[derive(Clone, Debug)]
pub struct Submitter {
    /// For logs.
    pub name: String,
    /// P-384.
    pub public_key: SubmitterPublicKey,
}

/// Bounds, each with its default and its own bounds (see the table in the source).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of an encrypted object.
    pub object_bytes_max: usize,
    /// Jobs at a time.
    pub jobs_max: usize,
    /// Jobs in line; further ones are told to try again.
    pub queued_max: usize,
    /// Bytes of all requests that are read, wait or run.
    pub requests_bytes_max: usize,
    /// Unexpired jobs that are remembered; while there are so many, none is begun.
    pub remembered_max: usize,
    /// From a complete request to its reply.
    pub job_timeout: Duration,
    /// From a connection to its complete request.
    pub request_timeout: Duration,
    /// One attempt of one KMS call, connecting included.
    pub kms_timeout: Duration,
    /// Attempts of one KMS call, each with its own key and attestation document.
    pub kms_attempts_max: u32,
    /// How far the time in an attestation document may be from the local clock.
    pub clock_skew_max: Duration,
    /// RSA keys kept in stock.
    pub rsa_keys_ready: NonZeroUsize,
    /// What an image may be.
    pub image: image::Limits,
    /// What decoding one image may cost.
    pub worker: WorkerBounds,
}

impl Config {
    /// Reads `path` and the TLS roots it names. The model is not read yet (see
    /// [`Config::read_model`]).
    ///
    /// # Errors
    /// A file that cannot be read, or a value that cannot be right.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = String::from_utf8(read_bounded(path, CONFIG_BYTES_MAX)?)
            .map_err(|_| ConfigError::NotText { path: path.into() })?;
        Self::parse(&text, path.parent().unwrap_or(Path::new("")))
    }

    /// Reads configuration text; files are looked up in `folder`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, folder: &Path) -> Result<Self, ConfigError> {
        let file: Document = toml::from_str(text)?;
        if file.region.is_empty() {
            return Err(ConfigError::Region);
        }
        for (field, arn) in [
            ("input_key_arn", &file.input_key_arn),
            ("result_key_arn", &file.result_key_arn),
        ] {
            check_key_arn(field, arn, &file.region)?;
        }
        if file.input_key_arn == file.result_key_arn {
            return Err(ConfigError::SameKey);
        }
        let host = ServerName::try_from(file.kms.host.clone())
            .ok()
            .filter(|name| matches!(name, ServerName::DnsName(_)))
            .ok_or(ConfigError::Host {
                host: file.kms.host,
            })?;
        if file.kms.cid == ANY || file.kms.port == ANY || file.listen.port == ANY {
            return Err(ConfigError::AnyAddress);
        }
        let limits = file.limits.check()?;
        let submitters = file
            .submitters
            .into_iter()
            .map(
                |submitter| match SubmitterPublicKey::from_public_key_pem(&submitter.public_key) {
                    Ok(public_key) => Ok(Submitter {
                        name: submitter.name,
                        public_key,
                    }),
                    Err(_) => Err(ConfigError::SubmitterKey {
                        name: submitter.name,
                    }),
                },
            )
            .collect::<Result<Vec<_>, _>>()?;
        if submitters.is_empty() {
            return Err(ConfigError::NoSubmitters);
        }
        Ok(Self {
            region: file.region,
            input_key_arn: file.input_key_arn,
            result_key_arn: file.result_key_arn,
            debug_mode_permitted: file.debug_mode_permitted,
            tls_roots: read_roots(&folder.join(file.tls_roots))?,
            model: folder.join(file.model),
            model_sha256: sha256_from_hex(&file.model_sha256).ok_or(ConfigError::ModelSha256)?,
            kms: KmsEndpoint {
                host,
                cid: file.kms.cid,
                port: file.kms.port,
            },
            listen_port: file.listen.port,
            submitters,
            limits,
        })
    }

    /// Reads the model's file; its digest is checked by whoever loads it.
    ///
    /// # Errors
    /// If it cannot be read or is larger than [`MODEL_BYTES_MAX`].
    pub fn read_model(&self) -> Result<Vec<u8>, ConfigError> {
        read_bounded(&self.model, MODEL_BYTES_MAX)
    }
}

/// Bytes of a model: what an enclave of a few GiB can hold several times over.
pub const MODEL_BYTES_MAX: u64 = 1 << 30;

const CONFIG_BYTES_MAX: u64 = 1 << 20;
const ROOTS_BYTES_MAX: u64 = 1 << 20;

/// `VMADDR_CID_ANY` and `VMADDR_PORT_ANY`: for binding, never for these.
const ANY: u32 = u32::MAX;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file is absent, unreadable or too large.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The configuration is not UTF-8.
    #[error("{} is not text", path.display())]
    NotText {
        /// Which.
        path: PathBuf,
    },
    /// Not TOML, a missing or unknown key, or a value of the wrong type.
    #[error("the configuration does not parse")]
    Syntax(#[from] toml::de::Error),
    /// No Region.
    #[error("`region` is empty")]
    Region,
    /// Not a full key ARN of the Region.
    #[error(
        "`{field}` is {arn:?}, not a key ARN of Region {region} \
         (arn:aws:kms:{region}:<account>:key/<id>; an alias could be pointed elsewhere)"
    )]
    KeyArn {
        /// Which.
        field: &'static str,
        /// What it says.
        arn: String,
        /// The configured Region.
        region: String,
    },
    /// One key for images and for results.
    #[error(
        "`input_key_arn` and `result_key_arn` are the same key: a reader of results could read \
         images; use two"
    )]
    SameKey,
    /// Not a host name.
    #[error("`kms.host` is {host:?}, not a DNS name")]
    Host {
        /// What it says.
        host: String,
    },
    /// A wildcard where an address is needed.
    #[error("4294967295 is a wildcard, not a vsock address to dial or listen on")]
    AnyAddress,
    /// Not 64 hexadecimal digits.
    #[error("`model_sha256` is not a SHA-256 in hexadecimal")]
    ModelSha256,
    /// No certificate, or one that cannot be a root.
    #[error("{} holds no usable root certificates", path.display())]
    Roots {
        /// Which.
        path: PathBuf,
    },
    /// Nobody could submit a job.
    #[error("there are no `[[submitters]]`: nobody could submit a job")]
    NoSubmitters,
    /// Not a P-384 public key.
    #[error("the public key of submitter {name:?} is not a P-384 public key in PEM")]
    SubmitterKey {
        /// Whose.
        name: String,
    },
    /// A limit outside its own bounds.
    #[error("`limits.{field}` is {value}; it must be from {min} to {max}")]
    Limit {
        /// Which.
        field: &'static str,
        /// What it says.
        value: u64,
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    region: String,
    input_key_arn: String,
    result_key_arn: String,
    #[serde(default)]
    debug_mode_permitted: bool,
    tls_roots: PathBuf,
    model: PathBuf,
    model_sha256: String,
    kms: Kms,
    listen: Listen,
    #[serde(default)]
    submitters: Vec<SubmitterEntry>,
    #[serde(default)]
    limits: LimitEntries,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kms {
    host: String,
    cid: u32,
    port: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listen {
    port: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubmitterEntry {
    name: String,
    public_key: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitEntries {
    object_bytes_max: Option<u64>,
    jobs_max: Option<u64>,
    jobs_queued_max: Option<u64>,
    requests_mib_max: Option<u64>,
    jobs_remembered_max: Option<u64>,
    job_timeout_ms: Option<u64>,
    request_timeout_ms: Option<u64>,
    kms_timeout_ms: Option<u64>,
    kms_attempts_max: Option<u64>,
    clock_skew_ms_max: Option<u64>,
    rsa_keys_ready: Option<u64>,
    image_pixels_max: Option<u64>,
    decode_memory_mib_max: Option<u64>,
    decode_cpu_s_max: Option<u64>,
}

impl LimitEntries {
    fn check(self) -> Result<Limits, ConfigError> {
        // The body is held twice (as received, decrypted) for each job.
        let object_bytes_max = bounded(
            "object_bytes_max",
            self.object_bytes_max,
            64 << 20,
            1 << 10,
            1 << 30,
        )? as usize;
        let request_mib = (object_bytes_max + ENVELOPE_BYTES_MAX).div_ceil(1 << 20) as u32;
        Ok(Limits {
            object_bytes_max,
            jobs_max: bounded("jobs_max", self.jobs_max, 4, 1, 256)? as usize,
            // Some 250 bytes each.
            remembered_max: bounded(
                "jobs_remembered_max",
                self.jobs_remembered_max,
                1 << 18,
                1 << 11,
                1 << 24,
            )? as usize,
            queued_max: bounded("jobs_queued_max", self.jobs_queued_max, 64, 0, 4096)? as usize,
            // At least one request of the largest size.
            requests_bytes_max: (bounded(
                "requests_mib_max",
                self.requests_mib_max,
                request_mib.max(512),
                request_mib,
                65_536,
            )? as usize)
                << 20,
            job_timeout: millis("job_timeout_ms", self.job_timeout_ms, 60_000, 100, 600_000)?,
            // 64 MiB at the slowest measured vsock stream take half a second.
            request_timeout: millis(
                "request_timeout_ms",
                self.request_timeout_ms,
                20_000,
                100,
                600_000,
            )?,
            kms_timeout: millis("kms_timeout_ms", self.kms_timeout_ms, 5_000, 100, 60_000)?,
            kms_attempts_max: bounded("kms_attempts_max", self.kms_attempts_max, 3, 1, 8)?,
            // KMS itself and SigV4 allow five minutes: more would never work.
            clock_skew_max: millis(
                "clock_skew_ms_max",
                self.clock_skew_ms_max,
                60_000,
                1_000,
                300_000,
            )?,
            rsa_keys_ready: NonZeroUsize::new(bounded(
                "rsa_keys_ready",
                self.rsa_keys_ready,
                4,
                1,
                64,
            )? as usize)
            .expect("at least 1"),
            image: image::Limits {
                pixels_max: bounded(
                    "image_pixels_max",
                    self.image_pixels_max,
                    image::PIXELS_MAX,
                    1,
                    1 << 28,
                )?
                .into(),
                ..image::Limits::default()
            },
            worker: WorkerBounds {
                // Address space: the image of the most pixels as a JPEG 2000 takes
                // 4 bytes a sample beside its input, its output and the program.
                memory_bytes_max: u64::from(bounded(
                    "decode_memory_mib_max",
                    self.decode_memory_mib_max,
                    512,
                    128,
                    8192,
                )?) << 20,
                cpu_s_max: bounded("decode_cpu_s_max", self.decode_cpu_s_max, 10, 1, 600)?.into(),
                // One in each slot, one that waits, and some that are being reaped.
                threads_max: 16 * (u64::from(bounded("jobs_max", self.jobs_max, 4, 1, 256)?) + 2),
            },
        })
    }
}

fn bounded(
    field: &'static str,
    value: Option<u64>,
    default: u32,
    min: u32,
    max: u32,
) -> Result<u32, ConfigError> {
    let Some(value) = value else {
        return Ok(default);
    };
    u32::try_from(value)
        .ok()
        .filter(|value| (min..=max).contains(value))
        .ok_or(ConfigError::Limit {
            field,
            value,
            min: min.into(),
            max: max.into(),
        })
}

fn millis(
    field: &'static str,
    value: Option<u64>,
    default: u32,
    min: u32,
    max: u32,
) -> Result<Duration, ConfigError> {
    let millis = bounded(field, value, default, min, max)?;
    Ok(Duration::from_millis(millis.into()))
}

fn check_key_arn(field: &'static str, arn: &str, region: &str) -> Result<(), ConfigError> {
    let is_id = |id: &str| {
        !id.is_empty()
            && id
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
    };
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let right = match parts.as_slice() {
        ["arn", partition, "kms", arn_region, account, key] => {
            ["aws", "aws-cn", "aws-us-gov", "aws-eusc"].contains(partition)
                && *arn_region == region
                && account.len() == 12
                && account.bytes().all(|octet| octet.is_ascii_digit())
                && key.strip_prefix("key/").is_some_and(is_id)
        }
        _ => false,
    };
    if right {
        Ok(())
    } else {
        Err(ConfigError::KeyArn {
            field,
            arn: arn.into(),
            region: region.into(),
        })
    }
}

fn sha256_from_hex(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).ok()?;
    Some(digest)
}

fn read_roots(path: &Path) -> Result<RootCertStore, ConfigError> {
    let unusable = || ConfigError::Roots { path: path.into() };
    let pem = read_bounded(path, ROOTS_BYTES_MAX)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| unusable())?;
        roots.add(certificate).map_err(|_| unusable())?;
    }
    if roots.is_empty() {
        Err(unusable())
    } else {
        Ok(roots)
    }
}

fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ConfigError> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?
            .take(bytes_max.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > bytes_max {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        Ok(bytes)
    };
    read().map_err(|source| ConfigError::Unreadable {
        path: path.into(),
        source,
    })
}

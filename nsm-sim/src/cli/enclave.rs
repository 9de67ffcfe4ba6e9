//! What `nsm-sim run` starts: the NSM of the run, its clock, and the application
//! of an enclave image.
//!
//! Truth: NSM §3.12 for what is measured. Does not model the boot: an image's
//! kernel and first ramdisk are measured, not run. Its application runs in the
//! unpacked root file system or, where that cannot be entered, beside it: with
//! its working directory there and this machine's libraries.

use std::{
    collections::hash_map::RandomState,
    ffi::OsString,
    fs,
    hash::{BuildHasher as _, Hasher as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use super::profile;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use der::Decode as _;
use nsm_sim::{
    attestation::variance::Variance,
    clock::{Clock as _, SettableClock, UnixMillis},
    device::{self, Measurements, NitroSecureModule, Prepared, Profile},
    eif::{Eif, Signature, unpack},
    runner::{Delivery, NsmDevice},
    seed::WorldSeed,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The device core, driven by the runner.
struct Device {
    module: NitroSecureModule,
    clock: SettableClock,
    pending: Option<Prepared>,
}

impl NsmDevice for Device {
    fn prepare(&mut self, request: &[u8]) -> Vec<u8> {
        let prepared = self.module.prepare(self.clock.now(), request);
        let reply = prepared.reply().to_vec();
        self.pending = Some(prepared);
        reply
    }

    fn settle(&mut self, delivery: Delivery) {
        if let (Some(prepared), Delivery::Delivered) = (self.pending.take(), delivery) {
            self.module.commit(prepared);
        }
    }

    fn is_quick(&self, request: &[u8]) -> bool {
        device::is_quick(request)
    }
}

/// What the command line says of the enclave's hardware.
#[derive(Debug)]
pub(super) struct Hardware<'a> {
    pub(super) role_arn: Option<&'a str>,
    pub(super) instance_id: Option<&'a str>,
    pub(super) region: &'a str,
    pub(super) debug: bool,
    pub(super) seed: Option<&'a str>,
    pub(super) clock: &'a str,
    pub(super) variance: Variance,
}

/// An NSM with these measurements.
///
/// # Errors
/// If seed, clock, instance id, role ARN or Region cannot be read.
#[allow(clippy::print_stderr)] // what makes varied documents repeat
pub(super) fn device(
    measurements: Measurements,
    hardware: &Hardware<'_>,
) -> anyhow::Result<Box<dyn NsmDevice>> {
    let seed = match hardware.seed {
        Some(text) => text.parse::<WorldSeed>()?,
        None => WorldSeed::random(),
    };
    let clock = clock(hardware.clock)?;
    let declared = Profile {
        measurements,
        role_arn: hardware
            .role_arn
            .map(profile::role_arn)
            .transpose()?
            .map(ToOwned::to_owned),
        instance_id: instance_id(hardware.instance_id)?,
        region: profile::region(hardware.region)?.to_owned(),
        debug: hardware.debug,
        created: clock.now(),
        enclave_nonce: nonce(hardware.seed.is_some()),
    };
    let module = NitroSecureModule::new(declared, &seed, hardware.variance);
    if hardware.variance == Variance::Random {
        eprintln!("nsm-sim: documents vary by --seed {}", seed.to_hex());
    }
    Ok(Box::new(Device {
        module,
        clock,
        pending: None,
    }))
}

/// The last 16 bits of module_id; fixed in a seeded world, which must repeat.
fn nonce(seeded: bool) -> u16 {
    if seeded {
        0
    } else {
        RandomState::new().build_hasher().finish() as u16
    }
}

/// A clock from `system`, a time to stand still at, or a shift in seconds.
fn clock(text: &str) -> anyhow::Result<SettableClock> {
    if text == "system" {
        return Ok(SettableClock::running());
    }
    if let Some(shift) = text
        .strip_prefix('+')
        .or_else(|| text.starts_with('-').then_some(text))
        && let Ok(seconds) = shift.parse::<i64>()
    {
        let clock = SettableClock::running();
        clock.shift(seconds.saturating_mul(1000));
        return Ok(clock);
    }
    let at = OffsetDateTime::parse(text, &Rfc3339).with_context(|| {
        format!(
            "`{text}` is not a clock setting: give `system`, a time such as 2026-01-31T12:00:00Z, +60 or -60"
        )
    })?;
    let millis = u64::try_from(at.unix_timestamp_nanos() / 1_000_000)
        .with_context(|| format!("`{text}` is before 1970; the clock cannot be set there"))?;
    Ok(SettableClock::frozen(UnixMillis(millis)))
}

fn instance_id(given: Option<&str>) -> anyhow::Result<String> {
    let id = given.unwrap_or("i-0123456789abcdef0");
    let digits = id.strip_prefix("i-").unwrap_or_default();
    let hex = digits
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if digits.len() != 17 || !hex {
        bail!("`{id}` is not an instance id: give `i-` and 17 lower-case hex digits");
    }
    Ok(id.to_owned())
}

/// 48 bytes from 96 hex digits.
///
/// # Errors
/// Names the register.
pub(super) fn pcr(name: &str, text: &str) -> anyhow::Result<[u8; 48]> {
    let mut value = [0; 48];
    hex::decode_to_slice(text, &mut value)
        .with_context(|| format!("--{name} takes 96 hex digits, not `{text}`"))?;
    Ok(value)
}

/// PCR8 of an image signed with the PEM certificate in `file`.
///
/// # Errors
/// If the file cannot be read or holds no certificate.
pub(super) fn measure_certificate(file: &Path) -> anyhow::Result<[u8; 48]> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let body: Option<String> = text
        .split_once("-----BEGIN CERTIFICATE-----")
        .and_then(|(_, rest)| rest.split_once("-----END CERTIFICATE-----"))
        .map(|(body, _)| body.split_ascii_whitespace().collect());
    let der = body.and_then(|body| STANDARD.decode(body).ok());
    let der = der
        .filter(|der| x509_cert::Certificate::from_der(der).is_ok())
        .with_context(|| format!("{} holds no PEM certificate", file.display()))?;
    Ok(Measurements::of(&der))
}

/// Measurements of a program that is in no image.
///
/// # Errors
/// If it cannot be found or read.
pub(super) fn measure_program(program: &OsString) -> anyhow::Result<Measurements> {
    let path = find(Path::new(program))
        .with_context(|| format!("{} is not on PATH", program.display()))?;
    let content = fs::read(&path).with_context(|| format!("measuring {}", path.display()))?;
    Ok(Measurements::of_one_part(&content))
}

fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return Some(program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// An image's application, unpacked.
pub(super) struct Unpacked {
    pub(super) command: Vec<OsString>,
    pub(super) environment: Vec<(OsString, OsString)>,
    /// Its root file system.
    pub(super) root: PathBuf,
    /// Removed when dropped: keep it until the run has ended.
    #[expect(dead_code, reason = "held for its drop")]
    folder: tempfile::TempDir,
}

/// Refuses a signed image that an instance would not start: nitro-cli looks at the
/// signature and at the certificate's dates first.
fn check_signature(
    signature: &Signature,
    pcr0: &[u8; 48],
    judged: Judged<'_>,
) -> anyhow::Result<()> {
    const E59: &str = "on an instance nitro-cli refuses it with E59 (signature checker error)";
    signature
        .verify(pcr0)
        .with_context(|| format!("the image's signature does not hold; {E59}"))?;
    if judged.may_have_expired {
        return Ok(());
    }
    signature
        .check_validity(clock(judged.clock)?.now())
        .with_context(|| {
            format!(
                "the image is not started; {E59}; sign it with a certificate that is valid, or \
                 give --allow-expired-signature"
            )
        })
}

/// When an image's signature has to be valid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judged<'a> {
    /// As `--clock` has it.
    pub(super) clock: &'a str,
    /// Whether the certificate's dates are left unjudged.
    pub(super) may_have_expired: bool,
}

/// Measures the image in `file` and, if asked, unpacks its application.
///
/// # Errors
/// If the file is not an image, if it is signed and an instance would not start it,
/// or if its application cannot be unpacked.
pub(super) fn image(
    file: &Path,
    start: bool,
    judged: Judged<'_>,
) -> anyhow::Result<(Measurements, Option<Unpacked>)> {
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let eif =
        Eif::read(&bytes).with_context(|| format!("{} is not an enclave image", file.display()))?;
    let measurements = eif.measurements();
    if let Some(signature) = eif.signature() {
        check_signature(signature, &measurements.pcr0, judged)?;
    }
    if !start {
        return Ok((measurements, None));
    }
    let application = eif
        .application()
        .with_context(|| format!("{} has no application to start", file.display()))?;
    let folder = tempfile::Builder::new()
        .prefix("nsm-sim-")
        .tempdir()
        .context(
            "no folder can be made for the application; set TMPDIR to one that can be written",
        )?;
    // A folder within, so that the image's root may be open to all its users
    // while the folder around it is ours alone.
    let root = folder.path().join("rootfs");
    fs::create_dir(&root)
        .and_then(|()| fs::set_permissions(&root, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("making {}", root.display()))?;
    unpack(&application.rootfs, &root)
        .with_context(|| format!("unpacking the application of {}", file.display()))?;
    let unpacked = Unpacked {
        command: application.cmd.into_iter().map(Into::into).collect(),
        environment: application
            .env
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        root,
        folder,
    };
    Ok((measurements, Some(unpacked)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_stands_runs_or_is_shifted_and_anything_else_is_refused() {
        assert_eq!(
            clock("2025-12-25T16:04:18Z").unwrap().now(),
            UnixMillis(1_766_678_658_000)
        );
        let (behind, now, ahead) = (
            clock("-3600").unwrap().now(),
            clock("system").unwrap().now(),
            clock("+3600").unwrap().now(),
        );
        assert!(behind < now && now < ahead);
        for text in ["noon", "", "+", "1969-01-01T00:00:00Z"] {
            assert!(clock(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_instance_id_has_seventeen_hex_digits() {
        assert!(instance_id(Some("i-0123456789abcdef0")).is_ok());
        for id in ["0123456789abcdef0", "i-0123", "i-0123456789ABCDEF0", ""] {
            assert!(instance_id(Some(id)).is_err(), "{id}");
        }
    }
}

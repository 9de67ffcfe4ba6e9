//! What `nsm-sim run --profile FILE.toml` declares: the enclave's image and
//! hardware, as the flags of the same names do.
//!
//! Models: one enclave's identity, written down once and kept in a repository.
//! A flag on the command line wins over the file's line. Paths are relative to
//! the file. Does not model the runner's own settings (world, network, bridges),
//! which belong to a run and not to an enclave.

use std::{
    fs,
    num::{NonZeroU32, NonZeroU64},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use nsm_sim::attestation::variance::Variance;

/// A longer file is not read as a profile.
const PROFILE_BYTES_MAX: u64 = 64 << 10;

/// The lines a profile may have; all are optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnclaveProfile {
    /// Image to take measurements from.
    pub(super) eif: Option<PathBuf>,
    /// PCR0 to PCR2 and PCR8, 96 hex digits each.
    pub(super) pcr0: Option<String>,
    pub(super) pcr1: Option<String>,
    pub(super) pcr2: Option<String>,
    pub(super) pcr8: Option<String>,
    /// PEM certificate that the image is signed with: PCR8 in another form.
    pub(super) signing_certificate: Option<PathBuf>,
    /// IAM role of the parent instance.
    pub(super) role_arn: Option<String>,
    /// Id of the parent instance.
    pub(super) instance_id: Option<String>,
    /// Region of the parent instance.
    pub(super) region: Option<String>,
    /// Debug mode.
    pub(super) debug: Option<bool>,
    /// Context id.
    pub(super) cid: Option<u32>,
    /// vCPUs of the enclave.
    pub(super) cpu_count: Option<NonZeroU32>,
    /// Memory of the enclave.
    pub(super) memory_mib: Option<NonZeroU64>,
    /// `system`, a time, or a shift in seconds.
    pub(super) clock: Option<String>,
    /// A number or 64 hex digits.
    pub(super) seed: Option<Seed>,
    /// `definite`, `indefinite` or `random`.
    pub(super) variance: Option<String>,
}

/// TOML numbers and strings both name a seed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(untagged)]
pub(super) enum Seed {
    Number(u64),
    Text(String),
}

impl EnclaveProfile {
    /// Reads a profile.
    ///
    /// # Errors
    /// If it cannot be read, has a line that no profile has, or measures one
    /// thing twice.
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let size = fs::metadata(file)
            .with_context(|| format!("reading the profile {}", file.display()))?
            .len();
        ensure!(
            size <= PROFILE_BYTES_MAX,
            "the profile {} has {size} bytes; at most {PROFILE_BYTES_MAX} are read",
            file.display()
        );
        let text = fs::read_to_string(file)
            .with_context(|| format!("reading the profile {}", file.display()))?;
        let mut profile = Self::parse(&text).with_context(|| file.display().to_string())?;
        let folder = file.parent().unwrap_or(Path::new(""));
        for path in [&mut profile.eif, &mut profile.signing_certificate]
            .into_iter()
            .flatten()
        {
            *path = folder.join(&*path);
        }
        Ok(profile)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let profile: Self = toml::from_str(text)?;
        let explicit = [&profile.pcr0, &profile.pcr1, &profile.pcr2].map(Option::is_some);
        ensure!(
            explicit == [true; 3] || explicit == [false; 3],
            "pcr0, pcr1 and pcr2 must be given together"
        );
        ensure!(
            profile.eif.is_none() || explicit == [false; 3],
            "eif and pcr0 both measure the image: give one"
        );
        ensure!(
            profile.pcr8.is_none() || profile.signing_certificate.is_none(),
            "pcr8 and signing_certificate both say who signed: give one"
        );
        Ok(profile)
    }

    /// The seed as the command line spells it.
    pub(super) fn seed_text(&self) -> Option<String> {
        self.seed.as_ref().map(|seed| match seed {
            Seed::Number(number) => number.to_string(),
            Seed::Text(text) => text.clone(),
        })
    }

    /// The variance, if one is given.
    ///
    /// # Errors
    /// If it is not one of the three.
    pub(super) fn variance(&self) -> anyhow::Result<Option<Variance>> {
        Ok(self.variance.as_deref().map(str::parse).transpose()?)
    }
}

/// A Region as AWS spells them: lower-case words and a number, joined by hyphens.
///
/// # Errors
/// If it is not, for it becomes part of every certificate's subject.
pub(super) fn region(text: &str) -> anyhow::Result<&str> {
    let words: Vec<&str> = text.split('-').collect();
    let (last, names) = words.split_last().map_or(("", &[][..]), |(l, n)| (*l, n));
    let named = (2..=4).contains(&names.len())
        && names
            .iter()
            .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()));
    let numbered = (1..=2).contains(&last.len()) && last.bytes().all(|byte| byte.is_ascii_digit());
    if named && numbered && text.len() <= 32 {
        Ok(text)
    } else {
        bail!("`{text}` is not a Region: give one such as us-east-1")
    }
}

/// The ARN of an IAM role, as it is measured into PCR3.
///
/// # Errors
/// Says which part is not an IAM role's; an assumed role's session ARN, which
/// STS reports and no instance profile has, is told apart.
pub(super) fn role_arn(text: &str) -> anyhow::Result<&str> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let &[arn, partition, service, region, account, resource] = parts.as_slice() else {
        bail!("`{text}` is not a role ARN: give arn:aws:iam::123456789012:role/NAME");
    };
    if service == "sts" {
        bail!(
            "`{text}` is a session, and PCR3 measures its role: give arn:aws:iam::{account}:role/PATH/NAME"
        );
    }
    ensure!(
        arn == "arn" && partition.starts_with("aws") && service == "iam" && region.is_empty(),
        "`{text}` is not a role ARN: give arn:aws:iam::123456789012:role/NAME"
    );
    ensure!(
        account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()),
        "the account `{account}` in `{text}` must have twelve digits"
    );
    let name = resource.strip_prefix("role/").unwrap_or_default();
    let spelled = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"+=,.@_-/".contains(&byte));
    ensure!(
        !name.is_empty() && !name.ends_with('/') && spelled,
        "`{resource}` in `{text}` is not a role: give role/PATH/NAME"
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_declares_everything_an_enclave_is() {
        let profile = EnclaveProfile::parse(
            r#"
            eif = "app.eif"
            signing_certificate = "cert.pem"
            role_arn = "arn:aws:iam::123456789012:role/Webserver"
            instance_id = "i-0123456789abcdef0"
            region = "eu-west-1"
            debug = true
            cid = 20
            cpu_count = 2
            memory_mib = 512
            clock = "2026-01-31T12:00:00Z"
            seed = 7
            variance = "random"
            "#,
        )
        .unwrap();
        assert_eq!(profile.seed_text().as_deref(), Some("7"));
        assert_eq!(profile.variance().unwrap(), Some(Variance::Random));
        assert_eq!(profile.debug, Some(true));
        assert_eq!(profile.cid, Some(20));
        assert_eq!(profile.cpu_count.map(NonZeroU32::get), Some(2));
        assert_eq!(profile.memory_mib.map(NonZeroU64::get), Some(512));
        assert_eq!(
            EnclaveProfile::parse("").unwrap(),
            EnclaveProfile::default()
        );
    }

    #[test]
    fn a_profile_with_an_unknown_line_or_two_measurements_is_refused() {
        let pcrs = "pcr0 = \"0\"\npcr1 = \"0\"\npcr2 = \"0\"\n";
        for (text, says) in [
            ("role = \"x\"", "role_arn"),
            ("seed = -1", "seed"),
            ("memory_mib = 0", "memory_mib"),
            ("cpu_count = 0", "cpu_count"),
            ("pcr0 = \"00\"", "given together"),
            (&format!("{pcrs}eif = \"a\""), "both measure"),
            (
                "pcr8 = \"0\"\nsigning_certificate = \"a\"",
                "both say who signed",
            ),
        ] {
            let error = format!("{:#}", EnclaveProfile::parse(text).unwrap_err());
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn paths_are_relative_to_the_profile() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p.toml");
        fs::write(&file, "eif = \"images/app.eif\"").unwrap();
        assert_eq!(
            EnclaveProfile::read(&file).unwrap().eif,
            Some(folder.path().join("images/app.eif"))
        );
        assert!(EnclaveProfile::read(folder.path()).is_err());
    }

    #[test]
    fn a_region_looks_like_one() {
        for text in ["us-east-1", "ap-southeast-4", "us-gov-west-1", "me-south-1"] {
            assert_eq!(region(text).unwrap(), text);
        }
        for text in [
            "",
            "us-east",
            "us-east-1a",
            "US-EAST-1",
            "us--1",
            "x-1",
            "us-east-111",
        ] {
            assert!(region(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_role_arn_is_an_iam_roles() {
        for text in [
            "arn:aws:iam::123456789012:role/Webserver",
            "arn:aws-cn:iam::123456789012:role/service/path/R@x",
        ] {
            assert_eq!(role_arn(text).unwrap(), text);
        }
        for (text, says) in [
            ("Webserver", "not a role ARN"),
            ("arn:aws:iam::123:role/R", "twelve digits"),
            ("arn:aws:iam::123456789012:user/U", "not a role"),
            ("arn:aws:iam::123456789012:role/", "not a role"),
            ("arn:aws:iam::123456789012:role/a b", "not a role"),
            (
                "arn:aws:sts::123456789012:assumed-role/R/i-0",
                "is a session",
            ),
        ] {
            let error = role_arn(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}

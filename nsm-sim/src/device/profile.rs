//! What an enclave is measured and named as when its NSM starts.
//!
//! Models: PCR0–2 and PCR8 from the image, PCR3 from the instance's role, PCR4
//! from the instance id, debug mode, and the shape of `module_id` (ground truth
//! NSM §3.7, §3.11, §3.12, the last two proved on 42 real documents). Does not
//! model what hardware puts into PCR8 of a signed image in debug mode (unknown):
//! it keeps its value here, as PCR3 and PCR4 do.

use sha2::{Digest, Sha384};

use super::pcr::{Bank, Pcr, extended};
use crate::clock::UnixMillis;

/// The registers an enclave image determines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurements {
    /// The whole image: kernel, command line and every ramdisk.
    pub pcr0: [u8; 48],
    /// Kernel, command line and the first ramdisk.
    pub pcr1: [u8; 48],
    /// The remaining ramdisks: the application.
    pub pcr2: [u8; 48],
    /// The certificate that signed the image; `None` (and a zero register) if
    /// the image is unsigned.
    pub pcr8: Option<[u8; 48]>,
}

impl Measurements {
    /// T(x) = SHA-384(0⁴⁸ ‖ SHA-384(x)): how an image's parts, and the DER of a
    /// signing certificate, become PCR values.
    #[must_use]
    pub fn of(content: &[u8]) -> [u8; 48] {
        extended(&[0; 48], &Sha384::digest(content))
    }

    /// Measurements of something that is not an enclave image, such as a test's
    /// binary: all of it in PCR0 and PCR1, an empty application in PCR2, as for
    /// an image with a single ramdisk.
    #[must_use]
    pub fn of_one_part(content: &[u8]) -> Self {
        let whole = Self::of(content);
        Self {
            pcr0: whole,
            pcr1: whole,
            pcr2: Self::of(b""),
            pcr8: None,
        }
    }
}

/// Everything an NSM is told about its enclave before the enclave boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Registers from the image.
    pub measurements: Measurements,
    /// ARN of the IAM role attached to the parent instance; PCR3 is zero
    /// without one.
    pub role_arn: Option<String>,
    /// The parent instance: `i-` and 17 hex digits.
    pub instance_id: String,
    /// The AWS Region, such as `us-east-1`: part of every subject of the chain.
    pub region: String,
    /// Whether the enclave was started with `--debug-mode`: PCR0, PCR1 and PCR2
    /// are then zero, and only they.
    pub debug: bool,
    /// When the enclave was created.
    pub created: UnixMillis,
    /// The last 16 bits of `module_id`.
    pub enclave_nonce: u16,
}

impl Profile {
    /// The NSM's name: `<instance>-enc<16 hex>`, the hex being the low 48 bits
    /// of the creation time in milliseconds and the 16-bit nonce.
    #[must_use]
    pub fn module_id(&self) -> String {
        format!("{}-enc{:016x}", self.instance_id, self.enclave_id())
    }

    /// The 64 bits behind `-enc`; the leaf certificate's serial starts with them.
    pub(crate) const fn enclave_id(&self) -> u64 {
        (self.created.0 & 0xffff_ffff_ffff) << 16 | self.enclave_nonce as u64
    }

    pub(crate) fn bank(&self) -> Bank {
        let mut measured: Vec<(usize, Pcr)> = Vec::with_capacity(6);
        if !self.debug {
            measured.extend([
                (0, self.measurements.pcr0),
                (1, self.measurements.pcr1),
                (2, self.measurements.pcr2),
            ]);
        }
        // No inner hash here, unlike the image's registers.
        measured.extend(
            self.role_arn
                .as_ref()
                .map(|arn| (3, extended(&[0; 48], arn.as_bytes()))),
        );
        measured.push((4, extended(&[0; 48], self.instance_id.as_bytes())));
        measured.extend(self.measurements.pcr8.map(|pcr8| (8, pcr8)));
        Bank::at_boot(&measured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile {
            measurements: Measurements {
                pcr0: [1; 48],
                pcr1: [2; 48],
                pcr2: [3; 48],
                pcr8: Some([8; 48]),
            },
            role_arn: Some("arn:aws:iam::123456789012:role/Webserver".to_owned()),
            instance_id: "i-06f4d13c6679a7232".to_owned(),
            region: "us-east-1".to_owned(),
            debug: false,
            created: UnixMillis(0x019f_15f1_504d),
            enclave_nonce: 0xc31d,
        }
    }

    #[test]
    fn a_module_id_is_the_instance_the_creation_time_and_a_nonce() {
        assert_eq!(
            profile().module_id(),
            "i-06f4d13c6679a7232-enc019f15f1504dc31d"
        );
    }

    #[test]
    fn pcr3_is_awss_example_for_its_role_and_pcr4_a_real_documents_for_its_instance() {
        let bank = profile().bank();
        assert_eq!(
            hex::encode(bank.get(3).unwrap()),
            "78fce75db17cd4e0a3fb8dad3ad128ca5e77edbb2b2c7f75329dccd99aa5f6ef4fc1f1a452e315b9e98f9e312e6921e6"
        );
        assert_eq!(
            hex::encode(bank.get(4).unwrap()),
            "08e19135bee5230374d8053e3d6f36fa6ffd8fdc9713b04b95d42c451c70896ce69a837eb5c531b214e793946ff08bbb"
        );
        let without = Profile {
            role_arn: None,
            ..profile()
        };
        assert_eq!(without.bank().get(3), Some(&[0; 48]));
    }

    #[test]
    fn debug_mode_zeroes_pcr0_to_pcr2_and_nothing_else() {
        let production = profile().bank();
        let debug = Profile {
            debug: true,
            ..profile()
        }
        .bank();
        for index in 0..32 {
            let expected = if index < 3 {
                Some(&[0; 48])
            } else {
                production.get(index)
            };
            assert_eq!(debug.get(index), expected, "PCR{index}");
        }
        assert_eq!(production.get(8), Some(&[8; 48]));
    }

    #[test]
    fn an_empty_application_measures_as_in_real_documents() {
        assert_eq!(
            hex::encode(Measurements::of(b"")),
            "21b9efbc184807662e966d34f390821309eeac6802309798826296bf3e8bec7c10edb30948c90ba67310f7b964fc500a"
        );
    }
}

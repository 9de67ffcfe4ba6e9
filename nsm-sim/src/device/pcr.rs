//! The bank of platform configuration registers.
//!
//! Models: 32 registers of SHA-384, zero until measured, 0–15 locked before
//! the enclave boots, extension over raw data, locks that never open (ground
//! truth NSM §3.1–3.4, §3.12). Does not model the NitroTPM's second bank.

use sha2::{Digest, Sha384};

/// Registers in the bank (`max_pcrs`).
pub(crate) const PCR_COUNT: u16 = 32;

/// Registers below this one are locked at boot.
const BOOT_LOCKED: u32 = 16;

/// Bytes of a register.
pub(crate) type Pcr = [u8; 48];

/// SHA-384(old ‖ data): extension of a register by raw data.
pub(crate) fn extended(old: &Pcr, data: &[u8]) -> Pcr {
    let mut hash = Sha384::new();
    hash.update(old);
    hash.update(data);
    hash.finalize().into()
}

#[derive(Clone, Debug)]
pub(crate) struct Bank {
    registers: [Pcr; PCR_COUNT as usize],
    /// Bit `i`: register `i` is locked.
    locked: u32,
}

impl Bank {
    /// The bank at boot; registers that `measured` does not name are zero.
    pub(crate) fn at_boot(measured: &[(usize, Pcr)]) -> Self {
        let mut registers = [[0; 48]; PCR_COUNT as usize];
        for (index, value) in measured {
            if let Some(register) = registers.get_mut(*index) {
                *register = *value;
            }
        }
        Self {
            registers,
            locked: (1 << BOOT_LOCKED) - 1,
        }
    }

    /// The register, or `None` if there is none of this index.
    pub(crate) fn get(&self, index: u16) -> Option<&Pcr> {
        self.registers.get(usize::from(index))
    }

    pub(crate) const fn is_locked(&self, index: u16) -> bool {
        index < PCR_COUNT && self.locked & (1 << index) != 0
    }

    /// Bit `i`: register `i` is locked.
    pub(crate) const fn locked(&self) -> u32 {
        self.locked
    }

    /// Locked registers, ascending, zero-valued ones included: what a document
    /// carries (§3.10).
    pub(crate) fn locked_registers(&self) -> impl Iterator<Item = (u8, &Pcr)> {
        (0_u8..)
            .zip(&self.registers)
            .filter(|(index, _)| self.locked & (1 << index) != 0)
    }

    pub(crate) fn set(&mut self, index: u16, value: Pcr) {
        if let Some(register) = self.registers.get_mut(usize::from(index)) {
            *register = value;
        }
    }

    pub(crate) const fn lock(&mut self, mask: u32) {
        self.locked |= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bank_boots_with_the_lower_half_locked_and_the_rest_zero() {
        let bank = Bank::at_boot(&[(0, [1; 48]), (4, [5; 48])]);
        assert_eq!(bank.locked(), 0xffff);
        assert_eq!(bank.get(0), Some(&[1; 48]));
        assert_eq!(bank.get(4), Some(&[5; 48]));
        assert_eq!(bank.get(31), Some(&[0; 48]));
        assert_eq!(bank.get(32), None);
        assert_eq!(bank.locked_registers().count(), 16);
    }

    /// The first is QEMU's vector `extend-31-48zeros`, the second
    /// `extend-16-len0`: an empty extension changes the register.
    #[test]
    fn extension_hashes_the_old_value_and_the_raw_data() {
        let zero = [0; 48];
        assert_eq!(
            hex::encode(extended(&zero, &zero)),
            "f57bb7ed82c6ae4a29e6c9879338c592c7d42a39135583e8ccbe3940f2344b0eb6eb8503db0ffd6a39ddd00cd07d8317"
        );
        assert_eq!(
            hex::encode(extended(&zero, b"")),
            "8f0d145c0368ad6b70be22e41c400eea91b971d96ba220fec9fae25a58dffdaaf72dbe8f6783d55128c9df4efaf6f8a7"
        );
    }
}

//! What an enclave looks at before it takes a job, and why it may not start.
//!
//! Whoever attests and decides is KMS; this is for the operator, who would otherwise
//! meet each of these as a job that fails: a module that does not answer, a clock that
//! KMS would not accept, an enclave in debug mode, a model that does not give what the
//! reports say it gives. Each is a sentence and an exit code of its own.
//!
//! Source of truth: ground truth NSM §2 and §3.8; KMS §2 (PCR0 to PCR2 of an enclave in
//! debug mode are zero) and §6, attack 13. Does not verify the document's signature: a
//! module that lies cannot be found out from inside.

use std::time::Duration;

use crate::{
    clock::Clock,
    enclave::nsm::{NsmError, SecureModule, attest_now, is_debug_mode},
};

/// What is wrong with an enclave's surroundings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Surroundings {
    /// The security module does not work.
    #[error("the security module does not answer as it must")]
    Module(#[source] NsmError),
    /// The clock is off.
    #[error(
        "the enclave's clock is {off_ms} ms off the security module's, {skew_max_ms} ms are \
         allowed (`limits.clock_skew_ms_max`); synchronise the parent instance's clock and start \
         the enclave again"
    )]
    Clock {
        /// By how much.
        off_ms: u64,
        /// What is allowed.
        skew_max_ms: u128,
    },
    /// Debug mode, and the configuration does not permit it.
    #[error(
        "the enclave runs in debug mode: PCR0, PCR1 or PCR2 is zero, and everything it says on its \
         console leaves it; start it without --debug-mode, or permit it in a configuration for \
         tests (`debug_mode_permitted = true`)"
    )]
    DebugMode,
}

/// Has the module vouch for a number of its own and looks at what it says.
///
/// # Errors
/// [`Surroundings`].
pub fn judge(
    module: &dyn SecureModule,
    clock: &dyn Clock,
    skew_max: Duration,
    debug_mode_permitted: bool,
) -> Result<(), Surroundings> {
    let random = module.random().map_err(Surroundings::Module)?;
    let number = random.get(..NUMBER_BYTES);
    let number = number.ok_or(Surroundings::Module(NsmError::NotRandom))?;
    let document = match attest_now(module, clock, skew_max, None, Some(number)) {
        Ok(document) => document,
        Err(NsmError::ClockSkew {
            document_ms,
            local_ms,
        }) => {
            return Err(Surroundings::Clock {
                off_ms: document_ms.abs_diff(local_ms),
                skew_max_ms: skew_max.as_millis(),
            });
        }
        Err(error) => return Err(Surroundings::Module(error)),
    };
    match is_debug_mode(&document) {
        Ok(true) if !debug_mode_permitted => Err(Surroundings::DebugMode),
        Ok(_) => Ok(()),
        Err(error) => Err(Surroundings::Module(error)),
    }
}

/// Long enough that no recorded document has it.
const NUMBER_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use ciborium::Value;
    use zeroize::Zeroizing;

    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    #[derive(Debug)]
    struct Still(u64);

    impl Clock for Still {
        fn now_ms(&self) -> u64 {
            self.0
        }
    }

    /// A module with these registers; `replays` answers with another number.
    struct Module {
        pcrs: Vec<(u8, Vec<u8>)>,
        replays: bool,
    }

    impl SecureModule for Module {
        fn attest(&self, _: Option<&[u8]>, user_data: Option<&[u8]>) -> Result<Vec<u8>, NsmError> {
            let registers = self.pcrs.iter().map(|(index, value)| {
                (Value::Integer((*index).into()), Value::Bytes(value.clone()))
            });
            let said = if self.replays {
                vec![1; 32]
            } else {
                user_data.unwrap().to_vec()
            };
            let payload = Value::Map(vec![
                (
                    Value::Text("timestamp".into()),
                    Value::Integer(NOW_MS.into()),
                ),
                (Value::Text("pcrs".into()), Value::Map(registers.collect())),
                (Value::Text("user_data".into()), Value::Bytes(said)),
            ]);
            let mut inner = Vec::new();
            ciborium::into_writer(&payload, &mut inner).unwrap();
            let parts = [
                Value::Bytes(vec![]),
                Value::Map(vec![]),
                Value::Bytes(inner),
                Value::Bytes(vec![0; 96]),
            ];
            let mut document = Vec::new();
            ciborium::into_writer(&Value::Array(parts.into()), &mut document).unwrap();
            Ok(document)
        }

        fn random(&self) -> Result<Zeroizing<Vec<u8>>, NsmError> {
            Ok(Zeroizing::new((0..=255).collect()))
        }
    }

    fn registers(zero: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let value = |index: u8| if zero.contains(&index) { 0 } else { 7 };
        (0..5)
            .map(|index| (index, vec![value(index); 48]))
            .collect()
    }

    fn judged(
        pcrs: Vec<(u8, Vec<u8>)>,
        clock_ms: u64,
        permitted: bool,
    ) -> Result<(), Surroundings> {
        let module = Module {
            pcrs,
            replays: false,
        };
        judge(
            &module,
            &Still(clock_ms),
            Duration::from_secs(60),
            permitted,
        )
    }

    #[test]
    fn a_measured_enclave_whose_clock_is_right_starts() {
        // PCR3 and PCR4 of an instance without a role are zero.
        judged(registers(&[3, 4]), NOW_MS + 59_000, false).unwrap();
    }

    #[test]
    fn debug_mode_starts_only_where_the_configuration_permits_it() {
        for zero in [&[0, 1, 2][..], &[0], &[1], &[2]] {
            let error = judged(registers(zero), NOW_MS, false).unwrap_err();
            assert!(
                matches!(error, Surroundings::DebugMode),
                "{zero:?}: {error}"
            );
            judged(registers(zero), NOW_MS, true).unwrap();
        }
    }

    #[test]
    fn a_clock_that_is_an_hour_off_is_named_with_its_hour() {
        for clock_ms in [NOW_MS - 3_600_000, NOW_MS + 3_600_000] {
            let error = judged(registers(&[]), clock_ms, true).unwrap_err();
            assert!(error.to_string().contains("3600000 ms off"), "{error}");
        }
    }

    #[test]
    fn a_document_without_registers_or_over_another_number_is_the_modules_fault() {
        let mut few = registers(&[]);
        few.remove(2);
        for pcrs in [vec![], few, vec![(0, vec![]), (1, vec![]), (2, vec![])]] {
            let error = judged(pcrs, NOW_MS, true).unwrap_err();
            assert!(
                matches!(error, Surroundings::Module(NsmError::MalformedDocument)),
                "{error}"
            );
        }
        let module = Module {
            pcrs: registers(&[]),
            replays: true,
        };
        let error = judge(&module, &Still(NOW_MS), Duration::from_secs(60), true).unwrap_err();
        assert!(
            matches!(error, Surroundings::Module(NsmError::OtherRequest)),
            "{error}"
        );
    }
}

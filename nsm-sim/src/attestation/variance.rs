//! The legal forms a document's encoding may take, varied on purpose.
//!
//! Models: hardware's change from a definite payload map (`a9`, until May 2025)
//! to an indefinite one (`bf … ff`, since August 2025; ground truth NSM §4.2).
//! A client that passes under [`Variance::Random`] depends on neither. Inner
//! maps, key order and COSE framing never varied on hardware and do not here.

use std::{fmt, str::FromStr};

use rand_chacha::rand_core::RngCore;

/// Which form of the payload map a document takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variance {
    /// `a9`: nine entries, as hardware wrote until 2025-05.
    Definite,
    /// `bf … ff`, as hardware writes today.
    #[default]
    Indefinite,
    /// One of the two for each document, drawn from the world's seed.
    Random,
}

/// A text that names no [`Variance`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a variance: give definite, indefinite or random")]
pub struct VarianceError(String);

impl Variance {
    pub(crate) fn indefinite(self, stream: &mut impl RngCore) -> bool {
        match self {
            Self::Definite => false,
            Self::Indefinite => true,
            Self::Random => stream.next_u32() & 1 == 0,
        }
    }
}

impl fmt::Display for Variance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Definite => "definite",
            Self::Indefinite => "indefinite",
            Self::Random => "random",
        })
    }
}

impl FromStr for Variance {
    type Err = VarianceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "definite" => Ok(Self::Definite),
            "indefinite" => Ok(Self::Indefinite),
            "random" => Ok(Self::Random),
            _ => Err(VarianceError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variance_reads_back_from_its_name() {
        for variance in [Variance::Definite, Variance::Indefinite, Variance::Random] {
            assert_eq!(variance.to_string().parse(), Ok(variance));
        }
        assert!("canonical".parse::<Variance>().is_err());
    }
}

//! Stored values to what a screen would show: one table from each possible
//! stored value to a gray level.
//!
//! Source of truth: PS3.3 §C.11.1 (modality: rescale or table), §C.11.2 (VOI:
//! window or table) and §C.7.6.3.1.2 (MONOCHROME1: the lowest value is white,
//! applied last). Without a window or VOI table the full range of the stored
//! values is shown, not the range that occurs: the same tissue has the same gray
//! in every image of a device.
//!
//! Not modelled: presentation LUTs and states, per-frame windows.

use super::description::{Description, Function, Modality, Sample, Table, Voi};

/// A gray level for each of the 2^`bits_stored` bit patterns of a sample.
pub(super) fn levels(description: &Description, inverted: bool) -> Vec<u8> {
    let Description {
        sample,
        modality,
        voi,
        ..
    } = description;
    let full = full_range(*sample, modality);
    (0..1u32 << sample.bits_stored)
        .map(|pattern| {
            let value = modality.apply(sample.value(pattern));
            let shown = (voi.apply(value, full) * 255.0).round();
            // A cast from f64 saturates; no NaN gets here (widths are positive).
            let level = shown as u8;
            if inverted { 255 - level } else { level }
        })
        .collect()
}

impl Sample {
    /// The number that a bit pattern of `bits_stored` bits stands for.
    fn value(self, pattern: u32) -> i32 {
        let shift = 32 - u32::from(self.bits_stored);
        let high = (pattern << shift).cast_signed();
        if self.signed {
            high >> shift
        } else {
            pattern.cast_signed()
        }
    }

    fn extremes(self) -> (i32, i32) {
        let half = 1i32 << (self.bits_stored - 1);
        if self.signed {
            (-half, half - 1)
        } else {
            (0, half - 1 + half)
        }
    }
}

impl Table {
    /// The entry for an input value; values outside the table get its ends.
    fn entry(&self, value: f64) -> f64 {
        let index = (value - f64::from(self.first)).round().max(0.0) as usize;
        let last = self.entries.last().copied().unwrap_or_default();
        f64::from(self.entries.get(index).copied().unwrap_or(last))
    }

    fn max(&self) -> f64 {
        f64::from((1u32 << self.bits) - 1)
    }
}

impl Modality {
    fn apply(&self, stored: i32) -> f64 {
        match self {
            Modality::Rescale { slope, intercept } => f64::from(stored) * slope + intercept,
            Modality::Table(table) => table.entry(f64::from(stored)),
        }
    }
}

/// The lowest and highest value that the modality transformation can yield.
fn full_range(sample: Sample, modality: &Modality) -> (f64, f64) {
    match modality {
        Modality::Table(table) => (0.0, table.max()),
        Modality::Rescale { .. } => {
            let (low, high) = sample.extremes();
            let (a, b) = (modality.apply(low), modality.apply(high));
            (a.min(b), a.max(b))
        }
    }
}

impl Voi {
    /// 0 (black) to 1 (white); beyond is clamped by the cast to a level.
    fn apply(&self, value: f64, (low, high): (f64, f64)) -> f64 {
        match self {
            // Never 0: a slope has a least magnitude, a table's top is its bits'.
            Voi::FullRange => (value - low) / (high - low),
            Voi::Table(table) => table.entry(value) / table.max(),
            Voi::Window {
                center,
                width,
                function,
            } => function.apply(value, *center, *width),
        }
    }
}

impl Function {
    fn apply(self, value: f64, center: f64, width: f64) -> f64 {
        match self {
            Function::Linear if width == 1.0 => f64::from(u8::from(value > center - 0.5)),
            Function::Linear => (value - (center - 0.5)) / (width - 1.0) + 0.5,
            Function::LinearExact => (value - center) / width + 0.5,
            Function::Sigmoid => 1.0 / (1.0 + (-4.0 * (value - center) / width).exp()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::description::Colour;
    use super::*;

    fn description(bits_stored: u16, signed: bool, modality: Modality, voi: Voi) -> Description {
        Description {
            rows: 1,
            columns: 1,
            pixels: 1,
            colour: Colour::Gray { inverted: false },
            sample: Sample {
                bytes: 2,
                bits_stored,
                signed,
            },
            modality,
            voi,
        }
    }

    const IDENTITY: Modality = Modality::Rescale {
        slope: 1.0,
        intercept: 0.0,
    };

    fn window(center: f64, width: f64, function: Function) -> Voi {
        Voi::Window {
            center,
            width,
            function,
        }
    }

    #[test]
    fn eight_stored_bits_at_full_range_are_the_gray_levels() {
        let levels = levels(&description(8, false, IDENTITY, Voi::FullRange), false);
        assert_eq!(levels, (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn the_lowest_value_of_monochrome1_is_white() {
        let levels = levels(&description(8, false, IDENTITY, Voi::FullRange), true);
        assert_eq!(levels, (0..=255).rev().collect::<Vec<u8>>());
    }

    #[test]
    fn signed_patterns_are_ordered_by_value() {
        let levels = levels(&description(12, true, IDENTITY, Voi::FullRange), false);
        assert_eq!(
            (levels[0x800], levels[0xFFF], levels[0], levels[0x7FF]),
            (0, 127, 128, 255)
        );
    }

    #[test]
    fn a_window_over_the_whole_range_equals_the_full_range() {
        let full = levels(&description(12, false, IDENTITY, Voi::FullRange), false);
        let voi = window(2048.0, 4096.0, Function::Linear);
        assert_eq!(levels(&description(12, false, IDENTITY, voi), false), full);
    }

    /// The example of PS3.3 §C.11.2.1.2.1: centre 2048, width 4096 map 0 to the
    /// lowest and 4095 to the highest; and 0/100: -50 black, 49 white.
    #[test]
    fn linear_windows_have_their_ends_where_the_standard_puts_them() {
        let voi = window(0.0, 100.0, Function::Linear);
        let levels = levels(&description(12, true, IDENTITY, voi), false);
        let at = |value: i32| levels[(value & 0xFFF) as usize];
        assert_eq!((at(-50), at(-51), at(49), at(50)), (0, 0, 255, 255));
        assert!(at(-48) > 0 && at(47) < 255);
    }

    #[test]
    fn a_window_of_width_one_is_a_threshold() {
        let voi = window(10.0, 1.0, Function::Linear);
        let levels = levels(&description(8, false, IDENTITY, voi), false);
        assert_eq!((levels[9], levels[10]), (0, 255));
    }

    #[test]
    fn the_other_functions_are_half_way_at_the_center() {
        for function in [Function::LinearExact, Function::Sigmoid] {
            let voi = window(100.0, 50.0, function);
            let levels = levels(&description(8, false, IDENTITY, voi), false);
            assert_eq!(levels[100], 128, "{function:?}");
            assert!(levels.is_sorted(), "{function:?}");
        }
    }

    #[test]
    fn a_window_applies_to_rescaled_values() {
        let modality = Modality::Rescale {
            slope: 2.0,
            intercept: -1024.0,
        };
        let voi = window(0.5, 2048.0, Function::LinearExact);
        let levels = levels(&description(12, false, modality, voi), false);
        assert_eq!((levels[0], levels[512], levels[1024]), (0, 127, 255));
    }

    #[test]
    fn a_negative_slope_shows_high_stored_values_dark() {
        let modality = Modality::Rescale {
            slope: -1.0,
            intercept: 255.0,
        };
        let levels = levels(&description(8, false, modality, Voi::FullRange), false);
        assert_eq!((levels[0], levels[255]), (255, 0));
    }

    #[test]
    fn tables_extend_their_end_values_outward() {
        let table = Table {
            first: 100,
            bits: 8,
            entries: vec![10, 20, 250],
        };
        let levels = levels(&description(8, false, IDENTITY, Voi::Table(table)), false);
        assert_eq!(
            (levels[0], levels[100], levels[101], levels[102]),
            (10, 10, 20, 250)
        );
        assert_eq!(levels[255], 250);
    }
}

//! JPEG-LS, lossless and near-lossless, of one component.
//!
//! Source of truth: ITU-T T.87 (annex A for the coding, annex C for the marker
//! segments). Written here because the only decoder for dicom-rs is C++.
//! Compared on the corpus with the same images in other encodings.
//!
//! Not modelled, and refused: colour, restart intervals, mapping tables, point
//! transform, sizes beyond 65,535.

use super::DicomError;
use super::description::Description;

/// Decodes one frame to little-endian samples of `description.sample.bytes`.
pub(super) fn decode(frame: &[u8], description: &Description) -> Result<Vec<u8>, DicomError> {
    let (header, data) = Header::read(frame).ok_or(DicomError::Codestream)?;
    let sample_bits = 8 * description.sample.bytes;
    if (header.rows, header.columns) != (description.rows, description.columns)
        || description.colour.samples() != 1
        || u16::from(header.precision) > sample_bits
    {
        return Err(DicomError::CodestreamDiffers);
    }
    // A run of 2^15 pixels takes a bit at best: what the data cannot fill is
    // refused before the image is allocated.
    if description.pixels / (1 << 15) > 8 * data.len() {
        return Err(DicomError::Codestream);
    }
    let samples = Decoder::new(&header, data).run(&header)?;
    Ok(match description.sample.bytes {
        // The precision is 8 bits at most.
        1 => samples.iter().map(|&sample| sample as u8).collect(),
        _ => samples
            .iter()
            .flat_map(|sample| sample.to_le_bytes())
            .collect(),
    })
}

struct Header {
    precision: u8,
    rows: u16,
    columns: u16,
    max: i32,
    thresholds: [i32; 3],
    reset: i32,
    near: i32,
}

impl Header {
    /// Reads up to the start of the scan's data.
    fn read(frame: &[u8]) -> Option<(Header, &[u8])> {
        let mut rest = frame.strip_prefix(&[0xFF, 0xD8])?;
        let mut size = None;
        let mut preset = [0; 5];
        loop {
            let ([0xFF, marker, l0, l1], after) = rest.split_first_chunk()? else {
                return None;
            };
            let length = usize::from(u16::from_be_bytes([*l0, *l1])).checked_sub(2)?;
            let (segment, after) = after.split_at_checked(length)?;
            rest = after;
            match (marker, segment) {
                (0xF7, &[precision, r0, r1, c0, c1, 1, _, _, _]) if size.is_none() => {
                    let pair = |a, b| u16::from_be_bytes([a, b]);
                    size = Some((precision, pair(r0, r1), pair(c0, c1)));
                }
                (0xF7, _) => return None,
                // Preset coding parameters; the other kinds of LSE are refused.
                (0xF8, [1, values @ ..]) if values.len() == 10 => {
                    for (slot, value) in preset.iter_mut().zip(values.as_chunks().0) {
                        *slot = i32::from(u16::from_be_bytes(*value));
                    }
                }
                (0xF8 | 0xDD, _) => return None,
                (0xDA, &[1, _, 0, near, 0, 0]) => {
                    let (precision, rows, columns) = size?;
                    return Header::new(precision, rows, columns, preset, near.into())
                        .map(|header| (header, rest));
                }
                (0xDA, _) => return None,
                (0xE0..=0xEF | 0xFE, _) => {}
                _ => return None,
            }
        }
    }

    /// Fills in the defaults of T.87 §C.2.4.1.1 for parameters that are 0.
    fn new(
        precision: u8,
        rows: u16,
        columns: u16,
        [max, t1, t2, t3, reset]: [i32; 5],
        near: i32,
    ) -> Option<Header> {
        if !(2..=16).contains(&precision) {
            return None;
        }
        let highest = (1 << precision) - 1;
        let max = if max == 0 { highest } else { max };
        if !(1..=highest).contains(&max) || near > 255.min(max / 2) {
            return None;
        }
        let basis = if max >= 128 {
            let factor = (max.min(4095) + 128) / 256;
            [factor + 2, 4 * factor + 3, 17 * factor + 4]
        } else {
            let factor = 256 / (max + 1);
            [2.max(3 / factor), 3.max(7 / factor), 4.max(21 / factor)]
        };
        let mut thresholds = [t1, t2, t3];
        let mut least = near + 1;
        for ((threshold, basis), weight) in thresholds.iter_mut().zip(basis).zip([3, 5, 7]) {
            if *threshold == 0 {
                let default = basis + weight * near;
                *threshold = if default > max {
                    least
                } else {
                    default.max(least)
                };
            }
            if !(least..=max).contains(threshold) {
                return None;
            }
            least = *threshold;
        }
        let reset = if reset == 0 { 64 } else { reset };
        if !(3..=255.max(max)).contains(&reset) {
            return None;
        }
        Some(Header {
            precision,
            rows,
            columns,
            max,
            thresholds,
            reset,
            near,
        })
    }
}

/// Run lengths are coded in blocks of 2^J, T.87 table A.2 (code segment A.3).
const J: [u32; 32] = [
    0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13,
    14, 15,
];

/// Statistics of a context: 365 regular ones, and two of run interruptions.
#[derive(Clone, Copy)]
struct Context {
    a: i64,
    /// Of run interruptions: the number of negative errors (T.87's Nn).
    b: i32,
    c: i32,
    n: i32,
}

struct Decoder<'a> {
    bits: Bits<'a>,
    near: i32,
    max: i32,
    range: i32,
    reset: i32,
    /// Bits of an escaped error.
    error_bits: u32,
    /// Longest code.
    limit: u32,
    thresholds: [i32; 3],
    regular: [Context; 365],
    interrupted: [Context; 2],
    run_index: usize,
}

impl<'a> Decoder<'a> {
    /// T.87 §A.2.1.
    fn new(header: &Header, data: &'a [u8]) -> Decoder<'a> {
        let &Header {
            max,
            near,
            thresholds,
            reset,
            ..
        } = header;
        let range = (max + 2 * near) / (2 * near + 1) + 1;
        let bits_of = |values: i32| 32 - (values - 1).leading_zeros();
        let sample_bits = bits_of(max + 1).max(2);
        let start = Context {
            a: i64::from(2.max((range + 32) / 64)),
            b: 0,
            c: 0,
            n: 1,
        };
        Decoder {
            bits: Bits {
                data,
                at: 0,
                window: 0,
                count: 0,
                stuffed: false,
            },
            near,
            max,
            range,
            reset,
            error_bits: bits_of(range),
            limit: 2 * (sample_bits + sample_bits.max(8)),
            thresholds,
            regular: [start; 365],
            interrupted: [start; 2],
            run_index: 0,
        }
    }

    fn run(&mut self, header: &Header) -> Result<Vec<u16>, DicomError> {
        let width = usize::from(header.columns);
        let mut image = Vec::with_capacity(width * usize::from(header.rows));
        // One sample of margin on each side: [0] is left of the line, [width + 1]
        // right of it.
        let mut above = vec![0i32; width + 2];
        let mut line = vec![0i32; width + 2];
        for _ in 0..header.rows {
            self.line(&mut line, &mut above)
                .ok_or(DicomError::Codestream)?;
            // No sample is below 0 or above 65,535.
            image.extend(line.iter().skip(1).take(width).map(|&sample| sample as u16));
            std::mem::swap(&mut line, &mut above);
        }
        Ok(image)
    }

    /// Decodes a line; `None` when the data ends or contradicts itself.
    fn line(&mut self, line: &mut [i32], above: &mut [i32]) -> Option<()> {
        let width = line.len().checked_sub(2)?;
        // T.87 §A.2.1, figure A.1: the sample left of a line is the one above its
        // first, the sample right of a line is its last.
        *above.get_mut(width + 1)? = *above.get(width)?;
        *line.get_mut(0)? = *above.get(1)?;
        let mut x = 1;
        while x <= width {
            let a = *line.get(x - 1)?;
            let &[c, b, d] = above.get(x - 1..)?.first_chunk()?;
            let gradients = [d - b, b - c, c - a];
            if gradients.iter().all(|gradient| gradient.abs() <= self.near) {
                let run = self.run_length(width + 1 - x)?;
                line.get_mut(x..x + run)?.fill(a);
                x += run;
                if x <= width {
                    let above = *above.get(x)?;
                    *line.get_mut(x)? = self.interruption(a, above)?;
                    self.run_index = self.run_index.saturating_sub(1);
                    x += 1;
                }
            } else {
                *line.get_mut(x)? = self.sample(gradients, a, b, c)?;
                x += 1;
            }
        }
        Some(())
    }

    /// T.87 §A.3 to §A.6: one sample in regular mode.
    fn sample(&mut self, gradients: [i32; 3], a: i32, b: i32, c: i32) -> Option<i32> {
        let [q1, q2, q3] = gradients.map(|gradient| self.quantise(gradient));
        let index = 81 * q1 + 9 * q2 + q3;
        // Mirrored contexts are one: the first of q that is not 0 is positive.
        let sign = if index < 0 { -1 } else { 1 };
        let index = index.unsigned_abs() as usize;
        let mut context = *self.regular.get(index)?;
        let predicted = if c >= a.max(b) {
            a.min(b)
        } else if c <= a.min(b) {
            a.max(b)
        } else {
            a + b - c
        };
        let predicted = (predicted + sign * context.c).clamp(0, self.max);
        let k = golomb_parameter(context.n, context.a);
        let mapped = self.mapped_error(k, self.limit)?;
        // Even for errors from 0 up, odd for those below, unless the bias says
        // the opposite (§A.5.2).
        let flipped = self.near == 0 && k == 0 && 2 * context.b <= -context.n;
        let half = (mapped >> 1).cast_signed();
        let error = if (mapped & 1 == 1) != flipped {
            -half - 1
        } else {
            half
        };
        context.update(error, self.near, self.reset);
        *self.regular.get_mut(index)? = context;
        Some(self.reconstruct(predicted, sign * error))
    }

    fn quantise(&self, gradient: i32) -> i32 {
        let [t1, t2, t3] = self.thresholds;
        let size = match gradient.abs() {
            size if size <= self.near => 0,
            size if size < t1 => 1,
            size if size < t2 => 2,
            size if size < t3 => 3,
            _ => 4,
        };
        size * gradient.signum()
    }

    /// T.87 §A.7.1: how many of the `left` samples of the line repeat.
    fn run_length(&mut self, left: usize) -> Option<usize> {
        let mut run = 0;
        while run < left {
            let exponent = *J.get(self.run_index)?;
            if self.bits.take(1)? == 1 {
                let block = 1 << exponent;
                if block <= left - run {
                    self.run_index = (self.run_index + 1).min(J.len() - 1);
                }
                run += block.min(left - run);
            } else {
                run += self.bits.take(exponent)? as usize;
                // The interrupting sample is within the line.
                return (run < left).then_some(run);
            }
        }
        Some(run)
    }

    /// T.87 §A.7.2: the sample that ends a run before the line does.
    fn interruption(&mut self, a: i32, b: i32) -> Option<i32> {
        let alike = (a - b).abs() <= self.near;
        let kind = u32::from(alike);
        let mut context = *self.interrupted.get(kind as usize)?;
        let (predicted, sign) = match (alike, a > b) {
            (true, _) => (a, 1),
            (false, true) => (b, -1),
            (false, false) => (b, 1),
        };
        let magnitude = context.a + if alike { i64::from(context.n >> 1) } else { 0 };
        let k = golomb_parameter(context.n, magnitude);
        let limit = self.limit.checked_sub(*J.get(self.run_index)? + 1)?;
        let mapped = self.mapped_error(k, limit)?;
        let doubled = mapped + kind;
        let odd = doubled & 1 == 1;
        let size = doubled.div_ceil(2).cast_signed();
        let mostly_negative = k != 0 || 2 * context.b >= context.n;
        let error = if mostly_negative == odd { -size } else { size };
        if error < 0 {
            context.b += 1;
        }
        context.a += i64::from((mapped + 1 - kind) >> 1);
        if context.n == self.reset {
            context.a >>= 1;
            context.b >>= 1;
            context.n >>= 1;
        }
        context.n += 1;
        *self.interrupted.get_mut(kind as usize)? = context;
        Some(self.reconstruct(predicted, sign * error))
    }

    /// A coded error; a real one is below the range, doubled for its sign.
    fn mapped_error(&mut self, k: u32, limit: u32) -> Option<u32> {
        let mapped = self.bits.golomb(k, limit, self.error_bits)?;
        (mapped <= 2 * self.range.unsigned_abs()).then_some(mapped)
    }

    /// T.87 §A.4.4 and §A.4.5, backwards: errors are modulo the range.
    fn reconstruct(&self, predicted: i32, error: i32) -> i32 {
        let step = 2 * self.near + 1;
        let mut sample = predicted + error * step;
        if sample < -self.near {
            sample += self.range * step;
        } else if sample > self.max + self.near {
            sample -= self.range * step;
        }
        sample.clamp(0, self.max)
    }
}

impl Context {
    /// T.87 §A.6.
    fn update(&mut self, error: i32, near: i32, reset: i32) {
        self.b += error * (2 * near + 1);
        self.a += i64::from(error.abs());
        if self.n == reset {
            self.a >>= 1;
            self.b >>= 1;
            self.n >>= 1;
        }
        self.n += 1;
        if self.b <= -self.n {
            self.b = (self.b + self.n).max(1 - self.n);
            self.c = (self.c - 1).max(-128);
        } else if self.b > 0 {
            self.b = (self.b - self.n).min(0);
            self.c = (self.c + 1).min(127);
        }
    }
}

/// The least k with `n << k` ≥ `a`, T.87 §A.5.1.
fn golomb_parameter(n: i32, a: i64) -> u32 {
    let n = i64::from(n);
    // No error is larger than 2^17, so neither is a ÷ n.
    (0..24).find(|&k| n << k >= a).unwrap_or(24)
}

/// Bits of a scan: the byte behind an FF has seven (T.87 §A.1).
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The next bits, left-aligned.
    window: u64,
    count: u32,
    /// The byte before was FF.
    stuffed: bool,
}

impl Bits<'_> {
    fn refill(&mut self) {
        while self.count <= 56 {
            let Some(&byte) = self.data.get(self.at) else {
                return;
            };
            let width = if self.stuffed { 7 } else { 8 };
            if self.stuffed && byte >= 0x80 {
                // A marker: the scan is over.
                return;
            }
            self.window |= u64::from(byte) << (64 - width - self.count);
            self.count += width;
            self.stuffed = byte == 0xFF;
            self.at += 1;
        }
    }

    /// Up to 24 bits.
    fn take(&mut self, count: u32) -> Option<u32> {
        if self.count < count {
            self.refill();
        }
        self.count = self.count.checked_sub(count)?;
        // Shifting by 64 is not a shift.
        let value = if count == 0 {
            0
        } else {
            self.window >> (64 - count)
        };
        self.window <<= count;
        Some(value as u32)
    }

    /// A Golomb code of limited length, T.87 §A.5.3.
    fn golomb(&mut self, k: u32, limit: u32, escape_bits: u32) -> Option<u32> {
        let longest = limit.checked_sub(escape_bits + 1)?;
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
            if zeros > longest {
                return None;
            }
        }
        if zeros < longest {
            Some((zeros << k) + self.take(k)?)
        } else {
            Some(self.take(escape_bits)? + 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::description::{Colour, Modality, Sample, Voi};
    use super::*;
    use proptest::prelude::*;

    /// The worked example of T.87 §H.3: four by four samples of 8 bits.
    const EXAMPLE: [u8; 59] = [
        0xFF, 0xD8, 0xFF, 0xF7, 0x00, 0x0B, 0x08, 0x00, 0x04, 0x00, 0x04, 0x01, 0x01, 0x11, 0x00,
        0xFF, 0xDA, 0x00, 0x08, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0xC0, 0x00, 0x00, 0x6C, 0x80,
        0x20, 0x8E, 0x01, 0xC0, 0x00, 0x00, 0x57, 0x40, 0x00, 0x00, 0x6E, 0xE6, 0x00, 0x00, 0x01,
        0xBC, 0x18, 0x00, 0x00, 0x05, 0xD8, 0x00, 0x00, 0x91, 0x60, 0xFF, 0xD9, 0x00, 0x00,
    ];

    fn four_by_four(bytes: u16) -> Description {
        Description {
            rows: 4,
            columns: 4,
            pixels: 16,
            colour: Colour::Gray { inverted: false },
            sample: Sample {
                bytes,
                bits_stored: 8,
                signed: false,
            },
            modality: Modality::Rescale {
                slope: 1.0,
                intercept: 0.0,
            },
            voi: Voi::FullRange,
        }
    }

    #[test]
    fn decodes_the_example_of_the_standard() {
        let samples = decode(&EXAMPLE, &four_by_four(1)).unwrap();
        assert_eq!(
            samples,
            [
                0, 0, 90, 74, 68, 50, 43, 205, 64, 145, 145, 145, 100, 145, 145, 145
            ]
        );
        let wide = decode(&EXAMPLE, &four_by_four(2)).unwrap();
        assert_eq!(wide.len(), 32);
        assert!(wide.iter().step_by(2).eq(&samples));
    }

    #[test]
    fn refuses_every_cut_of_the_example() {
        // The last two bytes before the marker hold less than a sample.
        for length in 0..53 {
            assert!(
                decode(&EXAMPLE[..length], &four_by_four(1)).is_err(),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn refuses_another_size_than_the_data_set_declares() {
        let mut description = four_by_four(1);
        description.rows = 5;
        assert!(matches!(
            decode(&EXAMPLE, &description),
            Err(DicomError::CodestreamDiffers)
        ));
    }

    #[test]
    fn refuses_components_restarts_and_parameters_that_are_not_decoded() {
        for (at, value) in [
            (11, 3),
            (3, 0xC0),
            (6, 17),
            (6, 1),
            (22, 200),
            (23, 1),
            (24, 1),
        ] {
            let mut bytes = EXAMPLE;
            bytes[at] = value;
            assert!(decode(&bytes, &four_by_four(1)).is_err(), "{value} at {at}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_on_any_scan(
            precision in 2u8..=16,
            near in 0u8..4,
            preset in prop::option::of(prop::array::uniform10(any::<u8>())),
            data in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut bytes = EXAMPLE[..25].to_vec();
            bytes[6] = precision;
            bytes[22] = near;
            if let Some(preset) = preset {
                let segment = [&[0xFF, 0xF8, 0, 13, 1][..], &preset].concat();
                bytes.splice(15..15, segment);
            }
            bytes.extend_from_slice(&data);
            if let Ok(samples) = decode(&bytes, &four_by_four(2)) {
                let (words, _) = samples.as_chunks::<2>();
                let most = words.iter().map(|word| u16::from_le_bytes(*word)).max();
                prop_assert!(u32::from(most.unwrap()) < 1 << precision);
            }
        }
    }
}

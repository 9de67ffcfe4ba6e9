//! The model's input: antialiased bilinear squash to 128×128, then ÷255.
//!
//! Source of truth: the model card ("squash to 128x128, antialiased bilinear
//! (PIL BILINEAR)"), so this follows Pillow's 8-bit resampler step by step:
//! triangle filter widened by the scale, weights normalised in `f64` and rounded
//! to 22-bit fixed point, a horizontal pass rounded to 8 bits, then a vertical
//! one. Measured against Pillow 13.0 it is equal in every pixel; the resampler of
//! `fast_image_resize` 6.1 differs by one level in a tenth of them.
//!
//! Not modelled: other filters, other sizes, more than one channel.

use std::fmt;

use super::GrayImage;

/// Width and height of the model's input.
pub const SIDE: usize = 128;

/// Bits after the point of a weight, Pillow's `PRECISION_BITS` (32 - 8 - 2).
const WEIGHT_BITS: u32 = 22;

/// The model's input: [`SIDE`]×[`SIDE`] values from 0 (black) to 1 (white), top
/// row first.
#[derive(Clone, PartialEq)]
pub struct Tensor(Box<[f32]>);

impl Tensor {
    /// The input that [`SIDE`]×[`SIDE`] gray levels make; `None` for another number.
    #[must_use]
    pub fn from_levels(levels: &[u8]) -> Option<Self> {
        (levels.len() == SIDE * SIDE).then(|| {
            Self(
                levels
                    .iter()
                    .map(|&level| f32::from(level) / 255.0)
                    .collect(),
            )
        })
    }

    /// The gray levels that the values were made of.
    #[must_use]
    pub fn levels(&self) -> Vec<u8> {
        // Every value is a level by 255, so rounding finds it again.
        self.0
            .iter()
            .map(|value| (value * 255.0).round() as u8)
            .collect()
    }

    /// The values, row by row.
    pub fn values(&self) -> &[f32] {
        &self.0
    }
}

/// Without the values: they are a patient's.
impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tensor[1, 1, 128, 128]")
    }
}

/// Squashes an image to the model's input, whatever its proportions.
///
/// An image whose `pixels` are fewer than `width` × `height` counts as black
/// where they are missing; [`super::decode`] makes none.
pub fn preprocess(image: &GrayImage) -> Tensor {
    let small = squash(&image.pixels, image.width as usize, image.height as usize);
    Tensor::from_levels(&small).expect("as many levels as the model wants")
}

/// [`SIDE`]×[`SIDE`] 8-bit pixels.
///
/// Rows first, then columns. A pass that changes no size is an identity in this
/// arithmetic (one weight of exactly 1), as in Pillow, which leaves it out.
fn squash(pixels: &[u8], width: usize, height: usize) -> Vec<u8> {
    let columns = weights(width);
    let mut narrow = vec![0; SIDE * height];
    for (row, out) in pixels
        .chunks_exact(width.max(1))
        .zip(narrow.chunks_exact_mut(SIDE))
    {
        for (taps, out) in columns.iter().zip(out) {
            let levels = row.get(taps.start..).unwrap_or_default();
            let sum = levels
                .iter()
                .zip(&taps.weights)
                .map(|(&level, &weight)| i64::from(level) * i64::from(weight));
            *out = round(sum.sum());
        }
    }
    let mut small = Vec::with_capacity(SIDE * SIDE);
    for taps in weights(height) {
        let mut sums = [0i64; SIDE];
        let rows = narrow.chunks_exact(SIDE).skip(taps.start);
        for (row, &weight) in rows.zip(&taps.weights) {
            for (sum, &level) in sums.iter_mut().zip(row) {
                *sum += i64::from(level) * i64::from(weight);
            }
        }
        small.extend(sums.map(round));
    }
    small
}

/// From fixed point to the nearest level.
fn round(sum: i64) -> u8 {
    ((sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS).clamp(0, 255) as u8
}

/// The weights of one output pixel: from which input pixel on, how much of each.
struct Taps {
    start: usize,
    weights: Vec<i32>,
}

/// Pillow's `precompute_coeffs` for the triangle filter, and `normalize_coeffs_8bpc`.
fn weights(length: usize) -> Vec<Taps> {
    let scale = length as f64 / SIDE as f64;
    let support = scale.max(1.0);
    (0..SIDE)
        .map(|out| {
            let center = (out as f64 + 0.5) * scale;
            // Both are in 0..=length: truncation toward zero is Pillow's too.
            let start = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(length);
            let raw: Vec<f64> = (start..end)
                .map(|x| {
                    let distance = (x as f64 - center + 0.5) * (1.0 / support);
                    (1.0 - distance.abs()).max(0.0)
                })
                .collect();
            let total: f64 = raw.iter().sum();
            let unit = f64::from(1 << WEIGHT_BITS);
            let weights = raw
                .iter()
                .map(|weight| {
                    let share = if total == 0.0 {
                        *weight
                    } else {
                        weight / total
                    };
                    // No weight of a triangle is negative: adding a half rounds.
                    (0.5 + share * unit) as i32
                })
                .collect();
            Taps { start, weights }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::ImageFormat;
    use super::*;

    fn gray(width: u32, height: u32, pixels: Vec<u8>) -> GrayImage {
        GrayImage {
            width,
            height,
            pixels,
            format: ImageFormat::Png,
        }
    }

    #[test]
    fn an_image_of_the_right_size_passes_unchanged() {
        let pixels: Vec<u8> = (0..SIDE * SIDE).map(|i| (i * 7 % 256) as u8).collect();
        assert_eq!(squash(&pixels, SIDE, SIDE), pixels);
    }

    #[test]
    fn a_flat_image_stays_flat_at_any_size() {
        for (width, height) in [(1, 1), (3, 500), (500, 3), (127, 129), (300, 128)] {
            for level in [0, 1, 127, 255] {
                let small = squash(&vec![level; width * height], width, height);
                assert!(
                    small.iter().all(|&out| out == level),
                    "{width}x{height} at {level}"
                );
            }
        }
    }

    #[test]
    fn white_is_one_and_black_is_zero() {
        let tensor = preprocess(&gray(2, 1, vec![0, 255]));
        assert_eq!(tensor.values().len(), SIDE * SIDE);
        assert_eq!(tensor.values().first(), Some(&0.0));
        assert_eq!(tensor.values().last(), Some(&1.0));
    }

    #[test]
    fn missing_pixels_are_black_and_no_panic() {
        let tensor = preprocess(&gray(100, 100, vec![255; 10]));
        assert_eq!(tensor.values().last(), Some(&0.0));
    }

    /// Made by Pillow 13.0: `Image.frombytes("L", (5, 3), bytes(range(0, 150, 10)))
    /// .resize((128, 128), Image.BILINEAR)`, every 16th pixel of every 32nd row.
    #[test]
    fn equals_pillow_when_enlarging() {
        let pixels: Vec<u8> = (0..15).map(|i| i * 10).collect();
        let small = squash(&pixels, 5, 3);
        let sample: Vec<u8> = (0..4)
            .flat_map(|row| (0..8).map(move |column| row * 32 * SIDE + column * 16))
            .filter_map(|at| small.get(at).copied())
            .collect();
        assert_eq!(sample, PILLOW_ENLARGED);
    }

    /// Made by Pillow 13.0 from 300×200 pixels of `(x * 31 + y * 17) % 256`.
    #[test]
    fn equals_pillow_when_reducing() {
        let pixels: Vec<u8> = (0..200u32)
            .flat_map(|y| (0..300u32).map(move |x| ((x * 31 + y * 17) % 256) as u8))
            .collect();
        let small = squash(&pixels, 300, 200);
        let sample: Vec<u8> = (0..4)
            .flat_map(|row| (0..8).map(move |column| row * 32 * SIDE + column * 16))
            .filter_map(|at| small.get(at).copied())
            .collect();
        assert_eq!(sample, PILLOW_REDUCED);
    }

    const PILLOW_ENLARGED: [u8; 32] = [
        0, 1, 8, 14, 20, 26, 33, 39, 13, 14, 21, 27, 33, 39, 46, 52, 51, 52, 59, 65, 71, 77, 84,
        90, 88, 89, 96, 102, 108, 114, 121, 127,
    ];
    const PILLOW_REDUCED: [u8; 32] = [
        34, 167, 67, 188, 69, 185, 90, 178, 113, 160, 127, 85, 148, 75, 169, 67, 194, 73, 191, 93,
        187, 114, 117, 135, 80, 154, 76, 175, 60, 188, 77, 196,
    ];
}

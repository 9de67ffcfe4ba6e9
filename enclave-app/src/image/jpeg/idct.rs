//! The inverse DCT of the Independent JPEG Group, bit for bit.
//!
//! T.81 leaves the rounding of the inverse transform open, and decoders differ
//! by one level in about one pixel of two hundred. The network was trained and
//! its expected answers computed on libjpeg's rounding ("islow", Loeffler,
//! Ligtenberg and Moschytz 1989 in 13-bit fixed point), and one level in one
//! pixel of two hundred moves its probabilities by up to 2e-3: so that rounding
//! is part of the model's input, like the resize.
//!
//! Not modelled: scaled output, 12-bit samples.

/// Bits after the point of the constants and, between the passes, of the values.
const CONST_BITS: u32 = 13;
const PASS1_BITS: u32 = 2;

// cos and sin combinations of the algorithm × 2^13, rounded.
const F_0_298631336: i64 = 2_446;
const F_0_390180644: i64 = 3_196;
const F_0_541196100: i64 = 4_433;
const F_0_765366865: i64 = 6_270;
const F_0_899976223: i64 = 7_373;
const F_1_175875602: i64 = 9_633;
const F_1_501321110: i64 = 12_299;
const F_1_847759065: i64 = 15_137;
const F_1_961570560: i64 = 16_069;
const F_2_053119869: i64 = 16_819;
const F_2_562915447: i64 = 20_995;
const F_3_072711026: i64 = 25_172;

/// Eight by eight values in natural order, row by row.
pub(super) type Block<T> = [[T; 8]; 8];

/// Samples of one block from its dequantised coefficients.
///
/// Coefficients are 16 bits times 16 bits at most, so nothing overflows an `i64`.
pub(super) fn inverse(coefficients: &Block<i64>) -> Block<u8> {
    let mut columns = transpose(coefficients);
    for column in &mut columns {
        *column = pass(column).map(|value| descale(value, CONST_BITS - PASS1_BITS));
    }
    transpose(&columns).map(|row| {
        pass(&row).map(|value| {
            let sample = descale(value, CONST_BITS + PASS1_BITS + 3) + 128;
            sample.clamp(0, 255) as u8
        })
    })
}

fn transpose(block: &Block<i64>) -> Block<i64> {
    let mut out = [[0; 8]; 8];
    for (y, row) in block.iter().enumerate() {
        for (out, value) in out.iter_mut().zip(row) {
            out[y] = *value;
        }
    }
    out
}

fn descale(value: i64, bits: u32) -> i64 {
    (value + (1 << (bits - 1))) >> bits
}

/// One-dimensional transform of eight values, scaled by 2^13 · √8.
fn pass(input: &[i64; 8]) -> [i64; 8] {
    let &[i0, i1, i2, i3, i4, i5, i6, i7] = input;

    let z1 = (i2 + i6) * F_0_541196100;
    let even2 = z1 - i6 * F_1_847759065;
    let even3 = z1 + i2 * F_0_765366865;
    let even0 = (i0 + i4) << CONST_BITS;
    let even1 = (i0 - i4) << CONST_BITS;
    let (e0, e3) = (even0 + even3, even0 - even3);
    let (e1, e2) = (even1 + even2, even1 - even2);

    let z5 = (i7 + i3 + i5 + i1) * F_1_175875602;
    let z1 = -(i7 + i1) * F_0_899976223;
    let z2 = -(i5 + i3) * F_2_562915447;
    let z3 = z5 - (i7 + i3) * F_1_961570560;
    let z4 = z5 - (i5 + i1) * F_0_390180644;
    let o0 = i7 * F_0_298631336 + z1 + z3;
    let o1 = i5 * F_2_053119869 + z2 + z4;
    let o2 = i3 * F_3_072711026 + z2 + z3;
    let o3 = i1 * F_1_501321110 + z1 + z4;

    [
        e0 + o3,
        e1 + o2,
        e2 + o1,
        e3 + o0,
        e3 - o0,
        e2 - o1,
        e1 - o2,
        e0 - o3,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, T.81 §A.3.3.
    fn exact(coefficients: &Block<i64>) -> [[f64; 8]; 8] {
        let basis = |x: usize, u: usize| {
            let scale = if u == 0 { 0.125f64.sqrt() } else { 0.5 };
            scale * ((2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0).cos()
        };
        std::array::from_fn(|y| {
            std::array::from_fn(|x| {
                let mut sum = 128.0;
                for (v, row) in coefficients.iter().enumerate() {
                    for (u, &value) in row.iter().enumerate() {
                        sum += value as f64 * basis(x, u) * basis(y, v);
                    }
                }
                sum.clamp(0.0, 255.0)
            })
        })
    }

    #[test]
    fn a_lone_dc_coefficient_is_an_eighth_of_itself_everywhere() {
        let mut block = [[0; 8]; 8];
        for (dc, sample) in [
            (0, 128),
            (8, 129),
            (-8, 127),
            (4, 129),
            (-4, 128),
            (9000, 255),
        ] {
            block[0][0] = dc;
            assert_eq!(inverse(&block), [[sample; 8]; 8], "dc {dc}");
        }
    }

    #[test]
    fn stays_within_one_level_of_the_definition() {
        // A fixed linear congruential sequence: many blocks, always the same.
        let mut state = 1u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as i64
        };
        for _ in 0..200 {
            let mut block = [[0; 8]; 8];
            for _ in 0..next() % 20 {
                let (y, x) = ((next() % 8) as usize, (next() % 8) as usize);
                block[y][x] = next() % 400 - 200;
            }
            let (got, want) = (inverse(&block), exact(&block));
            for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
                assert!(
                    (f64::from(*got) - want).abs() < 1.0,
                    "{got} {want} {block:?}"
                );
            }
        }
    }
}

//! Scans: coefficients of the luma blocks out of entropy-coded segments.
//!
//! Source of truth: T.81 annexes F.2 (sequential) and G.2 (progressive). Only
//! luma is kept. Chroma in an interleaved scan is decoded to find where the next
//! luma block begins; a scan without luma is skipped to its closing marker.

use super::entropy::{Bits, Huffman};
use super::{Frame, JpegError};

/// Coefficients of a block in zigzag order.
pub(super) type Coefficients = [i16; 64];

/// One component of a scan, with the tables it selects.
pub(super) struct Selected<'t> {
    pub(super) luma: bool,
    /// Blocks in an MCU, across and down.
    pub(super) across: usize,
    pub(super) down: usize,
    pub(super) dc: Option<&'t Huffman>,
    pub(super) ac: Option<&'t Huffman>,
}

/// Spectral selection and successive approximation.
#[derive(Clone, Copy)]
pub(super) struct Band {
    pub(super) first: usize,
    pub(super) last: usize,
    /// Bit position of the scan before, 0 for a first one.
    pub(super) high: u32,
    /// Bit position of this scan.
    pub(super) low: u32,
}

/// Decodes a scan that holds luma; returns where its data ends.
pub(super) fn decode(
    frame: &mut Frame,
    components: &[Selected<'_>],
    band: Band,
    data: &[u8],
    at: usize,
    restart_interval: u32,
) -> Result<usize, JpegError> {
    let mut bits = Bits::new(data, at);
    let mut state = State {
        predictions: vec![0; components.len()],
        end_of_band_run: 0,
    };
    // Alone in its scan, a component is coded block by block, without the
    // padding blocks that complete an MCU.
    let alone = components.len() == 1;
    let (units_across, units_down) = if alone {
        (
            frame.width.div_ceil(8) as usize,
            frame.height.div_ceil(8) as usize,
        )
    } else {
        (frame.mcus_across, frame.mcus_down)
    };
    let mut units = 0u32;
    for unit_y in 0..units_down {
        for unit_x in 0..units_across {
            if restart_interval > 0 && units > 0 && units.is_multiple_of(restart_interval) {
                bits.restart(units / restart_interval - 1)?;
                state.predictions.fill(0);
                state.end_of_band_run = 0;
            }
            units += 1;
            for (index, component) in components.iter().enumerate() {
                let (across, down) = if alone {
                    (1, 1)
                } else {
                    (component.across, component.down)
                };
                for y in 0..down {
                    for x in 0..across {
                        let mut scratch = [0; 64];
                        let block = if component.luma {
                            let (x, y) = (unit_x * across + x, unit_y * down + y);
                            let at = y * frame.blocks_across + x;
                            frame.blocks.get_mut(at).ok_or(JpegError::Damaged)?
                        } else {
                            &mut scratch
                        };
                        if frame.progressive {
                            state.progressive(&mut bits, component, index, band, block)?;
                        } else {
                            state.sequential(&mut bits, component, index, block)?;
                        }
                    }
                }
            }
        }
    }
    Ok(bits.position())
}

struct State {
    /// DC prediction of each component of the scan.
    predictions: Vec<i32>,
    end_of_band_run: u32,
}

impl State {
    fn dc(
        &mut self,
        bits: &mut Bits<'_>,
        component: &Selected<'_>,
        index: usize,
    ) -> Result<i32, JpegError> {
        let size = bits.symbol(component.dc.ok_or(JpegError::Damaged)?)?;
        // T.81 table F.1: 11 bits at most for 8-bit samples.
        if size > 11 {
            return Err(JpegError::Damaged);
        }
        let difference = bits.number(size.into())?;
        let prediction = self.predictions.get_mut(index).ok_or(JpegError::Damaged)?;
        // Differences of 12 bits over 2^26 blocks could overflow; a real DC value
        // has 12 bits itself.
        *prediction = (*prediction + difference).clamp(-(1 << 14), 1 << 14);
        Ok(*prediction)
    }

    fn sequential(
        &mut self,
        bits: &mut Bits<'_>,
        component: &Selected<'_>,
        index: usize,
        block: &mut Coefficients,
    ) -> Result<(), JpegError> {
        let dc = self.dc(bits, component, index)?;
        put(block, 0, dc)?;
        let ac = component.ac.ok_or(JpegError::Damaged)?;
        let mut at = 1;
        while at < 64 {
            let symbol = bits.symbol(ac)?;
            let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            match (run, size) {
                (15, 0) => at += 16,
                (_, 0) => break,
                _ => {
                    at += run;
                    put(block, at, bits.number(size)?)?;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    fn progressive(
        &mut self,
        bits: &mut Bits<'_>,
        component: &Selected<'_>,
        index: usize,
        band: Band,
        block: &mut Coefficients,
    ) -> Result<(), JpegError> {
        match (band.first, band.high) {
            (0, 0) => {
                let dc = self.dc(bits, component, index)?;
                put(block, 0, dc << band.low)
            }
            (0, _) => {
                if bits.take(1)? == 1 {
                    block[0] |= 1 << band.low;
                }
                Ok(())
            }
            (_, 0) => self.ac_first(bits, component, band, block),
            _ => self.ac_refine(bits, component, band, block),
        }
    }

    fn ac_first(
        &mut self,
        bits: &mut Bits<'_>,
        component: &Selected<'_>,
        band: Band,
        block: &mut Coefficients,
    ) -> Result<(), JpegError> {
        if self.end_of_band_run > 0 {
            self.end_of_band_run -= 1;
            return Ok(());
        }
        let ac = component.ac.ok_or(JpegError::Damaged)?;
        let mut at = band.first;
        while at <= band.last {
            let symbol = bits.symbol(ac)?;
            let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            match (run, size) {
                (15, 0) => at += 16,
                (_, 0) => {
                    self.end_of_band_run = (1 << run) - 1 + bits.take(run)?;
                    break;
                }
                _ => {
                    at += run as usize;
                    if at > band.last {
                        return Err(JpegError::Damaged);
                    }
                    put(block, at, bits.number(size)? << band.low)?;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    /// T.81 §G.1.2.3: correction bits for coefficients that are not zero already,
    /// new ones of magnitude one in between.
    fn ac_refine(
        &mut self,
        bits: &mut Bits<'_>,
        component: &Selected<'_>,
        band: Band,
        block: &mut Coefficients,
    ) -> Result<(), JpegError> {
        let one = 1i16 << band.low;
        let mut rest = block
            .get_mut(band.first..=band.last)
            .ok_or(JpegError::Damaged)?
            .iter_mut();
        if self.end_of_band_run == 0 {
            let ac = component.ac.ok_or(JpegError::Damaged)?;
            while rest.len() > 0 {
                let symbol = bits.symbol(ac)?;
                let (run, size) = (u32::from(symbol >> 4), symbol & 15);
                let new = match (run, size) {
                    (15, 0) => 0,
                    (_, 0) => {
                        self.end_of_band_run = (1 << run) + bits.take(run)?;
                        break;
                    }
                    (_, 1) if bits.take(1)? == 1 => one,
                    (_, 1) => -one,
                    _ => return Err(JpegError::Damaged),
                };
                let mut zeros = run;
                for coefficient in rest.by_ref() {
                    if *coefficient != 0 {
                        correct(bits, coefficient, one)?;
                    } else if zeros == 0 {
                        *coefficient = new;
                        break;
                    } else {
                        zeros -= 1;
                    }
                }
            }
        }
        if self.end_of_band_run > 0 {
            self.end_of_band_run -= 1;
            for coefficient in rest {
                if *coefficient != 0 {
                    correct(bits, coefficient, one)?;
                }
            }
        }
        Ok(())
    }
}

/// One more bit of a coefficient that is not zero.
fn correct(bits: &mut Bits<'_>, coefficient: &mut i16, one: i16) -> Result<(), JpegError> {
    if bits.take(1)? == 1 && *coefficient & one == 0 {
        let step = if *coefficient > 0 { one } else { -one };
        *coefficient = coefficient.saturating_add(step);
    }
    Ok(())
}

fn put(block: &mut Coefficients, at: usize, value: i32) -> Result<(), JpegError> {
    let slot = block.get_mut(at).ok_or(JpegError::Damaged)?;
    *slot = i16::try_from(value).map_err(|_| JpegError::Damaged)?;
    Ok(())
}

//! Entropy-coded segments: bits between stuffed bytes, and Huffman codes.
//!
//! Source of truth: T.81 annexes C and F.2.2. Reading past the data is an error
//! and not, as in lenient decoders, a run of zeros: half an image must not be
//! analysed as a whole one. Not modelled: arithmetic coding.

use super::JpegError;

/// Bits decoded by one table look-up; longer codes are searched.
const LOOKUP_BITS: u32 = 9;

/// Bits of an entropy-coded segment, up to the next marker.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The next bits, left-aligned.
    window: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8], at: usize) -> Bits<'a> {
        Bits {
            data,
            at,
            window: 0,
            count: 0,
        }
    }

    /// Where the first byte not taken into the window is: a marker, once the
    /// segment is used up.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn refill(&mut self) {
        while self.count <= 56 {
            let byte = match self.data.get(self.at..) {
                Some([0xFF, 0, ..]) => {
                    self.at += 2;
                    0xFF
                }
                Some([byte, ..]) if *byte != 0xFF => {
                    self.at += 1;
                    *byte
                }
                // A marker, or the end.
                _ => return,
            };
            self.window |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    fn consume(&mut self, count: u32) -> Result<(), JpegError> {
        self.count = self.count.checked_sub(count).ok_or(JpegError::Truncated)?;
        self.window <<= count;
        Ok(())
    }

    /// The next `count` bits, 16 at most.
    pub(super) fn take(&mut self, count: u32) -> Result<u32, JpegError> {
        if count == 0 {
            return Ok(0);
        }
        if self.count < count {
            self.refill();
        }
        let value = (self.window >> (64 - count)) as u32;
        self.consume(count)?;
        Ok(value)
    }

    /// A number of `size` bits, T.81 §F.2.2.1 (EXTEND).
    pub(super) fn number(&mut self, size: u32) -> Result<i32, JpegError> {
        let value = self.take(size)?.cast_signed();
        let negative = size > 0 && value < 1 << (size - 1);
        Ok(if negative {
            value - (1 << size) + 1
        } else {
            value
        })
    }

    pub(super) fn symbol(&mut self, table: &Huffman) -> Result<u8, JpegError> {
        if self.count < 16 {
            self.refill();
        }
        let next = (self.window >> 48) as u16;
        let (length, symbol) = table.find(next).ok_or(JpegError::Damaged)?;
        self.consume(length)?;
        Ok(symbol)
    }

    /// Steps over the restart marker that must stand here, T.81 §F.2.2.5.
    pub(super) fn restart(&mut self, index: u32) -> Result<(), JpegError> {
        // Less than a byte of padding may be left.
        if self.count >= 8 {
            return Err(JpegError::Damaged);
        }
        let marker = 0xD0 + (index % 8) as u8;
        match self.data.get(self.at..) {
            Some([0xFF, found, ..]) if *found == marker => {
                *self = Bits::new(self.data, self.at + 2);
                Ok(())
            }
            _ => Err(JpegError::Damaged),
        }
    }
}

/// A Huffman table.
pub(super) struct Huffman {
    /// For each value of the next [`LOOKUP_BITS`]: length and symbol, or length 0.
    lookup: Vec<(u8, u8)>,
    /// For each length from 1: the codes of that length, left-aligned to 16 bits,
    /// end before this; and what to add to a code to get its symbol's index.
    ends: [(u32, i32); 16],
    symbols: Vec<u8>,
}

impl Huffman {
    /// From the number of codes of each length and the symbols in code order.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Huffman, JpegError> {
        let mut ends = [(0, 0); 16];
        let mut lookup = vec![(0, 0); 1 << LOOKUP_BITS];
        let mut code = 0u32;
        let mut index = 0usize;
        for ((length, &count), end) in (1u32..).zip(counts).zip(&mut ends) {
            let first = code;
            for symbol in symbols
                .get(index..index + usize::from(count))
                .ok_or(JpegError::Damaged)?
            {
                if length <= LOOKUP_BITS {
                    let free = LOOKUP_BITS - length;
                    let slots = (code << free) as usize..((code + 1) << free) as usize;
                    lookup
                        .get_mut(slots)
                        .ok_or(JpegError::Damaged)?
                        .fill((length as u8, *symbol));
                }
                code += 1;
            }
            // More codes than the length has room for.
            if code > 1 << length {
                return Err(JpegError::Damaged);
            }
            // 256 symbols and 65,536 codes at most: neither difference overflows.
            *end = (code << (16 - length), index as i32 - first as i32);
            index += usize::from(count);
            code <<= 1;
        }
        Ok(Huffman {
            lookup,
            ends,
            symbols: symbols.to_vec(),
        })
    }

    /// The code that the 16 bits `next` begin with: its length and symbol.
    fn find(&self, next: u16) -> Option<(u32, u8)> {
        let (length, symbol) = *self.lookup.get(usize::from(next >> (16 - LOOKUP_BITS)))?;
        if length > 0 {
            return Some((length.into(), symbol));
        }
        (1..=16)
            .zip(&self.ends)
            .skip(LOOKUP_BITS as usize)
            .find_map(|(length, &(end, offset))| {
                if u32::from(next) >= end {
                    return None;
                }
                let code = i32::from(next >> (16 - length));
                let symbol = self.symbols.get(usize::try_from(code + offset).ok()?)?;
                Some((length, *symbol))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_codes_are_found() {
        // 0, 10, 110 and, in twelve bits, 111000000000 and 111000000001.
        let mut counts = [0; 16];
        counts[..3].fill(1);
        counts[11] = 2;
        let table = Huffman::new(&counts, &[7, 8, 9, 10, 11]).unwrap();
        let data = [0b0101_1011, 0b1000_0000, 0b0011_1000, 0b0000_0111];
        let mut bits = Bits::new(&data, 0);
        let symbols: Vec<u8> = (0..5).map_while(|_| bits.symbol(&table).ok()).collect();
        assert_eq!(symbols, [7, 8, 9, 10, 11]);
    }

    #[test]
    fn refuses_a_code_that_the_table_does_not_have() {
        let mut counts = [0; 16];
        counts[1] = 1;
        let table = Huffman::new(&counts, &[7]).unwrap();
        let mut bits = Bits::new(&[0b0011_0000, 0, 0], 0);
        assert_eq!(bits.symbol(&table).unwrap(), 7);
        assert!(matches!(bits.symbol(&table), Err(JpegError::Damaged)));
    }

    #[test]
    fn stuffed_bytes_are_data_and_markers_end_the_data() {
        let mut bits = Bits::new(&[0xFF, 0x00, 0x12, 0xFF, 0xD9], 0);
        assert_eq!(bits.take(16).unwrap(), 0xFF12);
        assert!(matches!(bits.take(1), Err(JpegError::Truncated)));
        assert_eq!(bits.position(), 3);
    }

    #[test]
    fn numbers_extend_their_sign() {
        let mut bits = Bits::new(&[0b0101_1000], 0);
        assert_eq!(bits.number(0).unwrap(), 0);
        assert_eq!(bits.number(1).unwrap(), -1);
        assert_eq!(bits.number(1).unwrap(), 1);
        assert_eq!(bits.number(3).unwrap(), -4);
    }

    #[test]
    fn refuses_a_table_with_more_codes_than_bits_allow() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(Huffman::new(&counts, &[1, 2, 3]).is_err());
    }

    #[test]
    fn restart_markers_must_come_in_order() {
        let data = [0x7F, 0xFF, 0xD0, 0x80];
        let mut bits = Bits::new(&data, 0);
        bits.take(1).unwrap();
        bits.restart(0).unwrap();
        assert_eq!(bits.take(1).unwrap(), 1);
        let mut bits = Bits::new(&data, 0);
        bits.take(1).unwrap();
        assert!(bits.restart(1).is_err());
    }
}

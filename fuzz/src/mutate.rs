//! Changes of bytes that know nothing of a format, and two that know CBOR and
//! DER just enough to keep lengths right around what they change.

use crate::random::Random;

/// Bytes at the edges of what parsers tell apart.
const EDGES: [u8; 16] = [
    0, 1, 0x1f, 0x20, 0x22, 0x30, 0x5c, 0x7b, 0x7f, 0x80, 0x82, 0x84, 0x9f, 0xbf, 0xfe, 0xff,
];

/// One to four changes anywhere; `other` lends a piece now and then.
pub(crate) fn bytes(random: &mut Random, input: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=random.below(4) {
        one(random, input, other);
    }
}

fn one(random: &mut Random, input: &mut Vec<u8>, other: &[u8]) {
    // Heads are where formats decide; half of all changes go there.
    let reach = match random.below(4) {
        0 => input.len().min(64),
        1 => input.len().min(700),
        _ => input.len(),
    };
    let at = random.below(reach + 1).min(input.len());
    let longest = 1 << random.below(9);
    let len = (1 + random.below(longest)).min(input.len() - at);
    match random.below(12) {
        0 | 1 => {
            let bit = random.below(8);
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        2 => {
            let value = random.byte();
            if let Some(byte) = input.get_mut(at) {
                *byte = value;
            }
        }
        3 => {
            let value = EDGES[random.below(EDGES.len())];
            if let Some(byte) = input.get_mut(at) {
                *byte = value;
            }
        }
        4 => {
            let value = random.byte();
            input.insert(at, value);
        }
        5 => {
            input.drain(at..at + len);
        }
        6 => {
            let piece = input[at..at + len].to_vec();
            input.splice(at..at, piece);
        }
        7 => {
            let from = random.below(other.len() + 1);
            let until = (from + len).min(other.len());
            let end = (at + len).min(input.len());
            input.splice(at..end, other[from.min(until)..until].iter().copied());
        }
        8 if random.one_in(4) => input.truncate(at),
        8 | 9 => {
            // A big-endian number becomes its neighbour, or huge.
            let width = 1 << random.below(4);
            if let Some(number) = input.get_mut(at..at + width) {
                match random.below(4) {
                    0 => number.fill(0xff),
                    1 => number.fill(0),
                    2 => {
                        if let Some(last) = number.last_mut() {
                            *last = last.wrapping_add(1);
                        }
                    }
                    _ => number.reverse(),
                }
            }
        }
        10 => {
            let value = EDGES[random.below(EDGES.len())];
            input.splice(at..at, std::iter::repeat_n(value, len));
        }
        _ => {
            let to = random.below(input.len() + 1);
            if at < input.len() && to < input.len() {
                input.swap(at, to);
            }
        }
    }
}

/// Where a definite CBOR byte string of at least `least` bytes lies: start of its
/// head and its content.
pub(crate) fn byte_strings(input: &[u8], least: usize) -> Vec<(usize, std::ops::Range<usize>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < input.len() {
        let (head, len) = match (input[at], input.get(at + 1), input.get(at + 2)) {
            (0x58, Some(&len), _) => (2, usize::from(len)),
            (0x59, Some(&high), Some(&low)) => (3, usize::from(high) << 8 | usize::from(low)),
            _ => {
                at += 1;
                continue;
            }
        };
        let content = at + head..at + head + len;
        if len >= least && content.end <= input.len() {
            found.push((at, content));
        }
        at += 1;
    }
    found
}

/// `content` as a CBOR byte string.
pub(crate) fn byte_string(content: &[u8]) -> Vec<u8> {
    let mut string = match content.len() {
        len @ 0..=23 => vec![0x40 | len as u8],
        len @ 24..=255 => vec![0x58, len as u8],
        len => vec![0x59, (len >> 8) as u8, len as u8],
    };
    string.extend(content);
    string
}

/// Changes bytes inside a DER structure and puts the outermost length right.
pub(crate) fn der(random: &mut Random, input: &mut Vec<u8>, other: &[u8]) {
    bytes(random, input, other);
    if input.first() == Some(&0x30) && input.get(1) == Some(&0x82) && input.len() >= 4 {
        let len = input.len() - 4;
        input[2] = (len >> 8) as u8;
        input[3] = len as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_repeat_and_never_leave_the_bytes_bounds() {
        for run in 0..20_000 {
            let change = |input: &[u8]| {
                let mut changed = input.to_vec();
                bytes(&mut Random::of_run(3, run), &mut changed, b"other");
                changed
            };
            for input in [&b""[..], b"x", b"hello, this is a longer input"] {
                assert_eq!(change(input), change(input));
            }
        }
    }

    #[test]
    fn byte_strings_are_found_where_they_were_written() {
        let mut input = vec![0x84];
        input.extend(byte_string(&[7; 300]));
        assert_eq!(byte_strings(&input, 100), [(1, 4..304)]);
    }
}

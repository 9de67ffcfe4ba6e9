//! BER to DER: the same CMS with definite lengths and its content in one piece,
//! as a strict re-encoder between KMS and the enclave would pass it on.
//!
//! Source of truth: X.690 §8.1.3 and §10. Knows low tag numbers only and the one
//! string that KMS cuts in chunks (`[0]` with OCTET STRINGs).

use crate::recipient::cms::element;

const OCTET_STRING: u8 = 0x04;
const CONSTRUCTED: u8 = 0x20;
const CONTEXT_0: u8 = 0x80;
const INDEFINITE: u8 = 0x80;
/// A CMS of KMS nests nine deep.
const DEPTH_MAX: usize = 16;

/// The DER of one BER element; `None` if `ber` is not exactly that.
pub(super) fn from_ber(ber: &[u8]) -> Option<Vec<u8>> {
    let (element, rest) = Element::read(ber, 0)?;
    rest.is_empty().then_some(element.der)
}

struct Element {
    tag: u8,
    content: Vec<u8>,
    der: Vec<u8>,
}

impl Element {
    fn read(input: &[u8], depth: usize) -> Option<(Self, &[u8])> {
        if depth > DEPTH_MAX {
            return None;
        }
        let (&tag, rest) = input.split_first()?;
        let (&first, rest) = rest.split_first()?;
        if first == INDEFINITE {
            let (mut children, mut rest) = (Vec::new(), rest);
            loop {
                if let Some(after) = rest.strip_prefix(&[0, 0]) {
                    return Some((Self::constructed(tag, &children), after));
                }
                let (child, after) = Self::read(rest, depth + 1)?;
                children.push(child);
                rest = after;
            }
        }
        let (length, rest) = match first {
            short @ 0..0x80 => (usize::from(short), rest),
            long => {
                let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                let length = digits.iter().try_fold(0_usize, |sum, digit| {
                    sum.checked_mul(256)?.checked_add(usize::from(*digit))
                })?;
                (length, rest)
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        if tag & CONSTRUCTED == 0 {
            let der = element(tag, &[content]);
            let content = content.to_vec();
            return Some((Self { tag, content, der }, rest));
        }
        let (mut children, mut left) = (Vec::new(), content);
        while !left.is_empty() {
            let (child, after) = Self::read(left, depth + 1)?;
            children.push(child);
            left = after;
        }
        Some((Self::constructed(tag, &children), rest))
    }

    fn constructed(tag: u8, children: &[Self]) -> Self {
        let chunks = tag == CONTEXT_0 | CONSTRUCTED
            && !children.is_empty()
            && children.iter().all(|child| child.tag == OCTET_STRING);
        let (tag, content) = if chunks {
            let joined = children.iter().map(|child| child.content.as_slice());
            (CONTEXT_0, joined.collect::<Vec<_>>().concat())
        } else {
            let all = children.iter().map(|child| child.der.as_slice());
            (tag, all.collect::<Vec<_>>().concat())
        };
        let der = element(tag, &[&content]);
        Self { tag, content, der }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::recipient::cms::{ContentForm, Envelope, Oaep};

    #[test]
    fn an_answer_of_kms_becomes_der_and_stays_as_it_is_then() {
        let ber = Envelope {
            key_id: &[1; 32],
            oaep: Oaep::Sha256,
            encrypted_key: &[2; 256],
            iv: &[3; 16],
            content: &[4; 2048],
            form: ContentForm::Chunked,
        }
        .encode();
        let der = from_ber(&ber).unwrap();
        assert!(der.len() < ber.len());
        assert_eq!(&der[..2], [0x30, 0x82]);
        assert_eq!(from_ber(&der).unwrap(), der);
        let content: Vec<u8> = element(CONTEXT_0, &[&[4; 2048]]);
        assert!(der.ends_with(&content), "one piece at the end");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = from_ber(&bytes);
        }
    }
}

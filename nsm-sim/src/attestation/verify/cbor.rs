//! A strict CBOR reader over received bytes (RFC 8949), for documents only.
//!
//! Takes the forms that hardware writes: shortest heads, definite strings and
//! arrays, maps definite or – where asked for – indefinite. Everything else is
//! a named fault, so that no second encoding of a document verifies.

/// What is wrong with an encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CborFault {
    /// The bytes end inside an item.
    #[error("truncated item")]
    Truncated,
    /// Bytes follow the item.
    #[error("trailing bytes")]
    TrailingBytes,
    /// An item of another type stands where this one belongs.
    #[error("not {0}")]
    NotA(&'static str),
    /// A number or length is encoded longer than needed.
    #[error("non-minimal head")]
    NotMinimal,
    /// A text string is not UTF-8.
    #[error("text that is not UTF-8")]
    NotUtf8,
    /// A value nested deeper than any field is.
    #[error("nesting too deep")]
    TooDeep,
}

/// A fault and its offset.
pub(super) type Fault = (usize, CborFault);

/// Levels of nesting in a field that is skipped unread.
const SKIP_DEPTH_MAX: u8 = 8;

#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Entries of a map still to come.
pub(super) enum Entries {
    Definite(u64),
    Indefinite,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) const fn offset(&self) -> usize {
        self.at
    }

    /// The tag before the next item, if there is one.
    pub(super) fn tag(&mut self) -> Result<Option<u64>, Fault> {
        if self.peek()? >> 5 == 6 {
            self.head(6, "a tag").map(Some)
        } else {
            Ok(None)
        }
    }

    pub(super) fn array(&mut self) -> Result<u64, Fault> {
        self.head(4, "a definite array")
    }

    /// A map, definite or indefinite.
    pub(super) fn map(&mut self) -> Result<Entries, Fault> {
        if self.peek()? == 0xbf {
            self.at += 1;
            return Ok(Entries::Indefinite);
        }
        self.head(5, "a map").map(Entries::Definite)
    }

    /// A map with its length.
    pub(super) fn definite_map(&mut self) -> Result<u64, Fault> {
        self.head(5, "a definite map")
    }

    /// Whether a map has another entry; takes its break.
    pub(super) fn more(&mut self, entries: &mut Entries) -> Result<bool, Fault> {
        match entries {
            Entries::Definite(0) => Ok(false),
            Entries::Definite(left) => {
                *left -= 1;
                Ok(true)
            }
            Entries::Indefinite if self.peek()? == 0xff => {
                self.at += 1;
                Ok(false)
            }
            Entries::Indefinite => Ok(true),
        }
    }

    pub(super) fn unsigned(&mut self) -> Result<u64, Fault> {
        self.head(0, "an unsigned integer")
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let len = self.head(2, "a definite byte string")?;
        self.take(len)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Fault> {
        let at = self.at;
        let len = self.head(3, "a definite text string")?;
        std::str::from_utf8(self.take(len)?).map_err(|_| (at, CborFault::NotUtf8))
    }

    /// Takes a null, if one is next.
    pub(super) fn null(&mut self) -> Result<bool, Fault> {
        let null = self.peek()? == 0xf6;
        self.at += usize::from(null);
        Ok(null)
    }

    /// Reads an item and forgets it.
    pub(super) fn skip(&mut self) -> Result<(), Fault> {
        self.skip_within(SKIP_DEPTH_MAX)
    }

    fn skip_within(&mut self, depth: u8) -> Result<(), Fault> {
        let at = self.at;
        let deeper = depth.checked_sub(1).ok_or((at, CborFault::TooDeep))?;
        match self.peek()? >> 5 {
            major @ (0 | 1) => self.head(major, "an integer").map(drop),
            2 => self.bytes().map(drop),
            3 => self.text().map(drop),
            4 => (0..self.array()?).try_for_each(|_| self.skip_within(deeper)),
            5 => {
                let mut entries = self.map()?;
                while self.more(&mut entries)? {
                    self.skip_within(deeper)?;
                    self.skip_within(deeper)?;
                }
                Ok(())
            }
            6 => {
                self.head(6, "a tag")?;
                self.skip_within(deeper)
            }
            _ => match self.byte()? {
                0xf4..=0xf7 => Ok(()),
                float @ 0xf9..=0xfb => self.take(1 << (float - 0xf8)).map(drop),
                _ => Err((at, CborFault::NotA("a value"))),
            },
        }
    }

    pub(super) fn end(&self) -> Result<(), Fault> {
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err((self.at, CborFault::TrailingBytes))
        }
    }

    fn head(&mut self, major: u8, what: &'static str) -> Result<u64, Fault> {
        let at = self.at;
        let code = self.byte()?;
        if code >> 5 != major {
            return Err((at, CborFault::NotA(what)));
        }
        let (width, least) = match code & 0x1f {
            small @ 0..=23 => return Ok(u64::from(small)),
            24 => (1, 24),
            25 => (2, 0x100),
            26 => (4, 0x1_0000),
            27 => (8, 0x1_0000_0000),
            _ => return Err((at, CborFault::NotA(what))),
        };
        let n = self
            .take(width)?
            .iter()
            .fold(0, |n, byte| n << 8 | u64::from(*byte));
        if n < least {
            Err((at, CborFault::NotMinimal))
        } else {
            Ok(n)
        }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Fault> {
        let truncated = (self.at, CborFault::Truncated);
        let end = usize::try_from(len)
            .ok()
            .and_then(|len| self.at.checked_add(len));
        let end = end.ok_or(truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(truncated)?;
        self.at = end;
        Ok(taken)
    }

    fn peek(&self) -> Result<u8, Fault> {
        self.bytes
            .get(self.at)
            .copied()
            .ok_or((self.at, CborFault::Truncated))
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_encoding_of_a_number_is_refused() {
        for bytes in [&[0x18, 23][..], &[0x19, 0, 255], &[0x1a, 0, 0, 255, 255]] {
            assert_eq!(
                Reader::new(bytes).unsigned(),
                Err((0, CborFault::NotMinimal))
            );
        }
        assert_eq!(Reader::new(&[0x18, 24]).unsigned(), Ok(24));
        assert_eq!(
            Reader::new(&[0x1b, 0, 0, 0, 1, 0, 0, 0, 0]).unsigned(),
            Ok(1 << 32)
        );
    }

    #[test]
    fn indefinite_strings_and_arrays_are_refused() {
        assert!(Reader::new(&[0x5f, 0x41, 1, 0xff]).bytes().is_err());
        assert!(Reader::new(&[0x7f, 0xff]).text().is_err());
        assert!(Reader::new(&[0x9f, 0xff]).array().is_err());
        assert!(Reader::new(&[0xbf, 0xff]).definite_map().is_err());
    }

    #[test]
    fn a_length_past_the_end_is_truncated_and_not_an_overflow() {
        let huge = [0x5b, 255, 255, 255, 255, 255, 255, 255, 255];
        assert_eq!(Reader::new(&huge).bytes(), Err((9, CborFault::Truncated)));
    }

    #[test]
    fn unread_values_are_skipped_whole_and_not_too_deep() {
        let mut reader = Reader::new(&[0xa1, 0x61, b'x', 0x82, 0xf9, 0, 0, 0xc1, 0x20, 7]);
        reader.skip().unwrap();
        assert_eq!(reader.unsigned(), Ok(7));
        assert!(matches!(
            Reader::new(&[0x81; 100]).skip(),
            Err((_, CborFault::TooDeep))
        ));
    }
}

//! The NSM's request decoder: bytes of an ioctl to a [`Command`].
//!
//! Models: the acceptance of `serde_cbor` 0.11 decoding AWS's `Request` type,
//! row by row as ground truth NSM §2.1 lists it – the decoder that real
//! documents point to, since they re-encode byte for byte with it. What it
//! accepts is wider than what AWS's crate sends: any integer width, indefinite
//! inner maps and strings, positional bodies, variants and fields by number or
//! by byte string, text or integer arrays where bytes are expected, tags around
//! inner values. What it refuses is as telling: an indefinite or non-minimal
//! outer map, duplicate keys, trailing bytes.
//!
//! One departure from `serde_cbor`, as the table has it: a tag before the whole
//! request is refused for every command (the crate itself refuses it before a
//! map and ignores it before a bare text).
//!
//! Does not model: what hardware answers to bytes it cannot decode (unknown;
//! the caller answers `InvalidOperation`, as QEMU does).

use std::borrow::Cow;

/// A request that could be decoded. Byte fields borrow from the request where
/// the encoding allows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    DescribePcr { index: u16 },
    ExtendPcr { index: u16, data: Cow<'a, [u8]> },
    LockPcr { index: u16 },
    LockPcrs { range: u16 },
    DescribeNsm,
    Attestation(AttestationFields<'a>),
    GetRandom,
}

/// The three optional fields of an attestation request; an empty byte string
/// is present, not absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AttestationFields<'a> {
    pub(crate) user_data: Option<Cow<'a, [u8]>>,
    pub(crate) nonce: Option<Cow<'a, [u8]>>,
    pub(crate) public_key: Option<Cow<'a, [u8]>>,
}

/// Why a request is not a command. Never on the wire: the device answers
/// `InvalidOperation` whatever the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeFault {
    /// The request ends inside an item, or is empty.
    #[error("the request ends before its item does")]
    Truncated,
    /// Bytes follow the request's item.
    #[error("bytes follow the request's item")]
    TrailingBytes,
    /// A reserved code, or a break where no indefinite item is open.
    #[error("byte 0x{0:02x} does not start a CBOR item")]
    ReservedCode(u8),
    /// A text string that is not UTF-8.
    #[error("a text string is not UTF-8")]
    NotUtf8,
    /// More than 127 items inside one another.
    #[error("items are nested too deeply")]
    TooDeep,
    /// A tag before the whole request.
    #[error("the request is tagged")]
    Tagged,
    /// The command's name or number is none of the seven.
    #[error("unknown command")]
    UnknownCommand,
    /// An item of another type than its place asks for, or a number that does
    /// not fit it.
    #[error("an item has the wrong type or is out of its type's range")]
    WrongType,
    /// A field is given twice.
    #[error("field `{0}` is given twice")]
    DuplicateField(&'static str),
    /// A mandatory field is missing.
    #[error("field `{0}` is missing")]
    MissingField(&'static str),
    /// An array or map has more elements than its place allows, or fewer.
    #[error("an array or map has the wrong number of elements")]
    WrongLength,
}

/// Decodes one request.
///
/// # Errors
/// Names the first fault found, in reading order.
pub(crate) fn decode(request: &[u8]) -> Result<Command<'_>, DecodeFault> {
    let mut reader = Reader {
        bytes: request,
        at: 0,
        depth: DEPTH_MAX,
    };
    let command = reader.command()?;
    if reader.at == request.len() {
        Ok(command)
    } else {
        Err(DecodeFault::TrailingBytes)
    }
}

/// serde_cbor's recursion limit: the 128th level is refused.
const DEPTH_MAX: u8 = 128;

/// Commands in the order of AWS's enum: the packed form addresses them by number.
const COMMANDS: [&str; 7] = [
    "DescribePCR",
    "ExtendPCR",
    "LockPCR",
    "LockPCRs",
    "DescribeNSM",
    "Attestation",
    "GetRandom",
];

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u8,
}

/// One item's head, or the whole item where it has no children.
enum Item<'a> {
    Unsigned(u64),
    Bytes(Cow<'a, [u8]>),
    Text(Cow<'a, str>),
    /// Elements to come; `None` is indefinite.
    Array(Option<u64>),
    /// Pairs to come; `None` is indefinite.
    Map(Option<u64>),
    /// `null` and `undefined`: the same to serde_cbor except in front of an option.
    Unit,
    /// Negative integers, floats and booleans: no field of a request takes one.
    Other,
}

/// What follows a command's name.
enum Body {
    /// A map of one entry: the body is the value.
    MapValue,
    /// The older array form: the body is the next element, if there is one.
    ArrayElement(Option<u64>),
    /// A bare name: no body.
    None,
}

impl<'a> Reader<'a> {
    fn command(&mut self) -> Result<Command<'a>, DecodeFault> {
        match self.peek()? {
            0x80..=0x9f => {
                let Item::Array(mut left) = self.untagged_item()? else {
                    return Err(DecodeFault::WrongType);
                };
                self.descend()?;
                if !self.more(&mut left)? {
                    return Err(DecodeFault::WrongLength);
                }
                let name = self.command_name()?;
                let (command, mut left) = self.body(name, Body::ArrayElement(left))?;
                if self.more(&mut left)? {
                    return Err(DecodeFault::WrongLength);
                }
                Ok(command)
            }
            // Only the one-byte, definite form of a one-entry map is an enum.
            0xa1 => {
                self.at += 1;
                self.descend()?;
                let name = self.command_name()?;
                Ok(self.body(name, Body::MapValue)?.0)
            }
            0xc0..=0xdb => Err(DecodeFault::Tagged),
            _ => {
                let name = self.command_name()?;
                Ok(self.body(name, Body::None)?.0)
            }
        }
    }

    fn command_name(&mut self) -> Result<usize, DecodeFault> {
        self.identifier(&COMMANDS)?
            .ok_or(DecodeFault::UnknownCommand)
    }

    /// The command `COMMANDS[name]`, and what is left of an enclosing array.
    fn body(&mut self, name: usize, body: Body) -> Result<(Command<'a>, Option<u64>), DecodeFault> {
        let mut left = Some(0);
        let bare = match body {
            Body::None => true,
            Body::MapValue => false,
            Body::ArrayElement(elements) => {
                left = elements;
                if !self.more(&mut left)? {
                    return Err(DecodeFault::WrongLength);
                }
                false
            }
        };
        let command = match name {
            // A unit command stands bare or carries null.
            4 | 6 => {
                if !bare {
                    self.unit()?;
                }
                if name == 4 {
                    Command::DescribeNsm
                } else {
                    Command::GetRandom
                }
            }
            _ if bare => return Err(DecodeFault::WrongType),
            0 => Command::DescribePcr {
                index: self.one_number("index")?,
            },
            1 => {
                let mut index = None;
                let mut data = None;
                self.fields(&["index", "data"], |reader, field| match field {
                    0 => reader.number().map(|n| index = Some(n)),
                    _ => reader.byte_field().map(|bytes| data = Some(bytes)),
                })?;
                Command::ExtendPcr {
                    index: index.ok_or(DecodeFault::MissingField("index"))?,
                    data: data.ok_or(DecodeFault::MissingField("data"))?,
                }
            }
            2 => Command::LockPcr {
                index: self.one_number("index")?,
            },
            3 => Command::LockPcrs {
                range: self.one_number("range")?,
            },
            _ => {
                let mut fields = AttestationFields::default();
                self.fields(&["user_data", "nonce", "public_key"], |reader, field| {
                    let value = reader.optional_byte_field()?;
                    match field {
                        0 => fields.user_data = value,
                        1 => fields.nonce = value,
                        _ => fields.public_key = value,
                    }
                    Ok(())
                })?;
                Command::Attestation(fields)
            }
        };
        Ok((command, left))
    }

    fn one_number(&mut self, name: &'static str) -> Result<u16, DecodeFault> {
        let mut value = None;
        self.fields(&[name], |reader, _| {
            reader.number().map(|n| value = Some(n))
        })?;
        value.ok_or(DecodeFault::MissingField(name))
    }

    /// A body: a map by name, number or byte string, unknown keys skipped, or
    /// an array of exactly the fields in order. `field(reader, i)` reads the
    /// value of `names[i]`.
    fn fields(
        &mut self,
        names: &[&'static str],
        mut field: impl FnMut(&mut Self, usize) -> Result<(), DecodeFault>,
    ) -> Result<(), DecodeFault> {
        self.value(|reader, item| match item {
            Item::Array(mut left) => {
                for index in 0..names.len() {
                    if !reader.more(&mut left)? {
                        return Err(DecodeFault::WrongLength);
                    }
                    field(reader, index)?;
                }
                if reader.more(&mut left)? {
                    Err(DecodeFault::WrongLength)
                } else {
                    Ok(())
                }
            }
            Item::Map(mut left) => {
                let mut seen = 0_u8; // at most three fields
                while reader.more(&mut left)? {
                    let Some((index, name)) = reader
                        .identifier(names)?
                        .and_then(|index| Some((index, *names.get(index)?)))
                    else {
                        reader.skip()?;
                        continue;
                    };
                    if seen & (1 << index) != 0 {
                        return Err(DecodeFault::DuplicateField(name));
                    }
                    seen |= 1 << index;
                    field(reader, index)?;
                }
                Ok(())
            }
            _ => Err(DecodeFault::WrongType),
        })
    }

    /// Position in `names` of a name given as text, bytes or number.
    fn identifier(&mut self, names: &[&str]) -> Result<Option<usize>, DecodeFault> {
        self.value(|_, item| match item {
            Item::Unsigned(n) => Ok(usize::try_from(n).ok().filter(|n| *n < names.len())),
            Item::Text(text) => Ok(names.iter().position(|name| *name == text)),
            Item::Bytes(bytes) => Ok(names.iter().position(|name| name.as_bytes() == &*bytes)),
            _ => Err(DecodeFault::WrongType),
        })
    }

    fn unit(&mut self) -> Result<(), DecodeFault> {
        self.value(|_, item| match item {
            Item::Unit => Ok(()),
            _ => Err(DecodeFault::WrongType),
        })
    }

    fn number(&mut self) -> Result<u16, DecodeFault> {
        self.value(|_, item| match item {
            Item::Unsigned(n) => u16::try_from(n).map_err(|_| DecodeFault::WrongType),
            _ => Err(DecodeFault::WrongType),
        })
    }

    fn optional_byte_field(&mut self) -> Result<Option<Cow<'a, [u8]>>, DecodeFault> {
        // Only a plain null is absent; undefined and a tagged null are values.
        if self.peek()? == 0xf6 {
            self.at += 1;
            return Ok(None);
        }
        self.byte_field().map(Some)
    }

    fn byte_field(&mut self) -> Result<Cow<'a, [u8]>, DecodeFault> {
        self.value(|reader, item| match item {
            Item::Bytes(bytes) => Ok(bytes),
            Item::Text(Cow::Borrowed(text)) => Ok(Cow::Borrowed(text.as_bytes())),
            Item::Text(Cow::Owned(text)) => Ok(Cow::Owned(text.into_bytes())),
            Item::Array(mut left) => {
                let mut bytes = Vec::new(); // every element takes a byte of the request
                while reader.more(&mut left)? {
                    bytes.push(reader.value(|_, item| match item {
                        Item::Unsigned(n) => u8::try_from(n).map_err(|_| DecodeFault::WrongType),
                        _ => Err(DecodeFault::WrongType),
                    })?);
                }
                Ok(Cow::Owned(bytes))
            }
            _ => Err(DecodeFault::WrongType),
        })
    }

    /// Reads any well-formed item and forgets it.
    fn skip(&mut self) -> Result<(), DecodeFault> {
        self.value(|reader, item| {
            match item {
                Item::Array(mut left) => {
                    while reader.more(&mut left)? {
                        reader.skip()?;
                    }
                }
                Item::Map(mut left) => {
                    while reader.more(&mut left)? {
                        reader.skip()?;
                        reader.skip()?;
                    }
                }
                _ => {}
            }
            Ok(())
        })
    }

    /// Reads an item, tags before it ignored; `then` reads its children.
    fn value<T>(
        &mut self,
        then: impl FnOnce(&mut Self, Item<'a>) -> Result<T, DecodeFault>,
    ) -> Result<T, DecodeFault> {
        let depth = self.depth;
        while let 0xc0..=0xdb = self.peek()? {
            let code = self.byte()?;
            self.argument(code)?;
            self.descend()?;
        }
        let item = self.untagged_item()?;
        if matches!(item, Item::Array(_) | Item::Map(_)) {
            self.descend()?;
        }
        let value = then(self, item)?;
        self.depth = depth;
        Ok(value)
    }

    fn untagged_item(&mut self) -> Result<Item<'a>, DecodeFault> {
        let code = self.byte()?;
        Ok(match code {
            0x00..=0x1b => Item::Unsigned(self.argument(code)?),
            0x20..=0x3b => {
                self.argument(code)?;
                Item::Other
            }
            0x40..=0x5b => {
                let len = self.argument(code)?;
                Item::Bytes(Cow::Borrowed(self.take(len)?))
            }
            0x5f => Item::Bytes(Cow::Owned(self.chunks(0x40)?)),
            0x60..=0x7b => {
                let len = self.argument(code)?;
                let text =
                    std::str::from_utf8(self.take(len)?).map_err(|_| DecodeFault::NotUtf8)?;
                Item::Text(Cow::Borrowed(text))
            }
            0x7f => {
                // Joined first, so that a character may straddle two chunks.
                let text =
                    String::from_utf8(self.chunks(0x60)?).map_err(|_| DecodeFault::NotUtf8)?;
                Item::Text(Cow::Owned(text))
            }
            0x80..=0x9b => Item::Array(Some(self.argument(code)?)),
            0x9f => Item::Array(None),
            0xa0..=0xbb => Item::Map(Some(self.argument(code)?)),
            0xbf => Item::Map(None),
            0xf4 | 0xf5 => Item::Other,
            0xf6 | 0xf7 => Item::Unit,
            0xf9..=0xfb => {
                self.take(1 << (code - 0xf8))?;
                Item::Other
            }
            _ => return Err(DecodeFault::ReservedCode(code)),
        })
    }

    /// The chunks of an indefinite string whose definite codes start at `major`.
    fn chunks(&mut self, major: u8) -> Result<Vec<u8>, DecodeFault> {
        let mut joined = Vec::new();
        loop {
            let code = self.byte()?;
            if code == 0xff {
                return Ok(joined);
            }
            if code & 0xe0 != major || code & 0x1f > 0x1b {
                return Err(DecodeFault::ReservedCode(code));
            }
            let len = self.argument(code)?;
            joined.extend_from_slice(self.take(len)?);
        }
    }

    /// Whether an array or map goes on; takes its break.
    fn more(&mut self, left: &mut Option<u64>) -> Result<bool, DecodeFault> {
        match left {
            Some(0) => Ok(false),
            Some(n) => {
                *n -= 1;
                Ok(true)
            }
            None if self.peek()? == 0xff => {
                self.at += 1;
                *left = Some(0);
                Ok(false)
            }
            None => Ok(true),
        }
    }

    fn descend(&mut self) -> Result<(), DecodeFault> {
        self.depth = self.depth.saturating_sub(1);
        if self.depth == 0 {
            Err(DecodeFault::TooDeep)
        } else {
            Ok(())
        }
    }

    /// The number in a head whose low five bits say how it is encoded.
    fn argument(&mut self, code: u8) -> Result<u64, DecodeFault> {
        let width = match code & 0x1f {
            small @ 0..=0x17 => return Ok(u64::from(small)),
            0x18 => 1,
            0x19 => 2,
            0x1a => 4,
            0x1b => 8,
            _ => return Err(DecodeFault::ReservedCode(code)),
        };
        Ok(self
            .take(width)?
            .iter()
            .fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], DecodeFault> {
        let end = usize::try_from(len)
            .ok()
            .and_then(|len| self.at.checked_add(len))
            .ok_or(DecodeFault::Truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(DecodeFault::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    fn peek(&self) -> Result<u8, DecodeFault> {
        self.bytes
            .get(self.at)
            .copied()
            .ok_or(DecodeFault::Truncated)
    }

    fn byte(&mut self) -> Result<u8, DecodeFault> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }
}

#[cfg(test)]
mod differential;
#[cfg(test)]
mod tests;

//! What enclave and decoder say to each other through two pipes.
//!
//! To the worker: a header of fixed length (the limits and the number of bytes),
//! then the image. From it: one CBOR message of bounded size. A worker may have
//! been taken over by the file that it decodes, so its answer is outside input:
//! every field is checked, and the fault it names is one of a closed list.
//! Source of truth: this file. Does not model versions: both ends are one program.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

use super::Setback;
use crate::{
    causes::with_causes,
    image::{self, Limits, SIDE, Tensor},
    job::refusal::ImageFault,
};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 8 * 7;
/// Longest answer: the model's input, and a text.
pub(crate) const REPLY_BYTES_MAX: usize = SIDE * SIDE + 8 * 1024;
/// Longest text of an answer, in characters.
const TEXT_CHARS_MAX: usize = 1024;

/// A decoded image, ready for the model.
#[derive(Debug)]
pub struct Decoded {
    /// The model's input.
    pub tensor: Tensor,
    /// What it was decoded from, e.g. `PNG`.
    pub format: String,
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum Reply {
    Decoded {
        levels: ByteBuf,
        format: String,
        width: u32,
        height: u32,
    },
    Refused {
        fault: ImageFault,
        detail: String,
    },
}

/// What goes before an image of `length` bytes.
#[must_use]
pub fn header(limits: &Limits, length: usize) -> [u8; HEADER_BYTES] {
    let fields = [
        length as u64,
        limits.pixels_max,
        limits.inflated_bytes_max as u64,
        limits.nesting_max.into(),
        limits.elements_max.into(),
        limits.items_max.into(),
        limits.fragments_max.into(),
    ];
    let mut header = [0; HEADER_BYTES];
    for (field, bytes) in fields.iter().zip(header.as_chunks_mut::<8>().0) {
        *bytes = field.to_be_bytes();
    }
    header
}

/// The limits and the length in a header.
pub(crate) fn read_header(header: &[u8; HEADER_BYTES]) -> Option<(Limits, usize)> {
    let mut fields = header
        .as_chunks::<8>()
        .0
        .iter()
        .map(|b| u64::from_be_bytes(*b));
    let length = usize::try_from(fields.next()?).ok()?;
    let limits = Limits {
        pixels_max: fields.next()?,
        inflated_bytes_max: usize::try_from(fields.next()?).ok()?,
        nesting_max: u32::try_from(fields.next()?).ok()?,
        elements_max: u32::try_from(fields.next()?).ok()?,
        items_max: u32::try_from(fields.next()?).ok()?,
        fragments_max: u32::try_from(fields.next()?).ok()?,
    };
    Some((limits, length))
}

/// All of a worker's work: the answer to the bytes of an image.
#[must_use]
pub fn answer(plaintext: &[u8], limits: &Limits) -> Zeroizing<Vec<u8>> {
    let reply = match image::decode(plaintext, limits) {
        Ok(image) => Reply::Decoded {
            levels: ByteBuf::from(image::preprocess(&image).levels()),
            format: image.format.to_string(),
            width: image.width,
            height: image.height,
        },
        Err(error) => Reply::Refused {
            fault: error.fault(),
            detail: with_causes(&error).chars().take(TEXT_CHARS_MAX).collect(),
        },
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(REPLY_BYTES_MAX));
    ciborium::into_writer(&reply, &mut *bytes).expect("a vector takes every message");
    bytes
}

/// What an answer says; `None` if it cannot be one.
#[must_use]
pub fn read_reply(bytes: &[u8]) -> Option<Result<Decoded, Setback>> {
    if bytes.len() > REPLY_BYTES_MAX {
        return None;
    }
    let mut rest = bytes;
    let reply: Reply = ciborium::from_reader(&mut rest).ok()?;
    if !rest.is_empty() {
        return None;
    }
    match reply {
        Reply::Decoded {
            levels,
            format,
            width,
            height,
        } if format.chars().count() <= TEXT_CHARS_MAX => Some(Ok(Decoded {
            tensor: Tensor::from_levels(&levels)?,
            format,
            width,
            height,
        })),
        Reply::Refused { fault, detail } if detail.chars().count() <= TEXT_CHARS_MAX => {
            Some(Err(Setback {
                fault: Some(fault),
                detail: Zeroizing::new(detail),
            }))
        }
        _ => None,
    }
}

/// A PNG of a black and a white pixel, to see whether a worker works.
pub(crate) fn known_picture() -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 2, 1);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(&[0, 255]))
        .expect("a vector takes every picture");
    file
}

#[cfg(test)]
mod tests {
    use ciborium::cbor;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn limits_and_length_survive_the_header() {
        let limits = Limits {
            pixels_max: 1,
            inflated_bytes_max: 2,
            nesting_max: 3,
            elements_max: 4,
            items_max: 5,
            fragments_max: 6,
        };
        let (read, length) = read_header(&header(&limits, 7)).unwrap();
        assert_eq!((read, length), (limits, 7));
        assert_eq!(read_header(&[0xff; HEADER_BYTES]), None);
    }

    #[test]
    fn a_picture_comes_back_as_the_models_input() {
        let reply = answer(&known_picture(), &Limits::default());
        let decoded = read_reply(&reply).unwrap().unwrap();
        assert_eq!((decoded.width, decoded.height), (2, 1));
        assert_eq!(decoded.format, "PNG");
        let values = decoded.tensor.values();
        assert_eq!((values[0], values[SIDE - 1]), (0.0, 1.0));
    }

    #[test]
    fn an_answer_with_a_fault_that_does_not_exist_is_none() {
        let setback = read_reply(&answer(b"GIF89a", &Limits::default())).unwrap();
        let setback = setback.unwrap_err();
        assert_eq!(setback.fault, Some(ImageFault::UnknownFormat));
        let forged = cbor!({ "Refused" => { "fault" => "^MARIA^", "detail" => "" } });
        let mut bytes = Vec::new();
        ciborium::into_writer(&forged.unwrap(), &mut bytes).unwrap();
        assert!(read_reply(&bytes).is_none());
    }

    proptest! {
        #[test]
        fn no_answer_of_a_worker_panics_its_enclave(
            at in any::<prop::sample::Index>(),
            to in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut reply = answer(&known_picture(), &Limits::default()).to_vec();
            let at = at.index(reply.len());
            reply[at] = to;
            let _ = read_reply(&reply);
            reply.truncate(cut.index(reply.len()));
            prop_assert!(read_reply(&reply).is_none());
        }
    }
}

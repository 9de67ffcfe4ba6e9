//! The bytes of an object: one piece as it arrived, or the pieces of its parts,
//! never copied together.

use std::{
    collections::VecDeque,
    convert::Infallible,
    ops::Range,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use serde::{Deserialize, Serialize};

/// Bytes in pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    #[serde(with = "pieces")]
    segments: Vec<Bytes>,
    length: u64,
}

const WITHIN_SEGMENT: &str = "a place in a segment is no further than its length, a usize";

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        let segments = if bytes.is_empty() {
            vec![]
        } else {
            vec![bytes]
        };
        Self { segments, length }
    }
}

impl Content {
    /// One after the other; the bytes are shared.
    pub(crate) fn join<'c>(contents: impl Iterator<Item = &'c Self>) -> Self {
        let mut joined = Self::default();
        for content in contents {
            joined.segments.extend_from_slice(&content.segments);
            joined.length += content.length;
        }
        joined
    }

    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    pub(crate) fn segments(&self) -> &[Bytes] {
        &self.segments
    }

    /// The bytes at `range`, which may reach past the end.
    pub(crate) fn slice(&self, range: &Range<u64>) -> Self {
        let mut sliced = Self::default();
        let mut at = 0;
        for segment in &self.segments {
            let end = at + segment.len() as u64;
            let (from, to) = (range.start.clamp(at, end), range.end.clamp(at, end));
            if from < to {
                let within = |it: u64| usize::try_from(it - at).expect(WITHIN_SEGMENT);
                let (from, to) = (within(from), within(to));
                sliced.segments.push(segment.slice(from..to));
                sliced.length += (to - from) as u64;
            }
            at = end;
        }
        sliced
    }

    /// The body of an answer.
    pub(crate) fn into_body(mut self) -> s3s::Body {
        match self.segments.len() {
            0 => s3s::Body::empty(),
            1 => s3s::Body::from(self.segments.remove(0)),
            _ => s3s::Body::http_body(Pieces {
                left: self.segments.into(),
                length: self.length,
            }),
        }
    }
}

/// The pieces as a body, one frame each.
struct Pieces {
    left: VecDeque<Bytes>,
    length: u64,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.left.pop_front().map(|piece| {
            self.length -= piece.len() as u64;
            Ok(Frame::data(piece))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

/// Pieces of bytes as CBOR byte strings.
mod pieces {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_bytes::ByteBuf;

    pub(super) fn serialize<S: Serializer>(
        pieces: &[Bytes],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(pieces.iter().map(|piece| serde_bytes::Bytes::new(piece)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Bytes>, D::Error> {
        let pieces = Vec::<ByteBuf>::deserialize(deserializer)?.into_iter();
        Ok(pieces.map(|piece| Bytes::from(piece.into_vec())).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flat(content: &Content) -> Vec<u8> {
        content.segments().concat()
    }

    proptest! {
        #[test]
        fn a_slice_of_pieces_is_the_slice_of_the_whole(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 0..6),
            start in 0_u64..40,
            length in 0_u64..40,
        ) {
            let contents: Vec<Content> =
                pieces.iter().map(|it| Content::from(Bytes::from(it.clone()))).collect();
            let joined = Content::join(contents.iter());
            let whole = pieces.concat();
            prop_assert_eq!(joined.len(), whole.len() as u64);
            let cut = |at: u64| usize::try_from(at).unwrap().min(whole.len());
            let sliced = joined.slice(&(start..start + length));
            prop_assert_eq!(flat(&sliced), &whole[cut(start)..cut(start + length)]);
            prop_assert_eq!(sliced.len(), flat(&sliced).len() as u64);
        }
    }
}

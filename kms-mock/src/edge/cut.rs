//! Answers that do not arrive whole, on purpose: the connection ends before or
//! within them.
//!
//! Source of truth: RFC 9112 §8 (an incomplete message), and what clients see of
//! it: a closed connection, or a body shorter than its Content-Length.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Response, header::CONTENT_LENGTH};
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame};

use crate::{faults::Wire, s3};

/// Bodies of answers: whole, or as the S3 protocol makes them.
pub(crate) type AnswerBody = Either<Full<Bytes>, s3::AnswerBody>;

/// Ends a connection instead of answering.
#[derive(Debug, thiserror::Error)]
#[error("an injected fault ended the connection")]
pub(crate) struct Dropped;

/// Does to an answer what its fault says.
pub(crate) fn apply(mut answer: Response<AnswerBody>) -> Result<Response<AnswerBody>, Dropped> {
    match answer.extensions_mut().remove::<Wire>() {
        None => Ok(answer),
        Some(Wire::Dropped) => Err(Dropped),
        Some(Wire::CutAfter(bytes_max)) => {
            let whole = answer.body().size_hint().exact().unwrap_or_default();
            answer
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from(whole));
            Ok(answer.map(|body| match body {
                Either::Left(inner) => Either::Right(s3::streamed(CutShort {
                    inner,
                    left: bytes_max,
                })),
                streamed @ Either::Right(_) => streamed, // S3's: no fault is for them
            }))
        }
    }
}

/// The beginning of a body, then an error.
struct CutShort<B> {
    inner: B,
    left: usize,
}

impl<B: Body<Data = Bytes, Error = std::convert::Infallible> + Unpin> Body for CutShort<B> {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        if self.left == 0 {
            return Poll::Ready(Some(Err(Dropped)));
        }
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => {
                let mut data = frame.into_data().unwrap_or_default();
                data.truncate(self.left);
                self.left = self.left.saturating_sub(data.len());
                if data.is_empty() {
                    self.left = 0;
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Ready(Some(Err(never))) => match never {},
            Poll::Ready(None) => Poll::Ready(Some(Err(Dropped))),
        }
    }
}

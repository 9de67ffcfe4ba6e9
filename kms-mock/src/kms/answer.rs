//! What operations answer.
//!
//! Source of truth: the KMS service model (JSON 1.1); recorded answers. Answers of the
//! operations that are called most are written member by member, all others from
//! values.

use nsm_sim::clock::UnixMillis;
use serde_json::Value;

use super::error::Failure;

/// The body of a reply.
pub(crate) type Answer = Result<Vec<u8>, Failure>;

/// Room for the usual answer; a longer one grows.
pub(crate) const ANSWER_BYTES: usize = 640;

/// The answer of operations that answer nothing.
pub(crate) fn nothing() -> Answer {
    Ok(Vec::new())
}

/// A JSON answer.
pub(crate) fn answer(value: &Value) -> Answer {
    Ok(value.to_string().into_bytes())
}

/// A time as the API writes it: seconds since 1970 with milliseconds.
pub(crate) fn timestamp(at: UnixMillis) -> Value {
    let whole = at.0 / 1000;
    let rest = at.0 % 1000;
    if rest == 0 {
        return whole.into();
    }
    // Milliseconds since 1970 are far below 2^53.
    #[allow(clippy::cast_precision_loss)]
    let seconds = at.0 as f64 / 1000.0;
    seconds.into()
}

/// The object of an answer, written member by member.
#[derive(Debug)]
pub(crate) struct Answered(Vec<u8>);

impl Answered {
    /// An empty object with room for `bytes`.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let mut out = Vec::with_capacity(bytes);
        out.push(b'{');
        Self(out)
    }

    /// A member whose text is one of ours and has nothing to escape, as names of the model.
    pub(crate) fn plain(mut self, name: &'static str, value: &str) -> Self {
        debug_assert!(is_plain(value), "{value}");
        self.name(name);
        self.quoted(value);
        self
    }

    fn quoted(&mut self, plain: &str) {
        self.0.push(b'"');
        self.0.extend_from_slice(plain.as_bytes());
        self.0.push(b'"');
    }

    /// A member that is text.
    pub(crate) fn text(mut self, name: &'static str, value: &str) -> Self {
        self.name(name);
        if is_plain(value) {
            self.quoted(value);
        } else {
            let quoted = Value::from(value).to_string();
            self.0.extend_from_slice(quoted.as_bytes());
        }
        self
    }

    /// The same, if there is a value.
    pub(crate) fn text_if(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    /// A member that is a blob, in base64.
    pub(crate) fn blob(mut self, name: &'static str, value: &[u8]) -> Self {
        self.name(name);
        self.0.push(b'"');
        base64_simd::STANDARD.encode_append(value, &mut self.0);
        self.0.push(b'"');
        self
    }

    /// The object's bytes.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }

    /// Names are the model's: letters alone.
    fn name(&mut self, name: &'static str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.0.push(b'"');
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b"\":");
    }
}

/// Whether JSON has a text as it is. Every byte is looked at, sixteen at a time: to
/// stop at the first would take longer.
fn is_plain(text: &str) -> bool {
    let plain = |bytes: &[u8; 16]| {
        let plain = |b: u8| (b' '..=b'~').contains(&b) & (b != b'"') & (b != b'\\');
        bytes.iter().fold(true, |all, b| all & plain(*b))
    };
    let (whole, rest) = text.as_bytes().as_chunks::<16>();
    let mut last = [b' '; 16];
    if let Some(start) = last.get_mut(..rest.len()) {
        start.copy_from_slice(rest);
    }
    whole
        .iter()
        .fold(plain(&last), |all, bytes| all & plain(bytes))
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn answers_read_back_as_what_was_written(text in ".{0,20}", blob in any::<Vec<u8>>()) {
            let answer = Answered::with_capacity(0)
                .text("Text", &text)
                .text_if("None", None)
                .text_if("Some", Some("x"))
                .blob("Blob", &blob)
                .finish();
            let read: Value = serde_json::from_slice(&answer).unwrap();
            let expected = serde_json::json!({
                "Text": text, "Some": "x", "Blob": BASE64.encode(&blob),
            });
            prop_assert_eq!(read, expected);
        }
    }
}

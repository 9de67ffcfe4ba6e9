//! JSON as requests bring it, without a copy of what need not be copied.
//!
//! Source of truth: RFC 8259. Reading borrows from the body every string that
//! has no escape in it; of members of the same name the last one counts, as in
//! `serde_json`'s own values. Depth is bounded by `serde_json` (128).

use std::{borrow::Cow, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

/// A value of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Object(Object<'a>),
}

/// The members of an object, in the order they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Object<'a>(Vec<(Name<'a>, Json<'a>)>);

type Name<'a> = Cow<'a, str>;

/// Larger than any request of the API: a 128 KiB policy with every character
/// escaped, or a 256 KiB document in base64 beside a few members.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;

impl<'a> Object<'a> {
    /// Reads a body, `None` if it is not an object; an empty body is an empty object.
    pub(crate) fn of_body(body: &'a [u8]) -> Option<Self> {
        if body.is_empty() {
            return Some(Self::default());
        }
        if body.len() > BODY_BYTES_MAX {
            return None;
        }
        // At once for all of it; otherwise each text is looked at on its own.
        match serde_json::from_str(str::from_utf8(body).ok()?) {
            Ok(Json::Object(members)) => Some(members),
            Ok(_) | Err(_) => None,
        }
    }

    /// A member that is text, left where it is.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let last = self.0.iter().rfind(|(member, _)| member == name);
        match last {
            Some((_, Json::Text(text))) => Some(text),
            _ => None,
        }
    }

    /// Takes a member out; `null` is the same as absent.
    pub(crate) fn take(&mut self, name: &str) -> Option<Json<'a>> {
        let at = self.0.iter().rposition(|(member, _)| member == name)?;
        let value = std::mem::replace(&mut self.0.get_mut(at)?.1, Json::Null);
        (value != Json::Null).then_some(value)
    }

    /// Whether there is such a member, `null` not counted.
    pub(crate) fn has(&self, name: &str) -> bool {
        let last = self.0.iter().rfind(|(member, _)| member == name);
        last.is_some_and(|(_, value)| *value != Json::Null)
    }
}

impl<'a> IntoIterator for Object<'a> {
    type Item = (Cow<'a, str>, Json<'a>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json<'de>, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json<'de>, A::Error> {
        let mut object = Vec::new();
        while let Some((Key(name), value)) = members.next_entry()? {
            object.push((name, value));
        }
        Ok(Json::Object(Object(object)))
    }
}

/// A member's name; a plain `Cow` would always be copied.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyReader;

        impl<'de> Visitor<'de> for KeyReader {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(name.to_owned())))
            }
        }

        deserializer.deserialize_str(KeyReader)
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn to_value(json: Json<'_>) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::Bool(value) => value.into(),
            Json::Number(number) => Value::Number(number),
            Json::Text(text) => text.into_owned().into(),
            Json::List(items) => items.into_iter().map(to_value).collect(),
            Json::Object(members) => members
                .into_iter()
                .map(|(name, value)| (name.into_owned(), to_value(value)))
                .collect(),
        }
    }

    #[test]
    fn plain_text_is_borrowed_and_escaped_text_is_read() {
        let Json::Object(mut object) = serde_json::from_str(r#"{"a":"b","\u0063":"\n"}"#).unwrap()
        else {
            panic!("an object");
        };
        assert!(matches!(
            object.take("a"),
            Some(Json::Text(Cow::Borrowed("b")))
        ));
        assert_eq!(object.take("c"), Some(Json::Text("\n".into())));
        assert_eq!(object.take("c"), None);
    }

    #[test]
    fn of_two_members_the_last_counts_and_null_is_absent() {
        let read = |text| match serde_json::from_str(text).unwrap() {
            Json::Object(object) => object,
            other => panic!("{other:?}"),
        };
        let mut twice = read(r#"{"a":1,"a":2}"#);
        assert!(twice.has("a"));
        assert_eq!(twice.take("a"), Some(Json::Number(2.into())));
        assert_eq!(twice.take("a"), None);
        let mut null = read(r#"{"a":1,"a":null}"#);
        assert!(!null.has("a"));
        assert_eq!(null.take("a"), None);
    }

    #[test]
    fn what_is_too_deep_or_no_json_is_refused() {
        for bad in [
            "[".repeat(1000),
            "{\"a\":}".into(),
            "\u{1}".into(),
            "{} {}".into(),
        ] {
            assert!(serde_json::from_str::<Json<'_>>(&bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn blobs_are_read_as_strictly_as_base64_is_written(
            bytes in any::<Vec<u8>>(), at in any::<prop::sample::Index>(), other in "[A-Za0+/=_ \n]",
        ) {
            let mut text = BASE64.encode(bytes);
            if !text.is_empty() {
                let at = at.index(text.len());
                text.replace_range(at..=at, &other);
            }
            let read = base64_simd::STANDARD.decode_to_vec(text.as_bytes());
            prop_assert_eq!(read.ok(), BASE64.decode(&text).ok());
        }

        #[test]
        fn reads_what_serde_json_reads(bytes in "[\\[\\]{}\",:a1.e\\\\nultrfs -]{0,24}") {
            let ours = serde_json::from_str::<Json<'_>>(&bytes).ok().map(to_value);
            prop_assert_eq!(ours, serde_json::from_str::<Value>(&bytes).ok());
        }
    }
}

//! The headers that every request is judged by, found in one pass over all of them:
//! to ask a header map for each costs a hash of its name and a search.
//!
//! Source of truth: AWS, "Create a signed AWS API request", for those of a signature;
//! `browser` for those of a web page. Of a header that came several times the first one counts.

use http::{HeaderMap, HeaderValue};

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head<'a> {
    /// `X-Amz-Target`.
    pub(super) target: Option<&'a HeaderValue>,
    pub(super) user_agent: Option<&'a HeaderValue>,
    pub(super) expect: Option<&'a HeaderValue>,
    pub(super) authorization: Option<&'a HeaderValue>,
    /// `X-Amz-Date`.
    pub(super) amz_date: Option<&'a HeaderValue>,
    pub(super) date: Option<&'a HeaderValue>,
    /// `X-Amz-Security-Token`.
    pub(super) security_token: Option<&'a HeaderValue>,
    pub(super) host: Option<&'a HeaderValue>,
    pub(super) origin: Option<&'a HeaderValue>,
    pub(super) sec_fetch_site: Option<&'a HeaderValue>,
}

impl<'a> Head<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut head = Self::default();
        for (name, value) in headers {
            let place = match name.as_str() {
                "authorization" => &mut head.authorization,
                "x-amz-target" => &mut head.target,
                "x-amz-date" => &mut head.amz_date,
                "x-amz-security-token" => &mut head.security_token,
                "user-agent" => &mut head.user_agent,
                "date" => &mut head.date,
                "expect" => &mut head.expect,
                "host" => &mut head.host,
                "origin" => &mut head.origin,
                "sec-fetch-site" => &mut head.sec_fetch_site,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        head
    }
}

/// A header as text. It has no control characters: no request with any gets here.
/// `HeaderValue::to_str` finds the same byte by byte.
pub(super) fn ascii(value: &HeaderValue) -> Option<&str> {
    let bytes = value.as_bytes();
    str::from_utf8(bytes).ok().filter(|text| text.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_header_that_came_twice_the_first_counts() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-amz-date", "first"),
            ("host", "localhost"),
            ("x-amz-date", "second"),
            ("expect", "100-continue"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let head = Head::of(&headers);
        assert_eq!(head.amz_date.and_then(ascii), Some("first"));
        assert!(head.expect.is_some());
        assert!(head.target.is_none() && head.date.is_none());
    }

    #[test]
    fn a_header_is_text_if_it_is_ascii() {
        let value = |bytes: &'static [u8]| HeaderValue::from_bytes(bytes).unwrap();
        assert_eq!(ascii(&value(b"a\tb")), Some("a\tb"));
        assert_eq!(ascii(&value("\u{e9}".as_bytes())), None);
        assert_eq!(ascii(&value(b"\xe9")), None);
    }
}

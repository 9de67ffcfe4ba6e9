//! Where S3 is, and the URL of an object there.
//!
//! Source of truth: the Amazon S3 user guide on path-style and virtual-hosted
//! requests, and SigV4's rules for encoding a path. At an endpoint URL buckets
//! are addressed path style, as every S3-compatible server understands; on AWS
//! itself by virtual host, except for names with dots, which no wildcard
//! certificate covers. Does not model access points, dual-stack or FIPS hosts.

use std::fmt;

use url::{Host, Url};

use super::s3::S3Error;

/// Where S3 is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// AWS itself, in the client's Region.
    Aws,
    /// An S3-compatible server, addressed path style.
    Url(Url),
}

impl Endpoint {
    /// Reads an endpoint URL such as `http://127.0.0.1:4566`.
    ///
    /// # Errors
    /// [`S3Error::Endpoint`].
    pub fn parse(text: &str) -> Result<Self, S3Error> {
        let wrong = |why| S3Error::Endpoint {
            text: text.to_owned(),
            why,
        };
        let url = Url::parse(text).map_err(|_| wrong("it is not a URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("it is neither http nor https"));
        }
        if url.host().is_none() || !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("it needs a host and no user name or password"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it must end after the port"));
        }
        Ok(Self::Url(url))
    }

    pub(crate) fn is_loopback(&self) -> bool {
        let Self::Url(url) = self else { return false };
        match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        }
    }

    /// Whether requests go without TLS.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Url(url) if url.scheme() == "http")
    }

    /// The URL of an object. A path that would not travel as written, such as
    /// one with `..` in it, is refused: it would name another object.
    pub(crate) fn object_url(&self, region: &str, bucket: &str, key: &str) -> Result<Url, S3Error> {
        let wrong = |why| S3Error::Name {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            why,
        };
        if bucket.is_empty() || key.is_empty() || key.len() > 1024 {
            return Err(wrong("bucket or key is empty or too long"));
        }
        // The bucket becomes part of a host name: nothing else may slip in with it.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if !bucket.chars().all(plain) {
            return Err(wrong(
                "the bucket's name has characters that a bucket's name may not have",
            ));
        }
        let suffix = if region.starts_with("cn-") {
            "amazonaws.com.cn"
        } else {
            "amazonaws.com"
        };
        let (base, path) = match self {
            Self::Url(base) => (
                base.to_string(),
                format!("{}/{}", escaped(bucket), escaped(key)),
            ),
            Self::Aws if bucket.contains('.') => (
                format!("https://s3.{region}.{suffix}/"),
                format!("{}/{}", escaped(bucket), escaped(key)),
            ),
            Self::Aws => (
                format!("https://{bucket}.s3.{region}.{suffix}/"),
                escaped(key),
            ),
        };
        let url = Url::parse(&format!("{base}{path}"))
            .map_err(|_| wrong("bucket and Region do not form a host name"))?;
        if url.path() != format!("/{path}") || url.query().is_some() {
            return Err(wrong("the path has . or .. as a segment"));
        }
        Ok(url)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aws => f.write_str("AWS"),
            Self::Url(url) => f.write_str(url.as_str().trim_end_matches('/')),
        }
    }
}

/// Percent-encoding as SigV4 wants it for S3: everything but unreserved
/// characters and the slashes between steps.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(endpoint: &Endpoint, bucket: &str, key: &str) -> Result<String, S3Error> {
        endpoint
            .object_url("eu-west-1", bucket, key)
            .map(String::from)
    }

    #[test]
    fn addresses_buckets_by_path_at_an_endpoint_and_by_host_on_aws() {
        let local = Endpoint::parse("http://127.0.0.1:4566").unwrap();
        let table = [
            (
                &local,
                "images",
                "a/b c+ä.dcm",
                "http://127.0.0.1:4566/images/a/b%20c%2B%C3%A4.dcm",
            ),
            (
                &local,
                "images",
                "/lead//ing/",
                "http://127.0.0.1:4566/images//lead//ing/",
            ),
            (
                &Endpoint::Aws,
                "images",
                "x?y#z",
                "https://images.s3.eu-west-1.amazonaws.com/x%3Fy%23z",
            ),
            (
                &Endpoint::Aws,
                "my.images",
                "x",
                "https://s3.eu-west-1.amazonaws.com/my.images/x",
            ),
        ];
        for (endpoint, bucket, key, expected) in table {
            assert_eq!(url(endpoint, bucket, key).unwrap(), expected);
        }
    }

    #[test]
    fn refuses_names_that_would_reach_another_object() {
        let local = Endpoint::parse("http://127.0.0.1:4566").unwrap();
        for (bucket, key) in [
            ("images", "a/../b"),
            ("images", "./a"),
            ("images", ".."),
            ("..", "a"),
            ("a/b", "c"),
            ("", "a"),
            ("images", ""),
        ] {
            assert!(
                matches!(url(&local, bucket, key), Err(S3Error::Name { .. })),
                "accepted {bucket:?} {key:?}"
            );
        }
        assert!(url(&Endpoint::Aws, "evil.example/", "x").is_err());
        assert!(url(&Endpoint::Aws, "evil@host", "x").is_err());
    }

    #[test]
    fn refuses_endpoints_that_are_more_than_scheme_host_and_port() {
        for text in [
            "127.0.0.1:4566",
            "ftp://h",
            "http://u:p@h",
            "http://h/path",
            "http://h/?q",
            "http://h/#f",
            "",
        ] {
            assert!(
                matches!(Endpoint::parse(text), Err(S3Error::Endpoint { .. })),
                "accepted {text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn an_object_url_decodes_to_exactly_its_key(key in "[^/]{1,40}(/[^/]{1,20}){0,3}") {
            let local = Endpoint::parse("http://127.0.0.1:4566").unwrap();
            if let Ok(url) = local.object_url("r", "bucket", &key) {
                let path = url.path().strip_prefix("/bucket/").unwrap();
                let mut decoded = Vec::new();
                let mut bytes = path.bytes();
                while let Some(byte) = bytes.next() {
                    if byte == b'%' {
                        let hex = [bytes.next().unwrap(), bytes.next().unwrap()];
                        let hex = std::str::from_utf8(&hex).unwrap();
                        decoded.push(u8::from_str_radix(hex, 16).unwrap());
                    } else {
                        decoded.push(byte);
                    }
                }
                prop_assert_eq!(String::from_utf8(decoded).unwrap(), key);
            } else {
                prop_assert!(key.split('/').any(|step| step == "." || step == ".."));
            }
        }
    }
}

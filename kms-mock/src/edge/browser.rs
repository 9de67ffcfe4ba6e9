//! Keeps web pages out of a lenient endpoint. There, unknown credentials are the
//! account's root user, so that any page open in a browser on this machine could
//! make users, delete objects or, under a name that it has pointed at this machine
//! (DNS rebinding), read secret keys.
//!
//! Source of truth: Fetch standard, "Origin header" (browsers send it with whatever
//! is no GET or HEAD); Fetch Metadata, `Sec-Fetch-Site`; RFC 9110 §7.2, Host. AWS
//! knows nothing of this: there a signature keeps pages out, as `--auth strict`
//! does here, where nothing of this is asked.
//!
//! Does not model: pages in clients that send neither `Origin` nor `Sec-Fetch-Site`.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::Method;

use super::head::Head;

/// Names whose owners point them at this machine or at AWS, and whatever is below
/// them: nobody else can give a page one of them.
const HOSTS: [&str; 8] = [
    "localhost",
    "localhost.localstack.cloud",
    "host.docker.internal",
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "api.aws",
    "api.amazonwebservices.com.cn",
];

/// Why a request is taken for a web page's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PageError {
    #[error(
        "the Host header names `{0}`, and any web page could be given that name to reach this \
         endpoint through a browser; start the endpoint with --allow-host {0} if it is yours"
    )]
    Host(String),
    #[error(
        "the request comes from a web page ({0}), which an endpoint with lenient authentication \
         does not answer"
    )]
    Page(String),
    #[error(
        "the request comes from a web page ({0}), and the bucket's CORS configuration does not \
         allow it to change anything; add a rule with that origin and method"
    )]
    NoRule(String),
    #[error(
        "{action} came as a GET, which every web page can make a browser send, and it is not a \
         reading operation; send it as a POST"
    )]
    Get { action: String },
}

/// Whether the request came under a name that no stranger's page can have: an
/// address, a name without a dot, one of [`HOSTS`] or of `allowed`, or below one.
///
/// # Errors
/// [`PageError::Host`].
pub(super) fn check_host(head: &Head<'_>, allowed: &[String]) -> Result<(), PageError> {
    let Some(host) = head.host else {
        return Ok(()); // no browser leaves it out
    };
    let host = String::from_utf8_lossy(host.as_bytes());
    let name = without_port(&host);
    if is_ours(name, allowed) {
        return Ok(());
    }
    Err(PageError::Host(name.to_owned()))
}

fn is_ours(name: &str, allowed: &[String]) -> bool {
    if let Some(address) = name.strip_prefix('[') {
        let address = address.strip_suffix(']').unwrap_or_default();
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    name.parse::<Ipv4Addr>().is_ok()
        || !name.is_empty() && !name.contains('.')
        || HOSTS.iter().any(|host| is_within(name, host))
        || allowed.iter().any(|host| is_within(name, host))
}

fn is_within(name: &str, host: &str) -> bool {
    let Some(at) = name.len().checked_sub(host.len()) else {
        return false;
    };
    let (before, end) = name.as_bytes().split_at(at);
    end.eq_ignore_ascii_case(host.as_bytes()) && before.last().is_none_or(|last| *last == b'.')
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// What of a request says that a page sends it; nothing where a person typed the
/// address.
pub(super) fn page(head: &Head<'_>) -> Option<String> {
    if let Some(origin) = head.origin {
        return Some(format!("Origin: {}", text(origin)));
    }
    let site = head.sec_fetch_site?;
    (site != "none").then(|| format!("Sec-Fetch-Site: {}", text(site)))
}

/// Refuses what a page sends.
///
/// # Errors
/// [`PageError::Page`].
pub(super) fn check_page(head: &Head<'_>) -> Result<(), PageError> {
    page(head).map_or(Ok(()), |page| Err(PageError::Page(page)))
}

/// Whether a method asks for a change, as far as the method tells.
pub(crate) fn may_change(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn text(value: &http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, header::HOST};
    use proptest::prelude::*;

    use super::*;

    fn host(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HOST, value.parse().unwrap())])
    }

    fn passes(headers: &HeaderMap, allowed: &[String]) -> bool {
        check_host(&Head::of(headers), allowed).is_ok()
    }

    fn is_page(headers: &HeaderMap) -> bool {
        check_page(&Head::of(headers)).is_err()
    }

    #[test]
    fn names_that_no_page_can_be_given_pass_and_others_do_not() {
        let allowed = ["kms.lab.example".to_owned()];
        let table = [
            ("127.0.0.1:4566", true),
            ("10.1.2.3", true),
            ("[::1]:4566", true),
            ("localhost:4566", true),
            ("LOCALHOST", true),
            ("localhost.:4566", true),
            ("bucket.localhost:4566", true),
            ("b.c.s3.eu-west-1.localhost.localstack.cloud:4566", true),
            ("kms.us-east-1.amazonaws.com", true),
            ("b.s3.cn-north-1.amazonaws.com.cn", true),
            ("kms.eusc-de-east-1.amazonaws.eu", true),
            ("kms-mock:4566", true),
            ("host.docker.internal:4566", true),
            ("kms.lab.example", true),
            ("bucket.kms.lab.example:4566", true),
            ("evil.example:4566", false),
            ("lab.example", false),
            ("notkms.lab.example", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("evillocalhost.localstack.cloud", false),
            ("amazonaws.com.evil.example", false),
            ("127.0.0.1.", true),
            ("[::1].evil.example", false),
            ("[evil.example]", false),
            ("a:b.example", false),
            ("", false),
            (".", false),
            (":4566", false),
        ];
        for (name, expected) in table {
            assert_eq!(passes(&host(name), &allowed), expected, "{name}");
        }
        assert!(passes(&HeaderMap::new(), &[]));
    }

    #[test]
    fn a_page_is_known_by_its_origin_or_by_what_fetched_it_for_it() {
        let header = |name: &str, value: &str| {
            HeaderMap::from_iter([(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            )])
        };
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("origin", ""),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "same-origin"),
        ] {
            assert!(is_page(&header(name, value)), "{name}: {value}");
        }
        assert!(!is_page(&header("sec-fetch-site", "none")));
        assert!(!is_page(&HeaderMap::new()));
    }

    proptest! {
        #[test]
        fn a_name_below_a_strangers_domain_never_passes(before in "[a-z0-9.:\\[\\]-]{0,40}") {
            let name = format!("{before}.evil.example");
            prop_assert!(!passes(&host(&name), &["lab.example".to_owned()]), "{}", name);
        }
    }
}

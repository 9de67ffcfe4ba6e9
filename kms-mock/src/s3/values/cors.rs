//! Cross-origin rules of a bucket: what they let a page of another origin do.
//!
//! Source of truth: Amazon S3 user guide, "Using cross-origin resource sharing
//! (CORS)".

use http::{HeaderMap, HeaderName, Method, header};
use s3s::{
    S3Result,
    dto::{self, List},
    s3_error,
};
use serde::{Deserialize, Serialize};

use crate::s3::errors::malformed;

const METHODS: [&str; 5] = ["GET", "PUT", "HEAD", "POST", "DELETE"];

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CorsRule {
    id: Option<String>,
    origins: Vec<String>,
    methods: Vec<String>,
    headers: Vec<String>,
    exposed: Vec<String>,
    max_age_secs: Option<i32>,
}

/// What a browser asks before or with a request.
pub(crate) struct CrossOrigin<'r> {
    origin: &'r str,
    pub(crate) method: &'r str,
    /// In lower case.
    headers: Vec<String>,
}

impl CorsRule {
    pub(crate) fn read(rule: dto::CORSRule) -> S3Result<Self> {
        if rule.allowed_methods.is_empty() || rule.allowed_origins.is_empty() {
            return Err(malformed());
        }
        let unknown = |method: &&String| !METHODS.contains(&method.as_str());
        if let Some(method) = rule.allowed_methods.iter().find(unknown) {
            return Err(s3_error!(
                InvalidRequest,
                "Found unsupported HTTP method in CORS config. Unsupported method is {method}"
            ));
        }
        let wildcards = |origin: &&String| origin.matches('*').count() > 1;
        if let Some(origin) = rule.allowed_origins.iter().find(wildcards) {
            return Err(s3_error!(
                InvalidRequest,
                "AllowedOrigin \"{origin}\" can not have more than one wildcard."
            ));
        }
        Ok(Self {
            id: rule.id,
            origins: rule.allowed_origins,
            methods: rule.allowed_methods,
            headers: rule.allowed_headers.unwrap_or_default(),
            exposed: rule.expose_headers.unwrap_or_default(),
            max_age_secs: rule.max_age_seconds,
        })
    }

    pub(crate) fn shown(self) -> dto::CORSRule {
        let some = |list: List<String>| (!list.is_empty()).then_some(list);
        dto::CORSRule {
            id: self.id,
            allowed_origins: self.origins,
            allowed_methods: self.methods,
            allowed_headers: some(self.headers),
            expose_headers: some(self.exposed),
            max_age_seconds: self.max_age_secs,
        }
    }

    pub(crate) fn allows(&self, asked: &CrossOrigin<'_>) -> bool {
        let matches = |pattern: &String, text: &str| match pattern.split_once('*') {
            None => pattern == text,
            Some((start, end)) => {
                text.len() >= start.len() + end.len()
                    && text.starts_with(start)
                    && text.ends_with(end)
            }
        };
        let header_allowed = |header: &String| {
            let mut headers = self.headers.iter();
            headers.any(|it| matches(&it.to_ascii_lowercase(), header))
        };
        self.methods.iter().any(|it| it == asked.method)
            && self.origins.iter().any(|it| matches(it, asked.origin))
            && asked.headers.iter().all(header_allowed)
    }

    /// The headers that let a page see the answer.
    pub(crate) fn headers_for(&self, asked: &CrossOrigin<'_>) -> Vec<(HeaderName, String)> {
        let anyone = self.origins.iter().any(|it| it == "*");
        let origin = if anyone { "*" } else { asked.origin };
        let mut headers = vec![
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.to_owned()),
            (
                header::VARY,
                "Origin, Access-Control-Request-Headers, Access-Control-Request-Method".to_owned(),
            ),
            (
                header::ACCESS_CONTROL_ALLOW_METHODS,
                self.methods.join(", "),
            ),
        ];
        if !anyone {
            let yes = "true".to_owned();
            headers.push((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes));
        }
        if !asked.headers.is_empty() {
            let allowed = asked.headers.join(", ");
            headers.push((header::ACCESS_CONTROL_ALLOW_HEADERS, allowed));
        }
        if !self.exposed.is_empty() {
            let exposed = self.exposed.join(", ");
            headers.push((header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed));
        }
        if let Some(secs) = self.max_age_secs {
            headers.push((header::ACCESS_CONTROL_MAX_AGE, secs.to_string()));
        }
        headers
    }
}

impl<'r> CrossOrigin<'r> {
    /// A request with the header of a preflight is taken for what it announces.
    pub(crate) fn read(method: &'r Method, headers: &'r HeaderMap) -> Option<Self> {
        let text = |name: HeaderName| headers.get(name).and_then(|it| it.to_str().ok());
        let announced = text(header::ACCESS_CONTROL_REQUEST_METHOD);
        let asked = text(header::ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
        let asked = asked.split(',').map(|it| it.trim().to_ascii_lowercase());
        Some(Self {
            origin: text(header::ORIGIN)?,
            method: announced.unwrap_or(method.as_str()),
            headers: asked.filter(|it| !it.is_empty()).collect(),
        })
    }
}

//! Cross-origin rules of a bucket, and what browsers are told of them.
//!
//! Source of truth: Amazon S3 user guide, "Using cross-origin resource sharing
//! (CORS)", and preflights and reads recorded from AWS. The rules keep browsers,
//! and nobody else: a request that no rule allows is answered as any other, only
//! without the headers that would show the answer to the page.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use s3s::{
    Body, HttpResponse, S3Error, S3Response, S3Result,
    dto::{self, List},
    s3_error,
};
use serde::{Deserialize, Serialize};

use super::{
    ObjectStore, Objects, Sent, bucket_of,
    errors::{self, detailed, error_response, fault, malformed},
    no_content,
};

const RULES_MAX: usize = 100;
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
struct Asking<'r> {
    origin: &'r str,
    method: &'r str,
    /// In lower case.
    headers: Vec<String>,
}

impl CorsRule {
    fn read(rule: dto::CORSRule) -> S3Result<Self> {
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

    fn shown(self) -> dto::CORSRule {
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

    fn allows(&self, asking: &Asking<'_>) -> bool {
        let matches = |pattern: &String, text: &str| match pattern.split_once('*') {
            None => pattern == text,
            Some((start, end)) => {
                text.len() >= start.len() + end.len()
                    && text.starts_with(start)
                    && text.ends_with(end)
            }
        };
        let header_allowed = |asked: &String| {
            let mut headers = self.headers.iter();
            headers.any(|it| matches(&it.to_ascii_lowercase(), asked))
        };
        self.methods.iter().any(|it| it == asking.method)
            && self.origins.iter().any(|it| matches(it, asking.origin))
            && asking.headers.iter().all(header_allowed)
    }

    /// The headers that let a page see the answer.
    fn headers_for(&self, asking: &Asking<'_>) -> Vec<(HeaderName, String)> {
        let anyone = self.origins.iter().any(|it| it == "*");
        let origin = if anyone { "*" } else { asking.origin };
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
        if !asking.headers.is_empty() {
            let allowed = asking.headers.join(", ");
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

impl<'r> Asking<'r> {
    /// A request with the header of a preflight is taken for what it announces.
    fn read(method: &'r Method, headers: &'r HeaderMap) -> Option<Self> {
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

impl ObjectStore {
    /// Answers a preflight.
    pub(super) async fn preflight(&self, path: &str, headers: &HeaderMap) -> HttpResponse {
        match self.allowed(path, headers) {
            Ok(allowed) => {
                let mut response = HttpResponse::new(Body::empty());
                add(response.headers_mut(), allowed);
                response
            }
            Err(error) => errors::finished(error_response(error), &Method::OPTIONS).await,
        }
    }

    fn allowed(&self, path: &str, headers: &HeaderMap) -> S3Result<Vec<(HeaderName, String)>> {
        let Some(asking) = Asking::read(&Method::OPTIONS, headers) else {
            let message = "Insufficient information. Origin request header needed.";
            return Err(fault("BadRequest", 400, message));
        };
        let bucket = bucket_of(path);
        let Ok(settings) = self.store.settings(bucket) else {
            return Err(forbidden(&asking, "BUCKET", "Bucket not found"));
        };
        if settings.cors.is_empty() {
            let why = "CORS is not enabled for this bucket.";
            return Err(forbidden(&asking, "BUCKET", why));
        }
        // "evalution" is S3's.
        let why = "This CORS request is not allowed. This is usually because the evalution of \
                   Origin, request method / Access-Control-Request-Method or \
                   Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.";
        let rule = settings.cors.iter().find(|rule| rule.allows(&asking));
        let rule = rule.ok_or_else(|| forbidden(&asking, "OBJECT", why))?;
        Ok(rule.headers_for(&asking))
    }

    /// The headers that the answer to another request gets.
    pub(super) fn cross_origin(
        &self,
        path: &str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Vec<(HeaderName, String)> {
        let Some(asking) = Asking::read(method, headers) else {
            return Vec::new();
        };
        let Ok(settings) = self.store.settings(bucket_of(path)) else {
            return Vec::new();
        };
        let rule = settings.cors.iter().find(|rule| rule.allows(&asking));
        rule.map_or_else(Vec::new, |rule| rule.headers_for(&asking))
    }
}

/// Adds headers to an answer; what can be no header's value is left out.
pub(super) fn add(headers: &mut HeaderMap, added: Vec<(HeaderName, String)>) {
    for (name, value) in added {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

fn forbidden(asking: &Asking<'_>, about: &str, why: &str) -> S3Error {
    let error = fault("AccessForbidden", 403, format!("CORSResponse: {why}"));
    let about = [("Method", asking.method), ("ResourceType", about)];
    detailed(error, &about)
}

impl Objects {
    pub(super) fn cors(
        &self,
        input: dto::GetBucketCorsInput,
        _: Sent,
    ) -> S3Result<dto::GetBucketCorsOutput> {
        let rules = self.store.settings(&input.bucket)?.cors.clone();
        if rules.is_empty() {
            let message = "The CORS configuration does not exist";
            let error = fault("NoSuchCORSConfiguration", 404, message);
            return Err(detailed(error, &[("BucketName", &input.bucket)]));
        }
        Ok(dto::GetBucketCorsOutput {
            cors_rules: Some(rules.into_iter().map(CorsRule::shown).collect()),
        })
    }

    pub(super) fn set_cors(
        &self,
        input: dto::PutBucketCorsInput,
        _: Sent,
    ) -> S3Result<dto::PutBucketCorsOutput> {
        let asked = input.cors_configuration.cors_rules;
        if asked.is_empty() || asked.len() > RULES_MAX {
            return Err(malformed());
        }
        let rules: S3Result<Vec<_>> = asked.into_iter().map(CorsRule::read).collect();
        let rules = rules?;
        self.store.set_up(&input.bucket, |it| it.cors = rules)?;
        Ok(dto::PutBucketCorsOutput::default())
    }

    pub(super) fn forget_cors(
        &self,
        input: dto::DeleteBucketCorsInput,
        _: Sent,
    ) -> S3Result<S3Response<dto::DeleteBucketCorsOutput>> {
        self.store.set_up(&input.bucket, |it| it.cors.clear())?;
        Ok(no_content(dto::DeleteBucketCorsOutput::default()))
    }
}

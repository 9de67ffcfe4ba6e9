//! What browsers learn of a bucket's cross-origin rules: answers to preflights, and
//! headers on other answers.
//!
//! Source of truth: preflights and reads recorded from AWS. The rules bind
//! browsers only: a request that no rule allows is answered as any other, without the
//! headers that would show the answer to the page.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use s3s::{Body, HttpResponse, S3Error, S3Result};

use super::{
    errors::{self, detailed, error_response, fault},
    request::bucket_of,
    store::Store,
    values::cors::CrossOrigin,
};

/// Answers a preflight.
pub(super) async fn preflight(store: &Store, path: &str, headers: &HeaderMap) -> HttpResponse {
    match allowed(store, path, headers) {
        Ok(allowed) => {
            let mut response = HttpResponse::new(Body::empty());
            add(response.headers_mut(), allowed);
            response
        }
        Err(error) => errors::finished(error_response(error), &Method::OPTIONS).await,
    }
}

fn allowed(store: &Store, path: &str, headers: &HeaderMap) -> S3Result<Vec<(HeaderName, String)>> {
    let Some(asked) = CrossOrigin::read(&Method::OPTIONS, headers) else {
        let message = "Insufficient information. Origin request header needed.";
        return Err(fault("BadRequest", 400, message));
    };
    let Ok(settings) = store.settings(bucket_of(path)) else {
        return Err(forbidden(&asked, "BUCKET", "Bucket not found"));
    };
    if settings.cors.is_empty() {
        let why = "CORS is not enabled for this bucket.";
        return Err(forbidden(&asked, "BUCKET", why));
    }
    // "evalution" is S3's.
    let why = "This CORS request is not allowed. This is usually because the evalution of \
               Origin, request method / Access-Control-Request-Method or \
               Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.";
    let rule = settings.cors.iter().find(|rule| rule.allows(&asked));
    let rule = rule.ok_or_else(|| forbidden(&asked, "OBJECT", why))?;
    Ok(rule.headers_for(&asked))
}

/// The headers that the answer to another request gets.
pub(super) fn headers_of(
    store: &Store,
    path: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Vec<(HeaderName, String)> {
    let Some(asked) = CrossOrigin::read(method, headers) else {
        return Vec::new();
    };
    let Ok(settings) = store.settings(bucket_of(path)) else {
        return Vec::new();
    };
    let rule = settings.cors.iter().find(|rule| rule.allows(&asked));
    rule.map_or_else(Vec::new, |rule| rule.headers_for(&asked))
}

/// Adds headers to an answer; what cannot stand in a header is left out.
pub(super) fn add(headers: &mut HeaderMap, added: Vec<(HeaderName, String)>) {
    for (name, value) in added {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

fn forbidden(asked: &CrossOrigin<'_>, about: &str, why: &str) -> S3Error {
    let error = fault("AccessForbidden", 403, format!("CORSResponse: {why}"));
    let about = [("Method", asked.method), ("ResourceType", about)];
    detailed(error, &about)
}

//! The values that a request to S3 has for S3's condition keys.
//!
//! Source of truth: Amazon S3 user guide, "Policy keys in Amazon S3" and "Bucket policy
//! examples using condition keys". Which permissions have which key says the table of
//! condition keys: a header that a request has for no reason is not presented.
//!
//! Unknown and chosen: days that remain are counted from the time of the request, and a
//! day that has begun counts.

use crate::{model::condition_key::S3Key, wire::uri::uri_decode};

use super::{
    facts::S3Facts,
    request::{Request, Values, is_lower, one, some_of, truth},
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn of_pairs<'a>(pairs: &'a [(String, String)], lower_name: &str) -> Values<'a> {
    let found = pairs.iter().find(|(key, _)| is_lower(lower_name, key))?;
    one(found.1.as_str())
}

/// The first parameter of the name in the query.
fn parameter<'a>(facts: S3Facts<'a>, name: &str) -> Values<'a> {
    let mut pairs = form_urlencoded::parse(facts.query.as_bytes());
    one(pairs.find(|(it, _)| it == name)?.1)
}

impl<'a> Request<'a> {
    /// The values of a key of S3, if the permission that is asked for has the key.
    pub(super) fn of_s3(&self, key: &S3Key) -> Values<'a> {
        use S3Key as S;
        let facts = self.facts.s3?;
        if !key.row().is_on_permission(self.action) {
            return None;
        }
        match key {
            S::Prefix => parameter(facts, "prefix"),
            S::Delimiter => parameter(facts, "delimiter"),
            S::MaxKeys => parameter(facts, "max-keys"),
            S::VersionId => one(facts.version_id?),
            S::Acl
            | S::GrantFullControl
            | S::GrantRead
            | S::GrantReadAcp
            | S::GrantWrite
            | S::GrantWriteAcp
            | S::MetadataDirective
            | S::ServerSideEncryption
            | S::KmsKeyId
            | S::CustomerAlgorithm
            | S::StorageClass
            | S::WebsiteRedirect
            | S::ObjectOwnership
            | S::IfMatch
            | S::IfNoneMatch => {
                let header = key.row().name.strip_prefix("s3:")?;
                one(facts.headers.get(header)?.to_str().ok()?)
            }
            S::CopySource => {
                let source = facts.headers.get("x-amz-copy-source")?;
                let source = uri_decode(source.to_str().ok()?.trim_start_matches('/'));
                one(String::from_utf8(source).ok()?)
            }
            S::LocationConstraint => one(facts.location?),
            S::ObjectCreationOperation => truth(facts.makes_object),
            S::LockMode => one(facts.lock_mode?),
            S::LockUntil => one(facts.lock_until?.to_string()),
            S::LockRemainingDays => {
                let left_ms = facts.lock_until?.0.saturating_sub(self.now.0);
                one(left_ms.div_ceil(DAY_MS).to_string())
            }
            S::LegalHold => one(facts.legal_hold?),
            S::RequestObjectTag(name) => of_pairs(facts.request_tags, name),
            S::RequestObjectTagKeys => {
                some_of(facts.request_tags.iter().map(|(key, _)| key.as_str()))
            }
            S::ExistingObjectTag(name) => of_pairs(facts.object_tags, name),
            S::ResourceAccount => one(self.resource.account()),
            S::AuthType => {
                let presigned = facts.signature?.presigned;
                one(if presigned {
                    "REST-QUERY-STRING"
                } else {
                    "REST-HEADER"
                })
            }
            S::SignatureVersion => {
                facts.signature?;
                one("AWS4-HMAC-SHA256")
            }
            S::SignatureAge => {
                let signed_at = facts.signature?.signed_at;
                one(self.now.0.saturating_sub(signed_at.0).to_string())
            }
            S::ContentSha256 => one(facts.signature?.content_sha256?),
            S::TlsVersion => one(facts.tls_version?),
        }
    }
}

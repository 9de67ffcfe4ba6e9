//! Objects read: fetched whole or in part, described.

use std::ops::Range;

use s3s::{
    S3Response, S3Result,
    dto::{self, ETag},
    s3_error,
};

use super::{
    Objects, Sent, Status,
    conditions::read_if,
    encryption::at_rest,
    listing::{PER_PAGE_MAX, bounded, size},
};
use crate::s3::{
    errors::{detailed, fault, invalid_argument},
    store::Object,
    values::{
        checksum::{ChecksumType, Checksums, show_checksums},
        dates::timestamp,
        metadata::metadata_headers,
        version::VersionId,
    },
};

/// The fields that GetObject and HeadObject share.
macro_rules! shown {
    ($output:ident, $input:expr, $found:expr, $span:expr) => {{
        let (found, span) = (&$found, &$span);
        let (object, description) = (&found.object, &found.object.description);
        let mut output = dto::$output {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(size(span.bytes.end - span.bytes.start)),
            content_range: span.content_range(),
            content_type: description.shown_content_type(),
            content_encoding: description.content_encoding.clone(),
            content_disposition: description.content_disposition.clone(),
            content_language: description.content_language.clone(),
            cache_control: description.cache_control.clone(),
            expires: description.expires.clone(),
            website_redirect_location: description.website_redirect.clone(),
            e_tag: Some(ETag::Strong(object.etag.clone())),
            last_modified: Some(timestamp(found.modified)),
            parts_count: span.parts_count,
            storage_class: description.storage_class.clone().map(Into::into),
            version_id: found.shown_id(),
            server_side_encryption: at_rest(),
            object_lock_mode: description.marks.lock.shown_mode(),
            object_lock_retain_until_date: description.marks.lock.shown_until(),
            object_lock_legal_hold_status: description.marks.lock.shown_hold(),
            ..Default::default()
        };
        if let (Some(_), Some(checksums)) = (&$input.checksum_mode, span.checksums(object)) {
            show_checksums!(output, checksums);
            output.checksum_type = checksums.kind();
        }
        output
    }};
}

impl Objects {
    pub(crate) fn get_object(
        &self,
        input: dto::GetObjectInput,
        _: Sent,
    ) -> S3Result<S3Response<dto::GetObjectOutput>> {
        let id = VersionId::asked(input.version_id.as_deref())?;
        let found = self.store.get(&input.bucket, &input.key, id.as_ref())?;
        read_if!(input).check(&found, self.clock.now())?;
        let span = Span::asked(&found.object, input.range.as_ref(), input.part_number)?;
        let mut output = shown!(GetObjectOutput, input, found, span);
        output.tag_count = found.object.description.tags.count();
        let body = found.object.content.slice(&span.bytes).into_body();
        output.body = Some(body.into());
        Ok(span.response(output, &found.object))
    }

    pub(crate) fn head_object(
        &self,
        input: dto::HeadObjectInput,
        _: Sent,
    ) -> S3Result<S3Response<dto::HeadObjectOutput>> {
        let id = VersionId::asked(input.version_id.as_deref())?;
        let found = self.store.get(&input.bucket, &input.key, id.as_ref())?;
        read_if!(input).check(&found, self.clock.now())?;
        let span = Span::asked(&found.object, input.range.as_ref(), input.part_number)?;
        let output = shown!(HeadObjectOutput, input, found, span);
        Ok(span.response(output, &found.object))
    }

    pub(crate) fn get_object_attributes(
        &self,
        input: dto::GetObjectAttributesInput,
        _: Sent,
    ) -> S3Result<dto::GetObjectAttributesOutput> {
        let id = VersionId::asked(input.version_id.as_deref())?;
        let found = self.store.get(&input.bucket, &input.key, id.as_ref())?;
        let object = &found.object;
        let wants = |name: &str| {
            // One header may hold several.
            let mut wanted = input.object_attributes.iter();
            wanted.any(|it| it.as_str().split(',').any(|it| it.trim() == name))
        };
        let mut output = dto::GetObjectAttributesOutput {
            last_modified: Some(timestamp(found.modified)),
            version_id: found.shown_id(),
            ..Default::default()
        };
        if wants(dto::ObjectAttributes::ETAG) {
            output.e_tag = Some(ETag::Strong(object.etag.clone()));
        }
        if wants(dto::ObjectAttributes::OBJECT_SIZE) {
            output.object_size = Some(size(object.content.len()));
        }
        if wants(dto::ObjectAttributes::STORAGE_CLASS) {
            let class = object.description.listed_storage_class();
            output.storage_class = Some(class.into());
        }
        if wants(dto::ObjectAttributes::CHECKSUM) {
            let mut checksum = dto::Checksum {
                checksum_type: object.checksums.kind(),
                ..Default::default()
            };
            // Here, and only here, without the number of parts.
            show_checksums!(checksum, &object.checksums.without_count());
            output.checksum = Some(checksum);
        }
        if wants(dto::ObjectAttributes::OBJECT_PARTS) && !object.parts.is_empty() {
            output.object_parts = Some(parts_page(
                object,
                input.part_number_marker.unwrap_or(0),
                bounded(input.max_parts, PER_PAGE_MAX),
            ));
        }
        Ok(output)
    }
}

/// The bytes of an object that are asked for.
struct Span {
    bytes: Range<u64>,
    /// Of the whole object, if not all of it was asked for.
    of: Option<u64>,
    parts_count: Option<i32>,
    part: Option<usize>,
}

impl Span {
    fn asked(object: &Object, range: Option<&dto::Range>, part: Option<i32>) -> S3Result<Self> {
        let length = object.content.len();
        match (range, part) {
            (None, None) => Ok(Self {
                bytes: 0..length,
                of: None,
                parts_count: None,
                part: None,
            }),
            (Some(_), Some(_)) => Err(s3_error!(
                InvalidRequest,
                "Cannot specify both Range header and partNumber query parameter"
            )),
            (Some(range), None) => {
                let bytes = range.check(length).map_err(|_| {
                    let length = length.to_string();
                    let asked = range.to_header_string();
                    detailed(
                        s3_error!(InvalidRange, "The requested range is not satisfiable"),
                        &[("RangeRequested", &asked), ("ActualObjectSize", &length)],
                    )
                })?;
                Ok(Self {
                    bytes,
                    of: Some(length),
                    parts_count: None,
                    part: None,
                })
            }
            (None, Some(number)) => Self::part(object, number),
        }
    }

    /// Part `number`; an object that came in one piece is its own only part.
    fn part(object: &Object, number: i32) -> S3Result<Self> {
        let length = object.content.len();
        let index = usize::try_from(number)
            .ok()
            .and_then(|it| it.checked_sub(1))
            .ok_or_else(|| {
                let message = "Part number must be an integer between 1 and 10000, inclusive";
                invalid_argument("partNumber", &number.to_string(), message)
            })?;
        if object.parts.is_empty() && index == 0 {
            return Ok(Self {
                bytes: 0..length,
                of: Some(length),
                parts_count: None,
                part: None,
            });
        }
        let Some(part) = object.parts.get(index) else {
            let count = object.parts.len().max(1).to_string();
            let error = fault(
                "InvalidPartNumber",
                416,
                "The requested partnumber is not satisfiable",
            );
            let asked = number.to_string();
            return Err(detailed(
                error,
                &[("PartNumberRequested", &asked), ("ActualPartCount", &count)],
            ));
        };
        let start = object.parts.iter().take(index).map(|it| it.size).sum();
        Ok(Self {
            bytes: start..start + part.size,
            of: Some(length),
            parts_count: Some(count_of_parts(object)),
            part: Some(index),
        })
    }

    fn content_range(&self) -> Option<String> {
        let Range { start, end } = self.bytes;
        let of = self.of.filter(|_| end > start)?;
        Some(format!("bytes {start}-{}/{of}", end - 1))
    }

    /// The answer, which says by its status that it is a part.
    fn response<T>(&self, output: T, object: &Object) -> S3Response<T> {
        let headers = metadata_headers(&object.description.metadata);
        let mut response = S3Response::with_headers(output, headers);
        if self.content_range().is_some() {
            response
                .extensions
                .insert(Status(http::StatusCode::PARTIAL_CONTENT));
        }
        response
    }

    /// The checksums of exactly these bytes, if they are kept.
    fn checksums<'o>(&self, object: &'o Object) -> Option<&'o Checksums> {
        match self.part {
            Some(index) => object.parts.get(index).map(|it| &it.checksums),
            None => {
                let whole = self.bytes == (0..object.content.len());
                whole.then_some(&object.checksums)
            }
        }
    }
}

/// The parts of an object. S3 lists them one by one only where each has its own
/// checksum, and shows how many there are otherwise.
fn parts_page(object: &Object, after: i32, max: u16) -> dto::GetObjectAttributesParts {
    let total_parts_count = Some(count_of_parts(object));
    if object.checksums.of == ChecksumType::FullObject {
        return dto::GetObjectAttributesParts {
            total_parts_count,
            ..Default::default()
        };
    }
    let left = object
        .parts
        .iter()
        .filter(|it| i32::from(it.number) > after);
    let page: Vec<dto::ObjectPart> = left
        .clone()
        .take(usize::from(max))
        .map(|part| {
            let mut shown = dto::ObjectPart {
                part_number: Some(i32::from(part.number)),
                size: Some(size(part.size)),
                ..Default::default()
            };
            show_checksums!(shown, &part.checksums);
            shown
        })
        .collect();
    dto::GetObjectAttributesParts {
        total_parts_count,
        is_truncated: Some(left.count() > page.len()),
        max_parts: Some(max.into()),
        part_number_marker: Some(after),
        next_part_number_marker: page.last().map_or(Some(0), |it| it.part_number),
        parts: Some(page),
    }
}

fn count_of_parts(object: &Object) -> i32 {
    i32::try_from(object.parts.len()).expect("an upload has at most 10,000 parts")
}

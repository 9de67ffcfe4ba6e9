//! Objects: stored, copied, fetched whole or in part, tagged, deleted.

use std::ops::Range;

use nsm_sim::clock::UnixMillis;
use s3s::{
    S3Error, S3Response, S3Result,
    dto::{self, ETag},
    s3_error,
};

use super::{
    Objects, Sent, Status,
    access::{AskedAcl, asked_acl},
    checksum::{Algorithm, Checksums, NONE_CLAIMED, Of, check_md5, claimed, md5, show_checksums},
    conditions::{WriteIf, copy_source_if, read_if},
    content::Content,
    errors::{INVALID_VERSION, detailed, fault, invalid_argument, malformed},
    listing::PER_PAGE_MAX,
    metadata::metadata_headers,
    no_content,
    store::{Description, Found, Object, StoreError, VersionId},
    tags::{Tagged, Tags},
    timestamp,
};

/// S3's bound of one DeleteObjects.
const DELETED_AT_ONCE_MAX: usize = 1_000;

/// What S3 says of objects without a key of their own; see the module's head.
pub(super) fn at_rest() -> Option<dto::ServerSideEncryption> {
    Some(dto::ServerSideEncryption::from_static(
        dto::ServerSideEncryption::AES256,
    ))
}

/// Refuses what a write asks for and would not get.
macro_rules! refuse_unsimulated {
    ($input:expr) => {{
        let other_key = $input
            .server_side_encryption
            .as_ref()
            .is_some_and(|it| it.as_str() != dto::ServerSideEncryption::AES256);
        if other_key || $input.ssekms_key_id.is_some() || $input.sse_customer_algorithm.is_some() {
            return Err(s3s::s3_error!(
                NotImplemented,
                "Encryption at rest is not simulated: SSE-KMS and SSE-C would only be claimed. \
                 Encrypt in the client, or leave the header out."
            ));
        }
    }};
}

/// The description of an object in the fields of a write.
macro_rules! description {
    ($input:expr, $metadata:expr, $now:expr) => {
        $crate::s3::store::Description {
            metadata: $metadata,
            content_type: $input.content_type,
            content_encoding: $input.content_encoding,
            content_disposition: $input.content_disposition,
            content_language: $input.content_language,
            cache_control: $input.cache_control,
            expires: $input.expires,
            storage_class: $crate::s3::objects::storage_class(
                $input.storage_class.as_ref().map(|it| it.as_str()),
            )?,
            website_redirect: $input.website_redirect_location,
            tags: $crate::s3::tags::Tags::from_header($input.tagging.as_deref())?,
            marks: $crate::s3::store::Marks {
                acl: $crate::s3::access::CannedAcl::default(),
                lock: $crate::s3::lock::Lock::asked(
                    $input.object_lock_mode.as_ref().map(|it| it.as_str()),
                    $input.object_lock_retain_until_date.as_ref(),
                    $input
                        .object_lock_legal_hold_status
                        .as_ref()
                        .map(|it| it.as_str()),
                    $now,
                )?,
            },
        }
    };
}

pub(super) use {description, refuse_unsimulated};

/// The fields that GetObject and HeadObject share.
macro_rules! shown {
    ($output:ident, $input:expr, $found:expr, $span:expr) => {{
        let (found, span) = (&$found, &$span);
        let (object, description) = (&found.object, &found.object.description);
        let mut output = dto::$output {
            accept_ranges: Some("bytes".to_owned()),
            content_length: i64::try_from(span.bytes.end - span.bytes.start).ok(),
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
    pub(super) fn put(
        &self,
        mut input: dto::PutObjectInput,
        sent: Sent,
    ) -> S3Result<dto::PutObjectOutput> {
        refuse_unsimulated!(input);
        let condition = WriteIf::read(input.if_match.take(), input.if_none_match.take())?;
        let claimed = claimed!(input);
        let locks =
            input.object_lock_mode.is_some() || input.object_lock_legal_hold_status.is_some();
        let checked =
            input.content_md5.is_some() || claimed.iter().any(|(_, claimed)| claimed.is_some());
        if locks && !checked {
            return Err(s3_error!(
                InvalidRequest,
                "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests \
                 with Object Lock parameters"
            ));
        }
        let content = Content::from(sent.body);
        let md5 = md5(&content);
        check_md5(input.content_md5.as_deref(), md5)?;
        let checksums = Checksums::of_content(&content, claimed, Algorithm::Crc64Nvme)?;
        let (bucket, key) = (&input.bucket, &input.key);
        let now = self.clock.now();
        let description = description!(input, sent.metadata, now);
        let acl = asked_acl!(input);
        let description = self.of_bucket(bucket, description, acl, now)?;
        let object = Object {
            content,
            description,
            etag: hex::encode(md5),
            checksums: checksums.clone(),
            parts: Vec::new(),
            upload_id: None,
        };
        let etag = object.etag.clone();
        let version = self.store.put(bucket, key, object, now, |there| {
            condition.check(key, there)
        })?;
        let mut output = dto::PutObjectOutput {
            e_tag: Some(ETag::Strong(etag)),
            checksum_type: checksums.kind(),
            // Recorded: alone of all answers this one leaves a null version out.
            version_id: version
                .filter(|it| *it != VersionId::Null)
                .map(|it| it.as_str().to_owned()),
            server_side_encryption: at_rest(),
            ..Default::default()
        };
        show_checksums!(output, &checksums);
        Ok(output)
    }

    pub(super) fn copy(
        &self,
        input: dto::CopyObjectInput,
        sent: Sent,
    ) -> S3Result<dto::CopyObjectOutput> {
        refuse_unsimulated!(input);
        let source = self.source(&input.copy_source)?;
        let now = self.clock.now();
        copy_source_if!(input).check_source(&source.found, now)?;
        let replaces = |directive: Option<&str>| directive == Some("REPLACE");
        let new_description = replaces(input.metadata_directive.as_ref().map(|it| it.as_str()));
        let new_tags = replaces(input.tagging_directive.as_ref().map(|it| it.as_str()));
        let onto_itself = source.bucket == input.bucket && source.key == input.key;
        let same = !new_description
            && input.storage_class.is_none()
            && input.website_redirect_location.is_none()
            && input.server_side_encryption.is_none();
        if onto_itself && source.newest && same {
            return Err(s3_error!(
                InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself \
                 without changing the object's metadata, storage class, website redirect location \
                 or encryption attributes."
            ));
        }
        let old = &source.found.object;
        let given = description!(input, sent.metadata, now);
        let given = self.of_bucket(&input.bucket, given, asked_acl!(input), now)?;
        let tags = if new_tags {
            given.tags.clone()
        } else {
            old.description.tags.clone()
        };
        // These three are never copied.
        let (redirect, class) = (given.website_redirect.clone(), given.storage_class.clone());
        let marks = given.marks;
        let mut description = if new_description {
            given
        } else {
            old.description.clone()
        };
        (description.tags, description.marks) = (tags, marks);
        (description.website_redirect, description.storage_class) = (redirect, class);
        let algorithm = input.checksum_algorithm.as_ref();
        let algorithm = algorithm.map(|it| Algorithm::named(it.as_str()));
        let checksums = match algorithm.transpose()? {
            None if old.parts.is_empty() => old.checksums.clone(),
            // A copy is one piece: its checksum is that of all its bytes.
            algorithm => Checksums::of_content(
                &old.content,
                NONE_CLAIMED,
                algorithm.unwrap_or(Algorithm::Crc64Nvme),
            )?,
        };
        let etag = if old.parts.is_empty() {
            old.etag.clone()
        } else {
            hex::encode(md5(&old.content))
        };
        let object = Object {
            content: old.content.clone(),
            description,
            etag: etag.clone(),
            checksums: checksums.clone(),
            parts: Vec::new(),
            upload_id: None,
        };
        let version = self
            .store
            .put(&input.bucket, &input.key, object, now, |_| Ok(()))?;
        let mut result = dto::CopyObjectResult {
            e_tag: Some(ETag::Strong(etag)),
            last_modified: Some(timestamp(now)),
            ..Default::default()
        };
        show_checksums!(result, &checksums);
        Ok(dto::CopyObjectOutput {
            copy_object_result: Some(result),
            copy_source_version_id: source.found.shown_id(),
            version_id: version.map(|it| it.as_str().to_owned()),
            server_side_encryption: at_rest(),
            ..Default::default()
        })
    }

    /// The description of a version made now, with what its bucket asks of it.
    pub(super) fn of_bucket(
        &self,
        bucket: &str,
        mut description: Description,
        acl: AskedAcl<'_>,
        now: UnixMillis,
    ) -> S3Result<Description> {
        let settings = self.store.settings(bucket)?;
        let marks = &mut description.marks;
        marks.acl = acl.of_object(&settings)?;
        marks.lock = marks.lock.in_bucket(settings.lock, now)?;
        Ok(description)
    }

    /// The object that a copy names.
    pub(super) fn source(&self, source: &dto::CopySource) -> S3Result<Source> {
        let dto::CopySource::Bucket {
            bucket,
            key,
            version_id,
        } = source
        else {
            return Err(s3_error!(
                NotImplemented,
                "Access points are not simulated; name the source as bucket/key"
            ));
        };
        let id = version(version_id.as_deref())?;
        let found = self.store.get(bucket, key, id.as_ref())?;
        Ok(Source {
            bucket: bucket.to_string(),
            key: key.to_string(),
            newest: id.is_none(),
            found,
        })
    }

    pub(super) fn get(
        &self,
        input: dto::GetObjectInput,
        _: Sent,
    ) -> S3Result<S3Response<dto::GetObjectOutput>> {
        let id = version(input.version_id.as_deref())?;
        let found = self.store.get(&input.bucket, &input.key, id.as_ref())?;
        read_if!(input).check(&found, self.clock.now())?;
        let span = Span::asked(&found.object, input.range.as_ref(), input.part_number)?;
        let mut output = shown!(GetObjectOutput, input, found, span);
        output.tag_count = found.object.description.tags.count();
        let body = found.object.content.slice(&span.bytes).into_body();
        output.body = Some(body.into());
        Ok(span.response(output, &found.object))
    }

    pub(super) fn head(
        &self,
        input: dto::HeadObjectInput,
        _: Sent,
    ) -> S3Result<S3Response<dto::HeadObjectOutput>> {
        let id = version(input.version_id.as_deref())?;
        let found = self.store.get(&input.bucket, &input.key, id.as_ref())?;
        read_if!(input).check(&found, self.clock.now())?;
        let span = Span::asked(&found.object, input.range.as_ref(), input.part_number)?;
        let output = shown!(HeadObjectOutput, input, found, span);
        Ok(span.response(output, &found.object))
    }

    pub(super) fn attributes(
        &self,
        input: dto::GetObjectAttributesInput,
        _: Sent,
    ) -> S3Result<dto::GetObjectAttributesOutput> {
        let id = version(input.version_id.as_deref())?;
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
            output.object_size = i64::try_from(object.content.len()).ok();
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
                input.max_parts.unwrap_or(PER_PAGE_MAX),
            ));
        }
        Ok(output)
    }

    pub(super) fn delete(
        &self,
        input: dto::DeleteObjectInput,
        _: Sent,
    ) -> S3Result<dto::DeleteObjectOutput> {
        let condition = WriteIf::read(input.if_match, None)?;
        let (bucket, key) = (&input.bucket, &input.key);
        let bypass = self.bypass(bucket, input.bypass_governance_retention)?;
        let id = input.version_id.as_deref();
        let gone = self.delete_one(bucket, (key, id), &condition, bypass)?;
        Ok(dto::DeleteObjectOutput {
            delete_marker: gone.was_or_is_marker.then_some(true),
            version_id: gone.version.map(|it| it.as_str().to_owned()),
            ..Default::default()
        })
    }

    pub(super) fn delete_many(
        &self,
        input: dto::DeleteObjectsInput,
        _: Sent,
    ) -> S3Result<dto::DeleteObjectsOutput> {
        self.store.owner(&input.bucket)?;
        if input.delete.objects.len() > DELETED_AT_ONCE_MAX {
            return Err(malformed());
        }
        let bypass = self.bypass(&input.bucket, input.bypass_governance_retention)?;
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        let quiet = input.delete.quiet.unwrap_or(false);
        for dto::ObjectIdentifier {
            key,
            version_id,
            e_tag,
            ..
        } in input.delete.objects
        {
            let condition = WriteIf::read(e_tag.map(dto::ETagCondition::ETag), None)?;
            let asked = (key.as_str(), version_id.as_deref());
            match self.delete_one(&input.bucket, asked, &condition, bypass) {
                Ok(gone) => {
                    let id = gone.version.map(|it| it.as_str().to_owned());
                    // The version asked for is told again; that of a marker apart.
                    let marker_id = id.filter(|_| gone.was_or_is_marker);
                    deleted.push(dto::DeletedObject {
                        key: Some(key),
                        delete_marker: gone.was_or_is_marker.then_some(true),
                        delete_marker_version_id: marker_id,
                        version_id,
                    });
                }
                Err(error) => {
                    // Among many an id that S3 never gave is one that is not there.
                    let unknown = error.message() == Some(INVALID_VERSION);
                    let (code, message) = if unknown {
                        ("NoSuchVersion", "The specified version does not exist.")
                    } else {
                        (error.code().as_str(), error.message().unwrap_or_default())
                    };
                    errors.push(dto::Error {
                        code: Some(code.to_owned()),
                        message: Some(message.to_owned()),
                        key: Some(key),
                        version_id,
                    });
                }
            }
        }
        Ok(dto::DeleteObjectsOutput {
            deleted: (!quiet).then_some(deleted),
            errors: (!errors.is_empty()).then_some(errors),
            ..Default::default()
        })
    }

    fn delete_one(
        &self,
        bucket: &str,
        (key, version_id): (&str, Option<&str>),
        condition: &WriteIf,
        bypass: bool,
    ) -> S3Result<Gone> {
        let now = self.clock.now();
        match version(version_id)? {
            Some(id) => {
                let was_marker = self.store.delete_version(bucket, key, &id, |object| {
                    object.description.marks.lock.check_deletion(now, bypass)
                })?;
                Ok(Gone {
                    was_or_is_marker: was_marker,
                    version: Some(id),
                })
            }
            None => {
                let marker = self
                    .store
                    .delete(bucket, key, now, |there| condition.check(key, there))?;
                Ok(Gone {
                    was_or_is_marker: marker.is_some(),
                    version: marker,
                })
            }
        }
    }

    pub(super) fn object_tags(
        &self,
        input: dto::GetObjectTaggingInput,
        _: Sent,
    ) -> S3Result<dto::GetObjectTaggingOutput> {
        let id = version(input.version_id.as_deref())?;
        let found = self.store.get(&input.bucket, &input.key, id.as_ref());
        let found = found.map_err(|error| match error {
            // Recorded: this answer alone names the bucket too.
            StoreError::NoSuchKey(key) => StoreError::NoSuchKey(format!("{}/{key}", input.bucket)),
            error => of_marker(error),
        })?;
        Ok(dto::GetObjectTaggingOutput {
            tag_set: found.object.description.tags.shown(),
            version_id: found.shown_id(),
        })
    }

    pub(super) fn tag_object(
        &self,
        input: dto::PutObjectTaggingInput,
        _: Sent,
    ) -> S3Result<dto::PutObjectTaggingOutput> {
        let tags = Tags::read(input.tagging, Tagged::Object)?;
        let id = version(input.version_id.as_deref())?;
        let found = self
            .store
            .tag_object(&input.bucket, &input.key, id.as_ref(), tags)
            .map_err(of_marker)?;
        let version_id = found.shown_id();
        Ok(dto::PutObjectTaggingOutput { version_id })
    }

    pub(super) fn untag_object(
        &self,
        input: dto::DeleteObjectTaggingInput,
        _: Sent,
    ) -> S3Result<S3Response<dto::DeleteObjectTaggingOutput>> {
        let id = version(input.version_id.as_deref())?;
        let none = Tags::default();
        let found = self
            .store
            .tag_object(&input.bucket, &input.key, id.as_ref(), none)
            .map_err(of_marker)?;
        let version_id = found.shown_id();
        Ok(no_content(dto::DeleteObjectTaggingOutput { version_id }))
    }
}

/// Tags are not asked of a key but of its newest version, a marker like any other.
fn of_marker(error: StoreError) -> StoreError {
    match error {
        StoreError::Deleted(_, id) => StoreError::IsDeleteMarker(id),
        error => error,
    }
}

/// The source of a copy.
pub(super) struct Source {
    bucket: String,
    key: String,
    /// No version was named.
    newest: bool,
    pub(super) found: Found,
}

/// What a DELETE did.
struct Gone {
    /// It made a delete marker, or removed one.
    was_or_is_marker: bool,
    version: Option<VersionId>,
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
            parts_count: i32::try_from(object.parts.len()).ok(),
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

impl Description {
    /// S3 shows a type even if none was given.
    pub(super) fn shown_content_type(&self) -> Option<String> {
        let given = self.content_type.clone();
        Some(given.unwrap_or_else(|| "binary/octet-stream".to_owned()))
    }

    /// Listings name the class that other answers leave out.
    pub(super) fn listed_storage_class(&self) -> String {
        let class = self.storage_class.as_deref();
        class.unwrap_or(dto::StorageClass::STANDARD).to_owned()
    }
}

/// Reads `x-amz-storage-class`: a label here, so only the classes whose objects
/// can be read at once.
pub(super) fn storage_class(class: Option<&str>) -> S3Result<Option<String>> {
    match class {
        None | Some(dto::StorageClass::STANDARD) => Ok(None),
        Some(
            class @ (dto::StorageClass::REDUCED_REDUNDANCY
            | dto::StorageClass::STANDARD_IA
            | dto::StorageClass::ONEZONE_IA
            | dto::StorageClass::INTELLIGENT_TIERING
            | dto::StorageClass::GLACIER_IR),
        ) => Ok(Some(class.to_owned())),
        Some(dto::StorageClass::GLACIER | dto::StorageClass::DEEP_ARCHIVE) => Err(s3_error!(
            NotImplemented,
            "Archives are not simulated: choose a storage class that can be read at once"
        )),
        Some(class) => Err(detailed(
            s3_error!(
                InvalidStorageClass,
                "The storage class you specified is not valid"
            ),
            &[("StorageClassRequested", class)],
        )),
    }
}

/// The parts of an object. S3 lists them singly only where each has a checksum
/// that counts, and tells their number otherwise.
fn parts_page(object: &Object, after: i32, max: i32) -> dto::GetObjectAttributesParts {
    let total_parts_count = i32::try_from(object.parts.len()).ok();
    if object.checksums.of == Of::FullObject {
        return dto::GetObjectAttributesParts {
            total_parts_count,
            ..Default::default()
        };
    }
    let max = max.clamp(0, PER_PAGE_MAX);
    let left = object
        .parts
        .iter()
        .filter(|it| i32::from(it.number) > after);
    let page: Vec<dto::ObjectPart> = left
        .clone()
        .take(usize::try_from(max).unwrap_or(0))
        .map(|part| {
            let mut shown = dto::ObjectPart {
                part_number: Some(i32::from(part.number)),
                size: i64::try_from(part.size).ok(),
                ..Default::default()
            };
            show_checksums!(shown, &part.checksums);
            shown
        })
        .collect();
    dto::GetObjectAttributesParts {
        total_parts_count,
        is_truncated: Some(left.count() > page.len()),
        max_parts: Some(max),
        part_number_marker: Some(after),
        next_part_number_marker: page.last().map_or(Some(0), |it| it.part_number),
        parts: Some(page),
    }
}

/// Reads `versionId`.
pub(super) fn version(text: Option<&str>) -> Result<Option<VersionId>, S3Error> {
    let Some(text) = text else { return Ok(None) };
    match VersionId::parse(text) {
        Some(id) => Ok(Some(id)),
        None => Err(invalid_argument("versionId", text, INVALID_VERSION)),
    }
}

//! Uploads in parts: begun, filled part by part, put together or given up.
//!
//! Source of truth: Amazon S3 user guide, "Uploading and copying objects using
//! multipart upload" and "Amazon S3 multipart upload limits": 10,000 parts, all
//! but the last of 5 MiB or more. The parts of a finished object stay the pieces
//! they came in; nothing is copied together.

use std::sync::Arc;

use s3s::{
    S3Result,
    dto::{self, ETag},
    s3_error,
};

use super::{
    Objects, Sent,
    access::requested_acl,
    conditions::{WriteIf, copy_source_if},
    description::description,
    encryption::{at_rest, refuse_unsimulated},
    listing::{PER_PAGE_MAX, bounded, listing, size},
    owner,
};
use crate::s3::{
    errors::{detailed, invalid_argument, malformed},
    store::{FinishedPart, Object, Part, Upload},
    values::{
        checksum::{
            Algorithm, ChecksumType, Checksums, Digest, Fields, NONE_CLAIMED, claimed,
            show_checksums,
        },
        content::Content,
        dates::timestamp,
    },
};

/// S3's smallest part, except for the last.
const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;
const PART_NUMBER_MAX: u16 = 10_000;

impl Objects {
    pub(crate) fn create_multipart_upload(
        &self,
        input: dto::CreateMultipartUploadInput,
        sent: Sent,
    ) -> S3Result<dto::CreateMultipartUploadOutput> {
        refuse_unsimulated!(input);
        let checksum = chosen_checksum(
            input.checksum_algorithm.as_ref().map(|it| it.as_str()),
            input.checksum_type.as_ref().map(|it| it.as_str()),
        )?;
        let now = self.clock.now();
        // By time, so that the oldest of a key is listed first.
        let id = format!("{:012x}{}", now.0, hex::encode(rand::random::<[u8; 26]>()));
        let account = sent.account().to_owned();
        let description = description!(input, sent.metadata, now);
        let acl = requested_acl!(input);
        let description = self.of_bucket(&input.bucket, description, acl, now)?;
        let (bucket, key) = (input.bucket, input.key);
        let upload = Upload {
            key: key.clone(),
            description,
            account,
            initiated: now,
            replaces: false,
            checksum,
            parts: Default::default(),
        };
        self.store.create_upload(&bucket, &id, upload)?;
        Ok(dto::CreateMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            upload_id: Some(id),
            checksum_algorithm: checksum.map(|(it, _)| algorithm(it)),
            checksum_type: checksum.map(|(_, of)| dto::ChecksumType::from_static(of.name())),
            server_side_encryption: at_rest(),
            ..Default::default()
        })
    }

    pub(crate) fn upload_part(
        &self,
        mut input: dto::UploadPartInput,
        sent: Sent,
    ) -> S3Result<dto::UploadPartOutput> {
        let number = part_number(input.part_number)?;
        let claimed = claimed!(input);
        let content = Content::from(sent.body);
        let upload = self
            .store
            .upload(&input.bucket, &input.key, &input.upload_id)?;
        let md5 = Digest::of(&content);
        md5.check(input.content_md5.as_deref())?;
        let part = self.part(&upload, content, md5, claimed)?;
        let checksums = part.checksums.clone();
        self.store
            .put_part(&input.bucket, &input.key, &input.upload_id, number, part)?;
        let mut output = dto::UploadPartOutput {
            e_tag: Some(ETag::Strong(md5.hex())),
            server_side_encryption: at_rest(),
            ..Default::default()
        };
        show_checksums!(output, &checksums);
        Ok(output)
    }

    pub(crate) fn upload_part_copy(
        &self,
        input: dto::UploadPartCopyInput,
        _: Sent,
    ) -> S3Result<dto::UploadPartCopyOutput> {
        let number = part_number(input.part_number)?;
        let upload = self
            .store
            .upload(&input.bucket, &input.key, &input.upload_id)?;
        let source = self.source(&input.copy_source)?.found;
        copy_source_if!(input).check_source(&source, self.clock.now())?;
        let whole = &source.object.content;
        let content = match input.copy_source_range.as_deref() {
            None => whole.clone(),
            Some(text) => whole.slice(&copied_range(text, whole.len())?),
        };
        let md5 = Digest::of(&content);
        let part = self.part(&upload, content, md5, NONE_CLAIMED)?;
        let mut result = dto::CopyPartResult {
            e_tag: Some(ETag::Strong(md5.hex())),
            last_modified: Some(timestamp(part.modified)),
            ..Default::default()
        };
        if upload.checksum.is_some() {
            show_checksums!(result, &part.checksums);
        }
        self.store
            .put_part(&input.bucket, &input.key, &input.upload_id, number, part)?;
        Ok(dto::UploadPartCopyOutput {
            copy_part_result: Some(result),
            copy_source_version_id: source.shown_id(),
            server_side_encryption: at_rest(),
            ..Default::default()
        })
    }

    /// A part with its checksum of the upload's kind.
    fn part(
        &self,
        upload: &Upload,
        content: Content,
        md5: Digest,
        claimed: Fields,
    ) -> S3Result<Part> {
        let algorithm = upload.checksum.map(|(algorithm, _)| algorithm);
        if let Some(expected) = algorithm {
            let other = claimed
                .iter()
                .find(|(it, claimed)| claimed.is_some() && *it != expected);
            if let Some((other, _)) = other {
                return Err(s3_error!(
                    InvalidRequest,
                    "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum \
                     Type: {}",
                    expected.name().to_lowercase(),
                    other.name().to_lowercase()
                ));
            }
        }
        let default = algorithm.unwrap_or(Algorithm::Crc64Nvme);
        Ok(Part {
            md5,
            checksums: Checksums::of_content(&content, claimed, default)?,
            modified: self.clock.now(),
            content,
        })
    }

    pub(crate) fn complete_multipart_upload(
        &self,
        mut input: dto::CompleteMultipartUploadInput,
        sent: Sent,
    ) -> S3Result<dto::CompleteMultipartUploadOutput> {
        let condition = WriteIf::read(input.if_match.take(), input.if_none_match.take())?;
        let claimed = claimed!(input);
        let (bucket, key, id) = (&input.bucket, &input.key, &input.upload_id);
        let upload = match self.store.upload(bucket, key, id) {
            Ok(upload) => upload,
            Err(error) => {
                // Completed before: the same answer, whatever is asked.
                let found = self.store.finished_upload(bucket, key, id).ok_or(error)?;
                return Ok(completed(&input, &sent, &found.object, found.shown_id()));
            }
        };
        let listed = input.multipart_upload.take().and_then(|it| it.parts);
        let parts = chosen_parts(&upload, id, listed.unwrap_or_default())?;
        let content = Content::join(parts.iter().map(|(_, part)| &part.content));
        if let Some(size) = input.mpu_object_size
            && u64::try_from(size) != Ok(content.len())
        {
            let actual = content.len();
            return Err(s3_error!(
                InvalidRequest,
                "The provided 'x-amz-mp-object-size' header value {size} does not match what was \
                 computed: {actual}"
            ));
        }
        let (algorithm, of) = upload
            .checksum
            .unwrap_or((Algorithm::Crc64Nvme, ChecksumType::FullObject));
        if let Some(asked) = &input.checksum_type
            && ChecksumType::named(asked.as_str())? != of
        {
            return Err(s3_error!(
                InvalidRequest,
                "The upload was created using the {} checksum mode. The complete request must use \
                 the same checksum mode.",
                of.name()
            ));
        }
        let sums = parts.iter().map(|(_, part)| &part.checksums);
        let checksums = Checksums::of_parts(algorithm, of, &content, sums)?;
        if of == ChecksumType::FullObject && !checksums.agree(&claimed) {
            let name = algorithm.name();
            return Err(s3_error!(
                BadDigest,
                "The {name} you specified did not match the calculated checksum."
            ));
        }
        let object = Object {
            content,
            description: upload.description.clone(),
            etag: Digest::etag_of_parts(parts.iter().map(|(_, part)| part.md5)),
            checksums,
            upload_id: Some(id.clone()),
            parts: parts
                .iter()
                .map(|(number, part)| FinishedPart {
                    number: *number,
                    size: part.content.len(),
                    checksums: part.checksums.clone(),
                })
                .collect(),
        };
        let object = Arc::new(object);
        let now = self.clock.now();
        let made = Arc::clone(&object);
        let version = self
            .store
            .complete_upload(bucket, key, id, made, now, |upload, there| {
                condition.check_completion(upload, there)
            })?;
        let version = version.map(|it| it.as_str().to_owned());
        Ok(completed(&input, &sent, &object, version))
    }

    pub(crate) fn abort_multipart_upload(
        &self,
        input: dto::AbortMultipartUploadInput,
        _: Sent,
    ) -> S3Result<dto::AbortMultipartUploadOutput> {
        self.store
            .abort_upload(&input.bucket, &input.key, &input.upload_id)?;
        Ok(dto::AbortMultipartUploadOutput::default())
    }

    pub(crate) fn list_parts(
        &self,
        input: dto::ListPartsInput,
        _: Sent,
    ) -> S3Result<dto::ListPartsOutput> {
        let upload = self
            .store
            .upload(&input.bucket, &input.key, &input.upload_id)?;
        let after = input.part_number_marker.unwrap_or(0);
        let max = bounded(input.max_parts, PER_PAGE_MAX);
        let parts = upload.parts.iter();
        let left = parts.filter(|(number, _)| i32::from(**number) > after);
        let page: Vec<dto::Part> = left
            .clone()
            .take(usize::from(max))
            .map(|(number, part)| shown_part(*number, part, upload.checksum.is_some()))
            .collect();
        let is_truncated = left.count() > page.len();
        Ok(dto::ListPartsOutput {
            checksum_algorithm: upload.checksum.map(|(it, _)| algorithm(it)),
            checksum_type: upload
                .checksum
                .map(|(_, of)| dto::ChecksumType::from_static(of.name())),
            initiator: Some(initiator(&upload.account)),
            owner: Some(owner(&upload.account)),
            is_truncated: Some(is_truncated),
            max_parts: Some(max.into()),
            next_part_number_marker: page.last().map_or(Some(0), |it| it.part_number),
            part_number_marker: Some(after),
            parts: Some(page),
            storage_class: Some(dto::StorageClass::from_static("STANDARD")),
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            ..Default::default()
        })
    }

    pub(crate) fn list_multipart_uploads(
        &self,
        input: dto::ListMultipartUploadsInput,
        _: Sent,
    ) -> S3Result<dto::ListMultipartUploadsOutput> {
        let after = input.key_marker.as_deref().unwrap_or_default();
        let listing = listing!(input, after, input.max_uploads)?;
        let after_upload = input.upload_id_marker.as_deref();
        let page = self
            .store
            .list_uploads(&input.bucket, &listing.asked(), after_upload)?;
        let last = page.entries.last();
        let uploads = page
            .entries
            .iter()
            .map(|(key, (id, upload))| dto::MultipartUpload {
                checksum_algorithm: upload.checksum.map(|(it, _)| algorithm(it)),
                checksum_type: upload
                    .checksum
                    .map(|(_, of)| dto::ChecksumType::from_static(of.name())),
                initiated: Some(timestamp(upload.initiated)),
                initiator: Some(initiator(&upload.account)),
                owner: Some(owner(&upload.account)),
                key: Some(listing.shown(key)),
                storage_class: Some(dto::StorageClass::from_static("STANDARD")),
                upload_id: Some(id.clone()),
            });
        Ok(dto::ListMultipartUploadsOutput {
            uploads: Some(uploads.collect()),
            common_prefixes: listing.shown_groups(&page.common_prefixes),
            is_truncated: Some(page.next.is_some()),
            next_key_marker: last.map(|(key, _)| listing.shown(key)),
            next_upload_id_marker: last.map(|(_, (id, _))| id.clone()),
            key_marker: Some(listing.shown(after)),
            upload_id_marker: Some(after_upload.unwrap_or_default().to_owned()),
            max_uploads: listing.max(),
            prefix: listing.shown_prefix(),
            delimiter: listing.shown_delimiter(),
            encoding_type: input.encoding_type.clone(),
            bucket: Some(input.bucket.clone()),
            ..Default::default()
        })
    }
}

/// The answer to a completion.
fn completed(
    input: &dto::CompleteMultipartUploadInput,
    sent: &Sent,
    object: &Object,
    version_id: Option<String>,
) -> dto::CompleteMultipartUploadOutput {
    let (host, bucket, key) = (sent.host(), &input.bucket, &input.key);
    let mut output = dto::CompleteMultipartUploadOutput {
        // Plain HTTP is served wherever TLS is.
        location: Some(format!("http://{host}/{bucket}/{key}")),
        bucket: Some(bucket.clone()),
        key: Some(key.clone()),
        e_tag: Some(ETag::Strong(object.etag.clone())),
        version_id,
        checksum_type: object.checksums.kind(),
        server_side_encryption: at_rest(),
        ..Default::default()
    };
    show_checksums!(output, &object.checksums);
    output
}

/// The checksum that an upload asks for its object.
fn chosen_checksum(
    algorithm: Option<&str>,
    of: Option<&str>,
) -> S3Result<Option<(Algorithm, ChecksumType)>> {
    let Some(algorithm) = algorithm else {
        return match of {
            None => Ok(None),
            Some(_) => Err(s3_error!(
                InvalidRequest,
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm \
                 header."
            )),
        };
    };
    let algorithm = Algorithm::named(algorithm)?;
    let of = match of {
        None => algorithm.default_of(),
        Some(of) => ChecksumType::named(of)?,
    };
    if !algorithm.can_be(of) {
        return Err(s3_error!(
            InvalidRequest,
            "The {} checksum type cannot be used with the {} checksum algorithm.",
            of.name(),
            algorithm.name().to_lowercase()
        ));
    }
    Ok(Some((algorithm, of)))
}

/// The parts that a completion lists, each checked against what has arrived.
fn chosen_parts<'u>(
    upload: &'u Upload,
    id: &str,
    listed: Vec<dto::CompletedPart>,
) -> S3Result<Vec<(u16, &'u Part)>> {
    if listed.is_empty() {
        return Err(malformed());
    }
    let mut chosen: Vec<(u16, &Part)> = Vec::with_capacity(listed.len().min(10_000));
    for mut listed in listed {
        let claimed = claimed!(listed);
        let number = part_number(listed.part_number.ok_or_else(malformed)?)?;
        if chosen.last().is_some_and(|(before, _)| *before >= number) {
            let error = s3_error!(
                InvalidPartOrder,
                "The list of parts was not in ascending order. Parts must be ordered by part \
                 number."
            );
            return Err(detailed(error, &[("UploadId", id)]));
        }
        let etag = listed.e_tag.map(ETag::into_value);
        let part = upload.parts.get(&number).filter(|part| {
            let same = etag.as_ref().is_some_and(|etag| *etag == part.md5.hex());
            same && part.checksums.agree(&claimed)
        });
        let part = part.ok_or_else(|| {
            let error = s3_error!(
                InvalidPart,
                "One or more of the specified parts could not be found.  The part may not have \
                 been uploaded, or the specified entity tag may not match the part's entity tag."
            );
            let (etag, number) = (etag.unwrap_or_default(), number.to_string());
            detailed(
                error,
                &[("UploadId", id), ("PartNumber", &number), ("ETag", &etag)],
            )
        })?;
        chosen.push((number, part));
    }
    for (number, part) in chosen.iter().rev().skip(1) {
        if part.content.len() < PART_BYTES_MIN {
            let error = s3_error!(
                EntityTooSmall,
                "Your proposed upload is smaller than the minimum allowed size"
            );
            let size = part.content.len().to_string();
            let details = [
                ("ProposedSize", size.as_str()),
                ("MinSizeAllowed", &PART_BYTES_MIN.to_string()),
                ("PartNumber", &number.to_string()),
                ("ETag", &part.md5.hex()),
            ];
            return Err(detailed(error, &details));
        }
    }
    Ok(chosen)
}

fn part_number(number: i32) -> S3Result<u16> {
    match u16::try_from(number) {
        Ok(number @ 1..=PART_NUMBER_MAX) => Ok(number),
        _ => Err(invalid_argument(
            "partNumber",
            &number.to_string(),
            "Part number must be an integer between 1 and 10000, inclusive",
        )),
    }
}

/// `bytes=first-last`, both given and within the source.
fn copied_range(text: &str, length: u64) -> S3Result<std::ops::Range<u64>> {
    let parsed = text.strip_prefix("bytes=").and_then(|range| {
        let (first, last) = range.split_once('-')?;
        Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?))
    });
    let Some((first, last)) = parsed.filter(|(first, last)| first <= last) else {
        return Err(invalid_argument(
            "x-amz-copy-source-range",
            text,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first \
             and last are the zero-based offsets of the first and last bytes to copy",
        ));
    };
    if first >= length {
        return Err(s3_error!(
            InvalidRequest,
            "The specified copy range is invalid for the source object size"
        ));
    }
    if last >= length {
        let error = s3_error!(
            InvalidArgument,
            "Range specified is not valid for source object of size: {length}"
        );
        return Err(detailed(
            error,
            &[
                ("ArgumentName", "x-amz-copy-source-range"),
                ("ArgumentValue", text),
            ],
        ));
    }
    Ok(first..last + 1)
}

fn shown_part(number: u16, part: &Part, with_checksums: bool) -> dto::Part {
    let mut shown = dto::Part {
        e_tag: Some(ETag::Strong(part.md5.hex())),
        last_modified: Some(timestamp(part.modified)),
        part_number: Some(i32::from(number)),
        size: Some(size(part.content.len())),
        ..Default::default()
    };
    if with_checksums {
        show_checksums!(shown, &part.checksums);
    }
    shown
}

fn algorithm(algorithm: Algorithm) -> dto::ChecksumAlgorithm {
    dto::ChecksumAlgorithm::from_static(algorithm.name())
}

fn initiator(account: &str) -> dto::Initiator {
    dto::Initiator {
        id: Some(account.to_owned()),
        ..Default::default()
    }
}

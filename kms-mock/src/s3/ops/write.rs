//! Objects written: stored, copied.

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
};
use crate::s3::{
    store::{Found, Object},
    values::{
        checksum::{Algorithm, Checksums, Digest, NONE_CLAIMED, claimed, show_checksums},
        content::Content,
        dates::timestamp,
        version::VersionId,
    },
};

impl Objects {
    pub(crate) fn put_object(
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
        let md5 = Digest::of(&content);
        md5.check(input.content_md5.as_deref())?;
        let checksums = Checksums::of_content(&content, claimed, Algorithm::Crc64Nvme)?;
        let (bucket, key) = (&input.bucket, &input.key);
        let now = self.clock.now();
        let description = description!(input, sent.metadata, now);
        let acl = requested_acl!(input);
        let description = self.of_bucket(bucket, description, acl, now)?;
        let object = Object {
            content,
            description,
            etag: md5.hex(),
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

    pub(crate) fn copy_object(
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
        let given = self.of_bucket(&input.bucket, given, requested_acl!(input), now)?;
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
            Digest::of(&old.content).hex()
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
        let id = VersionId::asked(version_id.as_deref())?;
        let found = self.store.get(bucket, key, id.as_ref())?;
        Ok(Source {
            bucket: bucket.to_string(),
            key: key.to_string(),
            newest: id.is_none(),
            found,
        })
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

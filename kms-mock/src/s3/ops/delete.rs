//! Objects deleted: one, or up to a thousand.

use s3s::{S3Result, dto};

use super::{Objects, Sent, conditions::WriteIf};
use crate::s3::{
    authorize::check_each,
    errors::{INVALID_VERSION, malformed},
    store::StoreError,
    values::version::VersionId,
};

/// S3's bound of one DeleteObjects.
const DELETED_AT_ONCE_MAX: usize = 1_000;

impl Objects {
    pub(crate) fn delete_object(
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

    pub(crate) fn delete_objects(
        &self,
        input: dto::DeleteObjectsInput,
        sent: Sent,
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
            let gone = check_each(&self.store, &sent, asked.0, asked.1)
                .and_then(|()| self.delete_one(&input.bucket, asked, &condition, bypass));
            match gone {
                Ok(gone) => {
                    let id = gone.version.map(|it| it.as_str().to_owned());
                    // The answer repeats the version asked for, and names a marker's apart.
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
        match VersionId::asked(version_id)? {
            Some(id) => {
                let was_marker = self.store.delete_version(bucket, key, &id, |object| {
                    if object.description.marks.lock.keeps(now, bypass) {
                        return Err(StoreError::Locked);
                    }
                    Ok(())
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
}

/// What a DELETE did.
struct Gone {
    /// It made a delete marker, or removed one.
    was_or_is_marker: bool,
    version: Option<VersionId>,
}

//! What a write says of an object beside its bytes, and what its bucket adds.

use nsm_sim::clock::UnixMillis;
use s3s::S3Result;

use super::{Objects, access::RequestedAcl};
use crate::s3::store::Description;

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
            storage_class: $crate::s3::values::storage_class::read(
                $input.storage_class.as_ref().map(|it| it.as_str()),
            )?,
            website_redirect: $input.website_redirect_location,
            tags: $crate::s3::values::tags::Tags::from_header($input.tagging.as_deref())?,
            marks: $crate::s3::store::Marks {
                acl: $crate::s3::values::access::CannedAcl::default(),
                lock: $crate::s3::values::lock::Lock::asked(
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

pub(super) use description;

impl Objects {
    /// The description of a version made now, with what its bucket asks of it.
    pub(super) fn of_bucket(
        &self,
        bucket: &str,
        mut description: Description,
        acl: RequestedAcl<'_>,
        now: UnixMillis,
    ) -> S3Result<Description> {
        let settings = self.store.settings(bucket)?;
        let marks = &mut description.marks;
        marks.acl = acl.of_object(&settings)?;
        marks.lock = marks.lock.in_bucket(settings.lock, now)?;
        Ok(description)
    }
}

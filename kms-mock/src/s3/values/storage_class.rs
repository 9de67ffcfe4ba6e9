//! Storage classes: labels here, so only the classes whose objects can be read at
//! once.

use s3s::{S3Result, dto, s3_error};

use crate::s3::errors::detailed;

/// Reads `x-amz-storage-class`; `None` for STANDARD, which answers leave out.
pub(crate) fn read(class: Option<&str>) -> S3Result<Option<String>> {
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

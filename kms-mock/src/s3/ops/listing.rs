//! Listings: objects, versions, pages by token or marker.

use s3s::{
    S3Result,
    dto::{self, ETag},
    s3_error,
};

use super::{Objects, Sent, owner};
use crate::{
    s3::{
        errors::{detailed, invalid_argument},
        store::PageRequest,
        values::{dates::timestamp, version::VersionId},
    },
    wire::uri::uri_encode,
};

/// S3's and our largest page of a listing.
pub(super) const PER_PAGE_MAX: u16 = 1_000;

/// What the listings ask alike, and how they show keys.
pub(super) struct Listing<'a> {
    pub(super) prefix: Option<&'a str>,
    pub(super) delimiter: Option<&'a str>,
    pub(super) after: &'a str,
    max: u16,
    /// `encoding-type=url`: XML cannot hold every key.
    url: bool,
}

/// The listing that the fields of an input ask for.
macro_rules! listing {
    ($input:expr, $after:expr, $max:expr) => {
        $crate::s3::ops::listing::Listing::new(
            $input.prefix.as_deref(),
            $input.delimiter.as_deref(),
            $after,
            $max,
            $input.encoding_type.as_ref().map(|it| it.as_str()),
        )
    };
}

pub(super) use listing;

impl<'a> Listing<'a> {
    pub(super) fn new(
        prefix: Option<&'a str>,
        delimiter: Option<&'a str>,
        after: &'a str,
        max: Option<i32>,
        encoding: Option<&str>,
    ) -> S3Result<Self> {
        if let Some(encoding) = encoding.filter(|it| *it != "url") {
            let message = "Invalid Encoding Method specified in Request";
            return Err(invalid_argument("encoding-type", encoding, message));
        }
        if let Some(max) = max.filter(|it| *it < 0) {
            let message = "Argument maxKeys must be an integer between 0 and 2147483647";
            return Err(invalid_argument("maxKeys", &max.to_string(), message));
        }
        Ok(Self {
            prefix,
            delimiter,
            after,
            max: bounded(max, PER_PAGE_MAX),
            url: encoding.is_some(),
        })
    }

    pub(super) fn asked(&self) -> PageRequest<'a> {
        PageRequest {
            prefix: self.prefix.unwrap_or_default(),
            delimiter: self.delimiter,
            after: self.after,
            max: usize::from(self.max),
        }
    }

    pub(super) fn max(&self) -> Option<i32> {
        Some(self.max.into())
    }

    pub(super) fn shown(&self, text: &str) -> String {
        if !self.url {
            return text.to_owned();
        }
        let mut out = Vec::new();
        uri_encode(text.as_bytes(), true, &mut out);
        String::from_utf8(out).expect("what is percent-encoded is ASCII")
    }

    pub(super) fn shown_prefix(&self) -> Option<String> {
        Some(self.shown(self.prefix.unwrap_or_default()))
    }

    pub(super) fn shown_delimiter(&self) -> Option<String> {
        self.delimiter.map(|it| self.shown(it))
    }

    pub(super) fn shown_groups(&self, prefixes: &[String]) -> Option<Vec<dto::CommonPrefix>> {
        let shown = prefixes.iter().map(|prefix| dto::CommonPrefix {
            prefix: Some(self.shown(prefix)),
        });
        Some(shown.collect())
    }
}

/// One page of objects as it is shown.
struct ShownPage {
    contents: Vec<dto::Object>,
    common_prefixes: Vec<String>,
    next: Option<String>,
}

impl ShownPage {
    fn key_count(&self) -> i32 {
        let count = self.contents.len() + self.common_prefixes.len();
        i32::try_from(count).expect("a page has at most 1,000 keys")
    }
}

impl Objects {
    pub(crate) fn list_objects_v2(
        &self,
        input: dto::ListObjectsV2Input,
        _: Sent,
    ) -> S3Result<dto::ListObjectsV2Output> {
        let after = match &input.continuation_token {
            Some(token) => token_key(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let listing = listing!(input, &after, input.max_keys)?;
        let with_owner = input.fetch_owner == Some(true);
        let page = self.page(&input.bucket, &listing, with_owner)?;
        Ok(dto::ListObjectsV2Output {
            key_count: Some(page.key_count()),
            max_keys: listing.max(),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.map(|key| hex::encode(key.as_bytes())),
            contents: Some(page.contents),
            common_prefixes: listing.shown_groups(&page.common_prefixes),
            prefix: listing.shown_prefix(),
            delimiter: listing.shown_delimiter(),
            start_after: input.start_after.as_deref().map(|it| listing.shown(it)),
            name: Some(input.bucket.clone()),
            continuation_token: input.continuation_token.clone(),
            encoding_type: input.encoding_type.clone(),
            ..Default::default()
        })
    }

    pub(crate) fn list_objects(
        &self,
        input: dto::ListObjectsInput,
        _: Sent,
    ) -> S3Result<dto::ListObjectsOutput> {
        let after = input.marker.as_deref().unwrap_or_default();
        let listing = listing!(input, after, input.max_keys)?;
        let page = self.page(&input.bucket, &listing, true)?;
        Ok(dto::ListObjectsOutput {
            max_keys: listing.max(),
            is_truncated: Some(page.next.is_some()),
            next_marker: page
                .next
                .filter(|_| input.delimiter.is_some())
                .map(|it| listing.shown(&it)),
            contents: Some(page.contents),
            common_prefixes: listing.shown_groups(&page.common_prefixes),
            prefix: listing.shown_prefix(),
            marker: Some(listing.shown(listing.after)),
            delimiter: listing.shown_delimiter(),
            name: Some(input.bucket.clone()),
            encoding_type: input.encoding_type.clone(),
            ..Default::default()
        })
    }

    fn page(&self, bucket: &str, listing: &Listing<'_>, with_owner: bool) -> S3Result<ShownPage> {
        let account = self.store.owner(bucket)?;
        let page = self.store.list(bucket, &listing.asked())?;
        let contents = page
            .entries
            .iter()
            .map(|(key, (modified, object))| dto::Object {
                key: Some(listing.shown(key)),
                size: Some(size(object.content.len())),
                e_tag: Some(ETag::Strong(object.etag.clone())),
                last_modified: Some(timestamp(*modified)),
                storage_class: Some(object.description.listed_storage_class().into()),
                checksum_algorithm: Some(object.checksums.algorithms()),
                checksum_type: object.checksums.kind(),
                owner: with_owner.then(|| owner(&account)),
                ..Default::default()
            });
        Ok(ShownPage {
            contents: contents.collect(),
            common_prefixes: page.common_prefixes,
            next: page.next,
        })
    }

    pub(crate) fn list_object_versions(
        &self,
        input: dto::ListObjectVersionsInput,
        _: Sent,
    ) -> S3Result<dto::ListObjectVersionsOutput> {
        let after = input.key_marker.as_deref().unwrap_or_default();
        let after_version = match input.version_id_marker.as_deref() {
            Some(_) if input.key_marker.is_none() => {
                let message = "A version-id marker cannot be specified without a key marker.";
                return Err(invalid_argument("version-id-marker", "", message));
            }
            marker => VersionId::asked(marker)?,
        };
        let listing = listing!(input, after, input.max_keys)?;
        let account = self.store.owner(&input.bucket)?;
        let page =
            self.store
                .list_versions(&input.bucket, &listing.asked(), after_version.as_ref())?;
        let last = page.entries.last();
        let next_version = last
            .filter(|(key, _)| page.next.as_ref() == Some(key))
            .map(|(_, (_, it))| it.id.as_str().to_owned());
        let (mut versions, mut markers) = (Vec::new(), Vec::new());
        for (key, (newest, version)) in &page.entries {
            let (key, is_latest) = (Some(listing.shown(key)), Some(*newest));
            let last_modified = Some(timestamp(version.modified));
            let version_id = Some(version.id.as_str().to_owned());
            let owner = Some(owner(&account));
            match &version.object {
                None => markers.push(dto::DeleteMarkerEntry {
                    is_latest,
                    key,
                    last_modified,
                    owner,
                    version_id,
                }),
                Some(object) => versions.push(dto::ObjectVersion {
                    is_latest,
                    key,
                    last_modified,
                    owner,
                    version_id,
                    e_tag: Some(ETag::Strong(object.etag.clone())),
                    size: Some(size(object.content.len())),
                    checksum_algorithm: Some(object.checksums.algorithms()),
                    checksum_type: object.checksums.kind(),
                    storage_class: Some(object.description.listed_storage_class().into()),
                    ..Default::default()
                }),
            }
        }
        Ok(dto::ListObjectVersionsOutput {
            versions: Some(versions),
            delete_markers: Some(markers),
            common_prefixes: listing.shown_groups(&page.common_prefixes),
            is_truncated: Some(page.next.is_some()),
            next_key_marker: page.next.as_deref().map(|it| listing.shown(it)),
            next_version_id_marker: next_version,
            key_marker: Some(listing.shown(after)),
            version_id_marker: input.version_id_marker.clone().or(Some(String::new())),
            max_keys: listing.max(),
            name: Some(input.bucket.clone()),
            prefix: listing.shown_prefix(),
            delimiter: listing.shown_delimiter(),
            encoding_type: input.encoding_type.clone(),
            ..Default::default()
        })
    }
}

/// A size as the protocol has it.
pub(super) fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).expect("no content in memory is of 8 EiB")
}

/// How many at most: what is asked for, if that is not more than `max`.
pub(super) fn bounded(asked: Option<i32>, max: u16) -> u16 {
    let asked = asked.unwrap_or(max.into());
    u16::try_from(asked.clamp(0, max.into())).expect("it is between 0 and a u16")
}

pub(super) fn token_key(token: &str) -> S3Result<String> {
    let key = hex::decode(token)
        .ok()
        .filter(|key| !key.is_empty())
        .and_then(|key| String::from_utf8(key).ok());
    key.ok_or_else(|| {
        let error = s3_error!(
            InvalidArgument,
            "The continuation token provided is incorrect"
        );
        detailed(error, &[("ArgumentName", "continuation-token")])
    })
}

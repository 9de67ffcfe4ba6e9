//! Buckets, versions and uploads as rows of the data directory, and back.
//!
//! Source of truth: `crate::journal` (which tables there are). The types of `store`
//! are their own rows: a member that is added to one needs `#[serde(default)]`.
//! An object's bytes stand in its row, so that one transaction has them all; tags
//! and marks that are set later stand apart, so that they do not move the bytes
//! again.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use nsm_sim::clock::UnixMillis;
use serde::{Deserialize, Serialize};

use super::{
    store::{
        Bucket, Buckets, Change, Marks, Object, Part, Settings, Store, Upload, Version, Versioning,
    },
    values::{tags::Tags, version::VersionId},
};
use crate::journal::{BadRow, Batch, ReadError, Snapshot, State, Table, key_of, two_parts};

/// By name.
const BUCKETS: Table = Table("buckets");
/// By bucket, object key and version id.
const VERSIONS: Table = Table("versions");
/// What is set on a version after it was made, by the key of the version.
const LATER: Table = Table("object_tags");
/// By bucket and upload id.
const UPLOADS: Table = Table("uploads");
/// By bucket, upload id and number.
const PARTS: Table = Table("parts");

/// Every table of buckets and objects.
pub(crate) const TABLES: &[Table] = &[BUCKETS, VERSIONS, LATER, UPLOADS, PARTS];

#[derive(Serialize, Deserialize)]
struct BucketRow<'a> {
    account: Cow<'a, str>,
    region: Cow<'a, str>,
    created: u64,
    versioning: Versioning,
    tags: Cow<'a, Tags>,
    #[serde(default)]
    settings: Cow<'a, Settings>,
}

/// What is set on a version after it was made, each in a row of its own.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Later {
    Tags(Tags),
    Marks(Marks),
}

/// Ends the key of a version where its marks stand.
const MARKS: &str = "\0marks";

/// Place among all versions, date, and the object.
type VersionRow<T> = (u64, u64, Option<T>);

impl State for Buckets {
    type Change = Change;

    fn apply(&mut self, change: Change) {
        Self::apply(self, change);
    }

    fn put_rows(&self, changes: &[Change], batch: &mut Batch) {
        let mut made = self.made;
        for change in changes {
            made += u64::from(matches!(change, Change::VersionMade { .. }));
            self.put_row(change, made, batch);
        }
    }
}

impl Buckets {
    /// What a change writes; `made` is the place of a version that it makes.
    fn put_row(&self, change: &Change, made: u64, batch: &mut Batch) {
        match change {
            Change::BucketMade {
                bucket,
                account,
                region,
                created,
                settings,
            } => {
                let row = BucketRow {
                    account: Cow::Borrowed(account),
                    region: Cow::Borrowed(region),
                    created: created.0,
                    versioning: settings.first_versioning(),
                    tags: Cow::Owned(Tags::default()),
                    settings: Cow::Borrowed(settings),
                };
                batch.put(BUCKETS, bucket.as_bytes(), &row);
            }
            Change::BucketGone { bucket } => {
                batch.delete(BUCKETS, bucket.as_bytes());
                batch.delete_all_of(UPLOADS, bucket);
                batch.delete_all_of(PARTS, bucket);
            }
            Change::VersioningSet { bucket, versioning } => {
                self.change_bucket(batch, bucket, |row| row.versioning = *versioning);
            }
            Change::BucketTagged { bucket, tags } => {
                self.change_bucket(batch, bucket, |row| {
                    row.tags = Cow::Owned(tags.clone());
                });
            }
            Change::BucketSetUp { bucket, settings } => {
                self.change_bucket(batch, bucket, |row| {
                    row.settings = Cow::Owned((**settings).clone());
                });
            }
            Change::VersionMade {
                bucket,
                key,
                version,
            } => {
                let name = version_key(bucket, key, &version.id);
                let object = version.object.as_deref();
                let row: VersionRow<&Object> = (made, version.modified.0, object);
                batch.put(VERSIONS, name.clone(), &row);
                forget_later(batch, name);
            }
            Change::VersionGone { bucket, key, id } => {
                let name = version_key(bucket, key, id);
                batch.delete(VERSIONS, name.clone());
                forget_later(batch, name);
            }
            Change::ObjectTagged {
                bucket,
                key,
                id,
                tags,
            } => batch.put(LATER, version_key(bucket, key, id), tags),
            Change::ObjectMarked {
                bucket,
                key,
                id,
                marks,
            } => {
                let name = [version_key(bucket, key, id).as_slice(), MARKS.as_bytes()].concat();
                batch.put(LATER, name, marks);
            }
            Change::UploadMade { bucket, id, upload } => {
                batch.put(UPLOADS, key_of(&[bucket, id]), &**upload);
            }
            Change::PartMade {
                bucket,
                id,
                number,
                part,
            } => {
                let name = key_of(&[bucket, id, &number.to_string()]);
                batch.put(PARTS, name, part);
            }
            Change::UploadGone { bucket, id } => {
                batch.delete(UPLOADS, key_of(&[bucket, id]));
                batch.delete_all_of(PARTS, &format!("{bucket}\0{id}"));
            }
            Change::AllGone => {
                for table in TABLES {
                    batch.empty(*table);
                }
            }
        }
    }

    fn change_bucket<'a>(
        &'a self,
        batch: &mut Batch,
        name: &str,
        change: impl FnOnce(&mut BucketRow<'a>),
    ) {
        let bucket = self
            .bucket(name)
            .expect("a change is of a bucket that was found");
        let mut row = row_of(bucket);
        change(&mut row);
        batch.put(BUCKETS, name.as_bytes(), &row);
    }
}

fn forget_later(batch: &mut Batch, version: Vec<u8>) {
    batch.delete(LATER, [version.as_slice(), MARKS.as_bytes()].concat());
    batch.delete(LATER, version);
}

fn row_of(bucket: &Bucket) -> BucketRow<'_> {
    BucketRow {
        account: Cow::Borrowed(&bucket.account),
        region: Cow::Borrowed(&bucket.region),
        created: bucket.created.0,
        versioning: bucket.versioning,
        tags: Cow::Borrowed(&bucket.tags),
        settings: Cow::Borrowed(&bucket.settings),
    }
}

/// An object's key may have any character, bucket and version have no NUL.
fn version_key(bucket: &str, key: &str, id: &VersionId) -> Vec<u8> {
    let id = match id {
        VersionId::Null => "null",
        VersionId::Id(id) => id,
    };
    key_of(&[bucket, key, id])
}

fn parts_of(name: &str) -> Result<(String, String, VersionId), BadRow> {
    let split = || {
        let (bucket, rest) = name.split_once('\0')?;
        let (key, id) = rest.rsplit_once('\0')?;
        Some((bucket.to_owned(), key.to_owned(), VersionId::parse(id)?))
    };
    split()
        .ok_or_else(|| BadRow::because("has a key that is not bucket, object key and version id"))
}

impl Store {
    /// Puts everything in place that the data directory has.
    pub(crate) fn load(&self, snapshot: &Snapshot) -> Result<(), ReadError> {
        self.load_buckets(snapshot)?;
        self.load_versions(snapshot)?;
        self.load_uploads(snapshot)
    }

    fn load_buckets(&self, snapshot: &Snapshot) -> Result<(), ReadError> {
        snapshot.each(BUCKETS, |name, row: BucketRow<'static>| {
            self.restore(Change::BucketMade {
                bucket: name.to_owned(),
                account: row.account.into_owned(),
                region: row.region.into_owned(),
                created: UnixMillis(row.created),
                settings: Box::new(row.settings.into_owned()),
            });
            self.restore(Change::VersioningSet {
                bucket: name.to_owned(),
                versioning: row.versioning,
            });
            self.restore(Change::BucketTagged {
                bucket: name.to_owned(),
                tags: row.tags.into_owned(),
            });
            Ok(())
        })
    }

    fn load_versions(&self, snapshot: &Snapshot) -> Result<(), ReadError> {
        let (mut tags, mut marks) = (HashMap::new(), HashMap::new());
        snapshot.each(LATER, |name, row: Later| {
            match row {
                Later::Tags(row) => drop(tags.insert(name.to_owned(), row)),
                Later::Marks(row) => drop(marks.insert(name.to_owned(), row)),
            }
            Ok(())
        })?;
        let mut versions = Vec::new();
        snapshot.each(VERSIONS, |name, row: VersionRow<Object>| {
            let (bucket, key, id) = parts_of(name)?;
            let (order, modified, mut object) = row;
            if let (Some(object), Some(tags)) = (&mut object, tags.remove(name)) {
                object.description.tags = tags;
            }
            let marks = marks.remove(&format!("{name}{MARKS}"));
            if let (Some(object), Some(marks)) = (&mut object, marks) {
                object.description.marks = marks;
            }
            let version = Version {
                id,
                modified: UnixMillis(modified),
                object: object.map(Arc::new),
            };
            versions.push((order, bucket, key, version));
            Ok(())
        })?;
        versions.sort_unstable_by_key(|(order, ..)| *order);
        for (order, bucket, key, version) in versions {
            self.restore(Change::VersionMade {
                bucket,
                key,
                version,
            });
            self.number_from(order);
        }
        Ok(())
    }

    fn load_uploads(&self, snapshot: &Snapshot) -> Result<(), ReadError> {
        snapshot.each(UPLOADS, |name, row: Upload| {
            let (bucket, id) = two_parts(name)?;
            self.restore(Change::UploadMade {
                bucket: bucket.to_owned(),
                id: id.to_owned(),
                upload: Box::new(row),
            });
            Ok(())
        })?;
        snapshot.each(PARTS, |name, part: Part| {
            let wrong =
                || BadRow::because("has a key that is not bucket, upload id and part number");
            let (upload, number) = name.rsplit_once('\0').ok_or_else(wrong)?;
            let (bucket, id) = two_parts(upload)?;
            let number = number.parse().map_err(|_| wrong())?;
            self.restore(Change::PartMade {
                bucket: bucket.to_owned(),
                id: id.to_owned(),
                number,
                part,
            });
            Ok(())
        })
    }
}

//! Buckets and objects in memory.
//!
//! Models S3's strong read-after-write consistency and the UTF-8 order of keys.
//! No versions: a PUT replaces, a DELETE forgets.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;
use nsm_sim::clock::UnixMillis;

use super::metadata::UserMetadata;

/// One stored object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Object {
    pub(crate) body: Bytes,
    /// User metadata, values as they came.
    pub(crate) metadata: UserMetadata,
    pub(crate) content_type: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) cache_control: Option<String>,
    /// MD5 in hex, without quotes.
    pub(crate) etag: String,
    /// Unix milliseconds.
    pub(crate) modified_ms: u64,
    /// Checksums the client sent along, base64, by algorithm.
    pub(crate) checksums: BTreeMap<Algorithm, String>,
}

/// Checksum algorithms of S3 objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

/// A bucket.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(crate) created: UnixMillis,
    /// Owning account.
    pub(crate) account: String,
    objects: BTreeMap<String, Arc<Object>>,
}

/// What a listing found.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) objects: Vec<(String, Arc<Object>)>,
    pub(crate) common_prefixes: BTreeSet<String>,
    /// The last key or prefix given, if there is more.
    pub(crate) next: Option<String>,
}

/// Why the store refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreError {
    NoSuchBucket,
    NoSuchKey,
    BucketNotEmpty,
    OwnedByYou,
    OwnedByAnother,
    Full,
    PreconditionFailed,
}

/// All buckets of one world.
#[derive(Debug)]
pub(crate) struct Store {
    inner: RwLock<Inner>,
    bytes_max: u64,
}

#[derive(Debug, Default)]
struct Inner {
    buckets: BTreeMap<String, Bucket>,
    bytes: u64,
}

impl Store {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            inner: RwLock::default(),
            bytes_max,
        }
    }

    pub(crate) fn create(
        &self,
        name: &str,
        account: &str,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        match inner.buckets.get(name) {
            Some(bucket) if bucket.account == account => return Err(StoreError::OwnedByYou),
            Some(_) => return Err(StoreError::OwnedByAnother),
            None => {}
        }
        let bucket = Bucket {
            created: now,
            account: account.to_owned(),
            objects: BTreeMap::new(),
        };
        inner.buckets.insert(name.to_owned(), bucket);
        Ok(())
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        *self.inner.write().unwrap_or_else(PoisonError::into_inner) = Inner::default();
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.inner
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .buckets
            .contains_key(name)
    }

    pub(crate) fn delete_bucket(&self, name: &str) -> Result<(), StoreError> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        match inner.buckets.get(name) {
            None => Err(StoreError::NoSuchBucket),
            Some(bucket) if !bucket.objects.is_empty() => Err(StoreError::BucketNotEmpty),
            Some(_) => {
                inner.buckets.remove(name);
                Ok(())
            }
        }
    }

    /// Name and creation of each bucket of `account`.
    pub(crate) fn buckets(&self, account: &str) -> Vec<(String, UnixMillis)> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let own = inner
            .buckets
            .iter()
            .filter(|(_, bucket)| bucket.account == account);
        own.map(|(name, bucket)| (name.clone(), bucket.created))
            .collect()
    }

    /// Stores `object` if `check` agrees with what is there now.
    pub(crate) fn put(
        &self,
        bucket: &str,
        key: &str,
        object: Object,
        check: impl FnOnce(Option<&Object>) -> bool,
    ) -> Result<(), StoreError> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let Inner { buckets, bytes } = &mut *inner;
        let objects = &mut buckets
            .get_mut(bucket)
            .ok_or(StoreError::NoSuchBucket)?
            .objects;
        let old = objects.get(key);
        if !check(old.map(Arc::as_ref)) {
            return Err(StoreError::PreconditionFailed);
        }
        let freed = old.map_or(0, |old| old.body.len() as u64);
        let total = bytes
            .saturating_sub(freed)
            .saturating_add(object.body.len() as u64);
        if total > self.bytes_max {
            return Err(StoreError::Full);
        }
        *bytes = total;
        objects.insert(key.to_owned(), Arc::new(object));
        Ok(())
    }

    pub(crate) fn get(&self, bucket: &str, key: &str) -> Result<Arc<Object>, StoreError> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let bucket = inner.buckets.get(bucket).ok_or(StoreError::NoSuchBucket)?;
        bucket
            .objects
            .get(key)
            .cloned()
            .ok_or(StoreError::NoSuchKey)
    }

    /// Forgets an object; that it was not there is no error.
    pub(crate) fn delete(&self, bucket: &str, key: &str) -> Result<(), StoreError> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let Inner { buckets, bytes } = &mut *inner;
        let bucket = buckets.get_mut(bucket).ok_or(StoreError::NoSuchBucket)?;
        if let Some(old) = bucket.objects.remove(key) {
            *bytes = bytes.saturating_sub(old.body.len() as u64);
        }
        Ok(())
    }

    /// Keys after `after` that begin with `prefix`, at most `max` keys and
    /// common prefixes together.
    pub(crate) fn list(
        &self,
        bucket: &str,
        prefix: &str,
        delimiter: Option<&str>,
        after: &str,
        max: usize,
    ) -> Result<Page, StoreError> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let objects = &inner
            .buckets
            .get(bucket)
            .ok_or(StoreError::NoSuchBucket)?
            .objects;
        let mut page = Page::default();
        if max == 0 {
            return Ok(page);
        }
        let from = if prefix > after {
            Bound::Included(prefix)
        } else {
            Bound::Excluded(after)
        };
        let mut last = String::new();
        for (key, object) in objects.range::<str, _>((from, Bound::Unbounded)) {
            let Some(rest) = key.strip_prefix(prefix) else {
                break;
            };
            let group = delimiter
                .filter(|delimiter| !delimiter.is_empty())
                .and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len()))
                .and_then(|end| key.get(..prefix.len() + end));
            // A group is given once, also when the page before ended with it.
            if group.is_some_and(|group| group == after || page.common_prefixes.contains(group)) {
                continue;
            }
            if page.objects.len() + page.common_prefixes.len() >= max {
                page.next = Some(last);
                break;
            }
            match group {
                Some(group) => {
                    group.clone_into(&mut last);
                    page.common_prefixes.insert(group.to_owned());
                }
                None => {
                    key.clone_into(&mut last);
                    page.objects.push((key.clone(), Arc::clone(object)));
                }
            }
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(keys: &[&str]) -> Store {
        let store = Store::new(1_000);
        store.create("b", "1", UnixMillis(0)).unwrap();
        for key in keys {
            let object = Object {
                body: Bytes::from_static(b"0123456789"),
                ..Object::default()
            };
            store.put("b", key, object, |_| true).unwrap();
        }
        store
    }

    /// All pages of a listing, each with its keys and prefixes.
    fn pages(store: &Store, prefix: &str, delimiter: Option<&str>, max: usize) -> Vec<Vec<String>> {
        let (mut pages, mut after) = (Vec::new(), String::new());
        loop {
            let page = store.list("b", prefix, delimiter, &after, max).unwrap();
            let mut names: Vec<String> = page.objects.into_iter().map(|(key, _)| key).collect();
            names.extend(page.common_prefixes);
            pages.push(names);
            match page.next {
                Some(next) => after = next,
                None => return pages,
            }
        }
    }

    #[test]
    fn a_listing_goes_through_every_key_once_at_every_page_size() {
        let store = filled(&["a", "d/1", "d/2", "d/3", "e", "f/1", "g"]);
        for max in 1..9 {
            let mut flat: Vec<String> = pages(&store, "", None, max).concat();
            flat.sort();
            assert_eq!(
                flat,
                ["a", "d/1", "d/2", "d/3", "e", "f/1", "g"],
                "pages of {max}"
            );
            let mut grouped: Vec<String> = pages(&store, "", Some("/"), max).concat();
            grouped.sort();
            assert_eq!(grouped, ["a", "d/", "e", "f/", "g"], "pages of {max}");
        }
        assert_eq!(pages(&store, "d/", Some("/"), 10), [["d/1", "d/2", "d/3"]]);
    }

    #[test]
    fn the_store_stops_at_its_bound_and_counts_what_is_replaced() {
        let store = filled(&[]);
        let object = |size: usize| Object {
            body: vec![0; size].into(),
            ..Object::default()
        };
        assert_eq!(
            store.put("b", "k", object(1_001), |_| true),
            Err(StoreError::Full)
        );
        store.put("b", "k", object(1_000), |_| true).unwrap();
        store.put("b", "k", object(1_000), |_| true).unwrap();
        assert_eq!(
            store.put("b", "l", object(1), |_| true),
            Err(StoreError::Full)
        );
        store.delete("b", "k").unwrap();
        store.put("b", "l", object(1), |_| true).unwrap();
        assert_eq!(store.delete_bucket("b"), Err(StoreError::BucketNotEmpty));
    }
}

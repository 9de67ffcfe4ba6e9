//! Listings, versions and the byte budget of the store.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use nsm_sim::clock::UnixMillis;

use super::{uploads::UPLOADS_PER_BUCKET_MAX, *};
use crate::s3::values::{
    checksum::{Checksums, Digest},
    content::Content,
    version::VersionId,
};

const NOW: UnixMillis = UnixMillis(0);

fn object(size: usize) -> Object {
    Object {
        content: Content::from(Bytes::from(vec![0; size])),
        ..Object::default()
    }
}

fn upload() -> Upload {
    Upload {
        key: "k".to_owned(),
        description: Description::default(),
        account: "1".to_owned(),
        initiated: NOW,
        replaces: false,
        checksum: None,
        parts: BTreeMap::new(),
    }
}

fn put(store: &Store, key: &str, size: usize) -> Result<Option<VersionId>, StoreError> {
    store.put("b", key, object(size), NOW, |_| Ok(()))
}

fn filled(keys: &[&str]) -> Store {
    let store = Store::new(10_000, Journal::memory());
    let place = ("1", "us-east-1");
    let made = store.create_bucket("b", place, Settings::default(), NOW);
    made.unwrap();
    for key in keys {
        put(&store, key, 10).unwrap();
    }
    store
}

fn asked<'a>(
    prefix: &'a str,
    delimiter: Option<&'a str>,
    after: &'a str,
    max: usize,
) -> PageRequest<'a> {
    PageRequest {
        prefix,
        delimiter,
        after,
        max,
    }
}

/// All pages of a listing, each with its keys and prefixes.
fn pages(store: &Store, prefix: &str, delimiter: Option<&str>, max: usize) -> Vec<Vec<String>> {
    let (mut pages, mut after) = (Vec::new(), String::new());
    loop {
        let page = store
            .list("b", &asked(prefix, delimiter, &after, max))
            .unwrap();
        let mut names: Vec<String> = page.entries.into_iter().map(|(key, _)| key).collect();
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
fn a_listing_of_versions_goes_through_every_version_once_at_every_page_size() {
    let store = filled(&[]);
    store.set_versioning("b", Versioning::Enabled).unwrap();
    for key in ["a", "b", "a", "d/1", "a", "d/2"] {
        put(&store, key, 1).unwrap();
    }
    store.delete("b", "b", NOW, |_| Ok(())).unwrap();
    for max in 1..9 {
        let (mut seen, mut after) = (Vec::new(), (String::new(), None));
        loop {
            let listed = asked("", None, &after.0, max);
            let page = store.list_versions("b", &listed, after.1.as_ref()).unwrap();
            let last = page.entries.last().map(|(_, (_, it))| it.id.clone());
            for (key, (newest, version)) in page.entries {
                seen.push((key, newest, version.object.is_none()));
            }
            match page.next {
                Some(next) => after = (next, last),
                None => break,
            }
        }
        let seen: Vec<(&str, bool, bool)> = seen
            .iter()
            .map(|(key, a, b)| (key.as_str(), *a, *b))
            .collect();
        assert_eq!(
            seen,
            [
                ("a", true, false),
                ("a", false, false),
                ("a", false, false),
                ("b", true, true),
                ("b", false, false),
                ("d/1", true, false),
                ("d/2", true, false),
            ],
            "pages of {max}"
        );
    }
}

#[test]
fn the_store_stops_at_its_bound_and_counts_what_is_replaced() {
    let store = filled(&[]);
    assert_eq!(put(&store, "k", 9_744), Err(StoreError::Full));
    put(&store, "k", 9_743).unwrap();
    put(&store, "k", 9_743).unwrap();
    assert_eq!(put(&store, "l", 0), Err(StoreError::Full));
    store.delete("b", "k", NOW, |_| Ok(())).unwrap();
    put(&store, "l", 1).unwrap();
    assert_eq!(
        store.delete_bucket("b"),
        Err(StoreError::BucketNotEmpty("b".to_owned(), false))
    );
}

#[test]
fn empty_objects_and_delete_markers_are_counted_too() {
    let store = filled(&[]);
    store.set_versioning("b", Versioning::Enabled).unwrap();
    let fit = 10_000 / (256 + 1);
    for i in 0..fit {
        let made = store.delete("b", "k", NOW, |_| Ok(()));
        assert!(matches!(made, Ok(Some(VersionId::Id(_)))), "{i}");
    }
    assert_eq!(put(&store, "k", 0), Err(StoreError::Full));
}

#[test]
fn a_suspended_bucket_replaces_its_null_version_only() {
    let store = filled(&["k"]);
    store.set_versioning("b", Versioning::Enabled).unwrap();
    let kept = put(&store, "k", 2).unwrap().unwrap();
    store.set_versioning("b", Versioning::Suspended).unwrap();
    assert_eq!(put(&store, "k", 3).unwrap(), Some(VersionId::Null));
    let size = |id: Option<&VersionId>| store.get("b", "k", id).unwrap().object.content.len();
    assert_eq!(size(None), 3);
    assert_eq!(size(Some(&kept)), 2);
    assert_eq!(size(Some(&VersionId::Null)), 3);
    let marker = store.delete("b", "k", NOW, |_| Ok(())).unwrap();
    assert_eq!(marker, Some(VersionId::Null));
    let found = store.get("b", "k", None);
    assert_eq!(
        found.err(),
        Some(StoreError::Deleted("k".to_owned(), VersionId::Null))
    );
    assert_eq!(size(Some(&kept)), 2);
    // Without the marker the version below is the newest again.
    let deleted = store.delete_version("b", "k", &VersionId::Null, |_| Ok(()));
    assert_eq!(deleted, Ok(true));
    assert_eq!(size(None), 2);
}

#[test]
fn a_bucket_has_a_bound_of_uploads_under_way() {
    let store = Store::new(u64::MAX, Journal::memory());
    let place = ("1", "us-east-1");
    let made = store.create_bucket("b", place, Settings::default(), NOW);
    made.unwrap();
    for i in 0..UPLOADS_PER_BUCKET_MAX {
        store.create_upload("b", &i.to_string(), upload()).unwrap();
    }
    let refused = store.create_upload("b", "one more", upload());
    assert_eq!(refused, Err(StoreError::TooManyUploads));
    store.abort_upload("b", "k", "0").unwrap();
    store.create_upload("b", "one more", upload()).unwrap();
}

#[test]
fn a_finished_upload_leaves_nothing_but_its_object() {
    let store = filled(&[]);
    let part = |size: usize| Part {
        content: Content::from(Bytes::from(vec![1; size])),
        md5: Digest::of(&Content::default()),
        checksums: Checksums::default(),
        modified: NOW,
    };
    store.create_upload("b", "u", upload()).unwrap();
    store.put_part("b", "k", "u", 1, part(4_000)).unwrap();
    store.put_part("b", "k", "u", 1, part(4_000)).unwrap();
    store.put_part("b", "k", "u", 2, part(4_000)).unwrap();
    assert_eq!(
        store.put_part("b", "k", "u", 3, part(4_000)),
        Err(StoreError::Full)
    );
    assert_eq!(
        store.put_part("b", "another", "u", 3, part(1)),
        Err(StoreError::NoSuchUpload("u".to_owned()))
    );
    let whole = Arc::new(object(8_000));
    store
        .complete_upload("b", "k", "u", whole, NOW, |_, _| Ok(()))
        .unwrap();
    assert_eq!(
        store.upload("b", "k", "u").err(),
        Some(StoreError::NoSuchUpload("u".to_owned()))
    );
    // What the parts took is free again.
    put(&store, "l", 1_400).unwrap();
    store.delete("b", "k", NOW, |_| Ok(())).unwrap();
    store.delete("b", "l", NOW, |_| Ok(())).unwrap();
    store.create_upload("b", "u", upload()).unwrap();
    store.put_part("b", "k", "u", 1, part(9_000)).unwrap();
    store.abort_upload("b", "k", "u").unwrap();
    put(&store, "k", 9_743).unwrap();
}

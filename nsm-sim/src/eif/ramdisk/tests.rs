//! Archives, written and read, whole and damaged.

use proptest::prelude::*;

use super::{write::push_entry, *};

fn sample() -> Vec<Entry> {
    vec![
        Entry::directory("bin"),
        Entry::executable("bin/hello", b"\x7fELF".to_vec()),
        Entry::new("bin/hi", 0o755, EntryKind::HardLink("bin/hello".into())),
        Entry::symlink("sh", "bin/hello"),
        Entry::new(
            "dev/null",
            0o666,
            EntryKind::CharDevice { major: 1, minor: 3 },
        ),
        Entry::new(
            "dev/vda",
            0o660,
            EntryKind::BlockDevice {
                major: 254,
                minor: 0,
            },
        ),
        Entry::new("pipe", 0o600, EntryKind::Fifo),
        Entry::new("log", 0o666, EntryKind::Socket),
        Entry {
            uid: 7,
            gid: 8,
            mtime_secs: 9,
            ..Entry::file("empty", b"")
        },
    ]
}

#[test]
fn what_is_written_is_read_again_plain_and_gzip() {
    let entries = sample();
    let plain = write_cpio(&entries).unwrap();
    assert_eq!(plain.len() % BLOCK_BYTES, 0);
    assert_eq!(read_cpio(&plain).unwrap(), entries);
    let gzip = write_cpio_gz(&entries).unwrap();
    assert_eq!(read_cpio(&gzip).unwrap(), entries);
    assert_eq!(gzip, write_cpio_gz(&entries).unwrap());
    assert_eq!(inflate(&gzip).unwrap(), plain);
}

#[test]
fn archives_and_gzip_members_behind_each_other_are_one_ramdisk() {
    let mut plain = write_cpio(&[Entry::file("a", "1")]).unwrap();
    plain.resize(plain.len() + 64, 0);
    plain.extend(write_cpio(&[Entry::file("b", "2")]).unwrap());
    let names = |ramdisk: &[u8]| -> Vec<String> {
        read_cpio(ramdisk)
            .unwrap()
            .into_iter()
            .map(|entry| entry.path)
            .collect()
    };
    assert_eq!(names(&plain), ["a", "b"]);

    let mut gzip = write_cpio_gz(&[Entry::file("a", "1")]).unwrap();
    gzip.resize(gzip.len() + 100, 0);
    gzip.extend(write_cpio_gz(&[Entry::file("b", "2")]).unwrap());
    gzip.resize(gzip.len() + 100, 0);
    assert_eq!(names(&gzip), ["a", "b"]);
}

#[test]
fn a_hard_link_before_its_content_is_resolved() {
    // GNU cpio puts the content at the last name.
    let mut archive = Vec::new();
    push_entry(
        &mut archive,
        "a",
        b"",
        &[5, REGULAR | 0o644, 0, 0, 2, 0, 0, 8, 1, 0, 0],
    );
    push_entry(
        &mut archive,
        "b",
        b"xyz",
        &[5, REGULAR | 0o644, 0, 0, 2, 0, 3, 8, 1, 0, 0],
    );
    push_entry(
        &mut archive,
        TRAILER,
        b"",
        &[0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    );
    let entries = read_cpio(&archive).unwrap();
    assert_eq!(entries[0].kind, EntryKind::HardLink("b".into()));
    assert_eq!(entries[1].kind, EntryKind::File(b"xyz".to_vec()));
}

#[test]
fn refuses_bytes_that_are_not_an_archive_and_says_where() {
    let good = write_cpio(&sample()).unwrap();
    assert_eq!(read_cpio(b""), Err(RamdiskError::Truncated { at: 0 }));
    assert_eq!(read_cpio(&[0; 600]), Err(RamdiskError::NoArchive { at: 0 }));
    assert_eq!(
        read_cpio(&good[..200]),
        Err(RamdiskError::Truncated { at: 200 })
    );
    let mut bad = good.clone();
    bad[116 + 6] = b'+'; // the second header follows 110 bytes and "bin", padded to 116
    assert_eq!(read_cpio(&bad), Err(RamdiskError::NotHex { at: 116 }));
    let mut trailing = good;
    trailing.extend(b"junk");
    assert!(matches!(
        read_cpio(&trailing),
        Err(RamdiskError::Truncated { .. })
    ));
    assert_eq!(
        read_cpio(&[0x28, 0xb5, 0x2f, 0xfd, 0]),
        Err(RamdiskError::UnknownCompression { name: "zstd" })
    );
    let mut gzip = write_cpio_gz(&sample()).unwrap();
    let middle = gzip.len() / 2;
    gzip[middle] ^= 0x10;
    assert!(read_cpio(&gzip).is_err());
}

#[test]
fn an_entry_that_claims_gigabytes_costs_no_memory() {
    let mut archive = Vec::new();
    let claimed = [1, REGULAR, 0, 0, 1, 0, 0x7000_0000, 0, 0, 0, 0];
    push_entry(&mut archive, "big", b"", &claimed);
    assert!(matches!(
        read_cpio(&archive),
        Err(RamdiskError::Truncated { .. })
    ));
    let claimed = [1, REGULAR, 0, 0, 1, 0, u32::MAX, 0, 0, 0, 0];
    let mut archive = Vec::new();
    push_entry(&mut archive, "bigger", b"", &claimed);
    assert_eq!(read_cpio(&archive), Err(RamdiskError::TooLarge));
}

#[test]
fn refuses_to_write_what_cannot_be_read_again() {
    for entry in [
        Entry::file("", "x"),
        Entry::file("TRAILER!!!", "x"),
        Entry::file("a\0b", "x"),
        Entry::symlink("a", ""),
        Entry::new("a", 0o10_000, EntryKind::Directory),
        Entry::new("a", 0o644, EntryKind::HardLink("nowhere".into())),
        Entry::new("a", 0o644, EntryKind::HardLink("a".into())),
    ] {
        assert!(
            write_cpio(std::slice::from_ref(&entry)).is_err(),
            "{entry:?}"
        );
    }
}

prop_compose! {
    fn any_entry()(
        path in "[a-zé. ]{1,12}(/[a-z]{1,5}){0,3}",
        mode in 0_u32..0o10_000,
        ids in any::<(u32, u32, u32)>(),
        kind in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200).prop_map(EntryKind::File),
            Just(EntryKind::Directory),
            "[a-z/.]{1,30}".prop_map(EntryKind::Symlink),
            any::<(u32, u32)>().prop_map(|(major, minor)| EntryKind::CharDevice { major, minor }),
            any::<(u32, u32)>().prop_map(|(major, minor)| EntryKind::BlockDevice { major, minor }),
            Just(EntryKind::Fifo),
            Just(EntryKind::Socket),
        ],
    ) -> Entry {
        Entry { path, mode, uid: ids.0, gid: ids.1, mtime_secs: ids.2, kind }
    }
}

proptest! {
    #[test]
    fn any_entries_survive_writing_and_reading(
        entries in proptest::collection::vec(any_entry(), 0..12)
    ) {
        prop_assert_eq!(&read_cpio(&write_cpio(&entries).unwrap()).unwrap(), &entries);
        prop_assert_eq!(&read_cpio(&write_cpio_gz(&entries).unwrap()).unwrap(), &entries);
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400)
    ) {
        let _ = read_cpio(&bytes);
    }

    #[test]
    fn any_damage_to_an_archive_is_read_or_refused_without_panic(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        gzip in any::<bool>(),
    ) {
        let mut archive =
            if gzip { write_cpio_gz(&sample()) } else { write_cpio(&sample()) }.unwrap();
        for (index, value) in flips {
            let at = index.index(archive.len());
            archive[at] = value;
        }
        let _ = read_cpio(&archive);
    }
}

//! What is acknowledged is on the disk: on one that forgets at a power cut
//! whatever was not synced, and on one that fails.

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use redb::StorageBackend;

use super::*;

const NAMES: Table = Table("names");

/// A disk with a cache.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Platter>>);

#[derive(Clone, Debug, Default)]
struct Platter {
    /// What a reader sees.
    seen: Vec<u8>,
    /// What is left after a power cut, at least.
    synced: Vec<u8>,
    /// What may be left beside it.
    unsynced: Vec<Access>,
    syncs: usize,
    is_full: bool,
}

#[derive(Clone, Debug)]
enum Access {
    Length(usize),
    Bytes(usize, Vec<u8>),
}

impl Access {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Bytes(at, data) => {
                if bytes.len() < at + data.len() {
                    bytes.resize(at + data.len(), 0);
                }
                bytes[*at..at + data.len()].copy_from_slice(data);
            }
        }
    }
}

impl Disk {
    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap()
    }

    fn access(&self, access: Access) -> io::Result<()> {
        let mut platter = self.platter();
        if platter.is_full {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        access.apply(&mut platter.seen);
        platter.unsynced.push(access);
        Ok(())
    }

    /// What a power cut leaves: everything synced, and of the rest what chance
    /// has written already.
    fn cut(&self, rng: &mut ChaCha20Rng) -> Self {
        let platter = self.platter().clone();
        let mut left = platter.synced;
        for access in &platter.unsynced {
            if rng.random_bool(0.5) {
                access.apply(&mut left);
            }
        }
        Self(Arc::new(Mutex::new(Platter {
            seen: left.clone(),
            synced: left,
            ..Platter::default()
        })))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.platter().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.platter();
        let at = usize::try_from(offset).unwrap();
        let bytes = platter.seen.get(at..at + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.access(Access::Length(usize::try_from(len).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.platter();
        platter.synced = platter.seen.clone();
        platter.unsynced.clear();
        platter.syncs += 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.access(Access::Bytes(
            usize::try_from(offset).unwrap(),
            data.to_vec(),
        ))
    }
}

fn open(disk: &Disk) -> Database {
    Database::builder()
        .set_cache_size(1024 * 1024)
        .set_check_integrity_on_open(true)
        .create_with_backend(disk.clone())
        .unwrap()
}

fn start(disk: &Disk) -> Arc<Writer> {
    let database = open(disk);
    let transaction = database.begin_write().unwrap();
    transaction.open_table(NAMES.definition()).unwrap();
    {
        let mut world = transaction.open_table(WORLD.definition()).unwrap();
        let zero = encode(&0_u64);
        world.insert(SEQUENCE.as_bytes(), zero.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    let disk = disk.clone();
    let reopen = Box::new(move || Ok(Database::builder().create_with_backend(disk.clone())?));
    Writer::start_on(database, reopen, (), 0).unwrap()
}

fn put(name: &str) -> Vec<Row> {
    let value = encode(&name);
    vec![Row::Put(NAMES, name.as_bytes().to_vec(), value)]
}

fn names(disk: &Disk) -> BTreeSet<String> {
    let database = open(disk);
    let transaction = database.begin_read().unwrap();
    let keys = transaction.open_table(NAMES.definition()).unwrap();
    keys.iter()
        .unwrap()
        .map(|row| {
            let (key, value) = row.unwrap();
            let name = String::from_utf8(key.value().to_vec()).unwrap();
            assert_eq!(decode::<String>(value.value()).unwrap(), name);
            name
        })
        .collect()
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_moment() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let disk = Disk::default();
    let writer = start(&disk);
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (writer, acknowledged) = (Arc::clone(&writer), Arc::clone(&acknowledged));
            std::thread::spawn(move || {
                for n in 0..50 {
                    let name = format!("{thread}-{n}");
                    writer.commit(put(&name)).unwrap();
                    acknowledged.lock().unwrap().insert(name);
                }
            })
        })
        .collect();
    let mut cuts = Vec::new();
    while !threads.iter().all(JoinHandle::is_finished) {
        // What is acknowledged now was synced before now.
        let so_far = acknowledged.lock().unwrap().clone();
        cuts.push((so_far, disk.cut(&mut rng)));
        if cuts.len() > 60 {
            let at = rng.random_range(0..cuts.len());
            cuts.swap_remove(at);
        }
        std::thread::yield_now();
    }
    for thread in threads {
        thread.join().unwrap();
    }
    cuts.push((acknowledged.lock().unwrap().clone(), disk.cut(&mut rng)));
    for (acknowledged, left) in cuts {
        let found = names(&left);
        assert!(
            found.is_superset(&acknowledged),
            "lost {:?}",
            acknowledged.difference(&found).collect::<Vec<_>>()
        );
    }
    assert_eq!(names(&disk.cut(&mut rng)).len(), 200);
    writer.close();
}

#[test]
fn callers_that_wait_at_the_same_moment_share_a_sync() {
    const CALLERS: usize = 16;
    const CHANGES: usize = 20;
    let disk = Disk::default();
    let writer = start(&disk);
    let before = disk.platter().syncs;
    let together = Arc::new(Barrier::new(CALLERS));
    let made = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (writer, together) = (Arc::clone(&writer), Arc::clone(&together));
            let made = Arc::clone(&made);
            std::thread::spawn(move || {
                for n in 0..CHANGES {
                    together.wait();
                    writer.commit(put(&format!("{caller}-{n}"))).unwrap();
                    made.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    writer.close();
    assert_eq!(made.load(Ordering::SeqCst), CALLERS * CHANGES);
    assert_eq!(names(&disk).len(), CALLERS * CHANGES);
    let syncs = disk.platter().syncs - before;
    assert!(syncs < CALLERS * CHANGES, "{syncs} syncs");
}

#[test]
fn a_full_disk_refuses_changes_until_there_is_room_again() {
    let disk = Disk::default();
    let writer = start(&disk);
    writer.commit(put("before")).unwrap();
    disk.platter().is_full = true;
    for _ in 0..2 {
        let refused = writer.commit(put("refused")).unwrap_err();
        assert!(matches!(refused, Unwritten::Disk { .. }), "{refused}");
    }
    disk.platter().is_full = false;
    writer.commit(put("after")).unwrap();
    writer.close();
    let names: Vec<String> = names(&disk).into_iter().collect();
    assert_eq!(names, ["after", "before"]);
}

#[test]
fn deferred_changes_are_written_all_at_once_or_not_at_all() {
    const CHANGES: usize = 300;
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let disk = Disk::default();
    let writer = start(&disk);
    writer.defer();
    for n in 0..CHANGES {
        writer.commit(put(&n.to_string())).unwrap();
    }
    let mut cuts = vec![disk.cut(&mut rng)];
    let syncing = std::thread::spawn({
        let writer = Arc::clone(&writer);
        move || writer.sync()
    });
    while !syncing.is_finished() {
        if cuts.len() > 60 {
            let at = rng.random_range(1..cuts.len());
            cuts.swap_remove(at);
        }
        cuts.push(disk.cut(&mut rng));
    }
    assert_eq!(syncing.join().unwrap(), Ok(()));
    cuts.push(disk.cut(&mut rng));
    let found: Vec<usize> = cuts.iter().map(|cut| names(cut).len()).collect();
    assert!(found.iter().all(|n| [0, CHANGES].contains(n)), "{found:?}");
    assert_eq!((found[0], found.last()), (0, Some(&CHANGES)));
    writer.close();
}

#[test]
fn a_failure_of_deferred_changes_is_reported_when_they_are_synced() {
    let disk = Disk::default();
    let writer = start(&disk);
    writer.defer();
    disk.platter().is_full = true;
    writer.commit(put("one")).unwrap();
    writer.commit(put("two")).unwrap();
    assert!(writer.sync().is_err());
    disk.platter().is_full = false;
    // From here on changes wait for themselves again.
    writer.commit(put("three")).unwrap();
    assert_eq!(names(&disk).into_iter().collect::<Vec<_>>(), ["three"]);
    writer.close();
    assert_eq!(writer.commit(put("late")), Err(Unwritten::Closed));
}

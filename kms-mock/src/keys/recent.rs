//! Keys that a thread has just used. Calls come in runs for the same few keys, and
//! each would otherwise take the lock of a shard and of the key's record, and count
//! references that every other thread counts as well: between two cores that is
//! most of what finding a key costs.
//!
//! What is remembered is good for one version of the key: a change moves
//! the version on before the change is acknowledged, so a call that comes after a
//! change never sees what was before. A deleted key is not found by it, though its
//! memory is freed only when another key takes its place.

use std::{cell::RefCell, sync::Arc};

use nsm_sim::clock::UnixMillis;

use super::{key::Key, record::Record, shards::place_of};

/// Keys that a thread remembers by either name; a power of two.
const PLACES: usize = 16;

/// A key as it is at the time of a call, for the thread that found it.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) key: Arc<Key>,
    pub(crate) record: Arc<Record>,
    /// The key's ARN with a count of references of its own.
    pub(crate) arn: Arc<str>,
    version: u64,
}

/// The part of a blob's handle that no other material has.
pub(super) type Unique = [u8; 16];

struct Remembered<N> {
    store: u64,
    name: N,
    known: Arc<Known>,
}

type Places<N> = RefCell<[Option<Remembered<N>>; PLACES]>;

thread_local! {
    static BY_ARN: Places<()> = const { RefCell::new([const { None }; PLACES]) };
    static BY_MATERIAL: Places<Unique> = const { RefCell::new([const { None }; PLACES]) };
}

impl Known {
    /// The key as it is now.
    pub(crate) fn of(key: Arc<Key>) -> Arc<Self> {
        // Read before the record: what is found may be newer, never older.
        let version = key.version();
        Arc::new(Self {
            record: key.record(),
            arn: key.arn.as_ref().into(),
            version,
            key,
        })
    }

    /// Whether it is still so at `now`. A related key's calendar is its primary's,
    /// which is not looked at here.
    fn holds(&self, now: UnixMillis) -> bool {
        let key = &self.key;
        key.family.is_none()
            && !key.is_gone()
            && key.version() == self.version
            && key.due(&self.record, now).is_none()
    }
}

/// The key of an ARN, if this thread has just seen it in the store of that number.
pub(super) fn by_arn(store: u64, arn: &str, now: UnixMillis) -> Option<Arc<Known>> {
    let is_it = |it: &Remembered<()>| it.store == store && *it.known.arn == *arn;
    BY_ARN.with_borrow(|places| find(places, place(arn), is_it, now))
}

/// Remembers a key of the store of that number by its ARN.
pub(super) fn remember(store: u64, known: &Arc<Known>) {
    BY_ARN.with_borrow_mut(|places| put(places, place(&*known.arn), store, (), known));
}

/// The key of some material, as [`by_arn`].
pub(super) fn by_material(store: u64, unique: Unique, now: UnixMillis) -> Option<Arc<Known>> {
    let is_it = |it: &Remembered<Unique>| it.store == store && it.name == unique;
    BY_MATERIAL.with_borrow(|places| find(places, place(&unique), is_it, now))
}

/// Remembers a key by some of its material.
pub(super) fn remember_material(store: u64, unique: Unique, known: &Arc<Known>) {
    BY_MATERIAL.with_borrow_mut(|places| put(places, place(&unique), store, unique, known));
}

fn find<N>(
    places: &[Option<Remembered<N>>; PLACES],
    place: usize,
    is_it: impl Fn(&Remembered<N>) -> bool,
    now: UnixMillis,
) -> Option<Arc<Known>> {
    let there = places.get(place)?.as_ref()?;
    (is_it(there) && there.known.holds(now)).then(|| Arc::clone(&there.known))
}

fn put<N>(
    places: &mut [Option<Remembered<N>>; PLACES],
    place: usize,
    store: u64,
    name: N,
    known: &Arc<Known>,
) {
    if known.key.family.is_some() {
        return;
    }
    if let Some(place) = places.get_mut(place) {
        *place = Some(Remembered {
            store,
            name,
            known: Arc::clone(known),
        });
    }
}

fn place<Q: std::hash::Hash + ?Sized>(name: &Q) -> usize {
    place_of(name, PLACES)
}

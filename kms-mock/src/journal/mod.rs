//! Where a world is kept: in memory, and with a data directory in one embedded
//! database beside it.
//!
//! Models nothing of AWS, which loses no acknowledged change either. Source of
//! truth: the documentation of `redb`, whose commit is one fsync.
//!
//! The journal knows no domain. It writes rows into tables and reads them back;
//! what a row means, only the domain knows that keeps it.
//!
//! # How a domain keeps its rows
//!
//! Reads never come here: every domain answers from its own memory. A change goes
//! the same way everywhere ([`Journal::change`]):
//!
//! 1. it is computed from what memory shows, under the locks of what it changes
//!    ([`Kept::hold`], whose guard is a [`Changing`]);
//! 2. its rows are put into a [`Batch`], which is written and synced, in one
//!    transaction with the changes of other callers that wait at the same moment
//!    (`writer`);
//! 3. only then memory shows it ([`Changing::publish`]), the locks are given back,
//!    and the caller answers.
//!
//! So a change that could not be written is refused and never seen, and nothing
//! that was seen is lost. What the calendar does (rotation, expiry, deletion)
//! goes the same way before the call that noticed it goes on: new material is on
//! disk before it encrypts. Without a data directory step 2 is nothing.
//!
//! Each domain has a file `keep` with all that the file knows of it:
//!
//! * its tables, as constants, and `TABLES`, the list of them that a new file is
//!   made with;
//! * a serde type for each kind of row, and how a row is put and read back;
//! * what it puts in place from a [`Snapshot`] when a server starts, before
//!   anybody can call.
//!
//! A domain that is one value (identities, buckets, custom key stores) makes it a
//! [`State`] in one [`Kept`]: its changes are data, and [`Kept::change`] takes all
//! three steps. A domain of many things that change each for itself (keys) has a
//! [`Kept`] in each of them and takes the steps itself, so that changes of two keys
//! do not wait for each other.
//!
//! What changes with every call is not written by every call: a key's last use is
//! noted ([`Journal::note`]) and written once a second and at a clean stop. A
//! killed server loses the last second of it. Not kept, because they belong to a
//! run and not to a world: faults, the clock's setting, the logs.
//!
//! # Layout, schema 1
//!
//! One file, `world.redb`; each row is CBOR, each key is UTF-8, parts of a key are
//! separated by one NUL byte.
//!
//! | table | key | row | kept by |
//! |---|---|---|---|
//! | `keys` | key ARN | spec, usage, state, policy, tags, rotation, all material | keys |
//! | `families` | ARN of a multi-Region key's first primary key | ARN of the present one | keys |
//! | `grants` | key ARN, grant id | the grant | keys |
//! | `uses` | key ARN | the last use | keys |
//! | `aliases` | alias ARN | target and dates | keys |
//! | `key_stores` | id of a custom key store | the store and its proxy | keys |
//! | `roles`, `users`, `groups` | account, name | ids, path, policies, boundary, tags | iam |
//! | `policies` | account, ARN of a managed policy | its versions | iam |
//! | `access_keys` | access key id | secret, holder, status, token, end | iam |
//! | `buckets` | name | owner, Region, versioning, tags | s3 |
//! | `versions` | bucket, object key, version id | its place in order, date, the object with its bytes, or nothing for a delete marker | s3 |
//! | `object_tags` | bucket, object key, version id | tags that were set later | s3 |
//! | `uploads` | bucket, upload id | the upload without its parts | s3 |
//! | `parts` | bucket, upload id, number | the part with its bytes | s3 |
//! | `world` | `schema`, `sequence`, `starts`, `seed`, `authority`, `seed_file` | one each | journal |
//! | `world` | `import_tokens` | the secret that seals import tokens | keys |
//!
//! What follows from other rows is not kept: a key's aliases, the replicas of a
//! primary key, which key a ciphertext belongs to, what is due when.
//!
//! Reading order: `row` (rows, without a word on what is in them), `change` (the
//! way of every change), `kept` (what is changed), `writer` (transactions),
//! `directory` (the file and its dangers), `snapshot` and `world` (a start); in their
//! place, in a build without the feature `durable`, `memory_only`.

mod change;
#[cfg(feature = "durable")]
mod directory;
mod error;
mod kept;
#[cfg(not(feature = "durable"))]
mod memory_only;
mod row;
#[cfg(feature = "durable")]
mod snapshot;
#[cfg(feature = "durable")]
mod world;
#[cfg(feature = "durable")]
mod writer;

pub use self::error::{DataDirError, Unwritten};
pub(crate) use self::{
    change::Journal,
    kept::{Changing, Held, Kept, State},
    row::{BadRow, Batch, Noted, Row, SecretBytes, Table, WORLD, encode, key_of, two_parts},
    snapshot::{ReadError, Snapshot},
    world::{SEED_FILE, StartRows, World, note_seed_file},
};
#[cfg(not(feature = "durable"))]
use self::{memory_only as snapshot, memory_only as world, memory_only as writer};

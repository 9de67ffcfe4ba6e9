//! A data directory with the rows that every world has one of: its seed, its TLS
//! authority, how often it was started, which seed file was planted in it.

use std::path::{Path, PathBuf};

use nsm_sim::seed::WorldSeed;
use redb::ReadableDatabase;

use super::{
    change::Journal,
    directory::{self, Opened},
    error::{DataDirError, Unwritten},
    row::{Table, WORLD},
    snapshot::{ReadError, Snapshot, readable, world_row},
    writer::{Writer, sequence_of},
};

/// How often the world was started.
const STARTS: &str = "starts";
const SEED: &str = "seed";
const AUTHORITY: &str = "authority";
/// Digest of the seed file that was planted.
pub(crate) const SEED_FILE: &str = "seed_file";

/// The world's seed: its hex digits, and whether somebody chose it.
type SeedRow = (String, bool);

/// Certificate and private key of the TLS authority, PEM.
type AuthorityRow = (String, String);

/// A data directory with the world's own rows.
pub(crate) struct World {
    opened: Opened,
    dir: PathBuf,
    /// Counted from 1, this one included.
    pub(crate) start: u64,
    seed: Option<SeedRow>,
    /// Certificate and private key of the TLS authority, PEM.
    pub(crate) authority: Option<AuthorityRow>,
    /// Digest of the seed file that was planted, hex.
    pub(crate) seed_file: Option<String>,
}

/// What the world's rows say about its seed.
pub(crate) struct AgreedSeed {
    /// Of the simulated hardware's root.
    pub(crate) world: WorldSeed,
    /// Whether keys and ids are drawn from it too.
    pub(crate) is_chosen: bool,
}

/// The world's rows that a start writes, when everything else is loaded.
pub(crate) struct StartRows {
    start: u64,
    seed: Option<SeedRow>,
    authority: Option<AuthorityRow>,
}

impl World {
    /// Opens a directory; makes a new world with these tables in an empty one.
    pub(crate) fn open(dir: &Path, tables: &[&[Table]]) -> Result<Self, DataDirError> {
        let opened = directory::open(dir, tables)?;
        let read = || -> Result<_, ReadError> {
            let world = opened
                .database
                .begin_read()?
                .open_table(WORLD.definition())?;
            Ok((
                world_row::<u64>(&world, STARTS)?.unwrap_or(0),
                world_row(&world, SEED)?,
                world_row(&world, AUTHORITY)?,
                world_row(&world, SEED_FILE)?,
            ))
        };
        let (starts, seed, authority, seed_file) = readable(&opened.file, read)?;
        Ok(Self {
            dir: dir.to_owned(),
            start: starts + 1,
            seed,
            authority,
            seed_file,
            opened,
        })
    }

    /// The world's seed. A first start keeps the one that was asked for, or draws
    /// one for what must stay the same; later ones go on with it.
    pub(crate) fn agree(&mut self, asked: Option<&WorldSeed>) -> Result<AgreedSeed, DataDirError> {
        let kept = self.seed.as_ref().map(|(hex, is_chosen)| {
            let seed = hex.parse::<WorldSeed>();
            (seed, *is_chosen)
        });
        match (kept, asked) {
            (None, asked) => {
                let world = asked.cloned().unwrap_or_else(WorldSeed::random);
                let is_chosen = asked.is_some();
                self.seed = Some((world.to_hex(), is_chosen));
                Ok(AgreedSeed { world, is_chosen })
            }
            (Some((Err(_), _)), _) => Err(DataDirError::Damaged {
                file: self.opened.file.clone(),
                what: "the row seed of the table world holds no valid seed (64 hex digits \
                       expected)"
                    .to_owned(),
            }),
            (Some((Ok(world), is_chosen)), asked) => {
                if asked.is_some_and(|asked| !is_chosen || *asked != world) {
                    return Err(DataDirError::OtherSeed {
                        dir: self.dir.clone(),
                    });
                }
                Ok(AgreedSeed { world, is_chosen })
            }
        }
    }

    /// Begins to take changes.
    pub(crate) fn begin(self) -> Result<(Journal, Snapshot, StartRows), DataDirError> {
        let file = self.opened.file.clone();
        let read = || -> Result<_, ReadError> {
            let sequence = sequence_of(&self.opened.database)?;
            Ok((sequence, self.opened.database.begin_read()?))
        };
        let (sequence, transaction) = readable(&file, read)?;
        let writer =
            Writer::start(self.opened, sequence).map_err(|cause| DataDirError::Unusable {
                dir: self.dir,
                cause,
            })?;
        let rows = StartRows {
            start: self.start,
            seed: self.seed,
            authority: self.authority,
        };
        let snapshot = Snapshot::new(transaction, file);
        Ok((Journal::kept(writer), snapshot, rows))
    }
}

impl StartRows {
    /// Writes this start down.
    pub(crate) fn write(&self, journal: &Journal) -> Result<(), Unwritten> {
        journal.change(
            |batch| {
                batch.put(WORLD, STARTS, &self.start);
                if let Some(seed) = &self.seed {
                    batch.put(WORLD, SEED, seed);
                }
                if let Some(authority) = &self.authority {
                    batch.put(WORLD, AUTHORITY, authority);
                }
                Ok(())
            },
            |()| {},
        )
    }
}

/// Writes which seed file was planted.
pub(crate) fn note_seed_file(journal: &Journal, digest: &str) -> Result<(), Unwritten> {
    journal.change(
        |batch| {
            batch.put(WORLD, SEED_FILE, &digest);
            Ok(())
        },
        |()| {},
    )
}

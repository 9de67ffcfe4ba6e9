//! A world from its file: what it is, then everything that is in it.
//!
//! A start reads the whole file twice: the database library checks every page,
//! then every row is read into memory, by as many threads as there are cores. A
//! row that cannot be read or that contradicts another ends the start.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
};

use nsm_sim::seed::WorldSeed;
use redb::{ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, TableHandle};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::{
    iam::Iam,
    journal::{
        DataDirError, Journal, Table, Unwritten,
        directory::{self, Opened, unpanicked},
        writer::{Writer, sequence_of},
    },
    keys::{
        keep::{
            self, AUTHORITY, AccessKeyRow, AliasRow, AuthorityRow, BadRow, GrantRow, GroupRow,
            IMPORT_TOKENS, KeyRow, KeyStoreRow, ManagedPolicyRow, RoleRow, SEED, SEED_FILE, STARTS,
            SecretBytes, SeedRow, UseRow, UserRow,
        },
        multi_region::Family,
    },
    kms::Kms,
    policy::{Policy, PolicyKind},
    s3::ObjectStore,
};

pub(crate) type AnyError = Box<dyn std::error::Error + Send + Sync>;
/// Rows that go from the thread that reads to one that makes keys of them.
const ROWS_AT_ONCE: usize = 1024;
const READERS_MAX: usize = 8;

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

/// The rows as they are when the server starts.
pub(crate) struct Snapshot {
    transaction: ReadTransaction,
    file: PathBuf,
    start: u64,
    seed: Option<SeedRow>,
    authority: Option<AuthorityRow>,
}

impl World {
    /// Opens a directory, makes a new world in an empty one.
    pub(crate) fn open(dir: &Path) -> Result<Self, DataDirError> {
        let opened = directory::open(dir)?;
        let read = || -> Result<_, AnyError> {
            let world = opened
                .database
                .begin_read()?
                .open_table(Table::World.definition())?;
            Ok((
                row::<u64>(&world, STARTS)?.unwrap_or(0),
                row(&world, SEED)?,
                row(&world, AUTHORITY)?,
                row(&world, SEED_FILE)?,
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
                what: "the world's seed is none".to_owned(),
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
    pub(crate) fn begin(self) -> Result<(Journal, Snapshot), DataDirError> {
        let file = self.opened.file.clone();
        let read = || -> Result<_, AnyError> {
            let sequence = sequence_of(&self.opened.database)?;
            Ok((sequence, self.opened.database.begin_read()?))
        };
        let (sequence, transaction) = readable(&file, read)?;
        let writer =
            Writer::start(self.opened, sequence).map_err(|source| DataDirError::Unusable {
                dir: self.dir,
                source,
            })?;
        let snapshot = Snapshot {
            transaction,
            file,
            start: self.start,
            seed: self.seed,
            authority: self.authority,
        };
        Ok((Journal::kept(writer), snapshot))
    }
}

/// The world row that says which seed file was planted.
pub(crate) fn note_seed_file(journal: &Journal, digest: &str) -> Result<(), Unwritten> {
    journal.change(
        |batch| {
            batch.put(Table::World, SEED_FILE, &digest);
            Ok(())
        },
        |()| {},
    )
}

impl Snapshot {
    /// Puts everything in place, then writes this start down.
    pub(crate) fn load(
        self,
        kms: &Kms,
        iam: &Iam,
        s3: &ObjectStore,
        journal: &Journal,
    ) -> Result<(), DataDirError> {
        readable(&self.file, || {
            self.load_keys(kms)?;
            self.load_identities(iam)?;
            s3.load(&self)
        })?;
        let noted: Result<(), Unwritten> = journal.change(
            |batch| {
                batch.put(Table::World, STARTS, &self.start);
                if let Some(seed) = &self.seed {
                    batch.put(Table::World, SEED, seed);
                }
                if let Some(authority) = &self.authority {
                    batch.put(Table::World, AUTHORITY, authority);
                }
                Ok(())
            },
            |()| {},
        );
        Ok(noted?)
    }

    fn open(&self, table: Table) -> Result<ReadOnlyTable<&'static [u8], &'static [u8]>, AnyError> {
        Ok(self.transaction.open_table(table.definition())?)
    }

    fn has(&self, table: Table) -> Result<bool, AnyError> {
        let definition = table.definition();
        let mut tables = self.transaction.list_tables()?;
        Ok(tables.any(|it| it.name() == definition.name()))
    }

    fn load_keys(&self, kms: &Kms) -> Result<(), AnyError> {
        let mut families = HashMap::new();
        self.each(Table::Families, |name, primary: String| {
            let family = Family::named(name.into(), primary.into());
            families.insert(name.to_owned(), Arc::new(family));
            Ok(())
        })?;
        let policies = Policies::default();
        self.in_threads(Table::Keys, &|arn: &str, row: KeyRow<'static>| {
            let account = crate::world::arn::account_of(arn);
            let family = row
                .family
                .as_ref()
                .map(|name| {
                    let family = families.get(&**name);
                    family.cloned().ok_or_else(|| {
                        BadRow::because(format!("nothing says which key {arn} replicates"))
                    })
                })
                .transpose()?;
            let key = row.restore(&arn.into(), family, |text| match text {
                None => Ok(kms.store().default_policy(account)),
                Some(text) => policies.read(text),
            })?;
            kms.restore_key(&Arc::new(key));
            Ok(())
        })?;
        kms.complete_keys(families.into_values())?;
        self.each(Table::Aliases, |arn, row: AliasRow| {
            kms.restore_alias(arn, keep::alias_of(row))
        })?;
        self.each(Table::Grants, |name, row: GrantRow| {
            let (arn, id) = two_parts(name)?;
            kms.restore_grant(arn, row.restore(id)?)
        })?;
        self.each(Table::Uses, |arn, row: UseRow| kms.restore_use(arn, row))?;
        self.each(Table::KeyStores, |id, row: KeyStoreRow| {
            kms.restore_key_store(row.restore(id)?);
            Ok(())
        })?;
        let world = self.open(Table::World)?;
        if let Some(secret) = row::<SecretBytes>(&world, IMPORT_TOKENS)? {
            kms.restore_token_secret(&secret.0)?;
        }
        Ok(())
    }

    fn load_identities(&self, iam: &Iam) -> Result<(), AnyError> {
        self.each(Table::Roles, |name, row: RoleRow| {
            let (account, name) = two_parts(name)?;
            iam.restore_role(account, name, row)
        })?;
        self.each(Table::Users, |name, row: UserRow| {
            let (account, name) = two_parts(name)?;
            iam.restore_user(account, name, row)
        })?;
        // A directory that was begun before there were groups has no table of them.
        if self.has(Table::Groups)? {
            self.each(Table::Groups, |name, row: GroupRow| {
                let (account, name) = two_parts(name)?;
                iam.restore_group(account, name, row)
            })?;
        }
        self.each(Table::Policies, |name, row: ManagedPolicyRow| {
            let (account, arn) = two_parts(name)?;
            iam.restore_policy(account, arn, row)
        })?;
        self.each(Table::AccessKeys, |id, row: AccessKeyRow| {
            iam.restore_access_key(id, row)
        })
    }

    /// Looks at every row of a table.
    pub(crate) fn each<T: DeserializeOwned>(
        &self,
        table: Table,
        mut look: impl FnMut(&str, T) -> Result<(), BadRow>,
    ) -> Result<(), AnyError> {
        for row in self.open(table)?.iter()? {
            let (key, value) = row?;
            look(text(key.value())?, keep::decode(value.value())?)?;
        }
        Ok(())
    }

    /// The same with several threads, in no order.
    fn in_threads<T: DeserializeOwned>(
        &self,
        table: Table,
        look: &(impl Fn(&str, T) -> Result<(), BadRow> + Sync),
    ) -> Result<(), AnyError> {
        type Rows = Vec<(Vec<u8>, Zeroizing<Vec<u8>>)>;
        let readers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (sender, receiver) = mpsc::sync_channel::<Rows>(READERS_MAX);
        let receiver = Mutex::new(receiver);
        let work = || -> Result<(), BadRow> {
            loop {
                let next = {
                    let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
                    receiver.recv()
                };
                let Ok(rows) = next else { return Ok(()) };
                for (key, value) in rows {
                    look(text(&key)?, keep::decode(&value)?)?;
                }
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..readers.min(READERS_MAX))
                .map(|_| scope.spawn(work))
                .collect();
            let read = || -> Result<(), AnyError> {
                let mut rows = Rows::with_capacity(ROWS_AT_ONCE);
                for row in self.open(table)?.iter()? {
                    let (key, value) = row?;
                    rows.push((key.value().to_vec(), Zeroizing::new(value.value().to_vec())));
                    if rows.len() == ROWS_AT_ONCE && sender.send(std::mem::take(&mut rows)).is_err()
                    {
                        return Ok(()); // no thread is left: one of them says why
                    }
                }
                drop(sender.send(rows));
                Ok(())
            };
            let result = read();
            drop(sender);
            for thread in threads {
                match thread.join() {
                    Ok(worked) => worked?,
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            result
        })
    }
}

/// Policies that several keys have in the same words.
#[derive(Default)]
struct Policies(Mutex<HashMap<Arc<str>, Arc<Policy>>>);

impl Policies {
    fn read(&self, text: &str) -> Result<Arc<Policy>, BadRow> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(policy) = known.get(text) {
            return Ok(Arc::clone(policy));
        }
        let policy = Policy::parse(text, PolicyKind::Key)
            .map(Arc::new)
            .map_err(|error| BadRow::because(format!("a key policy is none: {error}")))?;
        known.insert(text.into(), Arc::clone(&policy));
        Ok(policy)
    }
}

fn row<T: DeserializeOwned>(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    name: &str,
) -> Result<Option<T>, AnyError> {
    match table.get(name.as_bytes())? {
        Some(row) => Ok(Some(keep::decode(row.value())?)),
        None => Ok(None),
    }
}

fn text(bytes: &[u8]) -> Result<&str, BadRow> {
    std::str::from_utf8(bytes).map_err(|_| BadRow::because("a row's key is no text"))
}

fn two_parts(name: &str) -> Result<(&str, &str), BadRow> {
    name.split_once('\0')
        .ok_or_else(|| BadRow::because("a row's key lacks its second part"))
}

/// Reads; whatever goes wrong is the file's damage.
fn readable<T>(file: &Path, read: impl FnOnce() -> Result<T, AnyError>) -> Result<T, DataDirError> {
    let damaged = |what| DataDirError::Damaged {
        file: file.to_owned(),
        what,
    };
    match unpanicked(read) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(what) => Err(damaged(what)),
    }
}

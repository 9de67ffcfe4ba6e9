//! The data directory: one database, one lock, and what can be wrong with them.
//!
//! Nothing that is found is overwritten. The file is made under another name and
//! renamed when it is complete, so that a file of the right name is either whole
//! or damaged. It holds key material in clear: mode 0600 in a directory of mode
//! 0700.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use redb::{
    Database, DatabaseError, ReadableDatabase, StorageError, TableError, backends::FileBackend,
};

use super::{
    error::DataDirError,
    row::{SCHEMA, SCHEMA_ROW, SEQUENCE, Table, WORLD, decode, encode},
};

const FILE: &str = "world.redb";
/// The file while it is being made.
const NEW_FILE: &str = "world.redb.new";
const LOCK: &str = "lock";
/// What every file of the database library begins with.
const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
/// Pages that the library may keep in memory: reads are answered from the
/// world's own memory, so that few are ever asked for again.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// A directory that is ours.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) file: PathBuf,
    /// Held while the directory is used.
    pub(super) lock: File,
}

/// Opens a directory, and makes what is not there yet: a new file has all of
/// `tables`.
pub(super) fn open(dir: &Path, tables: &[&[Table]]) -> Result<Opened, DataDirError> {
    let unusable = unusable(dir);
    let file = dir.join(FILE);
    let is_known = file.try_exists().map_err(unusable)?;
    if !is_known {
        make_directory(dir).map_err(unusable)?;
        if let Some(found) = foreign_entry(dir).map_err(unusable)? {
            return Err(DataDirError::Foreign {
                dir: dir.to_owned(),
                found,
            });
        }
    }
    let lock = lock(dir)?;
    // Another server may have made it before we had the lock.
    if !file.try_exists().map_err(unusable)? {
        if let Err(cause) = keep_others_out(dir) {
            drop(std::fs::remove_file(dir.join(LOCK))); // nothing of ours is left
            return Err(unusable(cause));
        }
        make_database(dir, &file, tables)?;
    }
    let database = open_file(&file)?;
    Ok(Opened {
        database,
        file,
        lock,
    })
}

fn unusable(dir: &Path) -> impl Fn(io::Error) -> DataDirError + Copy + '_ {
    |cause| DataDirError::Unusable {
        dir: dir.to_owned(),
        cause,
    }
}

fn make_directory(dir: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// A file that does not come from a start of ours that was cut off.
fn foreign_entry(dir: &Path) -> io::Result<Option<String>> {
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        if name != LOCK && name != NEW_FILE {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

/// Takes from a directory what others may, and gives its owner nothing.
fn keep_others_out(dir: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mut permissions = dir.metadata()?.permissions();
        permissions.set_mode(permissions.mode() & 0o7700);
        std::fs::set_permissions(dir, permissions)?;
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<File, DataDirError> {
    let unusable = unusable(dir);
    let lock = private().open(dir.join(LOCK)).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(DataDirError::InUse {
            dir: dir.to_owned(),
        }),
        Err(TryLockError::Error(cause)) => Err(unusable(cause)),
    }
}

/// Opens for reading and writing, made with mode 0600 if it is not there.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn make_database(dir: &Path, file: &Path, tables: &[&[Table]]) -> Result<(), DataDirError> {
    let unusable = unusable(dir);
    let new = dir.join(NEW_FILE);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unusable(error)),
        _ => {}
    }
    let handle = private().open(&new).map_err(unusable)?;
    let made = || -> Result<(), redb::Error> {
        let database = builder().create_with_backend(FileBackend::new(handle)?)?;
        let transaction = database.begin_write()?;
        for table in tables.iter().copied().flatten() {
            transaction.open_table(table.definition())?;
        }
        {
            let mut world = transaction.open_table(WORLD.definition())?;
            world.insert(SCHEMA_ROW.as_bytes(), encode(&SCHEMA).as_slice())?;
            world.insert(SEQUENCE.as_bytes(), encode(&0_u64).as_slice())?;
        }
        transaction.commit()?;
        Ok(())
    };
    made().map_err(|error| unusable(io::Error::other(error)))?;
    std::fs::rename(&new, file).map_err(unusable)?;
    // The name is durable when the directory is.
    #[cfg(unix)]
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(unusable)?;
    Ok(())
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Opens a file after looking through all of it.
fn open_file(file: &Path) -> Result<Database, DataDirError> {
    let damaged = |what: String| DataDirError::Damaged {
        file: file.to_owned(),
        what,
    };
    let unusable = unusable(file);
    let mut start = [0; MAGIC.len()];
    let mut handle = File::open(file).map_err(unusable)?;
    let length = handle.metadata().map_err(unusable)?.len();
    if length == 0 {
        return Err(damaged("it is empty".to_owned()));
    }
    match handle.read_exact(&mut start) {
        Ok(()) if start == *MAGIC => {}
        Ok(()) => {
            return Err(DataDirError::NotOurs {
                file: file.to_owned(),
            });
        }
        Err(_) => return Err(damaged(format!("{length} bytes are left of it"))),
    }
    drop(handle);
    let opened = unpanicked(|| {
        builder()
            .set_check_integrity_on_open(true)
            .open(file)
            .map_err(open_error)
    });
    let database = match opened {
        Ok(Ok(database)) => database,
        Ok(Err(OpenError::System(cause))) => return Err(unusable(cause)),
        Ok(Err(OpenError::Damage(what))) | Err(what) => return Err(damaged(what)),
    };
    match schema_of(&database) {
        Ok(Some(SCHEMA)) => Ok(database),
        Ok(Some(found)) if found > SCHEMA => Err(DataDirError::Newer {
            file: file.to_owned(),
            found,
        }),
        Ok(Some(found)) => Err(damaged(format!(
            "it says that it has layout {found}, which no kms-mock ever wrote"
        ))),
        Ok(None) => Err(DataDirError::NotOurs {
            file: file.to_owned(),
        }),
        Err(what) => Err(damaged(what)),
    }
}

/// Opens a file again that this process has had open, without looking through it.
pub(super) fn reopen(file: &Path) -> Result<Database, DatabaseError> {
    builder().open(file)
}

enum OpenError {
    System(io::Error),
    Damage(String),
}

fn open_error(error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::Storage(StorageError::Io(error))
            if error.kind() != io::ErrorKind::UnexpectedEof
                && error.kind() != io::ErrorKind::InvalidData
                && error.kind() != io::ErrorKind::InvalidInput =>
        {
            OpenError::System(error)
        }
        error => OpenError::Damage(error.to_string()),
    }
}

/// The library promises errors for damaged files. A panic of it counts as one.
pub(super) fn unpanicked<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let why = text.unwrap_or("no reason given");
        format!("the database library panicked while reading it ({why})")
    })
}

/// `None` if kms-mock never wrote to it.
fn schema_of(database: &Database) -> Result<Option<u32>, String> {
    let read = || -> Result<Option<u32>, Box<dyn std::error::Error + Send + Sync>> {
        let transaction = database.begin_read()?;
        let world = match transaction.open_table(WORLD.definition()) {
            Ok(world) => world,
            Err(TableError::Storage(error)) => return Err(error.into()),
            Err(_) => return Ok(None),
        };
        let Some(row) = world.get(SCHEMA_ROW.as_bytes())? else {
            return Ok(None);
        };
        Ok(Some(decode(row.value())?))
    };
    unpanicked(|| read().map_err(|error| error.to_string()))?
}

//! Rows, without a word on what is in them: tables, the keys of rows, CBOR.
//!
//! Rows are CBOR maps with short member names, so that a member can be added
//! without a new layout. Times are milliseconds since 1970. What the rows of a
//! table hold is said beside the types that they keep, in `keep` of each domain.

use std::borrow::Cow;

#[cfg(feature = "durable")]
use redb::TableDefinition;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

/// The version of the layout that this program writes.
pub(crate) const SCHEMA: u32 = 1;

/// A table of the file. The domain that keeps its rows in it names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Table(pub(crate) &'static str);

#[cfg(feature = "durable")]
impl Table {
    pub(super) fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.0)
    }
}

/// What there is one of in a world, each row by its name.
pub(crate) const WORLD: Table = Table("world");
/// The version of the layout.
pub(super) const SCHEMA_ROW: &str = "schema";
/// The number of the last transaction.
pub(super) const SEQUENCE: &str = "sequence";

/// A row that a transaction writes or removes.
#[derive(Clone)]
pub(crate) enum Row {
    Put(Table, Vec<u8>, Zeroizing<Vec<u8>>),
    /// Put only if the other table still has a row of the same key.
    PutBeside(Table, Vec<u8>, Zeroizing<Vec<u8>>, Table),
    Delete(Table, Vec<u8>),
    /// Every row whose key begins with this, which ends with a NUL or is empty.
    DeletePrefix(Table, Vec<u8>),
}

/// What changes too often for each change to be written. Its row is asked for once
/// a second and at a clean stop.
pub(crate) trait Noted: Send + Sync {
    /// The row as it is now, which then counts as written.
    fn take_row(&self) -> Option<Row>;
}

/// The rows that one change writes.
#[derive(Default)]
pub(crate) struct Batch {
    pub(super) rows: Vec<Row>,
    /// Nothing will be written: rows need not even be encoded.
    is_ignored: bool,
}

impl Batch {
    /// Of a change that nobody writes.
    pub(super) fn ignored() -> Self {
        Self {
            rows: Vec::new(),
            is_ignored: true,
        }
    }

    pub(crate) fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, row: &impl Serialize) {
        if !self.is_ignored {
            self.rows.push(Row::Put(table, key.into(), encode(row)));
        }
    }

    pub(crate) fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        if !self.is_ignored {
            self.rows.push(Row::Delete(table, key.into()));
        }
    }

    /// Removes every row whose key has `first` as its first part.
    pub(crate) fn delete_all_of(&mut self, table: Table, first: &str) {
        if !self.is_ignored {
            self.rows
                .push(Row::DeletePrefix(table, key_of(&[first, ""])));
        }
    }

    /// Removes every row.
    pub(crate) fn empty(&mut self, table: Table) {
        if !self.is_ignored {
            self.rows.push(Row::DeletePrefix(table, Vec::new()));
        }
    }

    /// A batch of the same kind without rows.
    pub(crate) fn another(&self) -> Self {
        Self {
            rows: Vec::new(),
            is_ignored: self.is_ignored,
        }
    }

    /// Adds what another one writes after this one.
    pub(crate) fn append(&mut self, later: Self) {
        self.rows.extend(later.rows);
    }

    /// Whether rows are dropped, so that a caller need not compute them.
    pub(crate) fn is_ignored(&self) -> bool {
        self.is_ignored
    }
}

/// What is wrong with a row that this program would not have written. Its text
/// goes on after "the row … of the table …".
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadRow(Cow<'static, str>);

impl BadRow {
    pub(crate) fn because(what: impl Into<Cow<'static, str>>) -> Self {
        Self(what.into())
    }
}

pub(crate) fn encode(row: &impl Serialize) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(256));
    ciborium::into_writer(row, &mut *bytes).expect("rows are plain data, and memory takes them");
    bytes
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadRow> {
    ciborium::from_reader(bytes)
        .map_err(|error| BadRow::because(format!("does not have the form of its kind: {error}")))
}

/// The parts of a row's key with a NUL after each but the last.
pub(crate) fn key_of(parts: &[&str]) -> Vec<u8> {
    parts.join("\0").into_bytes()
}

/// The two parts of a row's key; the second may have a NUL in it.
pub(crate) fn two_parts(key: &str) -> Result<(&str, &str), BadRow> {
    key.split_once('\0')
        .ok_or_else(|| BadRow::because("lacks the second part of its key"))
}

/// A CBOR byte string that is wiped from memory.
#[derive(Clone)]
pub(crate) struct SecretBytes(pub(crate) Zeroizing<Vec<u8>>);

impl SecretBytes {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }
}

impl Serialize for SecretBytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ByteBuf::deserialize(deserializer).map(|bytes| Self(Zeroizing::new(bytes.into_vec())))
    }
}

//! Tables: keyspaces of their own, in one index and one log. A catalogue, itself a table, maps names to ids.

use crate::error::{Error, Result};
use crate::faults::{Bug, planted};
use crate::log::Record;
use crate::sys::Pin;

use super::replica::{FOLLOWED, FOLLOWED_LEN};
use super::{Engine, Op, Walk, Writer};

/// The table of tables.
pub(crate) const CATALOGUE: u32 = 0;
/// The table that has no name.
pub(crate) const DEFAULT_TABLE: u32 = 1;
/// Ids of named tables start here; an id is never used twice (invariant I14).
pub(super) const FIRST_NAMED: u32 = 2;
/// The least that the three records of a new table take in the log.
const TABLE_BYTES: u64 = 3 * 48;
/// Longest name, in bytes.
pub(crate) const MAX_NAME: usize = 255;

/// Catalogue key under which the next id to give is kept.
const NEXT: &[u8] = b"";

/// Catalogue key of a name.
fn name_key(name: &str) -> Vec<u8> {
    [b"n", name.as_bytes()].concat()
}

/// Catalogue key of an id.
fn id_key(id: u32) -> [u8; 5] {
    let [a, b, c, d] = id.to_le_bytes();
    [b'i', a, b, c, d]
}

/// The name in a catalogue key of a name.
pub(crate) fn named(key: &[u8]) -> Option<&str> {
    key.strip_prefix(b"n").and_then(|name| str::from_utf8(name).ok())
}

/// The id in a catalogue key of an id.
pub(super) fn id_of(key: &[u8]) -> Option<u32> {
    key.strip_prefix(b"i").and_then(number)
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::InvalidOption { option: "table name", why: "it is empty".into() });
    }
    if name.len() > MAX_NAME {
        let (len, max) = (name.len() as u64, MAX_NAME as u64);
        return Err(Error::TooLarge { what: "table name", len, max });
    }
    Ok(())
}

/// The number of a table, as the catalogue has it in keys and values.
pub(super) fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_le_bytes)
}

impl Engine {
    fn catalogue_id(&self, key: &[u8], at: u64) -> Result<Option<u32>> {
        let pin = Pin::new();
        let Some(record) = self.reader(&pin).get(CATALOGUE, key, at)? else { return Ok(None) };
        let id = number(record.value());
        id.map(Some).ok_or_else(|| self.damaged(&record, "a table id of four bytes"))
    }

    /// The id of the table `name` as of `at`.
    pub(crate) fn table_id(&self, name: &str, at: u64) -> Result<Option<u32>> {
        check_name(name)?;
        self.catalogue_id(&name_key(name), at)
    }

    /// The name of table `id` as of `at`; None if it does not exist.
    pub(crate) fn table_name(&self, id: u32, at: u64) -> Result<Option<String>> {
        let pin = Pin::new();
        let found = self.reader(&pin).get(CATALOGUE, &id_key(id), at)?;
        let Some(record) = found else { return Ok(None) };
        match String::from_utf8(record.value().to_vec()) {
            Ok(name) => Ok(Some(name)),
            Err(_) => Err(self.damaged(&record, "a table name in UTF-8")),
        }
    }

    /// Names of all tables as of `at`, sorted.
    pub(crate) fn table_names(&self, at: u64) -> Result<Vec<String>> {
        let next = self.next_number(at)?;
        let mut names = Vec::new();
        for id in FIRST_NAMED..next {
            names.extend(self.table_name(id, at)?);
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The number that the next new table gets, as of `at`. Each table that there ever was has left its records in the log.
    fn next_number(&self, at: u64) -> Result<u32> {
        let pin = Pin::new();
        let found = self.reader(&pin).get(CATALOGUE, NEXT, at)?;
        let Some(record) = found else { return Ok(FIRST_NAMED) };
        let most = u64::from(FIRST_NAMED) + at / TABLE_BYTES;
        match number(record.value()) {
            Some(next) if (u64::from(FIRST_NAMED)..=most).contains(&next.into()) => Ok(next),
            _ => Err(self.damaged(&record, "a number for the next table")),
        }
    }

    /// The id of the table `name`, which is created if need be.
    pub(crate) fn open_table(&self, name: &str) -> Result<u32> {
        if let Some(id) = self.fresh(|at| self.table_id(name, at))? {
            return Ok(id);
        }
        let turn = self.turn().map_err(|error| match error {
            Error::ReadOnly => Error::NoSuchTable { name: name.into() },
            other => other,
        })?;
        let at = turn.position();
        if let Some(id) = self.table_id(name, at)? {
            return Ok(id);
        }
        let id = self.next_id(at)?;
        let max = u64::from(u32::MAX);
        let next = id.checked_add(1).ok_or(Error::TooLarge { what: "table id", len: max, max })?;
        let put = |key, value| Op { table: CATALOGUE, key, value: Some(value) };
        let (name_key, id_key) = (name_key(name), id_key(id));
        let (number, next) = (id.to_le_bytes(), next.to_le_bytes());
        let ops = [put(&name_key, &number), put(&id_key, name.as_bytes()), put(NEXT, &next)];
        turn.commit(&ops, None)?;
        Ok(id)
    }

    /// Deletes a table with all its keys, in one commit; false if there is none of that name.
    pub(crate) fn drop_table(&self, name: &str) -> Result<bool> {
        let mut turn = self.turn()?;
        let at = turn.position();
        let Some(id) = self.table_id(name, at)? else { return Ok(false) };
        let committed = self.delete_all(&mut turn, name, id, at)?;
        turn.tables.remove(&id);
        turn.end(committed, None)?;
        Ok(true)
    }

    /// The number of a table to be created.
    fn next_id(&self, at: u64) -> Result<u32> {
        let next = self.next_number(at)?;
        let mut id = next;
        while planted(Bug::ReuseTableNumber)
            && id > FIRST_NAMED
            && self.table_name(id - 1, at)?.is_none()
        {
            id -= 1;
        }
        Ok(id)
    }

    /// A put of the catalogue, the newest of its key as of `at`, is one that this code makes: numbers are below the next one,
    /// a name leads to a number and that back to the name.
    pub(super) fn check_entry(&self, record: &Record<'_>, at: u64) -> Result<()> {
        let next = self.next_number(at)?;
        let same = |name: Option<&str>, id: Option<u32>| {
            let (Some(name), Some(id)) = (name, id) else { return Ok(false) };
            let named = check_name(name).is_ok() && (FIRST_NAMED..next).contains(&id);
            Ok::<_, Error>(
                named
                    && self.catalogue_id(&name_key(name), at)? == Some(id)
                    && self.table_name(id, at)?.as_deref() == Some(name),
            )
        };
        let fits = match record.key() {
            NEXT => true,
            FOLLOWED => record.value().len() == FOLLOWED_LEN,
            key @ [b'n', ..] => same(named(key), number(record.value()))?,
            key @ [b'i', ..] => same(str::from_utf8(record.value()).ok(), id_of(key))?,
            _ => false,
        };
        if fits { Ok(()) } else { Err(self.damaged(record, "a table's name and its number")) }
    }

    fn delete_all(&self, writer: &mut Writer, name: &str, id: u32, at: u64) -> Result<u64> {
        let mut ops = Vec::new();
        let mut walk = Walk::new(id, at);
        let pin = Pin::new();
        while let Some(record) = walk.next(self.reader(&pin)).transpose()? {
            ops.push(Op { table: id, key: record.key(), value: None });
        }
        let (name_key, id_key) = (name_key(name), id_key(id));
        ops.push(Op { table: CATALOGUE, key: &name_key, value: None });
        ops.push(Op { table: CATALOGUE, key: &id_key, value: None });
        self.commit_locked(writer, &ops, false)
    }
}

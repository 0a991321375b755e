//! A batch: puts and deletes that become visible, and durable, together or not at all.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::position::Position;
use crate::handle::Handle;
use crate::options::Durability;
use crate::store::{CATALOGUE, DEFAULT_TABLE, FOLLOWED, Followed, Op, check};
use crate::table::Table;

/// Puts and deletes, in any tables of one store, that are committed as one.
///
/// Held in memory until the commit, so that building one locks nothing; dropping it forgets it. Of several operations on one
/// key the last counts. A commit empties the batch, which can then be filled again; one that fails leaves it as it was.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let store = mapstone::Store::open(dir.path().join("db"))?;
/// let users = store.table("users")?;
/// let mut batch = store.batch();
/// batch.put("count", "1")?.put_in(&users, "7", "Ada")?;
/// let position = batch.commit()?;
/// assert_eq!(store.position(), position);
/// assert!(batch.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Batch {
    handle: Arc<Handle>,
    /// Keys and values, one after the other.
    bytes: Vec<u8>,
    ops: Vec<Draft>,
}

/// An operation whose key and value are in the batch's buffer.
#[derive(Clone, Copy, Debug)]
struct Draft {
    table: u32,
    key_at: usize,
    value_at: usize,
    end: usize,
    put: bool,
}

/// Most operations of one batch.
const MAX_OPS: usize = u32::MAX as usize - 1;

impl Batch {
    pub(crate) fn new(handle: Arc<Handle>) -> Batch {
        Batch { handle, bytes: Vec::new(), ops: Vec::new() }
    }

    /// Adds a put into the table without a name.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a key above 65,535 bytes or a value above 4 GiB - 1.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<&mut Batch> {
        self.push(DEFAULT_TABLE, key.as_ref(), Some(value.as_ref()))
    }

    /// Adds a delete from the table without a name. Deleting a key that is not there does nothing.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a key above 65,535 bytes.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> Result<&mut Batch> {
        self.push(DEFAULT_TABLE, key.as_ref(), None)
    }

    /// Adds a put into a named table.
    ///
    /// # Errors
    /// As [`Batch::put`], and [`Error::InvalidOption`] for a table of another store's handle.
    pub fn put_in(
        &mut self,
        table: &Table,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<&mut Batch> {
        self.push(table.of(&self.handle)?, key.as_ref(), Some(value.as_ref()))
    }

    /// Adds a delete from a named table.
    ///
    /// # Errors
    /// As [`Batch::delete`], and [`Error::InvalidOption`] for a table of another store's handle.
    pub fn delete_in(&mut self, table: &Table, key: impl AsRef<[u8]>) -> Result<&mut Batch> {
        self.push(table.of(&self.handle)?, key.as_ref(), None)
    }

    /// A put, or without a value a delete, in whichever table.
    pub(crate) fn set(
        &mut self,
        table: Option<&Table>,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<()> {
        let table = table.map_or(Ok(DEFAULT_TABLE), |table| table.of(&self.handle))?;
        self.push(table, key, value).map(drop)
    }

    /// Says whom the store follows, as of this commit.
    pub(crate) fn note(&mut self, followed: &Followed) -> Result<()> {
        self.push(CATALOGUE, FOLLOWED, Some(&followed.encode())).map(drop)
    }

    /// Bytes of keys and values added since the last commit.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn push(&mut self, table: u32, key: &[u8], value: Option<&[u8]>) -> Result<&mut Batch> {
        check(key, value.map_or(0, <[u8]>::len))?;
        if self.ops.len() == MAX_OPS {
            let max = MAX_OPS as u64;
            return Err(Error::TooLarge { what: "batch", len: max + 1, max });
        }
        let key_at = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let value_at = self.bytes.len();
        self.bytes.extend_from_slice(value.unwrap_or_default());
        let end = self.bytes.len();
        self.ops.push(Draft { table, key_at, value_at, end, put: value.is_some() });
        Ok(self)
    }

    /// Operations added since the last commit.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// No operations have been added since the last commit.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Forgets all operations.
    pub fn clear(&mut self) {
        self.ops.clear();
        self.bytes.clear();
    }

    /// Commits with the store's default durability. See [`Batch::commit_with`].
    ///
    /// # Errors
    /// As [`Batch::commit_with`].
    pub fn commit(&mut self) -> Result<Position> {
        self.commit_as(None)
    }

    /// Commits all operations as one, and returns the position from which on they are visible.
    ///
    /// An empty batch, or one that changes nothing, returns the position of the last commit.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Full`], [`Error::NoSuchTable`] when a table was dropped: nothing was committed.
    /// [`Error::Poisoned`] or [`Error::Io`] when a sync failed: the commit is visible, and after a power cut may be lost.
    pub fn commit_with(&mut self, durability: Durability) -> Result<Position> {
        self.commit_as(Some(durability))
    }

    fn commit_as(&mut self, durability: Option<Durability>) -> Result<Position> {
        let ops: Vec<Op<'_>> = self
            .ops
            .iter()
            .map(|op| Op {
                table: op.table,
                key: &self.bytes[op.key_at..op.value_at],
                value: op.put.then(|| &self.bytes[op.value_at..op.end]),
            })
            .collect();
        let position = self.handle.engine().commit(&ops, durability)?;
        self.clear();
        Ok(Position(position))
    }
}

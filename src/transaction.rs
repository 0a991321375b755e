//! A write transaction: reads and writes under the writer lock, committed together or not at all.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::position::Position;
use crate::handle::{Handle, Store};
use crate::options::Durability;
use crate::pending::Pending;
use crate::store::{DEFAULT_TABLE, Loan, Turn};
use crate::table::Table;
use crate::value::Value;

/// Reads and writes as one: from [`Store::write`] to the end of this value nobody else commits, so what it has read is still
/// true when its own writes become visible. Dropping it rolls back.
///
/// It sees its own writes; others see them once they are committed. Other writers wait meanwhile, so it should not last;
/// [`Store::optimistic`] is for long computations. Readers never wait. A write, a checkpoint or a verification through the
/// store itself on the same thread is an [`Error::InTransaction`].
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let store = mapstone::Store::open(dir.path().join("db"))?;
/// store.put("from", "100")?;
/// let mut txn = store.write()?;
/// let from: u32 = std::str::from_utf8(&txn.get("from")?.expect("an account"))?.parse()?;
/// txn.put("from", (from - 30).to_string())?;
/// txn.put("to", "30")?;
/// assert_eq!(txn.get("from")?.as_deref(), Some(&b"70"[..]));
/// assert_eq!(store.get("from")?.as_deref(), Some(&b"100"[..]));
/// txn.commit()?;
/// assert_eq!(store.get("to")?.as_deref(), Some(&b"30"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct WriteTxn<'a> {
    // Before the turn: to be given back while that lasts.
    loan: Loan<'a>,
    turn: Turn<'a>,
    handle: &'a Arc<Handle>,
    pending: Pending,
}

impl<'a> WriteTxn<'a> {
    pub(crate) fn new(handle: &'a Arc<Handle>) -> Result<WriteTxn<'a>> {
        Ok(WriteTxn::of(handle, handle.engine().turn()?))
    }

    fn of(handle: &'a Arc<Handle>, turn: Turn<'a>) -> WriteTxn<'a> {
        WriteTxn { loan: turn.lend(), turn, handle, pending: Pending::default() }
    }

    /// The commit that the transaction starts from.
    pub fn position(&self) -> Position {
        Position(self.turn.position())
    }

    /// The value of `key`, as this transaction has left it.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value<'_>>> {
        self.value(DEFAULT_TABLE, key.as_ref())
    }

    /// The same in a named table.
    ///
    /// # Errors
    /// As [`Store::get`], and [`Error::InvalidOption`] for a table of another handle.
    pub fn get_in(&self, table: &Table, key: impl AsRef<[u8]>) -> Result<Option<Value<'_>>> {
        self.value(table.of(self.handle)?, key.as_ref())
    }

    /// Gives `key` a value.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a key above 65,535 bytes or a value above 4 GiB - 1.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<&mut Self> {
        self.set(DEFAULT_TABLE, key.as_ref(), Some(value.as_ref()))
    }

    /// Gives `key` of a named table a value.
    ///
    /// # Errors
    /// As [`WriteTxn::put`], and [`Error::InvalidOption`] for a table of another handle.
    pub fn put_in(
        &mut self,
        table: &Table,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<&mut Self> {
        self.set(table.of(self.handle)?, key.as_ref(), Some(value.as_ref()))
    }

    /// Deletes `key`; false if it has no value.
    ///
    /// # Errors
    /// As [`WriteTxn::get`] and [`WriteTxn::put`].
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.remove(DEFAULT_TABLE, key.as_ref())
    }

    /// Deletes `key` from a named table; false if it has no value.
    ///
    /// # Errors
    /// As [`WriteTxn::delete`], and [`Error::InvalidOption`] for a table of another handle.
    pub fn delete_in(&mut self, table: &Table, key: impl AsRef<[u8]>) -> Result<bool> {
        self.remove(table.of(self.handle)?, key.as_ref())
    }

    pub(crate) fn pending(&mut self) -> &mut Pending {
        &mut self.pending
    }

    fn value(&self, table: u32, key: &[u8]) -> Result<Option<Value<'_>>> {
        match self.pending.get(table, key) {
            Some(written) => Ok(written.map(Value::borrowed)),
            None => Ok(self.turn.get(table, key)?.map(Value::of)),
        }
    }

    fn set(&mut self, table: u32, key: &[u8], value: Option<&[u8]>) -> Result<&mut Self> {
        self.pending.set(table, key, value)?;
        Ok(self)
    }

    fn remove(&mut self, table: u32, key: &[u8]) -> Result<bool> {
        let had = self.value(table, key)?.is_some();
        self.set(table, key, None)?;
        Ok(had)
    }

    /// Forgets all writes so far, and goes on. Dropping the transaction does as well. [`WriteTxn::savepoint`] is for some of them.
    pub fn rollback(&mut self) {
        self.pending.clear();
    }

    /// Commits with the store's default durability. See [`WriteTxn::commit_with`].
    ///
    /// # Errors
    /// As [`Batch::commit_with`](crate::Batch::commit_with).
    pub fn commit(self) -> Result<Position> {
        self.commit_as(None)
    }

    /// Makes all writes visible as one, and returns the position from which on they are. The writer lock is given back before
    /// this waits for the disk.
    ///
    /// # Errors
    /// As [`Batch::commit_with`](crate::Batch::commit_with).
    pub fn commit_with(self, durability: Durability) -> Result<Position> {
        self.commit_as(Some(durability))
    }

    pub(crate) fn commit_as(self, durability: Option<Durability>) -> Result<Position> {
        let WriteTxn { loan, turn, pending, .. } = self;
        drop(loan);
        turn.commit(&pending.ops(), durability).map(Position)
    }
}

impl Store {
    /// Begins a write transaction: waits for the writer lock and keeps it until the transaction ends.
    ///
    /// # Errors
    /// [`Error::InTransaction`] on a thread that has one open, and those of [`Store::put`].
    pub fn write(&self) -> Result<WriteTxn<'_>> {
        WriteTxn::new(self.handle())
    }

    /// The same if nobody else has the writer lock, and None otherwise: waits for nothing.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub fn try_write(&self) -> Result<Option<WriteTxn<'_>>> {
        match self.handle().engine().turn_within(Some(Duration::ZERO)) {
            Ok(turn) => Ok(Some(WriteTxn::of(self.handle(), turn))),
            Err(Error::Timeout { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs `work` in a write transaction, commits it if that returns `Ok`, and rolls back if it returns an error or panics.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = mapstone::Store::open(dir.path().join("db"))?;
    /// let next = store.update(|txn| {
    ///     let next = txn.get("next")?.map_or(Ok(1), |value| value.view::<u64>().copied())?;
    ///     txn.put("next", (next + 1).to_ne_bytes())?;
    ///     Ok::<_, mapstone::Error>(next)
    /// })?;
    /// assert_eq!(next, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of `work`, [`Store::write`] and [`WriteTxn::commit`].
    pub fn update<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&mut WriteTxn<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut txn = self.write()?;
        let result = work(&mut txn)?;
        txn.commit()?;
        Ok(result)
    }
}

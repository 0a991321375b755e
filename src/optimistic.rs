//! An optimistic transaction: reads without a lock, and commits only if what it has read is still so.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::faults::{Bug, planted};
use crate::format::position::Position;
use crate::handle::{Handle, Store};
use crate::options::Durability;
use crate::pending::Pending;
use crate::snapshot::Snapshot;
use crate::store::{DEFAULT_TABLE, Turn};
use crate::table::Table;
use crate::value::Value;

/// The version of each key that was read, by table and key; None if it had no value.
type Versions = BTreeMap<(u32, Vec<u8>), Option<u64>>;

/// Reads of one snapshot and writes that follow from them, for computations that are too long to keep other writers waiting.
///
/// Nothing is locked before [`commit_if_unchanged`](OptimisticTxn::commit_if_unchanged), which commits if each key that was
/// read still has the version that was read, and is an [`Error::Conflict`] otherwise. A key that had no value and has none
/// again is unchanged. It sees its own writes. Dropping it forgets it.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use mapstone::{Error, Store};
///
/// let store = Store::open(dir.path().join("db"))?;
/// store.put("stock", "3")?;
/// let mut order = store.optimistic()?;
/// assert_eq!(order.get("stock")?.as_deref(), Some(&b"3"[..]));
/// order.put("stock", "2")?;
/// store.put("stock", "0")?; // somebody else was faster
/// assert!(matches!(order.commit_if_unchanged(), Err(Error::Conflict)));
/// assert_eq!(store.get("stock")?.as_deref(), Some(&b"0"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OptimisticTxn {
    handle: Arc<Handle>,
    snapshot: Snapshot,
    read: RefCell<Versions>,
    pending: Pending,
}

impl OptimisticTxn {
    /// The commit that the transaction reads.
    pub fn position(&self) -> Position {
        self.snapshot.position()
    }

    /// The value of `key` in the snapshot, or as this transaction has left it.
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
        self.value(table.of(&self.handle)?, key.as_ref())
    }

    fn value(&self, table: u32, key: &[u8]) -> Result<Option<Value<'_>>> {
        if let Some(written) = self.pending.get(table, key) {
            return Ok(written.map(Value::borrowed));
        }
        let found = self.snapshot.reader().get(table, key, self.position().0)?;
        let version = found.as_ref().map(|record| record.version());
        self.read.borrow_mut().insert((table, key.to_vec()), version);
        Ok(found.map(Value::of))
    }

    /// Gives `key` a value.
    ///
    /// # Errors
    /// As [`WriteTxn::put`](crate::WriteTxn::put).
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<&mut Self> {
        self.pending.set(DEFAULT_TABLE, key.as_ref(), Some(value.as_ref()))?;
        Ok(self)
    }

    /// Gives `key` of a named table a value.
    ///
    /// # Errors
    /// As [`WriteTxn::put_in`](crate::WriteTxn::put_in).
    pub fn put_in(
        &mut self,
        table: &Table,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<&mut Self> {
        self.pending.set(table.of(&self.handle)?, key.as_ref(), Some(value.as_ref()))?;
        Ok(self)
    }

    /// Deletes `key`. This reads nothing: whether it has a value at the commit does not matter.
    ///
    /// # Errors
    /// As [`WriteTxn::put`](crate::WriteTxn::put).
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> Result<&mut Self> {
        self.pending.set(DEFAULT_TABLE, key.as_ref(), None)?;
        Ok(self)
    }

    /// Deletes `key` from a named table.
    ///
    /// # Errors
    /// As [`WriteTxn::put_in`](crate::WriteTxn::put_in).
    pub fn delete_in(&mut self, table: &Table, key: impl AsRef<[u8]>) -> Result<&mut Self> {
        self.pending.set(table.of(&self.handle)?, key.as_ref(), None)?;
        Ok(self)
    }

    /// Commits all writes as one if nothing that was read has changed, with the store's default durability.
    ///
    /// Takes the writer lock for as long as it takes to look at each key that was read, and to commit. Without writes it takes
    /// none: what was read is one snapshot, whatever has become of it since.
    ///
    /// # Errors
    /// [`Error::Conflict`] if something has changed: nothing was committed. And those of
    /// [`Batch::commit_with`](crate::Batch::commit_with).
    pub fn commit_if_unchanged(self) -> Result<Position> {
        self.commit_as(None)
    }

    /// The same with a durability of its own.
    ///
    /// # Errors
    /// As [`OptimisticTxn::commit_if_unchanged`].
    pub fn commit_if_unchanged_with(self, durability: Durability) -> Result<Position> {
        self.commit_as(Some(durability))
    }

    fn commit_as(self, durability: Option<Durability>) -> Result<Position> {
        if self.pending.is_empty() {
            return Ok(self.position());
        }
        let turn = self.handle.engine().turn()?;
        if !planted(Bug::SkipValidate) {
            self.validate(&turn)?;
        }
        turn.commit(&self.pending.ops(), durability).map(Position)
    }

    /// Fails unless each key has the version that was read.
    fn validate(&self, turn: &Turn<'_>) -> Result<()> {
        if turn.position() == self.position().0 {
            return Ok(());
        }
        for ((table, key), version) in self.read.borrow().iter() {
            if turn.get(*table, key)?.map(|record| record.version()) != *version {
                return Err(Error::Conflict);
            }
        }
        Ok(())
    }
}

impl Store {
    /// Begins an optimistic transaction on a snapshot of the last commit. See [`OptimisticTxn`].
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn optimistic(&self) -> Result<OptimisticTxn> {
        Ok(OptimisticTxn {
            handle: Arc::clone(self.handle()),
            snapshot: self.snapshot()?,
            read: RefCell::default(),
            pending: Pending::default(),
        })
    }
}

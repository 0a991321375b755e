//! A savepoint: a place in a transaction to go back to.

use std::ops::{Deref, DerefMut};

use crate::transaction::WriteTxn;

/// Writes of a transaction that may be given up without the ones before them. From [`WriteTxn::savepoint`].
///
/// It is the transaction itself, to read and to write, until it is released, which keeps the writes since, or dropped, which
/// forgets them. Savepoints nest. Each write since costs memory for what it replaced in the transaction; nothing else is kept.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let store = mapstone::Store::open(dir.path().join("db"))?;
/// let mut txn = store.write()?;
/// txn.put("order", "1")?;
/// for (item, wanted) in [("apple", 3), ("pear", 0)] {
///     let mut savepoint = txn.savepoint();
///     savepoint.put(item, "reserved")?;
///     if wanted > 0 {
///         savepoint.release();
///     }
/// }
/// txn.commit()?;
/// assert!(store.contains("order")? && store.contains("apple")? && !store.contains("pear")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropped it forgets what was written since"]
pub struct Savepoint<'t, 'a> {
    txn: &'t mut WriteTxn<'a>,
    /// How much there was to undo when it was made.
    mark: usize,
    released: bool,
}

impl<'a> WriteTxn<'a> {
    /// Marks this place in the transaction. What is written through the savepoint can be given up by itself.
    pub fn savepoint(&mut self) -> Savepoint<'_, 'a> {
        let mark = self.pending().mark();
        Savepoint { txn: self, mark, released: false }
    }
}

impl Savepoint<'_, '_> {
    /// Keeps the writes since as writes of the transaction. They are visible to others once that is committed.
    pub fn release(mut self) {
        self.released = true;
    }

    /// Forgets the writes since, and goes on from where the savepoint was made.
    pub fn rollback(&mut self) {
        self.txn.pending().undo_to(self.mark);
    }
}

impl Drop for Savepoint<'_, '_> {
    fn drop(&mut self) {
        if !self.released {
            self.rollback();
        }
        self.txn.pending().unmark();
    }
}

impl<'a> Deref for Savepoint<'_, 'a> {
    type Target = WriteTxn<'a>;

    fn deref(&self) -> &WriteTxn<'a> {
        self.txn
    }
}

impl<'a> DerefMut for Savepoint<'_, 'a> {
    fn deref_mut(&mut self) -> &mut WriteTxn<'a> {
        self.txn
    }
}

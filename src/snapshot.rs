//! A snapshot: one table at one position, and the iteration over it.

use std::sync::Arc;

use crate::error::Result;
use crate::format::position::Position;
use crate::handle::Handle;
use crate::store::{Reader, Walk};
use crate::sys::Pin;
use crate::value::Value;

/// A table as of one commit. Later commits do not show in it, whoever makes them. Keeps the store open.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let store = mapstone::Store::open(dir.path().join("db"))?;
/// store.put("a", "1")?;
/// store.put("b", "2")?;
/// let snapshot = store.snapshot()?;
/// store.delete("a")?;
/// let mut keys = Vec::new();
/// for item in snapshot.iter() {
///     let (key, value) = item?;
///     keys.push((key.to_vec(), value.to_vec()));
/// }
/// keys.sort();
/// assert_eq!(keys, [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"2".to_vec())]);
/// assert_eq!(snapshot.len()?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Snapshot {
    table: u32,
    at: Held,
    /// Keeps mapped what is read, so that values need no pins of their own.
    pin: Pin,
}

/// A position that this handle holds; dropping it gives it back.
#[derive(Debug)]
struct Held {
    handle: Arc<Handle>,
    at: u64,
}

impl Clone for Held {
    fn clone(&self) -> Held {
        self.handle.engine().hold_too(self.at);
        Held { handle: Arc::clone(&self.handle), at: self.at }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.handle.engine().unhold(self.at);
    }
}

impl Snapshot {
    pub(crate) fn hold(handle: &Arc<Handle>, table: u32) -> Result<Snapshot> {
        // The pin first, so that nothing is let go between the two.
        let pin = Pin::new();
        let at = handle.engine().hold()?;
        Ok(Snapshot { table, at: Held { handle: Arc::clone(handle), at }, pin })
    }

    #[inline]
    pub(crate) fn reader(&self) -> Reader<'_> {
        self.at.handle.engine().reader(&self.pin)
    }

    /// The commit that the snapshot is of.
    pub fn position(&self) -> Position {
        Position(self.at.at)
    }

    /// The value of `key`; see [`Store::get`](crate::Store::get).
    ///
    /// # Errors
    /// As [`Store::get`](crate::Store::get).
    #[inline]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value<'_>>> {
        match self.reader().get_quickly(self.table, key.as_ref(), self.at.at) {
            Some(found) => Ok(found.map(Value::of)),
            None => self.get_slowly(key.as_ref()),
        }
    }

    /// True if `key` has a value.
    ///
    /// # Errors
    /// As [`Store::get`](crate::Store::get).
    #[inline]
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        match self.reader().get_quickly(self.table, key.as_ref(), self.at.at) {
            Some(found) => Ok(found.is_some()),
            None => Ok(self.get_slowly(key.as_ref())?.is_some()),
        }
    }

    #[cold]
    fn get_slowly(&self, key: &[u8]) -> Result<Option<Value<'_>>> {
        Ok(self.reader().get(self.table, key, self.at.at)?.map(Value::of))
    }

    /// The values of many keys; see [`Store::get_many`](crate::Store::get_many).
    ///
    /// # Errors
    /// As [`Store::get`](crate::Store::get).
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value<'_>>>> {
        let mut values = Vec::with_capacity(keys.len());
        let reader = self.reader();
        reader.get_many(self.table, keys, self.at.at, |found| values.push(found.map(Value::of)))?;
        Ok(values)
    }

    /// All keys with their values, each once, in no order that means anything.
    ///
    /// Visits every key of the store, of whichever table. Takes up to 8 MiB of memory, and of a few keys as much as they need.
    pub fn iter(&self) -> Iter<'_> {
        Iter { snapshot: self, walk: Walk::new(self.table, self.at.at) }
    }

    /// How many keys there are. Counts them one by one.
    ///
    /// # Errors
    /// As [`Store::get`](crate::Store::get).
    pub fn len(&self) -> Result<u64> {
        self.iter().try_fold(0, |n, item| item.map(|_| n + 1))
    }

    /// There are no keys.
    ///
    /// # Errors
    /// As [`Store::get`](crate::Store::get).
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.iter().next().transpose()?.is_none())
    }

    /// The table `name` at the same position; None if there was none.
    ///
    /// # Errors
    /// As [`Store::get`](crate::Store::get).
    pub fn table(&self, name: &str) -> Result<Option<Snapshot>> {
        let id = self.at.handle.engine().table_id(name, self.at.at)?;
        Ok(id.map(|table| Snapshot { table, ..self.clone() }))
    }

    /// Names of all named tables at this position, sorted.
    ///
    /// # Errors
    /// As [`Store::get`](crate::Store::get).
    pub fn tables(&self) -> Result<Vec<String>> {
        self.at.handle.engine().table_names(self.at.at)
    }
}

/// Iterator over a [`Snapshot`]: each item is a key with its value, or the error that kept it from being read.
#[derive(Debug)]
pub struct Iter<'a> {
    snapshot: &'a Snapshot,
    walk: Walk,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Result<(&'a [u8], Value<'a>)>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.walk.next_quickly(self.snapshot.reader()) {
            Some(record) => Some(Ok((record.key(), Value::of(record)))),
            None => self.next_slowly(),
        }
    }
}

impl<'a> Iter<'a> {
    #[cold]
    #[inline(never)]
    fn next_slowly(&mut self) -> Option<<Self as Iterator>::Item> {
        let found = self.walk.next(self.snapshot.reader())?;
        Some(found.map(|record| (record.key(), Value::of(record))))
    }
}

impl<'a> IntoIterator for &'a Snapshot {
    type Item = Result<(&'a [u8], Value<'a>)>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

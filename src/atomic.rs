//! Read-modify-write of one key as a single atomic call: the compare and the commit share one turn.

use crate::error::Result;
use crate::faults::{Bug, planted};
use crate::handle::Store;
use crate::keyspace::Keyspace;
use crate::store::{Op, check};
use crate::table::Table;
use crate::value::Value;

impl<'a> Keyspace<'a> {
    fn compare_and_swap(self, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) -> Result<bool> {
        check(key, new.map_or(0, <[u8]>::len))?;
        let early = planted(Bug::CompareUnlocked).then(|| self.get(key)).transpose()?;
        let mut turn = self.engine.turn()?;
        turn.require(self.table)?;
        let present = match early {
            Some(early) => early,
            None => self.get(key)?,
        };
        if present.as_deref() != old {
            return Ok(false);
        }
        turn.commit(&[Op { table: self.table, key, value: new }], None)?;
        Ok(true)
    }

    fn fetch_update(
        self,
        key: &[u8],
        change: impl FnOnce(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> Result<Option<Value<'a>>> {
        check(key, 0)?;
        let mut turn = self.engine.turn()?;
        turn.require(self.table)?;
        // The last commit, after which there is no other until the turn ends.
        let before = self.get(key)?;
        let loan = turn.lend();
        let after = change(before.as_deref());
        drop(loan);
        check(key, after.as_ref().map_or(0, Vec::len))?;
        turn.commit(&[Op { table: self.table, key, value: after.as_deref() }], None)?;
        Ok(before)
    }
}

impl Store {
    /// Gives `key` the value `new` (None deletes it) if its value is `old` (None: it has none); false if it is another, and
    /// then nothing is written. One atomic call: no commit comes between the comparison and the change.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = mapstone::Store::open(dir.path().join("db"))?;
    /// assert!(store.compare_and_swap("owner", None, Some(b"me"))?);
    /// assert!(!store.compare_and_swap("owner", None, Some(b"you"))?);
    /// assert!(store.compare_and_swap("owner", Some(b"me"), None)?);
    /// assert!(store.get("owner")?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn compare_and_swap(
        &self,
        key: impl AsRef<[u8]>,
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<bool> {
        self.keyspace().compare_and_swap(key.as_ref(), old, new)
    }

    /// Gives `key` a value if it has none; false if it has one, and then nothing is written.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn put_if_absent(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<bool> {
        self.keyspace().compare_and_swap(key.as_ref(), None, Some(value.as_ref()))
    }

    /// Gives `key` the value that `change` makes of the present one (None deletes it), and returns the one before.
    ///
    /// `change` runs once, under the writer lock: it must not write to this store. If it panics nothing is committed.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = mapstone::Store::open(dir.path().join("db"))?;
    /// let longer = |old: Option<&[u8]>| Some([old.unwrap_or_default(), b"+"].concat());
    /// assert!(store.fetch_update("tally", longer)?.is_none());
    /// assert_eq!(store.fetch_update("tally", longer)?.as_deref(), Some(&b"+"[..]));
    /// assert_eq!(store.get("tally")?.as_deref(), Some(&b"++"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn fetch_update(
        &self,
        key: impl AsRef<[u8]>,
        change: impl FnOnce(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> Result<Option<Value<'_>>> {
        self.keyspace().fetch_update(key.as_ref(), change)
    }
}

impl Table {
    /// Gives `key` another value if it has the one expected; see [`Store::compare_and_swap`].
    ///
    /// # Errors
    /// As [`Table::put`].
    pub fn compare_and_swap(
        &self,
        key: impl AsRef<[u8]>,
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<bool> {
        self.named(self.keyspace().compare_and_swap(key.as_ref(), old, new))
    }

    /// Gives `key` a value if it has none; see [`Store::put_if_absent`].
    ///
    /// # Errors
    /// As [`Table::put`].
    pub fn put_if_absent(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<bool> {
        self.compare_and_swap(key, None, Some(value.as_ref()))
    }

    /// Gives `key` the value that `change` makes of the present one; see [`Store::fetch_update`].
    ///
    /// # Errors
    /// As [`Table::put`].
    pub fn fetch_update(
        &self,
        key: impl AsRef<[u8]>,
        change: impl FnOnce(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> Result<Option<Value<'_>>> {
        self.named(self.keyspace().fetch_update(key.as_ref(), change))
    }
}

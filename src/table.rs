//! A named table: a keyspace of its own within a store.

use std::sync::Arc;

use bytemuck::NoUninit;

use crate::changes::Changes;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::keyspace::Keyspace;
use crate::snapshot::Snapshot;
use crate::value::Value;

/// A named table. Keeps the store open.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let store = mapstone::Store::open(dir.path().join("db"))?;
/// let users = store.table("users")?;
/// users.put("7", "Ada")?;
/// assert_eq!(users.get("7")?.as_deref(), Some(&b"Ada"[..]));
/// assert_eq!(users.name(), "users");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Table {
    handle: Arc<Handle>,
    id: u32,
    name: Arc<str>,
}

impl Table {
    pub(crate) fn new(handle: Arc<Handle>, id: u32, name: &str) -> Table {
        Table { handle, id, name: name.into() }
    }

    /// The table's number, if it is one of this handle.
    pub(crate) fn of(&self, handle: &Arc<Handle>) -> Result<u32> {
        if Arc::ptr_eq(&self.handle, handle) {
            return Ok(self.id);
        }
        let why = "the table belongs to another handle".into();
        Err(Error::InvalidOption { option: "table", why })
    }

    #[inline]
    pub(crate) fn keyspace(&self) -> Keyspace<'_> {
        Keyspace { engine: self.handle.engine(), table: self.id }
    }

    /// The engine knows tables by number.
    pub(crate) fn named<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match error {
            Error::NoSuchTable { .. } => Error::NoSuchTable { name: self.name.to_string() },
            other => other,
        })
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of `key`; see [`Store::get`](crate::Store::get).
    ///
    /// # Errors
    /// As [`Store::get`](crate::Store::get).
    #[inline]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value<'_>>> {
        self.keyspace().get(key.as_ref())
    }

    /// True if `key` has a value.
    ///
    /// # Errors
    /// As [`Store::get`](crate::Store::get).
    #[inline]
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.keyspace().contains(key.as_ref())
    }

    /// The values of many keys; see [`Store::get_many`](crate::Store::get_many).
    ///
    /// # Errors
    /// As [`Store::get`](crate::Store::get).
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value<'_>>>> {
        self.keyspace().get_many(keys)
    }

    /// Gives `key` a value; see [`Store::put`](crate::Store::put).
    ///
    /// # Errors
    /// As [`Store::put`](crate::Store::put), and [`Error::NoSuchTable`] once the table was dropped.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.named(self.keyspace().put(key.as_ref(), value.as_ref()))
    }

    /// Deletes `key`; see [`Store::delete`](crate::Store::delete).
    ///
    /// # Errors
    /// As [`Table::put`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.named(self.keyspace().delete(key.as_ref()))
    }

    /// Gives `key` a value that is written in place; see [`Store::put_with`](crate::Store::put_with).
    ///
    /// # Errors
    /// As [`Table::put`].
    pub fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        self.named(self.keyspace().put_with(key.as_ref(), len, fill))
    }

    /// Gives `key` the bytes of `value`; see [`Store::put_pod`](crate::Store::put_pod).
    ///
    /// # Errors
    /// As [`Store::put_pod`](crate::Store::put_pod) and [`Table::put`].
    pub fn put_pod<T: NoUninit>(&self, key: impl AsRef<[u8]>, value: &T) -> Result<()> {
        self.put_slice(key, std::slice::from_ref(value))
    }

    /// Gives `key` the bytes of `values`; see [`Store::put_slice`](crate::Store::put_slice).
    ///
    /// # Errors
    /// As [`Store::put_pod`](crate::Store::put_pod) and [`Table::put`].
    pub fn put_slice<T: NoUninit>(&self, key: impl AsRef<[u8]>, values: &[T]) -> Result<()> {
        self.named(self.keyspace().put_slice(key.as_ref(), values))
    }

    /// What is committed from now on to keys of this table that begin with `prefix`; see [`Store::watch`](crate::Store::watch).
    ///
    /// # Errors
    /// As [`Store::watch`](crate::Store::watch).
    pub fn watch(&self, prefix: impl AsRef<[u8]>) -> Result<Changes> {
        Changes::watch(&self.handle, self.id, prefix.as_ref())
    }

    /// The table as of the last commit; see [`Store::snapshot`](crate::Store::snapshot).
    ///
    /// # Errors
    /// As [`Store::snapshot`](crate::Store::snapshot).
    pub fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::hold(&self.handle, self.id)
    }
}

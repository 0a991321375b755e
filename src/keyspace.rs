//! The calls that a store and a table share: one keyspace of one handle.

use bytemuck::NoUninit;

use crate::error::{Error, Result};
use crate::store::{Engine, Op, check};
use crate::sys::{Pin, Pinned};
use crate::value::Value;

/// One table of one engine, borrowed for a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyspace<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) table: u32,
}

/// A first look has not settled a lookup.
struct Unsettled;

impl<'a> Keyspace<'a> {
    #[inline]
    pub(crate) fn get(self, key: &[u8]) -> Result<Option<Value<'a>>> {
        let table = self.table;
        let found = Pinned::find(self.engine, |engine, pin| {
            let found = engine.reader(pin).get_fresh_quickly(table, key).ok_or(Unsettled)?;
            Ok(found.map(|record| record.value()))
        });
        match found {
            Ok(found) => Ok(found.map(Value::from)),
            Err(Unsettled) => self.get_slowly(key),
        }
    }

    #[cold]
    #[inline(never)]
    fn get_slowly(self, key: &[u8]) -> Result<Option<Value<'a>>> {
        let table = self.table;
        let found = self.engine.fresh(|at| {
            Pinned::find(self.engine, |engine, pin| {
                Ok(engine.reader(pin).get(table, key, at)?.map(|record| record.value()))
            })
        });
        Ok(found?.map(Value::from))
    }

    #[inline]
    pub(crate) fn contains(self, key: &[u8]) -> Result<bool> {
        match self.engine.reader(&Pin::new()).get_fresh_quickly(self.table, key) {
            Some(found) => Ok(found.is_some()),
            None => Ok(self.get_slowly(key)?.is_some()),
        }
    }

    pub(crate) fn get_many<K: AsRef<[u8]>>(self, keys: &[K]) -> Result<Vec<Option<Value<'a>>>> {
        let table = self.table;
        // All of one commit: one key that was not found may have been reclaimed, and then none counts.
        loop {
            let at = self.engine.committed();
            let mut all = true;
            let found = Pinned::find_all(self.engine, keys.len(), |engine, pin, gather| {
                engine.reader(pin).get_many(table, keys, at, |found| {
                    all &= found.is_some();
                    gather.push(found.map(|record| record.value()));
                })
            });
            if (all && found.is_ok()) || self.engine.is_fresh(at) {
                return found;
            }
        }
    }

    pub(crate) fn put(self, key: &[u8], value: &[u8]) -> Result<()> {
        check(key, value.len())?;
        self.engine.commit(&[Op { table: self.table, key, value: Some(value) }], None)?;
        Ok(())
    }

    pub(crate) fn delete(self, key: &[u8]) -> Result<bool> {
        check(key, 0)?;
        self.engine.delete(self.table, key)
    }

    pub(crate) fn put_with(
        self,
        key: &[u8],
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        check(key, len)?;
        self.engine.put_with(self.table, key, len, fill)?;
        Ok(())
    }

    pub(crate) fn put_slice<T: NoUninit>(self, key: &[u8], values: &[T]) -> Result<()> {
        if align_of::<T>() > 16 {
            let (type_name, why) =
                (std::any::type_name::<T>(), "values are aligned to 16 bytes".into());
            return Err(Error::View { type_name, len: size_of_val(values), why });
        }
        self.put(key, bytemuck::cast_slice(values))
    }
}

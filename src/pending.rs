//! The writes of a transaction before its commit, found by their keys.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::store::{Op, check};

/// What each key, of each table, is to become. Later writes replace earlier ones.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    tables: BTreeMap<u32, BTreeMap<Vec<u8>, Option<Aligned>>>,
}

/// A value at an address that is a multiple of 16, as in the log.
#[derive(Debug)]
struct Aligned {
    blocks: Vec<u128>,
    len: usize,
}

impl Aligned {
    fn new(value: &[u8]) -> Aligned {
        let mut blocks = vec![0; value.len().div_ceil(size_of::<u128>())];
        bytemuck::cast_slice_mut(&mut blocks)[..value.len()].copy_from_slice(value);
        Aligned { blocks, len: value.len() }
    }

    fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.blocks)[..self.len]
    }
}

impl Pending {
    /// Adds a put, or a delete if there is no value.
    pub(crate) fn set(&mut self, table: u32, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        check(key, value.map_or(0, <[u8]>::len))?;
        self.tables.entry(table).or_default().insert(key.to_vec(), value.map(Aligned::new));
        Ok(())
    }

    /// What was written for a key: None if nothing, `Some(None)` if a delete.
    pub(crate) fn get(&self, table: u32, key: &[u8]) -> Option<Option<&[u8]>> {
        let written = self.tables.get(&table)?.get(key)?;
        Some(written.as_ref().map(Aligned::bytes))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Forgets all writes.
    pub(crate) fn clear(&mut self) {
        self.tables.clear();
    }

    pub(crate) fn ops(&self) -> Vec<Op<'_>> {
        let ops = self.tables.iter().flat_map(|(table, keys)| {
            keys.iter().map(|(key, value)| Op {
                table: *table,
                key,
                value: value.as_ref().map(Aligned::bytes),
            })
        });
        ops.collect()
    }
}

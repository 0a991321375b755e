//! The writes of a transaction before its commit, found by their keys.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::store::{Op, check};

/// What each key, of each table, is to become. Later writes replace earlier ones.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    tables: BTreeMap<u32, BTreeMap<Vec<u8>, Option<Aligned>>>,
    /// What each write since the first savepoint has replaced.
    undo: Vec<Replaced>,
    /// How many savepoints there are.
    marks: usize,
}

/// A key, and what was to become of it before: None if nothing was.
#[derive(Debug)]
struct Replaced {
    table: u32,
    key: Vec<u8>,
    old: Option<Option<Aligned>>,
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
        let keys = self.tables.entry(table).or_default();
        let old = keys.insert(key.to_vec(), value.map(Aligned::new));
        if self.marks > 0 {
            self.undo.push(Replaced { table, key: key.to_vec(), old });
        }
        Ok(())
    }

    /// What was written for a key: None if nothing, `Some(None)` if a delete.
    pub(crate) fn get(&self, table: u32, key: &[u8]) -> Option<Option<&[u8]>> {
        let written = self.tables.get(&table)?.get(key)?;
        Some(written.as_ref().map(Aligned::bytes))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tables.values().all(BTreeMap::is_empty)
    }

    /// Forgets all writes.
    pub(crate) fn clear(&mut self) {
        self.tables.clear();
        self.undo.clear();
    }

    /// Keeps what writes replace from here on. Says how much that is by now.
    pub(crate) fn mark(&mut self) -> usize {
        self.marks += 1;
        self.undo.len()
    }

    /// Takes back the writes since a mark.
    pub(crate) fn undo_to(&mut self, mark: usize) {
        for Replaced { table, key, old } in self.undo.drain(mark.min(self.undo.len())..).rev() {
            let keys = self.tables.entry(table).or_default();
            match old {
                Some(old) => drop(keys.insert(key, old)),
                None => drop(keys.remove(&key)),
            }
        }
    }

    /// A mark is not gone back to any more.
    pub(crate) fn unmark(&mut self) {
        self.marks = self.marks.saturating_sub(1);
        if self.marks == 0 {
            self.undo.clear();
        }
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

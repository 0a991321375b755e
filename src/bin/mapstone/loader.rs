//! Entries into a store in batches: what `import` feeds, whatever the format.

use crate::arguments::Durability;
use anyhow::Result;
use mapstone::{Batch, Store, Table};
use std::collections::{HashMap, hash_map::Entry};

/// A batch is held in memory until its commit, so it also ends when its values reach this size.
const BATCH_BYTES: u64 = 64 << 20;

/// What has been committed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) batches: u64,
}

pub(crate) struct Loader<'a> {
    store: &'a Store,
    batch: Batch,
    batch_entries: u64,
    pending: Tally,
    committed: Tally,
    table: Option<&'a str>,
    tables: HashMap<String, Table>,
    durability: Option<Durability>,
}

impl<'a> Loader<'a> {
    /// `table` is for the entries that name none; without a durability, one sync at the end covers all batches.
    pub(crate) fn new(
        store: &'a Store,
        table: Option<&'a str>,
        batch_entries: u64,
        durability: Option<Durability>,
    ) -> Self {
        Self {
            store,
            batch: store.batch(),
            batch_entries,
            pending: Tally::default(),
            committed: Tally::default(),
            table,
            tables: HashMap::new(),
            durability,
        }
    }

    pub(crate) fn put(&mut self, table: Option<&str>, key: &[u8], value: &[u8]) -> Result<()> {
        match table.or(self.table) {
            None => self.batch.put(key, value)?,
            Some(name) => {
                let table = match self.tables.entry(name.to_owned()) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => new.insert(self.store.table(name)?),
                };
                self.batch.put_in(table, key, value)?
            }
        };
        self.pending.entries += 1;
        self.pending.bytes += (key.len() + value.len()) as u64;
        if self.pending.entries >= self.batch_entries || self.pending.bytes >= BATCH_BYTES {
            self.commit()?;
        }
        Ok(())
    }

    pub(crate) fn committed(&self) -> Tally {
        self.committed
    }

    /// Commits what is left, and makes it all durable unless another durability was asked for.
    pub(crate) fn finish(mut self) -> Result<Tally> {
        if self.pending.entries > 0 {
            self.commit()?;
        }
        if self.durability.is_none() {
            self.store.sync()?;
        }
        Ok(self.committed)
    }

    fn commit(&mut self) -> Result<()> {
        self.batch.commit_with(self.durability.unwrap_or(Durability::Eventual).into())?;
        self.committed.entries += self.pending.entries;
        self.committed.bytes += self.pending.bytes;
        self.committed.batches += 1;
        self.pending = Tally::default();
        Ok(())
    }
}

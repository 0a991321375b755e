//! simd-r-drive: one append-only file, an index in memory by 64-bit hash. It keeps no keys: two with one hash are one. Unsynced: one `write` a commit, which outlives
//! the process; it has no sync.

use std::path::Path;

use anyhow::Result;
use simd_r_drive::DataStore;
use simd_r_drive::traits::{DataStoreReader, DataStoreWriter};

use crate::peer::{Kind, Op, PLAIN, Peer, Reader, Setup};

pub const KIND: Kind =
    Kind { name: "simd-r-drive", durable: false, atomic: false, many: true, open, ..PLAIN };

struct Drive {
    store: DataStore,
    path: std::path::PathBuf,
}

struct Session<'a>(&'a DataStore);

fn open(dir: &Path, _: Setup) -> Result<Box<dyn Peer>> {
    let path = dir.join("drive");
    Ok(Box::new(Drive { store: DataStore::open(&path)?, path }))
}

impl Reader for Session<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.0.read(key)?.map(|value| found(value.as_slice())).is_some())
    }

    fn get_many(&mut self, keys: &[&[u8]], found: &mut dyn FnMut(usize, &[u8])) -> Result<()> {
        for (place, value) in self.0.batch_read(keys)?.iter().enumerate() {
            if let Some(value) = value {
                found(place, value.as_slice());
            }
        }
        Ok(())
    }
}

impl Peer for Drive {
    fn read(&self, session: &mut dyn FnMut(&mut dyn Reader) -> Result<()>) -> Result<()> {
        session(&mut Session(&self.store))
    }

    fn commit(&self, ops: &[Op]) -> Result<()> {
        if let [Op::Put(key, value)] = ops {
            self.store.write(key, value)?;
            return Ok(());
        }
        let mut puts = Vec::with_capacity(ops.len());
        let mut deletes = Vec::new();
        for op in ops {
            match op {
                Op::Put(key, value) => puts.push((*key, *value)),
                Op::Delete(key) => deletes.push(*key),
            }
        }
        if !puts.is_empty() {
            self.store.batch_write(&puts)?;
        }
        if !deletes.is_empty() {
            self.store.batch_delete(&deletes)?;
        }
        Ok(())
    }

    fn iterate(&self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        for entry in self.store.iter_entries() {
            each(entry.as_slice());
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<bool> {
        self.store.compact()?;
        // The handle goes on with the old file.
        self.store = DataStore::open(&self.path)?;
        Ok(true)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

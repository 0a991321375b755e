//! fjall. Unsynced: `PersistMode::Buffer`, so that the journal is in the page cache. Durable: `PersistMode::SyncData`. Compression off, since nothing here
//! can be compressed.

use std::path::Path;

use anyhow::Result;
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::peer::{Kind, Op, PLAIN, Peer, Reader, Setup, Survives};

pub const KIND: Kind = Kind { name: "fjall", open, ..PLAIN };

struct Fjall {
    database: Database,
    keys: Keyspace,
    mode: PersistMode,
}

struct Session<'a>(&'a Keyspace);

fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Peer>> {
    let database = Database::builder(dir).cache_size(setup.cache as u64).open()?;
    let keys = database.keyspace("keys", || {
        KeyspaceCreateOptions::default()
            .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
    })?;
    let mode =
        if setup.ask == Survives::Power { PersistMode::SyncData } else { PersistMode::Buffer };
    Ok(Box::new(Fjall { database, keys, mode }))
}

impl Reader for Session<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.0.get(key)?.map(|value| found(&value)).is_some())
    }
}

impl Peer for Fjall {
    fn read(&self, session: &mut dyn FnMut(&mut dyn Reader) -> Result<()>) -> Result<()> {
        session(&mut Session(&self.keys))
    }

    fn commit(&self, ops: &[Op]) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(self.mode));
        for op in ops {
            match op {
                Op::Put(key, value) => batch.insert(&self.keys, *key, *value),
                Op::Delete(key) => batch.remove(&self.keys, *key),
            }
        }
        Ok(batch.commit()?)
    }

    fn iterate(&self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        for item in self.keys.iter() {
            each(&item.value()?);
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<bool> {
        self.keys.rotate_memtable_and_wait()?;
        self.keys.major_compact()?;
        Ok(true)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

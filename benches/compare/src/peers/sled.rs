//! sled 0.34. Unsynced: what it has by default, a buffer in the process that goes to the file every 500 ms. Its `flush` calls `sync_file_range`, which
//! neither flushes the disk's cache nor the file's metadata: no commit survives a power cut for sure, so none is counted as one that does.

use std::path::Path;

use anyhow::Result;
use sled::{Batch, Config, Db, Mode};

use crate::peer::{Kind, Op, PLAIN, Peer, Reader, Setup, Survives};

pub const KIND: Kind =
    Kind { name: "sled", unsynced: Survives::Nothing, durable: false, open, ..PLAIN };

struct Sled(Db);

struct Session<'a>(&'a Db);

fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Peer>> {
    let database = Config::new()
        .path(dir.join("sled"))
        .mode(Mode::HighThroughput)
        .cache_capacity(setup.cache as u64)
        .open()?;
    Ok(Box::new(Sled(database)))
}

impl Reader for Session<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.0.get(key)?.map(|value| found(&value)).is_some())
    }
}

impl Peer for Sled {
    fn read(&self, session: &mut dyn FnMut(&mut dyn Reader) -> Result<()>) -> Result<()> {
        session(&mut Session(&self.0))
    }

    fn commit(&self, ops: &[Op]) -> Result<()> {
        match ops {
            [Op::Put(key, value)] => drop(self.0.insert(key, *value)?),
            [Op::Delete(key)] => drop(self.0.remove(key)?),
            ops => {
                let mut batch = Batch::default();
                for op in ops {
                    match op {
                        Op::Put(key, value) => batch.insert(*key, *value),
                        Op::Delete(key) => batch.remove(*key),
                    }
                }
                self.0.apply_batch(batch)?;
            }
        }
        Ok(())
    }

    fn iterate(&self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        for item in self.0.iter() {
            each(&item?.1);
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.0.flush()?;
        Ok(())
    }
}

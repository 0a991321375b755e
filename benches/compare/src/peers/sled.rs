//! sled 0.34. Unsynced: what it has by default, a buffer in the process that goes to the file every 500 ms. Durable: `flush` after each commit.

use std::path::Path;

use anyhow::Result;
use sled::{Batch, Config, Db, Mode};

use crate::peer::{Kind, Op, PLAIN, Peer, Reader, Setup, Survives};

pub const KIND: Kind = Kind { name: "sled", unsynced: Survives::Nothing, open, ..PLAIN };

struct Sled {
    database: Db,
    flush: bool,
}

struct Session<'a>(&'a Db);

fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Peer>> {
    let database = Config::new()
        .path(dir.join("sled"))
        .mode(Mode::HighThroughput)
        .cache_capacity(1 << 30)
        .open()?;
    Ok(Box::new(Sled { database, flush: setup.ask == Survives::Power }))
}

impl Reader for Session<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.0.get(key)?.map(|value| found(&value)).is_some())
    }
}

impl Peer for Sled {
    fn read(&self, session: &mut dyn FnMut(&mut dyn Reader) -> Result<()>) -> Result<()> {
        session(&mut Session(&self.database))
    }

    fn commit(&self, ops: &[Op]) -> Result<()> {
        match ops {
            [Op::Put(key, value)] => drop(self.database.insert(key, *value)?),
            [Op::Delete(key)] => drop(self.database.remove(key)?),
            ops => {
                let mut batch = Batch::default();
                for op in ops {
                    match op {
                        Op::Put(key, value) => batch.insert(*key, *value),
                        Op::Delete(key) => batch.remove(*key),
                    }
                }
                self.database.apply_batch(batch)?;
            }
        }
        if self.flush {
            self.database.flush()?;
        }
        Ok(())
    }

    fn iterate(&self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        for item in self.database.iter() {
            each(&item?.1);
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.database.flush()?;
        Ok(())
    }
}

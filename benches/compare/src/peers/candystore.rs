//! candystore, with its defaults. Unsynced: a `pwrite` and a mapped index, which outlive the process. Durable: `flush` after each commit. Has no batches.

use std::path::Path;

use anyhow::{Result, anyhow};
use candystore::{CandyStore, Config, MAX_USER_VALUE_SIZE};

use crate::peer::{Kind, Op, PLAIN, Peer, Reader, Setup, Survives};

pub const KIND: Kind =
    Kind { name: "candystore", atomic: false, longest: MAX_USER_VALUE_SIZE, open, ..PLAIN };

struct Candy {
    store: CandyStore,
    flush: bool,
}

struct Session<'a>(&'a CandyStore);

fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Peer>> {
    let store = CandyStore::open(dir.join("candy"), Config::default()).map_err(error)?;
    Ok(Box::new(Candy { store, flush: setup.ask == Survives::Power }))
}

fn error(error: candystore::Error) -> anyhow::Error {
    anyhow!("{error}")
}

impl Reader for Session<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.0.get(key).map_err(error)?.map(|value| found(&value)).is_some())
    }
}

impl Peer for Candy {
    fn read(&self, session: &mut dyn FnMut(&mut dyn Reader) -> Result<()>) -> Result<()> {
        session(&mut Session(&self.store))
    }

    fn commit(&self, ops: &[Op]) -> Result<()> {
        for op in ops {
            match op {
                Op::Put(key, value) => drop(self.store.set(key, value).map_err(error)?),
                Op::Delete(key) => drop(self.store.remove(key).map_err(error)?),
            }
        }
        if self.flush {
            self.store.flush().map_err(error)?;
        }
        Ok(())
    }

    fn iterate(&self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        for item in self.store.iter_items() {
            each(&item.map_err(error)?.1);
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.store.checkpoint().map_err(error)
    }
}

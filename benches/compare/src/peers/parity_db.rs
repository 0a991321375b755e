//! parity-db, one hash column. A commit goes into a queue in memory that background threads write out; there is no call that waits for it, so
//! nothing can be asked to survive. Its syncs are off, to be even with the others.

use std::path::Path;

use anyhow::Result;
use parity_db::{Db, Options};

use crate::peer::{Kind, Op, PLAIN, Peer, Reader, Setup, Survives};

pub const KIND: Kind =
    Kind { name: "parity-db", unsynced: Survives::Nothing, durable: false, open, ..PLAIN };

struct Parity(Db);

struct Session<'a>(&'a Db);

fn open(dir: &Path, _: Setup) -> Result<Box<dyn Peer>> {
    let mut options = Options::with_columns(&dir.join("parity"), 1);
    options.sync_wal = false;
    options.sync_data = false;
    options.stats = false;
    Ok(Box::new(Parity(Db::open_or_create(&options)?)))
}

impl Reader for Session<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.0.get(0, key)?.map(|value| found(&value)).is_some())
    }
}

impl Peer for Parity {
    fn read(&self, session: &mut dyn FnMut(&mut dyn Reader) -> Result<()>) -> Result<()> {
        session(&mut Session(&self.0))
    }

    fn commit(&self, ops: &[Op]) -> Result<()> {
        Ok(self.0.commit(ops.iter().map(|op| match op {
            Op::Put(key, value) => (0, *key, Some(value.to_vec())),
            Op::Delete(key) => (0, *key, None),
        }))?)
    }

    fn iterate(&self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        Ok(self.0.iter_column_while(0, |item| {
            each(&item.value);
            true
        })?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        // Dropping writes the queue out.
        Ok(())
    }
}

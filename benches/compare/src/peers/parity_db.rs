//! parity-db, one hash column. A commit goes into a queue in memory that background threads write out; there is no call that waits for it, so
//! nothing can be asked to survive. Its syncs are off, to be even with the others.

use std::path::Path;

use anyhow::{Context, Result};
use parity_db::{Db, Options};

use crate::peer::{Kind, Op, PLAIN, Peer, Reader, Setup, Survives};

pub const KIND: Kind =
    Kind { name: "parity-db", unsynced: Survives::Nothing, durable: false, open, ..PLAIN };

struct Parity {
    /// None only while it is opened anew.
    database: Option<Db>,
    options: Options,
}

impl Parity {
    fn database(&self) -> Result<&Db> {
        self.database.as_ref().context("the database is closed")
    }
}

struct Session<'a>(&'a Db);

fn open(dir: &Path, _: Setup) -> Result<Box<dyn Peer>> {
    let mut options = Options::with_columns(&dir.join("parity"), 1);
    options.sync_wal = false;
    options.sync_data = false;
    options.stats = false;
    Ok(Box::new(Parity { database: Some(Db::open_or_create(&options)?), options }))
}

impl Reader for Session<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.0.get(0, key)?.map(|value| found(&value)).is_some())
    }
}

impl Peer for Parity {
    fn read(&self, session: &mut dyn FnMut(&mut dyn Reader) -> Result<()>) -> Result<()> {
        session(&mut Session(self.database()?))
    }

    fn commit(&self, ops: &[Op]) -> Result<()> {
        Ok(self.database()?.commit(ops.iter().map(|op| match op {
            Op::Put(key, value) => (0, *key, Some(value.to_vec())),
            Op::Delete(key) => (0, *key, None),
        }))?)
    }

    /// An iteration does not see what is still in the queue; closing writes it out.
    fn catch_up(&mut self) -> Result<()> {
        self.database = None;
        self.database = Some(Db::open_or_create(&self.options)?);
        Ok(())
    }

    fn iterate(&self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        Ok(self.database()?.iter_column_while(0, |item| {
            each(&item.value);
            true
        })?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        // Dropping writes the queue out.
        Ok(())
    }
}

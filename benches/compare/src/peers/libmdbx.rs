//! libmdbx, `MDBX_WRITEMAP`. Unsynced: `MDBX_UTTERLY_NOSYNC`, which outlives the process and not a system crash. Durable: `MDBX_SYNC_DURABLE`.

use std::borrow::Cow;
use std::path::Path;

use anyhow::Result;
use libmdbx::{
    Database, DatabaseOptions, Mode, RO, ReadWriteOptions, SyncMode, Table, TableFlags,
    Transaction, WriteFlags, WriteMap,
};

use crate::peer::{Kind, Op, PLAIN, Peer, Reader, Setup, Survives};

pub const KIND: Kind = Kind { name: "libmdbx", shared: true, open, ..PLAIN };

const MAP: isize = 64 << 30;

struct Mdbx(Database<WriteMap>);

struct Session<'a> {
    transaction: &'a Transaction<'a, RO, WriteMap>,
    keys: Table<'a>,
}

fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Peer>> {
    let mode = if setup.read_only {
        Mode::ReadOnly
    } else {
        Mode::ReadWrite(ReadWriteOptions {
            sync_mode: if setup.ask == Survives::Power {
                SyncMode::Durable
            } else {
                SyncMode::UtterlyNoSync
            },
            max_size: Some(MAP),
            ..ReadWriteOptions::default()
        })
    };
    let options = DatabaseOptions {
        mode,
        accede: setup.read_only,
        no_rdahead: true,
        ..DatabaseOptions::default()
    };
    Ok(Box::new(Mdbx(Database::open_with_options(dir, options)?)))
}

impl Reader for Session<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value: Option<Cow<'_, [u8]>> = self.transaction.get(&self.keys, key)?;
        Ok(value.map(|value| found(&value)).is_some())
    }
}

impl Peer for Mdbx {
    fn read(&self, session: &mut dyn FnMut(&mut dyn Reader) -> Result<()>) -> Result<()> {
        let transaction = self.0.begin_ro_txn()?;
        session(&mut Session { keys: transaction.open_table(None)?, transaction: &transaction })
    }

    fn commit(&self, ops: &[Op]) -> Result<()> {
        let transaction = self.0.begin_rw_txn()?;
        let keys = transaction.create_table(None, TableFlags::empty())?;
        for op in ops {
            match op {
                Op::Put(key, value) => transaction.put(&keys, key, value, WriteFlags::empty())?,
                Op::Delete(key) => drop(transaction.del(&keys, key, None)?),
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn iterate(&self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        let transaction = self.0.begin_ro_txn()?;
        let keys = transaction.open_table(None)?;
        for item in transaction.cursor(&keys)?.into_iter_start::<Cow<'_, [u8]>, Cow<'_, [u8]>>() {
            each(&item?.1);
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.0.sync(true)?;
        Ok(())
    }
}

//! LMDB through heed. Unsynced: `MDB_WRITEMAP | MDB_MAPASYNC`, its fastest; a commit is in the page cache and outlives the process, a system crash
//! may corrupt the file. Durable: no flags, as its manual recommends. Without read-ahead where memory is what is measured.

use std::path::Path;

use anyhow::Result;
use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, RoTxn, WithoutTls};

use crate::peer::{Kind, Op, PLAIN, Peer, Reader, Setup, Survives};

pub const KIND: Kind = Kind { name: "LMDB (heed)", shared: true, open, ..PLAIN };

const MAP: usize = 64 << 30;

struct Lmdb {
    env: Env<WithoutTls>,
    keys: Database<Bytes, Bytes>,
}

struct Session<'a> {
    keys: Database<Bytes, Bytes>,
    transaction: RoTxn<'a, WithoutTls>,
}

fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Peer>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(MAP).max_dbs(1);
    let flags = match (setup.read_only, setup.ask) {
        (true, _) => EnvFlags::READ_ONLY,
        (_, Survives::Power) => EnvFlags::empty(),
        _ => EnvFlags::WRITE_MAP | EnvFlags::MAP_ASYNC,
    };
    let ahead = if setup.is_tight() { EnvFlags::NO_READ_AHEAD } else { EnvFlags::empty() };
    let flags = flags | ahead;
    // SAFETY: these flags neither drop locking nor reader slots, and nobody else writes to the file.
    unsafe { options.flags(flags) };
    // SAFETY: the file is this program's own, and opened once in this process.
    let env = unsafe { options.open(dir) }?;
    let keys = if setup.read_only {
        let transaction = env.read_txn()?;
        let keys = env
            .open_database(&transaction, Some("keys"))?
            .ok_or_else(|| anyhow::anyhow!("no database"))?;
        transaction.commit()?;
        keys
    } else {
        let mut transaction = env.write_txn()?;
        let keys = env.create_database(&mut transaction, Some("keys"))?;
        transaction.commit()?;
        keys
    };
    Ok(Box::new(Lmdb { env, keys }))
}

impl Reader for Session<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.keys.get(&self.transaction, key)?.map(found).is_some())
    }
}

impl Peer for Lmdb {
    fn read(&self, session: &mut dyn FnMut(&mut dyn Reader) -> Result<()>) -> Result<()> {
        session(&mut Session { keys: self.keys, transaction: self.env.read_txn()? })
    }

    fn commit(&self, ops: &[Op]) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        for op in ops {
            match op {
                Op::Put(key, value) => self.keys.put(&mut transaction, key, value)?,
                Op::Delete(key) => drop(self.keys.delete(&mut transaction, key)?),
            }
        }
        Ok(transaction.commit()?)
    }

    fn iterate(&self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        let transaction = self.env.read_txn()?;
        for item in self.keys.iter(&transaction)? {
            each(item?.1);
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.env.force_sync()?;
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}

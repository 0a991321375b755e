//! redb. Unsynced: `Durability::None`, which stays in the process until a later durable commit. Durable: `Durability::Immediate`.

use std::path::Path;

use anyhow::Result;
use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};

use crate::peer::{Kind, Op, PLAIN, Peer, Reader, Setup, Survives};

pub const KIND: Kind = Kind { name: "redb", unsynced: Survives::Nothing, open, ..PLAIN };

const KEYS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("keys");

struct Redb {
    database: Database,
    durability: Durability,
}

struct Session(ReadOnlyTable<&'static [u8], &'static [u8]>);

fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Peer>> {
    let durability =
        if setup.ask == Survives::Power { Durability::Immediate } else { Durability::None };
    let path = dir.join("redb");
    let new = !path.exists();
    let database = Database::builder().set_cache_size(setup.cache).create(path)?;
    if new {
        let transaction = database.begin_write()?;
        transaction.open_table(KEYS)?;
        transaction.commit()?;
    }
    Ok(Box::new(Redb { database, durability }))
}

impl Reader for Session {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.0.get(key)?.map(|value| found(value.value())).is_some())
    }
}

impl Peer for Redb {
    fn read(&self, session: &mut dyn FnMut(&mut dyn Reader) -> Result<()>) -> Result<()> {
        session(&mut Session(self.database.begin_read()?.open_table(KEYS)?))
    }

    fn commit(&self, ops: &[Op]) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(self.durability)?;
        {
            let mut keys = transaction.open_table(KEYS)?;
            for op in ops {
                match op {
                    Op::Put(key, value) => drop(keys.insert(key, value)?),
                    Op::Delete(key) => drop(keys.remove(key)?),
                }
            }
        }
        Ok(transaction.commit()?)
    }

    fn iterate(&self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        for item in self.database.begin_read()?.open_table(KEYS)?.iter()? {
            each(item?.1.value());
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<bool> {
        self.database.compact()?;
        Ok(true)
    }

    fn close(self: Box<Self>) -> Result<()> {
        // What was committed with `None` becomes durable with a commit that is.
        self.database.begin_write()?.commit()?;
        Ok(())
    }
}

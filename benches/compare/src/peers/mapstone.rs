//! mapstone, with its defaults, and with huge pages.

use std::path::Path;

use anyhow::Result;
use mapstone::{Durability, Options, Store};

use crate::peer::{Kind, Op, PLAIN, Peer, Reader, Setup, Survives};

pub const KIND: Kind = Kind { name: "mapstone", shared: true, many: true, open, ..PLAIN };
pub const HUGE: Kind = Kind { name: "mapstone (huge pages)", open: open_huge, ..KIND };

struct Mapstone(Store);

struct Session<'a>(&'a Store);

fn open(dir: &Path, setup: Setup) -> Result<Box<dyn Peer>> {
    open_with(&mut Options::new(), dir, setup)
}

fn open_huge(dir: &Path, setup: Setup) -> Result<Box<dyn Peer>> {
    open_with(Options::new().huge_pages(true), dir, setup)
}

fn open_with(options: &mut Options, dir: &Path, setup: Setup) -> Result<Box<dyn Peer>> {
    options.durability(if setup.ask == Survives::Power {
        Durability::Immediate
    } else {
        Durability::Eventual
    });
    let path = dir.join("store");
    let store = if setup.read_only { options.open_read_only(path) } else { options.open(path) };
    Ok(Box::new(Mapstone(store?)))
}

impl Reader for Session<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.0.get(key)?.map(|value| found(&value)).is_some())
    }

    fn get_many(&mut self, keys: &[&[u8]], found: &mut dyn FnMut(usize, &[u8])) -> Result<()> {
        for (place, value) in self.0.get_many(keys)?.iter().enumerate() {
            if let Some(value) = value {
                found(place, value);
            }
        }
        Ok(())
    }
}

impl Peer for Mapstone {
    fn read(&self, session: &mut dyn FnMut(&mut dyn Reader) -> Result<()>) -> Result<()> {
        session(&mut Session(&self.0))
    }

    fn commit(&self, ops: &[Op]) -> Result<()> {
        match ops {
            [Op::Put(key, value)] => self.0.put(key, value)?,
            [Op::Delete(key)] => drop(self.0.delete(key)?),
            ops => {
                let mut batch = self.0.batch();
                for op in ops {
                    match op {
                        Op::Put(key, value) => batch.put(key, value)?,
                        Op::Delete(key) => batch.delete(key)?,
                    };
                }
                batch.commit()?;
            }
        }
        Ok(())
    }

    fn iterate(&self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        for item in &self.0.snapshot()? {
            each(&item?.1);
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<bool> {
        self.0.compact(|_| true)?;
        Ok(true)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.0.close()?)
    }
}

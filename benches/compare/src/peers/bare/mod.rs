//! The floor for what memory decides: no store, but the least that a persistent hash store in mapped files, which several processes
//! share, has to do. Each record is copied to the end of a log, and a slot of a table comes to name it.
//!
//! No checksum, no lock, no commit, no sync, no snapshot, no space given back. Writers are expected to come one at a time: two at once would
//! lose puts.

mod log;
mod mapped;
mod table;

use std::path::Path;

use anyhow::Result;
use xxhash_rust::xxh3::xxh3_64;

use crate::peer::{Kind, Op, PLAIN, Peer, Reader, Setup};
use log::Log;
use table::{Entry, Table};

pub const KIND: Kind = Kind {
    name: "bare memory",
    durable: false,
    atomic: false,
    shared: true,
    many: true,
    floor: true,
    open: |dir, setup| open(dir, setup, Pages::Small),
    ..PLAIN
};
pub const HUGE: Kind = Kind {
    name: "bare memory (huge pages)",
    open: |dir, setup| open(dir, setup, Pages::Huge),
    ..KIND
};

/// Keys whose cache misses are waited for together.
const GROUP: usize = 32;
/// What of a record is fetched for a get: the most that a short value takes.
const RECORD: usize = 192;

/// The files are mapped in pages of 4 KiB, or in huge ones where the kernel has them.
#[derive(Clone, Copy, PartialEq)]
enum Pages {
    Small,
    Huge,
}

struct Bare {
    log: Log,
    table: Table,
}

fn open(dir: &Path, setup: Setup, pages: Pages) -> Result<Box<dyn Peer>> {
    let (log, table) = (Log::open(dir, setup, pages)?, Table::open(dir, setup, pages)?);
    Ok(Box::new(Bare { log, table }))
}

/// Never 0, which is what a free slot has.
fn hash(key: &[u8]) -> u64 {
    xxh3_64(key) | 1
}

impl Bare {
    fn entry(&self, key: &[u8], hash: u64) -> Entry<'_> {
        self.table.find(hash, |at| self.log.key(at) == key)
    }

    /// The hashes of at most `GROUP` keys. Has the cache fetch the table's lines for all of them, and then so many bytes of the records.
    fn fetch<'a>(&self, keys: impl Iterator<Item = &'a [u8]>, bytes: usize) -> [u64; GROUP] {
        let mut hashes = [0; GROUP];
        let mut count = 0;
        for (place, key) in hashes.iter_mut().zip(keys) {
            *place = hash(key);
            self.table.prefetch(*place);
            count += 1;
        }
        for hash in &hashes[..count] {
            if let Some(at) = self.table.glance(*hash) {
                self.log.prefetch(at, bytes);
            }
        }
        hashes
    }

    fn apply(&self, op: &Op, hash: u64) -> Result<()> {
        match op {
            Op::Put(key, value) => {
                // The line comes while the record is copied.
                self.table.prefetch(hash);
                let at = self.log.append(key, value)?;
                let entry = self.entry(key, hash);
                if let Some(old) = entry.live() {
                    self.log.retire(old);
                }
                self.table.set(&entry, hash, at)?;
            }
            Op::Delete(key) => {
                let entry = self.entry(key, hash);
                if let Some(old) = entry.live() {
                    self.log.retire(old);
                    entry.delete();
                }
            }
        }
        Ok(())
    }
}

impl Reader for &Bare {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let at = self.entry(key, hash(key)).live();
        Ok(at.map(|at| found(self.log.value(at))).is_some())
    }

    fn get_many(&mut self, keys: &[&[u8]], found: &mut dyn FnMut(usize, &[u8])) -> Result<()> {
        for (group, keys) in keys.chunks(GROUP).enumerate() {
            let hashes = self.fetch(keys.iter().copied(), RECORD);
            for (place, (key, hash)) in keys.iter().zip(hashes).enumerate() {
                if let Some(at) = self.entry(key, hash).live() {
                    found(group * GROUP + place, self.log.value(at));
                }
            }
        }
        Ok(())
    }
}

impl Peer for Bare {
    fn read(&self, session: &mut dyn FnMut(&mut dyn Reader) -> Result<()>) -> Result<()> {
        session(&mut &*self)
    }

    fn commit(&self, ops: &[Op]) -> Result<()> {
        for ops in ops.chunks(GROUP) {
            if let [op] = ops {
                self.apply(op, hash(op.key()))?;
                continue;
            }
            let hashes = self.fetch(ops.iter().map(Op::key), log::HEAD);
            for (op, hash) in ops.iter().zip(hashes) {
                self.apply(op, hash)?;
            }
        }
        Ok(())
    }

    fn iterate(&self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.log.each(each);
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

//! The slots of "bare memory": a flat open-addressing table of 16 bytes each, hash and place of the record, four to a line. A key's slot is in
//! the line that its hash chooses, or the next that is not full.
//!
//! It is made for the keys that the store is opened for, 60 % full then. When later puts fill it to 80 % it is copied into one of twice
//! the size, which comes behind it in the same file.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use anyhow::{Result, ensure};

use super::Pages;
use super::mapped::{LINE, Line, Mapped};
use crate::peer::Setup;

const SLOTS: usize = 4;
/// For these keys at least.
const LEAST: u64 = 1000;
/// Tables that the file has addresses for, each twice as large as the one before.
const LEVELS: u32 = 12;
/// In the place of a record, which is a multiple of 16: the key was deleted.
const DELETED: u64 = 1;

pub struct Table(Mapped);

/// A key's slot, or the free one that it would get.
pub struct Entry<'a> {
    slot: &'a [AtomicU64; 2],
    /// 0 if the slot is free.
    place: u64,
}

impl Entry<'_> {
    /// The place of the key's record, if it has a value.
    pub fn live(&self) -> Option<u64> {
        (self.place != 0 && self.place & DELETED == 0).then_some(self.place)
    }

    /// The slot stays the key's.
    pub fn delete(&self) {
        self.slot[1].store(self.place | DELETED, Release);
    }
}

impl Table {
    pub fn open(dir: &Path, setup: Setup, pages: Pages) -> Result<Table> {
        let first = setup.keys.max(LEAST) as usize * 10 / 6 / SLOTS + 1;
        let len = (1 + (first << LEVELS)) * LINE;
        let table = Table(Mapped::open(&dir.join("table"), len, setup, pages)?);
        if table.first().load(Relaxed) == 0 {
            table.first().store(first as u64, Relaxed);
            table.reserve(0)?;
        }
        Ok(table)
    }

    /// Lines of the first table.
    fn first(&self) -> &AtomicU64 {
        &self.0.lines()[0].0[0]
    }

    /// How often it has doubled.
    fn level(&self) -> &AtomicU64 {
        &self.0.lines()[0].0[1]
    }

    /// Slots that are taken.
    fn taken(&self) -> &AtomicU64 {
        &self.0.lines()[0].0[2]
    }

    /// Where the table of a level is in the file, in lines. The first line is that of the three numbers above.
    fn range(&self, level: u64) -> Range<usize> {
        let first = self.first().load(Relaxed) as usize;
        let start = 1 + first * ((1 << level) - 1);
        start..start + (first << level)
    }

    fn reserve(&self, level: u64) -> Result<()> {
        let lines = self.range(level);
        ensure!(lines.end * LINE <= self.0.len(), "the table is full");
        self.0.reserve(lines.start * LINE..lines.end * LINE)
    }

    /// The table as it is now, and where in it the search for a hash begins.
    fn start(&self, hash: u64) -> (&[Line], usize) {
        let lines = &self.0.lines()[self.range(self.level().load(Acquire))];
        (lines, choose(hash, lines.len()))
    }

    /// The slot of the key with this hash whose record `is` its own.
    pub fn find(&self, hash: u64, is: impl Fn(u64) -> bool) -> Entry<'_> {
        let (lines, start) = self.start(hash);
        search(lines, start, |tag, place| tag == hash && is(place & !DELETED))
    }

    /// Has the cache fetch the line of a hash.
    pub fn prefetch(&self, hash: u64) {
        let range = self.range(self.level().load(Relaxed));
        self.0.prefetch((range.start + choose(hash, range.len())) * LINE, LINE);
    }

    /// The record that is most likely the key's.
    pub fn glance(&self, hash: u64) -> Option<u64> {
        let (lines, start) = self.start(hash);
        let slot = slots(&lines[start]).iter().find(|slot| slot[0].load(Relaxed) == hash)?;
        Some(slot[1].load(Relaxed) & !DELETED)
    }

    /// Has the slot name the record at `place`.
    pub fn set(&self, entry: &Entry, hash: u64, place: u64) -> Result<()> {
        entry.slot[1].store(place, Release);
        if entry.place == 0 {
            entry.slot[0].store(hash, Release);
            let taken = self.taken().load(Relaxed) + 1;
            self.taken().store(taken, Relaxed);
            let level = self.level().load(Relaxed);
            if taken as usize * 5 > self.range(level).len() * SLOTS * 4 {
                self.double(level)?;
            }
        }
        Ok(())
    }

    #[cold]
    fn double(&self, level: u64) -> Result<()> {
        self.reserve(level + 1)?;
        let (old, new) = (self.range(level), self.range(level + 1));
        let (old, new) = (&self.0.lines()[old], &self.0.lines()[new]);
        let mut taken = 0;
        for slot in old.iter().flat_map(slots) {
            let (hash, place) = (slot[0].load(Relaxed), slot[1].load(Relaxed));
            if hash != 0 && place & DELETED == 0 {
                let free = search(new, choose(hash, new.len()), |_, _| false).slot;
                free[1].store(place, Relaxed);
                free[0].store(hash, Relaxed);
                taken += 1;
            }
        }
        self.taken().store(taken, Relaxed);
        self.level().store(level + 1, Release);
        Ok(())
    }
}

/// From `start` on, the first slot that is the one looked for, or free. Some always are.
fn search(lines: &[Line], start: usize, is: impl Fn(u64, u64) -> bool) -> Entry<'_> {
    let mut line = start;
    loop {
        for slot in slots(&lines[line]) {
            let tag = slot[0].load(Acquire);
            if tag == 0 {
                return Entry { slot, place: 0 };
            }
            let place = slot[1].load(Acquire);
            if is(tag, place) {
                return Entry { slot, place };
            }
        }
        line = if line + 1 == lines.len() { 0 } else { line + 1 };
    }
}

fn slots(line: &Line) -> &[[AtomicU64; 2]] {
    line.0.as_chunks().0
}

/// The line of a hash, of so many; in the order of the hashes, so that copying a table goes from front to back in both.
fn choose(hash: u64, lines: usize) -> usize {
    ((u128::from(hash) * lines as u128) >> 64) as usize
}

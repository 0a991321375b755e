//! The records of "bare memory", one behind the other, as long as mapstone's; and a bit for each place at which one may begin, set while
//! it is its key's newest.
//!
//! The bits are what lets a walk from front to back tell the newest without a look at the table.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use anyhow::{Result, ensure};

use super::Pages;
use super::mapped::{LINE, Mapped};
use crate::peer::Setup;

/// Lengths of key and value, and room for what a store keeps in the rest.
const HEADER: usize = 24;
/// Records, and values in them, start at multiples of this.
const ALIGN: usize = 16;
/// What has to be read to know the key of a record.
pub const HEAD: usize = LINE;
/// The file's length; what was not reserved takes no room.
const LEN: usize = 64 << 30;
/// Reserved at once.
const SEGMENT: usize = 64 << 20;
/// What one line of the bits is for. The first line has two counters instead, so the log begins where the second does.
const START: usize = 8 * LINE * ALIGN;

pub struct Log {
    records: Mapped,
    live: Mapped,
}

impl Log {
    pub fn open(dir: &Path, setup: Setup, pages: Pages) -> Result<Log> {
        let records = Mapped::open(&dir.join("log"), LEN, setup, pages)?;
        let live = Mapped::open(&dir.join("live"), LEN / ALIGN / 8, setup, pages)?;
        let log = Log { records, live };
        if log.end().load(Relaxed) == 0 {
            log.end().store(START as u64, Relaxed);
            log.reserved().store(START as u64, Relaxed);
        }
        Ok(log)
    }

    /// Where the next record goes.
    fn end(&self) -> &AtomicU64 {
        &self.live.lines()[0].0[0]
    }

    /// How far the disk has given room.
    fn reserved(&self) -> &AtomicU64 {
        &self.live.lines()[0].0[1]
    }

    /// The bit of a place, with the word it is in.
    fn bit(&self, at: u64) -> (&AtomicU64, u64) {
        let unit = at as usize / ALIGN;
        (&self.live.lines()[unit / 512].0[unit / 64 % 8], 1 << (unit % 64))
    }

    /// Where the record is now.
    pub fn append(&self, key: &[u8], value: &[u8]) -> Result<u64> {
        let start = value_start(key.len());
        let len = (start + value.len()).next_multiple_of(ALIGN) as u64;
        let at = self.end().fetch_add(len, Relaxed);
        if at + len > self.reserved().load(Relaxed) {
            self.reserve(at + len)?;
        }
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&(key.len() as u64).to_le_bytes());
        header[8..16].copy_from_slice(&(value.len() as u64).to_le_bytes());
        self.records.write(at as usize, &header);
        self.records.write(at as usize + HEADER, key);
        self.records.write(at as usize + start, value);
        let (word, bit) = self.bit(at);
        word.store(word.load(Relaxed) | bit, Release);
        Ok(at)
    }

    #[cold]
    fn reserve(&self, end: u64) -> Result<()> {
        let reserved = self.reserved().load(Relaxed) as usize;
        let wanted = (end as usize).next_multiple_of(SEGMENT);
        ensure!(wanted <= self.records.len(), "the log is full");
        self.records.reserve(reserved..wanted)?;
        self.live.reserve(reserved / ALIGN / 8..wanted / ALIGN / 8)?;
        self.reserved().store(wanted as u64, Relaxed);
        Ok(())
    }

    /// The record is not its key's newest any more.
    pub fn retire(&self, at: u64) {
        let (word, bit) = self.bit(at);
        word.store(word.load(Relaxed) & !bit, Release);
    }

    fn header(&self, at: u64) -> (usize, usize) {
        let header = self.records.bytes(at as usize, HEADER);
        let word =
            |i| u64::from_le_bytes(header[i..i + 8].try_into().expect("eight bytes")) as usize;
        (word(0), word(8))
    }

    pub fn key(&self, at: u64) -> &[u8] {
        self.records.bytes(at as usize + HEADER, self.header(at).0)
    }

    pub fn value(&self, at: u64) -> &[u8] {
        let (key, value) = self.header(at);
        self.records.bytes(at as usize + value_start(key), value)
    }

    /// Has the cache fetch so many bytes of the record.
    pub fn prefetch(&self, at: u64, bytes: usize) {
        self.records.prefetch(at as usize, bytes);
    }

    /// Shows the values of all keys, from front to back.
    pub fn each(&self, show: &mut dyn FnMut(&[u8])) {
        let lines = (self.end().load(Acquire) as usize).div_ceil(START);
        let words = self.live.lines()[1..lines].iter().flat_map(|line| &line.0);
        for (place, word) in words.enumerate() {
            let mut bits = word.load(Acquire);
            while bits != 0 {
                let at = START + (place * 64 + bits.trailing_zeros() as usize) * ALIGN;
                show(self.value(at as u64));
                bits &= bits - 1;
            }
        }
    }
}

/// Where the value is in a record.
fn value_start(key: usize) -> usize {
    (HEADER + key).next_multiple_of(ALIGN)
}

//! Figures about a store: what the counters hold, and what its files take.

use crate::error::{Error, Result};
use crate::format::meta::Counters;
use crate::format::{cursor, index, segment};
use crate::sys::Access;

use super::Engine;
use super::locks::is_locked;

/// Figures about a store as of its last commit. All bytes are bytes of files, not of memory.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let store = mapstone::Store::open(dir.path().join("db"))?;
/// store.put("key", "value")?;
/// let stats = store.stats()?;
/// assert_eq!(stats.entries, 1);
/// assert!(stats.committed > stats.durable);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Keys that have a value, in all tables.
    pub entries: u64,
    /// Named tables.
    pub tables: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Bytes of all files of the store.
    pub file_bytes: u64,
    /// Bytes of the log's records that hold the newest version of a key.
    pub live_bytes: u64,
    /// Bytes of all other records: overwritten versions, tombstones.
    pub dead_bytes: u64,
    /// Bytes of the index file.
    pub index_bytes: u64,
    /// Position of the last commit.
    pub committed: u64,
    /// Position up to which commits are durable.
    pub durable: u64,
    /// Position of the last checkpoint: after a power cut the log is replayed from here.
    pub checkpoint: u64,
}

/// Where a store has files, by their names relative to its own directory.
const DIRS: [&str; 3] = ["", "log", cursor::DIR];

/// How often to look for counters that hold, in turns between which to look whether anyone writes.
const TURNS: u32 = 1_000;
const PATIENCE: u32 = 1_000;

impl Engine {
    /// Figures as of the last commit.
    pub(crate) fn stats(&self) -> Result<Stats> {
        // In this order none is ahead of the next one, whoever writes meanwhile.
        let (checkpoint, durable) = (self.cells.checkpoint(), self.cells.said_durable());
        // While a commit is being published neither set may hold; that takes nanoseconds, unless the writer is stopped there.
        let counters = self.settled_counters()?;
        Ok(Stats {
            entries: counters.entries,
            tables: self
                .fresh(|at| self.table_names(at).map(Some))?
                .map_or(0, |names| names.len() as u64),
            segments: self.log.numbers()?.len() as u64,
            file_bytes: DIRS.into_iter().map(|dir| self.bytes_of(dir)).sum::<Result<u64>>()?,
            live_bytes: counters.live_bytes,
            dead_bytes: self.used_bytes(&counters)?.saturating_sub(counters.live_bytes),
            index_bytes: self.index.bytes()?,
            committed: counters.position,
            durable,
            checkpoint,
        })
    }

    /// Bytes of all records that are in some segment, up to the commit that `counters` are of.
    fn used_bytes(&self, counters: &Counters) -> Result<u64> {
        let closed = self.log.numbers()?.into_iter().filter(|number| *number < counters.segment);
        let used = closed.filter_map(|number| self.usage.used(number));
        let start = counters.segment.saturating_mul(self.superblock.segment_bytes);
        let last = counters.position.saturating_sub(start.saturating_add(segment::HEADER));
        Ok(used.fold(last, u64::saturating_add))
    }

    pub(super) fn settled_counters(&self) -> Result<Counters> {
        for _ in 0..TURNS {
            if let Some(counters) = (0..PATIENCE).find_map(|_| self.cells.counters()) {
                return Ok(counters);
            }
            if self.writer.is_none() && !is_locked(&*self.disk, index::NAME)? {
                break;
            }
        }
        // One more look, since who wrote may have ended in between.
        self.cells.counters().ok_or_else(|| self.no_counters())
    }

    /// Bytes of the files in one of the store's directories.
    fn bytes_of(&self, dir: &str) -> Result<u64> {
        let names = match self.disk.list(dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            names => names.map_err(|e| Error::io("list", self.file(dir), e))?,
        };
        let mut bytes = 0;
        for name in names.iter().filter(|name| !DIRS.contains(&name.as_str())) {
            let name = if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") };
            match self.disk.open(&name, Access::Read).and_then(|file| file.len()) {
                Ok(len) => bytes += len,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io("stat", self.file(&name), e)),
            }
        }
        Ok(bytes)
    }
}

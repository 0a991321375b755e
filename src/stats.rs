//! Figures about a store, and the result of a verification.

use crate::format::position::Position;
use crate::store::{Damage, Report};

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

/// What [`Store::verify`](crate::Store::verify) has read and found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// The commit that was verified: everything up to it was read.
    pub position: Position,
    /// Segments of the log.
    pub segments: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of these records.
    pub bytes: u64,
    /// Keys that have a value.
    pub entries: u64,
    /// Index pages that the directory leads to; 0 when another process may be writing.
    pub pages: u64,
    /// Everything that is wrong.
    pub damage: Vec<Damage>,
}

impl Verification {
    /// Nothing is damaged.
    pub fn is_ok(&self) -> bool {
        self.damage.is_empty()
    }
}

impl From<Report> for Verification {
    fn from(report: Report) -> Verification {
        let Report { position, segments, records, bytes, entries, pages, damage } = report;
        Verification {
            position: Position(position),
            segments,
            records,
            bytes,
            entries,
            pages,
            damage,
        }
    }
}

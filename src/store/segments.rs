//! Figures about each segment of the log.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::format::segment;
use crate::sys::Access;

use super::Engine;

/// Figures about one segment of the log, as of some moment in the last commits.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let store = mapstone::Store::open(dir.path().join("db"))?;
/// store.put("key", "value")?;
/// store.put("key", "another")?;
/// let segments = store.segments()?;
/// assert_eq!(segments.len(), 1);
/// assert_eq!(segments[0].live_bytes.map(|live| 2 * live), segments[0].record_bytes);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentStats {
    /// Its number; positions in it start at this times the size of a segment.
    pub number: u64,
    /// The file.
    pub file: PathBuf,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of its records; None where a crash or an earlier release left that unknown.
    pub record_bytes: Option<u64>,
    /// Bytes of records that the index leads to: values, and tombstones that are still needed. None where a crash has made
    /// that doubtful, until compaction has been through the segment.
    pub live_bytes: Option<u64>,
}

impl Engine {
    /// All segments, oldest first.
    pub(crate) fn segments(&self) -> Result<Vec<SegmentStats>> {
        let committed = self.committed();
        let size = self.superblock.segment_bytes;
        let mut segments = Vec::new();
        for number in self.log.numbers()? {
            let name = segment::name(number);
            let file = self.file(&name);
            let file_bytes = match self.disk.open(&name, Access::Read).and_then(|file| file.len()) {
                Ok(bytes) => bytes,
                // Compaction was faster.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                Err(e) => return Err(Error::io("stat", file, e)),
            };
            let start = number.saturating_mul(size).saturating_add(segment::HEADER);
            let last = (start..start.saturating_add(file_bytes)).contains(&committed);
            let record_bytes = if last { Some(committed - start) } else { self.usage.used(number) };
            let live = self.usage.live(number);
            let live_bytes = live.map(|live| live.puts.saturating_add(live.tombstones));
            segments.push(SegmentStats { number, file, file_bytes, record_bytes, live_bytes });
        }
        Ok(segments)
    }
}

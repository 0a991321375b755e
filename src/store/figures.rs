//! Figures about a store: what the counters hold, and what its files take.

use crate::error::{Error, Result};
use crate::stats::Stats;
use crate::sys::Access;

use super::Engine;

/// How often to look for counters that hold.
const PATIENCE: u32 = 1_000_000;

impl Engine {
    /// Figures as of the last commit.
    pub(crate) fn stats(&self) -> Result<Stats> {
        // While a commit is being published neither set may hold; that takes nanoseconds, unless the writer is stopped there.
        let counters = (0..PATIENCE).find_map(|_| self.cells.counters()).ok_or_else(|| {
            let offset = crate::format::meta::cell::COUNTERS[0] as u64;
            Error::corrupt(self.file("meta"), offset, "counters for the last commit", "none")
        })?;
        Ok(Stats {
            entries: counters.entries,
            tables: self.table_names(counters.position)?.len() as u64,
            segments: self.log.numbers()?.len() as u64,
            file_bytes: self.bytes_of("")? + self.bytes_of("log")?,
            live_bytes: counters.live_bytes,
            dead_bytes: counters.dead_bytes,
            index_bytes: self.index.bytes()?,
            committed: counters.position,
            durable: self.cells.durable(),
            checkpoint: self.cells.checkpoint(),
        })
    }

    /// Bytes of the files in one of the store's directories.
    fn bytes_of(&self, dir: &str) -> Result<u64> {
        let names = self.disk.list(dir).map_err(|e| Error::io("list", self.file(dir), e))?;
        let mut bytes = 0;
        for name in names.iter().filter(|name| *name != "log") {
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

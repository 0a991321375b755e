//! Letting the segments go that the store has compacted away.
//!
//! To what the backup's index still leads there the store's leads no more, and no record that it has kept tells of it: the key
//! was deleted, and its tombstone is gone as well.

use crate::error::{Error, Result};
use crate::faults::{Bug, planted};
use crate::format::segment::HEADER;
use crate::log::{Record, Tail};
use crate::sys::Pin;

use super::super::{CATALOGUE, Engine, Writer};
use super::source::Source;

impl Engine {
    /// Has the index lead to nothing in the segments that are not among `segments`; returns their numbers.
    pub(super) fn sweep(
        &self,
        writer: &mut Writer,
        source: &Source<'_>,
        from: Tail,
        segments: &[u64],
    ) -> Result<Vec<u64>> {
        let mut gone = self.log.numbers()?;
        gone.retain(|number| segments.binary_search(number).is_err());
        if planted(Bug::BackupUnswept) {
            return Ok(gone);
        }
        for number in &gone {
            let pin = Pin::new();
            let log = self.log.view(&pin);
            let first = log.segment(*number)?.start() + HEADER;
            let end = match self.usage.used(*number) {
                _ if *number == from.segment => from.position,
                Some(used) => first + used,
                // No commit was ever there.
                None => first,
            };
            let mut position = first;
            while position < end {
                let record = log.record(position)?;
                self.bury_one(writer, &record, source.at)?;
                position = record.end();
            }
        }
        Ok(gone)
    }

    fn bury_one(&self, writer: &mut Writer, record: &Record<'_>, reference: u64) -> Result<()> {
        let header = record.header();
        let hash = self.hasher.hash(header.table, record.key());
        if !writer.editor.bury(&self.index, hash, record.position(), reference)? || !record.is_put()
        {
            return Ok(());
        }
        let counters = &mut writer.counters;
        let entry = u64::from(header.table != CATALOGUE);
        counters.entries = counters.entries.saturating_sub(entry);
        counters.live_bytes = counters.live_bytes.saturating_sub(header.size());
        counters.dead_bytes += header.size();
        Ok(())
    }

    /// Unlinks segments to which the index leads no more, as of a checkpoint that is durable.
    pub(super) fn remove_segments(&self, gone: &[u64]) -> Result<()> {
        for number in gone {
            self.log.retire(*number)?;
            self.usage.set_live(*number, None);
            self.usage.set_used(*number, None);
        }
        if gone.is_empty() {
            return Ok(());
        }
        self.disk.sync_dir("log").map_err(|e| Error::io("sync", self.file("log"), e))
    }
}

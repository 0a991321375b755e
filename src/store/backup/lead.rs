//! Leading the index of a backup to the records that it got, every one of which is checked here.
//!
//! In the order of the log, as a replay. But the log may have gaps where compaction has removed segments, also such as this
//! backup never had, so what a record replaces is what the index leads to and not what the record says.

use crate::error::{Error, Result};
use crate::faults::{Point, reach};
use crate::format::segment::name;
use crate::log::{Record, Tail};
use crate::sys::Pin;
use crate::usage::Live;

use super::super::commit::count;
use super::super::plan::Plan;
use super::super::progress::{Progress, Watch};
use super::super::{Engine, Writer};
use super::Backup;
use super::source::{Extent, Source};

/// Records for which index pages are reserved at once.
const RECORDS: usize = 1024;

impl Engine {
    /// Knows nothing of the segments that are new, so that they are counted from nothing.
    pub(super) fn ready_usage(&self, from: Tail, segments: &[u64]) -> Result<()> {
        self.usage.ensure(segments.last().copied().unwrap_or(0).max(from.segment))?;
        self.cells.set_counted(0);
        for number in segments.iter().copied().filter(|number| *number > from.segment) {
            self.usage.set_live(number, Some(Live::default()));
            self.usage.set_used(number, None);
        }
        Ok(())
    }

    /// Leads the index to all records of these extents.
    pub(super) fn lead(
        &self,
        writer: &mut Writer,
        source: &Source<'_>,
        extents: &[Extent],
        report: &mut Backup,
        watch: Watch<'_>,
    ) -> Result<()> {
        let total = extents.iter().map(|extent| extent.to - extent.from).sum();
        for extent in extents {
            let mut position = extent.from;
            while position < extent.to {
                writer.editor.ensure(&self.index, RECORDS)?;
                let pin = Pin::new();
                let log = self.log.view(&pin);
                for _ in 0..RECORDS {
                    if position >= extent.to {
                        break;
                    }
                    let segment = log.segment(extent.number)?;
                    let record = segment.record(position);
                    let Some(record) = record.filter(|it| source.is_right(it, extent)) else {
                        return Err(self.not_a_record(source, extent, position));
                    };
                    self.lead_one(writer, &record)?;
                    report.verified_bytes += record.end() - position;
                    position = record.end();
                }
                watch(Progress { done: report.verified_bytes, total });
            }
        }
        Ok(())
    }

    /// The bytes were copied as they are in the store, unless they are right there.
    fn not_a_record(&self, source: &Source<'_>, extent: &Extent, position: u64) -> Error {
        let rest = Extent { from: position, ..*extent };
        match source.verify_extent(&rest) {
            Err(error) => error,
            Ok(()) => self.damaged_at(extent.number, position, extent.to),
        }
    }

    pub(super) fn damaged_at(&self, number: u64, position: u64, to: u64) -> Error {
        let offset = position - number * self.superblock.segment_bytes;
        let expected = format!("records up to position {to}");
        Error::corrupt(self.file(&name(number)), offset, expected, "bytes that are no record")
    }

    fn lead_one(&self, writer: &mut Writer, record: &Record<'_>) -> Result<()> {
        let header = record.header();
        let (table, position) = (header.table, record.position());
        let hash = self.hasher.hash(table, record.key());
        let pin = Pin::new();
        let log = self.log.view(&pin);
        let found = writer.editor.locate(&self.index, hash, position, |at| {
            let other = log.record(at)?;
            Ok(other.is(table, record.key()).then_some(other))
        })?;
        let mut plan = Plan { position, ..Plan::new(hash, header.size()) };
        if let Some((place, other)) = found {
            plan.prev = other.position();
            plan.prev_size = other.header().size();
            plan.live_before = other.is_put();
            if header.prev == 0 {
                writer.editor.begin_anew(&self.index, place, hash, position)?;
            } else {
                let durable = self.cells.durable();
                writer.editor.replace(&self.index, place, hash, position, durable)?;
            }
        } else {
            writer.editor.insert(&self.index, hash, position)?;
        }
        reach(Point::ReplayRecord);
        count(&mut writer.counters, &plan, table, record.is_put());
        self.account_one(&plan, record.is_put());
        Ok(())
    }
}

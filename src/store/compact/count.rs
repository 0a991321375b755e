//! Counting what is live in a segment of which a crash has left that unknown, in steps between which writers go on.

use crate::error::Result;
use crate::format::segment::HEADER;
use crate::log::Scan;
use crate::sys::Pin;
use crate::usage::Live;

use super::super::{Engine, Writer, WriterHalf};
use super::Compaction;

/// Bytes that are counted while writers wait.
const BYTES: u64 = 256 << 10;

/// A count under way, kept by the writer: what commits overwrite before `position` is taken off again.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Recount {
    number: u64,
    start: u64,
    position: u64,
    end: u64,
    live: Live,
}

impl Recount {
    /// The index leads to the record at `position` no longer.
    pub(in crate::store) fn overwritten(&mut self, position: u64, live: Live) {
        if (self.start..self.position).contains(&position) {
            self.live = self.live.minus(live).unwrap_or_default();
        }
    }
}

impl Engine {
    /// Counts on for about `budget` bytes; false if every count is known.
    pub(super) fn count_step(
        &self,
        half: &WriterHalf,
        budget: u64,
        report: &mut Compaction,
    ) -> Result<bool> {
        let mut left = budget.max(1);
        loop {
            let mut writer = self.claim(half, half.lock_timeout)?;
            if writer.recount.is_none() {
                writer.recount = self.unknown(&writer)?;
            }
            let Some(recount) = writer.recount else { return Ok(false) };
            // Others would begin anew after each turn in between: so it takes one for all of a segment.
            let bytes = if half.shared.is_some() { u64::MAX } else { BYTES.min(left) };
            let counted = self.count_on(recount, bytes)?;
            let read = counted.position - recount.position;
            report.read += read;
            left = left.saturating_sub(read.max(1));
            if counted.position < counted.end {
                writer.recount = Some(counted);
            } else {
                writer.recount = None;
                self.usage.set_live(counted.number, Some(counted.live));
            }
            if left == 0 || writer.recount.is_none() {
                return Ok(true);
            }
        }
    }

    /// The first segment of which it is not known how much of it is live.
    fn unknown(&self, writer: &Writer) -> Result<Option<Recount>> {
        let pin = Pin::new();
        for number in self.log.numbers()? {
            if number >= writer.counters.segment || self.usage.live(number).is_some() {
                continue;
            }
            let Some(end) = self.end_of_records(number)? else { continue };
            let start = self.log.view(&pin).segment(number)?.start() + HEADER;
            let live = Live::default();
            return Ok(Some(Recount { number, start, position: start, end, live }));
        }
        Ok(None)
    }

    fn count_on(&self, from: Recount, bytes: u64) -> Result<Recount> {
        let pin = Pin::new();
        let mut scan = Scan::new(self.log.view(&pin), from.number, from.position)?;
        let mut recount = from;
        while recount.position < from.end.min(from.position.saturating_add(bytes)) {
            let Some(record) = scan.step()? else {
                let expected = format!("records up to position {}", from.end);
                return Err(self.missing(scan.segment(), scan.position(), expected));
            };
            recount.position = scan.position().min(from.end);
            if self.leads_to(&record)? {
                let live = Live::of(record.is_put(), record.header().size());
                recount.live = recount.live.plus(live).unwrap_or_default();
            }
        }
        Ok(recount)
    }
}

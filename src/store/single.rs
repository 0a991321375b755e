//! A commit of one operation, as most are: planned, reserved, written, applied and published by itself. The value is written in its
//! place in the mapped log, by the caller's code if that is asked for.

use crate::error::Result;
use crate::faults::{Point, reach};
use crate::format::PAGE;
use crate::log::{Tail, View};
use crate::sys::Pin;

use super::commit::{count, header};
use super::{DEFAULT_TABLE, Engine, Op, Writer, WriterHalf};

/// Wipes a record's bytes unless it was finished: a caller's closure may panic.
struct Wipe<'a> {
    log: View<'a>,
    position: u64,
    size: u64,
    finished: bool,
}

impl Drop for Wipe<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.finished {
            self.wipe();
        }
    }
}

impl Wipe<'_> {
    #[cold]
    fn wipe(&self) {
        // The segment is mapped, so this cannot fail.
        let _ = self.log.wipe(self.position, self.size);
        reach(Point::AppendWiped);
    }
}

impl Engine {
    /// Commits one put whose `len` bytes of value `fill` writes; they are zero before.
    pub(crate) fn put_with(
        &self,
        table: u32,
        key: &[u8],
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<u64> {
        let mut turn = self.turn()?;
        let half = turn.half();
        let op = Op { table, key, value: Some(&[]) };
        let lent = |bytes: &mut [u8]| {
            let _loan = half.lend();
            reach(Point::AppendLent);
            fill(bytes);
        };
        let durable = half.is_durable(None);
        let committed = self.commit_single(half, &mut turn, &op, len, durable, lent);
        turn.end(self.or_lost(half, committed)?, None)
    }

    /// Commits one operation under the writer lock, a put with `len` bytes of value that `fill` writes, or a delete; `durable` if
    /// a sync comes next.
    #[inline]
    pub(super) fn commit_single(
        &self,
        half: &WriterHalf,
        writer: &mut Writer,
        op: &Op<'_>,
        len: usize,
        durable: bool,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<u64> {
        if op.table != DEFAULT_TABLE {
            self.require_table(writer, op.table)?;
        }
        let pin = Pin::new();
        let reader = self.reader(&pin);
        let log = reader.log;
        let mut plan = reader.plan_single(writer, op, len)?;
        self.check_mappings(half)?;
        if plan.skip {
            return Ok(writer.counters.position);
        }
        self.check_span(half, writer.tail.position, op.value.is_none())?;
        self.ensure_pages(&mut writer.editor, usize::from(plan.place.is_none()))?;
        reach(Point::AppendPlanned);
        // Invariant I1: space before the first byte.
        let tail = self.reserve(half, writer, log, std::slice::from_mut(&mut plan))?;
        reach(Point::SpaceReserved);
        if writer.tail.segment != tail.segment {
            // The log goes on in the new segment whatever becomes of this record.
            writer.tail = Tail { position: plan.position, segment: tail.segment };
        }
        let mut wipe = Wipe { log, position: plan.position, size: plan.size, finished: false };
        reach(Point::AppendLast);
        let header = header(&plan, op, len, true);
        if durable && self.is_cheaper_by_file(writer, plan.size) {
            log.write_by_file(plan.position, header, op.key, &mut writer.staged, fill)?;
        } else {
            log.write(plan.position, header, op.key, fill)?;
        }
        self.check_mappings(half)?;
        wipe.finished = true;
        // Invariant I2: the commit mark stands before the index leads to the record.
        writer.tail = tail;
        writer.unfinished = true;
        reach(Point::AppendMarked);
        let mut counters = writer.counters;
        self.apply(writer, &plan)?;
        reach(Point::ApplySlot);
        let put = op.value.is_some();
        count(&mut counters, &plan, op.table, put);
        self.check_mappings(half)?;
        self.publish(writer, counters);
        self.account(writer, std::iter::once((&plan, put)));
        Ok(tail.position)
    }

    /// A record that is synced next is written by the file at less cost than by the mapping: a store to a page that was synced
    /// since the last one takes a page fault, and the sync then has to take the right to store there out of the page table again.
    fn is_cheaper_by_file(&self, writer: &Writer, size: u64) -> bool {
        size <= PAGE && self.cells.durable() >= writer.tail.position
    }
}

//! Writing a value in place: the caller fills the reserved bytes of the mapped log.

use crate::error::Result;
use crate::faults::{Point, reach};
use crate::format::record;
use crate::log::View;
use crate::sys::Pin;

use super::commit::{count, header};
use super::{Engine, Op};

/// Wipes a record's bytes unless it was finished: the caller's closure may panic.
struct Wipe<'a> {
    log: View<'a>,
    position: u64,
    size: u64,
    finished: bool,
}

impl Drop for Wipe<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // The segment is mapped, so this cannot fail.
            let _ = self.log.wipe(self.position, self.size);
            reach(Point::AppendWiped);
        }
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
        let mut writer = self.turn()?;
        let half = writer.half();
        writer.require(table)?;
        let op = Op { table, key, value: Some(&[]) };
        let pin = Pin::new();
        let reader = self.reader(&pin);
        let mut plan = self.or_lost(half, reader.plan_single(&writer, &op))?;
        plan.size = record::size(key.len(), len);
        self.check_span(half, writer.tail.position, false)?;
        writer.editor.ensure(&self.index, 1)?;
        let plans = std::slice::from_mut(&mut plan);
        let tail = self.reserve(half, &writer, plans)?;
        let mut header = header(&plan, &op, true);
        header.value_len = u32::try_from(len).expect("checked at the door");
        if writer.tail.segment != tail.segment {
            // The log goes on in the new segment whatever becomes of this record.
            writer.tail = crate::log::Tail { position: plan.position, segment: tail.segment };
        }
        let mut wipe =
            Wipe { log: reader.log, position: plan.position, size: plan.size, finished: false };
        reach(Point::AppendLent);
        let loan = writer.lend();
        reader.log.write(plan.position, header, key, fill)?;
        drop(loan);
        self.check_mappings(half)?;
        wipe.finished = true;
        writer.tail = tail;
        writer.unfinished = true;
        let mut counters = writer.counters;
        self.apply(&mut writer, &plan)?;
        count(&mut counters, &plan, table, true);
        self.check_mappings(half)?;
        self.publish(&mut writer, counters);
        self.account(&mut writer, std::iter::once((&plan, true)));
        writer.end(tail.position, None)
    }
}

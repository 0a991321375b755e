//! A commit of one operation, as most are: planned, reserved, written, applied and published by itself. The value is written in its
//! place in the mapped log, by the caller's code if that is asked for.
//!
//! It waits for memory twice, for the key's slot and for the record that is overwritten. So the slot is asked for before the turn
//! begins, and the new record is written while the old one comes, which nearly always says what the slot let expect.

use std::sync::atomic::Ordering::Relaxed;

use crate::error::Result;
use crate::faults::{Point, reach};
use crate::format::PAGE;
use crate::format::hash::Hash;
use crate::format::record::{self, Before};
use crate::index::First;
use crate::log::{Tail, View};
use crate::options::Durability;
use crate::sys::Pin;

use super::commit::{count, header};
use super::plan::{Look, Plan};
use super::{DEFAULT_TABLE, Engine, Op, Reader, Writer, WriterHalf};

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

/// An operation that is committed by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Single<'a> {
    op: Op<'a>,
    /// Bytes of value.
    len: usize,
    hash: Hash,
    /// A sync comes next.
    durable: bool,
}

impl Engine {
    /// Commits `op` by itself and returns the position at which it is visible.
    pub(super) fn commit_alone(&self, op: Op<'_>, durability: Option<Durability>) -> Result<u64> {
        let single = self.expect(op, op.value_len(), durability);
        self.turn()?.commit_single(&single, durability, copy(&op))
    }

    /// Deletes one key; false if it had no value.
    pub(crate) fn delete(&self, table: u32, key: &[u8]) -> Result<bool> {
        let op = Op { table, key, value: None };
        let single = self.expect(op, 0, None);
        let turn = self.turn()?;
        let before = turn.position();
        Ok(turn.commit_single(&single, None, copy(&op))? != before)
    }

    /// Commits one put whose `len` bytes of value `fill` writes; they are zero before.
    pub(crate) fn put_with(
        &self,
        table: u32,
        key: &[u8],
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<u64> {
        let single = self.expect(Op { table, key, value: Some(&[]) }, len, None);
        let turn = self.turn()?;
        let half = turn.half();
        turn.commit_single(&single, None, |bytes| {
            let _loan = half.lend();
            reach(Point::AppendLent);
            fill(bytes);
        })
    }

    /// Asks for the line in which a key's slot is likely to be, while a turn is waited for and begun.
    #[inline]
    fn expect<'a>(&self, op: Op<'a>, len: usize, durability: Option<Durability>) -> Single<'a> {
        let hash = self.hasher.hash(op.table, op.key);
        let half = self.writer.as_ref();
        let durable = half.is_some_and(|half| half.is_durable(durability));
        // Nothing is touched before the files have been looked at, or once they have been found to be gone.
        let there = half.is_some_and(|half| half.begun.load(Relaxed) && !half.syncer.poisoned());
        if there
            && !durable
            && let Some(probe) = self.index.enter(self.index.begin(hash))
        {
            self.index.prefetch_page_to_store(&probe);
        }
        Single { op, len, hash, durable }
    }

    /// Commits one operation under the writer lock; `durable` if a sync comes next.
    pub(super) fn commit_one(
        &self,
        half: &WriterHalf,
        writer: &mut Writer,
        op: &Op<'_>,
        durable: bool,
    ) -> Result<u64> {
        let hash = self.hasher.hash(op.table, op.key);
        let single = Single { op: *op, len: op.value_len(), hash, durable };
        self.commit_single(half, writer, &Pin::new(), &single, copy(op))
    }

    /// Commits one operation under the writer lock, a put whose value `fill` writes, or a delete.
    #[inline]
    pub(super) fn commit_single(
        &self,
        half: &WriterHalf,
        writer: &mut Writer,
        pin: &Pin,
        single: &Single<'_>,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<u64> {
        let op = &single.op;
        if op.table != DEFAULT_TABLE {
            self.require_table(writer, op.table)?;
        }
        let reader = self.reader(pin);
        let size = record::size(op.key.len(), single.len);
        let mut plan = Plan::new(single.hash, size);
        let guess = self.plan_or_guess(half, writer, reader, single, &mut plan)?;
        if plan.skip {
            return Ok(writer.counters.position);
        }
        self.check_span(half, writer.tail.position, op.value.is_none())?;
        reach(Point::AppendPlanned);
        // Invariant I1: space before the first byte.
        let tail = self.reserve(half, writer, reader.log, std::slice::from_mut(&mut plan))?;
        reach(Point::SpaceReserved);
        if writer.tail.segment != tail.segment {
            // The log goes on in the new segment whatever becomes of this record.
            writer.tail = Tail { position: plan.position, segment: tail.segment };
        }
        let (log, position) = (reader.log, plan.position);
        let mut wipe = Wipe { log, position, size, finished: false };
        reach(Point::AppendLast);
        reader.write_single(writer, single, &mut plan, guess.as_ref(), fill)?;
        self.check_mappings(half)?;
        wipe.finished = true;
        // Invariant I2: the commit mark stands before the index leads to the record.
        writer.tail = tail;
        writer.unfinished = true;
        reach(Point::AppendMarked);
        self.show(half, writer, op, &plan)?;
        Ok(tail.position)
    }

    /// Plans an operation, or else returns a look at its slot that leads, in all likelihood, to the version before this one; and has
    /// index pages for it.
    #[inline]
    fn plan_or_guess(
        &self,
        half: &WriterHalf,
        writer: &Writer,
        reader: Reader<'_>,
        single: &Single<'_>,
        plan: &mut Plan,
    ) -> Result<Option<Look>> {
        let look = reader.look_alone(plan, writer.tail.position);
        let likely = single.op.value.is_some() && matches!(look, (_, First::Candidate(..)));
        // Who waits for a disk does not wait for memory.
        if likely && !single.durable && self.ensure_pages(&writer.editor, 1).is_ok() {
            return Ok(Some(look));
        }
        reader.plan_one(writer, plan, &single.op, &look)?;
        self.check_mappings(half)?;
        self.ensure_pages(&writer.editor, usize::from(!plan.skip && plan.place.is_none()))?;
        Ok(None)
    }

    /// Leads the index to a record that has its commit mark, and shows it to everyone.
    #[inline]
    fn show(&self, half: &WriterHalf, writer: &mut Writer, op: &Op<'_>, plan: &Plan) -> Result<()> {
        let (mut counters, put) = (writer.counters, op.value.is_some());
        self.apply(writer, plan)?;
        reach(Point::ApplySlot);
        count(&mut counters, plan, op.table, put);
        self.check_mappings(half)?;
        self.publish(writer, counters);
        self.account(writer, std::iter::once((plan, put)));
        Ok(())
    }
}

impl Reader<'_> {
    /// Writes the record, and completes the plan meanwhile if that was guessed, which that of a durable one is not.
    #[inline]
    fn write_single(
        self,
        writer: &mut Writer,
        single: &Single<'_>,
        plan: &mut Plan,
        guess: Option<&Look>,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        if single.durable && self.is_cheaper_by_file(writer, plan.size)
            || self.is_coarse(writer, plan.size)
        {
            return self.write_single_by_file(writer, single, plan, guess, fill);
        }
        let (op, position) = (&single.op, plan.position);
        let mut header = header(plan, op, single.len, true);
        if let Some((_, First::Candidate(_, prev))) = guess {
            header = header.after(Before { prev: *prev, live: true });
        }
        let settle = || self.settle(writer, op, plan, guess);
        self.log.write_settled(position, header, op.key, fill, settle)
    }

    /// The same by the file, once the plan is complete.
    #[inline(never)]
    fn write_single_by_file(
        self,
        writer: &mut Writer,
        single: &Single<'_>,
        plan: &mut Plan,
        guess: Option<&Look>,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        let op = &single.op;
        self.settle(writer, op, plan, guess)?;
        let header = header(plan, op, single.len, true);
        self.log.write_by_file(plan.position, header, op.key, &mut writer.staged, fill)
    }

    /// What the record has to say about the version before, once the plan is complete.
    #[inline]
    fn settle(
        self,
        writer: &Writer,
        op: &Op<'_>,
        plan: &mut Plan,
        guess: Option<&Look>,
    ) -> Result<Before> {
        if let Some(look) = guess {
            self.plan_one(writer, plan, op, look)?;
        }
        Ok(plan.before())
    }

    /// A record that is synced next is written by the file at less cost than by the mapping: a store to a page that was synced
    /// since the last one takes a page fault, and the sync then has to take the right to store there out of the page table again.
    fn is_cheaper_by_file(self, writer: &Writer, size: u64) -> bool {
        size <= PAGE && self.engine.cells.durable() >= writer.tail.position
    }
}

/// Puts the value of an operation into its place.
#[inline]
fn copy<'a>(op: &Op<'a>) -> impl FnOnce(&mut [u8]) + use<'a> {
    let value = op.value.unwrap_or_default();
    move |to| to.copy_from_slice(value)
}

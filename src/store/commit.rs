//! The write path: plan, reserve, write the records and their commit mark, apply to the index, publish.

use std::sync::atomic::Ordering::Relaxed;

use crate::error::{Error, Result};
use crate::faults::{Bug, Point, planted, reach};
use crate::format::meta::Counters;
use crate::format::record::{Header, Kind};
use crate::index::Editor;
use crate::log::{Draft, LITTLE, Tail, View};
use crate::options::Durability;
use crate::sys::Pin;

use super::plan::Plan;
use super::{CATALOGUE, DEFAULT_TABLE, Engine, Op, Reader, Writer, WriterHalf};

/// So many operations before a slot is changed its line is asked for: planning the rest of a large batch has thrown it out of the
/// nearest caches.
const SOON: usize = 8;

impl Engine {
    /// Commits `ops` as one batch and returns the position at which they are visible.
    pub(crate) fn commit(&self, ops: &[Op<'_>], durability: Option<Durability>) -> Result<u64> {
        match ops {
            [op] => self.commit_alone(*op, durability),
            ops => self.turn()?.commit(ops, durability),
        }
    }

    /// Waits for durability if asked to, and has a checkpoint made if one is due.
    #[inline]
    pub(super) fn after_commit(
        &self,
        half: &WriterHalf,
        committed: u64,
        garbage: bool,
        durability: Option<Durability>,
    ) -> Result<()> {
        if half.is_durable(durability) {
            // The commit stands: who is told that it has failed must not go on as if it did not.
            self.sync_with_others(half, committed).inspect_err(|_| half.syncer.poison())?;
        }
        self.checkpoint_if_due(half, committed, garbage)
    }

    /// What every write starts with, under the writer lock.
    #[inline]
    pub(super) fn prepare(&self, half: &WriterHalf, writer: &mut Writer) -> Result<()> {
        half.syncer.check()?;
        self.check_mappings(half)?;
        if writer.unfinished || writer.clean { self.begin_again(half, writer) } else { Ok(()) }
    }

    /// What the first write after an open starts with, and the first after one that found the disk full.
    #[cold]
    fn begin_again(&self, half: &WriterHalf, writer: &mut Writer) -> Result<()> {
        if writer.unfinished {
            self.finish(writer)?;
        }
        if writer.clean {
            self.check_files(half)?;
            self.unmark_clean(half)?;
            writer.clean = false;
        }
        Ok(())
    }

    /// Commits under the writer lock; `durable` if a sync comes next.
    #[inline]
    pub(super) fn commit_locked(
        &self,
        writer: &mut Writer,
        ops: &[Op<'_>],
        durable: bool,
    ) -> Result<u64> {
        let half = self.writer()?;
        let committed = match ops {
            [op] => self.commit_one(half, writer, op, durable),
            ops => self.commit_batch(half, writer, ops),
        };
        self.or_lost(half, committed)
    }

    fn commit_batch(&self, half: &WriterHalf, writer: &mut Writer, ops: &[Op<'_>]) -> Result<u64> {
        let mut known = DEFAULT_TABLE;
        for op in ops {
            if op.table != known {
                self.require_table(writer, op.table)?;
                known = op.table;
            }
        }
        let pin = Pin::new();
        let reader = self.reader(&pin);
        let new_keys = reader.plan(writer, ops)?;
        self.check_mappings(half)?;
        let Some(last) = writer.plans.plans.iter().rposition(|plan| !plan.skip) else {
            return Ok(writer.counters.position);
        };
        let deletes = ops.iter().all(|op| op.value.is_none());
        self.check_span(half, writer.tail.position, deletes)?;
        self.ensure_pages(&writer.editor, new_keys)?;
        reach(Point::AppendPlanned);
        let mut plans = std::mem::take(&mut writer.plans.plans);
        let result = reader.append(half, writer, &mut plans, ops, last);
        writer.plans.plans = plans;
        result
    }
}

impl Reader<'_> {
    fn append(
        self,
        half: &WriterHalf,
        writer: &mut Writer,
        plans: &mut [Plan],
        ops: &[Op<'_>],
        last: usize,
    ) -> Result<u64> {
        // Invariant I1: space for the whole batch before its first byte.
        let tail = self.engine.reserve(half, writer, self.log, plans)?;
        reach(Point::SpaceReserved);
        let early = planted(Bug::ApplyBeforeMark);
        for (i, (plan, op)) in plans.iter().zip(ops).enumerate() {
            if !plan.skip {
                let value = op.value.unwrap_or_default();
                let header = header(plan, op, value.len(), i == last);
                reach(if header.commit { Point::AppendLast } else { Point::AppendRecord });
                let (position, fill) = (plan.position, |to: &mut [u8]| to.copy_from_slice(value));
                if self.is_coarse(writer, plan.size) {
                    self.log.write_by_file(position, header, op.key, &mut writer.staged, fill)?;
                } else {
                    self.log.write(position, header, op.key, fill)?;
                }
                if early {
                    self.engine.apply(writer, plan)?;
                }
            }
        }
        self.engine.check_mappings(half)?;
        // Invariant I2: the commit mark stands before the index leads to any record of the batch.
        writer.tail = tail;
        writer.unfinished = true;
        reach(Point::AppendMarked);
        let mut counters = writer.counters;
        for (i, (plan, op)) in plans.iter().zip(ops).enumerate() {
            if let Some(place) = plans.get(i + SOON).and_then(|next| next.place.or(next.vacant)) {
                Editor::prefetch(&self.engine.index, place);
            }
            if plan.skip {
                continue;
            }
            if !early {
                self.engine.apply(writer, plan)?;
            }
            reach(Point::ApplySlot);
            count(&mut counters, plan, op.table, op.value.is_some());
        }
        self.engine.check_mappings(half)?;
        self.engine.publish(writer, counters);
        let used = plans.iter().zip(ops).filter(|(plan, _)| !plan.skip);
        self.engine.account(writer, used.map(|(plan, op)| (plan, op.value.is_some())));
        Ok(writer.counters.position)
    }

    /// A record of this size makes much more dirty than it has if it is stored by the mapping, and is written by the file instead.
    #[inline]
    pub(super) fn is_coarse(self, writer: &Writer, size: u64) -> bool {
        writer.tail.position < writer.coarse
            && size <= LITTLE
            && self.log.coarse(writer.tail) > writer.tail.position
    }
}

impl Engine {
    /// Reserves log space for all records; on failure everything is as before, or else the handle is poisoned.
    pub(super) fn reserve(
        &self,
        half: &WriterHalf,
        writer: &mut Writer,
        log: View<'_>,
        plans: &mut [Plan],
    ) -> Result<Tail> {
        let tail = match self.reserve_here(log, writer.tail, plans) {
            Some(tail) => tail,
            None => {
                let tail = self.with_space(|| self.reserve_beyond(half, writer, plans))?;
                writer.coarse = log.coarse(tail);
                tail
            }
        };
        log.announce(writer.tail, tail);
        Ok(tail)
    }

    /// The same whatever has to be done for it.
    fn reserve_beyond(
        &self,
        half: &WriterHalf,
        writer: &Writer,
        plans: &mut [Plan],
    ) -> Result<Tail> {
        let draft = self.log.draft(writer.tail, self.cells.durable());
        let mut draft = draft.inspect_err(|error| self.poison_by(half, error))?;
        let mut checked = false;
        for plan in plans.iter_mut().filter(|plan| !plan.skip) {
            if !checked && !draft.fits(plan.size) {
                // Before a segment gets a name among files that may be another writer's.
                self.check_files(half)?;
                checked = true;
            }
            match draft.reserve(plan.size) {
                Ok(position) => plan.position = position,
                Err(error) => {
                    draft.give_up().inspect_err(|_| half.syncer.poison())?;
                    return Err(error);
                }
            }
        }
        self.begun(draft, writer.tail.segment)
    }

    /// The same if all of them fit into the segment in which the log ends, and nothing has to be done for that.
    #[inline]
    fn reserve_here(&self, log: View<'_>, tail: Tail, plans: &mut [Plan]) -> Option<Tail> {
        let end = log.room(tail, self.cells.durable())?;
        let mut position = tail.position;
        for plan in plans.iter_mut().filter(|plan| !plan.skip) {
            plan.position = position;
            position = position.checked_add(plan.size).filter(|after| *after <= end)?;
        }
        Some(Tail { position, ..tail })
    }

    /// Reserves index pages for so many new keys.
    #[inline]
    pub(super) fn ensure_pages(&self, editor: &Editor, keys: usize) -> Result<()> {
        self.with_space(|| editor.ensure(&self.index, keys))
    }

    /// Takes what a draft has reserved, after the words that its segments need are there as well.
    fn begun(&self, draft: Draft<'_>, before: u64) -> Result<Tail> {
        let last = draft.last_segment();
        if last != before
            && let Err(error) = self.usage.ensure(last)
        {
            draft.give_up().or_else(|left| {
                self.writer()?.syncer.poison();
                Err(left)
            })?;
            return Err(error);
        }
        let tail = draft.take();
        self.account_segments(before, tail.segment)?;
        Ok(tail)
    }

    /// Leads the index to one record that is in the log.
    pub(super) fn apply(&self, writer: &mut Writer, plan: &Plan) -> Result<()> {
        let Some(mut place) = plan.place else {
            if let Some(vacant) = plan.vacant
                && writer.editor.fill(&self.index, vacant, plan.hash, plan.position)?
            {
                return Ok(());
            }
            return writer.editor.insert(&self.index, plan.hash, plan.position);
        };
        if writer.editor.stale(&self.index, plan.hash, place) {
            // A split in this batch has moved the slot; it still holds the version that was planned for.
            let reference = writer.tail.position;
            let found = writer.editor.locate(&self.index, plan.hash, reference, |position| {
                Ok((position == plan.prev).then_some(()))
            })?;
            // A split keeps every slot, unless its page was damaged.
            place = found.ok_or_else(|| self.index.damaged(plan.hash))?.0;
        }
        let durable = self.cells.durable();
        writer.editor.replace(&self.index, place, plan.hash, plan.position, durable)
    }

    /// Shows everyone what was appended and applied.
    #[inline]
    pub(super) fn publish(&self, writer: &mut Writer, mut counters: Counters) {
        counters.position = writer.tail.position;
        counters.segment = writer.tail.segment;
        counters.pages = writer.editor.live();
        writer.counters = counters;
        writer.unfinished = false;
        self.cells.publish(&counters);
        if let Some(half) = &self.writer {
            half.begun.store(true, Relaxed);
            half.bell.ring();
        }
    }

    /// Fails unless `table` exists.
    pub(super) fn require_table(&self, writer: &mut Writer, table: u32) -> Result<()> {
        if table == CATALOGUE || table == DEFAULT_TABLE || writer.tables.contains(&table) {
            return Ok(());
        }
        if self.table_name(table, writer.counters.position)?.is_none() {
            return Err(Error::NoSuchTable { name: format!("#{table}") });
        }
        writer.tables.insert(table);
        Ok(())
    }
}

/// The header of the record that an operation with `len` bytes of value becomes.
#[inline]
pub(super) fn header(plan: &Plan, op: &Op<'_>, len: usize, commit: bool) -> Header {
    Header {
        crc: 0,
        kind: if op.value.is_some() { Kind::Put } else { Kind::Tombstone },
        commit,
        live_before: plan.live_before,
        relocated: false,
        table: op.table,
        key_len: u16::try_from(op.key.len()).expect("checked at the door"),
        value_len: u32::try_from(len).expect("checked at the door"),
        prev: plan.prev,
    }
}

/// Counts one record: what it adds, and what the version before it no longer does.
pub(super) fn count(counters: &mut Counters, plan: &Plan, table: u32, put: bool) {
    let entry = u64::from(table != CATALOGUE);
    if plan.live_before {
        counters.entries = counters.entries.saturating_sub(entry);
        counters.live_bytes = counters.live_bytes.saturating_sub(plan.prev_size);
        counters.dead_bytes += plan.prev_size;
    }
    if put {
        counters.entries += entry;
        counters.live_bytes += plan.size;
    } else {
        counters.dead_bytes += plan.size;
    }
}

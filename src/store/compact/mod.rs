//! Compaction: what is live in a segment moves to the end of the log, and the segment goes.
//!
//! In small steps, each of which leaves the store whole. A segment is gone through from end to end, so that nothing is removed
//! because of a count; what it leads to is moved by ordinary commits. Then it waits: for the snapshots that may still need
//! it, for a checkpoint that leads past it.

mod count;
mod index;
mod pick;
mod relocate;
mod retire;

use std::sync::PoisonError;

use crate::error::{Error, Result};
use crate::index::Tidied;
use crate::sys::sync::MutexGuard;

use super::{Engine, WriterHalf};
pub(super) use count::Recount;
use relocate::Pass;
use retire::Drained;

/// What compaction has done and what is left, as told by [`Store::compact_step`](crate::Store::compact_step).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compaction {
    /// Bytes of the log that were read.
    pub read: u64,
    /// Bytes of records that were moved.
    pub moved: u64,
    /// Bytes of segments that were removed.
    pub freed: u64,
    /// Segments that could go, but for a snapshot that may need them.
    pub held: u64,
    /// There is nothing left to do now.
    pub done: bool,
}

/// Where compaction is. Nothing of it is stored: after a crash it begins anew, and what was moved is dead where it was.
#[derive(Debug, Default)]
pub(super) struct Compactor {
    pass: Option<Pass>,
    /// Segments to which nothing leads any more, oldest first.
    drained: Vec<Drained>,
    round: pick::Round,
    tidying: Option<index::Tidying>,
    /// The commit as of which nothing more could be merged.
    tidied: Option<u64>,
    /// The commit as of which no page could be moved to the front.
    moved: Option<u64>,
    /// Compaction in the background has begun and goes on below its threshold for a while.
    eager: bool,
    /// More than half of the log is dead.
    behind: bool,
}

/// How much garbage is worth the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// All that can be won at a sensible price.
    Thorough,
    /// Only when this many percent of the log are dead.
    Above(u8),
}

impl Engine {
    pub(super) fn compactor<'a>(&self, half: &'a WriterHalf) -> MutexGuard<'a, Compactor> {
        half.compactor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log has more dead bytes than live ones, as of the last time that a segment was chosen.
    pub(super) fn is_behind(&self) -> bool {
        self.writer().is_ok_and(|half| self.compactor(half).behind)
    }

    /// One step of compaction, which reads about `budget` bytes of the log.
    pub(crate) fn compact_step(&self, effort: Effort, budget: u64) -> Result<Compaction> {
        let half = self.writer()?;
        half.lender.check()?;
        let compactor = &mut *self.compactor(half);
        let _others = self.lock_compaction(half)?;
        if half.shared.is_some() {
            self.forget_gone(compactor)?;
        }
        if self.is_usage_lost() {
            // Before segments go whose headers tell where others end.
            self.mend_usage(self.claim(half, half.lock_timeout)?.counters.segment)?;
        }
        match self.next_step(half, compactor, effort, budget) {
            Err(full @ Error::Full { .. }) => match self.make_room(half, compactor)? {
                0 => Err(full),
                freed => Ok(Compaction { freed, ..Compaction::default() }),
            },
            result => result,
        }
    }

    fn next_step(
        &self,
        half: &WriterHalf,
        compactor: &mut Compactor,
        effort: Effort,
        budget: u64,
    ) -> Result<Compaction> {
        let mut report = Compaction::default();
        report.freed += self.retire(half, compactor)?;
        if report.freed > 0 {
            return Ok(report);
        }
        if let Some(mut pass) = compactor.pass.take() {
            let end = self.advance(half, compactor, &mut pass, budget, &mut report)?;
            if !end {
                compactor.pass = Some(pass);
            }
            return Ok(report);
        }
        if self.count_step(half, budget, &mut report)? || self.settle_drained(half, compactor)? {
            return Ok(report);
        }
        let durable = half.durable_sequence();
        let waiting = compactor.drained.iter().filter(|it| it.waits_for_checkpoint(durable));
        let waiting = waiting.filter_map(|drained| self.usage.used(drained.number()));
        // A checkpoint writes all of the index, so it has to set free a good part of what that leads to.
        if 4 * waiting.sum::<u64>() > self.cells.counters().map_or(0, |it| it.live_bytes) {
            self.checkpoint()?;
            return Ok(report);
        }
        if let Some(number) = self.pick(half, compactor, effort)? {
            compactor.pass = self.begin_pass(compactor, number)?;
            return Ok(report);
        }
        if compactor.drained.iter().any(|drained| drained.waits_for_checkpoint(durable)) {
            self.checkpoint()?;
            return Ok(report);
        }
        // Once all tombstones are buried that can be: they fill pages.
        if self.tidy_step(half, compactor)? {
            return Ok(report);
        }
        if self.index_is_untidy(half) {
            self.checkpoint()?;
            return Ok(report);
        }
        report.held = compactor.drained.len() as u64;
        report.done = true;
        Ok(report)
    }
}

impl Engine {
    /// Forgets segments that another handle has removed. All else stays as true as it was: nothing leads to what has been drained,
    /// whoever compacts or commits meanwhile, and nothing dead comes to life in what was passed.
    fn forget_gone(&self, compactor: &mut Compactor) -> Result<()> {
        if compactor.drained.is_empty() && compactor.pass.is_none() {
            return Ok(());
        }
        let numbers = self.log.numbers()?;
        let is_there = |number: u64| numbers.binary_search(&number).is_ok();
        compactor.drained.retain(|drained| is_there(drained.number()));
        compactor.pass = compactor.pass.take().filter(|pass| is_there(pass.number()));
        Ok(())
    }
}

impl Compactor {
    /// The segment is on its way out.
    fn has(&self, number: u64) -> bool {
        self.drained.iter().any(|drained| drained.number() == number)
            || self.pass.as_ref().is_some_and(|pass| pass.number() == number)
    }
}

impl Compaction {
    /// Adds what another step did; whether there is more to do is as of the later one.
    pub(crate) fn and(self, later: Compaction) -> Compaction {
        Compaction {
            read: self.read + later.read,
            moved: self.moved + later.moved,
            freed: self.freed + later.freed,
            ..later
        }
    }
}

/// Tidying that has not begun.
fn untouched() -> Tidied {
    Tidied::start()
}

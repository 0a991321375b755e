//! Verification: read everything, believe nothing, say what is wrong where.
//!
//! Records carry checksums; the index and the live cells do not, since they change in place. They are checked against the log:
//! every record's key must lead to that record or a later version of it, every slot to a record that the log holds, and what
//! the cells count must be what is there. What a power cut would fall back on is checked as well: the pages that only the
//! checkpoint still names, and the older version in each slot.

mod cells;
mod checkpoints;
mod log;
mod pages;
mod report;
mod space;

pub use report::{Damage, Verification};

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use crate::error::Result;
use crate::format::index;
use crate::format::meta::{Counters, Superblock};
use crate::format::position::Position;
use crate::index::Captured;
use crate::log::{Log, View};
use crate::sys::{Access, Pin};

use super::locks::is_locked;
use super::{Engine, clean};
use log::Totals;
use pages::Pages;
use report::Findings;

/// What a verification goes by: the store as of one commit.
struct Scope<'a> {
    engine: &'a Engine,
    /// Mappings of its own: a segment after the last commit may be replaced before the log gets there.
    log: View<'a>,
    /// The commit: records that end after it are not judged.
    at: u64,
    counters: Option<Counters>,
    /// The words of `usage` are as of this commit.
    usage_is_known: bool,
    /// The store was closed cleanly, and nothing has changed since.
    clean: bool,
    /// The handle is the writer's, and the writer waits.
    ours: bool,
    /// No commit is on its way.
    settled: bool,
}

/// The newest durable checkpoint: what a power cut would fall back on.
struct Fallback {
    directory: Captured,
    /// Its directory leads to every version before this.
    position: u64,
    /// The pages that it names.
    named: HashSet<u32>,
}

impl Engine {
    /// Reads every record, page, slot and checkpoint. Writers wait, if this handle is theirs; through a read-only handle
    /// beside a live writer only what was committed at the start is judged.
    pub(crate) fn verify(&self) -> Result<Verification> {
        // In the order in which a checkpoint takes them.
        // In a forked child the locks may be those of a thread that is only in the parent.
        let half = self.writer().ok();
        half.map_or(Ok(()), |half| half.lender.check())?;
        let _still = half.map(|half| self.compactor(half));
        let _nobody = half.map(|half| self.lock_compaction(half)).transpose()?;
        let _one =
            half.map(|half| half.checkpointer.lock().unwrap_or_else(PoisonError::into_inner));
        let _others = half.map(|half| self.lock_checkpoints(half)).transpose()?;
        let writer = half.map(|half| self.claim(half, half.lock_timeout)).transpose()?;
        // A writer elsewhere may compact. Where nothing can be marked, that is what is found.
        let hold = half.is_none().then(|| self.hold_on().ok()).flatten();
        let (log, pin) = (self.fresh_log(), Pin::new());
        let at = hold.as_ref().map_or_else(|| self.committed(), |hold| hold.at);
        let clean = clean::read(self.cells.region()).is_some();
        let scope = Scope {
            engine: self,
            log: log.view(&pin),
            at,
            usage_is_known: self.cells.counted() == self.committed(),
            // Beside a writer they may be those of a later commit.
            counters: self.cells.counters().filter(|counters| counters.position == at),
            clean,
            ours: writer.is_some(),
            settled: clean || writer.as_ref().is_some_and(|writer| !writer.unfinished),
        };
        scope.verify()
    }

    /// The log without the mappings that this handle has, which stay as long as it.
    pub(super) fn fresh_log(&self) -> Log {
        let Superblock { id, segment_bytes, .. } = self.superblock;
        Log::new(Arc::clone(&self.disk), id, segment_bytes, Access::Read)
    }

    /// Nobody else writes, as far as can be told without disturbing those who might.
    fn is_quiet(&self) -> Result<bool> {
        Ok(self.writer().is_ok() || !is_locked(&*self.disk, index::NAME)?)
    }
}

impl Scope<'_> {
    fn verify(&self) -> Result<Verification> {
        let engine = self.engine;
        let mut findings = Findings::default();
        // What only holds still while nobody writes is reported only if nobody did.
        let mut still = Findings::default();
        let quiet = engine.is_quiet()?;
        self.check_horizon(&mut still);
        let marks = self.marks();
        let mut pages = Pages::default();
        let mut fallback = None;
        if quiet {
            self.check_cells(&mut still)?;
            fallback = self.check_checkpoints(&mut still)?;
            pages = self.check_live(fallback.as_ref(), &mut still)?;
            if let Some(fallback) = &fallback {
                self.check_kept(fallback, &mut pages, &mut still)?;
            }
        }
        let totals = self.check_log(fallback.as_ref(), &pages, &mut findings)?;
        engine.check_shared().or_else(|error| findings.absorb(error))?;
        self.check_readers(&mut findings)?;
        self.check_cursors(&mut findings)?;
        if quiet && engine.is_quiet()? && marks == self.marks() {
            if still.is_empty() && findings.is_empty() && totals.heads != pages.heads {
                self.find_strays(&mut still)?;
            }
            findings.join(still);
        } else {
            pages = Pages::default();
        }
        if findings.is_empty() && quiet {
            self.check_usage(&totals, &mut findings);
        }
        // Compaction has been at what was read: then nothing is as it was counted.
        if findings.is_empty() && engine.cells.horizon() <= self.at {
            self.check_counters(&totals, pages.count, &mut findings)?;
        }
        let Totals { segments, records, bytes, entries, .. } = totals;
        Ok(Verification {
            position: Position(self.at),
            segments,
            records,
            bytes,
            entries,
            pages: pages.count,
            damage: findings.into_damage(),
        })
    }

    /// What a writer changes first of all.
    fn marks(&self) -> (u64, u64, u32, bool) {
        let cells = &self.engine.cells;
        (cells.committed(), cells.turn(), cells.writer(), clean::read(cells.region()).is_some())
    }
}

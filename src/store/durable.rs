//! Durability: committers that wait at the same time share one sync.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::faults::{Bug, Point, planted, reach};

use super::{Engine, WriterHalf};

/// Who syncs now, and whether a sync has ever failed.
#[derive(Debug, Default)]
pub(super) struct Syncer {
    busy: Mutex<bool>,
    done: Condvar,
    poisoned: AtomicBool,
}

impl Syncer {
    /// A sync has failed: nothing can be promised any more (invariant I9).
    pub(super) fn poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub(super) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Returns when the log is durable up to `target`, which is not past the last commit.
    ///
    /// The first to come syncs all that is committed by then; those who come meanwhile wait, and one of them leads the next.
    pub(super) fn sync_to(&self, half: &WriterHalf, target: u64) -> Result<()> {
        let syncer = &half.syncer;
        let mut busy = syncer.lock();
        loop {
            if syncer.poisoned() {
                return Err(Error::Poisoned);
            }
            if self.cells.durable() >= target {
                return Ok(());
            }
            if !*busy {
                break;
            }
            busy = syncer.done.wait(busy).unwrap_or_else(PoisonError::into_inner);
        }
        *busy = true;
        drop(busy);
        let goal = self.cells.committed();
        reach(Point::SyncBegun);
        let result = self.log.sync(self.cells.durable(), goal);
        reach(Point::SyncReturned);
        match result {
            Ok(()) => self.cells.set_durable(goal),
            Err(_) if planted(Bug::RetryAfterEio) => {}
            Err(_) => self.poison(half),
        }
        reach(Point::SyncNoted);
        *syncer.lock() = false;
        syncer.done.notify_all();
        result
    }

    /// A sync has failed: this handle writes no more, and the next open trusts only what has a checksum.
    pub(super) fn poison(&self, half: &WriterHalf) {
        half.syncer.poison();
        reach(Point::SyncFailed);
        if !planted(Bug::TrustAfterEio) {
            self.cells.set_failed();
        }
    }

    /// Makes everything committed so far durable, and returns up to where that is.
    pub(crate) fn sync(&self) -> Result<u64> {
        let half = self.writer()?;
        let target = self.cells.committed();
        self.sync_to(half, target)?;
        Ok(target)
    }
}

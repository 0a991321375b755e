//! Durability: committers that wait at the same time share one sync.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{OnceLock, PoisonError};

use crate::error::{Error, Result};
use crate::faults::{Bug, Point, planted, reach};
use crate::sys::sync::{AtomicBool, Condvar, Mutex, MutexGuard};

use super::{Engine, WriterHalf};

/// Who syncs now, and whether a sync has ever failed.
#[derive(Debug, Default)]
pub(super) struct Syncer {
    turn: Mutex<Turn>,
    done: Condvar,
    poisoned: AtomicBool,
    /// The file whose loss has ended writing, and what has become of it.
    lost: OnceLock<(PathBuf, String)>,
}

#[derive(Debug, Default)]
struct Turn {
    busy: bool,
    /// How many wait for `done`: to wake nobody is a system call all the same.
    waiting: u32,
}

impl Syncer {
    /// A sync has failed: nothing can be promised any more (invariant I9).
    pub(super) fn poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub(super) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    /// A file is lost: nothing that is written would be found again.
    pub(super) fn lose(&self, file: &Path, why: &str) {
        self.lost.get_or_init(|| (file.to_path_buf(), why.to_owned()));
        self.poison();
    }

    /// Fails if writing has ended, and says why.
    #[inline]
    pub(super) fn check(&self) -> Result<()> {
        if self.poisoned() { Err(self.why()) } else { Ok(()) }
    }

    #[cold]
    fn why(&self) -> Error {
        match self.lost.get().cloned() {
            Some((file, why)) => Error::Lost { file, why },
            None => Error::Poisoned,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the sync that is going on has ended.
    fn wait<'a>(&self, mut turn: MutexGuard<'a, Turn>) -> MutexGuard<'a, Turn> {
        turn.waiting += 1;
        turn = self.done.wait(turn).unwrap_or_else(PoisonError::into_inner);
        turn.waiting -= 1;
        turn
    }

    /// The sync that was going on has ended.
    fn end(&self) {
        let mut turn = self.lock();
        turn.busy = false;
        let awaited = turn.waiting > 0;
        drop(turn);
        if awaited {
            self.done.notify_all();
        }
    }
}

impl Engine {
    /// Returns when the log is durable up to `target`, which is not past the last commit.
    ///
    /// The first to come syncs all that is committed by then; those who come meanwhile wait, and one of them leads the next.
    pub(super) fn sync_to(&self, half: &WriterHalf, target: u64) -> Result<()> {
        let syncer = &half.syncer;
        let mut turn = syncer.lock();
        loop {
            self.check_failed(half)?;
            if self.cells.durable() >= target {
                return Ok(());
            }
            if !turn.busy {
                break;
            }
            turn = syncer.wait(turn);
        }
        turn.busy = true;
        drop(turn);
        let result = self.sync_log(half);
        reach(Point::SyncNoted);
        syncer.end();
        result
    }

    /// Syncs all that is committed, by whichever handle.
    fn sync_log(&self, half: &WriterHalf) -> Result<()> {
        let others = self.lock_syncs(half)?;
        let goal = self.cells.committed();
        reach(Point::SyncBegun);
        let synced = self.log.sync(self.cells.durable(), goal);
        reach(Point::SyncReturned);
        if synced.is_err() && !planted(Bug::RetryAfterEio) {
            self.poison(half);
        }
        synced?;
        // The sync of a lost page succeeds.
        self.check_mappings(half)?;
        self.cells.set_durable(goal);
        if others.is_some() {
            self.cells.set_syncing(false);
        }
        Ok(())
    }

    /// A sync has failed: this handle writes no more, and the next open trusts only what has a checksum.
    pub(super) fn poison(&self, half: &WriterHalf) {
        half.syncer.poison();
        reach(Point::SyncFailed);
        if !planted(Bug::TrustAfterEio) {
            self.cells.set_failed();
        }
    }

    /// The same, if this is the error of a failed sync.
    pub(super) fn poison_by(&self, half: &WriterHalf, error: &Error) {
        if matches!(error, Error::Io { op: "sync", .. }) {
            self.poison(half);
        }
    }

    /// Makes everything committed so far durable, and returns up to where that is.
    pub(crate) fn sync(&self) -> Result<u64> {
        let half = self.writer()?;
        self.check_files(half)?;
        let target = self.cells.committed();
        self.sync_to(half, target)?;
        Ok(target)
    }
}

//! Durability: the log is synced up to where it has to be, and what a failed sync means.

use crate::error::{Error, Result};
use crate::faults::{Bug, Point, planted, reach};

use super::{Engine, WriterHalf};

impl Engine {
    /// Returns when the log is durable up to `target`, which is not past the last commit.
    pub(super) fn sync_to(&self, half: &WriterHalf, target: u64) -> Result<()> {
        self.share_sync(half, target, true)
    }

    /// The same after a commit, for whoever can wait a little for others that commit as well: all share the sync. Not under the
    /// writer lock.
    pub(super) fn sync_with_others(&self, half: &WriterHalf, target: u64) -> Result<()> {
        self.share_sync(half, target, false)
    }

    fn share_sync(&self, half: &WriterHalf, target: u64, hurry: bool) -> Result<()> {
        let is_durable = || {
            self.check_failed(half)?;
            Ok(self.cells.durable() >= target)
        };
        let Some(lead) = half.syncer.lead(hurry, is_durable)? else { return Ok(()) };
        let result = self.sync_log(half);
        reach(Point::SyncNoted);
        half.syncer.end(lead);
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

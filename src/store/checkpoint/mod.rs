//! Checkpoints: the index becomes durable as of a quiet position, so that a replay starts there.
//!
//! Two files are written in turn; the newest valid one counts. Nothing is locked but for the capture itself.

mod files;

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use crate::error::Result;
use crate::faults::{Bug, Point, planted, reach};
use crate::format::PAGE_BYTES;
use crate::format::meta::Counters;
use crate::index::Captured;

use super::space::SegmentRow;
use super::{Engine, WriterHalf};
pub(super) use files::{
    Held, ROOM, confirm, header, headers, held, load, load_newest, mend, word, write,
};

/// Less of the log than this may be synced while nobody can write. More than one such sync in turn would have the log's pages come one
/// by one.
const LITTLE: u64 = 1 << 20;
/// Beside a load the index is synced in so many pieces: what is put while one is synced comes to few of its pages before they are ready
/// for stores again.
const PIECES: usize = 128;
/// Bytes that are worth a flush of the disk.
const LEAST: usize = 256 << 10;
/// A log that grows by a byte while so many of the index are synced grows by a load.
const BUSY: usize = 64;
/// Pages that the index should get along with, garbage included: one for so many keys, which is 27 bytes a key.
const KEYS: u64 = 152;
/// An index of fewer pages may take more: what is reserved for the next batch counts for much in it.
const SMALL: u64 = 640;
/// Garbage pages that are worth a checkpoint by themselves, whatever the log's length: at least these.
const MIN_GARBAGE: u64 = 32;

impl Engine {
    /// Makes a checkpoint of the last commit and returns its position.
    pub(crate) fn checkpoint(&self) -> Result<u64> {
        let half = self.writer()?;
        half.lender.check()?;
        let _one = half.checkpointer.lock().unwrap_or_else(PoisonError::into_inner);
        let _others = self.lock_checkpoints(half)?;
        self.check_failed(half)?;
        self.check_files(half)?;
        self.scatter_index();
        let changed = half.is_touched() || self.cells.checkpoint() != self.cells.committed();
        if !changed && !half.lock().unfinished {
            return Ok(self.cells.checkpoint());
        }
        self.sync_most(half)?;
        reach(Point::CheckpointLogged);
        let before = self.lasting_segments(half)?;
        let (captured, counters, rows) = self.capture(half, &before)?;
        // What was captured is no longer told from what was not changed: the next one has to try again.
        self.finish_checkpoint(half, captured, counters, &rows).inspect_err(|_| half.touched())?;
        Ok(counters.position)
    }

    /// Syncs the log while writers go on, until what they commit meanwhile is little, or they are faster than the disk: the rest is
    /// synced under their lock.
    fn sync_most(&self, half: &WriterHalf) -> Result<()> {
        let (mut before, mut goal) = (u64::MAX, self.cells.committed());
        loop {
            self.sync_to(half, goal)?;
            goal = self.cells.committed();
            let left = goal.saturating_sub(self.cells.durable());
            if left < LITTLE || left > before / 8 * 7 {
                return Ok(());
            }
            before = left;
        }
    }

    /// Makes durable what was captured.
    fn finish_checkpoint(
        &self,
        half: &WriterHalf,
        mut captured: Captured,
        counters: Counters,
        rows: &[SegmentRow],
    ) -> Result<()> {
        reach(Point::CheckpointCaptured);
        half.attempted.store(counters.position, Relaxed);
        self.sync_index(half, self.is_load(counters))?;
        reach(Point::CheckpointIndexed);
        if planted(Bug::LateDirectory) {
            captured = self.claim(half, None)?.editor.capture(&self.index)?;
        }
        let newest = self.cells.newest_checkpoint();
        let rows = rows.as_flattened();
        let result = write(&*self.disk, &self.superblock.id, &captured, rows, counters, newest);
        // A failed sync of the file leaves it in doubt, but the other one stands.
        let written = result.inspect_err(|error| self.poison_by(half, error))?;
        self.cells.set_checkpoint(written);
        half.durable_sequence.store(captured.sequence, Relaxed);
        reach(Point::CheckpointSet);
        self.claim(half, None)?.editor.release(&self.index, &captured, half.shared.is_none())?;
        reach(Point::CheckpointReleased);
        Ok(())
    }

    /// Captures the directory at a quiet point: the log is durable up to its end, and the writer lock is held (invariant I6).
    ///
    /// `before` are the segments that there were shortly before.
    fn capture(
        &self,
        half: &WriterHalf,
        before: &[u64],
    ) -> Result<(Captured, Counters, Vec<SegmentRow>)> {
        let mut writer = self.claim(half, None)?;
        if writer.unfinished {
            self.finish(&mut writer)?;
        }
        if writer.clean {
            self.unmark_clean(half)?;
            writer.clean = false;
        }
        if !planted(Bug::NotQuiet) {
            self.sync_to(half, writer.counters.position)?;
        }
        self.mend_usage(writer.counters.segment)?;
        let rows = self.segment_rows(before, writer.counters.segment)?;
        let captured = writer.editor.capture(&self.index)?;
        half.touched.store(false, Relaxed);
        Ok((captured, writer.counters, rows))
    }

    /// So much has been put since the last checkpoint, of which `counters` are those of the next, that nearly all index pages have
    /// changed: on average two times or more.
    fn is_load(&self, counters: Counters) -> bool {
        let bytes = counters.position.saturating_sub(self.cells.checkpoint());
        let puts = u128::from(bytes) * u128::from(counters.entries);
        puts / u128::from(counters.live_bytes.max(1)) >= 2 * u128::from(counters.pages)
            && !self.log.is_crowded()
    }

    /// Syncs all index pages; beside a load those that are synced will soon change again. The suspect cell stays set when that
    /// fails, so that the next open dirties them again.
    pub(super) fn sync_index(&self, half: &WriterHalf, load: bool) -> Result<()> {
        let suspect = self.cells.suspect();
        if !suspect {
            self.cells.set_suspect(true);
        }
        reach(Point::IndexSuspect);
        if planted(Bug::SkipIndexSync) {
            return Ok(());
        }
        let synced = if load { self.sync_beside_load() } else { self.index.sync() };
        synced.inspect_err(|_| self.poison(half))?;
        self.check_mappings(half)?;
        if !suspect {
            self.cells.set_suspect(false);
        }
        Ok(())
    }

    /// Syncs all index pages, and has those that are synced ready for stores again as long as the log goes on.
    fn sync_beside_load(&self) -> Result<()> {
        let mut before = self.cells.committed();
        let goes_on = |synced: usize| {
            let now = self.cells.committed();
            now.saturating_sub(std::mem::replace(&mut before, now)) >= (synced / BUSY) as u64
        };
        let bytes = self.cells.watermark() as usize * PAGE_BYTES;
        self.index.sync_by((bytes / PIECES).max(LEAST), goes_on)
    }

    /// Has a checkpoint made when enough log or enough unusable pages have piled up.
    #[inline]
    pub(super) fn checkpoint_if_due(
        &self,
        half: &WriterHalf,
        committed: u64,
        garbage: bool,
    ) -> Result<()> {
        let due = garbage || self.log_is_due(half, committed);
        if due { self.request_checkpoint(half) } else { Ok(()) }
    }

    /// A checkpoint is still due when its turn comes: the one before was asked for, again and again, until it was captured.
    pub(super) fn checkpoint_is_due(&self, half: &WriterHalf) -> bool {
        self.log_is_due(half, self.cells.committed()) || self.garbage_is_due(&mut half.lock())
    }

    #[inline]
    fn log_is_due(&self, half: &WriterHalf, committed: u64) -> bool {
        let since = self.cells.checkpoint().max(half.attempted.load(Relaxed));
        committed.saturating_sub(since) >= half.checkpoint_interval
    }

    /// True if pages that wait for a checkpoint make the index larger than its keys should need, or will before that is made. Where few
    /// keys are left in many pages a checkpoint would not help: then a sixth of these may wait.
    pub(super) fn garbage_is_due(&self, writer: &mut super::Writer) -> bool {
        // Who shares the store does not know what others have free.
        let alone = self.writer.as_ref().is_some_and(|half| half.shared.is_none());
        let (editor, wanted) = (&mut writer.editor, writer.counters.entries / KEYS);
        let live = editor.live();
        let room = match wanted.checked_sub(live) {
            Some(room) => room.saturating_sub(editor.late_splits()).max(live / 32),
            None => live / 6,
        };
        if alone && editor.garbage(&self.index) > room.max(MIN_GARBAGE) {
            editor.put_off_splits();
        }
        alone && editor.wants_checkpoint()
    }

    /// Before the checkpoint is made that is wanted, more keys would make the index larger than its keys should need.
    pub(super) fn outruns_checkpoints(&self, half: &WriterHalf, writer: &super::Writer) -> bool {
        let wanted = writer.counters.entries / KEYS;
        half.background.is_running()
            && wanted >= SMALL
            && writer.editor.outgrows(&self.index, wanted)
    }

    #[cold]
    fn request_checkpoint(&self, half: &WriterHalf) -> Result<()> {
        if half.background.is_running() {
            half.background.wake();
            return Ok(());
        }
        if self.checkpoint_is_under_way(half) {
            return Ok(());
        }
        match self.checkpoint() {
            Err(error) if half.syncer.poisoned() => Err(error),
            // The commit stands, and the last checkpoint as well: one that failed is only postponed.
            _ => Ok(()),
        }
    }
}

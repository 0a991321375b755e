//! The clean record: written when everything is synced, removed before anything changes again.

use crate::cells::Cells;
use crate::error::{Error, Result};
use crate::faults::{Bug, Point, planted, reach};
use crate::format::meta::{BYTES, Clean, Counters};
use crate::format::{PAGE_BYTES, u64_at};
use crate::sys::Region;

use super::checkpoint::mend;
use super::{Engine, WriterHalf};

const OFFSET: usize = 2 * PAGE_BYTES;
const WORDS: usize = Clean::BYTES / 8;

/// The clean record in `meta`, if there is one.
pub(super) fn read(meta: &Region) -> Option<Clean> {
    Clean::decode(&bytes(meta))
}

/// What is where the clean record goes.
pub(super) fn bytes(meta: &Region) -> [u8; Clean::BYTES] {
    let words = meta.words(OFFSET, WORDS).expect("the clean record lies within meta");
    let mut bytes = [0; Clean::BYTES];
    for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
        let word = word.load(std::sync::atomic::Ordering::Relaxed);
        to.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Puts `bytes` where the clean record goes, word by word, since readers may look at any time.
pub(super) fn store(meta: &Region, bytes: &[u8; Clean::BYTES]) {
    let words = meta.words_to_store(OFFSET, WORDS).expect("the clean record lies within meta");
    for (at, word) in words.iter().enumerate() {
        word.store(u64_at(bytes, 8 * at), std::sync::atomic::Ordering::Relaxed);
    }
}

/// The clean record for a store that is synced with these counters.
pub(super) fn record(cells: &Cells, counters: Counters) -> Clean {
    Clean {
        counters,
        directory: cells.directory().0,
        watermark: cells.watermark(),
        sequence: cells.sequence(),
        checkpoint: cells.newest_checkpoint().0,
        counted: cells.counted(),
    }
}

impl Engine {
    /// The store was closed cleanly and the live cells say the same; an error if they do not, and nobody has changed them.
    pub(super) fn is_clean(&self) -> Result<bool> {
        let Some(clean) = read(self.cells.region()) else { return Ok(false) };
        let committed = self.cells.committed();
        if committed == clean.counters.position && self.cells.directory().0 == clean.directory {
            return Ok(true);
        }
        // A writer removes the record before it changes a cell.
        if read(self.cells.region()).is_none() {
            return Ok(false);
        }
        let offset = crate::format::meta::cell::COMMITTED as u64;
        let expected = format!("the position {} of the clean record", clean.counters.position);
        Err(Error::corrupt(self.file("meta"), offset, expected, committed))
    }

    fn sync_meta(&self, half: &WriterHalf) -> Result<()> {
        let len = usize::try_from(BYTES).expect("three pages");
        self.cells.region().sync(0, len).map_err(|e| {
            self.poison(half);
            Error::io("sync", self.file("meta"), e)
        })?;
        self.check_mappings(half)
    }

    /// Removes the clean record, durably: from here on a power cut means recovery (invariant I10).
    pub(super) fn unmark_clean(&self, half: &WriterHalf) -> Result<()> {
        store(self.cells.region(), &[0; Clean::BYTES]);
        reach(Point::CleanRemoved);
        if planted(Bug::KeepCleanRecord) {
            return Ok(());
        }
        self.sync_meta(half)?;
        reach(Point::CleanRemovedSynced);
        Ok(())
    }

    /// Makes sure that no clean record is on the disk, where one stays that a writer could not remove before it died.
    pub(super) fn forget_clean(&self) -> Result<()> {
        let region = self.cells.region();
        store(region, &[0; Clean::BYTES]);
        region.redirty(OFFSET, Clean::BYTES);
        region.sync(OFFSET, Clean::BYTES).map_err(|e| Error::io("sync", self.file("meta"), e))
    }

    /// Syncs everything and leaves the word of it. The handle is not used afterwards.
    pub(crate) fn close(&self) -> Result<()> {
        let half = match self.writer() {
            Ok(half) => half,
            Err(Error::ReadOnly | Error::Forked) => return Ok(()),
            Err(error) => return Err(error),
        };
        half.ahead.stop();
        self.log.give_spare_up();
        half.background.stop();
        reach(Point::CloseBegun);
        if half.shared.is_some() && !self.is_last(half)? {
            // The others go on; what this one has committed is durable when it is gone.
            return self.sync().map(drop);
        }
        let clean = self.claim(half, None)?.clean;
        if clean && !half.syncer.poisoned() {
            self.cells.set_writer(0);
            return Ok(());
        }
        let newest = self.checkpoint()?;
        let mended = mend(&*self.disk, &self.superblock.id, newest);
        mended.inspect_err(|error| self.poison_by(half, error))?;
        let writer = self.claim(half, None)?;
        // The free pages that a checkpoint has made known are forgotten, but nothing has changed since it was captured,
        // except pages written for splits by nobody: the index is as synced.
        self.sync_index(half, false)?;
        self.usage.sync().inspect_err(|_| self.poison(half))?;
        let clean = record(&self.cells, writer.counters);
        self.cells.set_writer(0);
        self.sync_meta(half)?;
        reach(Point::CloseSynced);
        store(self.cells.region(), &clean.encode());
        reach(Point::CleanWritten);
        self.sync_meta(half)?;
        reach(Point::CleanSynced);
        Ok(())
    }
}

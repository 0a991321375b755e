//! Making the index smaller once most keys are gone: pages are merged, moved to the front of the file, and its end given back.

use crate::error::Result;
use crate::format::page::{LINE_SLOTS, LINES};
use crate::index::Tidied;

use super::super::{Engine, Writer, WriterHalf};
use super::Compactor;

/// Pages that are looked at while writers wait.
const PAGES: u64 = 32;
/// An index of fewer pages is not worth the trouble.
const SMALL: u64 = 16;
/// Slots of a page.
const SLOTS: u64 = (LINES * LINE_SLOTS) as u64;

/// How far tidying has come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tidying {
    Merging(Tidied),
    Halving,
    /// Moving pages from this number on to the front.
    Moving(Tidied, u32),
}

impl Engine {
    /// The index has far more pages than its keys need.
    fn is_sparse(&self, half: &WriterHalf) -> Result<bool> {
        let counters = self.claim(half, half.lock_timeout)?.counters;
        Ok(counters.pages > SMALL && counters.entries < counters.pages * SLOTS / 6)
    }

    /// The file has far more pages than are used, and can become shorter: not while other writers share it.
    fn is_long(&self, half: &WriterHalf) -> bool {
        if half.shared.is_some() {
            return false;
        }
        let writer = half.lock();
        let used = writer.editor.live() + self.index.directory_pages();
        u64::from(self.cells.watermark()) > SMALL + 3 * used
    }

    /// Pages have been given up, and the next checkpoint will make them free.
    pub(super) fn index_is_untidy(&self, half: &WriterHalf) -> bool {
        half.is_touched() && self.is_long(half)
    }

    /// One step of tidying; false if there is nothing to do.
    pub(super) fn tidy_step(&self, half: &WriterHalf, compactor: &mut Compactor) -> Result<bool> {
        let Some(tidying) = compactor.tidying else {
            let now = Some(self.committed());
            if self.is_sparse(half)? && compactor.tidied != now {
                compactor.tidying = Some(Tidying::Merging(super::untouched()));
            } else if self.is_long(half) && !half.is_touched() && compactor.moved != now {
                compactor.tidying = self.begin_moving(half);
            }
            return Ok(compactor.tidying.is_some());
        };
        let mut writer = self.turn()?;
        let Writer { editor, counters, .. } = &mut *writer;
        // As of the last commit, which comes from no record of the log.
        let count = |pages| {
            counters.pages = pages;
            self.cells.publish(counters);
        };
        // Merging needs room for the new pages before the old ones are free.
        self.ensure_pages(editor, usize::try_from(PAGES).unwrap_or(0) * 64)?;
        match tidying {
            Tidying::Merging(from) => {
                let tidied = editor.tidy(&self.index, from, PAGES, count)?;
                note(half, tidied.changed > 0);
                compactor.tidying = Some(match (tidied.is_done(), tidied.changed) {
                    (false, _) => Tidying::Merging(tidied),
                    (true, 0) => Tidying::Halving,
                    (true, _) => Tidying::Merging(super::untouched()),
                });
            }
            Tidying::Halving => {
                let halved = editor.halve(&self.index)?;
                note(half, halved);
                if !halved {
                    compactor.tidied = Some(self.committed());
                }
                compactor.tidying = halved.then_some(Tidying::Halving);
            }
            Tidying::Moving(from, limit) => {
                let tidied = editor.move_down(&self.index, from, limit, PAGES, count)?;
                note(half, tidied.changed > 0);
                if tidied.is_done() && tidied.changed == 0 {
                    compactor.moved = Some(self.committed());
                }
                compactor.tidying = (!tidied.is_done()).then_some(Tidying::Moving(tidied, limit));
            }
        }
        Ok(true)
    }

    /// Moving to the front. What has been moved is free after the next checkpoint.
    fn begin_moving(&self, half: &WriterHalf) -> Option<Tidying> {
        let writer = half.lock();
        let used = writer.editor.live() + self.index.directory_pages();
        let limit = u32::try_from(used + used / 8 + SMALL).ok()?;
        (limit < self.cells.watermark()).then(|| Tidying::Moving(super::untouched(), limit))
    }
}

/// Takes note that a checkpoint would free pages.
fn note(half: &WriterHalf, changed: bool) {
    if changed {
        half.touched();
    }
}

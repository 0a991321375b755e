//! Which pages can be written anew: never one that a checkpoint still names (invariant I8).
//!
//! Free pages are not stored anywhere: they are those before the watermark that neither the newest checkpoint nor the live
//! directory leads to, and are worked out when a checkpoint has become durable.

use std::cell::Cell;

use crate::chunks::Chunks;
use crate::error::{Error, Result};
use crate::faults::{Bug, Point, planted, reach};
use crate::format::directory::{Entry, MAX_DEPTH};
use crate::sys::Word;

use super::{Index, directory_pages, header};

/// Free pages at the end of the file that are worth giving back.
const MIN_TRIM: usize = 64;

/// The writer's knowledge of free pages. Starts empty at every open; the watermark alone is enough to go on.
#[derive(Debug, Default)]
pub(super) struct Allocator {
    /// Pages that nothing leads to, neither live nor in a checkpoint, durable or under way.
    pub(super) free: Vec<u32>,
    /// Pages that the directory leads to.
    pub(super) live: u64,
    /// While a checkpoint has been captured and is not durable yet: the free pages that were taken since.
    taken: Option<Vec<u32>>,
    /// For what room was asked last, and where it ends. Up to there pages stay mapped, though their blocks may be given back.
    asked: Cell<Option<(Asked, u32)>>,
}

/// What decides how much room a commit needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    /// Where the pages that splits may take end.
    end: u32,
    splits: u32,
    live: u64,
    /// Of the directory.
    depth: u32,
}

/// The directory as it was at a checkpoint's position, and what else is needed to write and to use it.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) entries: Vec<u64>,
    pub(crate) depth: u32,
    pub(crate) watermark: u32,
    pub(crate) sequence: u64,
    /// The pages the directory itself was in: they are given back when it moves, not here.
    pub(crate) region: std::ops::Range<u32>,
}

impl Allocator {
    pub(super) fn new(live: u64) -> Allocator {
        Allocator { live, ..Allocator::default() }
    }

    /// A checkpoint has been captured and is not durable yet.
    pub(super) fn is_captured(&self) -> bool {
        self.taken.is_some()
    }

    /// There is a free page before `limit`, and the next one that is taken is.
    pub(super) fn has_below(&mut self, limit: u32) -> bool {
        if self.free.last().is_none_or(|page| *page >= limit) {
            // The lowest one last.
            self.free.sort_unstable_by(|a, b| b.cmp(a));
        }
        self.free.last().is_some_and(|page| *page < limit)
    }

    /// Takes free pages in a row before `limit` that lie in one chunk.
    pub(super) fn take_run(&mut self, pages: u32, limit: u32) -> Option<u32> {
        if self.free.len() < pages as usize {
            return None;
        }
        self.free.sort_unstable_by(|a, b| b.cmp(a));
        let wide = pages as usize - 1;
        let at = (wide..self.free.len()).rev().find(|at| {
            let first = self.free[*at];
            self.free[at - wide] == first + (pages - 1)
                && first + pages <= limit
                && Chunks::contiguous(first, pages) == Some(first)
        })?;
        let run = self.free.drain(at - wide..=at);
        let first = run.as_slice().last().copied();
        if let Some(taken) = &mut self.taken {
            taken.extend(run);
        }
        first
    }
}

impl Index {
    /// A page to write. Its content is whatever it was.
    pub(super) fn allocate(&self, allocator: &mut Allocator) -> Result<u32> {
        if let Some(page) = allocator.free.pop() {
            if let Some(taken) = &mut allocator.taken {
                taken.push(page);
            }
            return Ok(page);
        }
        self.allocate_run(allocator, 1)
    }

    /// `pages` pages in a row, within one chunk: free ones if there are enough, or new ones.
    pub(super) fn allocate_run(&self, allocator: &mut Allocator, pages: u32) -> Result<u32> {
        if let Some(first) = allocator.take_run(pages, u32::MAX) {
            return Ok(first);
        }
        let watermark = self.cells.watermark();
        let first = Chunks::contiguous(watermark, pages).ok_or_else(|| self.full())?;
        let end = first.checked_add(pages).ok_or_else(|| self.full())?;
        if !planted(Bug::SkipGrow) {
            self.chunks.grow(end)?;
        }
        self.cells.set_watermark(end);
        reach(Point::GrowTaken);
        allocator.free.extend(watermark..first);
        Ok(first)
    }

    fn full(&self) -> Error {
        let source = std::io::Error::other("an index has at most 2^32 pages");
        Error::Full { path: self.chunks.path().clone(), source }
    }

    /// Gives back a page that the live directory has stopped leading to.
    pub(super) fn retire(&self, allocator: &mut Allocator, page: u32) -> Result<()> {
        // Of a page that is in no checkpoint readers are the only users, and they check.
        if !self.is_named(self.page(page)?) || planted(Bug::ReuseEarly) {
            allocator.free.push(page);
        }
        Ok(())
    }

    /// A checkpoint may name the page: it was not born after the last capture.
    pub(super) fn is_named(&self, words: &[Word]) -> bool {
        header(words).map(|header| header.birth) != Some(self.cells.sequence())
    }

    /// Gives back the pages of a directory that has moved; checkpoints have copies and name none of them.
    pub(super) fn retire_directory(&self, allocator: &mut Allocator, first: u32, depth: u32) {
        allocator.free.extend(first..first + directory_pages(depth));
    }

    /// Makes room for `new_keys` insertions, mapped, so that a full disk or a lack of memory is noticed beforehand.
    pub(super) fn ensure(&self, allocator: &Allocator, new_keys: usize) -> Result<()> {
        // A key that is there keeps its slot.
        if new_keys == 0 || planted(Bug::SkipReserve) || planted(Bug::SkipGrow) {
            return Ok(());
        }
        let splits = u32::try_from(new_keys / 64).unwrap_or(u32::MAX / 4).saturating_add(8);
        let have = u32::try_from(allocator.free.len()).unwrap_or(u32::MAX);
        let need = splits.saturating_mul(2).saturating_sub(have);
        let end = self.cells.watermark().checked_add(need).ok_or_else(|| self.full())?;
        let asked =
            Asked { end, splits, live: allocator.live, depth: self.cells.directory().depth() };
        // Nearly always the answer is that of the commit before.
        if let Some((_, end)) = allocator.asked.get().filter(|(before, _)| *before == asked) {
            return self.chunks.grow(end);
        }
        let end = Self::end_of_directories(&asked).ok_or_else(|| self.full())?;
        self.chunks.grow(end)?;
        self.chunks.map_to(end)?;
        allocator.asked.set(Some((asked, end)));
        Ok(())
    }

    /// Where the pages end that larger directories may take when up to so many pages split: they double as often as the number of
    /// pages, and once more. A directory is a run of pages within a chunk, whatever is free elsewhere.
    fn end_of_directories(asked: &Asked) -> Option<u32> {
        let Asked { end, splits, live, depth } = *asked;
        let doublings = 1 + (u64::from(splits) / live.max(1) + 1).ilog2();
        let last = (depth + doublings).min(MAX_DEPTH);
        (depth + 1..=last)
            .map(directory_pages)
            .try_fold(end, |end, pages| Chunks::contiguous(end, pages)?.checked_add(pages))
    }

    /// Pages that are neither led to nor free: they wait for a checkpoint. 0 while one is under way.
    pub(super) fn garbage(&self, allocator: &Allocator) -> u64 {
        if allocator.taken.is_some() {
            return 0;
        }
        let used = allocator.live
            + allocator.free.len() as u64
            + u64::from(directory_pages(self.cells.directory().depth()));
        u64::from(self.cells.watermark()).saturating_sub(used)
    }

    /// Copies the directory at a quiet point, under the writer lock. Every page that it names is from here on kept.
    pub(super) fn capture(&self, allocator: &mut Allocator) -> Result<Captured> {
        let (cell, words) = self.current()?;
        let entries = words.iter().map(|word| word.load(std::sync::atomic::Ordering::Relaxed));
        let sequence = self.cells.sequence() + 1;
        let first = cell.page();
        let captured = Captured {
            entries: entries.collect(),
            depth: cell.depth(),
            watermark: self.cells.watermark(),
            sequence,
            region: first..first + directory_pages(cell.depth()),
        };
        self.cells.set_sequence(sequence);
        allocator.taken = Some(Vec::new());
        Ok(captured)
    }

    /// The checkpoint is durable: what it does not name, and was used before it, is free. The end of the file is given back only if
    /// this handle writes `alone`: others know it as reserved.
    pub(super) fn release(
        &self,
        allocator: &mut Allocator,
        captured: &Captured,
        alone: bool,
    ) -> Result<()> {
        // Others have had turns since, and only they know what they have taken: all of it waits for the next checkpoint.
        let Some(taken) = allocator.taken.take() else { return Ok(()) };
        let mut named = vec![0u64; (captured.watermark as usize).div_ceil(64)];
        let mut mark = |page: u32| {
            if let Some(word) = named.get_mut(page as usize / 64) {
                *word |= 1 << (page % 64);
            }
        };
        mark(0);
        captured.region.clone().for_each(&mut mark);
        // What was free at the capture is still, or has been taken since.
        taken.into_iter().for_each(&mut mark);
        allocator.free.iter().copied().for_each(&mut mark);
        for entry in captured.entries.iter().map(|word| Entry(*word)) {
            if entry.chained() {
                for page in self.chain(entry) {
                    mark(page?.0);
                }
            } else {
                mark(entry.page());
            }
        }
        let free = |page: &u32| named[*page as usize / 64] & 1 << (page % 64) == 0;
        allocator.free.extend((0..captured.watermark).rev().filter(free));
        if alone { self.trim(allocator) } else { Ok(()) }
    }

    /// The page after all that a checkpoint names.
    pub(crate) fn end_of(&self, captured: &Captured) -> Result<u32> {
        let mut end = 1;
        for entry in captured.entries.iter().map(|word| Entry(*word)) {
            end = end.max(entry.page().saturating_add(1));
            if entry.chained() {
                for page in self.chain(entry) {
                    end = end.max(page?.0.saturating_add(1));
                }
            }
        }
        Ok(end)
    }

    /// Gives the end of the file back if nothing is there but free pages, and many of them.
    fn trim(&self, allocator: &mut Allocator) -> Result<()> {
        let watermark = self.cells.watermark();
        allocator.free.sort_unstable_by(|a, b| b.cmp(a));
        let trailing = (1..).zip(&allocator.free).take_while(|(n, page)| *n + **page == watermark);
        let trailing = trailing.count();
        let least = MIN_TRIM.max(watermark as usize / 8);
        if trailing < least {
            return Ok(());
        }
        allocator.free.drain(..trailing);
        #[expect(clippy::cast_possible_truncation, reason = "fewer than the watermark")]
        let end = watermark - trailing as u32;
        self.cells.set_watermark(end);
        reach(Point::TrimLowered);
        self.chunks.give_back(end)?;
        reach(Point::TrimPunched);
        Ok(())
    }

    /// Makes new pages ready that the next splits will take, those before `ready` excepted, which are; returns where they end.
    pub(crate) fn make_ready(&self, ready: u32) -> u32 {
        self.chunks.make_ready(self.cells.watermark().max(ready))
    }

    /// Says that the pages in use have blocks on the disk.
    pub(crate) fn assume_reserved(&self) {
        self.chunks.assume_reserved(self.cells.watermark());
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cells::Cells;
    use crate::format::meta::BYTES;
    use crate::sys::Access;
    use crate::sys::sim::SimDisk;

    #[test]
    fn free_pages_are_no_space_for_a_larger_directory() -> std::io::Result<()> {
        let disk = SimDisk::new(1).disk();
        disk.make_dir("")?;
        let len = usize::try_from(BYTES).expect("three pages");
        let meta = disk.create("meta", BYTES)?.map(0, len, Access::Write)?;
        let file = disk.create("index", 0)?;
        let chunks = Chunks::new(file, "index".into(), Access::Write, disk.map_ahead());
        let index = Index::new(Arc::new(Cells::new(meta)), chunks);
        index.chunks.grow(16).expect("growth");
        let mut editor = index.create().expect("an empty index");
        editor.allocator.free.extend(3..16);
        index.cells.set_watermark(16);
        index.ensure(&editor.allocator, 1).expect("growth");
        let depth = index.cells.directory().depth();
        let backed = index.chunks.backed().expect("a length");
        assert!(backed >= 16 + directory_pages(depth + 1), "{backed} pages");
        Ok(())
    }
}

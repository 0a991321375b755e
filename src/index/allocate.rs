//! Which pages can be written anew: never one that a checkpoint still names (invariant I8).
//!
//! Free pages are not stored anywhere: they are those before the watermark that neither the newest checkpoint nor the live
//! directory leads to, and are worked out when a checkpoint has become durable.

use crate::error::{Error, Result};
use crate::format::directory::Entry;

use super::chunks::Chunks;
use super::{Index, directory_pages, header};

/// The writer's knowledge of free pages. Starts empty at every open; the watermark alone is enough to go on.
#[derive(Debug, Default)]
pub(super) struct Allocator {
    /// Pages that nothing leads to, neither live nor in a checkpoint, durable or under way.
    free: Vec<u32>,
    /// Pages that the directory leads to.
    pub(super) live: u64,
    /// While a checkpoint has been captured and is not durable yet: the free pages that were taken since.
    taken: Option<Vec<u32>>,
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

    /// `pages` pages in a row, within one chunk.
    pub(super) fn allocate_run(&self, allocator: &mut Allocator, pages: u32) -> Result<u32> {
        let watermark = self.cells.watermark();
        let first = Chunks::contiguous(watermark, pages).ok_or_else(|| self.full())?;
        let end = first.checked_add(pages).ok_or_else(|| self.full())?;
        self.chunks.grow(end)?;
        self.cells.set_watermark(end);
        allocator.free.extend(watermark..first);
        Ok(first)
    }

    fn full(&self) -> Error {
        let source = std::io::Error::other("an index has at most 2^32 pages");
        Error::Full { path: self.chunks.path().clone(), source }
    }

    /// Gives back a page that the live directory has stopped leading to.
    pub(super) fn retire(&self, allocator: &mut Allocator, page: u32) -> Result<()> {
        let born = header(self.page(page)?).map(|header| header.birth);
        // A page born after the last capture is in no checkpoint, so readers are its only users, and they check.
        if born == Some(self.cells.sequence()) {
            allocator.free.push(page);
        }
        Ok(())
    }

    /// Gives back the pages of a directory that has moved; checkpoints have copies and name none of them.
    pub(super) fn retire_directory(&self, allocator: &mut Allocator, first: u32, depth: u32) {
        allocator.free.extend(first..first + directory_pages(depth));
    }

    /// Makes room for `new_keys` insertions without growing the file, so that a full disk is noticed beforehand.
    pub(super) fn ensure(&self, allocator: &Allocator, new_keys: usize) -> Result<()> {
        let splits = u32::try_from(new_keys / 64).unwrap_or(u32::MAX / 4).saturating_add(4);
        let doubling = directory_pages(self.cells.directory().depth() + 1);
        let need = splits.saturating_mul(2).saturating_add(doubling.saturating_mul(2));
        let have = u32::try_from(allocator.free.len()).unwrap_or(u32::MAX);
        if need <= have {
            return Ok(());
        }
        let end = self.cells.watermark().checked_add(need - have).ok_or_else(|| self.full())?;
        self.chunks.grow(end)
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

    /// The checkpoint is durable: what it does not name, and was used before it, is free.
    pub(super) fn release(&self, allocator: &mut Allocator, captured: &Captured) -> Result<()> {
        let mut named = vec![0u64; (captured.watermark as usize).div_ceil(64)];
        let mut mark = |page: u32| {
            if let Some(word) = named.get_mut(page as usize / 64) {
                *word |= 1 << (page % 64);
            }
        };
        mark(0);
        captured.region.clone().for_each(&mut mark);
        // What was free at the capture is still, or has been taken since.
        allocator.taken.take().into_iter().flatten().for_each(&mut mark);
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
        Ok(())
    }
}

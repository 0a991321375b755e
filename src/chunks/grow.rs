//! The file that chunks are of: it grows, and its pages become ready for stores, and durable.

use std::sync::atomic::Ordering::Relaxed;

use crate::error::{Error, Result};
use crate::faults::{Point, reach};
use crate::format::{PAGE, PAGE_BYTES};

use super::{Chunks, FIRST, chunk_pages, first_page, place};

impl Chunks {
    /// Reserves blocks for at least `pages` pages, and a bit more so that growth is rare.
    pub(crate) fn grow(&self, pages: u32) -> Result<()> {
        let reserved = self.reserved.load(Relaxed);
        if pages <= reserved {
            return Ok(());
        }
        let to = u64::from(pages) + u64::from(pages / 256);
        let piece = (self.file.piece() / PAGE).max(u64::from(FIRST));
        let step = if to < piece { u64::from(FIRST) } else { piece };
        let to = to.next_multiple_of(step).min(u64::from(u32::MAX));
        let from = u64::from(reserved) * PAGE;
        let grow = |pages: u64| self.file.reserve(from, pages * PAGE).map(|()| pages);
        // When there is no room for more than is needed, what is needed may still fit.
        let pages = grow(to)
            .or_else(|_| grow(u64::from(pages)))
            .map_err(|e| Error::io("grow", &self.path, e))?;
        reach(Point::GrowReserved);
        self.reserved.store(u32::try_from(pages).unwrap_or(u32::MAX), Relaxed);
        self.refresh(0).map(|_| ())
    }

    /// Makes the pages from `from` on that have blocks ready for stores, as far as they are mapped; returns where they end.
    pub(crate) fn make_ready(&self, from: u32) -> u32 {
        let end = self.reserved.load(Relaxed);
        let mut page = from;
        while page < end {
            let Some((region, offset)) = self.find_mapped(page) else { break };
            let (chunk, index) = place(self.first, page);
            #[expect(clippy::cast_possible_truncation, reason = "below CHUNKS")]
            let left = chunk_pages(self.first, chunk as u32) - u64::from(index);
            let pages = u32::try_from(left).unwrap_or(u32::MAX).min(end - page);
            region.dirty(offset, pages as usize * PAGE_BYTES);
            page += pages;
        }
        end
    }

    /// Says that the first `pages` pages have blocks: they are in use.
    pub(crate) fn assume_reserved(&self, pages: u32) {
        self.reserved.fetch_max(pages, Relaxed);
    }

    /// Gives the blocks from page `from` on back, where the file system can. The file stays as long as it is: someone may have
    /// it mapped (U4).
    pub(crate) fn give_back(&self, from: u32) -> Result<()> {
        self.reserved.fetch_min(from, Relaxed);
        let end = u64::from(self.backed()?) * PAGE;
        let start = u64::from(from) * PAGE;
        let punch = self.file.punch(start, end.saturating_sub(start));
        punch.map_err(|e| Error::io("punch", &self.path, e))
    }

    /// Makes the pages before `end` durable, and the file's length as far as they need it:
    /// `msync` syncs as `fdatasync` does, which includes what it takes to read the data again.
    pub(crate) fn sync(&self, end: u32) -> Result<()> {
        self.sync_by(usize::MAX, end, |_| false)
    }

    /// The same, `piece` bytes after the other; `again` says of each that its pages will be stored to before the next sync. They are made
    /// ready for that at once, which takes less time here than a page fault at each of these stores.
    pub(crate) fn sync_by(
        &self,
        piece: usize,
        end: u32,
        mut again: impl FnMut(usize) -> bool,
    ) -> Result<()> {
        let least = usize::try_from(self.file.piece()).expect("a 64-bit target");
        for (chunk, region) in (0u32..).zip(&self.regions) {
            let first = first_page(self.first, chunk);
            if first >= end {
                break;
            }
            let pages = u64::from(end - first).min(chunk_pages(self.first, chunk));
            // A writer that was killed may have left dirty pages where this handle has not been yet.
            let region = match region.get() {
                Some(region) => region,
                None => self.map(chunk as usize)?,
            };
            let len = usize::try_from(pages * PAGE).expect("a 64-bit target");
            let piece = piece.min(len).next_multiple_of(least);
            for at in (0..len).step_by(piece) {
                let piece = piece.min(len - at);
                region.sync(at, piece).map_err(|e| Error::io("sync", &self.path, e))?;
                if again(piece) {
                    region.dirty(at, piece);
                }
            }
        }
        Ok(())
    }

    /// Marks the pages before `end` dirty again, whatever a failed sync made of them.
    pub(crate) fn redirty(&self, end: u32) -> Result<()> {
        for page in 0..end {
            if self.page(page)?.is_some() {
                let (chunk, index) = place(self.first, page);
                if let Some(region) = self.regions[chunk].get() {
                    region.redirty(index as usize * PAGE_BYTES, PAGE_BYTES);
                }
            }
        }
        Ok(())
    }
}

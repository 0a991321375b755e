//! A file of words in memory, page by page: chunks that double in size, each mapped once, so that growth moves nothing
//! (invariant I11).

mod grow;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, OnceLock};

use bytemuck::TransparentWrapper;

use crate::error::{Error, Result};
use crate::faults::{Point, reach};
use crate::format::page::WORDS;
use crate::format::{PAGE, PAGE_BYTES};
use crate::sys::sync::{AtomicU32, AtomicU64};
use crate::sys::{Access, File, Region, Word};

/// Runs of pages never cross these multiples: the first chunk has this many pages at least.
const FIRST: u32 = 16;
const CHUNKS: usize = 29;

/// The mapped pages of one file.
#[derive(Debug)]
pub(crate) struct Chunks {
    file: Arc<dyn File>,
    path: PathBuf,
    access: Access,
    /// Pages of the first chunk, and of the second; each further one is as large as all before it.
    first: u32,
    regions: [OnceLock<Region>; CHUNKS],
    /// Pages that the file is known to have. A chunk is mapped beyond the file's end, where a touch would be fatal (U4).
    backed: AtomicU32,
    /// Pages that are known to have blocks on the disk; those after them, up to the file's end, may be holes.
    reserved: AtomicU32,
    /// Pages that are not in memory come by themselves.
    scattered: AtomicBool,
}

/// Chunk of a page, and its number in the chunk, when the first chunk has `first` pages.
#[inline]
fn place(first: u32, page: u32) -> (usize, u32) {
    if page < first {
        return (0, page);
    }
    // The first chunk has a power of two of pages, and a division would take long.
    let chunk = u32::BITS - (page >> first.trailing_zeros()).leading_zeros();
    (chunk as usize, page - first_page(first, chunk))
}

#[inline]
fn first_page(first: u32, chunk: u32) -> u32 {
    if chunk == 0 { 0 } else { first << (chunk - 1) }
}

fn chunk_pages(first: u32, chunk: u32) -> u64 {
    u64::from(first) << chunk.saturating_sub(1)
}

impl Chunks {
    /// `first` is the number of pages to map at once, a power of two from 16 on. Mapping ahead of the file costs address space
    /// only, and most lookups then find their page in the first chunk.
    pub(crate) fn new(file: Arc<dyn File>, path: PathBuf, access: Access, first: u32) -> Chunks {
        let first = first.next_power_of_two().max(FIRST);
        let regions = [const { OnceLock::new() }; CHUNKS];
        let (backed, reserved) = (AtomicU32::new(0), AtomicU32::new(0));
        let scattered = AtomicBool::new(false);
        Chunks { file, path, access, first, regions, backed, reserved, scattered }
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// The words of one page, or None when the file does not reach that far.
    #[inline]
    pub(crate) fn page(&self, page: u32) -> Result<Option<&[Word]>> {
        self.run(page, 1, WORDS)
    }

    /// `words` words from the start of `page`, which lie in `pages` pages of one chunk; None when they do not.
    #[inline]
    pub(crate) fn run(&self, page: u32, pages: u32, words: usize) -> Result<Option<&[Word]>> {
        let Some((region, offset)) = self.find(page, pages)? else { return Ok(None) };
        Ok(region.words(offset, words))
    }

    /// The region in which `pages` pages from `page` on lie, and where they begin in it; None when the file does not reach that far.
    #[inline]
    pub(crate) fn find(&self, page: u32, pages: u32) -> Result<Option<(&Region, usize)>> {
        let Some(end) = page.checked_add(pages) else { return Ok(None) };
        if end > self.backed.load(Acquire) && !self.refresh(end)? {
            return Ok(None);
        }
        let (chunk, index) = place(self.first, page);
        let region = match self.regions[chunk].get() {
            Some(region) => region,
            None => self.map(chunk)?,
        };
        Ok(Some((region, index as usize * PAGE_BYTES)))
    }

    /// The words of one page, to be stored to.
    #[inline]
    pub(crate) fn page_to_store(&self, page: u32) -> Result<Option<&[AtomicU64]>> {
        self.run_to_store(page, 1, WORDS)
    }

    /// The words of one page, to be stored to, if it is mapped; None sends the caller the long way.
    #[inline]
    pub(crate) fn mapped_to_store(&self, page: u32) -> Option<&[AtomicU64]> {
        let (region, offset) = self.found(page)?;
        region.words_to_store(offset, WORDS)
    }

    /// The same, only to be looked at for now. The other mapping has the same words, and a page table of its own, in which a processor would
    /// have to look up the page as well.
    #[inline]
    pub(crate) fn mapped_by_stores(&self, page: u32) -> Option<&[Word]> {
        self.mapped_to_store(page).map(Word::wrap_slice)
    }

    /// What [`find`](Self::find) gives for one page, if it is mapped; None sends the caller the long way.
    #[inline]
    pub(crate) fn found(&self, page: u32) -> Option<(&Region, usize)> {
        if page < self.backed.load(Acquire) { self.find_mapped(page) } else { None }
    }

    /// What `run` gives, to be stored to.
    #[inline]
    pub(crate) fn run_to_store(
        &self,
        page: u32,
        pages: u32,
        words: usize,
    ) -> Result<Option<&[AtomicU64]>> {
        let Some((region, offset)) = self.find(page, pages)? else { return Ok(None) };
        Ok(region.words_to_store(offset, words))
    }

    /// The words of one page if it is mapped; None sends the caller the long way.
    #[inline]
    pub(crate) fn mapped(&self, page: u32) -> Option<&[Word]> {
        if page >= self.backed.load(Acquire) {
            return None;
        }
        let near = self.near().and_then(|region| region.words(page as usize * PAGE_BYTES, WORDS));
        near.or_else(|| self.far(page).and_then(|(region, offset)| region.words(offset, WORDS)))
    }

    /// One word of the run of pages that starts at `page` and lies in one chunk, if it is mapped.
    #[inline]
    pub(crate) fn mapped_word(&self, page: u32, word: usize) -> Option<&Word> {
        if page as usize + word / WORDS >= self.backed.load(Acquire) as usize {
            return None;
        }
        let near =
            self.near().and_then(|region| region.word(page as usize * PAGE_BYTES + 8 * word));
        near.or_else(|| self.far(page).and_then(|(region, offset)| region.word(offset + 8 * word)))
    }

    /// The first chunk, in which most pages are: one that lies in it is where its number says.
    #[inline]
    fn near(&self) -> Option<&Region> {
        self.regions[0].get()
    }

    /// The chunk of a page, if it is mapped, and where in it the page begins.
    #[inline]
    fn find_mapped(&self, page: u32) -> Option<(&Region, usize)> {
        let near = self.near().filter(|_| page < self.first);
        let found = near.map(|region| (region, page as usize * PAGE_BYTES));
        found.or_else(|| self.far(page))
    }

    /// The same without a look at the first chunk.
    #[inline(never)]
    fn far(&self, page: u32) -> Option<(&Region, usize)> {
        let (chunk, index) = place(self.first, page);
        Some((self.regions[chunk].get()?, index as usize * PAGE_BYTES))
    }

    /// Prefetches the lines of a page that `len` bytes from `offset` on are in, if it is mapped.
    #[inline]
    pub(crate) fn prefetch(&self, page: u32, offset: usize, len: usize) {
        if let Some((region, start)) = self.find_mapped(page) {
            region.prefetch(start + offset, len);
        }
    }

    /// The same by the mapping for stores.
    #[inline]
    pub(crate) fn prefetch_to_store(&self, page: u32, offset: usize, len: usize) {
        if let Some((region, start)) = self.find_mapped(page) {
            region.prefetch_to_store(start + offset, len);
        }
    }

    /// Has pages that are not in memory come by themselves from now on.
    pub(crate) fn scatter(&self) {
        if !self.scattered.swap(true, Relaxed) {
            self.regions
                .iter()
                .filter_map(OnceLock::get)
                .for_each(|region| region.scattered(usize::MAX));
        }
    }

    /// Looks how far the file reaches now; true if that is at least `pages`.
    #[cold]
    fn refresh(&self, pages: u32) -> Result<bool> {
        let len = self.file.len().map_err(|e| Error::io("stat", &self.path, e))?;
        let backed = u32::try_from(len / PAGE).unwrap_or(u32::MAX);
        self.backed.fetch_max(backed, Release);
        Ok(backed >= pages)
    }

    #[cold]
    fn map(&self, chunk: usize) -> Result<&Region> {
        #[expect(clippy::cast_possible_truncation, reason = "below CHUNKS")]
        let number = chunk as u32;
        let offset = u64::from(first_page(self.first, number)) * PAGE;
        let len = usize::try_from(chunk_pages(self.first, number) * PAGE).expect("a 64-bit target");
        let region =
            self.file.map(offset, len, self.access).map_err(|e| Error::io("map", &self.path, e))?;
        reach(Point::GrowMapped);
        if self.scattered.load(Relaxed) {
            region.scattered(usize::MAX);
        }
        Ok(self.regions[chunk].get_or_init(|| region))
    }

    /// Pages that the file is known to have.
    pub(crate) fn known(&self) -> u32 {
        self.backed.load(Acquire)
    }

    /// A mapping of the file has lost a page.
    pub(crate) fn is_lost(&self) -> bool {
        self.regions.iter().filter_map(OnceLock::get).any(Region::is_lost)
    }

    /// Pages that the file has.
    pub(crate) fn backed(&self) -> Result<u32> {
        self.refresh(0)?;
        Ok(self.backed.load(Relaxed))
    }

    /// Maps all pages before `end`, which the file has.
    pub(crate) fn map_to(&self, end: u32) -> Result<()> {
        let (last, _) = place(self.first, end.saturating_sub(1));
        for (chunk, region) in self.regions.iter().enumerate().take(last + 1) {
            if region.get().is_none() {
                self.map(chunk)?;
            }
        }
        Ok(())
    }

    /// The first page from `from` on at which `pages` pages lie in one chunk, however many pages the first chunk has.
    pub(crate) fn contiguous(from: u32, pages: u32) -> Option<u32> {
        let (mut chunk, index) = place(FIRST, from);
        if u64::from(index) + u64::from(pages) <= chunk_pages(FIRST, u32::try_from(chunk).ok()?) {
            return Some(from);
        }
        loop {
            chunk += 1;
            let number = u32::try_from(chunk).ok()?;
            if chunk >= CHUNKS {
                return None;
            }
            if chunk_pages(FIRST, number) >= u64::from(pages) {
                return Some(first_page(FIRST, number));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_all_pages_without_gap() {
        for size in [FIRST, 1 << 16] {
            let mut expected = 0u64;
            let mut chunk = 0;
            while expected < 1 << 32 {
                let first = first_page(size, chunk);
                assert_eq!(u64::from(first), expected);
                assert_eq!(place(size, first), (chunk as usize, 0));
                expected += chunk_pages(size, chunk);
                chunk += 1;
            }
            assert_eq!(expected, 1 << 32);
            assert!(place(size, u32::MAX).0 < CHUNKS);
        }
    }

    #[test]
    fn runs_stay_within_a_chunk() {
        assert_eq!(Chunks::contiguous(3, 4), Some(3));
        assert_eq!(Chunks::contiguous(15, 2), Some(16));
        assert_eq!(Chunks::contiguous(20, 30), Some(32));
        assert_eq!(Chunks::contiguous(u32::MAX, 2), None);
    }
}

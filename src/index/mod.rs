//! The hash index: directory, pages, slots. Extendible hashing (Fagin et al., 1979) that knows nothing of the log:
//! the caller passes the match of a key and the position of its newest version.

mod allocate;
mod build;
mod edit;
mod first;
mod probe;
mod restore;
mod split;
mod survey;
mod tidy;
mod walk;

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

pub(crate) use allocate::Captured;
pub(crate) use edit::{Editor, Place};
pub(crate) use first::{First, Way};
pub(crate) use probe::Probe;
pub(crate) use restore::all_slots;
pub(crate) use survey::Leaf;
pub(crate) use tidy::Tidied;

use crate::cells::Cells;
use crate::chunks::Chunks;
use crate::error::{Error, Result};
use crate::faults::{Bug, planted};
use crate::format::PAGE;
use crate::format::directory::{Cell, ENTRY, Entry, MAX_DEPTH};
use crate::format::hash::Hash;
use crate::format::page::{BIRTH_WORD, MAGIC_WORD, PREFIX_WORD, PageHeader, SHAPE_WORD};
use crate::sys::Word;
use crate::sys::sync::AtomicU64;

/// The index of one store as one handle sees it.
#[derive(Debug)]
pub(crate) struct Index {
    cells: Arc<Cells>,
    chunks: Chunks,
}

/// Pages of a directory of 2^`depth` entries.
fn directory_pages(depth: u32) -> u32 {
    u32::try_from((ENTRY << depth).div_ceil(PAGE)).unwrap_or(u32::MAX)
}

/// The header line of a page.
pub(crate) fn header(words: &[Word]) -> Option<PageHeader> {
    let word = |at: usize| words[at].load(Relaxed);
    PageHeader::decode([word(MAGIC_WORD), word(PREFIX_WORD), word(SHAPE_WORD), word(BIRTH_WORD)])
}

impl Index {
    pub(crate) fn new(cells: Arc<Cells>, chunks: Chunks) -> Index {
        Index { cells, chunks }
    }

    /// Has pages that are not in memory come one by one.
    pub(crate) fn scatter(&self) {
        self.chunks.scatter();
    }

    /// Bytes of the index file.
    pub(crate) fn bytes(&self) -> Result<u64> {
        Ok(u64::from(self.chunks.backed()?) * PAGE)
    }

    /// Pages of the directory.
    pub(crate) fn directory_pages(&self) -> u64 {
        u64::from(directory_pages(self.cells.directory().depth()))
    }

    /// Bytes that the index file is known to have.
    pub(crate) fn known_bytes(&self) -> u64 {
        u64::from(self.chunks.known()) * PAGE
    }

    /// A mapping of the file has lost a page.
    pub(crate) fn is_lost(&self) -> bool {
        self.chunks.is_lost()
    }

    /// Makes all pages durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.chunks.sync(self.cells.watermark())
    }

    /// The same, `piece` bytes after the other; `again` says of so many that were synced that they will change again soon.
    pub(crate) fn sync_by(&self, piece: usize, again: impl FnMut(usize) -> bool) -> Result<()> {
        self.chunks.sync_by(piece, self.cells.watermark(), again)
    }

    /// Marks all pages dirty, whatever a failed sync made of them.
    pub(crate) fn redirty(&self) -> Result<()> {
        if planted(Bug::SkipRedirty) {
            return Ok(());
        }
        self.chunks.redirty(self.cells.watermark())
    }

    /// The words of the directory that `cell` names; None when it names something impossible.
    #[inline]
    fn directory(&self, cell: Cell) -> Result<Option<&[Word]>> {
        let depth = cell.depth();
        if depth > MAX_DEPTH {
            return Ok(None);
        }
        self.chunks.run(cell.page(), directory_pages(depth), 1 << depth)
    }

    /// The directory as it is now, for the writer, whom nobody disturbs.
    fn current(&self) -> Result<(Cell, &[Word])> {
        let cell = self.cells.directory();
        let words = self.directory(cell)?.ok_or_else(|| self.bad_directory(cell))?;
        Ok((cell, words))
    }

    /// The entry for `hash` as it is now, for the writer.
    fn entry(&self, hash: Hash) -> Result<Entry> {
        let (cell, words) = self.current()?;
        #[expect(clippy::cast_possible_truncation, reason = "a 64-bit target")]
        let index = hash.prefix(cell.depth()) as usize;
        let entry = Entry(words[index].load(Acquire));
        if entry.depth() > cell.depth() {
            let offset = u64::from(cell.page()) * PAGE + ENTRY * index as u64;
            return Err(self.bad_entry(offset));
        }
        Ok(entry)
    }

    /// The words of a page that an entry names.
    fn page(&self, page: u32) -> Result<&[Word]> {
        self.chunks.page(page)?.ok_or_else(|| self.bad_page(page))
    }

    /// The words of a page that an entry names, to be stored to.
    fn page_to_store(&self, page: u32) -> Result<&[AtomicU64]> {
        self.chunks.page_to_store(page)?.ok_or_else(|| self.bad_page(page))
    }

    /// The words of the directory that `cell` names, to be stored to.
    fn directory_to_store(&self, cell: Cell) -> Result<&[AtomicU64]> {
        let depth = cell.depth();
        let run = |depth| self.chunks.run_to_store(cell.page(), directory_pages(depth), 1 << depth);
        let words = if depth > MAX_DEPTH { None } else { run(depth)? };
        words.ok_or_else(|| self.bad_directory(cell))
    }

    #[cold]
    fn bad_directory(&self, cell: Cell) -> Error {
        let found = format!("page {}, depth {}", cell.page(), cell.depth());
        let at = crate::format::meta::cell::DIRECTORY;
        self.bad_cell(at, "the place of a directory within the index", found)
    }

    /// A cell of `meta` that the index goes by does not hold what it must.
    #[cold]
    fn bad_cell(&self, at: usize, expected: impl Into<String>, found: impl Display) -> Error {
        Error::corrupt(self.chunks.path().with_file_name("meta"), at as u64, expected, found)
    }

    #[cold]
    fn bad_entry(&self, offset: u64) -> Error {
        Error::corrupt(self.chunks.path(), offset, "a directory entry", "another word")
    }

    #[cold]
    fn bad_page(&self, page: u32) -> Error {
        let offset = u64::from(page) * PAGE;
        Error::corrupt(self.chunks.path(), offset, "an index page", "bytes that are none")
    }
}

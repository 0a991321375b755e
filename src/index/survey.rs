//! A directory as a whole: which pages it leads to, and whether its entries agree with each other.

use std::sync::atomic::Ordering::Acquire;

use crate::error::{Error, Result};
use crate::format::PAGE;
use crate::format::directory::{CHAINED, Cell, ENTRY, Entry};
use crate::format::hash::Hash;
use crate::format::meta::cell;
use crate::format::page::PageHeader;
use crate::sys::sync::AtomicU64;

use super::allocate::Captured;
use super::probe::slots;
use super::split::span;
use super::{Index, directory_pages, header};

/// The bits of an entry without its generation.
const MEANING: u64 = CHAINED | (CHAINED - 1);

/// A page, or the first of a chain, that a directory leads to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaf {
    /// Number of the first entry that leads to it.
    pub(crate) at: usize,
    pub(crate) entry: Entry,
    /// The hash bits that its keys share.
    pub(crate) prefix: u64,
}

/// The two pages of an announced split, as their headers describe them.
pub(super) type Halves = [(u32, PageHeader); 2];

impl Captured {
    /// The pages that the directory leads to, in hash order. An entry that cannot be, or that its neighbours contradict, comes
    /// as an error, with its number.
    pub(crate) fn leaves(&self) -> impl Iterator<Item = Result<Leaf, usize>> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let entry = Entry(*self.entries.get(at)?);
            let first = at;
            at += 1;
            let Some(each) = self.depth.checked_sub(entry.depth()) else { return Some(Err(first)) };
            let prefix = (first >> each) as u64;
            let all = span(prefix, entry.depth(), self.depth);
            let agree = |number: &usize| self.entries[*number] & MEANING == entry.0 & MEANING;
            let agreeing = all.clone().filter(agree).count();
            if first != all.start || 2 * agreeing <= all.len() {
                return Some(Err(first));
            }
            at = all.end;
            let odd = all.clone().find(|number| !agree(number));
            Some(odd.map_or(Ok(Leaf { at: first, entry, prefix }), Err))
        })
    }

    /// The entry for a hash.
    pub(crate) fn entry(&self, hash: Hash) -> Option<Entry> {
        let index = usize::try_from(hash.prefix(self.depth)).ok()?;
        self.entries.get(index).copied().map(Entry)
    }

    /// Where an entry is in the index, for the live directory.
    pub(crate) fn offset(&self, entry: usize) -> u64 {
        u64::from(self.region.start) * PAGE + ENTRY * entry as u64
    }
}

impl Index {
    /// Fails unless the directory cell leads into the file.
    pub(crate) fn check_cell(&self) -> Result<()> {
        self.current().map(drop)
    }

    /// A copy of the live directory, with a split that was announced completed in it. Nobody writes meanwhile.
    pub(crate) fn copy(&self) -> Result<Captured> {
        let (cell, words) = self.current()?;
        let first = cell.page();
        let mut copy = Captured {
            entries: words.iter().map(|word| word.load(Acquire)).collect(),
            depth: cell.depth(),
            watermark: self.cells.watermark(),
            sequence: self.cells.sequence(),
            region: first..first + directory_pages(cell.depth()),
        };
        for (page, header) in self.announced(cell, words)?.into_iter().flatten() {
            let entry = Entry::new(page, header.depth, header.next != 0);
            copy.entries[span(header.prefix, header.depth, cell.depth())].fill(entry.0);
        }
        Ok(copy)
    }

    /// The pages of a split that was announced and not ended, if it can be one: what leads to either half leads to the page
    /// that splits or to the half itself.
    pub(super) fn announced(&self, at: Cell, words: &[AtomicU64]) -> Result<Option<Halves>> {
        let Some((from, zero, one)) = self.cells.split() else { return Ok(None) };
        let bad = || {
            let meta = self.chunks.path().with_file_name("meta");
            let found = format!("pages {from}, {zero} and {one}");
            Error::corrupt(meta, cell::SPLIT_FROM as u64, "a page that splits in two", found)
        };
        let half = |page: u32| -> Result<(u32, PageHeader)> {
            let words = self.chunks.page(page)?.ok_or_else(bad)?;
            let header = header(words).filter(|header| header.number == page).ok_or_else(bad)?;
            Ok((page, header))
        };
        let halves = [half(zero)?, half(one)?];
        let [(_, low), (_, high)] = halves;
        if zero == one {
            let replaced = self.replaces(at, words, from, zero, &low)?;
            return if replaced { Ok(Some(halves)) } else { Err(bad()) };
        }
        let paired =
            low.depth == high.depth && low.prefix & 1 == 0 && high.prefix == low.prefix | 1;
        if !paired || low.depth == 0 || low.depth > at.depth() || low.prefix >> low.depth != 0 {
            return Err(bad());
        }
        for (page, header) in halves {
            for word in &words[span(header.prefix, header.depth, at.depth())] {
                let entry = Entry(word.load(Acquire));
                let old = entry.page() == from && entry.depth() + 1 == header.depth;
                if !old && (entry.page() != page || entry.depth() != header.depth) {
                    return Err(bad());
                }
            }
        }
        Ok(Some(halves))
    }

    /// One page that is announced twice is the same as `from` elsewhere, or `from` merged with its neighbour: what it is to
    /// replace is led to until the page itself is.
    fn replaces(
        &self,
        at: Cell,
        words: &[AtomicU64],
        from: u32,
        page: u32,
        to: &PageHeader,
    ) -> Result<bool> {
        if to.depth > at.depth() || to.prefix >> to.depth != 0 {
            return Ok(false);
        }
        let mut old = Vec::new();
        for word in &words[span(to.prefix, to.depth, at.depth())] {
            let entry = Entry(word.load(Acquire));
            if entry.page() == page {
                if entry.depth() != to.depth {
                    return Ok(false);
                }
            } else if !old.iter().any(|it: &Entry| it.page() == entry.page()) {
                old.push(entry);
            }
        }
        let mut prefixes = Vec::new();
        for entry in &old {
            let Some(header) = self.chunks.page(entry.page())?.and_then(header) else {
                return Ok(false);
            };
            let parent = entry.depth().checked_sub(to.depth);
            let fits = header.number == entry.page()
                && header.depth == entry.depth()
                && parent.is_some_and(|bits| bits <= 1 && header.prefix >> bits == to.prefix);
            if !fits {
                return Ok(false);
            }
            prefixes.push((header.depth, header.prefix));
        }
        // All of one, or one of either half, among them the page that was announced as long as the first entry is not led.
        let started = words[span(to.prefix, to.depth, at.depth())]
            .iter()
            .any(|word| Entry(word.load(Acquire)).page() == page);
        let named = old.iter().any(|entry| entry.page() == from);
        prefixes.dedup();
        let distinct = prefixes.len() == old.len() && old.len() <= 2;
        Ok(distinct && (named || started))
    }

    /// Checks the directory that a dead writer has left before a successor goes on from it, and counts its pages.
    pub(crate) fn take_over(&self) -> Result<u64> {
        let directory = self.copy()?;
        let watermark = directory.watermark;
        if directory.region.end > watermark {
            return Err(self.bad_watermark(watermark));
        }
        let (mut pages, mut sound, mut first) = (0, 0, None);
        let mut leaves = 0u64;
        for leaf in directory.leaves() {
            leaves += 1;
            let checked = match leaf {
                Ok(leaf) => self.adopt(&directory, &leaf),
                Err(entry) => Err(self.bad_entry(directory.offset(entry))),
            };
            match checked {
                Ok(more) => {
                    pages += more;
                    sound += 1;
                }
                Err(error) => first = first.or(Some(error)),
            }
        }
        match first {
            None => Ok(pages),
            // Where hardly an entry is one, the directory is somewhere else.
            Some(_) if 2 * sound < leaves => Err(self.bad_directory(self.cells.directory())),
            Some(error) => Err(error),
        }
    }

    /// Checks the page or the chain of one leaf, and counts its pages.
    fn adopt(&self, directory: &Captured, leaf: &Leaf) -> Result<u64> {
        let bad_entry = || self.bad_entry(directory.offset(leaf.at));
        let mut pages = 0;
        for page in self.chain(leaf.entry) {
            let (number, words) = page.map_err(|_| bad_entry())?;
            if number == 0 {
                return Err(bad_entry());
            }
            if number >= directory.watermark {
                // One of the two is wrong: the page can tell which.
                let right = header(words).is_some_and(|it| it.number == number && leaf.fits(&it));
                return Err(if right {
                    self.bad_watermark(directory.watermark)
                } else {
                    bad_entry()
                });
            }
            pages += 1;
        }
        Ok(pages)
    }

    #[cold]
    fn bad_watermark(&self, found: u32) -> Error {
        let meta = self.chunks.path().with_file_name("meta");
        Error::corrupt(meta, cell::WATERMARK as u64, "a page after all that are used", found)
    }

    /// The page that the directory leads to for a hash, if that can be said.
    pub(crate) fn page_of(&self, hash: Hash) -> Option<u32> {
        self.entry(hash).ok().map(Entry::page)
    }

    /// The error for a page that has lost a key with this hash.
    #[cold]
    pub(crate) fn damaged(&self, hash: Hash) -> Error {
        self.bad_page(self.page_of(hash).unwrap_or_default())
    }

    /// Looks a key up by a directory that is not the live one: calls `is` as `lookup` does.
    pub(crate) fn lookup_in<T>(
        &self,
        directory: &Captured,
        hash: Hash,
        reference: u64,
        mut is: impl FnMut(u64) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let Some(entry) = directory.entry(hash) else { return Ok(None) };
        for page in self.chain(entry) {
            let found = slots(page?.1, hash, reference, |_, at| is(at).transpose());
            if found.is_some() {
                return found.transpose();
            }
        }
        Ok(None)
    }
}

impl Leaf {
    /// The header is that of a page of this leaf, whatever its number.
    pub(crate) fn fits(&self, header: &PageHeader) -> bool {
        header.depth == self.entry.depth() && header.prefix == self.prefix
    }
}

//! A directory as a whole: which pages it leads to, and whether its entries agree with each other.

use std::sync::atomic::Ordering::Acquire;

use crate::error::{Error, Result};
use crate::format::PAGE;
use crate::format::directory::{CHAINED, Cell, ENTRY, Entry};
use crate::format::hash::Hash;
use crate::format::meta::cell;
use crate::format::page::PageHeader;
use crate::sys::Word;

use super::allocate::Captured;
use super::split::span;
use super::{Index, directory_pages, header};

/// How many entries a check of the directory looks at.
const LOOKS: usize = 64;
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
    pub(super) fn announced(&self, at: Cell, words: &[Word]) -> Result<Option<Halves>> {
        let Some((from, zero, one)) = self.cells.split() else { return Ok(None) };
        let bad = || {
            let found = format!("pages {from}, {zero} and {one}");
            self.bad_cell(cell::SPLIT_FROM, "a page that splits in two", found)
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
        words: &[Word],
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

    /// Checks the directory that a dead writer has left, as far as a few of its entries tell: the same effort at every size.
    ///
    /// A split may be under way. Whatever else is damaged is met by a lookup or a verification.
    pub(crate) fn check_directory(&self) -> Result<()> {
        let (cell, words) = self.current()?;
        let watermark = self.cells.watermark();
        if cell.page() == 0 || cell.page() + directory_pages(cell.depth()) > watermark {
            return Err(self.bad_directory(cell));
        }
        let (mut looks, mut odd, mut first) = (0, 0, None);
        for at in (0..words.len()).step_by(words.len().div_ceil(LOOKS)) {
            looks += 1;
            let entry = Entry(words[at].load(Acquire));
            let offset = u64::from(cell.page()) * PAGE + ENTRY * at as u64;
            let found = self.chunks.page(entry.page())?.and_then(header);
            // The page itself tells whether it is the entry or the watermark that is wrong.
            let right = cell.depth().checked_sub(entry.depth()).is_some_and(|each| {
                let prefix = (at >> each) as u64;
                let leaf = Leaf { at, entry, prefix };
                found.is_some_and(|it| it.number == entry.page() && leaf.fits(&it))
            });
            odd += usize::from(!right);
            if entry.page() >= watermark && right {
                return Err(self.bad_watermark(watermark));
            }
            if entry.page() == 0 || entry.page() >= watermark || entry.depth() > cell.depth() {
                first = first.or(Some(offset));
            }
        }
        // Where hardly an entry is one, the directory is somewhere else.
        if looks > 2 && 2 * odd > looks {
            return Err(self.bad_directory(cell));
        }
        first.map_or(Ok(()), |offset| Err(self.bad_entry(offset)))
    }

    /// How many pages the directory leads to once a split that was announced is completed.
    pub(crate) fn count_pages(&self) -> Result<u64> {
        let pages =
            self.cells.pages().ok_or_else(|| self.bad_pages("a number and its complement"))?;
        if pages == 0 {
            // A writer of an earlier release did not keep the number.
            return self
                .copy()?
                .leaves()
                .flatten()
                .try_fold(0, |n, leaf| Ok(n + self.count(leaf.entry)?));
        }
        let (page, then) = self.cells.foreseen_pages();
        let announced = self.cells.split().is_some_and(|(_, zero, _)| zero == page);
        Ok(u64::from(if announced || self.leads_to(page)? { then } else { pages }))
    }

    /// The directory leads to this page, as the first of a chain if it is one of several.
    fn leads_to(&self, page: u32) -> Result<bool> {
        let (cell, words) = self.current()?;
        let found = self.chunks.page(page)?.and_then(header).filter(|it| it.number == page);
        let Some(header) = found else { return Ok(false) };
        let Some(each) = cell.depth().checked_sub(header.depth) else { return Ok(false) };
        let entry = words.get(usize::try_from(header.prefix << each).unwrap_or(usize::MAX));
        Ok(entry.is_some_and(|word| Entry(word.load(Acquire)).page() == page))
    }

    /// How many pages an entry leads to.
    pub(super) fn count(&self, entry: Entry) -> Result<u64> {
        self.chain(entry).try_fold(0, |n, page| page.map(|_| n + 1))
    }

    #[cold]
    pub(crate) fn bad_pages(&self, expected: impl Into<String>) -> Error {
        let found = self.cells.pages().map_or("another word".into(), |pages| pages.to_string());
        self.bad_cell(cell::PAGES, expected, found)
    }

    #[cold]
    fn bad_watermark(&self, found: u32) -> Error {
        self.bad_cell(cell::WATERMARK, "a page after all that are used", found)
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
        self.search(hash, entry, reference, &mut is)
    }
}

impl Leaf {
    /// The header is that of a page of this leaf, whatever its number.
    pub(crate) fn fits(&self, header: &PageHeader) -> bool {
        header.depth == self.entry.depth() && header.prefix == self.prefix
    }
}

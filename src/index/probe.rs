//! Looking a key up, in any process, while a writer works: probe, then check that nothing moved meanwhile.

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::error::Result;
use crate::faults::{Bug, planted};
use crate::format::PAGE;
use crate::format::directory::{Cell, ENTRY, Entry};
use crate::format::hash::Hash;
use crate::format::page::{
    LINE, LINE_SLOTS, LINES, SHAPE_WORD, Tags, line_word, position, start_line,
};
use crate::sys::Word;
use crate::sys::prefetch;
use crate::sys::sync::fence;

use super::Index;

/// Longest chain that is followed: 4 GiB of keys that collide in all stored bits.
const MAX_CHAIN: u32 = 1 << 20;

/// What the writer and the reader have loaded on the way to a page; kept to see whether it changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub(super) hash: Hash,
    pub(super) cell: Cell,
    pub(super) entry: Entry,
}

impl Probe {
    /// What the directory says.
    pub(crate) fn entry(&self) -> Entry {
        self.entry
    }

    /// What it went by is not what is found there now.
    #[inline]
    pub(super) fn changed(
        &self,
        cell: impl FnOnce() -> Cell,
        entry: Option<impl FnOnce() -> Option<Entry>>,
    ) -> bool {
        if planted(Bug::SkipRecheck) {
            return false;
        }
        // Everything the probe read comes before these loads.
        fence(Acquire);
        if cell() != self.cell && !planted(Bug::IgnoreMovedDirectory) {
            return true;
        }
        entry.is_some_and(|now| !planted(Bug::IgnoreMovedPage) && now() != Some(self.entry))
    }
}

/// Visits the slots on the probe path of one page that carry the tags; `visit` gets the word offset and the position.
/// Returns what `visit` returned, or None at the first line with an empty slot or after all lines.
#[inline]
pub(super) fn slots<T>(
    words: &[Word],
    hash: Hash,
    reference: u64,
    mut visit: impl FnMut(usize, u64) -> Option<T>,
) -> Option<T> {
    let tags = Tags::of(hash);
    let mut line = start_line(hash.stored());
    for _ in 0..LINES {
        let first = line_word(line);
        let words = &words[first..first + 2 * LINE_SLOTS];
        let mut last = 0;
        for slot in 0..LINE_SLOTS {
            last = words[2 * slot].load(Acquire);
            if tags.is_cur(last)
                && tags.is_prev(words[2 * slot + 1].load(Relaxed))
                && let Some(position) = position(last, reference)
                && let Some(found) = visit(first + 2 * slot, position)
            {
                return Some(found);
            }
        }
        if last == 0 {
            return None;
        }
        line = if line + 1 == LINES { 0 } else { line + 1 };
    }
    None
}

/// The page after this one in its chain.
#[inline]
pub(super) fn next(words: &[Word]) -> u32 {
    (words[SHAPE_WORD].load(Relaxed) >> 32) as u32
}

impl Index {
    /// Finds the key with this hash: calls `is` with each position that may be its newest version, until one is.
    ///
    /// `is` gives None for another key's record. `reference` is any position near the log's end.
    pub(crate) fn lookup<T>(
        &self,
        hash: Hash,
        reference: u64,
        mut is: impl FnMut(u64) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        loop {
            let begun = self.begin(hash);
            let Some(probe) = self.load(&begun)? else {
                if self.moved(&begun, false) {
                    continue;
                }
                return Err(self.bad_directory(begun.cell));
            };
            let found = self.search(hash, probe.entry, reference, &mut is);
            // A record proves the key, so only the directory's own memory can have misled a hit; a miss or a failure
            // may also come from a page that was recycled meanwhile (invariant I7).
            let hit = matches!(found, Ok(Some(_)));
            if !self.moved(&probe, !hit) {
                return found;
            }
        }
    }

    /// Starts a lookup: where the directory is.
    #[inline]
    pub(crate) fn begin(&self, hash: Hash) -> Probe {
        Probe { hash, cell: self.cells.directory(), entry: Entry(0) }
    }

    /// Asks for the directory entry.
    #[inline]
    pub(crate) fn prefetch_entry(&self, probe: &Probe) {
        if let Some(word) = self.entry_word(probe) {
            prefetch(word);
        }
    }

    /// Reads the directory entry; None when it is not mapped.
    #[inline]
    pub(crate) fn enter(&self, probe: Probe) -> Option<Probe> {
        let entry = Entry(self.entry_word(&probe)?.load(Acquire));
        Some(Probe { entry, ..probe })
    }

    /// Asks for the line of the page at which the probe starts, and the one after it.
    #[inline]
    pub(crate) fn prefetch_page(&self, probe: &Probe) {
        let offset = (start_line(probe.hash.stored()) + 1) * LINE;
        self.chunks.prefetch(probe.entry.page(), offset, 2 * LINE);
    }

    /// The same for who is going to change a slot there.
    #[inline]
    pub(crate) fn prefetch_page_to_store(&self, probe: &Probe) {
        let offset = (start_line(probe.hash.stored()) + 1) * LINE;
        self.chunks.prefetch_to_store(probe.entry.page(), offset, 2 * LINE);
    }

    #[inline]
    pub(super) fn entry_word(&self, probe: &Probe) -> Option<&Word> {
        // A depth that is too large leads out of the region, and to None.
        #[expect(clippy::cast_possible_truncation, reason = "a 64-bit target")]
        let index = probe.hash.prefix(probe.cell.depth() & 63) as usize;
        self.chunks.mapped_word(probe.cell.page(), index)
    }

    /// The directory, or with `entry` what it says for this hash, is no longer what the probe went by.
    #[inline]
    pub(crate) fn moved(&self, probe: &Probe, entry: bool) -> bool {
        let now = || self.enter(*probe).map(|now| now.entry);
        probe.changed(|| self.cells.directory(), entry.then_some(now))
    }

    /// Where the entry that a probe went by is in the file.
    #[cold]
    pub(super) fn entry_offset(&self, probe: &Probe) -> u64 {
        u64::from(probe.cell.page()) * PAGE + ENTRY * probe.hash.prefix(probe.cell.depth() & 63)
    }

    /// As `enter`, but maps what is not mapped; None when the directory cannot be where the cell says.
    pub(super) fn load(&self, probe: &Probe) -> Result<Option<Probe>> {
        let Some(directory) = self.directory(probe.cell)? else { return Ok(None) };
        #[expect(clippy::cast_possible_truncation, reason = "a 64-bit target")]
        let index = probe.hash.prefix(probe.cell.depth()) as usize;
        Ok(Some(Probe { entry: Entry(directory[index].load(Acquire)), ..*probe }))
    }

    /// Finds the key with this hash in the pages that an entry leads to.
    pub(super) fn search<T>(
        &self,
        hash: Hash,
        entry: Entry,
        reference: u64,
        is: &mut impl FnMut(u64) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        'anew: loop {
            for page in self.chain(entry) {
                let words = page?.1;
                let mut gone = false;
                let found = slots(words, hash, reference, |word, at| {
                    let found = is(at);
                    // What a slot leads to is there as long as it leads there: a tombstone may have been buried meanwhile.
                    gone = found.is_err()
                        && position(words[word].load(Acquire), reference) != Some(at);
                    found.transpose()
                });
                match found {
                    _ if gone => continue 'anew,
                    Some(found) => return found.map(Some),
                    None => {}
                }
            }
            return Ok(None);
        }
    }

    /// The pages that an entry leads to: one, or a chain of them.
    #[inline]
    pub(crate) fn chain(&self, entry: Entry) -> impl Iterator<Item = Result<(u32, &[Word])>> + '_ {
        let mut ahead = Some(entry.page());
        let mut steps = 0;
        std::iter::from_fn(move || {
            let page = ahead.take()?;
            let words = match self.page(page) {
                Ok(words) => words,
                Err(e) => return Some(Err(e)),
            };
            if entry.chained() {
                steps += 1;
                ahead = Some(next(words)).filter(|next| *next != 0);
                // A chain is no longer than the file; a damaged one could be a circle.
                if steps > self.chunks.known().min(MAX_CHAIN) {
                    return Some(Err(self.bad_page(page)));
                }
            }
            Some(Ok((page, words)))
        })
    }
}

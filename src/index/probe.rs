//! Looking a key up, in any process, while a writer works: probe, then check that nothing moved meanwhile.

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::error::Result;
use crate::faults::{Bug, Point, planted, reach};
use crate::format::directory::{Cell, ENTRY, Entry};
use crate::format::hash::Hash;
use crate::format::page::{
    LINE, LINE_SLOTS, LINES, SHAPE_WORD, Tags, line_word, position, start_line,
};
use crate::format::{PAGE, PAGE_BYTES};
use crate::sys::Word;
use crate::sys::prefetch;
use crate::sys::sync::fence;

use super::Index;
use super::build::MAX_PROBE;

/// Longest chain that is followed: 4 GiB of keys that collide in all stored bits.
const MAX_CHAIN: u32 = 1 << 20;

/// What the writer and the reader have loaded on the way to a page; kept to see whether it changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    hash: Hash,
    cell: Cell,
    entry: Entry,
}

impl Probe {
    /// What the directory says.
    pub(crate) fn entry(&self) -> Entry {
        self.entry
    }

    /// Where the directory is.
    pub(super) fn cell(&self) -> Cell {
        self.cell
    }
}

/// What a first look at a page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// The first slot with the key's tag, by its word in the page, and the position it holds.
    Candidate(usize, u64),
    /// No slot has the tag, and nothing moved meanwhile. A new key's slot is at this word of the page; 0 if it has no room.
    Absent(usize),
    /// Only a full lookup can say.
    Unsure,
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
        let line_words = &words[first..first + 2 * LINE_SLOTS];
        let (mut matching, empty) = scan_line(line_words, tags);
        while matching != 0 {
            let slot = matching.trailing_zeros() as usize;
            matching &= matching - 1;
            if tags.is_prev(line_words[2 * slot + 1].load(Relaxed))
                && let Some(position) = position(line_words[2 * slot].load(Acquire), reference)
                && let Some(found) = visit(first + 2 * slot, position)
            {
                return Some(found);
            }
        }
        if empty != 0 {
            return None;
        }
        line = if line + 1 == LINES { 0 } else { line + 1 };
    }
    None
}

/// Which of the four slots of a line carry the tag of `cur`, and which are empty, as bits.
///
/// Without a branch: which slot matches cannot be predicted, and a wrong guess would throw away the loads of the lookups
/// that follow.
#[inline]
fn scan_line(words: &[Word], tags: Tags) -> (u32, u32) {
    let mut matching = 0;
    let mut empty = 0;
    for slot in 0..LINE_SLOTS {
        let cur = words[2 * slot].load(Acquire);
        matching |= u32::from(tags.is_cur(cur) & (cur != 0)) << slot;
        empty |= u32::from(cur == 0) << slot;
    }
    (matching, empty)
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

    /// Asks for the two lines of the page at which the probe starts.
    #[inline]
    pub(crate) fn prefetch_page(&self, probe: &Probe) {
        let offset = (start_line(probe.hash.stored()) + 1) * LINE;
        self.chunks.prefetch(probe.entry.page(), offset);
        self.chunks.prefetch(probe.entry.page(), (offset + LINE) % PAGE_BYTES);
    }

    #[inline]
    fn entry_word(&self, probe: &Probe) -> Option<&Word> {
        // A depth that is too large leads out of the region, and to None.
        #[expect(clippy::cast_possible_truncation, reason = "a 64-bit target")]
        let index = probe.hash.prefix(probe.cell.depth() & 63) as usize;
        self.chunks.mapped_word(probe.cell.page(), index)
    }

    /// The first slot with the key's tags, without looking at any record.
    #[inline]
    pub(crate) fn first(&self, probe: &Probe, reference: u64) -> First {
        reach(Point::LookupEntered);
        let Some(words) = self.chunks.mapped(probe.entry.page()) else { return First::Unsure };
        let tags = Tags::of(probe.hash);
        let mut line = start_line(probe.hash.stored());
        for distance in 0..LINES {
            let first = line_word(line);
            let line_words = &words[first..first + 2 * LINE_SLOTS];
            let (matching, empty) = scan_line(line_words, tags);
            if matching != 0 {
                let slot = matching.trailing_zeros() as usize;
                let (cur, prev) = (&line_words[2 * slot], &line_words[2 * slot + 1]);
                return match position(cur.load(Acquire), reference) {
                    Some(at) if tags.is_prev(prev.load(Relaxed)) => {
                        First::Candidate(first + 2 * slot, at)
                    }
                    _ => First::Unsure,
                };
            }
            if empty != 0 {
                if probe.entry.chained() || self.moved(probe, true) {
                    return First::Unsure;
                }
                let room = distance < MAX_PROBE;
                let vacant = first + 2 * empty.trailing_zeros() as usize;
                return First::Absent(if room { vacant } else { 0 });
            }
            line = if line + 1 == LINES { 0 } else { line + 1 };
        }
        First::Unsure
    }

    /// The directory, or with `entry` what it says for this hash, is no longer what the probe went by.
    #[inline]
    pub(crate) fn moved(&self, probe: &Probe, entry: bool) -> bool {
        if planted(Bug::SkipRecheck) {
            return false;
        }
        // Everything the probe read comes before these loads.
        fence(Acquire);
        if self.cells.directory() != probe.cell && !planted(Bug::IgnoreMovedDirectory) {
            return true;
        }
        entry
            && !planted(Bug::IgnoreMovedPage)
            && self.enter(*probe).is_none_or(|now| now.entry != probe.entry)
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

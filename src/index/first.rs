//! A first look at the page of a hash, without one at any record, which settles nearly every lookup.

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::cells::Front;
use crate::faults::{Point, reach};
use crate::format::directory::Entry;
use crate::format::hash::Hash;
use crate::format::page::{
    LINE_SLOTS, LINES, OVERFLOW, Tags, line_word, overflow_word, position, start_line,
};
use crate::sys::Word;

use super::Index;
use super::build::MAX_PROBE;
use super::probe::Probe;

/// A lookup on its way to a page, with the word that led there, so that a second look at it is quick.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    probe: Probe,
    word: &'a Word,
}

impl Way<'_> {
    /// What it went by.
    pub(crate) fn probe(&self) -> &Probe {
        &self.probe
    }

    /// The directory, or with `entry` what it says for this hash, is no longer what led here.
    #[inline]
    pub(crate) fn moved(&self, front: Front<'_>, entry: bool) -> bool {
        let now = || Some(Entry(self.word.load(Acquire)));
        self.probe.changed(|| front.directory(), entry.then_some(now))
    }
}

/// What a first look at a page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// The first slot with the key's tag in `cur`, by its word in the page, and the position it holds; that in `prev` is the
    /// key's as well.
    Candidate(usize, u64),
    /// No slot has the tag, and nothing moved meanwhile. A new key's slot is at this word of the page; 0 if it has no room, or nobody
    /// asked.
    Absent(usize),
    /// Only a full lookup can say.
    Unsure,
}

/// What the slots of a line have in `cur`, and the first of them that carries the tag, with that word. Slots are taken in their
/// order, so a probe ends at a line whose last one is empty.
///
/// Without a branch: which slot matches cannot be predicted, and a wrong guess would throw away the loads of the lookups
/// that follow.
#[inline]
fn scan_line(words: &[Word], tags: Tags) -> ([u64; LINE_SLOTS], Option<(usize, u64)>) {
    let curs: [u64; LINE_SLOTS] = std::array::from_fn(|slot| words[2 * slot].load(Acquire));
    let mut found = (LINE_SLOTS - 1, curs[LINE_SLOTS - 1]);
    for slot in (0..LINE_SLOTS - 1).rev() {
        found = if tags.is_cur(curs[slot]) { (slot, curs[slot]) } else { found };
    }
    (curs, tags.is_cur(found.1).then_some(found))
}

impl Index {
    /// The way to the page of a hash; None when the entry is not mapped.
    #[inline]
    pub(crate) fn way<'a>(&'a self, front: Front<'_>, hash: Hash) -> Option<Way<'a>> {
        let begun = Probe { hash, cell: front.directory(), entry: Entry(0) };
        let word = self.entry_word(&begun)?;
        Some(Way { probe: Probe { entry: Entry(word.load(Acquire)), ..begun }, word })
    }

    /// The first slot with the key's tag, without looking at any record, or where there is room for the key, for who will change that
    /// slot, and looks at the page where it stores to it.
    #[inline(always)]
    pub(crate) fn first(&self, probe: &Probe, reference: u64) -> First {
        let words = self.chunks.mapped_by_stores(probe.entry.page());
        self.look(words, probe, reference, true, || self.moved(probe, true))
    }

    /// The first slot with the key's tag, for who has the words at hand and does not ask for room.
    #[inline]
    pub(crate) fn first_on(&self, way: &Way<'_>, front: Front<'_>, reference: u64) -> First {
        let words = self.chunks.mapped(way.probe.entry.page());
        self.look(words, &way.probe, reference, false, || way.moved(front, true))
    }

    /// Not called: most of what it gives is thrown away, and would be put together first.
    #[inline(always)]
    fn look(
        &self,
        words: Option<&[Word]>,
        probe: &Probe,
        reference: u64,
        room: bool,
        moved: impl FnOnce() -> bool,
    ) -> First {
        reach(Point::LookupEntered);
        let Some(words) = words else { return First::Unsure };
        let tags = Tags::of(probe.hash);
        let stored = probe.hash.stored();
        let mut line = start_line(stored);
        for distance in 0..LINES {
            let first = line_word(line);
            let words = &words[first..first + 2 * LINE_SLOTS];
            let (curs, matching) = scan_line(words, tags);
            if let Some((slot, cur)) = matching {
                return match position(cur, reference) {
                    Some(at) if tags.is_prev(words[2 * slot + 1].load(Relaxed)) => {
                        First::Candidate(first + 2 * slot, at)
                    }
                    _ => First::Unsure,
                };
            }
            // What was committed before this lookup began has its bit (invariant I24).
            let is_last = if room || distance != 0 {
                curs[LINE_SLOTS - 1] == 0
            } else {
                words[overflow_word(stored)].load(Relaxed) & OVERFLOW == 0
            };
            if is_last {
                if probe.entry.chained() || moved() {
                    return First::Unsure;
                }
                let vacant = curs.iter().filter(|cur| **cur != 0).count();
                let room = distance < MAX_PROBE;
                return First::Absent(if room { first + 2 * vacant } else { 0 });
            }
            line = if line + 1 == LINES { 0 } else { line + 1 };
        }
        First::Unsure
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::format::hash::Hasher;
    use crate::index::split::tests::index;

    const KEYS: u64 = if cfg!(miri) { 300 } else { 50_000 };

    fn hash(i: u64) -> Hash {
        Hasher::new(1).hash(1, &i.to_le_bytes())
    }

    /// The two looks at a page that there are.
    fn looks(index: &Index, hash: Hash) -> (First, First) {
        let probe = index.enter(index.begin(hash)).expect("a page");
        let words = index.chunks.mapped(probe.entry.page());
        let look = |room| index.look(words, &probe, KEYS << 4, room, || false);
        (look(false), look(true))
    }

    #[test]
    fn an_overflow_bit_misses_no_key_and_ends_nine_of_ten_lookups_of_others() {
        let (index, mut editor) = index();
        for i in 0..KEYS {
            editor.ensure(&index, 1).expect("space");
            editor.insert(&index, hash(i), (i + 8) << 4).expect("space");
        }
        for i in 0..KEYS {
            let (first, again) = looks(&index, hash(i));
            // One is unsure where another key before it has the same tag in `cur`.
            assert!(first == again && !matches!(first, First::Absent(_)), "{i}: {first:?}");
        }
        let mut overflown = 0;
        for i in KEYS..2 * KEYS {
            let (first, vacant) = looks(&index, hash(i));
            assert_eq!(
                matches!(first, First::Absent(_)),
                matches!(vacant, First::Absent(_)),
                "{i}"
            );
            let page = index.page(index.entry(hash(i)).expect("sound").page()).expect("sound");
            let stored = hash(i).stored();
            let word = line_word(start_line(stored)) + overflow_word(stored);
            overflown += u64::from(page[word].load(Relaxed) & OVERFLOW != 0);
        }
        let few = cfg!(miri) || 10 * overflown < KEYS;
        assert!(overflown > 0 && few, "{overflown} of {KEYS}");
    }
}

//! Changing the index: a slot goes from empty to used and from one version of its key to the next; nothing else in place.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::error::Result;
use crate::faults::{Bug, Point, planted, reach};
use crate::format::directory::Entry;
use crate::format::hash::Hash;
use crate::format::page::{
    DEAD, LINE_SLOTS, LINES, OVERFLOW, Tags, line_word, overflows, position, start_line,
};
use crate::sys::Word;
use crate::sys::sync::AtomicU64;

use super::Index;
use super::allocate::{Allocator, Captured};
use super::build::MAX_PROBE;
use super::probe::{Probe, slots};

/// Where a key's slot is, and what the directory said when it was found: good as long as it says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    page: u32,
    word: u32,
    entry: Entry,
    splits: u64,
}

/// A slot to be changed.
pub(super) struct SlotWords<'a> {
    pub(super) cur: &'a AtomicU64,
    prev: &'a AtomicU64,
}

impl SlotWords<'_> {
    /// Stores `prev`, but for the overflow bit, which is not this slot's.
    fn set_prev(&self, word: u64) {
        self.prev.store(word | self.prev.load(Relaxed) & OVERFLOW, Release);
    }
}

/// The one writer's side of the index.
#[derive(Debug)]
pub(crate) struct Editor {
    pub(super) allocator: Allocator,
    pub(super) splits: u64,
    /// Until the next checkpoint is durable, pages whose split would leave garbage split only when they are full: so many splits there
    /// were when that began.
    pub(super) patient: Option<u64>,
    /// Splits that the last checkpoint came too late for.
    pub(super) late: u64,
    /// How many pages were live when somebody last asked whether that has changed.
    counted: u64,
}

impl Editor {
    /// `live` is the number of pages that the directory leads to.
    pub(crate) fn new(live: u64) -> Editor {
        Editor { allocator: Allocator::new(live), splits: 0, patient: None, late: 0, counted: live }
    }

    /// Pages have split, or become one, since this was last asked.
    #[inline]
    pub(crate) fn has_changed(&mut self) -> bool {
        let live = self.live();
        std::mem::replace(&mut self.counted, live) != live
    }

    /// Pages that the directory leads to.
    pub(crate) fn live(&self) -> u64 {
        self.allocator.live
    }

    /// Pages that wait for a checkpoint before they can be used again. As long as none was made here nobody needs those that were left
    /// before the store was opened.
    pub(crate) fn garbage(&self, index: &Index) -> u64 {
        if self.splits == 0 { 0 } else { index.garbage(&self.allocator) }
    }

    /// Makes room for `new_keys` insertions, so that none of them finds the disk full.
    pub(crate) fn ensure(&self, index: &Index, new_keys: usize) -> Result<()> {
        index.ensure(&self.allocator, new_keys)
    }

    pub(crate) fn capture(&mut self, index: &Index) -> Result<Captured> {
        self.put_off_splits();
        index.capture(&mut self.allocator)
    }

    pub(crate) fn release(
        &mut self,
        index: &Index,
        captured: &Captured,
        alone: bool,
    ) -> Result<()> {
        self.late = self.patient.take().map_or(0, |before| self.splits - before);
        index.release(&mut self.allocator, captured, alone)
    }

    /// The slot that `place` is.
    #[inline(always)]
    pub(super) fn slot(index: &Index, place: Place) -> Result<SlotWords<'_>> {
        let page = match index.chunks.found(place.page) {
            Some(page) => Some(page),
            None => index.chunks.find(place.page, 1)?,
        };
        let slot = page.and_then(|(region, page)| {
            let at = page + size_of::<u64>() * place.word as usize;
            let [cur, prev] = region.words_to_store(at, 2)? else { return None };
            Some(SlotWords { cur, prev })
        });
        slot.ok_or_else(|| index.bad_page(place.page))
    }

    /// Sets the overflow bit of a key whose slot is to be at `place`, if it needs one (invariant I24).
    #[inline]
    fn overflow(index: &Index, place: Place, hash: Hash) -> Result<()> {
        match overflows(hash.stored(), place.word as usize) {
            Some(bit) => Self::set_overflow(index, place.page, bit),
            None => Ok(()),
        }
    }

    #[cold]
    fn set_overflow(index: &Index, page: u32, word: usize) -> Result<()> {
        let before = index.page(page)?[word].load(Relaxed);
        if before & OVERFLOW == 0 && !planted(Bug::SkipOverflow) {
            index.page_to_store(page)?[word].store(before | OVERFLOW, Release);
            reach(Point::SlotOverflow);
        }
        Ok(())
    }

    /// Finds the slot of a key: the first for whose position `is` gives something.
    pub(crate) fn locate<T>(
        &self,
        index: &Index,
        hash: Hash,
        reference: u64,
        mut is: impl FnMut(u64) -> Result<Option<T>>,
    ) -> Result<Option<(Place, T)>> {
        self.visit(index, hash, reference, |place, at| Ok(is(at)?.map(|found| (place, found))))
    }

    /// Finds the slot of a key whose record at `reference` was the first when it was written. There may be two after a power cut
    /// that has taken back the burial of an older one, but not the slot that came after it: then the older one is buried again.
    pub(crate) fn locate_only(
        &self,
        index: &Index,
        hash: Hash,
        reference: u64,
        mut is: impl FnMut(u64) -> Result<Option<u64>>,
    ) -> Result<Option<(Place, u64)>> {
        let mut own = Vec::new();
        self.visit(index, hash, reference, |place, at| {
            own.extend(is(at)?.map(|at| (place, at)));
            Ok(None::<()>)
        })?;
        let newest = own.iter().copied().max_by_key(|(_, at)| *at);
        for (place, _) in own.into_iter().filter(|slot| Some(*slot) != newest) {
            if planted(Bug::KeepTwin) {
                break;
            }
            Self::slot(index, place)?.cur.store(DEAD, Release);
        }
        Ok(newest)
    }

    /// Visits the slots that can be a key's, until `visit` gives something.
    fn visit<T>(
        &self,
        index: &Index,
        hash: Hash,
        reference: u64,
        mut visit: impl FnMut(Place, u64) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let entry = index.entry(hash)?;
        for page in index.chain(entry) {
            let (page, words) = page?;
            let found = slots(words, hash, reference, |word, at| {
                let word = u32::try_from(word).expect("a word of a page");
                visit(Place { page, word, entry, splits: self.splits }, at).transpose()
            });
            if found.is_some() {
                return found.transpose();
            }
        }
        Ok(None)
    }

    /// The slot that a first look at a page has found.
    #[inline]
    pub(crate) fn place(&self, probe: &Probe, word: usize) -> Place {
        let word = u32::try_from(word).expect("a word of a page");
        Place { page: probe.entry().page(), word, entry: probe.entry(), splits: self.splits }
    }

    /// The slot may have moved since it was located.
    pub(crate) fn stale(&self, index: &Index, hash: Hash, place: Place) -> bool {
        let now = || index.enter(index.begin(hash)).map(|probe| probe.entry());
        place.splits != self.splits && now() != Some(place.entry)
    }

    /// Asks for the line of a slot that will be changed soon.
    #[inline]
    pub(crate) fn prefetch(index: &Index, place: Place) {
        index.chunks.prefetch_to_store(place.page, size_of::<u64>() * place.word as usize, 1);
    }

    /// Overwrites a slot with a newer version of its key, by the slot rule (invariant I5): `prev` takes the old version only
    /// if that is known durable, so that it never dangles.
    pub(crate) fn replace(
        &self,
        index: &Index,
        place: Place,
        hash: Hash,
        version: u64,
        durable: u64,
    ) -> Result<()> {
        debug_assert!(!self.stale(index, hash, place));
        let tags = Tags::of(hash);
        let slot = Self::slot(index, place)?;
        // Both are released, not only `cur`: who still reads the page as what it was before must find out (I7).
        if let Some(old) = position(slot.cur.load(Relaxed), version)
            && (old < durable || planted(Bug::PrevAlways))
            && !planted(Bug::PrevNever)
        {
            slot.set_prev(tags.prev_word(old));
            reach(Point::SlotPrev);
        }
        slot.cur.store(tags.cur_word(version), Release);
        Ok(())
    }

    /// Overwrites a slot with a version that was the first of its key, whose tombstone was buried when that was written. Whoever
    /// has this record has lost the burial, which then goes for both words.
    pub(crate) fn begin_anew(
        &self,
        index: &Index,
        place: Place,
        hash: Hash,
        version: u64,
    ) -> Result<()> {
        debug_assert!(!self.stale(index, hash, place));
        let tags = Tags::of(hash);
        let slot = Self::slot(index, place)?;
        slot.set_prev(tags.prev_word(0));
        slot.cur.store(tags.cur_word(version), Release);
        Ok(())
    }

    /// Adds a slot at a place that was free; false if it is not any more, or has moved.
    pub(crate) fn fill(
        &self,
        index: &Index,
        place: Place,
        hash: Hash,
        version: u64,
    ) -> Result<bool> {
        if self.stale(index, hash, place) {
            return Ok(false);
        }
        let slot = Self::slot(index, place)?;
        if slot.cur.load(Relaxed) != 0 {
            return Ok(false);
        }
        Self::overflow(index, place, hash)?;
        let tags = Tags::of(hash);
        slot.set_prev(tags.prev_word(0));
        reach(Point::SlotNew);
        slot.cur.store(tags.cur_word(version), Release);
        Ok(true)
    }

    /// Adds a slot for a key that has none.
    pub(crate) fn insert(&mut self, index: &Index, hash: Hash, version: u64) -> Result<()> {
        self.insert_after(index, hash, version, 0)
    }

    /// The same for a key whose older version is at `prev`, which is durable.
    pub(crate) fn insert_after(
        &mut self,
        index: &Index,
        hash: Hash,
        version: u64,
        prev: u64,
    ) -> Result<()> {
        loop {
            let entry = index.entry(hash)?;
            let words = index.page(entry.page())?;
            let vacant = vacancy(words, hash, version, MAX_PROBE).or_else(|| {
                let full = || vacancy(words, hash, version, LINES);
                self.puts_off(index, words).then(full).flatten()
            });
            if let Some(word) = vacant {
                let word = u32::try_from(word).expect("a word of a page");
                let place = Place { page: entry.page(), word, entry, splits: self.splits };
                Self::overflow(index, place, hash)?;
                let slot = Self::slot(index, place)?;
                let tags = Tags::of(hash);
                slot.set_prev(tags.prev_word(prev));
                reach(Point::SlotInserted);
                slot.cur.store(tags.cur_word(version), Release);
                return Ok(());
            }
            self.make_room(index, hash, entry)?;
        }
    }
}

/// Word offset of the slot that a new key takes, if it is in so many lines: the first that is empty, or that a power cut has left
/// without a key.
fn vacancy(words: &[Word], hash: Hash, reference: u64, lines: usize) -> Option<usize> {
    let mut line = start_line(hash.stored());
    for _ in 0..lines {
        let first = line_word(line);
        for slot in 0..LINE_SLOTS {
            let word = first + 2 * slot;
            if position(words[word].load(Acquire), reference).is_none() {
                return Some(word);
            }
        }
        line = if line + 1 == LINES { 0 } else { line + 1 };
    }
    None
}

//! Walking over all slots in hash order, page by page, while the writer goes on.

use crate::error::Result;
use crate::format::PAGE_BYTES;
use crate::format::directory::Entry;
use crate::format::hash::{Hash, STORED_BITS};
use crate::format::page::{LINE_SLOTS, LINES, position, stored};

use super::Index;
use super::split::used;

impl Index {
    /// Adds what the slots of the page that hash `from` (40 bits) leads to have in `cur`, and returns where the next page starts; None
    /// after the last. After an error some may have been added.
    ///
    /// A page that splits or is merged meanwhile covers other prefixes, but each key is at one place of the hash order, so a walk
    /// meets every key that was there when it started exactly once.
    pub(crate) fn walk(&self, from: u64, seen: &mut Vec<u64>) -> Result<Option<u64>> {
        let before = seen.len();
        loop {
            seen.truncate(before);
            let begun = self.begin(Hash(from << (64 - STORED_BITS)));
            let Some(probe) = self.load(&begun)? else {
                if self.moved(&begun, false) {
                    continue;
                }
                return Err(self.bad_directory(self.cells.directory()));
            };
            let depth = probe.entry().depth();
            if depth > probe.cell.depth() {
                if self.moved(&probe, true) {
                    continue;
                }
                return Err(self.bad_entry(self.entry_offset(&probe)));
            }
            let next = ((from >> (STORED_BITS - depth)) + 1) << (STORED_BITS - depth);
            let next = (next >> STORED_BITS == 0).then_some(next);
            self.prefetch_at(next);
            let collected = self.collect(probe.entry(), from, seen);
            if self.moved(&probe, true) {
                continue;
            }
            return collected.map(|()| next);
        }
    }

    /// Asks for all of the page that this hash leads to: pages that follow each other in hash order do not in memory.
    fn prefetch_at(&self, from: Option<u64>) {
        let begun = from.map(|from| self.begin(Hash(from << (64 - STORED_BITS))));
        if let Some(probe) = begun.and_then(|begun| self.enter(begun)) {
            self.chunks.prefetch(probe.entry().page(), 0, PAGE_BYTES);
        }
    }

    /// Some slot of a page from hash `from` up to hash `to` leads to `at`; up to the last, if that is None.
    pub(crate) fn leads(&self, from: u64, to: Option<u64>, at: u64) -> Result<bool> {
        let (mut next, mut seen) = (Some(from), Vec::new());
        while let Some(from) = next
            && to.is_none_or(|to| from < to)
        {
            seen.clear();
            next = self.walk(from, &mut seen)?;
            if seen.iter().any(|cur| position(*cur, at) == Some(at)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The slots of an entry's pages from hash `from` on. Between the two stores that lead a prefix to its new pages, the second
    /// half's entry still leads to the old page, which holds the first half as well.
    fn collect(&self, entry: Entry, from: u64, seen: &mut Vec<u64>) -> Result<()> {
        for page in self.chain(entry) {
            let words = page?.1;
            seen.reserve(LINES * LINE_SLOTS);
            // A page that was merged since the walk began covers prefixes that it has been at.
            let ahead = used(words).filter(|(cur, prev)| stored(*cur, *prev) >= from);
            seen.extend(ahead.map(|(cur, _)| cur));
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::cells::Cells;
    use crate::format::meta;
    use crate::index::{Chunks, Editor};
    use crate::sys::sim::SimDisk;
    use crate::sys::{Access, PAGE};

    fn index() -> (Index, Editor) {
        let disk = SimDisk::new(1).disk();
        disk.make_dir("").expect("a root");
        let meta = disk.create("meta", meta::BYTES).expect("space");
        let region = meta.map(0, 3 * PAGE, Access::Write).expect("mapped");
        let file = disk.create("index", 0).expect("space");
        let chunks = Chunks::new(file, "index".into(), Access::Write, 16);
        chunks.grow(16).expect("space");
        let index = Index::new(Arc::new(Cells::new(region)), chunks);
        let editor = index.create().expect("space");
        (index, editor)
    }

    fn hash(key: u64) -> Hash {
        Hash(key.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn place(key: u64) -> u64 {
        4096 + 64 * key
    }

    /// Puts keys from 1 on until the first page has split, and says how many.
    fn split(index: &Index, editor: &mut Editor) -> u64 {
        let mut keys = 0;
        while editor.live() == 1 {
            keys += 1;
            editor.insert(index, hash(keys), place(keys)).expect("space");
        }
        keys
    }

    /// As a writer leaves it that is killed, or only slow, in the middle of a split.
    #[test]
    fn a_walk_meets_each_key_once_while_a_split_is_half_done() {
        let (index, mut editor) = index();
        let old = index.entry(Hash(0)).expect("sound");
        let keys = split(&index, &mut editor);
        let (cell, _) = index.current().expect("sound");
        let words = index.directory_to_store(cell).expect("sound");
        let [zero, one] = words else { panic!("{} entries", words.len()) };
        assert_ne!(zero.load(Relaxed), one.load(Relaxed));
        one.store(old.0, Relaxed);
        let (mut from, mut seen) = (Some(0), Vec::new());
        while let Some(at) = from {
            from = index.walk(at, &mut seen).expect("sound");
        }
        let key = |cur: u64| (position(cur, place(0)).expect("a slot in use") - place(0)) / 64;
        let mut met: Vec<u64> = seen.into_iter().map(key).collect();
        // The last key came after the split, into the new page of either half.
        assert!((keys - 1..=keys).contains(&(met.len() as u64)), "{} of {keys} keys", met.len());
        assert!(met.is_sorted_by_key(|key| hash(*key).0 >> 63), "one half after the other");
        met.sort_unstable();
        met.dedup();
        assert!((keys - 1..=keys).contains(&(met.len() as u64)), "{} of {keys} keys", met.len());
    }

    #[test]
    fn a_position_is_looked_for_from_one_hash_to_another() {
        let (index, mut editor) = index();
        let half = 1 << (STORED_BITS - 1);
        for key in (1..=split(&index, &mut editor)).step_by(if cfg!(miri) { 50 } else { 1 }) {
            let leads = |from, to| index.leads(from, to, place(key)).expect("sound");
            let first = hash(key).stored() < half;
            assert_eq!((leads(0, Some(half)), leads(half, None)), (first, !first));
            assert!(leads(0, None) && !leads(half, Some(half)));
        }
        assert!(!index.leads(0, None, place(0)).expect("sound"));
    }
}

//! Walking over all slots in hash order, page by page, while the writer goes on.

use crate::error::Result;
use crate::format::directory::Entry;
use crate::format::hash::{Hash, STORED_BITS};
use crate::format::page::{LINE_SLOTS, LINES, position, stored};

use super::Index;
use super::split::used;

/// A used slot: the 40 stored hash bits, and the newest position it held.
pub(crate) type Seen = (u64, u64);

impl Index {
    /// Adds the slots of the page that hash `from` (40 bits) leads to, and returns where the next page starts; None after the last.
    ///
    /// A page that splits or is merged meanwhile covers other prefixes, but each key is at one place of the hash order, so a walk
    /// meets every key that was there when it started exactly once.
    pub(crate) fn walk(
        &self,
        from: u64,
        reference: u64,
        seen: &mut Vec<Seen>,
    ) -> Result<Option<u64>> {
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
            let collected = self.collect(probe.entry(), from, reference, seen);
            if self.moved(&probe, true) {
                continue;
            }
            collected?;
            let depth = probe.entry().depth();
            if depth > probe.cell.depth() {
                return Err(self.bad_entry(self.entry_offset(&probe)));
            }
            let next = ((from >> (STORED_BITS - depth)) + 1) << (STORED_BITS - depth);
            return Ok((next >> STORED_BITS == 0).then_some(next));
        }
    }

    /// Some slot with these 40 hash bits leads to `at`.
    pub(crate) fn leads(&self, stored: u64, at: u64) -> Result<bool> {
        let hash = Hash(stored << (64 - STORED_BITS));
        let found = self.lookup(hash, at, |other| Ok((other == at).then_some(())))?;
        Ok(found.is_some())
    }

    /// The slots of an entry's pages from hash `from` on. Between the two stores that lead a prefix to its new pages, the second
    /// half's entry still leads to the old page, which holds the first half as well.
    fn collect(&self, entry: Entry, from: u64, reference: u64, seen: &mut Vec<Seen>) -> Result<()> {
        for page in self.chain(entry) {
            let words = page?.1;
            seen.reserve(LINES * LINE_SLOTS);
            for (cur, prev) in used(words) {
                // A page that was merged since the walk began covers prefixes that it has been at.
                let hash = stored(cur, prev);
                if hash >= from
                    && let Some(position) = position(cur, reference)
                {
                    seen.push((hash, position));
                }
            }
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

    /// As a writer leaves it that is killed, or only slow, in the middle of a split.
    #[test]
    fn a_walk_meets_each_key_once_while_a_split_is_half_done() {
        let (index, mut editor) = index();
        let old = index.entry(Hash(0)).expect("sound");
        let mut keys = 0;
        while editor.live() == 1 {
            keys += 1;
            let hash = Hash((keys as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            editor.insert(&index, hash, 4096 + 64 * keys as u64).expect("space");
        }
        let (cell, _) = index.current().expect("sound");
        let words = index.directory_to_store(cell).expect("sound");
        let [zero, one] = words else { panic!("{} entries", words.len()) };
        assert_ne!(zero.load(Relaxed), one.load(Relaxed));
        one.store(old.0, Relaxed);
        let (mut from, mut met, mut seen) = (Some(0), Vec::new(), Vec::new());
        while let Some(at) = from {
            from = index.walk(at, 1 << 20, &mut seen).expect("sound");
            met.append(&mut seen);
        }
        // The last key came after the split, into the new page of either half.
        assert!((keys - 1..=keys).contains(&met.len()), "{} of {keys} keys", met.len());
        assert!(met.is_sorted_by_key(|(hash, _)| hash >> 39), "one half after the other");
        met.sort_unstable();
        met.dedup();
        assert!((keys - 1..=keys).contains(&met.len()), "{} of {keys} keys", met.len());
    }
}

//! Walking over all slots in hash order, page by page, while the writer goes on.

use std::sync::atomic::Ordering::Acquire;

use crate::error::Result;
use crate::format::directory::Entry;
use crate::format::hash::{Hash, STORED_BITS};
use crate::format::page::{position, stored};

use super::split::used;
use super::{Index, header};

/// A used slot: the 40 stored hash bits, and the newest position it held.
pub(crate) type Seen = (u64, u64);

impl Index {
    /// Collects the slots of the page that hash `from` (40 bits) leads to, and returns where the next page starts; None after the last.
    ///
    /// Splits only refine the prefix that a page covers, so a walk meets every key that was there when it started exactly once.
    pub(crate) fn walk(
        &self,
        from: u64,
        reference: u64,
        seen: &mut Vec<Seen>,
    ) -> Result<Option<u64>> {
        loop {
            seen.clear();
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
            let depth = probe.entry().depth().min(STORED_BITS);
            let next = ((from >> (STORED_BITS - depth)) + 1) << (STORED_BITS - depth);
            return Ok((next >> STORED_BITS == 0).then_some(next));
        }
    }

    /// The slots from hash `from` on: while a page splits, an entry of the second half may still lead to the old page, which has
    /// the first half as well.
    fn collect(&self, entry: Entry, from: u64, reference: u64, seen: &mut Vec<Seen>) -> Result<()> {
        for page in self.chain(entry) {
            let slots = used(page?.1).filter_map(|(cur, prev)| {
                let hash = stored(cur, prev);
                let position = position(cur, reference).filter(|_| hash >= from);
                position.map(|position| (hash, position))
            });
            seen.extend(slots);
        }
        Ok(())
    }

    /// Checks the headers of all pages that the directory leads to; calls `bad` with each page that is not what it should be.
    /// Returns how many pages there are. The writer must not work meanwhile, or pages that moved are reported.
    pub(crate) fn check(&self, mut bad: impl FnMut(u32, &'static str)) -> Result<u64> {
        let (cell, words) = self.current()?;
        let mut pages = 0;
        let mut at = 0;
        while at < words.len() {
            let entry = Entry(words[at].load(Acquire));
            if entry.depth() > cell.depth() {
                bad(entry.page(), "a depth within the directory's");
                return Ok(pages);
            }
            let each = cell.depth() - entry.depth();
            for page in self.chain(entry) {
                let Ok((number, words)) = page else {
                    bad(entry.page(), "a page within the file");
                    break;
                };
                pages += 1;
                let right = header(words).is_some_and(|header| {
                    header.number == number
                        && header.depth == entry.depth()
                        && header.prefix == (at >> each) as u64
                });
                if !right {
                    bad(number, "the header of the page that the directory leads to");
                }
            }
            at = ((at >> each) + 1) << each;
        }
        Ok(pages)
    }
}

//! Walking over all slots in hash order, page by page, while the writer goes on.

use crate::error::Result;
use crate::format::directory::Entry;
use crate::format::hash::{Hash, STORED_BITS};
use crate::format::page::{position, stored};

use super::Index;
use super::split::used;

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
            let collected = self.collect(probe.entry(), reference, seen);
            if self.moved(&probe, true) {
                continue;
            }
            collected?;
            let depth = probe.entry().depth();
            if depth > probe.cell().depth() {
                return Err(self.bad_entry(self.entry_offset(&probe)));
            }
            let next = ((from >> (STORED_BITS - depth)) + 1) << (STORED_BITS - depth);
            return Ok((next >> STORED_BITS == 0).then_some(next));
        }
    }

    fn collect(&self, entry: Entry, reference: u64, seen: &mut Vec<Seen>) -> Result<()> {
        for page in self.chain(entry) {
            let slots = used(page?.1).filter_map(|(cur, prev)| {
                position(cur, reference).map(|position| (stored(cur, prev), position))
            });
            seen.extend(slots);
        }
        Ok(())
    }
}

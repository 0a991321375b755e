//! The two words that lead from a hash to an index page: the directory cell and a directory entry.
//!
//! Both carry a generation that changes with every store, so that a reader who finds the same word again
//! knows that nothing happened in between.

const PAGE_MASK: u64 = 0xFFFF_FFFF;
const DEPTH_SHIFT: u32 = 32;
const DEPTH_MASK: u64 = 0x3F;
/// The bit of an entry that says that more pages follow. The generation is above it.
pub(crate) const CHAINED: u64 = 1 << 38;
const ENTRY_GENERATION_SHIFT: u32 = 39;
const CELL_GENERATION_SHIFT: u32 = 38;

/// Deepest directory: splits end where the stored hash bits do.
pub(crate) const MAX_DEPTH: u32 = super::hash::STORED_BITS;

/// Bytes of an entry.
pub(crate) const ENTRY: u64 = 8;

/// Where the directory is: the first page of its region, and how many hash bits index it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell(pub(crate) u64);

impl Cell {
    /// The cell that follows this one.
    pub(crate) fn next(self, page: u32, depth: u32) -> Cell {
        let generation = (self.0 >> CELL_GENERATION_SHIFT).wrapping_add(1);
        Cell(
            u64::from(page) | u64::from(depth) << DEPTH_SHIFT | generation << CELL_GENERATION_SHIFT,
        )
    }

    #[inline]
    pub(crate) fn page(self) -> u32 {
        (self.0 & PAGE_MASK) as u32
    }

    #[inline]
    pub(crate) fn depth(self) -> u32 {
        depth(self.0)
    }
}

/// Which page holds the keys of one hash prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry(pub(crate) u64);

impl Entry {
    pub(crate) fn new(page: u32, depth: u32, chained: bool) -> Entry {
        Entry(u64::from(page) | u64::from(depth) << DEPTH_SHIFT | if chained { CHAINED } else { 0 })
    }

    /// This entry with the generation after that of `old`, the word it replaces.
    pub(crate) fn after(self, old: Entry) -> Entry {
        let generation = (old.0 >> ENTRY_GENERATION_SHIFT).wrapping_add(1);
        Entry(self.0 & (CHAINED | (CHAINED - 1)) | generation << ENTRY_GENERATION_SHIFT)
    }

    #[inline]
    pub(crate) fn page(self) -> u32 {
        (self.0 & PAGE_MASK) as u32
    }

    /// How many hash bits all keys of the page share.
    #[inline]
    pub(crate) fn depth(self) -> u32 {
        depth(self.0)
    }

    /// More pages follow: keys that collide in every bit by which the page could split.
    #[inline]
    pub(crate) fn chained(self) -> bool {
        self.0 & CHAINED != 0
    }
}

#[inline]
fn depth(word: u64) -> u32 {
    (word >> DEPTH_SHIFT & DEPTH_MASK) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_their_fields_and_never_repeat_soon() {
        let cell = Cell(0).next(u32::MAX, 40);
        assert_eq!((cell.page(), cell.depth()), (u32::MAX, 40));
        assert_ne!(cell.next(u32::MAX, 40), cell);
        let first = Entry::new(5, 12, false);
        let entry = Entry::new(u32::MAX, 40, true).after(first);
        assert_eq!((entry.page(), entry.depth(), entry.chained()), (u32::MAX, 40, true));
        assert_ne!(entry.after(entry), entry);
        assert_eq!(first.after(entry).page(), 5);
        assert!(!first.after(entry).chained());
    }
}

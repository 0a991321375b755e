//! What a region is made of: memory, and what can be asked of its pages.

use std::io;
use std::ptr::NonNull;

/// The memory behind a region.
///
/// # Safety
///
/// The memory given by `memory` is aligned to 16 bytes, initialised, readable at the same address until the backing is dropped,
/// may be used from any thread, and is reached by nobody through a Rust reference except as U2 and U3 allow. That given by
/// `stores` is the same bytes, as long, and all of this holds for it; it is writable if the region made of it is. Ranges beyond the end of a mapped file are exempt: U4 keeps
/// everyone off them.
pub(super) unsafe trait Backing: Send + Sync {
    /// Where the bytes are.
    fn memory(&self) -> NonNull<[u8]>;

    /// Where stores go: the same bytes, perhaps at another address.
    fn stores(&self) -> NonNull<[u8]> {
        self.memory()
    }

    /// Makes a non-empty range, which starts at a page and lies within the memory, durable.
    fn sync(&self, offset: usize, len: usize) -> io::Result<()>;

    /// Has the pages from `offset`, where one starts, come into memory one at a time.
    fn singly(&self, _offset: usize) {}

    /// Has them come in pieces again.
    fn together(&self) {}

    /// Has pages that a store finds missing come in pieces, if they came alone.
    fn stores_together(&self) {}

    /// Has the pages of the first `len` bytes, no more than there are, come into memory one at a time; those that are there stay.
    fn scattered(&self, _len: usize) {}

    /// Has the pages of a range, which lies within the memory, read soon.
    fn will_need(&self, _offset: usize, _len: usize) {}

    /// Makes the pages of a range, which lies within the memory, dirty. Their bytes stay what they are.
    fn dirty(&self, _offset: usize, _len: usize) {}

    /// The same of pages that are all stored to next, in the largest pieces that there are.
    fn make_ready(&self, _offset: usize, _len: usize) {}

    /// A page of the memory was lost, and holds zeros now. Known of guarded mappings only.
    fn is_lost(&self) -> bool {
        false
    }

    /// A word of the page at this offset was stored, perhaps with the value that it had. A processor notes that; what only
    /// compares bytes must be told.
    fn stored(&self, _offset: usize) {}

    /// Whether memory must be written a page at a time, because one store across two pages might never come to its end.
    fn page_by_page(&self) -> bool {
        false
    }

    /// Notes that the pages of a range were written with the bytes they had. Hardware notices that by itself.
    fn rewritten(&self, _offset: usize, _len: usize) {}
}

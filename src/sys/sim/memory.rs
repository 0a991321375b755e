//! A piece of the simulated page cache: zeroed memory that never moves, shared by all regions over it.

use std::ptr::NonNull;
#[cfg(not(miri))]
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::PAGE;

#[cfg(not(miri))]
const WORD: usize = size_of::<u64>();
pub(super) const PAGE_WORDS: usize = PAGE / size_of::<u64>();

/// What one page holds, as words in the machine's order.
pub(super) type Words = [u64; PAGE_WORDS];

/// Whole pages in a row. The disk looks at them while the program stores into them, hence the atomic words; bytes
/// that a program writes otherwise (unpublished ones) may share a page with what another thread syncs at that moment,
/// which a real page cache minds as little. Under Miri one thread must be at work while the disk is called.
#[derive(Debug)]
pub(super) struct Extent {
    start: NonNull<u128>,
    pages: usize,
}

// SAFETY: the extent owns its memory; a region reaches it only as U2 and U3 allow, the disk as atomic words.
unsafe impl Send for Extent {}
// SAFETY: as above; all methods take `&self` and use atomic words only.
unsafe impl Sync for Extent {}

impl Extent {
    pub(super) fn zeroed(pages: usize) -> Extent {
        let memory = vec![0_u128; pages * (PAGE / size_of::<u128>())].into_boxed_slice();
        Extent { start: NonNull::from(Box::leak(memory)).cast(), pages }
    }

    pub(super) fn pages(&self) -> usize {
        self.pages
    }

    /// The address of a range, valid as long as the extent.
    pub(super) fn range(&self, offset: usize, len: usize) -> NonNull<[u8]> {
        let size = self.pages * PAGE;
        assert!(offset <= size && len <= size - offset, "a range within the extent");
        // SAFETY: offset <= size, so the address is in the memory or one past its end, which the extent owns (U1).
        NonNull::slice_from_raw_parts(unsafe { self.start.cast::<u8>().add(offset) }, len)
    }

    #[cfg(not(miri))]
    fn words(&self, page: usize) -> &[AtomicU64] {
        let at = self.range(page * PAGE, PAGE).cast::<AtomicU64>();
        // SAFETY: `range` checked the bounds; the start is aligned to 16 bytes and the offset to a page; the memory is
        // initialised and lives as long as `self` (U1); what changes in it is a word reached as an atomic (U3).
        unsafe { NonNull::slice_from_raw_parts(at, PAGE_WORDS).as_ref() }
    }

    #[cfg(not(miri))]
    pub(super) fn page(&self, page: usize) -> Words {
        let words = self.words(page);
        std::array::from_fn(|index| words[index].load(Ordering::Relaxed))
    }

    /// Word by word, a page would take Miri a second.
    #[cfg(miri)]
    pub(super) fn page(&self, page: usize) -> Words {
        let from = self.range(page * PAGE, PAGE).cast::<Words>();
        // SAFETY: in range, aligned and initialised as in `words`. Nobody writes meanwhile: under Miri, no thread
        // stores while another one calls the disk.
        unsafe { from.read() }
    }

    /// Replaces a page.
    pub(super) fn set_page(&self, page: usize, bytes: &Words) {
        self.store(page, 0, bytemuck::bytes_of(bytes));
    }

    #[cfg(miri)]
    pub(super) fn store(&self, page: usize, offset: usize, bytes: &[u8]) {
        let to = self.range(page * PAGE + offset, bytes.len()).cast::<u8>();
        // SAFETY: in range; `bytes` is no part of an extent. Nobody else is there, as in `page`.
        unsafe { to.copy_from_nonoverlapping(NonNull::from_ref(bytes).cast(), bytes.len()) };
    }

    /// Stores bytes from an offset within one page; the rest of their first and last word stays what it is.
    #[cfg(not(miri))]
    pub(super) fn store(&self, page: usize, offset: usize, bytes: &[u8]) {
        let words = self.words(page);
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done;
            let (first, len) = (at % WORD, (WORD - at % WORD).min(bytes.len() - done));
            let patch = |word: u64| {
                let mut patched = word.to_ne_bytes();
                patched[first..first + len].copy_from_slice(&bytes[done..done + len]);
                u64::from_ne_bytes(patched)
            };
            if len == WORD {
                words[at / WORD].store(patch(0), Ordering::Relaxed);
            } else {
                // Never refused, since `patch` always has an answer.
                let _ =
                    words[at / WORD].fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                        Some(patch(word))
                    });
            }
            done += len;
        }
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        let len = self.pages * (PAGE / size_of::<u128>());
        let memory = NonNull::slice_from_raw_parts(self.start, len);
        // SAFETY: address and length are those of the box leaked in `zeroed`, and every region over it holds an `Arc`
        // of this extent, so none is left (U1).
        drop(unsafe { Box::from_raw(memory.as_ptr()) });
    }
}

//! A region is a window on one file: plain memory that is reached as atomic words, published bytes or unpublished
//! space. Its pages are seen to in `sys/pages.rs`.

use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use bytemuck::TransparentWrapper;

use super::backing::Backing;
use super::{Access, PAGE, Word};

/// The least alignment of a region's first byte: a value in the log is aligned to 16 bytes.
const ALIGNMENT: usize = 16;
const WORD: usize = size_of::<AtomicU64>();
/// What memory moves at once.
const LINE: usize = 64;

/// A view of a range of one file. Dropping it unmaps; the borrow checker keeps it alive as long as its slices (U1).
pub(crate) struct Region {
    start: NonNull<u8>,
    /// Where stores go: the same bytes.
    stores: NonNull<u8>,
    pub(super) len: usize,
    /// How many whole words there are.
    words: usize,
    /// `len` when it may be written, else 0, so that one comparison checks both.
    writable: usize,
    page_by_page: bool,
    pub(super) backing: Box<dyn Backing>,
}

// SAFETY: a `Backing` promises that its memory may be used from any thread and is itself `Send`.
unsafe impl Send for Region {}
// SAFETY: a `Backing` promises that its memory may be used from any thread and is itself `Sync`; shared words are
// atomics (U3), shared bytes are never written (U2).
unsafe impl Sync for Region {}

impl Region {
    pub(super) fn new(backing: Box<dyn Backing>, access: Access) -> Region {
        let memory = backing.memory();
        let start = memory.cast::<u8>();
        assert_eq!(
            start.addr().get() % ALIGNMENT,
            0,
            "a region starts at a multiple of {ALIGNMENT}"
        );
        let len = memory.len();
        let stores = backing.stores().cast::<u8>();
        Region {
            start,
            stores,
            len,
            words: len / WORD,
            writable: if access == Access::Write { len } else { 0 },
            page_by_page: backing.page_by_page(),
            backing,
        }
    }

    /// How many bytes the window has.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The word at a byte offset, unless that is not a multiple of eight or out of range.
    #[inline]
    pub(crate) fn word(&self, offset: usize) -> Option<&Word> {
        self.atomic(self.start, self.words, offset).map(Word::wrap_ref)
    }

    /// The half word at a byte offset, unless that is not a multiple of four or out of range.
    ///
    /// The caller's obligation (U3): nobody ever reaches these bytes as a whole word.
    pub(crate) fn half(&self, offset: usize) -> Option<&AtomicU32> {
        if !offset.is_multiple_of(size_of::<AtomicU32>()) || offset >= self.words * WORD {
            return None;
        }
        // SAFETY: offset is before the end of the last whole word, so the half lies within the memory, which U1 keeps in place.
        let at = unsafe { self.stores.add(offset).cast::<AtomicU32>() };
        // SAFETY: in range, aligned (the start is, and so is the offset), initialised (U5 covers what it means), and changed
        // only through atomics of this size while it is shared (U3).
        Some(unsafe { at.as_ref() })
    }

    /// `count` words from a byte offset, unless that is not a multiple of eight or they are out of range.
    #[inline]
    pub(crate) fn words(&self, offset: usize, count: usize) -> Option<&[Word]> {
        self.atomics(self.start, self.words, offset, count).map(Word::wrap_slice)
    }

    /// The same words, to be stored to; None also if the region was mapped to read.
    ///
    /// They may be at another address, but are the same memory: a store is what the next load finds, whichever way it goes.
    #[inline]
    pub(crate) fn words_to_store(&self, offset: usize, count: usize) -> Option<&[AtomicU64]> {
        self.atomics(self.stores, self.writable / WORD, offset, count)
    }

    /// The word at a byte offset, to be stored to.
    #[inline]
    pub(crate) fn word_to_store(&self, offset: usize) -> Option<&AtomicU64> {
        self.atomic(self.stores, self.writable / WORD, offset)
    }

    /// The word at a byte offset of the memory at `start`, which is this region's, for loads or for stores, and has `words` of
    /// them.
    #[inline]
    fn atomic(&self, start: NonNull<u8>, words: usize, offset: usize) -> Option<&AtomicU64> {
        // Rotated, a misaligned offset is larger than any count of words: one comparison checks both.
        let index = offset.rotate_right(WORD.trailing_zeros());
        if index >= words {
            return None;
        }
        // SAFETY: index < words, so the word lies within the memory, which U1 keeps in place.
        let at = unsafe { start.cast::<AtomicU64>().add(index) };
        // SAFETY: in range, aligned (the start is, and it is a whole number of words away), initialised (U5 covers
        // what it means), and changed only through atomics while it is shared (U3).
        Some(unsafe { at.as_ref() })
    }

    /// `count` words from a byte offset of such memory.
    #[inline]
    fn atomics(
        &self,
        start: NonNull<u8>,
        words: usize,
        offset: usize,
        count: usize,
    ) -> Option<&[AtomicU64]> {
        let index = offset.rotate_right(WORD.trailing_zeros());
        // Of nothing at all there is none either, so that one comparison checks both.
        if words.saturating_sub(index) < count.max(1) {
            return None;
        }
        // SAFETY: index < words, so the word lies within the memory, which U1 keeps in place.
        let at = unsafe { start.cast::<AtomicU64>().add(index) };
        // SAFETY: index + count <= words, aligned (the start is, and it is a whole number of words away), initialised (U5 covers
        // what it means), changed only through atomics (U3), mapped as long as the borrow of the region (U1).
        Some(unsafe { NonNull::slice_from_raw_parts(at, count).as_ref() })
    }

    /// Published bytes, unless they are out of range.
    ///
    /// The caller's obligation (U2): the range was published before and nobody writes it ever again.
    #[inline]
    pub(crate) fn bytes(&self, offset: usize, len: usize) -> Option<&[u8]> {
        if offset > self.len || len > self.len - offset {
            return None;
        }
        // SAFETY: offset <= len of the region, so the address is in the memory or one past its end (U1).
        let at = unsafe { self.start.add(offset) };
        // SAFETY: offset + len is in range, any byte is a valid u8 (U5), nobody writes the range while or after it
        // is handed out (U2), and it is mapped as long as the borrow of the region (U1).
        Some(unsafe { NonNull::slice_from_raw_parts(at, len).as_ref() })
    }

    /// Copies bytes into unpublished space, which only the writer knows (U2).
    ///
    /// # Panics
    ///
    /// When the range is out of bounds or the region was mapped to read.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        let at = self.unpublished(offset, bytes.len());
        // SAFETY: `unpublished` checked the range and that it may be written; nobody else reaches it, so in
        // particular `bytes` is not part of it (U2).
        unsafe { at.copy_from_nonoverlapping(NonNull::from_ref(bytes).cast(), bytes.len()) };
    }

    /// Zeroes unpublished space.
    ///
    /// # Panics
    ///
    /// As [`Region::write`].
    pub(crate) fn zero(&self, offset: usize, len: usize) {
        for (offset, len) in pages(offset, len) {
            let at = self.unpublished(offset, len);
            // SAFETY: `unpublished` checked the range and that it may be written; nobody else reaches it (U2).
            unsafe { at.write_bytes(0, len) };
        }
    }

    /// Lends unpublished space to `f`, or zeros that are then copied there. For the writer only, and never twice at once for
    /// the same range (U2).
    ///
    /// # Panics
    ///
    /// As [`Region::write`].
    #[inline]
    pub(crate) fn fill<R>(&self, offset: usize, len: usize, f: impl FnOnce(&mut [u8]) -> R) -> R {
        let at = self.unpublished(offset, len);
        let by_page = self.page_by_page && offset / PAGE != (offset + len) / PAGE;
        let mut staged = if by_page { vec![0; len] } else { Vec::new() };
        // One call, so that it is made part of this.
        let result = f(if by_page {
            &mut staged
        } else {
            // SAFETY: `unpublished` checked the range and that it may be written; nobody else reaches it before it is
            // published, which the one writer does after this call (U2), and it stays mapped meanwhile (U1).
            unsafe { NonNull::slice_from_raw_parts(at, len).as_mut() }
        });
        if by_page {
            self.write_by_page(offset, &staged);
        }
        result
    }

    #[cold]
    fn write_by_page(&self, offset: usize, bytes: &[u8]) {
        for (page, len) in pages(offset, bytes.len()) {
            self.write(page, &bytes[page - offset..][..len]);
        }
    }

    #[inline]
    fn unpublished(&self, offset: usize, len: usize) -> NonNull<u8> {
        assert!(
            offset <= self.writable && len <= self.writable - offset,
            "a write of {len} bytes at {offset} into a region of {} writable bytes",
            self.writable
        );
        // SAFETY: offset <= writable <= len of the region, so the address is in the memory or one past its end (U1).
        unsafe { self.stores.add(offset) }
    }

    /// A page of a guarded mapping could not be had, and zeros are in its place. Covers what was read before the call.
    pub(crate) fn is_lost(&self) -> bool {
        self.backing.is_lost()
    }

    /// Asks the processor to fetch the lines of a range, as far as it is in the region. Where there is no such instruction, nothing.
    #[inline]
    pub(crate) fn prefetch(&self, offset: usize, len: usize) {
        self.fetch(self.start, offset, len);
    }

    /// The same by the mapping for stores.
    #[inline]
    pub(crate) fn prefetch_to_store(&self, offset: usize, len: usize) {
        self.fetch(self.stores, offset, len);
    }

    #[inline]
    fn fetch(&self, start: NonNull<u8>, offset: usize, len: usize) {
        let end = self.len.min(offset.saturating_add(len));
        let mut at = offset & !(LINE - 1);
        while at < end {
            fetch(start.as_ptr().wrapping_add(at));
            at += LINE;
        }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("len", &self.len)
            .field("writable", &self.writable)
            .finish_non_exhaustive()
    }
}

/// Cuts a range into parts of one page each: offset and length.
fn pages(offset: usize, len: usize) -> impl Iterator<Item = (usize, usize)> {
    let end = offset + len;
    let mut at = offset;
    std::iter::from_fn(move || {
        let part = (at, (PAGE - at % PAGE).min(end - at));
        at += part.1;
        (part.1 > 0).then_some(part)
    })
}

/// Asks the processor to fetch the line that `word` is in.
#[inline]
pub(crate) fn prefetch(word: &Word) {
    fetch(std::ptr::from_ref(word).cast());
}

#[inline]
fn fetch(at: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86_64 processor has the instruction, and it never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}

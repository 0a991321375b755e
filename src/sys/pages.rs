//! The pages of a region: dirty, durable, and how they come into memory.

use std::hint::black_box;
use std::io;
use std::sync::atomic::Ordering::Relaxed;

use super::{PAGE, Region};

impl Region {
    /// Reads a word of each page of a range, so that a page that cannot be had is noticed here.
    pub(crate) fn touch(&self, offset: usize, len: usize) {
        let end = offset.saturating_add(len).min(self.len);
        for page in (offset - offset % PAGE..end).step_by(PAGE) {
            black_box(self.word(page).map(|word| word.load(Relaxed)));
        }
    }

    /// Marks the pages of a range dirty without changing them, so that a later sync writes them.
    ///
    /// A compare-and-exchange that stores the value it found: the processor performs the write, and the compiler may not
    /// drop it as it may an `or` with zero.
    pub(crate) fn redirty(&self, offset: usize, len: usize) {
        let end = offset.saturating_add(len).min(self.len);
        for page in (offset - offset % PAGE..end).step_by(PAGE) {
            if let Some(word) = self.word_to_store(page) {
                let value = word.load(Relaxed);
                let _ = word.compare_exchange(value, value, Relaxed, Relaxed);
                self.backing.stored(page);
            }
        }
        self.backing.rewritten(offset - offset % PAGE, end.saturating_sub(offset - offset % PAGE));
    }

    /// Has the pages from the one at `offset` on come into memory one at a time, so that a store makes no more than its page
    /// dirty. Costs time for each page; only a hint.
    pub(crate) fn singly(&self, offset: usize) {
        if offset < self.len {
            self.backing.singly(offset - offset % PAGE);
        }
    }

    /// Has all pages come in pieces that the kernel chooses, as at first.
    pub(crate) fn together(&self) {
        self.backing.together();
    }

    /// Has pages that a store finds missing come in pieces, where they come alone.
    pub(crate) fn stores_together(&self) {
        self.backing.stores_together();
    }

    /// Has every page of the first `len` bytes that is not in memory come by itself from now on: who reads here and there needs no
    /// others. Only a hint.
    pub(crate) fn scattered(&self, len: usize) {
        let len = len.min(self.len);
        if len > 0 {
            self.backing.scattered(len);
        }
    }

    /// Has the pages of a range read before they are needed, in large pieces. Only a hint.
    pub(crate) fn will_need(&self, offset: usize, len: usize) {
        if let Some((first, len)) = self.pages_of(offset, len) {
            self.backing.will_need(first, len);
        }
    }

    /// A range from the start of its first page on, as far as it lies in the region.
    fn pages_of(&self, offset: usize, len: usize) -> Option<(usize, usize)> {
        let end = offset.saturating_add(len).min(self.len);
        let first = offset - offset % PAGE;
        (first < end).then(|| (first, end - first))
    }

    /// Makes the pages of a range dirty while others may write there, so that a sync writes them. Only a hint.
    pub(crate) fn dirty(&self, offset: usize, len: usize) {
        if let Some((first, len)) = self.pages_of(offset, len) {
            self.backing.dirty(first, len);
        }
    }

    /// The same before a load stores to all of them, one after the other: they come in pieces as large as there are, which are written
    /// as a whole. Only a hint.
    pub(crate) fn make_ready(&self, offset: usize, len: usize) {
        if let Some((first, len)) = self.pages_of(offset, len) {
            self.backing.make_ready(first, len);
        }
    }

    /// Makes the pages that enclose a range durable, as far as they lie in the region.
    pub(crate) fn sync(&self, offset: usize, len: usize) -> io::Result<()> {
        let end = offset.saturating_add(len).min(self.len);
        if len == 0 || offset >= end {
            return Ok(());
        }
        let first = offset - offset % PAGE;
        let end = end.next_multiple_of(PAGE).min(self.len);
        loop {
            match self.backing.sync(first, end - first) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

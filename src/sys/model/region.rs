//! A region as the model checker sees it: the interface of `sys/region.rs` and `sys/pages.rs`, over watched memory.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytemuck::TransparentWrapper;

use super::super::{Access, PAGE, Word};
use super::disk::Inode;
use super::word::AtomicU64;

/// A view of a range of one file.
pub(crate) struct Region {
    inode: Arc<Inode>,
    /// The file's page that it starts at.
    first: usize,
    len: usize,
    access: Access,
}

impl Region {
    pub(super) fn new(inode: Arc<Inode>, first: usize, len: usize, access: Access) -> Region {
        Region { inode, first, len, access }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn word(&self, offset: usize) -> Option<&Word> {
        self.words(offset, 1)?.first()
    }

    pub(crate) fn words(&self, offset: usize, count: usize) -> Option<&[Word]> {
        self.atomics(offset, count).map(Word::wrap_slice)
    }

    pub(crate) fn word_to_store(&self, offset: usize) -> Option<&AtomicU64> {
        self.words_to_store(offset, 1)?.first()
    }

    pub(crate) fn words_to_store(&self, offset: usize, count: usize) -> Option<&[AtomicU64]> {
        self.atomics(offset, count).filter(|_| self.access == Access::Write)
    }

    fn atomics(&self, offset: usize, count: usize) -> Option<&[AtomicU64]> {
        let end = offset.checked_add(count.checked_mul(8)?)?;
        if !offset.is_multiple_of(8) || end > self.len {
            return None;
        }
        let words = self.inode.page(self.first + offset / PAGE).words(offset % PAGE);
        // What lies behind the modelled words of a page is not looked at.
        words.get(..count)
    }

    pub(crate) fn bytes(&self, offset: usize, len: usize) -> Option<&[u8]> {
        if offset > self.len || len > self.len - offset {
            return None;
        }
        if len == 0 {
            return Some(&[]);
        }
        Some(self.inode.page(self.first + offset / PAGE).read(offset % PAGE..offset % PAGE + len))
    }

    pub(crate) fn zero(&self, offset: usize, len: usize) {
        self.fill(offset, len, |bytes| bytes.fill(0));
    }

    pub(crate) fn fill<R>(&self, offset: usize, len: usize, f: impl FnOnce(&mut [u8]) -> R) -> R {
        assert!(self.access == Access::Write && offset + len <= self.len, "a write out of bounds");
        let page = self.inode.page(self.first + offset / PAGE);
        page.write(offset % PAGE..offset % PAGE + len, f)
    }

    pub(crate) fn prefetch(&self, _offset: usize, _len: usize) {}

    pub(crate) fn prefetch_to_store(&self, _offset: usize, _len: usize) {}

    /// Nothing of the model's is ever lost.
    pub(crate) fn is_lost(&self) -> bool {
        false
    }

    pub(crate) fn touch(&self, _offset: usize, _len: usize) {}

    /// Every page is written by a sync of the model, dirty or not.
    pub(crate) fn redirty(&self, _offset: usize, _len: usize) {}

    pub(crate) fn singly(&self, _offset: usize) {}

    pub(crate) fn together(&self) {}

    pub(crate) fn stores_together(&self) {}

    pub(crate) fn scattered(&self, _len: usize) {}

    pub(crate) fn will_need(&self, _offset: usize, _len: usize) {}

    pub(crate) fn dirty(&self, _offset: usize, _len: usize) {}

    pub(crate) fn make_ready(&self, _offset: usize, _len: usize) {}

    pub(crate) fn sync(&self, offset: usize, len: usize) -> io::Result<()> {
        let end = offset.saturating_add(len).min(self.len);
        let pages = if len == 0 { 0..0 } else { offset / PAGE..end.div_ceil(PAGE) };
        self.inode.sync(pages.start + self.first..pages.end + self.first)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("len", &self.len).finish_non_exhaustive()
    }
}

/// The model loses nothing.
pub(crate) fn losses() -> u64 {
    0
}

/// The model has no caches to fill.
pub(crate) fn prefetch(_word: &Word) {}

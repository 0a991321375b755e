//! A word of a mapped file, to be loaded.

use std::sync::atomic::Ordering;

use bytemuck::TransparentWrapper;

use super::sync::AtomicU64;

/// A word that others may change at any time. It cannot be stored to: the memory that it is loaded from may be mapped to be read
/// only, and stores go by another mapping of the same page.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Word(AtomicU64);

// SAFETY: `repr(transparent)`, and any atomic word is one that can be loaded.
unsafe impl TransparentWrapper<AtomicU64> for Word {}

impl Word {
    #[inline]
    pub(crate) fn load(&self, ordering: Ordering) -> u64 {
        self.0.load(ordering)
    }
}

//! The page cache of the model: pages that never move, each as words and as bytes.

use std::cell::UnsafeCell as Plain;
use std::ops::Range;
use std::ptr::NonNull;

use loom::cell::UnsafeCell;

use super::super::PAGE;
use super::word::{AtomicU64, Weak};

const WORD: usize = size_of::<u64>();

/// One page. Only its first words can be used as such, because each costs time in every run.
pub(super) struct Page {
    words: Box<[AtomicU64]>,
    /// One for each of these words: loom checks that who reads bytes comes after who wrote them.
    watched: Box<[UnsafeCell<()>]>,
    bytes: Plain<Box<[u8; PAGE]>>,
    durable: Plain<Box<[u8; PAGE]>>,
}

// SAFETY: the threads of a model are coroutines of one thread, and nothing here keeps a reference into `bytes` or `durable`
// from one of their steps to the next except slices that U2 allows.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    /// A page of zeros with `words` words. Every word is made before the threads start, as the kernel's zeros are.
    pub(super) fn new(words: usize, weak: impl Fn(usize) -> Option<Weak>, crowded: bool) -> Page {
        Page {
            words: (0..words).map(|word| AtomicU64::with(0, weak(word), crowded)).collect(),
            watched: (0..words).map(|_| UnsafeCell::new(())).collect(),
            bytes: Plain::new(Box::new([0; PAGE])),
            durable: Plain::new(Box::new([0; PAGE])),
        }
    }

    /// The words from the one at a byte offset on.
    pub(super) fn words(&self, offset: usize) -> &[AtomicU64] {
        assert!(
            offset / WORD < self.words.len(),
            "the word at byte {offset} of a page is not modelled"
        );
        &self.words[offset / WORD..]
    }

    fn touched(&self, range: &Range<usize>) -> Range<usize> {
        let last = self.words.len();
        (range.start / WORD).min(last)..range.end.div_ceil(WORD).min(last)
    }

    /// Reads bytes as the program does: loom must know that they were written before.
    pub(super) fn read(&self, range: Range<usize>) -> &[u8] {
        for cell in &self.watched[self.touched(&range)] {
            cell.with(|_| ());
        }
        self.raw(range)
    }

    /// Has `f` write bytes as the program does, and shows the words that they are.
    pub(super) fn write<R>(&self, range: Range<usize>, f: impl FnOnce(&mut [u8]) -> R) -> R {
        let touched = self.touched(&range);
        for cell in &self.watched[touched.clone()] {
            cell.with_mut(|_| ());
        }
        let result = f(self.raw_mut(range));
        for word in touched {
            let bytes = self.raw(word * WORD..(word + 1) * WORD);
            let value = u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
            self.words[word].store(value, std::sync::atomic::Ordering::Relaxed);
        }
        result
    }

    /// Bytes as the kernel reads them.
    pub(super) fn raw(&self, range: Range<usize>) -> &[u8] {
        // SAFETY: the box lives as long as `self`, and nobody writes at this moment: see `Sync`.
        let bytes = unsafe { NonNull::new_unchecked(self.bytes.get()).as_ref() };
        &bytes[range]
    }

    /// Bytes as the kernel writes them.
    #[expect(clippy::mut_from_ref, reason = "the memory is shared, as a mapping is")]
    pub(super) fn raw_mut(&self, range: Range<usize>) -> &mut [u8] {
        // SAFETY: the box lives as long as `self`, and nobody else is in the range at this moment: see `Sync`.
        let bytes = unsafe { NonNull::new_unchecked(self.bytes.get()).as_mut() };
        &mut bytes[range]
    }

    /// Keeps the bytes as they are for a power cut.
    pub(super) fn sync(&self) {
        // SAFETY: as in `raw_mut`.
        let durable = unsafe { NonNull::new_unchecked(self.durable.get()).as_mut() };
        durable.copy_from_slice(self.raw(0..PAGE));
    }

    /// The bytes that a power cut leaves.
    pub(super) fn durable(&self, range: Range<usize>) -> &[u8] {
        // SAFETY: as in `raw`.
        let bytes = unsafe { NonNull::new_unchecked(self.durable.get()).as_ref() };
        &bytes[range]
    }
}

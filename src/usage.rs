//! How much of each segment the index leads to, so that compaction knows what a segment costs and what it wins.
//!
//! Kept by the one writer after each commit; every process may look. What a crash has made doubtful is unknown, and stays so
//! until somebody counts.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use crate::chunks::Chunks;
use crate::error::{Error, Result};
use crate::format::usage::{live, place, word};

/// The words of the file `usage`.
#[derive(Debug)]
pub(crate) struct Usage {
    chunks: Chunks,
}

impl Usage {
    pub(crate) fn new(chunks: Chunks) -> Usage {
        Usage { chunks }
    }

    /// The segment's word; None when the file does not reach that far.
    #[inline]
    fn word(&self, number: u64) -> Result<Option<&AtomicU64>> {
        let Some((page, index)) = place(number) else { return Ok(None) };
        match self.chunks.mapped_word(page, index) {
            Some(word) => Ok(Some(word)),
            None => Ok(self.chunks.page(page)?.map(|words| &words[index])),
        }
    }

    /// Makes room for all segments up to `number`.
    pub(crate) fn ensure(&self, number: u64) -> Result<()> {
        let (page, _) = place(number).ok_or_else(|| {
            let source = std::io::Error::other("segments have numbers up to 2^41");
            Error::Full { path: self.chunks.path().clone(), source }
        })?;
        self.chunks.grow(page + 1)
    }

    /// Bytes of a segment that the index leads to; None when that is not known.
    pub(crate) fn live(&self, number: u64) -> Result<Option<u64>> {
        Ok(self.word(number)?.and_then(|word| live(word.load(Acquire))))
    }

    /// Says how many bytes of a segment the index leads to, or that nobody knows. There must be room for it.
    pub(crate) fn set(&self, number: u64, live: Option<u64>) -> Result<()> {
        if let Some(at) = self.word(number)? {
            at.store(word(live), Release);
        }
        Ok(())
    }

    /// The index leads to `bytes` more of a segment.
    #[inline]
    pub(crate) fn add(&self, number: u64, bytes: u64) -> Result<()> {
        self.change(number, |live| live.checked_add(bytes))
    }

    /// The index leads to `bytes` of a segment no longer. More than there are means that the count was wrong: it is unknown.
    #[inline]
    pub(crate) fn sub(&self, number: u64, bytes: u64) -> Result<()> {
        self.change(number, |live| live.checked_sub(bytes))
    }

    #[inline]
    fn change(&self, number: u64, to: impl FnOnce(u64) -> Option<u64>) -> Result<()> {
        if let Some(at) = self.word(number)?
            && let Some(known) = live(at.load(Acquire))
        {
            at.store(word(to(known)), Release);
        }
        Ok(())
    }

    /// Makes all words durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.chunks.sync(self.chunks.backed()?)
    }

    /// Marks all words dirty, whatever a failed sync made of them.
    pub(crate) fn redirty(&self) -> Result<()> {
        self.chunks.redirty(self.chunks.backed()?)
    }
}

//! How much of each segment the index leads to, so that compaction knows what a segment costs and what it wins.
//!
//! Kept by the one writer after each commit; every process may look. It is a hint: nothing is destroyed because of it. What a
//! crash has made doubtful is unknown, until compaction has been through that segment.

use std::sync::atomic::Ordering::{Acquire, Release};

use crate::chunks::Chunks;
use crate::error::{Error, Result};
use crate::format::usage::{bytes, place, word};
use crate::sys::sync::AtomicU64;

/// The words of the file `usage`. A store of an earlier release has no such file before it is opened for writing.
#[derive(Debug)]
pub(crate) struct Usage {
    chunks: Option<Chunks>,
}

/// Bytes of a segment that the index leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    /// Of records that hold a value.
    pub(crate) puts: u64,
    /// Of tombstones.
    pub(crate) tombstones: u64,
}

impl Live {
    #[inline]
    pub(crate) fn of(put: bool, bytes: u64) -> Live {
        if put { Live { puts: bytes, tombstones: 0 } } else { Live { puts: 0, tombstones: bytes } }
    }

    #[inline]
    pub(crate) fn plus(self, more: Live) -> Option<Live> {
        let puts = self.puts.checked_add(more.puts)?;
        Some(Live { puts, tombstones: self.tombstones.checked_add(more.tombstones)? })
    }

    #[inline]
    pub(crate) fn minus(self, less: Live) -> Option<Live> {
        let puts = self.puts.checked_sub(less.puts)?;
        Some(Live { puts, tombstones: self.tombstones.checked_sub(less.tombstones)? })
    }
}

impl Usage {
    pub(crate) fn new(chunks: Option<Chunks>) -> Usage {
        Usage { chunks }
    }

    /// One of the segment's words; None when the file does not reach that far, or cannot be mapped: then nothing is known.
    #[inline]
    fn word(&self, number: u64, which: usize) -> Option<&AtomicU64> {
        let (page, index) = place(number)?;
        let chunks = self.chunks.as_ref()?;
        match chunks.mapped_word(page, index + which) {
            Some(word) => Some(word),
            None => chunks.page(page).ok()??.get(index + which),
        }
    }

    #[inline]
    fn load(&self, number: u64, which: usize) -> Option<u64> {
        bytes(self.word(number, which)?.load(Acquire))
    }

    #[inline]
    fn store(&self, number: u64, which: usize, to: Option<u64>) {
        if let Some(at) = self.word(number, which) {
            at.store(word(to), Release);
        }
    }

    /// Makes room for all segments up to `number`.
    pub(crate) fn ensure(&self, number: u64) -> Result<()> {
        let Some(chunks) = &self.chunks else { return Ok(()) };
        let (page, _) = place(number).ok_or_else(|| {
            let source = std::io::Error::other("segments have numbers up to 2^39");
            Error::Full { path: chunks.path().clone(), source }
        })?;
        chunks.grow(page + 1)
    }

    /// How much of a segment the index leads to; None when that is not known.
    #[inline]
    pub(crate) fn live(&self, number: u64) -> Option<Live> {
        Some(Live { puts: self.load(number, 0)?, tombstones: self.load(number, 1)? })
    }

    /// Says how much of a segment the index leads to, or that nobody knows.
    #[inline]
    pub(crate) fn set_live(&self, number: u64, live: Option<Live>) {
        self.store(number, 0, live.map(|live| live.puts));
        self.store(number, 1, live.map(|live| live.tombstones));
    }

    /// Bytes of all records of a segment; None for the one in which the log ends, or when that is not known.
    pub(crate) fn used(&self, number: u64) -> Option<u64> {
        self.load(number, 2)
    }

    pub(crate) fn set_used(&self, number: u64, used: Option<u64>) {
        self.store(number, 2, used);
    }

    /// The index leads to `more` of a segment.
    #[inline]
    pub(crate) fn add(&self, number: u64, more: Live) {
        if let Some(live) = self.live(number) {
            self.set_live(number, live.plus(more));
        }
    }

    /// The index leads to `less` of a segment. Less than nothing means that the count was wrong: it is unknown then.
    #[inline]
    pub(crate) fn sub(&self, number: u64, less: Live) {
        if let Some(live) = self.live(number) {
            self.set_live(number, live.minus(less));
        }
    }

    /// Makes all words durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.chunks.as_ref().map_or(Ok(()), |chunks| chunks.sync(chunks.backed()?))
    }
}

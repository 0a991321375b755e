//! How much of each segment the index leads to, so that compaction knows what a segment costs and what it wins.
//!
//! Kept by the one writer after each commit; every process may look. It is a hint: nothing is destroyed because of it. What a
//! crash has made doubtful is unknown, until compaction has been through that segment.

use std::sync::atomic::Ordering::{Acquire, Release};

use crate::chunks::Chunks;
use crate::error::{Error, Result};
use crate::format::usage::{bytes, place, word};
use crate::sys::Word;
use crate::sys::sync::{AtomicBool, AtomicU64};

/// What is kept of a segment: bytes of values and of tombstones that the index leads to, and of all records.
const WORDS: usize = 3;

/// The words of the file `usage`. A store of an earlier release has no such file before it is opened for writing.
#[derive(Debug)]
pub(crate) struct Usage {
    chunks: Option<Chunks>,
    /// Some words could not be mapped when they were needed.
    missed: AtomicBool,
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

impl Live {
    #[inline]
    fn of_words(puts: u64, tombstones: u64) -> Option<Live> {
        Some(Live { puts: bytes(puts)?, tombstones: bytes(tombstones)? })
    }

    #[inline]
    fn store(live: Option<Live>, words: &[AtomicU64; WORDS]) {
        let [puts, tombstones, _] = words;
        puts.store(word(live.map(|live| live.puts)), Release);
        tombstones.store(word(live.map(|live| live.tombstones)), Release);
    }
}

impl Usage {
    pub(crate) fn new(chunks: Option<Chunks>) -> Usage {
        Usage { chunks, missed: AtomicBool::new(false) }
    }

    /// The segment's words; None when the file does not reach that far, or cannot be mapped: then nothing is known.
    #[inline]
    fn words(&self, number: u64) -> Option<&[Word; WORDS]> {
        let (page, index) = place(number)?;
        let chunks = self.chunks.as_ref()?;
        let page = match chunks.mapped(page) {
            Some(words) => words,
            None => chunks.page(page).inspect_err(|_| self.missed.store(true, Release)).ok()??,
        };
        page.get(index..)?.first_chunk()
    }

    /// The same, to be stored to.
    #[inline]
    fn words_to_store(&self, number: u64) -> Option<&[AtomicU64; WORDS]> {
        let (page, index) = place(number)?;
        let chunks = self.chunks.as_ref()?;
        let words = match chunks.mapped_to_store(page) {
            Some(words) => words,
            None => self.map_to_store(chunks, page)?,
        };
        words.get(index..)?.first_chunk()
    }

    #[cold]
    fn map_to_store<'a>(&self, chunks: &'a Chunks, page: u32) -> Option<&'a [AtomicU64]> {
        let words = chunks.page_to_store(page);
        words.inspect_err(|_| self.missed.store(true, Release)).ok()?
    }

    /// Some words could not be mapped, so what was to be stored there may not have been.
    pub(crate) fn has_missed(&self) -> bool {
        self.missed.load(Acquire)
    }

    /// Whoever says so stores again all that may not have been.
    pub(crate) fn try_again(&self) {
        self.missed.store(false, Release);
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
        let [puts, tombstones, _] = self.words(number)?;
        Live::of_words(puts.load(Acquire), tombstones.load(Acquire))
    }

    /// Says how much of a segment the index leads to, or that nobody knows.
    #[inline]
    pub(crate) fn set_live(&self, number: u64, live: Option<Live>) {
        if let Some(words) = self.words_to_store(number) {
            Live::store(live, words);
        }
    }

    /// Bytes of all records of a segment; None for the one in which the log ends, or when that is not known.
    pub(crate) fn used(&self, number: u64) -> Option<u64> {
        bytes(self.words(number)?[2].load(Acquire))
    }

    pub(crate) fn set_used(&self, number: u64, used: Option<u64>) {
        if let Some(words) = self.words_to_store(number) {
            words[2].store(word(used), Release);
        }
    }

    /// The index leads to `more` of a segment.
    #[inline]
    pub(crate) fn add(&self, number: u64, more: Live) {
        self.change(number, |live| live.plus(more));
    }

    /// The index leads to `less` of a segment. Less than nothing means that the count was wrong: it is unknown then.
    #[inline]
    pub(crate) fn sub(&self, number: u64, less: Live) {
        self.change(number, |live| live.minus(less));
    }

    #[inline]
    fn change(&self, number: u64, change: impl FnOnce(Live) -> Option<Live>) {
        let Some(words) = self.words_to_store(number) else { return };
        let [puts, tombstones, _] = words;
        if let Some(live) = Live::of_words(puts.load(Acquire), tombstones.load(Acquire)) {
            Live::store(change(live), words);
        }
    }

    /// Makes all words durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.chunks.as_ref().map_or(Ok(()), |chunks| chunks.sync(chunks.backed()?))
    }
}

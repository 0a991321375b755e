//! The live cells: the words in `meta` that the writer changes and every process reads. docs/concurrency in docs/design.md.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use crate::faults::{Bug, Point, planted, reach};
use crate::format::checkpoint::Newest;
use crate::format::directory::Cell;
use crate::format::meta::{Counters, SHARED, SPLITTING, SYNC_FAILED, cell, checked, number_in};
use crate::sys::sync::{AtomicU64, fence};
use crate::sys::{Region, Word};

/// Typed access to the live cells of one store. Only the writer stores.
#[derive(Debug)]
pub(crate) struct Cells {
    region: Region,
    /// Up to where `durable` is believed. A plain atomic also under the model checker: it is set before other threads have it,
    /// and raised once.
    believed: std::sync::atomic::AtomicU64,
}

/// The cells that a read looks at, found once: they are side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Front<'a>(&'a [Word; 3]);

impl Front<'_> {
    /// End of the last commit that anyone may see.
    #[inline]
    pub(crate) fn committed(self) -> u64 {
        self.word(cell::COMMITTED).load(Acquire)
    }

    #[inline]
    pub(crate) fn directory(self) -> Cell {
        Cell(self.word(cell::DIRECTORY).load(Acquire))
    }

    /// Readers that are not registered must be at or past this position: what only earlier ones need may be gone.
    #[inline]
    pub(crate) fn horizon(self) -> u64 {
        self.word(cell::HORIZON).load(Acquire)
    }

    #[inline]
    fn word(&self, offset: usize) -> &Word {
        &self.0[(offset - cell::COMMITTED) / size_of::<u64>()]
    }
}

impl Cells {
    /// `region` is the whole of `meta`.
    pub(crate) fn new(region: Region) -> Cells {
        Cells { region, believed: u64::MAX.into() }
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    #[inline]
    fn word(&self, offset: usize) -> &Word {
        self.region.word(offset).unwrap_or_else(|| beyond())
    }

    /// The cells that a read looks at.
    #[inline]
    pub(crate) fn front(&self) -> Front<'_> {
        let words = self.region.words(cell::COMMITTED, 3).and_then(<[Word]>::first_chunk);
        Front(words.unwrap_or_else(|| beyond()))
    }

    #[inline]
    fn to_store(&self, offset: usize) -> &AtomicU64 {
        self.region
            .word_to_store(offset)
            .expect("the cells lie within meta, and only the writer stores")
    }

    /// End of the last commit that anyone may see.
    #[inline]
    pub(crate) fn committed(&self) -> u64 {
        self.front().committed()
    }

    /// End of the commit before the last, as long as no other is on its way.
    pub(crate) fn committed_before(&self) -> u64 {
        self.word(self.spare(self.committed())).load(Acquire)
    }

    /// Shows everything up to the counters' position to everyone, counters first (invariant I4).
    pub(crate) fn publish(&self, counters: &Counters) {
        let before = self.word(cell::COMMITTED).load(Relaxed);
        let mut spare = self.spare(before);
        if planted(Bug::CountersInPlace) {
            spare = cell::COUNTERS[0] + cell::COUNTERS[1] - spare;
        }
        // The set held for the commit before the last: whoever still sees that must not see these stores.
        fence(Release);
        let set =
            self.region.words_to_store(spare, Counters::WORDS).expect("within meta, to be written");
        let ([position, others @ ..], [at, words @ ..]) = (set, counters.words()) else {
            unreachable!("a set has words")
        };
        for (to, word) in others.iter().zip(words) {
            to.store(word, Relaxed);
        }
        // The position last: without a new commit the set holds as soon as it is there.
        position.store(at, Release);
        reach(Point::PublishCounted);
        if counters.position == before {
            // At an open, what a lost life counted up to the same position must not hold.
            let [a, b] = cell::COUNTERS;
            self.to_store(if spare == a { b } else { a }).store(0, Release);
        }
        self.to_store(cell::COMMITTED).store(counters.position, Release);
        reach(Point::PublishDone);
    }

    /// Which set of counters is not the one that holds for `committed`.
    fn spare(&self, committed: u64) -> usize {
        let [a, b] = cell::COUNTERS;
        if self.word(a).load(Relaxed) == committed { b } else { a }
    }

    /// Offset in the file of the set of counters that holds for the last commit.
    pub(crate) fn counters_place(&self) -> usize {
        self.place(self.committed())
    }

    /// The same for the commit at `committed`.
    fn place(&self, committed: u64) -> usize {
        let [a, b] = cell::COUNTERS;
        if self.spare(committed) == a { b } else { a }
    }

    /// The counters that hold for the last commit, or None while it changes or if none of the two sets does.
    pub(crate) fn counters(&self) -> Option<Counters> {
        let committed = self.committed();
        let set = self.place(committed);
        let mut words = [0; Counters::WORDS];
        for (i, word) in words.iter_mut().enumerate() {
            *word = self.word(set + 8 * i).load(Acquire);
        }
        let counters = Counters::from_words(words);
        (counters.position == committed && self.committed() == committed).then_some(counters)
    }

    #[inline]
    pub(crate) fn directory(&self) -> Cell {
        self.front().directory()
    }

    pub(crate) fn set_directory(&self, to: Cell) {
        self.to_store(cell::DIRECTORY).store(to.0, Release);
    }

    /// Up to where the log is known durable.
    pub(crate) fn durable(&self) -> u64 {
        let believed = self.believed.load(Acquire);
        self.said_durable().min(believed)
    }

    /// Up to where the log is durable if the cell is not damaged.
    pub(crate) fn said_durable(&self) -> u64 {
        self.word(cell::DURABLE).load(Acquire)
    }

    pub(crate) fn set_durable(&self, position: u64) {
        self.to_store(cell::DURABLE).store(position, Release);
        self.believed.store(u64::MAX, Release);
    }

    /// Until the next sync no more than this counts as durable, whatever the cell says.
    pub(crate) fn believe_durable(&self, position: u64) {
        self.believed.store(position, Release);
    }

    /// Position of the newest durable checkpoint.
    pub(crate) fn checkpoint(&self) -> u64 {
        self.newest_checkpoint().position()
    }

    /// The newest durable checkpoint: its position, and the file that holds it.
    pub(crate) fn newest_checkpoint(&self) -> Newest {
        Newest(self.word(cell::CHECKPOINT).load(Acquire))
    }

    pub(crate) fn set_checkpoint(&self, to: Newest) {
        self.to_store(cell::CHECKPOINT).store(to.0, Release);
    }

    pub(crate) fn horizon(&self) -> u64 {
        self.front().horizon()
    }

    /// Ordered before everything that is destroyed after it (invariant I15).
    pub(crate) fn set_horizon(&self, position: u64) {
        self.to_store(cell::HORIZON).store(position, SeqCst);
    }

    /// The commit up to which the words of `usage` have been brought.
    pub(crate) fn counted(&self) -> u64 {
        self.word(cell::COUNTED).load(Acquire)
    }

    pub(crate) fn set_counted(&self, position: u64) {
        self.to_store(cell::COUNTED).store(position, Release);
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.word(cell::SEQUENCE).load(Acquire)
    }

    pub(crate) fn set_sequence(&self, sequence: u64) {
        self.to_store(cell::SEQUENCE).store(sequence, Release);
    }

    pub(crate) fn watermark(&self) -> u32 {
        // A word that is damaged is a page that no file reaches.
        number_in(self.word(cell::WATERMARK).load(Acquire)).unwrap_or(u32::MAX)
    }

    pub(crate) fn set_watermark(&self, page: u32) {
        self.to_store(cell::WATERMARK).store(checked(page), Release);
    }

    /// How many pages the directory led to before its last change: None if the word is damaged, 0 if nobody wrote it.
    pub(crate) fn pages(&self) -> Option<u32> {
        number_in(self.word(cell::PAGES).load(Acquire))
    }

    /// The directory leads to this many pages, and is not about to change.
    pub(crate) fn set_pages(&self, pages: u64) {
        self.change_pages(pages);
        self.to_store(cell::NEXT_PAGES).store(0, Release);
    }

    /// A change of the directory that was foreseen is made.
    pub(crate) fn change_pages(&self, pages: u64) {
        self.to_store(cell::PAGES).store(checked(page_count(pages)), Release);
    }

    /// Once the directory leads to `page`, it leads to this many pages.
    pub(crate) fn foresee_pages(&self, page: u32, pages: u64) {
        let word = u64::from(page) | u64::from(page_count(pages)) << 32;
        self.to_store(cell::NEXT_PAGES).store(word, Release);
    }

    /// The page whose being led to makes the change, and how many pages there are then.
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    pub(crate) fn foreseen_pages(&self) -> (u32, u32) {
        let word = self.word(cell::NEXT_PAGES).load(Acquire);
        (word as u32, (word >> 32) as u32)
    }

    pub(crate) fn life(&self) -> u64 {
        self.word(cell::LIFE).load(Acquire)
    }

    pub(crate) fn set_life(&self, life: u64) {
        self.to_store(cell::LIFE).store(life, Release);
    }

    #[expect(clippy::cast_possible_truncation, reason = "process ids are 32 bits wide")]
    pub(crate) fn writer(&self) -> u32 {
        self.word(cell::WRITER).load(Acquire) as u32
    }

    /// The one writer, 0 for none.
    pub(crate) fn set_writer(&self, process: u32) {
        self.set_writer_word(process.into());
    }

    /// One of those who share the store.
    pub(crate) fn set_shared_writer(&self, process: u32) {
        self.set_writer_word(u64::from(process) | SHARED);
    }

    pub(crate) fn writer_word(&self) -> u64 {
        self.word(cell::WRITER).load(Acquire)
    }

    pub(crate) fn set_writer_word(&self, word: u64) {
        self.to_store(cell::WRITER).store(word, Release);
    }

    /// The store is one that writers share.
    pub(crate) fn is_shared(&self) -> bool {
        self.writer_word() & SHARED != 0
    }

    /// The number of the turn: odd while one lasts, or if it never ended.
    pub(crate) fn turn(&self) -> u64 {
        self.word(cell::TURN).load(Acquire)
    }

    pub(crate) fn set_turn(&self, number: u64) {
        self.to_store(cell::TURN).store(number, Release);
    }

    /// A sync of the log by one of those who share the store is under way, or never ended.
    pub(crate) fn syncing(&self) -> bool {
        self.word(cell::SYNCING).load(Acquire) != 0
    }

    pub(crate) fn set_syncing(&self, syncing: bool) {
        self.to_store(cell::SYNCING).store(u64::from(syncing), Release);
    }

    pub(crate) fn suspect(&self) -> bool {
        self.word(cell::SUSPECT).load(Acquire) != 0
    }

    pub(crate) fn set_suspect(&self, suspect: bool) {
        self.to_store(cell::SUSPECT).store(u64::from(suspect), Release);
    }

    /// A sync has failed in this life, so what the page cache holds may go back to what the disk holds at any time.
    pub(crate) fn failed(&self) -> bool {
        self.word(cell::SUSPECT).load(Acquire) == SYNC_FAILED
    }

    pub(crate) fn set_failed(&self) {
        self.to_store(cell::SUSPECT).store(SYNC_FAILED, Release);
    }

    /// Announces that page `from` splits into `zero` and `one`, both written, so that a successor can finish it.
    pub(crate) fn begin_split(&self, from: u32, zero: u32, one: u32) {
        let pair = u64::from(from) | u64::from(zero) << 32;
        self.to_store(cell::SPLIT_FROM).store(pair, Relaxed);
        self.to_store(cell::SPLIT_TO).store(u64::from(one) | SPLITTING, Release);
    }

    pub(crate) fn end_split(&self) {
        self.to_store(cell::SPLIT_TO).store(0, Release);
    }

    /// The split under way: the page, and the two that replace it.
    #[expect(clippy::cast_possible_truncation, reason = "page numbers are 32 bits wide")]
    pub(crate) fn split(&self) -> Option<(u32, u32, u32)> {
        let to = self.word(cell::SPLIT_TO).load(Acquire);
        let pair = self.word(cell::SPLIT_FROM).load(Relaxed);
        (to & SPLITTING != 0).then_some((pair as u32, (pair >> 32) as u32, to as u32))
    }
}

/// Without arguments, so that nothing is prepared for a call that is never made.
#[cold]
#[inline(never)]
fn beyond() -> ! {
    unreachable!("the cells lie within meta")
}

/// A number of index pages, of which there are at most 2^32 with the header.
fn page_count(pages: u64) -> u32 {
    u32::try_from(pages).unwrap_or(u32::MAX)
}

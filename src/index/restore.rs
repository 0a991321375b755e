//! Bringing the index back: an empty one, the one of a checkpoint, and slots that a power cut left dangling.

use std::sync::atomic::Ordering::Relaxed;

use crate::error::Result;
use crate::faults::{Bug, Point, planted, reach};
use crate::format::directory::{Cell, Entry, MAX_DEPTH};
use crate::format::page::{
    DEAD, LINE_SLOTS, LINES, OVERFLOW, line_word, overflows, position, start_line, stored,
};
use crate::sys::sync::AtomicU64;

use super::allocate::Captured;
use super::edit::Editor;
use super::{Index, directory_pages, header};

/// Position bits of a slot word; the tag is above them.
const POSITION_BITS: u32 = 44;
const TAG: u64 = !((1 << POSITION_BITS) - 1);

impl Index {
    /// Writes the first directory and the first page of a new store. Page 0 holds the file's header.
    pub(crate) fn create(&self) -> Result<Editor> {
        self.cells.set_watermark(1);
        let mut editor = Editor::new(1);
        let directory = self.allocate_run(&mut editor.allocator, 1)?;
        let (page, _) = self.build(&mut editor.allocator, [], 0, 0, 0)?;
        let cell = Cell(0).next(directory, 0);
        let words = self.directory_to_store(cell)?;
        words[0].store(Entry::new(page, 0, false).0, Relaxed);
        self.cells.set_directory(cell);
        self.cells.set_pages(1);
        Ok(editor)
    }

    /// Makes the directory of a checkpoint the live one, in pages that no checkpoint names. `last` is the greatest sequence that a
    /// checkpoint has had.
    pub(crate) fn restore(&self, captured: &Captured, last: u64) -> Result<()> {
        self.cells.set_watermark(captured.watermark);
        // Another number than any page was born under before, by this or an earlier attempt to recover; within reason, since
        // after a power cut the cell may hold anything.
        let left = self.cells.sequence().clamp(last, last.saturating_add(1 << 32));
        self.cells.set_sequence(left.saturating_add(1));
        self.cells.end_split();
        reach(Point::RestoreNumbered);
        let mut unused = Editor::new(0);
        let pages = directory_pages(captured.depth);
        let page = self.allocate_run(&mut unused.allocator, pages)?;
        let cell = self.cells.directory().next(page, captured.depth);
        let words = self.directory_to_store(cell)?;
        for (to, entry) in words.iter().zip(&captured.entries) {
            to.store(*entry, Relaxed);
        }
        reach(Point::RestoreWritten);
        self.cells.set_directory(cell);
        Ok(())
    }

    /// Sends every slot that points at or past `end`, the end of the log that survived, back to the version before.
    /// Calls `lost` for a slot whose version before is past the end as well: then durable log was lost.
    pub(crate) fn settle(&self, end: u64, mut lost: impl FnMut(u32)) -> Result<()> {
        let (cell, words) = self.current()?;
        let mut at = 0;
        while at < words.len() {
            let entry = Entry(words[at].load(Relaxed));
            if entry.depth() > cell.depth().min(MAX_DEPTH) {
                return Err(self.bad_directory(cell));
            }
            let each = cell.depth() - entry.depth();
            for page in self.chain(entry) {
                let (number, page) = page?;
                let right = header(page).is_some_and(|header| {
                    header.number == number
                        && header.depth == entry.depth()
                        && header.prefix == (at >> each) as u64
                });
                if !right {
                    return Err(self.bad_page(number));
                }
                if settle_page(self.page_to_store(number)?, end) {
                    lost(number);
                }
                reach(Point::SettlePage);
            }
            at = ((at >> each) + 1) << each;
        }
        Ok(())
    }
}

/// Settles the slots of one page; true if one of them has lost both versions.
fn settle_page(words: &[AtomicU64], end: u64) -> bool {
    let mut lost = false;
    for at in all_slots() {
        let cur = words[at].load(Relaxed);
        if cur <= DEAD || position(cur, end).is_some_and(|position| position < end) {
            continue;
        }
        let prev = words[at + 1].load(Relaxed);
        let back = position(prev, end);
        lost |= back.is_some_and(|position| position >= end);
        words[at].store(if back.is_some() { cur & TAG | prev & !TAG } else { DEAD }, Relaxed);
    }
    fill_holes(words);
    lost
}

/// Fills empty slots that come before some key's on its probe path, and sets its overflow bit: a power cut may keep the sector of a
/// later line and lose that of an earlier one, and a probe ends at an empty slot, or without that bit (invariant I24).
fn fill_holes(words: &[AtomicU64]) {
    for at in all_slots() {
        let (cur, prev) = (words[at].load(Relaxed), words[at + 1].load(Relaxed));
        if cur <= DEAD {
            continue;
        }
        let hash = stored(cur, prev);
        if let Some(bit) = overflows(hash, at) {
            let before = words[bit].load(Relaxed);
            if before & OVERFLOW == 0 && !planted(Bug::SettleOverflow) {
                words[bit].store(before | OVERFLOW, Relaxed);
            }
        }
        let mut line = start_line(hash);
        while line_word(line) + 2 * LINE_SLOTS <= at || line_word(line) > at {
            for slot in 0..LINE_SLOTS {
                let word = &words[line_word(line) + 2 * slot];
                if word.load(Relaxed) == 0 {
                    word.store(DEAD, Relaxed);
                }
            }
            line = if line + 1 == LINES { 0 } else { line + 1 };
        }
    }
}

/// Word offsets of all slots of a page.
pub(crate) fn all_slots() -> impl Iterator<Item = usize> {
    (0..LINES).flat_map(|line| (0..LINE_SLOTS).map(move |slot| line_word(line) + 2 * slot))
}

impl Captured {
    /// A checkpoint's directory, read back.
    pub(crate) fn read(entries: Vec<u64>, depth: u32, watermark: u32, sequence: u64) -> Captured {
        Captured { entries, depth, watermark, sequence, region: 0..0 }
    }
}

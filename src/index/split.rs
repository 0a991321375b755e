//! Making room: a page splits into two new ones, the directory doubles, or a chain grows when neither would help.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::error::Result;
use crate::faults::{Bug, Point, planted, reach};
use crate::format::directory::{Entry, MAX_DEPTH};
use crate::format::hash::{Hash, STORED_BITS};
use crate::format::page::{DEAD, OVERFLOW, line_word, stored};
use crate::sys::Word;

use super::Index;
use super::build::Slot;
use super::edit::Editor;

/// A directory has at most this many entries a page, so that keys which collide in many bits cannot blow it up.
const SPARSE: u64 = 8;
/// A directory this small may always double.
const SMALL: u64 = 64;

/// The slots of one page that are some key's, without overflow bits.
pub(super) fn used(words: &[Word]) -> impl Iterator<Item = Slot> + '_ {
    let (slots, _) = words[line_word(0)..].as_chunks();
    slots
        .iter()
        .map(|[cur, prev]| (cur.load(Acquire), prev.load(Relaxed) & !OVERFLOW))
        .filter(|(cur, _)| *cur > DEAD)
}

/// Which entries of a directory of `depth` bits lead to the page of a prefix of `bits` bits.
pub(super) fn span(prefix: u64, bits: u32, depth: u32) -> std::ops::Range<usize> {
    let each = depth - bits;
    #[expect(clippy::cast_possible_truncation, reason = "a 64-bit target")]
    let (first, end) = ((prefix << each) as usize, ((prefix + 1) << each) as usize);
    first..end
}

/// Fewer free pages than this are soon taken.
const FEW: usize = 64;

impl Editor {
    /// A checkpoint is wanted, or under way: until it is durable, pages that it may name are put off when they are to split.
    pub(crate) fn put_off_splits(&mut self) {
        self.patient.get_or_insert(self.splits);
    }

    /// A checkpoint is wanted to have garbage back, and is not under way yet.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        self.patient.is_some() && !self.allocator.is_captured()
    }

    /// Splits that could not be put off while the last checkpoint was wanted and made.
    pub(crate) fn late_splits(&self) -> u64 {
        self.late
    }

    /// A checkpoint is wanted, or under way, and more new keys would take further pages, beyond so many in all.
    pub(crate) fn outgrows(&self, index: &Index, pages: u64) -> bool {
        self.patient.is_some()
            && self.allocator.free.len() < FEW
            && u64::from(index.cells.watermark()) > pages
    }

    /// The page is not to split before it is full, at the price of long probes: what it leaves could not be used before the checkpoint
    /// that is wanted, or the one after that.
    pub(super) fn puts_off(&self, index: &Index, words: &[Word]) -> bool {
        self.patient.is_some() && index.is_named(words)
    }

    /// Makes room on the page that `entry` names, for a key with this hash.
    pub(super) fn make_room(&mut self, index: &Index, hash: Hash, entry: Entry) -> Result<()> {
        let directory = index.cells.directory();
        if entry.depth() < directory.depth() {
            return self.split(index, hash, entry);
        }
        let doubled = 1u64 << (directory.depth() + 1);
        let allowed = self.allocator.live.saturating_mul(SPARSE).max(SMALL);
        if directory.depth() < MAX_DEPTH && doubled <= allowed {
            return self.move_directory(index, directory.depth() + 1);
        }
        self.lengthen(index, hash, entry)
    }

    /// Writes two new pages from one, announces them, and leads the directory to them.
    fn split(&mut self, index: &Index, hash: Hash, entry: Entry) -> Result<()> {
        let depth = entry.depth();
        let prefix = hash.prefix(depth);
        let mut chain = Vec::new();
        let mut halves: [Vec<Slot>; 2] = Default::default();
        for page in index.chain(entry) {
            let (page, words) = page?;
            chain.push(page);
            for slot in used(words) {
                let bit = stored(slot.0, slot.1) >> (STORED_BITS - 1 - depth) & 1;
                halves[usize::from(bit == 1)].push(slot);
            }
        }
        let replaced = chain.len() as u64;
        if planted(Bug::SplitInPlace) {
            self.allocator.free.push(chain.remove(0));
        }
        let [zeros, ones] = halves;
        let zero = index.build(&mut self.allocator, zeros, prefix << 1, depth + 1, 0)?;
        let one = index.build(&mut self.allocator, ones, prefix << 1 | 1, depth + 1, 0)?;
        reach(Point::SplitBuilt);
        let built = index.count(Entry::new(zero.0, 0, zero.1))?
            + index.count(Entry::new(one.0, 0, one.1))?;
        let live = (self.allocator.live + built).saturating_sub(replaced);
        index.cells.foresee_pages(zero.0, live);
        reach(Point::SplitForeseen);
        index.cells.begin_split(entry.page(), zero.0, one.0);
        reach(Point::SplitAnnounced);
        index.lead(prefix, depth, zero, one)?;
        reach(Point::SplitLed);
        self.allocator.live = live;
        index.cells.change_pages(live);
        reach(Point::SplitCounted);
        index.cells.end_split();
        reach(Point::SplitEnded);
        self.splits += 1;
        for page in &chain {
            index.retire(&mut self.allocator, *page)?;
        }
        reach(Point::SplitRetired);
        Ok(())
    }

    /// Puts an empty page in front of a page whose keys cannot be told apart by more hash bits.
    fn lengthen(&mut self, index: &Index, hash: Hash, entry: Entry) -> Result<()> {
        let depth = entry.depth();
        let prefix = hash.prefix(depth);
        let next = entry.page();
        let page = index.build(&mut self.allocator, [], prefix, depth, next)?;
        reach(Point::ChainBuilt);
        index.cells.foresee_pages(page.0, self.allocator.live + 1);
        reach(Point::ChainForeseen);
        index.lead_to(prefix, depth, Entry::new(page.0, depth, true))?;
        reach(Point::ChainLed);
        self.splits += 1;
        self.allocator.live += 1;
        index.cells.change_pages(self.allocator.live);
        Ok(())
    }
}

impl Index {
    /// Leads both halves of a prefix to their pages.
    fn lead(&self, prefix: u64, depth: u32, zero: (u32, bool), one: (u32, bool)) -> Result<()> {
        self.lead_to(prefix << 1, depth + 1, Entry::new(zero.0, depth + 1, zero.1))?;
        reach(Point::SplitHalf);
        self.lead_to(prefix << 1 | 1, depth + 1, Entry::new(one.0, depth + 1, one.1))
    }

    pub(super) fn lead_to(&self, prefix: u64, bits: u32, entry: Entry) -> Result<()> {
        let (cell, _) = self.current()?;
        let words = self.directory_to_store(cell)?;
        for word in &words[span(prefix, bits, cell.depth())] {
            let old = Entry(word.load(Relaxed));
            word.store(entry.after(old).0, Release);
            reach(Point::LeadEntry);
        }
        Ok(())
    }

    /// Finishes the split that a killed writer had announced.
    pub(crate) fn finish_split(&self) -> Result<()> {
        if planted(Bug::ForgetSplit) {
            return Ok(());
        }
        let (cell, words) = self.current()?;
        for (page, header) in self.announced(cell, words)?.into_iter().flatten() {
            let entry = Entry::new(page, header.depth, header.next != 0);
            self.lead_to(header.prefix, header.depth, entry)?;
        }
        self.cells.end_split();
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cells::Cells;
    use crate::chunks::Chunks;
    use crate::format::meta::BYTES;
    use crate::format::page::{LINE_SLOTS, LINES};
    use crate::sys::Access;
    use crate::sys::sim::SimDisk;

    const FULL: u64 = (LINES * LINE_SLOTS) as u64;

    pub(in crate::index) fn index() -> (Index, Editor) {
        let disk = SimDisk::new(1).disk();
        disk.make_dir("").expect("a directory");
        let len = usize::try_from(BYTES).expect("three pages");
        let meta = disk.create("meta", BYTES).expect("space").map(0, len, Access::Write);
        let cells = Arc::new(Cells::new(meta.expect("a mapping")));
        let file = disk.create("index", 0).expect("space");
        let chunks = Chunks::new(file, "index".into(), Access::Write, 64);
        let index = Index::new(cells, chunks);
        index.chunks.grow(64).expect("growth");
        let editor = index.create().expect("an empty index");
        (index, editor)
    }

    fn hash(i: u64) -> Hash {
        Hash((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// How many keys a page takes before it splits, and one of them is not found where it was put.
    fn fills(index: &Index, editor: &mut Editor) -> u64 {
        let before = editor.allocator.live;
        let mut keys = 0;
        while editor.allocator.live == before {
            editor.insert(index, hash(keys), (keys + 8) << 4).expect("space");
            keys += 1;
        }
        for i in 0..keys {
            let at = (i + 8) << 4;
            let found = index.lookup(hash(i), at, |is| Ok((is == at).then_some(())));
            assert_eq!(found.expect("sound"), Some(()), "{i} of {keys}");
        }
        keys - 1
    }

    #[test]
    fn a_page_that_leaves_garbage_is_full_before_it_splits_while_a_checkpoint_is_wanted() {
        let (index, mut editor) = index();
        let usual = fills(&index, &mut editor);
        assert!(usual < FULL, "{usual}");

        // Nothing names this page, so it leaves no garbage.
        let (index, mut editor) = self::index();
        editor.put_off_splits();
        assert_eq!(fills(&index, &mut editor), usual);

        let (index, mut editor) = self::index();
        let captured = editor.capture(&index).expect("a directory");
        assert_eq!(fills(&index, &mut editor), FULL);
        editor.release(&index, &captured, true).expect("sound");
        assert_eq!(editor.late_splits(), 1);

        let (index, mut editor) = self::index();
        let captured = editor.capture(&index).expect("a directory");
        editor.put_off_splits();
        editor.release(&index, &captured, true).expect("sound");
        assert_eq!(editor.late_splits(), 0);
        assert_eq!(fills(&index, &mut editor), usual);
    }
}

//! Making the index smaller again: slots of keys that are gone become dead, pages that are nearly empty become one, the
//! directory halves, and pages move to the front of the file so that its end can be given back.

use std::sync::atomic::Ordering::{Relaxed, Release};

use crate::error::Result;
use crate::faults::{Point, reach};
use crate::format::directory::{Cell, Entry};
use crate::format::hash::Hash;
use crate::format::page::{DEAD, LINE_SLOTS, LINES};
use crate::sys::Word;

use super::build::Slot;
use super::edit::Editor;
use super::split::used;
use super::{Index, directory_pages};

/// Pages are merged when what is in them fills no more than half of one, so that it does not split again at once.
const ROOMY: usize = LINES * LINE_SLOTS / 2;

/// How far a walk over the directory for tidying has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tidied {
    /// Directory index, and the depth of the directory that it is one of, to go on from; None at the end.
    next: Option<(usize, u32)>,
    /// Pages that were written anew.
    pub(crate) changed: u64,
}

impl Tidied {
    /// The whole directory lies ahead.
    pub(crate) fn start() -> Tidied {
        Tidied { next: Some((0, 0)), changed: 0 }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.next.is_none()
    }

    /// The entry to go on from, of the directory as it is now; None at the end.
    fn here(&mut self, cell: Cell, words: &[Word]) -> Option<(usize, Entry)> {
        let (at, depth) = self.next?;
        let at = scaled(at, depth, cell.depth());
        let Some(word) = words.get(at) else {
            self.next = None;
            return None;
        };
        Some((at, Entry(word.load(Relaxed))))
    }
}

impl Editor {
    /// Gives up the slot that holds `version`, a tombstone which is durable, older than every snapshot, and the last record
    /// of its key; false if there is no such slot. In place: after a power cut no slot says the same as this one.
    pub(crate) fn bury(
        &mut self,
        index: &Index,
        hash: Hash,
        version: u64,
        reference: u64,
    ) -> Result<bool> {
        let found = self.locate(index, hash, reference, |at| Ok((at == version).then_some(())))?;
        let Some((place, ())) = found else { return Ok(false) };
        Self::slot(index, place)?.cur.store(DEAD, Release);
        Ok(true)
    }

    /// Goes on over the directory, merging pages that are nearly empty, for at most `pages` pages. `count` is told how many pages
    /// the directory leads to after each change, before a successor may take that as done.
    pub(crate) fn tidy(
        &mut self,
        index: &Index,
        from: Tidied,
        pages: u64,
        mut count: impl FnMut(u64),
    ) -> Result<Tidied> {
        let mut tidied = from;
        for _ in 0..pages {
            let (cell, words) = index.current()?;
            let Some((at, entry)) = tidied.here(cell, words) else { break };
            let merged = self.merge(index, cell, at, entry, &mut count)?;
            tidied.changed += u64::from(merged);
            let each = cell.depth() - entry.depth().min(cell.depth());
            // What has been merged may be merged again, with its new neighbour.
            let next =
                if merged { at >> (each + 1) << (each + 1) } else { ((at >> each) + 1) << each };
            tidied.next = Some((next, cell.depth()));
        }
        Ok(tidied)
    }

    /// Makes one page of the one that `entry` names and its neighbour, if the two have one parent and little in them.
    fn merge(
        &mut self,
        index: &Index,
        cell: Cell,
        at: usize,
        entry: Entry,
        count: &mut impl FnMut(u64),
    ) -> Result<bool> {
        let depth = entry.depth();
        if depth == 0 || depth > cell.depth() {
            return Ok(false);
        }
        let each = cell.depth() - depth;
        let prefix = at >> each;
        let (_, words) = index.current()?;
        let neighbour = Entry(words[(prefix ^ 1) << each].load(Relaxed));
        if neighbour.depth() != depth || entry.chained() || neighbour.chained() {
            return Ok(false);
        }
        let pair = [entry.page(), neighbour.page()];
        let mut slots: Vec<Slot> = Vec::new();
        for page in pair {
            slots.extend(used(index.page(page)?).take(ROOMY + 1));
            if slots.len() > ROOMY {
                return Ok(false);
            }
        }
        let (page, chained) =
            index.build(&mut self.allocator, slots, (prefix >> 1) as u64, depth - 1, 0)?;
        debug_assert!(!chained, "half a page of slots fits into one");
        let to = Entry::new(page, depth - 1, false);
        let live = self.allocator.live.saturating_sub(1);
        self.lead_announced(index, pair[0], (prefix >> 1) as u64, to, live)?;
        count(live);
        self.end_announced(index);
        for page in pair {
            index.retire(&mut self.allocator, page)?;
        }
        Ok(true)
    }

    /// Leads a whole prefix to one new page, announced as a split is, so that a successor does not find it half done. From then
    /// on the directory leads to `live` pages.
    fn lead_announced(
        &mut self,
        index: &Index,
        from: u32,
        prefix: u64,
        to: Entry,
        live: u64,
    ) -> Result<()> {
        reach(Point::TidyBuilt);
        index.cells.foresee_pages(to.page(), live);
        index.cells.begin_split(from, to.page(), to.page());
        reach(Point::TidyAnnounced);
        index.lead_to(prefix, to.depth(), to)?;
        self.allocator.live = live;
        index.cells.change_pages(live);
        reach(Point::TidyLed);
        Ok(())
    }

    /// Ends what was announced. Nothing after a commit says how many pages there are, so that must be counted by now.
    fn end_announced(&mut self, index: &Index) {
        index.cells.end_split();
        reach(Point::TidyEnded);
        self.splits += 1;
    }

    /// Writes a directory of half the size if no page needs all of its hash bits; false if one does.
    pub(crate) fn halve(&mut self, index: &Index) -> Result<bool> {
        let (old, from) = index.current()?;
        let depth = old.depth();
        let all = |word: &Word| Entry(word.load(Relaxed)).depth() < depth;
        if depth == 0 || !from.iter().step_by(2).all(all) {
            return Ok(false);
        }
        self.move_directory(index, depth - 1)?;
        Ok(true)
    }

    /// Writes the directory anew with one bit more, one bit less or as many as it has, and moves to it with one store.
    pub(super) fn move_directory(&mut self, index: &Index, depth: u32) -> Result<()> {
        let page = index.allocate_run(&mut self.allocator, directory_pages(depth))?;
        self.move_directory_to(index, page, depth)
    }

    fn move_directory_to(&mut self, index: &Index, page: u32, depth: u32) -> Result<()> {
        let (old, from) = index.current()?;
        let new = old.next(page, depth);
        let to = index.directory_to_store(new)?;
        for (i, entry) in to.iter().enumerate() {
            entry.store(from[scaled(i, depth, old.depth())].load(Relaxed), Relaxed);
        }
        reach(Point::DoubleWritten);
        index.cells.set_directory(new);
        reach(Point::DoubleSwitched);
        index.retire_directory(&mut self.allocator, old.page(), old.depth());
        Ok(())
    }

    /// Moves the directory to free pages before `limit`, if it is not there and they are in a row.
    fn move_directory_down(&mut self, index: &Index, limit: u32) -> Result<bool> {
        let (cell, _) = index.current()?;
        let pages = directory_pages(cell.depth());
        if cell.page() + pages <= limit {
            return Ok(false);
        }
        let Some(page) = self.allocator.take_run(pages, limit) else { return Ok(false) };
        self.move_directory_to(index, page, cell.depth())?;
        Ok(true)
    }

    /// Goes on over the directory, moving pages from `limit` on to free ones before it, for at most `pages` pages. Stops
    /// early when there are no free ones.
    pub(crate) fn move_down(
        &mut self,
        index: &Index,
        from: Tidied,
        limit: u32,
        pages: u64,
        mut count: impl FnMut(u64),
    ) -> Result<Tidied> {
        let mut tidied = from;
        tidied.changed += u64::from(self.move_directory_down(index, limit)?);
        for _ in 0..pages {
            let (cell, words) = index.current()?;
            let Some((at, entry)) = tidied.here(cell, words) else { break };
            let each = cell.depth() - entry.depth().min(cell.depth());
            if entry.page() >= limit && !entry.chained() && entry.depth() <= cell.depth() {
                if !self.allocator.has_below(limit) {
                    tidied.next = None;
                    break;
                }
                let prefix = (at >> each) as u64;
                let slots: Vec<Slot> = used(index.page(entry.page())?).collect();
                let built = index.build(&mut self.allocator, slots, prefix, entry.depth(), 0)?;
                let to = Entry::new(built.0, entry.depth(), built.1);
                let more = index.count(Entry::new(built.0, 0, built.1))?.saturating_sub(1);
                let live = self.allocator.live + more;
                self.lead_announced(index, entry.page(), prefix, to, live)?;
                count(live);
                self.end_announced(index);
                index.retire(&mut self.allocator, entry.page())?;
                tidied.changed += 1;
            }
            tidied.next = Some((((at >> each) + 1) << each, cell.depth()));
        }
        Ok(tidied)
    }
}

/// The entry of a directory of `to` bits for the prefix that entry `at` of one of `from` bits begins with.
fn scaled(at: usize, from: u32, to: u32) -> usize {
    if to >= from { at << (to - from) } else { at >> (from - to) }
}

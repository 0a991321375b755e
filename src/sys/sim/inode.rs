//! A simulated file: what programs see of it (live), what the platter holds of it (durable), and which pages a failed
//! sync has quietly forgotten (lost).
//!
//! A page is dirty when its live bytes differ from the durable ones and from the lost ones. Pages that no extent
//! covers are clean.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::super::PAGE;
use super::super::flock::Locks;
use super::super::marks::Marks;
use super::memory::{Extent, PAGE_WORDS, Words};
use super::random::Random;

const SECTOR_WORDS: usize = 512 / 8;
const SIZE: u64 = PAGE as u64;
static ZEROS: Words = [0; PAGE_WORDS];

#[derive(Debug, Default)]
pub(super) struct Inode {
    len: u64,
    durable_len: u64,
    /// The lengths since the last sync, in order.
    later_lens: Vec<u64>,
    /// By the number of the first page; they never overlap.
    extents: BTreeMap<u64, Arc<Extent>>,
    durable: BTreeMap<u64, Arc<Words>>,
    lost: BTreeMap<u64, Arc<Words>>,
    /// Who holds the file locked.
    pub(super) locks: Locks,
    /// Which bytes are marked, and by whom.
    pub(super) marks: Marks,
    /// How many handles are open.
    pub(super) handles: usize,
}

impl Inode {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.len = len;
        self.later_lens.push(len);
    }

    /// Whether a region or a handle keeps the file although it may have no name.
    pub(super) fn in_use(&self) -> bool {
        self.handles > 0 || self.extents.values().any(|extent| Arc::strong_count(extent) > 1)
    }

    fn covering(&self, page: u64) -> Option<(&Extent, usize)> {
        let (first, extent) = self.extents.range(..=page).next_back()?;
        let index = usize::try_from(page - first).ok()?;
        (index < extent.pages()).then_some((extent, index))
    }

    fn durable(&self, page: u64) -> &Words {
        self.durable.get(&page).map_or(&ZEROS, |bytes| bytes)
    }

    fn live(&self, page: u64) -> Words {
        match self.covering(page) {
            Some((extent, index)) => extent.page(index),
            None => *self.durable(page),
        }
    }

    /// The numbers of all pages.
    pub(super) fn pages(&self) -> Range<u64> {
        0..self.len.div_ceil(SIZE)
    }

    /// The dirty pages of a range, with their live bytes.
    pub(super) fn dirty(&self, range: &Range<u64>) -> Vec<(u64, Words)> {
        let end = range.end.min(self.pages().end);
        let mut found = Vec::new();
        for (first, extent) in &self.extents {
            for index in 0..extent.pages() {
                let page = first + index as u64;
                if page < range.start || page >= end {
                    continue;
                }
                let live = extent.page(index);
                if live != *self.durable(page)
                    && self.lost.get(&page).is_none_or(|lost| live != **lost)
                {
                    found.push((page, live));
                }
            }
        }
        found
    }

    /// Writes the dirty pages of a range to the platter.
    pub(super) fn sync_pages(&mut self, range: &Range<u64>) {
        self.assert_within();
        for (page, bytes) in self.dirty(range) {
            self.write_back(page, bytes);
        }
    }

    pub(super) fn write_back(&mut self, page: u64, bytes: Words) {
        self.lost.remove(&page);
        self.durable.insert(page, Arc::new(bytes));
    }

    /// A store makes a page dirty that a failed sync has made clean, even when the bytes are the same.
    pub(super) fn touch(&mut self, page: u64) {
        self.lost.remove(&page);
    }

    /// What a failed sync does: of the dirty pages of a range one or more count as clean, though the platter knows nothing of
    /// them; others are written, and others still dirty.
    pub(super) fn fail_pages(&mut self, range: &Range<u64>, random: &mut Random) {
        let dirty = self.dirty(range);
        let surely = random.below(dirty.len().max(1));
        for (at, (page, bytes)) in dirty.into_iter().enumerate() {
            match random.below(4) {
                0 if at != surely => self.write_back(page, bytes),
                1 if at != surely => {}
                _ => drop(self.lost.insert(page, Arc::new(bytes))),
            }
        }
    }

    /// What was lost counts as dirty again: it was written once more.
    pub(super) fn rewrite(&mut self, range: Range<u64>) {
        for page in range {
            self.lost.remove(&page);
        }
    }

    /// The pages before `end` reach beyond the durable length, within the live one.
    pub(super) fn needs_len(&self, end: u64) -> bool {
        end.saturating_mul(PAGE as u64).min(self.len) > self.durable_len
    }

    pub(super) fn sync_len(&mut self) {
        self.durable_len = self.len;
        self.later_lens.clear();
    }

    /// The pages of a range are on the platter.
    pub(super) fn is_durable(&self, range: &Range<u64>) -> bool {
        self.dirty(range).is_empty() && self.lost.range(range.clone()).next().is_none()
    }

    /// Lets the page cache forget the lost pages, so that the old bytes come back from the platter.
    pub(super) fn drop_lost(&mut self) {
        for (page, lost) in std::mem::take(&mut self.lost) {
            if let Some((extent, index)) = self.covering(page)
                && extent.page(index) == *lost
            {
                extent.set_page(index, self.durable(page));
            }
        }
    }

    pub(super) fn load(&self, buf: &mut [u8], offset: u64) {
        for (page, at, part) in parts(offset, buf.len()) {
            let live = self.live(page);
            buf[part.clone()].copy_from_slice(&bytemuck::bytes_of(&live)[at..at + part.len()]);
        }
    }

    pub(super) fn store(&mut self, bytes: &[u8], offset: u64) {
        for (page, at, part) in parts(offset, bytes.len()) {
            self.touch(page);
            if self.covering(page).is_none() {
                self.insert_extent(page, 1);
            }
            if let Some((extent, index)) = self.covering(page) {
                extent.store(index, at, &bytes[part]);
            }
        }
    }

    /// Gives a new file its bytes, as if they had been there for ever.
    pub(super) fn store_durably(&mut self, bytes: &[u8]) {
        let pages = super::bytes::pages(bytes).map(Arc::new);
        self.durable = (0u64..).zip(pages).collect();
        self.sync_len();
    }

    /// The extent that holds a range of pages, and the range's place in it. Extents that overlap the range are joined
    /// into one, which is only possible while no region is over them.
    pub(super) fn extent(&mut self, first: u64, pages: usize) -> (Arc<Extent>, usize) {
        if let Some((&start, extent)) = self.extents.range(..=first).next_back()
            && first + pages as u64 <= start + extent.pages() as u64
        {
            return (Arc::clone(extent), page_index(first - start));
        }
        let end = first + pages as u64;
        let overlapping = |(start, extent): &(&u64, &Arc<Extent>)| {
            **start < end && first < **start + extent.pages() as u64
        };
        let old: Vec<u64> =
            self.extents.iter().filter(overlapping).map(|(start, _)| *start).collect();
        let (mut from, mut to) = (first, end);
        let mut bytes = Vec::new();
        for start in old {
            let Some(extent) = self.extents.remove(&start) else { continue };
            assert_eq!(
                Arc::strong_count(&extent),
                1,
                "the simulated disk cannot map ranges that partly overlap"
            );
            (from, to) = (from.min(start), to.max(start + extent.pages() as u64));
            bytes.extend(
                (0..extent.pages()).map(|index| (start + index as u64, extent.page(index))),
            );
        }
        let extent = self.insert_extent(from, page_index(to - from));
        for (page, bytes) in bytes {
            extent.set_page(page_index(page - from), &bytes);
        }
        (extent, page_index(first - from))
    }

    /// A new extent with the bytes of the platter.
    fn insert_extent(&mut self, first: u64, pages: usize) -> Arc<Extent> {
        let extent = Arc::new(Extent::zeroed(pages));
        for (page, bytes) in self.durable.range(first..first + pages as u64) {
            extent.set_page(page_index(page - first), bytes);
        }
        self.extents.insert(first, Arc::clone(&extent));
        extent
    }

    /// Real files answer a store beyond their end with `SIGBUS` (U4). To look at the nearest pages is enough to find
    /// a program that does so, and cheap.
    fn assert_within(&self) {
        let end = self.pages().end;
        for (first, extent) in &self.extents {
            let beyond = page_index(end.saturating_sub(*first));
            for index in beyond..extent.pages().min(beyond.saturating_add(32)) {
                assert!(extent.page(index) == ZEROS, "a store beyond the end of a mapped file");
            }
        }
    }

    /// The same file in other memory, without its handles and locks.
    pub(super) fn copy(&self) -> Inode {
        self.assert_within();
        let mut copy = Inode {
            len: self.len,
            durable_len: self.durable_len,
            later_lens: self.later_lens.clone(),
            durable: self.durable.clone(),
            lost: self.lost.clone(),
            ..Inode::default()
        };
        for (first, extent) in &self.extents {
            let twin = Extent::zeroed(extent.pages());
            for index in 0..extent.pages().min(page_index(self.pages().end.saturating_sub(*first)))
            {
                twin.set_page(index, &extent.page(index));
            }
            copy.extents.insert(*first, Arc::new(twin));
        }
        copy
    }

    /// Undoes what was stored into mappings since `then`.
    pub(super) fn rewind(&mut self, then: &Inode) {
        let end = self.pages().end;
        for (first, extent) in &self.extents {
            for index in 0..extent.pages().min(page_index(end.saturating_sub(*first))) {
                extent.set_page(index, &then.live(first + index as u64));
            }
        }
        self.lost.clone_from(&then.lost);
    }

    /// What a power cut may leave of the file.
    pub(super) fn after_cut(&self, random: &mut Random) -> Inode {
        let choice = random.below(self.later_lens.len() + 1);
        let len = choice.checked_sub(1).map_or(self.durable_len, |later| self.later_lens[later]);
        let mut durable = self.durable.clone();
        for (page, live) in self.dirty(&self.pages()) {
            let mut bytes = *self.durable(page);
            match random.below(3) {
                0 => {}
                1 => bytes = live,
                _ => tear(&mut bytes, &live, random),
            }
            durable.insert(page, Arc::new(bytes));
        }
        durable.split_off(&len.div_ceil(SIZE));
        let rest = page_index(len % SIZE);
        if rest != 0
            && let Some(last) = durable.get_mut(&(len / SIZE))
        {
            bytemuck::bytes_of_mut(Arc::make_mut(last))[rest..].fill(0);
        }
        Inode { len, durable_len: len, durable, ..Inode::default() }
    }
}

fn tear(bytes: &mut Words, live: &Words, random: &mut Random) {
    for (old, new) in bytes.chunks_exact_mut(SECTOR_WORDS).zip(live.chunks_exact(SECTOR_WORDS)) {
        if random.coin() {
            old.copy_from_slice(new);
        }
    }
}

/// The pages that a range of bytes touches: page, offset in it, and the part of the range.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let position = offset + done as u64;
        let at = page_index(position % SIZE);
        let part = done..len.min(done + PAGE - at);
        done = part.end;
        (!part.is_empty()).then_some((position / SIZE, at, part))
    })
}

/// A number that counts what is in memory.
fn page_index(number: u64) -> usize {
    usize::try_from(number).expect("as many as fit into memory")
}

//! A range of a file, mapped by the kernel to be read, and a second time for stores if it may be written.
//!
//! Before the kernel writes a page to the disk it takes the right to store there out of every page table, and interrupts each
//! processor that runs this process, page by page. Where a page is mapped only to be read there is nothing to take, and the mapping
//! for stores can forget thousands of pages at once. A load of 5 million keys beside checkpoints takes two thirds of the processor
//! time that it takes with one mapping for both.

use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use memmap2::{MmapOptions, MmapRaw};

use super::backing::Backing;
use super::guard::Watch;
use super::{Access, Wishes, advice, life};

/// Bytes of which a sync first has the mapping for stores forget the pages: what is less has few.
const MANY: usize = 128 << 10;
/// Bytes that are forgotten and synced at once: of more, a writer that goes on would have many mapped again by the time they are
/// written.
const AT_ONCE: usize = 16 << 20;
/// Bytes that are made ready at once.
const PIECE: usize = 256 << 10;
/// A huge page, which takes one entry of the page table.
pub(super) const HUGE: usize = 2 << 20;

/// A range of a file in the address space.
struct Window {
    /// Declared first, so that it goes before the range is unmapped.
    watch: Option<Watch>,
    map: MmapRaw,
}

impl Window {
    fn new(
        file: &File,
        offset: u64,
        len: usize,
        access: Access,
        wishes: Wishes,
    ) -> io::Result<Self> {
        let mut options = MmapOptions::new();
        options.offset(offset).len(len);
        let map = match access {
            Access::Read => options.map_raw_read_only(file),
            Access::Write => options.map_raw(file),
        }?;
        let address = map.as_mut_ptr().expose_provenance();
        let watch = wishes.guard.then(|| Watch::new(address, len, access)).transpose()?;
        if wishes.huge {
            // Where it cannot have them it has small ones.
            let _ = advice::huge(&map);
        }
        Ok(Window { watch, map })
    }

    fn memory(&self) -> NonNull<[u8]> {
        // A mapping is never at address 0; were it so, an empty region is the harmless answer.
        let start = NonNull::new(self.map.as_mut_ptr());
        let len = if start.is_some() { self.map.len() } else { 0 };
        NonNull::slice_from_raw_parts(start.unwrap_or(NonNull::<u128>::dangling().cast()), len)
    }
}

/// Memory that the kernel has mapped.
pub(super) struct Mapping {
    reads: Window,
    /// The same bytes, to be stored to; None if they may not be, or if one mapping is for both.
    stores: Option<Window>,
    /// Pages that are not in memory come by themselves: there may be many of them.
    scattered: AtomicBool,
    /// Pages come as huge ones, unless they come by themselves.
    huge: bool,
    /// So do those that a store finds missing, since a load stores to one after the other.
    in_order: AtomicBool,
    /// A store that finds a page missing waits for that one alone: most are made before.
    alone: AtomicBool,
    /// On a full btrfs, the fault that makes one page writable has the others written back, which protects them again. A
    /// store that needs two at once would fault for ever.
    page_by_page: bool,
}

impl Mapping {
    /// Maps a range of a file.
    pub(super) fn of_file(
        file: &File,
        offset: u64,
        len: usize,
        access: Access,
        wishes: Wishes,
    ) -> io::Result<Mapping> {
        let wishes = Wishes { huge: wishes.huge && len >= HUGE, ..wishes };
        let window = |access| Window::new(file, offset, len, access, wishes);
        let is_write = access == Access::Write;
        // ThreadSanitizer takes two addresses for two memories.
        let (first, second) =
            if cfg!(one_mapping) { (access, false) } else { (Access::Read, is_write) };
        let stores = second.then(|| window(Access::Write)).transpose()?;
        let mapping = Mapping {
            reads: window(first)?,
            stores,
            scattered: AtomicBool::new(false),
            huge: wishes.huge,
            in_order: AtomicBool::new(false),
            alone: AtomicBool::new(wishes.ahead && !wishes.huge),
            page_by_page: is_write && life::copies_on_write(file),
        };
        mapping.stores_alone();
        Ok(mapping)
    }

    /// One mapping for both, of memory that no file is behind.
    pub(super) fn of_memory(map: MmapRaw, page_by_page: bool) -> Mapping {
        let reads = Window { watch: None, map };
        let no = || AtomicBool::new(false);
        let (scattered, in_order, alone) = (no(), no(), no());
        Mapping { reads, stores: None, scattered, huge: false, in_order, alone, page_by_page }
    }

    /// What is stored through and synced.
    fn dirty_side(&self) -> &MmapRaw {
        &self.stores.as_ref().unwrap_or(&self.reads).map
    }

    /// Has a store that comes to a page which is not in memory wait for that one alone, if it is to. The kernel would fetch, or fill
    /// with zeros, as much around it as the disk reads ahead, which may be many MiB, and no other thread gets its processor meanwhile.
    fn stores_alone(&self) {
        if let Some(stores) = self.stores.as_ref().filter(|_| self.alone.load(Relaxed)) {
            advice::alone(&stores.map);
        }
    }

    /// Has pages that a store finds missing come as huge ones, since all of them will be stored to; false if that cannot be. Whoever
    /// reads there finds those in the page cache. One at a time, or the kernel might go on with small ones that it has begun to read ahead.
    fn in_order(&self) -> bool {
        let Some(stores) = self.stores.as_ref().filter(|stores| stores.map.len() >= HUGE) else {
            return false;
        };
        if !self.in_order.load(Relaxed) && advice::huge(&stores.map) {
            advice::alone(&stores.map);
            self.in_order.store(true, Relaxed);
        }
        self.in_order.load(Relaxed)
    }

    fn windows(&self) -> impl Iterator<Item = &Window> {
        [&self.reads].into_iter().chain(&self.stores)
    }

    /// Has the mapping for stores forget a range. What the kernel then cannot write it may throw out, and that can be read only as
    /// long as it is mapped (ext4 does so): so it is mapped to be read first, and nothing is forgotten if that fails.
    fn forget(&self, offset: usize, len: usize) {
        let Some(stores) = &self.stores else { return };
        if len >= MANY
            && !self.scattered.load(Relaxed)
            && advice::present(&self.reads.map, offset, len)
        {
            advice::forget(&stores.map, offset, len);
        }
    }
}

// SAFETY: the kernel placed the mappings at pages and keeps them there until the `MmapRaw`s are dropped; both are of the same
// range, so as long, the one is readable, and the other writable when it was mapped so (`RealFile::map` gives the region the
// same access); any thread may use them; and no Rust reference into them exists but those that the region hands out. U4 keeps
// everyone off what lies beyond the end of the file.
unsafe impl Backing for Mapping {
    fn memory(&self) -> NonNull<[u8]> {
        self.reads.memory()
    }

    fn stores(&self) -> NonNull<[u8]> {
        self.stores.as_ref().unwrap_or(&self.reads).memory()
    }

    fn page_by_page(&self) -> bool {
        self.page_by_page
    }

    fn sync(&self, offset: usize, len: usize) -> io::Result<()> {
        for at in (offset..offset + len).step_by(AT_ONCE) {
            let len = AT_ONCE.min(offset + len - at);
            self.forget(at, len);
            self.dirty_side().flush_range(at, len)?;
        }
        Ok(())
    }

    fn singly(&self, offset: usize) {
        self.windows().for_each(|window| advice::singly(&window.map, offset));
    }

    fn together(&self) {
        self.windows().for_each(|window| advice::together(&window.map));
        if self.huge {
            for window in self.windows() {
                let _ = advice::huge(&window.map);
            }
        }
        self.in_order.store(false, Relaxed);
        self.stores_alone();
    }

    fn stores_together(&self) {
        if self.alone.swap(false, Relaxed)
            && !self.in_order.load(Relaxed)
            && let Some(stores) = &self.stores
        {
            advice::together(&stores.map);
        }
    }

    fn scattered(&self, len: usize) {
        self.scattered.store(true, Relaxed);
        self.windows().for_each(|window| advice::scattered(&window.map, len));
    }

    fn will_need(&self, offset: usize, len: usize) {
        advice::will_need(&self.reads.map, offset, len);
    }

    fn dirty(&self, offset: usize, len: usize) {
        if !self.alone.load(Relaxed) {
            return advice::dirty(self.dirty_side(), offset, len);
        }
        for at in (offset..offset + len).step_by(PIECE) {
            let len = PIECE.min(offset + len - at);
            // Those that are missing come together, which costs less.
            self.will_need(at, len);
            advice::dirty(self.dirty_side(), at, len);
        }
    }

    fn make_ready(&self, offset: usize, len: usize) {
        if self.in_order() {
            advice::dirty(self.dirty_side(), offset, len);
        } else {
            self.dirty(offset, len);
        }
    }

    fn is_lost(&self) -> bool {
        self.windows().any(|window| window.watch.as_ref().is_some_and(Watch::is_lost))
    }
}

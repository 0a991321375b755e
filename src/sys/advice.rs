//! How the pages of a mapping come into memory. All of it is advice: a kernel that does not take it does as it always does.
//!
//! A page that is not in memory is read together with those around it, in ever larger pieces, and a store to one page makes all of
//! its piece dirty. That is cheap where all of it is written anyway; where a few bytes are, a sync writes the piece for them.

use std::fs::File;
use std::num::NonZeroU64;

use memmap2::{Advice, MmapRaw, UncheckedAdvice};

/// Has the pages from `offset` on come one at a time, and those that are there come anew.
pub(super) fn singly(map: &MmapRaw, offset: usize) {
    let len = map.len() - offset;
    by_themselves(map, offset, len);
    forget(map, offset, len);
}

/// Has the page table forget a range, all at once.
pub(super) fn forget(map: &MmapRaw, offset: usize, len: usize) {
    // SAFETY: the mapping is shared, so the bytes stay what they are in the file, which the next access maps again: no
    // published byte changes (U2), and what a store has put there is kept (U3).
    let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, offset, len) };
}

/// Undoes that.
pub(super) fn together(map: &MmapRaw) {
    let _ = map.advise_range(Advice::Normal, 0, map.len());
}

/// Has pages come one at a time from now on, large or small.
pub(super) fn alone(map: &MmapRaw) {
    let _ = map.advise(Advice::Random);
}

/// Has the first pages, of `len` bytes, come one at a time from now on; those that are there stay.
pub(super) fn scattered(map: &MmapRaw, len: usize) {
    by_themselves(map, 0, len);
}

fn by_themselves(map: &MmapRaw, offset: usize, len: usize) {
    #[cfg(target_os = "linux")]
    let _ = map.advise_range(Advice::NoHugePage, offset, len);
    let _ = map.advise_range(Advice::Random, offset, len);
}

/// Has pages come as huge ones, each of which takes one entry of the page table, unless the kernel has none. A store to one makes all of
/// it dirty.
pub(super) fn huge(map: &MmapRaw) -> bool {
    #[cfg(target_os = "linux")]
    return map.advise(Advice::HugePage).is_ok();
    #[cfg(not(target_os = "linux"))]
    {
        let _ = map;
        false
    }
}

/// Has the page table know every page of a range; false if it cannot.
pub(super) fn present(map: &MmapRaw, offset: usize, len: usize) -> bool {
    #[cfg(target_os = "linux")]
    return map.advise_range(Advice::PopulateRead, offset, len).is_ok();
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (map, offset, len);
        false
    }
}

/// Has a range read in large pieces, without waiting for it.
pub(super) fn will_need(map: &MmapRaw, offset: usize, len: usize) {
    let _ = map.advise_range(Advice::WillNeed, offset, len);
}

/// Makes the pages of a range dirty, as a store to each of them would.
pub(super) fn dirty(map: &MmapRaw, offset: usize, len: usize) {
    #[cfg(target_os = "linux")]
    let _ = map.advise_range(Advice::PopulateWrite, offset, len);
    #[cfg(not(target_os = "linux"))]
    let _ = (map, offset, len);
}

/// Takes the pages from `offset` on out of memory, as far as nobody has them mapped. What is dirty is written first, and if that fails
/// dropped without a word before the next sync.
pub(super) fn evict(file: &File, offset: u64) {
    let to_the_end: Option<NonZeroU64> = None;
    let _ = rustix::fs::fadvise(file, offset, to_the_end, rustix::fs::Advice::DontNeed);
}

//! Letting go of memory that other threads of this process may still look at: readers pin, and what is taken away is freed
//! when everyone who was pinned then has unpinned.
//!
//! Sleepable read-copy-update (McKenney, "Sleepable RCU", 2006). A pin is counted in one of two parities on a line of its
//! thread's own, without an atomic read-modify-write; the one who frees turns the parity over and waits until the other one
//! has run empty, twice. The fence between a pin and the loads after it is left to the one who frees, by `membarrier`,
//! where the kernel has that.

mod pinned;
mod shelf;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, compiler_fence, fence};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

pub(crate) use pinned::Pinned;
pub(crate) use shelf::{Limbo, Shelf};

/// How often the parity was turned over, above a bit that says that fences are left to `membarrier`: a pin loads both at once.
static EPOCH: AtomicU64 = AtomicU64::new(0);
const ASYMMETRIC: u64 = 1;
/// The bit that is the parity in which new pins are counted.
const PARITY: u32 = 1;
/// What one turn adds.
const TURN: u64 = 1 << PARITY;
/// The lines of all threads there ever were; those of dead ones are given to new ones.
static SLOTS: Mutex<Vec<&'static Slot>> = Mutex::new(Vec::new());

/// How often one thread has pinned and unpinned, by parity.
#[derive(Debug)]
#[repr(align(128))]
struct Slot {
    counts: [Counts; 2],
    taken: AtomicBool,
}

/// Pins of one thread that are counted in one parity. The counts only ever grow.
#[derive(Debug)]
struct Counts {
    /// Stored by the thread that has the slot.
    entered: AtomicU64,
    left: AtomicU64,
    /// Pins that another thread has dropped.
    left_elsewhere: AtomicU64,
    parity: usize,
}

thread_local! {
    /// The calling thread's slot; none before its first pin, and while the thread is torn down. By itself it has nothing to
    /// drop, so that looking at it takes one load.
    static MINE: Cell<Option<&'static Slot>> = const { Cell::new(None) };
    static CLAIMED: Claimed = const { Claimed };
}

/// Gives the thread's slot back when the thread ends.
struct Claimed;

impl Drop for Claimed {
    fn drop(&mut self) {
        if let Some(slot) = MINE.take() {
            slot.taken.store(false, Release);
        }
    }
}

impl Slot {
    fn new() -> Slot {
        let counts = |parity| {
            let [entered, left, left_elsewhere] = [const { AtomicU64::new(0) }; 3];
            Counts { entered, left, left_elsewhere, parity }
        };
        Slot { counts: [counts(0), counts(1)], taken: AtomicBool::new(true) }
    }
}

impl Counts {
    /// Counts a pin of the thread that has the slot.
    #[inline]
    fn enter(&self) {
        self.entered.store(self.entered.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// These are the calling thread's.
    #[inline]
    fn are_mine(&self) -> bool {
        let mine = MINE.get().map_or(0, |slot| std::ptr::from_ref(slot).addr());
        std::ptr::from_ref(self).addr().wrapping_sub(mine) < size_of::<Slot>()
    }
}

fn slots() -> MutexGuard<'static, Vec<&'static Slot>> {
    SLOTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn claim() -> &'static Slot {
    prepare();
    let mut slots = slots();
    let free = slots.iter().find(|slot| !slot.taken.swap(true, AcqRel));
    free.copied().unwrap_or_else(|| {
        let slot: &'static Slot = Box::leak(Box::new(Slot::new()));
        slots.push(slot);
        slot
    })
}

/// Keeps everything that can be reached while it is there from being freed. Any thread may drop it.
#[derive(Debug)]
pub(crate) struct Pin {
    counts: &'static Counts,
}

impl Pin {
    #[inline]
    pub(crate) fn new() -> Pin {
        let epoch = EPOCH.load(Relaxed);
        let pin = Pin::enter((epoch >> PARITY & 1) as usize);
        light_fence(epoch);
        pin
    }

    #[inline]
    fn enter(parity: usize) -> Pin {
        let Some(slot) = MINE.get() else { return Pin::first(parity) };
        let counts = &slot.counts[parity];
        counts.enter();
        Pin { counts }
    }

    /// The first pin of a thread, or one of a thread that is being torn down: that has no slot any more, and takes one for the
    /// moment of counting.
    #[cold]
    fn first(parity: usize) -> Pin {
        let slot = claim();
        let counts = &slot.counts[parity];
        counts.enter();
        match CLAIMED.try_with(|_| ()) {
            Ok(()) => MINE.set(Some(slot)),
            Err(_) => slot.taken.store(false, Release),
        }
        Pin { counts }
    }
}

impl Clone for Pin {
    /// Counted in the same parity, which cannot run empty before this one is dropped: the other one may have done so already.
    #[inline]
    fn clone(&self) -> Pin {
        Pin::enter(self.counts.parity & 1)
    }
}

impl Drop for Pin {
    #[inline]
    fn drop(&mut self) {
        let counts = self.counts;
        if counts.are_mine() {
            counts.left.store(counts.left.load(Relaxed).wrapping_add(1), Release);
        } else {
            counts.left_elsewhere.fetch_add(1, Release);
        }
    }
}

/// Orders a pin before the loads after it, together with [`heavy_fence`] on the other side. An epoch from before the process was
/// registered asks for a fence, which is never wrong.
#[inline]
fn light_fence(epoch: u64) {
    if epoch & ASYMMETRIC != 0 { compiler_fence(SeqCst) } else { fence(SeqCst) }
}

/// Afterwards every thread has either pinned visibly, or will see what was stored before.
fn heavy_fence() {
    fence(SeqCst);
    #[cfg(all(target_os = "linux", not(miri)))]
    if prepare() {
        use rustix::thread::{MembarrierCommand, membarrier};
        membarrier(MembarrierCommand::PrivateExpedited).expect("a registered process may use it");
    }
}

/// Registers the process for `membarrier`; false where the kernel has none. A forked child inherits the registration.
fn prepare() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| {
        #[cfg(all(target_os = "linux", not(miri)))]
        let registered = {
            use rustix::thread::{MembarrierCommand, membarrier};
            membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
        };
        #[cfg(not(all(target_os = "linux", not(miri))))]
        let registered = false;
        EPOCH.fetch_or(if registered { ASYMMETRIC } else { 0 }, SeqCst);
        registered
    })
}

/// No pin is counted in `parity`: unpins are added up first, so that each pin that is seen not to be there has gone.
fn is_empty(slots: &[&'static Slot], parity: usize) -> bool {
    let sum = |count: fn(&Counts) -> &AtomicU64| {
        let counts = slots.iter().map(|slot| count(&slot.counts[parity]).load(Acquire));
        counts.fold(0, u64::wrapping_add)
    };
    let left = sum(|counts| &counts.left).wrapping_add(sum(|counts| &counts.left_elsewhere));
    heavy_fence();
    left == sum(|counts| &counts.entered)
}

/// Turns the parity over if nobody is left in the one that is not current.
fn advance() {
    let slots = slots();
    let other = usize::from(EPOCH.load(Relaxed) >> PARITY & 1 == 0);
    if is_empty(&slots, other) {
        EPOCH.fetch_add(TURN, SeqCst);
        heavy_fence();
    }
}

/// Tries to bring about that both parities have been seen empty; returns how often they were turned over by then.
fn turn() -> u64 {
    advance();
    advance();
    EPOCH.load(SeqCst) >> PARITY
}

/// The number of turns, after a fence: whoever pins later sees what was stored before, and whoever pinned before is counted.
fn stamp() -> u64 {
    heavy_fence();
    EPOCH.load(SeqCst) >> PARITY
}

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

/// The parity that new pins are counted in is the lowest bit.
static EPOCH: AtomicU64 = AtomicU64::new(0);
/// The lines of all threads there ever were; those of dead ones are given to new ones.
static SLOTS: Mutex<Vec<&'static Slot>> = Mutex::new(Vec::new());
/// Fences are left to `membarrier`.
static ASYMMETRIC: AtomicBool = AtomicBool::new(false);

/// How often one thread has pinned and unpinned. The counts only ever grow.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Slot {
    /// Stored by the thread that has the slot.
    entered: [AtomicU64; 2],
    left: [AtomicU64; 2],
    /// Pins that another thread has dropped.
    left_elsewhere: [AtomicU64; 2],
    taken: AtomicBool,
}

/// The calling thread's slot, given back when the thread ends.
struct Mine(Cell<Option<&'static Slot>>);

thread_local! {
    static MINE: Mine = const { Mine(Cell::new(None)) };
}

impl Drop for Mine {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            slot.taken.store(false, Release);
        }
    }
}

impl Mine {
    #[cold]
    fn claim(&self) -> &'static Slot {
        let slot = claim();
        self.0.set(Some(slot));
        slot
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
        let slot: &'static Slot = Box::leak(Box::default());
        slot.taken.store(true, Relaxed);
        slots.push(slot);
        slot
    })
}

/// Keeps everything that can be reached while it is there from being freed. Any thread may drop it.
#[derive(Debug)]
pub(crate) struct Pin {
    slot: &'static Slot,
    parity: usize,
}

impl Pin {
    #[inline]
    pub(crate) fn new() -> Pin {
        let parity = (EPOCH.load(Relaxed) & 1) as usize;
        let pin = Pin::enter(parity);
        light_fence();
        pin
    }

    #[inline]
    fn enter(parity: usize) -> Pin {
        match MINE.try_with(|mine| mine.0.get().unwrap_or_else(|| mine.claim())) {
            Ok(slot) => Pin::count(slot, parity),
            Err(_) => Pin::orphan(parity),
        }
    }

    /// A thread that is being torn down has no slot any more: it takes one for the moment of counting.
    #[cold]
    fn orphan(parity: usize) -> Pin {
        let slot = claim();
        let pin = Pin::count(slot, parity);
        slot.taken.store(false, Release);
        pin
    }

    #[inline]
    fn count(slot: &'static Slot, parity: usize) -> Pin {
        let count = &slot.entered[parity];
        count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
        Pin { slot, parity }
    }
}

impl Clone for Pin {
    /// Counted in the same parity, which cannot run empty before this one is dropped: the other one may have done so already.
    #[inline]
    fn clone(&self) -> Pin {
        Pin::enter(self.parity)
    }
}

impl Drop for Pin {
    #[inline]
    fn drop(&mut self) {
        let mine =
            MINE.try_with(|mine| mine.0.get().is_some_and(|slot| std::ptr::eq(slot, self.slot)));
        if mine == Ok(true) {
            let count = &self.slot.left[self.parity];
            count.store(count.load(Relaxed).wrapping_add(1), Release);
        } else {
            self.slot.left_elsewhere[self.parity].fetch_add(1, Release);
        }
    }
}

/// Orders a pin before the loads after it, together with [`heavy_fence`] on the other side.
#[inline]
fn light_fence() {
    if ASYMMETRIC.load(Relaxed) { compiler_fence(SeqCst) } else { fence(SeqCst) }
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
        ASYMMETRIC.store(registered, SeqCst);
        registered
    })
}

/// No pin is counted in `parity`: unpins are added up first, so that each pin that is seen not to be there has gone.
fn is_empty(slots: &[&'static Slot], parity: usize) -> bool {
    let sum = |count: fn(&Slot) -> &[AtomicU64; 2]| {
        slots.iter().fold(0, |sum: u64, slot| sum.wrapping_add(count(slot)[parity].load(Acquire)))
    };
    let left = sum(|slot| &slot.left).wrapping_add(sum(|slot| &slot.left_elsewhere));
    heavy_fence();
    left == sum(|slot| &slot.entered)
}

/// Turns the parity over if nobody is left in the one that is not current.
fn advance() {
    let slots = slots();
    let epoch = EPOCH.load(Relaxed);
    let other = usize::from(epoch & 1 == 0);
    if is_empty(&slots, other) {
        EPOCH.store(epoch + 1, SeqCst);
        heavy_fence();
    }
}

/// Tries to bring about that both parities have been seen empty; returns the epoch then.
fn turn() -> u64 {
    advance();
    advance();
    EPOCH.load(SeqCst)
}

/// The epoch, after a fence: whoever pins later sees what was stored before, and whoever pinned before is counted.
fn stamp() -> u64 {
    heavy_fence();
    EPOCH.load(SeqCst)
}

//! Letting go of memory that other threads of this process may still look at: readers pin, and what is taken away is freed
//! when everyone who was pinned then has unpinned.
//!
//! Sleepable read-copy-update (McKenney, "Sleepable RCU", 2006). A pin is counted in one of two parities on a line of its
//! thread's own, without an atomic read-modify-write; the one who frees turns the parity over and waits until the other one
//! has run empty, twice. The fence between a pin and the loads after it is left to the one who frees, by `membarrier`,
//! where the kernel has that.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, compiler_fence, fence};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

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

/// A place for one `T` that is filled once, perhaps taken away, and found without a lock.
#[derive(Debug)]
pub(crate) struct Shelf<T>(AtomicPtr<T>, PhantomData<Box<T>>);

impl<T> Shelf<T> {
    pub(crate) const fn new() -> Shelf<T> {
        Shelf(AtomicPtr::new(null_mut()), PhantomData)
    }

    #[inline]
    pub(crate) fn get<'p>(&'p self, _: &'p Pin) -> Option<&'p T> {
        let at = NonNull::new(self.0.load(Acquire))?;
        // SAFETY: what is not null came from a box in `fill`; it is freed by a `Limbo` only after everyone pinned has left,
        // and this pin was there before the load; or by dropping the shelf, which is borrowed.
        Some(unsafe { at.as_ref() })
    }

    /// Puts `new` here unless something is here already; returns what is.
    pub(crate) fn fill<'p>(&'p self, new: Box<T>, pin: &'p Pin) -> &'p T {
        let new = Box::into_raw(new);
        if self.0.compare_exchange(null_mut(), new, AcqRel, Acquire).is_err() {
            // SAFETY: it came from a box just now, and nobody has seen it.
            drop(unsafe { Box::from_raw(new) });
        }
        self.get(pin).expect("a shelf is emptied only by the one who fills it")
    }

    /// Takes away what is here. Others may still look at it, so `limbo` keeps it for a while. True if there was something.
    pub(crate) fn empty(&self, limbo: &Limbo<T>) -> bool {
        let taken = NonNull::new(self.0.swap(null_mut(), AcqRel));
        if let Some(at) = taken {
            limbo.add(Doomed(at));
        }
        taken.is_some()
    }
}

impl<T> Shelf<T> {
    /// Frees what is here if it is what the caller wants to be rid of. Nobody else can look at it now.
    pub(crate) fn clear_if(&mut self, unwanted: impl FnOnce(&T) -> bool) {
        let at = NonNull::new(*self.0.get_mut());
        // SAFETY: it came from a box in `fill`, and the shelf is borrowed by nobody else.
        if let Some(at) = at.filter(|at| unwanted(unsafe { at.as_ref() })) {
            *self.0.get_mut() = null_mut();
            drop(Doomed(at));
        }
    }
}

impl<T> Drop for Shelf<T> {
    fn drop(&mut self) {
        if let Some(at) = NonNull::new(*self.0.get_mut()) {
            drop(Doomed(at));
        }
    }
}

// SAFETY: a shelf owns a `T`, as a box does, and gives shared references to it to any thread.
unsafe impl<T: Send + Sync> Send for Shelf<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Shelf<T> {}

/// A box that others may still look into. Dropping it frees what is in it.
#[derive(Debug)]
struct Doomed<T>(NonNull<T>);

impl<T> Drop for Doomed<T> {
    fn drop(&mut self) {
        // SAFETY: it came from a box in `Shelf::fill`, and was swapped out of its shelf, so this is the only owner. Nobody
        // looks at it any more: the shelf is being dropped, so nobody borrows it, or the grace period is over.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

// SAFETY: it owns a `T`, as a box does.
unsafe impl<T: Send> Send for Doomed<T> {}

/// What was taken from shelves, until everyone who was pinned then has unpinned.
#[derive(Debug)]
pub(crate) struct Limbo<T>(Mutex<Vec<(u64, Doomed<T>)>>);

impl<T> Limbo<T> {
    pub(crate) const fn new() -> Limbo<T> {
        Limbo(Mutex::new(Vec::new()))
    }

    fn items(&self) -> MutexGuard<'_, Vec<(u64, Doomed<T>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, item: Doomed<T>) {
        // Whoever pins after this fence finds the shelf empty; whoever pinned before is seen.
        heavy_fence();
        let epoch = EPOCH.load(SeqCst);
        self.items().push((epoch, item));
    }

    /// Frees what nobody can look at any more, and returns how many are left. Never waits for a pin.
    pub(crate) fn collect(&self) -> usize {
        if self.items().is_empty() {
            return 0;
        }
        advance();
        advance();
        let epoch = EPOCH.load(SeqCst);
        let mut items = self.items();
        // Both parities have been seen empty since.
        let over: Vec<_> = items.extract_if(.., |(stamp, _)| epoch >= *stamp + 2).collect();
        let left = items.len();
        drop(items);
        drop(over);
        left
    }
}

/// Bytes that were found under a pin, together with that pin, or bytes that somebody else keeps.
#[derive(Debug)]
pub(crate) struct Pinned<'a> {
    bytes: NonNull<[u8]>,
    pin: Option<Pin>,
    store: PhantomData<&'a [u8]>,
}

/// Collects what is found under one pin.
#[derive(Debug)]
pub(crate) struct Gather<'p, 'a> {
    pin: &'p Pin,
    found: Vec<Option<Pinned<'a>>>,
}

impl<'p> Gather<'p, '_> {
    /// Keeps the next result.
    #[inline]
    pub(crate) fn push(&mut self, bytes: Option<&'p [u8]>) {
        // Like the pin they were found under, its clone keeps the bytes; the store is borrowed longer than any result.
        let keep = |bytes| Pinned { bytes, pin: Some(self.pin.clone()), store: PhantomData };
        self.found.push(bytes.map(NonNull::from).map(keep));
    }
}

impl<'a> Pinned<'a> {
    /// Bytes that need no pin of their own.
    #[inline]
    pub(crate) fn borrowed(bytes: &'a [u8]) -> Pinned<'a> {
        Pinned { bytes: NonNull::from(bytes), pin: None, store: PhantomData }
    }

    /// Looks for bytes under a pin. Whatever lifetime `find` is called with, the bytes are good for: so they are as long as
    /// `store` is borrowed and the pin is there.
    #[inline]
    pub(crate) fn find<S, E>(
        store: &'a S,
        find: impl for<'p> FnOnce(&'p S, &'p Pin) -> Result<Option<&'p [u8]>, E>,
    ) -> Result<Option<Pinned<'a>>, E> {
        let pin = Pin::new();
        let found = find(store, &pin)?.map(NonNull::from);
        Ok(found.map(|bytes| Pinned { bytes, pin: Some(pin), store: PhantomData }))
    }

    /// The same for many results, of which each is kept by itself.
    pub(crate) fn find_all<S, E>(
        store: &'a S,
        count: usize,
        find: impl for<'p> FnOnce(&'p S, &'p Pin, &mut Gather<'p, 'a>) -> Result<(), E>,
    ) -> Result<Vec<Option<Pinned<'a>>>, E> {
        let pin = Pin::new();
        let mut gather = Gather { pin: &pin, found: Vec::with_capacity(count) };
        find(store, &pin, &mut gather)?;
        Ok(gather.found)
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: they were borrowed for `'a`, or else found for any lifetime in which both the store is borrowed and the
        // pin is there, and this borrow is such a one.
        unsafe { self.bytes.as_ref() }
    }
}

impl Clone for Pinned<'_> {
    #[inline]
    fn clone(&self) -> Self {
        Pinned { bytes: self.bytes, pin: self.pin.clone(), store: PhantomData }
    }
}

// SAFETY: it is a shared reference to bytes, and a pin, which any thread may drop.
unsafe impl Send for Pinned<'_> {}
// SAFETY: as above.
unsafe impl Sync for Pinned<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    /// The epoch is the whole process's, so one test's pins would hold up another's frees.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    /// Counts how many of its kind have been freed, and spoils its content then.
    struct Witness(u64, Arc<AtomicUsize>);

    impl Drop for Witness {
        fn drop(&mut self) {
            self.0 = u64::MAX;
            self.1.fetch_add(1, Relaxed);
        }
    }

    struct Scene {
        shelf: Shelf<Witness>,
        limbo: Limbo<Witness>,
        freed: Arc<AtomicUsize>,
        _one: MutexGuard<'static, ()>,
    }

    impl Scene {
        fn new() -> Scene {
            let one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
            let scene = Scene {
                shelf: Shelf::new(),
                limbo: Limbo::new(),
                freed: Arc::default(),
                _one: one,
            };
            scene.fill(7);
            scene
        }

        fn fill(&self, number: u64) {
            let new = Box::new(Witness(number, Arc::clone(&self.freed)));
            self.shelf.fill(new, &Pin::new());
        }

        /// Empties the shelf and tries hard to free; how many have been freed by then.
        fn reclaim(&self) -> usize {
            self.shelf.empty(&self.limbo);
            for _ in 0..5 {
                self.limbo.collect();
            }
            self.freed.load(Relaxed)
        }
    }

    #[test]
    fn what_nobody_looks_at_is_freed_at_once() {
        let scene = Scene::new();
        assert_eq!(scene.reclaim(), 1);
        assert!(scene.shelf.get(&Pin::new()).is_none());
        assert!(!scene.shelf.empty(&scene.limbo));
    }

    #[test]
    fn a_pin_its_clone_and_one_dropped_elsewhere_keep_what_they_saw() {
        let scene = Scene::new();
        let pin = Pin::new();
        let seen = scene.shelf.get(&pin).expect("filled");
        assert_eq!(scene.reclaim(), 0);
        let clone = pin.clone();
        assert_eq!((seen.0, scene.reclaim()), (7, 0));
        drop(pin);
        assert_eq!(scene.reclaim(), 0, "the clone protects what the pin did");
        let elsewhere = std::thread::spawn(move || {
            let again = clone.clone();
            drop(clone);
            again
        });
        let pin = elsewhere.join().expect("no panic");
        assert_eq!(scene.reclaim(), 0);
        drop(pin);
        assert_eq!(scene.reclaim(), 1);
    }

    #[test]
    fn a_later_pin_does_not_hold_up_what_went_before_it() {
        let scene = Scene::new();
        scene.shelf.empty(&scene.limbo);
        scene.limbo.collect();
        // Pins that overlap without end: there is always one.
        let mut pins = vec![Pin::new()];
        for _ in 0..4 {
            pins.push(Pin::new());
            scene.limbo.collect();
            pins.remove(0);
        }
        assert_eq!(scene.freed.load(Relaxed), 1);
    }

    #[test]
    fn a_filled_shelf_keeps_the_first_and_frees_it_when_dropped() {
        let scene = Scene::new();
        scene.fill(8);
        assert_eq!(scene.freed.load(Relaxed), 1, "the second was not needed");
        assert_eq!(scene.shelf.get(&Pin::new()).map(|witness| witness.0), Some(7));
        let Scene { shelf, freed, .. } = scene;
        drop(shelf);
        assert_eq!(freed.load(Relaxed), 2);
    }

    #[test]
    fn readers_never_see_what_was_freed() {
        let scene = Scene::new();
        let rounds = if cfg!(miri) { 30 } else { 3_000 };
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut kept = None;
                    while !done.load(Relaxed) {
                        let pin = Pin::new();
                        if let Some(seen) = scene.shelf.get(&pin) {
                            assert!(seen.0 < u64::MAX);
                            std::thread::yield_now();
                            assert!(seen.0 < u64::MAX, "freed under a reader");
                            kept = Some(pin.clone());
                        }
                    }
                    drop(kept);
                });
            }
            for round in 0..rounds {
                scene.shelf.empty(&scene.limbo);
                scene.limbo.collect();
                scene.fill(round);
            }
            done.store(true, Relaxed);
        });
        assert_eq!(scene.reclaim() as u64, rounds + 1);
    }
}

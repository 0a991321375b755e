//! Places whose content can be taken away under the eyes of readers, and what waits to be freed.

use std::marker::PhantomData;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Pin, stamp, turn};

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
        // Whoever pins after this finds the shelf empty.
        let epoch = stamp();
        self.items().push((epoch, item));
    }

    /// Frees what nobody can look at any more, and returns how many are left. Never waits for a pin.
    pub(crate) fn collect(&self) -> usize {
        if self.items().is_empty() {
            return 0;
        }
        let epoch = turn();
        let mut items = self.items();
        // Both parities have been seen empty since.
        let over: Vec<_> = items.extract_if(.., |(stamp, _)| epoch >= *stamp + 2).collect();
        let left = items.len();
        drop(items);
        drop(over);
        left
    }
}

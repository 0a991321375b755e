//! Atomic words whose orderings a test can weaken, to see that the model checker notices.

use std::cell::Cell;
use std::sync::atomic::Ordering::{self, Acquire, Relaxed, Release};
use std::sync::{Mutex, MutexGuard, PoisonError};

use loom::thread::ThreadId;

/// What a test takes away from the words of a file, or from fences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weak {
    /// Stores are relaxed.
    Store,
    /// Loads are relaxed.
    Load,
}

thread_local! {
    /// Threads of a model are coroutines of one thread.
    static NO_FENCE: Cell<Option<Ordering>> = const { Cell::new(None) };
}

/// Takes away the fences of one ordering, or none.
pub(crate) fn weaken_fences(ordering: Option<Ordering>) {
    NO_FENCE.set(ordering);
}

/// A fence, unless a test has taken it away.
pub(crate) fn fence(ordering: Ordering) {
    if NO_FENCE.get() != Some(ordering) {
        loom::sync::atomic::fence(ordering);
    }
}

/// A word of memory that several threads use.
#[derive(Debug)]
pub(crate) struct AtomicU64 {
    word: loom::sync::atomic::AtomicU64,
    /// Who stored last, and what: its own loads have that one answer, and are no steps. Loom remembers one last access of a
    /// word, and would miss the race of a store with another thread's load if the storing thread had loaded in between.
    last: Mutex<(Option<ThreadId>, u64)>,
    /// Stored to beside every load and store, and never loaded: so that loom takes all of them for dependent, where several
    /// threads store and the above does not help.
    crowd: Option<loom::sync::atomic::AtomicU64>,
    weak: Option<Weak>,
}

impl AtomicU64 {
    pub(crate) fn new(value: u64) -> AtomicU64 {
        AtomicU64::with(value, None, false)
    }

    pub(super) fn with(value: u64, weak: Option<Weak>, crowded: bool) -> AtomicU64 {
        AtomicU64 {
            word: loom::sync::atomic::AtomicU64::new(value),
            last: Mutex::new((Some(current()), value)),
            crowd: crowded.then(|| loom::sync::atomic::AtomicU64::new(0)),
            weak,
        }
    }

    fn step(&self) {
        if let Some(crowd) = &self.crowd {
            crowd.store(0, Relaxed);
        }
    }

    fn last(&self) -> MutexGuard<'_, (Option<ThreadId>, u64)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn load(&self, ordering: Ordering) -> u64 {
        self.step();
        let (thread, value) = *self.last();
        if thread == Some(current()) {
            return value;
        }
        let weak = self.weak == Some(Weak::Load) && ordering == Acquire;
        self.word.load(if weak { Relaxed } else { ordering })
    }

    pub(crate) fn store(&self, value: u64, ordering: Ordering) {
        self.step();
        let weak = self.weak == Some(Weak::Store) && ordering == Release;
        self.word.store(value, if weak { Relaxed } else { ordering });
        *self.last() = (Some(current()), value);
    }
}

fn current() -> ThreadId {
    loom::thread::current().id()
}

//! The writer lock of a handle, and how many threads wait for it.
//!
//! A mutex that wakes who waits for it is taken again, by a thread that gave it back a moment ago, before the other is awake. What
//! compaction moves it moves in many short turns one after the other, and would keep a writer waiting for all of them.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::sys::sync::{AtomicU32, Mutex, MutexGuard};

/// How long a thread looks for the lock before it sleeps: about what it takes to wake one, so that at worst waiting costs twice what
/// it could (Karlin and others, "Empirical studies of competitive spinning", 1991). Most turns are shorter.
#[cfg(not(all(test, loom)))]
const SPIN: Duration = Duration::from_micros(30);
/// Looks at the lock between two at the clock.
#[cfg(not(all(test, loom)))]
const LOOKS: u32 = 8;
/// How long those who wait have to come through: many times what it takes to wake one.
const PATIENCE: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Gate<T> {
    writer: Mutex<T>,
    waiting: AtomicU32,
}

/// Someone waits for as long as this lives.
#[derive(Debug)]
pub(super) struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl<T> Gate<T> {
    pub(super) fn new(writer: T) -> Gate<T> {
        Gate { writer: Mutex::new(writer), waiting: AtomicU32::new(0) }
    }

    /// Takes the lock. A panic in a caller's closure leaves the state whole, so poisoning of the mutex means nothing.
    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        self.try_lock().unwrap_or_else(|| self.wait())
    }

    /// Takes the lock if nobody has it.
    #[inline]
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.writer.try_lock() {
            Ok(writer) => Some(writer),
            Err(TryLockError::Poisoned(writer)) => Some(writer.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    #[cold]
    fn wait(&self) -> MutexGuard<'_, T> {
        let _waiting = self.waiting();
        let found = self.spin();
        found.unwrap_or_else(|| self.writer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    #[cfg(not(all(test, loom)))]
    fn spin(&self) -> Option<MutexGuard<'_, T>> {
        let end = Instant::now() + SPIN;
        while Instant::now() < end {
            for _ in 0..LOOKS {
                std::hint::spin_loop();
                if let Some(writer) = self.try_lock() {
                    return Some(writer);
                }
            }
        }
        None
    }

    /// In a model nothing happens while a thread spins.
    #[cfg(all(test, loom))]
    fn spin(&self) -> Option<MutexGuard<'_, T>> {
        None
    }

    /// Counts this thread among those who wait.
    pub(super) fn waiting(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Relaxed);
        Waiting(&self.waiting)
    }

    /// Has those who wait come first. For who has just given the lock back, and wants it again.
    pub(super) fn let_others_pass(&self) {
        if self.waiting.load(Relaxed) == 0 {
            return;
        }
        let end = Instant::now() + PATIENCE;
        while self.waiting.load(Relaxed) > 0 && Instant::now() < end {
            std::thread::yield_now();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Gives the lock back and takes it again while another thread sleeps for it; true if that one came first.
    fn is_overtaken(between: impl Fn(&Gate<bool>)) -> bool {
        let gate = Gate::new(false);
        std::thread::scope(|threads| {
            let first = gate.lock();
            threads.spawn(|| *gate.lock() = true);
            while gate.waiting.load(Relaxed) == 0 {
                std::thread::yield_now();
            }
            std::thread::sleep(10 * SPIN);
            drop(first);
            between(&gate);
            *gate.lock()
        })
    }

    /// Mostly: on a busy machine a thread may take longer to wake. Without it hardly one of them does.
    #[test]
    fn who_waits_comes_before_who_lets_others_pass() {
        let passed = (0..100).filter(|_| is_overtaken(Gate::let_others_pass)).count();
        assert!(passed > 50, "{passed} of 100");
    }
}

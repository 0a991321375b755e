//! What threads share besides regions: the standard library's tools, or under the model checker loom its own, which try every
//! order in which the threads can run and every value that a load may give.
//!
//! `OnceLock` and `Arc` are the standard library's in either case: they order more than anything here relies on.

#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, fence};
#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

#[cfg(all(test, loom))]
pub(crate) use super::model::{AtomicU64, fence};
#[cfg(all(test, loom))]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32};
#[cfg(all(test, loom))]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};

/// Waits for a condition variable, but not for longer than this.
#[cfg(not(all(test, loom)))]
pub(crate) fn wait_at_most<'a, T>(
    _mutex: &'a Mutex<T>,
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    time: std::time::Duration,
) -> MutexGuard<'a, T> {
    condvar.wait_timeout(guard, time).unwrap_or_else(std::sync::PoisonError::into_inner).0
}

/// In a model no time passes, and loom's own never comes to its end: others have their turn, and then the time is over.
#[cfg(all(test, loom))]
pub(crate) fn wait_at_most<'a, T>(
    mutex: &'a Mutex<T>,
    _condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    _time: std::time::Duration,
) -> MutexGuard<'a, T> {
    drop(guard);
    loom::thread::yield_now();
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

//! A futex whose sleepers loom knows: one that nobody wakes is found as a deadlock.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use loom::sync::atomic::AtomicU32;
use loom::sync::{Condvar, Mutex};

use super::super::Futex;

#[derive(Debug)]
pub(super) struct ModelFutex {
    word: AtomicU32,
    /// What the kernel compares and queues under.
    bucket: Mutex<()>,
    queue: Condvar,
}

impl Default for ModelFutex {
    fn default() -> ModelFutex {
        ModelFutex { word: AtomicU32::new(0), bucket: Mutex::new(()), queue: Condvar::new() }
    }
}

impl Futex for ModelFutex {
    fn word(&self) -> &AtomicU32 {
        &self.word
    }

    /// Time does not pass here.
    fn sleep(&self, expected: u32, _timeout: Duration) {
        let bucket = self.bucket.lock().expect("nobody panics");
        if self.word.load(Relaxed) == expected {
            drop(self.queue.wait(bucket).expect("nobody panics"));
        }
    }

    fn wake(&self) {
        let _bucket = self.bucket.lock().expect("nobody panics");
        self.queue.notify_all();
    }
}

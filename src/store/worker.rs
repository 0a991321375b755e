//! A thread of a handle's own, from its start to the wait for its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::Engine;

/// The thread, while it runs.
#[derive(Debug, Default)]
pub(super) struct Worker(Mutex<Option<JoinHandle<()>>>);

impl Worker {
    /// Starts it; false if the system refuses.
    pub(super) fn start(&self, name: &str, engine: &Arc<Engine>, work: fn(&Engine)) -> bool {
        let engine = Arc::clone(engine);
        let spawned =
            std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&engine));
        let started = spawned.is_ok();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = spawned.ok();
        started
    }

    /// Waits until it has ended, which it has been told to.
    pub(super) fn join(&self) {
        let thread = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic there has printed itself and left nothing locked.
            let _ = thread.join();
        }
    }
}

//! The thread that makes checkpoints, so that no commit waits for one.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::Engine;

/// A mailbox with room for one request.
#[derive(Debug, Default)]
pub(crate) struct Background {
    mail: Mutex<Mail>,
    arrived: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Mail {
    running: bool,
    requested: bool,
    stop: bool,
}

impl Background {
    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_running(&self) -> bool {
        self.mail().running
    }

    /// Asks for a checkpoint.
    pub(super) fn wake(&self) {
        self.mail().requested = true;
        self.arrived.notify_one();
    }

    /// Starts the thread. Without it (the system may refuse one) checkpoints are made by commits.
    pub(crate) fn start(engine: &Arc<Engine>) {
        let Some(background) = engine.background() else { return };
        let worker = Arc::clone(engine);
        let spawned = std::thread::Builder::new()
            .name("mapstone-checkpoint".into())
            .spawn(move || worker.run_background());
        if let Ok(handle) = spawned {
            background.mail().running = true;
            *background.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        }
    }

    /// Ends the thread and waits for the checkpoint that it may be at.
    pub(crate) fn stop(&self) {
        self.mail().stop = true;
        self.arrived.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic there has printed itself and left nothing locked.
            let _ = thread.join();
        }
        self.mail().running = false;
    }

    /// Waits for the next request; false when it is time to end.
    fn next(&self) -> bool {
        let mut mail = self.mail();
        while !mail.requested && !mail.stop {
            mail = self.arrived.wait(mail).unwrap_or_else(PoisonError::into_inner);
        }
        mail.requested = false;
        !mail.stop
    }
}

impl Engine {
    fn run_background(&self) {
        while self.background().is_some_and(Background::next) {
            if self.writer.as_ref().is_some_and(|half| self.checkpoint_is_under_way(half)) {
                continue;
            }
            // A failure poisons the handle or leaves the last checkpoint in force; the next request tries again.
            let _ = self.checkpoint();
        }
    }
}

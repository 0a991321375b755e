//! The thread that makes checkpoints and compacts, so that no commit waits for either.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::worker::Worker;
use super::{Effort, Engine};

/// A mailbox with room for one request.
#[derive(Debug, Default)]
pub(crate) struct Background {
    mail: Mutex<Mail>,
    arrived: Condvar,
    thread: Worker,
}

#[derive(Debug, Default)]
struct Mail {
    running: bool,
    /// A checkpoint is due.
    requested: bool,
    /// Something has happened that may make compaction worth it.
    look: bool,
    stop: bool,
}

/// What the thread is to do next.
enum Work {
    Checkpoint,
    Compact,
    Stop,
}

/// Bytes of the log that are read in one step of compaction.
const STEP: u64 = 256 << 10;
/// How long to wait before looking whether a snapshot, perhaps of another process, has let go.
const AGAIN: Duration = Duration::from_secs(1);

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
        background.mail().running =
            background.thread.start("mapstone-checkpoint", engine, Engine::run_background);
    }

    /// Ends the thread and waits for the checkpoint that it may be at.
    pub(crate) fn stop(&self) {
        self.mail().stop = true;
        self.arrived.notify_one();
        self.thread.join();
        self.mail().running = false;
    }

    /// Asks for a look whether compaction is worth it.
    pub(super) fn nudge(&self) {
        let mut mail = self.mail();
        if !mail.look {
            mail.look = true;
            self.arrived.notify_one();
        }
    }

    /// Waits for the next request, or so long that there is something to do without one.
    fn next(&self, patience: Option<Duration>) -> Work {
        let mut mail = self.mail();
        while !mail.requested && !mail.stop && !mail.look {
            let Some(patience) = patience else {
                mail = self.arrived.wait(mail).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = self.arrived.wait_timeout(mail, patience);
            let (still, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            mail = still;
            mail.look |= timeout.timed_out();
        }
        if mail.stop {
            return Work::Stop;
        }
        if mail.requested {
            mail.requested = false;
            return Work::Checkpoint;
        }
        mail.look = false;
        Work::Compact
    }
}

impl Engine {
    fn run_background(&self) {
        let mut patience = None;
        while let Some(work) = self.background().map(|background| background.next(patience)) {
            match work {
                Work::Stop => return,
                // A failure poisons the handle or leaves the last checkpoint in force; the next request tries again.
                Work::Checkpoint if !self.is_checkpoint_wanted() => {}
                Work::Checkpoint => drop(self.checkpoint()),
                Work::Compact => patience = self.compact_a_bit(),
            }
        }
    }

    /// A checkpoint is due, and no other handle that shares the store makes it.
    fn is_checkpoint_wanted(&self) -> bool {
        let wanted = |half| self.checkpoint_is_due(half) && !self.checkpoint_is_under_way(half);
        self.writer.as_ref().is_some_and(wanted)
    }

    /// One step of compaction; says when to take the next one, None for not before something happens.
    fn compact_a_bit(&self) -> Option<Duration> {
        let percent = self.writer().ok()?.compaction?;
        let begun = Instant::now();
        match self.compact_step(Effort::Above(percent), STEP) {
            Ok(step) if step.done => (step.held > 0).then_some(AGAIN),
            // As long again as it took is the writers', until the log is twice what it has to be.
            Ok(_) if self.is_behind() => Some(Duration::ZERO),
            Ok(_) => Some(begun.elapsed()),
            // A full disk, say. It is tried again when the log has grown, or has not.
            Err(_) => Some(10 * AGAIN),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::format::PAGE;
    use crate::options::Options;
    use crate::store::{DEFAULT_TABLE, Op};
    use crate::sys::sim::SimDisk;

    /// Commits ask for a checkpoint until the one that is under way is captured, which is all that was wanted.
    #[test]
    fn a_checkpoint_that_is_no_longer_due_is_not_made() {
        for (interval, made) in [(1 << 20, 0), (1, 1)] {
            let mut options = Options::new();
            options.segment_size(4096).checkpoint_interval(interval);
            let engine = Engine::open(SimDisk::new(1).disk(), &options).expect("an open store");
            let engine = Arc::new(engine);
            let op = Op { table: DEFAULT_TABLE, key: b"key", value: Some(b"value") };
            engine.commit_locked(&mut engine.turn().expect("a turn"), &[op], false).expect("space");
            let background = engine.background().expect("a writer");
            let before = engine.cells.sequence();
            Background::start(&engine);
            background.wake();
            while background.mail().requested {
                std::thread::yield_now();
            }
            background.stop();
            assert_eq!(engine.cells.sequence() - before, made, "{interval}");
        }
    }

    /// Puts so many keys more, a thousand at a time.
    fn load(engine: &Engine, keys: std::ops::Range<u64>) {
        let keys: Vec<[u8; 8]> = keys.map(|i| (i << 8 | 1).to_le_bytes()).collect();
        for keys in keys.chunks(1000) {
            let put = |key| Op { table: DEFAULT_TABLE, key, value: Some(&[]) };
            let ops: Vec<Op<'_>> = keys.iter().map(|key| put(&key[..])).collect();
            engine.turn().and_then(|turn| turn.commit(&ops, None)).expect("space");
        }
    }

    /// The index may take some garbage on top of what the keys need. Before it takes more, batches wait for the checkpoint that gives
    /// garbage back, and only until that is there.
    #[test]
    #[cfg_attr(miri, ignore = "the index has to be of some size")]
    fn a_load_that_is_too_fast_for_checkpoints_waits_for_them() {
        const FIRST: u64 = 110_000;
        let engine = Engine::open(SimDisk::new(1).disk(), &Options::new()).expect("an open store");
        let half = engine.writer().expect("a writer");
        // Nobody is there who makes what is asked for.
        half.background.mail().running = true;
        let waits = || engine.outruns_checkpoints(half, &half.lock());
        load(&engine, 0..FIRST);
        engine.checkpoint().expect("space");
        assert!(!waits(), "each split leaves garbage from now on");
        let mut keys = FIRST;
        let took = loop {
            let (before, begun) = (waits(), Instant::now());
            load(&engine, keys..keys + 1000);
            keys += 1000;
            if before && waits() {
                break begun.elapsed();
            }
            let pages = u64::from(engine.cells.watermark());
            assert!(pages * PAGE < 28 * keys, "{pages} pages with {keys} keys");
        };
        assert!(took >= Duration::from_millis(1), "{took:?}");
        engine.checkpoint().expect("space");
        assert!(!waits());
    }
}

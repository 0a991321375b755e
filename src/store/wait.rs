//! Waiting for a commit, in any process, without looking again and again.
//!
//! Who waits says so in a word that all processes share, looks once more at what is committed, and sleeps on the word. Who
//! commits looks at the word, and rings if someone has said so: one fence and one load where nobody waits. Both have a fence
//! between their store and their load, so at least one of them sees the other (Dekker's rule).

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::format::segment::HEADER;
use crate::log::Scan;
use crate::sys::sync::fence;
use crate::sys::{Disk, File, Futex, GLANCE, Pin};

use super::Engine;

/// The file with the word: 1 when someone may sleep on it, 0 when nobody does. It holds nothing else, and may be lost.
pub(super) const WAITERS: &str = "waiters";

/// How long one sleeps at a time: another file may have been given the name meanwhile.
const NAP: Duration = Duration::from_secs(1);

/// The word, in the file that has the name.
#[derive(Debug)]
pub(super) struct Bell {
    file: Arc<dyn File>,
    futex: Arc<dyn Futex>,
}

impl Bell {
    pub(super) fn open(disk: &dyn Disk) -> Result<Bell> {
        let failed = |op| move |e| Error::io(op, disk.root().join(WAITERS), e);
        let file = disk.touch(WAITERS).map_err(failed("open"))?;
        let futex = file.futex().map_err(failed("map"))?;
        Ok(Bell { file, futex })
    }

    /// Wakes whoever waits. What they wait for was stored before.
    #[inline]
    pub(super) fn ring(&self) {
        fence(SeqCst);
        let word = self.futex.word();
        if word.load(Relaxed) != 0 {
            word.store(0, Relaxed);
            self.futex.wake();
        }
    }
}

/// The bell of a handle that only reads, which whoever waits first opens.
pub(super) type Shared = std::sync::Mutex<Option<Arc<Bell>>>;

impl Engine {
    /// Waits until something after `after` is committed; returns up to where. None when the time is over.
    pub(crate) fn wait(&self, after: u64, timeout: Duration) -> Result<Option<u64>> {
        self.wait_until(after, timeout, |from, to| self.is_news(from, to))
    }

    /// The same for whoever looks for themselves whether it is more than copies that compaction has made.
    pub(crate) fn wait_for_any(&self, after: u64, timeout: Duration) -> Result<Option<u64>> {
        self.wait_until(after, timeout, |_, _| true)
    }

    fn wait_until(
        &self,
        after: u64,
        timeout: Duration,
        is_news: impl Fn(u64, u64) -> bool,
    ) -> Result<Option<u64>> {
        let deadline = Instant::now().checked_add(timeout);
        let mut after = after;
        loop {
            self.check_shared()?;
            let committed = self.committed();
            if committed > after {
                if is_news(after, committed) {
                    return Ok(Some(committed));
                }
                after = committed;
            }
            let left = deadline.map_or(NAP, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(None);
            }
            match self.bell() {
                Some(bell) => self.sleep(&bell, after, left),
                None => std::thread::sleep(left.min(GLANCE)),
            }
        }
    }

    /// Something was committed between two positions but copies that compaction has made. Where that cannot be told, it was.
    fn is_news(&self, from: u64, to: u64) -> bool {
        let (log, pin) = (self.fresh_log(), Pin::new());
        let view = log.view(&pin);
        let holds = |number: &u64| number * self.superblock.segment_bytes + HEADER <= from;
        let Some(number) = log.numbers().ok().and_then(|all| all.into_iter().rfind(holds)) else {
            return true;
        };
        let Ok(mut scan) = Scan::new(view, number, from) else { return true };
        while scan.position() < to {
            if !matches!(scan.step(), Ok(Some(record)) if record.header().relocated) {
                return true;
            }
        }
        false
    }

    /// Sleeps until the bell rings, unless something after `after` is committed.
    fn sleep(&self, bell: &Bell, after: u64, timeout: Duration) {
        bell.futex.word().store(1, Relaxed);
        fence(SeqCst);
        if self.committed() > after {
            return;
        }
        bell.futex.sleep(1, timeout.min(NAP));
        // Nothing rings for so long where the name is another file's by now.
        let quiet = timeout >= NAP && self.committed() <= after;
        if quiet && !self.disk.names(WAITERS, &*bell.file).unwrap_or(false) {
            *self.bell_mutex() = None;
        }
    }

    /// The word to sleep on; None without permission to write it.
    fn bell(&self) -> Option<Arc<Bell>> {
        if let Some(half) = &self.writer {
            return Some(Arc::clone(&half.bell));
        }
        let mut bell = self.bell_mutex();
        if bell.is_none() {
            *bell = Bell::open(&*self.disk).ok().map(Arc::new);
        }
        bell.clone()
    }

    fn bell_mutex(&self) -> MutexGuard<'_, Option<Arc<Bell>>> {
        self.bell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Who syncs, and when: those who wait for durability at the same time share one sync.
//!
//! The first to come leads, and who comes while a sync goes on is served by the next one. Without more, threads that commit again
//! and again would divide: the first that is back leads for itself alone, and all others wait twice. So a leader waits for those
//! who are expected, and the last of them to come leads in its place. A lone thread expects nobody.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::sys::sync::{AtomicBool, Condvar, Mutex, MutexGuard, wait_at_most};

/// A leader waits for others for as long as the last sync took, in so many parts, and no longer if nobody comes in one of them.
const PARTS: u32 = 4;

/// Who syncs now, and whether a sync has ever failed.
#[derive(Debug, Default)]
pub(super) struct Syncer {
    turn: Mutex<Turn>,
    done: Condvar,
    poisoned: AtomicBool,
    /// The file whose loss has ended writing, and what has become of it.
    lost: OnceLock<(PathBuf, String)>,
}

#[derive(Debug, Default)]
struct Turn {
    /// A sync is going on.
    busy: bool,
    /// How many syncs have ended.
    round: u64,
    /// How many wait for `done`: to wake nobody is a system call all the same.
    asleep: u32,
    /// How many want the next sync.
    came: u32,
    /// How many wanted the last one, or came while it went on.
    expected: u32,
    /// Somebody waits for those who are expected, and leads if they do not come.
    gathering: bool,
    /// How long the last sync took, unless it was for one alone.
    took: Option<Duration>,
}

impl Turn {
    /// There is nobody to wait for.
    fn is_complete(&self) -> bool {
        self.came >= self.expected || self.took.is_none()
    }
}

/// A sync to be made by who has this.
#[derive(Debug)]
#[must_use]
pub(super) struct Lead {
    /// How many want it.
    group: u32,
    /// When it began, if that matters.
    since: Option<Instant>,
}

impl Syncer {
    /// A sync has failed: nothing can be promised any more (invariant I9).
    pub(super) fn poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub(super) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    /// A file is lost: nothing that is written would be found again.
    pub(super) fn lose(&self, file: &Path, why: &str) {
        self.lost.get_or_init(|| (file.to_path_buf(), why.to_owned()));
        self.poison();
    }

    /// Fails if writing has ended, and says why.
    #[inline]
    pub(super) fn check(&self) -> Result<()> {
        if self.poisoned() { Err(self.why()) } else { Ok(()) }
    }

    #[cold]
    fn why(&self) -> Error {
        match self.lost.get().cloned() {
            Some((file, why)) => Error::Lost { file, why },
            None => Error::Poisoned,
        }
    }

    /// As if so many had wanted the last sync.
    #[cfg(all(test, loom))]
    pub(super) fn expect(&self, others: u32) {
        let mut turn = self.lock();
        (turn.expected, turn.took) = (others, Some(Duration::from_micros(100)));
    }

    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns None as soon as `is_done`, or else that the caller is to sync. Who is in a hurry waits for nobody but a sync that
    /// goes on.
    pub(super) fn lead(
        &self,
        hurry: bool,
        mut is_done: impl FnMut() -> Result<bool>,
    ) -> Result<Option<Lead>> {
        let mut turn = self.lock();
        let (mut counted, mut has_waited) = (None, false);
        loop {
            let done = is_done();
            if !matches!(done, Ok(false)) {
                if counted == Some(turn.round) && !turn.busy {
                    self.leave(turn, has_waited);
                }
                return done.map(|_| None);
            }
            if counted != Some(turn.round) {
                turn.came += 1;
                (counted, has_waited) = (Some(turn.round), false);
            }
            turn = if turn.busy {
                self.sleep(turn)
            } else if hurry || has_waited || turn.is_complete() {
                return Ok(Some(begin(&mut turn)));
            } else if turn.gathering {
                self.sleep(turn)
            } else {
                has_waited = true;
                self.gather(turn)
            };
        }
    }

    /// Waits until a sync has ended.
    fn sleep<'a>(&self, mut turn: MutexGuard<'a, Turn>) -> MutexGuard<'a, Turn> {
        turn.asleep += 1;
        turn = self.done.wait(turn).unwrap_or_else(PoisonError::into_inner);
        turn.asleep -= 1;
        turn
    }

    /// Waits for those who are expected, as long as they come; the last one does not come back here but leads.
    fn gather<'a>(&'a self, mut turn: MutexGuard<'a, Turn>) -> MutexGuard<'a, Turn> {
        turn.gathering = true;
        turn.asleep += 1;
        let (round, part) = (turn.round, turn.took.unwrap_or_default() / PARTS);
        for _ in 0..PARTS {
            let before = turn.came;
            turn = wait_at_most(&self.turn, &self.done, turn, part);
            if turn.busy || turn.round != round || turn.came == before {
                break;
            }
        }
        turn.asleep -= 1;
        turn
    }

    /// Somebody who wanted the next sync needs none, because another handle has made one.
    fn leave(&self, mut turn: MutexGuard<'_, Turn>, has_waited: bool) {
        turn.came -= 1;
        if has_waited {
            // Those who sleep rely on it.
            turn.gathering = false;
            drop(turn);
            self.done.notify_all();
        }
    }

    /// The sync that was going on has ended.
    #[expect(clippy::needless_pass_by_value, reason = "a sync ends once")]
    pub(super) fn end(&self, lead: Lead) {
        let took = lead.since.map(|since| since.elapsed());
        let mut turn = self.lock();
        turn.busy = false;
        turn.round += 1;
        turn.took = took;
        turn.expected = lead.group + std::mem::take(&mut turn.came);
        let awaited = turn.asleep > 0;
        drop(turn);
        if awaited {
            self.done.notify_all();
        }
    }
}

fn begin(turn: &mut Turn) -> Lead {
    turn.busy = true;
    turn.gathering = false;
    let group = std::mem::take(&mut turn.came);
    Lead { group, since: (group.max(turn.expected) > 1).then(Instant::now) }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::SeqCst;
    use std::time::Duration;

    use super::Syncer;

    /// A log without bytes: what is committed, what is durable, and how many syncs there were.
    #[derive(Default)]
    struct Log {
        syncer: Syncer,
        committed: AtomicU64,
        durable: AtomicU64,
        syncs: AtomicU64,
    }

    impl Log {
        fn commit(&self, time: Duration) {
            let end = self.committed.fetch_add(1, SeqCst) + 1;
            let lead = self.syncer.lead(false, || Ok(self.durable.load(SeqCst) >= end));
            let Some(lead) = lead.expect("nothing fails") else { return };
            let goal = self.committed.load(SeqCst);
            std::thread::sleep(time);
            assert!(self.durable.swap(goal, SeqCst) < goal, "one sync at a time");
            self.syncs.fetch_add(1, SeqCst);
            self.syncer.end(lead);
        }

        /// So many threads commit so often each. Returns how many syncs that took.
        fn commits(&self, threads: usize, times: usize, time: Duration) -> u64 {
            let before = self.syncs.load(SeqCst);
            let commits = || (0..times).for_each(|_| self.commit(time));
            std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(commits))));
            self.syncs.load(SeqCst) - before
        }
    }

    #[test]
    fn threads_that_commit_again_and_again_share_each_sync() {
        // In two groups by turns it would be at least 40.
        let syncs = Log::default().commits(8, 20, Duration::from_millis(20));
        assert!((20..30).contains(&syncs), "{syncs}");
    }

    #[test]
    fn who_is_left_alone_waits_for_nobody() {
        let log = Log::default();
        log.commits(4, 5, Duration::from_millis(5));
        log.commits(1, 10, Duration::ZERO);
        let turn = log.syncer.lock();
        assert_eq!((turn.expected, turn.took, turn.came, turn.asleep), (1, None, 0, 0));
    }

    /// One that another handle has synced for is not counted on any more, and whoever sleeps beside it leads.
    #[test]
    fn who_needs_no_sync_leaves_it_to_the_others() {
        let syncer = Syncer::default();
        (syncer.lock().expected, syncer.lock().took) = (9, Some(Duration::from_millis(100)));
        std::thread::scope(|scope| {
            let mut looks = 0;
            let first = scope.spawn({
                let syncer = &syncer;
                move || {
                    let done = || Ok((looks, looks += 1).0 > 0);
                    syncer.lead(false, done).expect("nothing fails").is_none()
                }
            });
            while !syncer.lock().gathering {
                std::thread::yield_now();
            }
            let other = syncer.lead(false, || Ok(false)).expect("nothing fails");
            syncer.end(other.expect("somebody has to"));
            assert!(first.join().expect("no panic"));
        });
    }
}

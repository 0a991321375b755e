//! A turn: the writer lock, held from the first look at the store to the end of one commit (invariant I20).

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::options::Durability;
use crate::sys::Pin;
use crate::sys::sync::MutexGuard;

use super::locks::PAUSE;
use super::single::Single;
use super::{Engine, Found, Op, Writer, WriterHalf};

/// A batch of so many operations is one of a load, and leaves a checkpoint time if it has to.
const MANY: usize = 64;

/// The writer's state, and nobody else's for as long as this lives.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    engine: &'a Engine,
    half: &'a WriterHalf,
    writer: MutexGuard<'a, Writer>,
    /// The lock of all writers that share the store is held as well.
    shared: bool,
    /// Keeps mapped what is read.
    pin: Pin,
}

impl Engine {
    /// Waits for this handle's turn to write.
    #[inline]
    pub(crate) fn turn(&self) -> Result<Turn<'_>> {
        self.turn_within(self.writer()?.lock_timeout)
    }

    /// The same for at most so long; None waits as long as it takes.
    #[inline]
    pub(crate) fn turn_within(&self, timeout: Option<Duration>) -> Result<Turn<'_>> {
        let half = self.writer()?;
        half.lender.check()?;
        let mut turn = self.claim(half, timeout)?;
        self.prepare(half, &mut turn.writer)?;
        Ok(turn)
    }

    /// Takes the writer lock; if writers share the store, that of all of them, and brings this handle to where the others are.
    #[inline]
    pub(super) fn claim<'a>(
        &'a self,
        half: &'a WriterHalf,
        timeout: Option<Duration>,
    ) -> Result<Turn<'a>> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let writer = match deadline {
            None => half.lock(),
            Some(end) => self.lock_before(half, end)?,
        };
        let mut turn = Turn { engine: self, half, writer, shared: false, pin: Pin::new() };
        if half.shared.is_some() {
            self.join_others(&mut turn, deadline)?;
        }
        Ok(turn)
    }

    #[cold]
    fn lock_before<'a>(
        &self,
        half: &'a WriterHalf,
        end: Instant,
    ) -> Result<MutexGuard<'a, Writer>> {
        let _waiting = half.state.waiting();
        self.before(end, || Ok(half.state.try_lock()))
    }

    /// Takes the lock of all who share the store, and goes on where the last of them ended.
    #[cold]
    fn join_others(&self, turn: &mut Turn<'_>, deadline: Option<Instant>) -> Result<()> {
        self.enter(turn.half, deadline)?;
        turn.shared = true;
        self.catch_up(turn.half, &mut turn.writer)
    }

    /// Tries until it works or the time is over, and at least once.
    pub(super) fn before<T>(
        &self,
        deadline: Instant,
        mut attempt: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let mut pause = Duration::from_micros(20);
        loop {
            if let Some(done) = attempt()? {
                return Ok(done);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout { path: self.path().to_path_buf() });
            }
            std::thread::sleep(pause.min(left));
            pause = (2 * pause).min(PAUSE);
        }
    }
}

impl<'a> Turn<'a> {
    pub(super) fn half(&self) -> &'a WriterHalf {
        self.half
    }

    /// The last commit. There is no other until the turn ends.
    pub(crate) fn position(&self) -> u64 {
        self.writer.counters.position
    }

    /// The present value of a key, which stays that until the turn ends.
    pub(crate) fn get(&self, table: u32, key: &[u8]) -> Result<Option<Found<'_>>> {
        self.engine.reader(&self.pin).get(table, key, self.position())
    }

    /// Fails unless the table exists.
    pub(crate) fn require(&mut self, table: u32) -> Result<()> {
        self.engine.require_table(&mut self.writer, table)
    }

    /// Lends the turn to a caller's code, on this thread, which cannot wait for another one.
    pub(crate) fn lend(&self) -> Loan<'a> {
        self.half.lend()
    }

    /// Commits `ops` as one batch, and ends the turn.
    #[inline]
    pub(crate) fn commit(mut self, ops: &[Op<'_>], durability: Option<Durability>) -> Result<u64> {
        let durable = self.half.is_durable(durability);
        let committed = self.engine.commit_locked(&mut self.writer, ops, durable)?;
        let late = ops.len() >= MANY && self.engine.outruns_checkpoints(self.half, &self.writer);
        let committed = self.end(committed, durability)?;
        if late {
            std::thread::sleep(PAUSE);
        }
        Ok(committed)
    }

    /// Commits one operation, and ends the turn. `fill` puts the value into its place.
    #[inline]
    pub(super) fn commit_single(
        mut self,
        single: &Single<'_>,
        durability: Option<Durability>,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<u64> {
        let (half, writer) = (self.half, &mut self.writer);
        let committed = self.engine.commit_single(half, writer, &self.pin, single, fill);
        let committed = self.engine.or_lost(half, committed)?;
        self.end(committed, durability)
    }

    /// Ends the turn after a commit, waits for durability if asked to, and has a checkpoint made if one is due.
    #[inline]
    pub(super) fn end(mut self, committed: u64, durability: Option<Durability>) -> Result<u64> {
        let (engine, half) = (self.engine, self.half);
        // Garbage comes of pages that split or become one; a checkpoint that is wanted is asked for until it is made.
        let changed = self.writer.editor.has_changed() || self.writer.editor.wants_checkpoint();
        let garbage = changed && engine.garbage_is_due(&mut self.writer);
        engine.look_ahead(half, &mut self.writer);
        drop(self);
        engine.after_commit(half, committed, garbage, durability)?;
        Ok(committed)
    }
}

impl Drop for Turn<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.shared {
            self.engine.leave(self.half, &mut self.writer);
        }
    }
}

impl Deref for Turn<'_> {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        &self.writer
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut Writer {
        &mut self.writer
    }
}

thread_local! {
    static MARK: Cell<u8> = const { Cell::new(0) };
}

/// A number that no other thread has while this one lives; never 0.
fn this_thread() -> u64 {
    MARK.with(|mark| std::ptr::from_ref(mark).addr() as u64)
}

/// Which thread runs a caller's code during a turn: for that one to wait for a turn would be for ever.
#[derive(Debug, Default)]
pub(super) struct Lender(AtomicU64);

impl WriterHalf {
    /// Lends the turn to a caller's code, on this thread, which cannot wait for another one.
    #[inline]
    pub(super) fn lend(&self) -> Loan<'_> {
        Loan(self.lender.lend())
    }
}

impl Lender {
    fn lend(&self) -> &Lender {
        self.0.store(this_thread(), Relaxed);
        self
    }

    /// Fails on the thread that has the turn. Others see whatever they see: it is not their number.
    #[inline]
    pub(super) fn check(&self) -> Result<()> {
        match self.0.load(Relaxed) {
            0 => Ok(()),
            thread if thread == this_thread() => Err(Error::InTransaction),
            _ => Ok(()),
        }
    }
}

/// The turn is lent for as long as this lives.
#[derive(Debug)]
pub(crate) struct Loan<'a>(&'a Lender);

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.0.0.store(0, Relaxed);
    }
}

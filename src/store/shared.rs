//! Writers that share a store: what a turn of one begins and ends with, so that any of them may be killed at any moment
//! (invariant I21).
//!
//! Each holds `lock` for reading for as long as it is open, which keeps out whoever wants to write alone, and `index` alone for
//! each turn. The number in the cell `turn` is odd during a turn; who finds it odd with the lock in hand knows that the one
//! before died, and resumes what that has left, as opening does.

use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::faults::{Bug, Point, planted, reach};
use crate::format::checkpoint::NAMES;
use crate::format::index as index_format;
use crate::format::meta::Counters;
use crate::format::usage;
use crate::index::Editor;
use crate::log::Tail;
use crate::options::Options;
use crate::sys::{Access, Disk, File, LockKind, process_id};

use super::create::{LOCK, META};
use super::door::{approach, open_index};
use super::hold::Hold;
use super::locks::{DYING, PAUSE, holder, is_locked, is_shared, wait_for};
use super::progress::Watch;
use super::recover::Recovered;
use super::wait::Bell;
use super::{Engine, Writer, WriterHalf, clean};

/// Further locks of those who share a store, each on a file that is never replaced while they are open.
#[derive(Debug)]
pub(super) struct Shared {
    /// Held by the one who makes a checkpoint.
    checkpoint: Arc<dyn File>,
    /// Held by the one who syncs the log.
    sync: Arc<dyn File>,
    /// Held by the one who takes a step of compaction.
    compaction: Arc<dyn File>,
}

/// A lock that is given back when this goes.
#[derive(Debug)]
pub(super) struct Locked<'a>(&'a dyn File);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // What fails here is undone when the handle is closed.
        let _ = self.0.unlock();
    }
}

impl Engine {
    pub(super) fn shared_locks(&self) -> Result<Shared> {
        let open =
            |name: &str| self.disk.touch(name).map_err(|e| Error::io("open", self.file(name), e));
        let [checkpoint, sync] = NAMES;
        Ok(Shared {
            checkpoint: open(checkpoint)?,
            sync: open(sync)?,
            compaction: open(usage::NAME)?,
        })
    }

    fn lock_file<'a>(&self, name: &str, file: &'a dyn File) -> Result<Locked<'a>> {
        file.lock().map_err(|e| Error::io("lock", self.file(name), e))?;
        Ok(Locked(file))
    }

    /// Keeps other handles from making a checkpoint; nothing to keep from if this is the only one that writes.
    pub(super) fn lock_checkpoints<'a>(&self, half: &'a WriterHalf) -> Result<Option<Locked<'a>>> {
        let Some(shared) = &half.shared else { return Ok(None) };
        let locked = self.lock_file(NAMES[0], &*shared.checkpoint)?;
        if self.cells.suspect() {
            // Who synced the index last died, and with it what that sync had to say (invariant I9).
            self.index.redirty()?;
        }
        Ok(Some(locked))
    }

    /// Keeps other handles from compacting.
    pub(super) fn lock_compaction<'a>(&self, half: &'a WriterHalf) -> Result<Option<Locked<'a>>> {
        let Some(shared) = &half.shared else { return Ok(None) };
        Ok(Some(self.lock_file(usage::NAME, &*shared.compaction)?))
    }

    /// Another handle is making a checkpoint.
    pub(super) fn checkpoint_is_under_way(&self, half: &WriterHalf) -> bool {
        let Some(shared) = &half.shared else { return false };
        let free = shared.checkpoint.try_lock(LockKind::Exclusive).unwrap_or(true);
        drop(free.then(|| Locked(&*shared.checkpoint)));
        !free
    }

    /// Keeps other handles from syncing the log.
    pub(super) fn lock_syncs<'a>(&self, half: &'a WriterHalf) -> Result<Option<Locked<'a>>> {
        let Some(shared) = &half.shared else { return Ok(None) };
        let locked = self.lock_file(NAMES[1], &*shared.sync)?;
        self.check_failed(half)?;
        let (durable, committed) = (self.cells.durable(), self.cells.committed());
        // A sync reaches what is mapped here, whoever wrote it.
        self.log.map(durable, committed)?;
        if self.cells.syncing() {
            // Who synced last died, and with it what that sync had to say (invariant I9).
            self.log.redirty(durable, committed)?;
        }
        self.cells.set_syncing(true);
        reach(Point::TurnSyncing);
        Ok(Some(locked))
    }

    /// A sync that failed is the end of writing for all who share the store.
    pub(super) fn check_failed(&self, half: &WriterHalf) -> Result<()> {
        if half.shared.is_some() && self.cells.failed() {
            half.syncer.poison();
        }
        half.syncer.check()
    }

    /// Takes the lock of the turn.
    pub(super) fn enter(&self, half: &WriterHalf, deadline: Option<Instant>) -> Result<()> {
        // What ended this handle's writing is told before whatever the lock has to say.
        half.syncer.check()?;
        let index = half.hold.up()?;
        let failed = |e| Error::io("lock", self.file(index_format::NAME), e);
        let Some(deadline) = deadline else { return index.lock().map_err(failed) };
        self.before(deadline, || {
            Ok(index.try_lock(LockKind::Exclusive).map_err(failed)?.then_some(()))
        })
    }

    /// Brings this handle to where the last turn has left the store, and begins its own.
    pub(super) fn catch_up(&self, half: &WriterHalf, writer: &mut Writer) -> Result<()> {
        if !self.cells.is_shared() {
            // Somebody has removed `lock`, and opened the store to write alone.
            let why = "another writer has taken the store for itself".to_owned();
            half.syncer.lose(&self.file(LOCK), &why);
            return half.syncer.check();
        }
        self.check_failed(half)?;
        let number = self.cells.turn();
        let died = number % 2 == 1;
        if !died {
            self.cells.set_turn(number.wrapping_add(1));
        }
        reach(Point::TurnBegun);
        if died && !planted(Bug::SkipTurnResume) {
            // It syncs what it wipes, and with that the commits in the same page.
            self.take_over(writer).inspect_err(|error| self.poison_by(half, error))?;
        } else if number != writer.turn && !planted(Bug::SkipCatchUp) {
            let here = self.left()?;
            if here.tail.segment != writer.tail.segment {
                // No segment is begun but in a turn, so what has no name now is gone.
                self.log.let_go()?;
            }
            *writer = Writer::new(here, clean::read(self.cells.region()).is_some());
            self.index.assume_reserved();
        }
        writer.turn = number | 1;
        reach(Point::TurnCaughtUp);
        Ok(())
    }

    /// What a turn that has ended leaves.
    fn left(&self) -> Result<Recovered> {
        let counters = self.cells.counters().ok_or_else(|| self.no_counters())?;
        let tail = Tail { position: counters.position, segment: counters.segment };
        Ok(Recovered { tail, counters, editor: Editor::new(counters.pages) })
    }

    /// Finishes or forgets what a turn that never ended has left half done.
    fn take_over(&self, writer: &mut Writer) -> Result<()> {
        if clean::read(self.cells.region()).is_some() {
            // The first thing that any change does is to remove this.
            *writer = Writer::new(self.left()?, true);
            return Ok(());
        }
        self.forget_clean()?;
        let resumed = self.resume(true)?;
        let resumed = self.seal_beside(resumed)?;
        self.cells.publish(&resumed.counters);
        self.set_counted(resumed.counters.position);
        self.learn_used(resumed.tail.segment)?;
        self.index.assume_reserved();
        *writer = Writer::new(resumed, false);
        reach(Point::TurnTaken);
        Ok(())
    }

    /// Ends a turn. One that left a batch half done is left to the next as that of a killed process is.
    pub(super) fn leave(&self, half: &WriterHalf, writer: &mut Writer) {
        // One that could not be begun, since what the last has left cannot be finished yet, is still that of the last.
        let begun = writer.turn % 2 == 1 && writer.turn == self.cells.turn();
        if begun && !writer.unfinished {
            if writer.tail.position != writer.counters.position {
                // A value that was given up has begun a segment, where the log goes on.
                let counters = writer.counters;
                let known = self.cells.counted() == counters.position;
                self.publish(writer, counters);
                if known {
                    self.set_counted(writer.counters.position);
                }
            }
            reach(Point::TurnEnding);
            writer.turn = writer.turn.wrapping_add(1);
            self.cells.set_turn(writer.turn);
        }
        if let Ok(index) = half.hold.up() {
            // What fails here is undone when the handle is closed.
            let _ = index.unlock();
        }
    }

    /// Says in the cells who writes.
    pub(super) fn announce(&self, shared: bool) {
        if shared {
            self.cells.set_turn(self.cells.turn() | 1);
            self.cells.set_shared_writer(process_id());
        } else {
            self.cells.set_writer(process_id());
        }
    }

    /// No other handle shares the store, and none can until this one is gone.
    pub(super) fn is_last(&self, half: &WriterHalf) -> Result<bool> {
        let alone = half.hold.lock().try_lock(LockKind::Exclusive);
        alone.map_err(|e| Error::io("lock", self.file(LOCK), e))
    }

    /// Opens for writing beside others.
    // Its frame holds several engines, and whoever opens alone may have a small stack.
    #[inline(never)]
    pub(super) fn open_shared(
        disk: Arc<dyn Disk>,
        options: &Options,
        watch: Watch<'_>,
    ) -> Result<Engine> {
        let start = Instant::now();
        loop {
            if let Some(engine) = Engine::try_open_shared(&disk, options, watch)? {
                return Ok(engine);
            }
            if options.lock_timeout.is_some_and(|timeout| start.elapsed() > timeout) {
                return Err(Error::Timeout { path: disk.root().to_path_buf() });
            }
            if start.elapsed() > DYING && !is_shared(&*disk) {
                let pid = disk.touch(LOCK).ok().and_then(|file| holder(&*disk, &*file));
                return Err(Error::Locked { path: disk.root().to_path_buf(), pid });
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// One attempt: as the first, as one more, or not at all, because somebody is opening or closing the store.
    fn try_open_shared(
        disk: &Arc<dyn Disk>,
        options: &Options,
        watch: Watch<'_>,
    ) -> Result<Option<Engine>> {
        let fork = approach(&**disk, options)?;
        let path = disk.root().join(LOCK);
        let failed = |e| Error::io("lock", &path, e);
        let file = disk.touch(LOCK).map_err(|e| Error::io("open", &path, e))?;
        let alone = file.try_lock(LockKind::Exclusive).map_err(failed)?;
        if !alone && !file.try_lock(LockKind::Shared).map_err(failed)? {
            if is_locked(&**disk, index_format::NAME)? && !is_shared(&**disk) {
                let pid = holder(&**disk, &*file);
                return Err(Error::Locked { path: disk.root().to_path_buf(), pid });
            }
            return Ok(None);
        }
        if !disk.names(LOCK, &*file).map_err(failed)? {
            return Ok(None);
        }
        let hold = Hold::new(Arc::clone(&file), fork).map_err(|e| Error::io("stat", &path, e))?;
        if !alone && options.rebuild_index {
            let pid = holder(&**disk, &*file);
            return Err(Error::Locked { path: disk.root().to_path_buf(), pid });
        }
        if !alone {
            return Engine::join(disk, options, hold);
        }
        let engine = Engine::open_locked(Arc::clone(disk), options, hold, watch)?;
        reach(Point::TurnOpened);
        // Between the two locks another one may have opened the store as the first.
        Ok(file.try_lock(LockKind::Shared).map_err(failed)?.then_some(engine))
    }

    /// Opens beside others, unless nobody has brought the store up.
    fn join(disk: &Arc<dyn Disk>, options: &Options, mut hold: Hold) -> Result<Option<Engine>> {
        // Who holds `lock` may be a reader that looks whether there is a writer.
        if !is_shared(&**disk) {
            return Ok(None);
        }
        let bell = Arc::new(Bell::open(&**disk)?);
        let mut engine = Engine::load(Arc::clone(disk), options, Access::Write)?;
        wait_for(&engine.meta, &engine.file(META), LockKind::Shared)?;
        hold.set_up(open_index(&*engine.disk, &engine.superblock, Access::Write)?);
        let nothing = Tail { position: 0, segment: 0 };
        let unknown =
            Recovered { tail: nothing, counters: Counters::default(), editor: Editor::new(0) };
        engine.set_writer(Writer::new(unknown, false), hold, bell, options)?;
        // The first turn tells whether it can have any.
        drop(engine.claim(engine.writer()?, options.lock_timeout)?);
        Ok(Some(engine))
    }
}

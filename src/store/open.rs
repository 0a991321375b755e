//! Opening: find out what is there, lock it, and bring it to a state from which to go on.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::cells::Cells;
use crate::chunks::Chunks;
use crate::error::{Error, Result};
use crate::faults::{Point, reach};
use crate::format::checkpoint::Newest;
use crate::format::meta::{BYTES, Clean, MAX_SEQUENCE};
use crate::format::{PAGE, index as index_format};
use crate::index::{Editor, Index};
use crate::log::{Log, SPARE, Tail};
use crate::options::Options;
use crate::sys::sync::{AtomicU64, Mutex};
use crate::sys::{Access, Disk, LockKind, Pin, losses};

use super::ahead::Ahead;
use super::background::Background;
use super::create::{LOCK, META, create, put_readers};
use super::door::{
    approach, check_coherent, check_finished, is_there, open_index, read_superblock,
};
use super::gate::Gate;
use super::hold::Hold;
use super::locks::{PAUSE, alone, is_locked, lock, no_writer_is_up, same_kernel, wait_for};
use super::marks::Marks;
use super::plan::Plans;
use super::progress::Watch;
use super::rebuild::rebuild;
use super::recover::Recovered;
use super::space::open_usage;
use super::syncer::Syncer;
use super::turn::Lender;
use super::wait::{self, Bell};
use super::{Engine, Writer, WriterHalf, clean, hasher};

impl Engine {
    /// Opens for writing, and creates or recovers the store if need be.
    #[cfg(test)]
    pub(crate) fn open(disk: Arc<dyn Disk>, options: &Options) -> Result<Engine> {
        Engine::open_watched(disk, options, &mut |_| ())
    }

    /// Opens for writing, and creates or recovers the store if need be. Tells how far it has come with an index that is built anew.
    pub(crate) fn open_watched(
        disk: Arc<dyn Disk>,
        options: &Options,
        watch: Watch<'_>,
    ) -> Result<Engine> {
        if options.shared_writer {
            return Engine::open_shared(disk, options, watch);
        }
        let fork = approach(&*disk, options)?;
        let lock = lock(&*disk)?;
        let hold =
            Hold::new(lock, fork).map_err(|e| Error::io("stat", disk.root().join(LOCK), e))?;
        Engine::open_locked(disk, options, hold, watch)
    }

    /// Opens for writing when no other handle can: the lock file is locked.
    pub(super) fn open_locked(
        disk: Arc<dyn Disk>,
        options: &Options,
        hold: Hold,
        watch: Watch<'_>,
    ) -> Result<Engine> {
        reach(Point::OpenLocked);
        no_writer_is_up(&*disk, hold.lock())?;
        // Another process may have created the store before this one had the lock.
        if !is_there(&*disk, options)? {
            create(&disk, options)?;
        } else if options.rebuild_index {
            rebuild(&disk, options, watch)?;
        }
        Engine::open_held(disk, options, hold)
    }

    /// Opens a store that is there for writing, and recovers it if need be. The caller has the writer lock.
    pub(super) fn open_held(
        disk: Arc<dyn Disk>,
        options: &Options,
        mut hold: Hold,
    ) -> Result<Engine> {
        let bell = Arc::new(Bell::open(&*disk)?);
        let mut engine = Engine::load(disk, options, Access::Write)?;
        let (before, shared) = (engine.cells.writer_word(), engine.cells.is_shared());
        engine.announce(options.shared_writer);
        if shared {
            // Whoever has a turn has had it since before, and the next one finds who writes now.
            no_writer_is_up(&*engine.disk, hold.lock())?;
        }
        reach(Point::OpenAnnounced);
        let cells = Arc::clone(&engine.cells);
        // A store that cannot be opened stays as it was.
        let (recovered, clean) =
            engine.bring_up().inspect_err(|_| cells.set_writer_word(before))?;
        let life = engine.life()?;
        reach(Point::OpenBrought);
        engine.cells.publish(&recovered.counters);
        engine.set_counted(recovered.counters.position);
        engine.learn_used(recovered.tail.segment)?;
        engine.index.assume_reserved();
        reach(Point::OpenPublished);
        engine.cells.set_life(life);
        reach(Point::OpenAlive);
        wait_for(&engine.meta, &engine.file(META), LockKind::Shared)?;
        let up = open_index(&*engine.disk, &engine.superblock, Access::Write)?;
        if !options.shared_writer {
            wait_for(&up, &engine.file(index_format::NAME), LockKind::Exclusive)?;
        }
        reach(Point::OpenUp);
        hold.set_up(up);
        // What a killed writer did not live to publish.
        bell.ring();
        // Nor to use. Only space is lost if it stays.
        let _ = engine.disk.remove(SPARE);
        engine.log.scatter_before(recovered.tail)?;
        let mut writer = Writer::new(recovered, clean);
        if options.shared_writer {
            // What is believed here is what all others go by.
            engine.cells.set_durable(engine.cells.durable());
            writer.turn = engine.cells.turn().wrapping_add(1);
            engine.cells.set_turn(writer.turn);
        }
        engine.set_writer(writer, hold, bell, options)?;
        Ok(engine)
    }

    /// Makes this the handle of a writer.
    pub(super) fn set_writer(
        &mut self,
        writer: Writer,
        hold: Hold,
        bell: Arc<Bell>,
        options: &Options,
    ) -> Result<()> {
        let shared = if options.shared_writer { Some(self.shared_locks()?) } else { None };
        let half = WriterHalf {
            state: Gate::new(writer),
            syncer: Syncer::default(),
            checkpointer: Mutex::new(()),
            attempted: AtomicU64::new(0),
            durable_sequence: AtomicU64::new(0),
            touched: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            compactor: Mutex::default(),
            unlinking: AtomicBool::new(false),
            oldest: AtomicU64::new(0),
            bell,
            background: Background::default(),
            ahead: Ahead::default(),
            durability: options.durability,
            compaction: options.compaction,
            checkpoint_interval: options.checkpoint_interval,
            hold,
            shared,
            lock_timeout: options.lock_timeout,
            lender: Lender::default(),
        };
        self.find_oldest(&half)?;
        self.writer = Some(half);
        Ok(())
    }

    /// Opens read-only. Needs no write permission, and waits while a writer recovers from a power cut.
    pub(crate) fn open_read_only(disk: Arc<dyn Disk>, options: &Options) -> Result<Engine> {
        let read_only = Options { create: false, create_new: false, ..options.clone() };
        is_there(&*disk, &read_only)?;
        check_coherent(&*disk, options)?;
        let engine = Engine::load(disk, options, Access::Read)?;
        let life = engine.life()?;
        loop {
            wait_for(&engine.meta, &engine.file(META), LockKind::Shared)?;
            check_finished(&*engine.disk)?;
            let cells = &engine.cells;
            let trusted = || cells.life() == life && !cells.failed();
            if engine.is_clean()? {
                return Ok(engine);
            }
            if trusted() {
                engine.check_left()?;
                return Ok(engine);
            }
            // A writer that is up has brought the cells to its own life, which may have another name in another container.
            if is_locked(&*engine.disk, index_format::NAME)? {
                return Ok(engine);
            }
            // Nothing can be believed yet. Who recovers needs the lock that is held here.
            engine.meta.unlock().map_err(|e| Error::io("unlock", engine.file(META), e))?;
            if !is_locked(&*engine.disk, LOCK)? && !trusted() {
                engine.check_shared()?;
                return Err(Error::NeedsRecovery { path: engine.path().to_path_buf() });
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Maps and checks what does not depend on the state that the store was left in.
    pub(super) fn load(disk: Arc<dyn Disk>, options: &Options, access: Access) -> Result<Engine> {
        let path = |name: &str| disk.root().join(name);
        let meta = disk.open(META, access).map_err(|e| Error::io("open", path(META), e))?;
        let superblock = read_superblock(&*disk, &*meta)?;
        let len = usize::try_from(BYTES).expect("three pages");
        let region = meta.map(0, len, access).map_err(|e| Error::io("map", path(META), e))?;
        let cells = Arc::new(Cells::new(region));
        let index_file = open_index(&*disk, &superblock, access)?;
        let chunks = Chunks::new(index_file, path(index_format::NAME), access, disk.map_ahead());
        let index = Index::new(Arc::clone(&cells), chunks);
        // As the cells say, whether or not they are to be believed: it decides about nothing else.
        let bytes = cells
            .counters()
            .map_or(0, |it| it.live_bytes.saturating_add(it.pages.saturating_mul(PAGE)));
        let log = Log::new(Arc::clone(&disk), superblock.id, superblock.segment_bytes, access)
            .reading_ahead(options.read_ahead, bytes);
        if log.is_crowded() {
            index.scatter();
        }
        let usage = open_usage(&*disk, &superblock.id, access)?;
        if access == Access::Write {
            put_readers(&*disk)?;
        }
        let verify_on_read = options.verify_on_read;
        let hasher = hasher(superblock.seed, options);
        Ok(Engine {
            disk,
            superblock,
            cells,
            index,
            log,
            usage,
            marks: Marks::default(),
            hasher,
            verify_on_read,
            guarded: options.sigbus_guard,
            losses_seen: AtomicU64::new(losses()),
            #[cfg(any(test, feature = "sim"))]
            rigged_span: options.rigged_span,
            #[cfg(any(test, feature = "sim"))]
            rigged_iteration: options.rigged_iteration,
            writer: None,
            bell: wait::Shared::default(),
            meta,
        })
    }

    pub(super) fn life(&self) -> Result<u64> {
        self.disk.life(&*self.meta).map_err(|e| Error::io("stat", self.file(META), e))
    }

    /// Brings a store that nobody writes to a state from which to go on; says whether it was closed cleanly.
    fn bring_up(&mut self) -> Result<(Recovered, bool)> {
        if let Some(clean) = clean::read(self.cells.region()) {
            return Ok((self.believe(&clean)?, true));
        }
        self.forget_clean()?;
        reach(Point::CleanForgotten);
        let (left, now) = (self.cells.life(), self.life()?);
        let trusted = left == now && !self.cells.failed();
        if !trusted && alone(&self.meta, &self.file(META))? {
            return Ok((self.restore()?, false));
        }
        // Someone has the store open. If the kernel has not been started anew, they have had it since before, through another
        // mount of the same file system, and its page cache has not been lost.
        if trusted || same_kernel(left, now) {
            let resumed = self.resume(false)?;
            return Ok((self.seal_resumed(resumed)?, false));
        }
        Err(Error::Locked { path: self.path().to_path_buf(), pid: None })
    }

    /// After a clean close the live cells are what the clean record says, if need be from now on.
    fn believe(&self, clean: &Clean) -> Result<Recovered> {
        self.check_clean(clean)?;
        let counters = clean.counters;
        let cells = &self.cells;
        cells.set_directory(crate::format::directory::Cell(clean.directory));
        cells.set_watermark(clean.watermark);
        cells.set_pages(counters.pages);
        cells.set_sequence(clean.sequence);
        cells.set_checkpoint(Newest(clean.checkpoint));
        cells.set_durable(counters.position);
        cells.set_suspect(false);
        if cells.horizon() > counters.position {
            cells.set_horizon(counters.position);
        }
        cells.end_split();
        let tail = Tail { position: counters.position, segment: counters.segment };
        if clean.counted != counters.position {
            self.reset_usage(&[], counters.segment)?;
        }
        // The one segment that must be there for the log to go on, and the directory.
        let pin = Pin::new();
        let segment = self.log.view(&pin).segment(tail.segment)?;
        let inside = segment.start()..=segment.end();
        if !inside.contains(&tail.position) {
            let expected = "a position in the log";
            return Err(Error::corrupt(self.file(META), Clean::OFFSET, expected, tail.position));
        }
        let (bytes, least) = (self.index.bytes()?, u64::from(clean.watermark) * PAGE);
        if least > bytes {
            let file = self.file(index_format::NAME);
            return Err(Error::corrupt(
                file,
                bytes,
                format!("{least} bytes"),
                format!("{bytes} bytes"),
            ));
        }
        self.index.check_cell()?;
        self.check_all_mappings()?;
        Ok(Recovered { tail, counters, editor: Editor::new(counters.pages) })
    }

    /// A valid checksum only says that somebody meant what is there.
    fn check_clean(&self, clean: &Clean) -> Result<()> {
        let wrong = |at: u64, expected: &str, found: u64| {
            Err(Error::corrupt(self.file(META), Clean::OFFSET + at, expected, found))
        };
        if let Some((word, expected)) = clean.counters.wrong(clean.watermark) {
            return wrong(8 + 8 * word as u64, expected, clean.counters.words()[word]);
        }
        if clean.sequence >= MAX_SEQUENCE {
            return wrong(64, "a number of checkpoints", clean.sequence);
        }
        let checkpoint = Newest(clean.checkpoint);
        if checkpoint.position() > clean.counters.position || !checkpoint.is_valid() {
            return wrong(72, "a position before the last commit's end", clean.checkpoint);
        }
        Ok(())
    }
}

impl Writer {
    pub(super) fn new(recovered: Recovered, clean: bool) -> Writer {
        Writer {
            tail: recovered.tail,
            counters: recovered.counters,
            editor: recovered.editor,
            clean,
            unfinished: false,
            recount: None,
            tables: HashSet::new(),
            plans: Plans::default(),
            ask_at: 0,
            coarse: 0,
            staged: Vec::new(),
            turn: u64::MAX,
        }
    }
}

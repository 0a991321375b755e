//! Opening: find out what is there, lock it, and bring it to a state from which to go on.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::cells::Cells;
use crate::error::{Error, Result};
use crate::format::hash::Hasher;
use crate::format::meta::{BYTES, Clean, SUPERBLOCK, Superblock, Unreadable};
use crate::format::{VERSION, index as index_format};
use crate::index::{Chunks, Editor, Index};
use crate::log::{Log, Tail};
use crate::options::Options;
use crate::sys::{Access, Disk, File, ForkGuard, LockKind, process_id};

use super::background::Background;
use super::create::{LOCK, META, check_vacant, create};
use super::durable::Syncer;
use super::plan::Plans;
use super::recover::Recovered;
use super::{Engine, Writer, WriterHalf, clean};

/// How long to wait for those who hold a lock only for the moment in which they look.
const PATIENCE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(1);

impl Engine {
    /// Opens for writing, and creates or recovers the store if need be.
    pub(crate) fn open(disk: Arc<dyn Disk>, options: &Options) -> Result<Engine> {
        let fork = ForkGuard::new().map_err(|e| Error::io("map", "anonymous memory", e))?;
        let exists = is_there(&*disk, options)?;
        if !exists {
            disk.make_dir("").map_err(|e| Error::io("create", disk.root(), e))?;
        }
        check_coherent(&*disk, options)?;
        let lock = lock(&*disk)?;
        // Another process may have created the store before this one had the lock.
        if !is_there(&*disk, options)? {
            create(&disk, options)?;
        } else if !exists && options.create_new {
            return Err(Error::AlreadyExists { path: disk.root().to_path_buf() });
        }
        let mut engine = Engine::load(disk, options, Access::Write)?;
        engine.cells.set_writer(process_id());
        let (recovered, clean) = engine.bring_up()?;
        let life = engine.life()?;
        engine.cells.publish(&recovered.counters);
        engine.cells.set_life(life);
        wait_for(&engine.meta, &engine.file(META), LockKind::Shared)?;
        let up = open_index(&*engine.disk, &engine.superblock, Access::Write)?;
        wait_for(&up, &engine.file(index_format::NAME), LockKind::Exclusive)?;
        let writer = Writer {
            tail: recovered.tail,
            counters: recovered.counters,
            editor: recovered.editor,
            clean,
            unfinished: false,
            tables: HashSet::new(),
            plans: Plans::default(),
        };
        engine.writer = Some(WriterHalf {
            state: Mutex::new(writer),
            syncer: Syncer::default(),
            checkpointer: Mutex::new(()),
            attempted: AtomicU64::new(0),
            background: Background::default(),
            durability: options.durability,
            checkpoint_interval: options.checkpoint_interval,
            fork,
            _lock: lock,
            _up: up,
        });
        Ok(engine)
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
            let cells = &engine.cells;
            let believed = cells.life() == life || clean::read(cells.region()).is_some();
            // A writer that is up has brought the cells to its own life, which may have another name in another container.
            if believed || is_locked(&*engine.disk, index_format::NAME)? {
                return Ok(engine);
            }
            // Nothing can be believed yet. Who recovers needs the lock that is held here.
            engine.meta.unlock().map_err(|e| Error::io("unlock", engine.file(META), e))?;
            if !is_locked(&*engine.disk, LOCK)? && engine.cells.life() != life {
                return Err(Error::NeedsRecovery { path: engine.path().to_path_buf() });
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Maps and checks what does not depend on the state that the store was left in.
    fn load(disk: Arc<dyn Disk>, options: &Options, access: Access) -> Result<Engine> {
        let path = |name: &str| disk.root().join(name);
        let meta = disk.open(META, access).map_err(|e| Error::io("open", path(META), e))?;
        let superblock = read_superblock(&*disk, &*meta)?;
        let len = usize::try_from(BYTES).expect("three pages");
        let region = meta.map(0, len, access).map_err(|e| Error::io("map", path(META), e))?;
        let cells = Arc::new(Cells::new(region));
        let index_file = open_index(&*disk, &superblock, access)?;
        let chunks = Chunks::new(index_file, path(index_format::NAME), access, disk.map_ahead());
        let index = Index::new(Arc::clone(&cells), chunks);
        let log = Log::new(Arc::clone(&disk), superblock.id, superblock.segment_bytes, access);
        let verify_on_read = options.verify_on_read;
        #[cfg(not(any(test, feature = "sim")))]
        let hasher = Hasher::new(superblock.seed);
        #[cfg(any(test, feature = "sim"))]
        let hasher = Hasher::rigged(superblock.seed, options.hash_mask);
        Ok(Engine {
            disk,
            superblock,
            cells,
            index,
            log,
            hasher,
            verify_on_read,
            writer: None,
            meta,
        })
    }

    fn life(&self) -> Result<u64> {
        self.disk.life(&*self.meta).map_err(|e| Error::io("stat", self.file(META), e))
    }

    /// Brings a store that nobody writes to a state from which to go on; says whether it was closed cleanly.
    fn bring_up(&mut self) -> Result<(Recovered, bool)> {
        if let Some(clean) = clean::read(self.cells.region()) {
            return Ok((self.believe(&clean)?, true));
        }
        let (left, now) = (self.cells.life(), self.life()?);
        if left == now {
            return Ok((self.resume()?, false));
        }
        if self.alone()? {
            return Ok((self.restore()?, false));
        }
        // Someone has the store open. If the kernel has not been started anew, they have had it since before, through another
        // mount of the same file system, and its page cache has not been lost.
        if same_kernel(left, now) {
            return Ok((self.resume()?, false));
        }
        Err(Error::Locked { path: self.path().to_path_buf(), pid: None })
    }

    /// True when no other handle has the store open, and none can while this lock is held.
    fn alone(&self) -> Result<bool> {
        let patience = Instant::now() + PATIENCE;
        loop {
            let locked = self.meta.try_lock(LockKind::Exclusive);
            if locked.map_err(|e| Error::io("lock", self.file(META), e))? {
                return Ok(true);
            }
            if Instant::now() > patience {
                return Ok(false);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// After a clean close the live cells are what the clean record says, if need be from now on.
    fn believe(&self, clean: &Clean) -> Result<Recovered> {
        let counters = clean.counters;
        let cells = &self.cells;
        cells.set_directory(crate::format::directory::Cell(clean.directory));
        cells.set_watermark(clean.watermark);
        cells.set_sequence(clean.sequence);
        cells.set_checkpoint(clean.checkpoint);
        cells.set_durable(counters.position);
        cells.set_suspect(false);
        cells.end_split();
        let tail = Tail { position: counters.position, segment: counters.segment };
        // The one segment that must be there for the log to go on.
        self.log.segment(tail.segment)?;
        Ok(Recovered { tail, counters, editor: Editor::new(counters.pages) })
    }
}

/// Two lives are of the same file under the same boot of the kernel, whatever the mounts.
fn same_kernel(a: u64, b: u64) -> bool {
    a >> 32 == b >> 32
}

/// Takes a lock that others hold only for a moment, or while they recover.
fn wait_for(file: &Arc<dyn File>, path: &Path, kind: LockKind) -> Result<()> {
    while !file.try_lock(kind).map_err(|e| Error::io("lock", path, e))? {
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// True if there is a store, false if one may be created; everything else is an error.
fn is_there(disk: &dyn Disk, options: &Options) -> Result<bool> {
    let path = disk.root().to_path_buf();
    let names = match disk.list("") {
        Ok(names) => names,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            return Err(Error::NotAStore { path, why: "it is not a directory".into() });
        }
        Err(e) => return Err(Error::io("list", path, e)),
    };
    if names.iter().any(|name| name == META) {
        return if options.create_new { Err(Error::AlreadyExists { path }) } else { Ok(true) };
    }
    check_vacant(disk, &names)?;
    if options.create || options.create_new { Ok(false) } else { Err(Error::NotFound { path }) }
}

fn check_coherent(disk: &dyn Disk, options: &Options) -> Result<()> {
    if options.force_file_system {
        return Ok(());
    }
    match disk.coherent().map_err(|e| Error::io("stat", disk.root(), e))? {
        Ok(()) => Ok(()),
        Err(kind) => {
            let why = format!("{kind} does not keep shared mappings coherent");
            Err(Error::InvalidOption { option: "force_file_system", why })
        }
    }
}

/// Takes the writer lock, or says who holds it.
fn lock(disk: &dyn Disk) -> Result<Arc<dyn File>> {
    let path = disk.root().join(LOCK);
    let patience = Instant::now() + PATIENCE;
    loop {
        let file = disk.touch(LOCK).map_err(|e| Error::io("open", &path, e))?;
        if !file.try_lock(LockKind::Exclusive).map_err(|e| Error::io("lock", &path, e))? {
            let pid = holder(disk);
            // Without a holder it is a reader that looks whether there is one.
            if pid.is_some() || Instant::now() > patience {
                return Err(Error::Locked { path: disk.root().to_path_buf(), pid });
            }
            std::thread::sleep(PAUSE);
            continue;
        }
        // The path must still name the file that is locked.
        let named = disk.touch(LOCK).map_err(|e| Error::io("open", &path, e))?;
        let identity = |file: &dyn File| file.identity().map_err(|e| Error::io("stat", &path, e));
        if identity(&*named)? == identity(&*file)? {
            return Ok(file);
        }
    }
}

/// The process that the live cells name as the writer.
fn holder(disk: &dyn Disk) -> Option<u32> {
    let meta = disk.open(META, Access::Read).ok()?;
    let len = usize::try_from(BYTES).ok()?;
    if meta.len().ok()? < BYTES {
        return None;
    }
    let cells = Cells::new(meta.map(0, len, Access::Read).ok()?);
    Some(cells.writer()).filter(|pid| *pid != 0)
}

/// True if some handle holds the file `name` locked: the lock file itself from the start, the index once it is up.
fn is_locked(disk: &dyn Disk, name: &str) -> Result<bool> {
    let path = disk.root().join(name);
    match disk.open(name, Access::Read) {
        Ok(file) => {
            let free = file.try_lock(LockKind::Shared);
            Ok(!free.map_err(|e| Error::io("lock", path, e))?)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("open", path, e)),
    }
}

fn read_superblock(disk: &dyn Disk, meta: &dyn File) -> Result<Superblock> {
    let path = disk.root().join(META);
    let len = meta.len().map_err(|e| Error::io("stat", &path, e))?;
    let mut bytes = [0; SUPERBLOCK];
    if len >= SUPERBLOCK as u64 {
        meta.read_at(&mut bytes, 0).map_err(|e| Error::io("read", &path, e))?;
    }
    let superblock = Superblock::decode(&bytes).map_err(|unreadable| match unreadable {
        Unreadable::Foreign => {
            let why = format!("its {META} was not written by mapstone");
            Error::NotAStore { path: disk.root().to_path_buf(), why }
        }
        Unreadable::Damaged(offset, expected) => {
            Error::corrupt(&path, offset, expected, "other bytes")
        }
        Unreadable::Newer(found) => {
            Error::Version { file: path.clone(), found, supported: VERSION }
        }
    })?;
    if len < BYTES {
        return Err(Error::corrupt(path, len, format!("{BYTES} bytes"), format!("{len} bytes")));
    }
    Ok(superblock)
}

fn open_index(disk: &dyn Disk, superblock: &Superblock, access: Access) -> Result<Arc<dyn File>> {
    let path = disk.root().join(index_format::NAME);
    let file = match disk.open(index_format::NAME, access) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Error::corrupt(path, 0, "an index", "no file"));
        }
        Err(e) => return Err(Error::io("open", path, e)),
    };
    let len = file.len().map_err(|e| Error::io("stat", &path, e))?;
    if len < crate::format::PAGE {
        return Err(Error::corrupt(path, 0, "an index", format!("{len} bytes")));
    }
    let mut bytes = [0; index_format::HEADER];
    file.read_at(&mut bytes, 0).map_err(|e| Error::io("read", &path, e))?;
    let id = index_format::decode(&bytes)
        .map_err(|(offset, expected)| Error::corrupt(&path, offset, expected, "other bytes"))?;
    if id != superblock.id {
        return Err(Error::corrupt(path, 16, "the id of this store", "another id"));
    }
    Ok(file)
}

//! Creating a store: everything first, `meta` last and by a rename, so that a store either is there or is not.

use std::io;
use std::sync::Arc;

use crate::cells::Cells;
use crate::chunks::Chunks;
use crate::error::{Error, Result};
use crate::faults::{Bug, Point, planted, reach};
use crate::format::StoreId;
use crate::format::checkpoint::{BODY, NAMES as CHECKPOINTS, Newest};
use crate::format::meta::{BYTES, Counters, Superblock};
use crate::format::segment::{self, HEADER};
use crate::format::usage;
use crate::format::{backup, cursor, index};
use crate::index::Index;
use crate::log::{Log, SPARE, Tail, UNFINISHED as UNFINISHED_SEGMENT};
use crate::options::Options;
use crate::sys::{Access, Disk, File};
use crate::usage::Live;

use super::space::{create_usage, open_usage};
use super::wait::WAITERS;
use super::{checkpoint, clean};

/// Advisory locks and nothing else.
pub(crate) const LOCK: &str = "lock";
pub(super) const READERS: [&str; 2] = ["readers.a", "readers.b"];
pub(super) const META: &str = "meta";
pub(super) const UNFINISHED: &str = "meta.unfinished";

/// An index that is being built anew.
pub(super) const NEW_INDEX: &str = "index.unfinished";

/// What an unfinished creation may have left.
fn is_leftover(name: &str) -> bool {
    let own = [
        LOCK,
        WAITERS,
        backup::NAME,
        index::NAME,
        usage::NAME,
        UNFINISHED,
        NEW_INDEX,
        "usage.unfinished",
        "log",
    ];
    own.contains(&name) || READERS.contains(&name) || CHECKPOINTS.contains(&name)
}

/// All that is below the directory is part of a store, or of one that was being made.
pub(crate) fn holds_nothing_else(disk: &dyn Disk) -> io::Result<bool> {
    let own = |name: &String| name == META || name == cursor::DIR || is_leftover(name);
    let names = disk.list("")?;
    let logs = if names.iter().any(|name| name == "log") { disk.list("log")? } else { Vec::new() };
    Ok(names.iter().all(own) && logs.iter().all(|name| is_segment(name)))
}

/// Fails unless the directory holds nothing, or nothing but what a creation that was cut short has left.
pub(super) fn check_vacant(disk: &dyn Disk, names: &[String]) -> Result<()> {
    let mut foreign = names.iter().find(|name| !is_leftover(name)).cloned();
    if foreign.is_none() && names.iter().any(|name| name == "log") {
        let segments =
            disk.list("log").map_err(|e| Error::io("list", disk.root().join("log"), e))?;
        foreign = segments.into_iter().find(|name| !is_segment(name));
    }
    match foreign {
        None => check_nothing_lost(disk, names),
        Some(name) => {
            let why = format!("it holds no {META} but {name:?}");
            Err(Error::NotAStore { path: disk.root().to_path_buf(), why })
        }
    }
}

/// Fails if there are records. Without them nothing was ever kept here; with them it is a store whose `meta` is gone, and to
/// create another one would be the end of them.
fn check_nothing_lost(disk: &dyn Disk, names: &[String]) -> Result<()> {
    if !names.iter().any(|name| name == "log") {
        return Ok(());
    }
    let failed = |op, name: &str| {
        let path = disk.root().join(name);
        move |e| Error::io(op, path, e)
    };
    for name in disk.list("log").map_err(failed("list", "log"))? {
        let name = format!("log/{name}");
        if name != segment::name(0) {
            // Never used.
            if [UNFINISHED_SEGMENT, SPARE].contains(&&*name) {
                continue;
            }
            return no_meta(disk);
        }
        let file = disk.open(&name, Access::Read).map_err(failed("open", &name))?;
        let mut first = [0; 8];
        if file.len().map_err(failed("stat", &name))? >= HEADER + 8 {
            file.read_at(&mut first, HEADER).map_err(failed("read", &name))?;
        }
        if first != [0; 8] {
            return no_meta(disk);
        }
    }
    Ok(())
}

/// There are records without a `meta`, unless another process has just made it.
fn no_meta(disk: &dyn Disk) -> Result<()> {
    let path = disk.root().join(META);
    match disk.open(META, Access::Read) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err(Error::corrupt(path, 0, "the superblock of the store", "no file"))
        }
        Err(e) => Err(Error::io("open", path, e)),
    }
}

/// A name that a segment has, finished or not.
fn is_segment(name: &str) -> bool {
    ["unfinished", "spare"].contains(&name) || name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Writes an empty store. The caller holds the writer lock.
pub(super) fn create(disk: &Arc<dyn Disk>, options: &Options) -> Result<()> {
    let superblock = new_superblock(&**disk, options);
    put_names(&**disk, &superblock.id)?;
    let log = Log::new(Arc::clone(disk), superblock.id, superblock.segment_bytes, Access::Write);
    let tail = log.begin(0, 1, 0)?;
    debug_assert_eq!(tail.position, HEADER);
    reach(Point::CreateLog);

    put_meta(&**disk, &superblock, tail)
}

/// Makes the directories and the files without content.
pub(super) fn put_names(disk: &dyn Disk, id: &StoreId) -> Result<()> {
    let path = |name: &str| disk.root().join(name);
    disk.make_dir("log").map_err(|e| Error::io("create", path("log"), e))?;
    put_readers(disk)?;
    create_usage(disk, id)?;
    reach(Point::CreateNamed);
    Ok(())
}

/// Makes the files that snapshots mark, where there are none.
pub(super) fn put_readers(disk: &dyn Disk) -> Result<()> {
    for name in READERS {
        disk.touch(name).map_err(|e| Error::io("create", disk.root().join(name), e))?;
    }
    Ok(())
}

/// Writes a store without a key, but for its log, which goes on at `tail`: index, checkpoint, and `meta` last.
pub(super) fn put_meta(disk: &dyn Disk, superblock: &Superblock, tail: Tail) -> Result<()> {
    let path = |name: &str| disk.root().join(name);
    let meta = new_file(disk, UNFINISHED, BYTES)?;
    let failed = |op| move |e| Error::io(op, path(UNFINISHED), e);
    meta.write_at(&superblock.encode(), 0).map_err(failed("write"))?;
    let len = usize::try_from(BYTES).expect("three pages");
    let cells = Cells::new(meta.map(0, len, Access::Write).map_err(failed("map"))?);
    let cells = Arc::new(cells);
    let counters = create_index(disk, superblock, &cells, tail)?;
    let usage = open_usage(disk, &superblock.id, Access::Write)?;
    usage.ensure(tail.segment)?;
    usage.set_live(tail.segment, Some(Live::default()));
    usage.sync()?;
    reach(Point::CreateIndex);
    describe(&cells, counters);
    cells.region().sync(0, len).map_err(failed("sync"))?;
    meta.sync().map_err(failed("sync"))?;
    reach(Point::CreateSynced);
    // Every name before the one that makes it a store.
    disk.sync_dir("").map_err(|e| Error::io("sync", disk.root(), e))?;
    reach(Point::CreateReady);
    disk.rename(UNFINISHED, META).map_err(|e| Error::io("rename", path(META), e))?;
    reach(Point::CreateRenamed);
    if planted(Bug::SkipRootSync) {
        return Ok(());
    }
    disk.sync_dir("").map_err(|e| Error::io("sync", disk.root(), e))
}

fn new_file(disk: &dyn Disk, name: &str, bytes: u64) -> Result<Arc<dyn File>> {
    disk.create(name, bytes).map_err(|e| Error::io("create", disk.root().join(name), e))
}

/// Writes an empty index and its first checkpoint, for a log that ends at `tail`.
fn create_index(
    disk: &dyn Disk,
    superblock: &Superblock,
    cells: &Arc<Cells>,
    tail: Tail,
) -> Result<Counters> {
    let path = disk.root().join(index::NAME);
    let file = new_file(disk, index::NAME, 0)?;
    let chunks = Chunks::new(Arc::clone(&file), path.clone(), Access::Write, disk.map_ahead());
    chunks.grow(16)?;
    let header = index::encode(&superblock.id);
    file.write_at(&header, 0).map_err(|e| Error::io("write", &path, e))?;
    let index = Index::new(Arc::clone(cells), chunks);
    let mut editor = index.create()?;
    let captured = editor.capture(&index)?;
    index.sync()?;
    file.sync().map_err(|e| Error::io("sync", &path, e))?;
    let Tail { position, segment } = tail;
    let pages = editor.live();
    let counters = Counters { position, pages, segment, ..Counters::default() };
    for name in CHECKPOINTS {
        new_file(disk, name, BODY + checkpoint::ROOM)?;
    }
    let newest = Newest::default();
    let written = checkpoint::write(disk, &superblock.id, &captured, &[], counters, newest)?;
    cells.set_checkpoint(written);
    Ok(counters)
}

/// Fills the live cells and the clean record of a store whose checkpoint is all there is.
fn describe(cells: &Cells, counters: Counters) {
    cells.publish(&counters);
    cells.set_durable(counters.position);
    cells.set_counted(counters.position);
    clean::store(cells.region(), &clean::record(cells, counters).encode());
}

fn new_superblock(disk: &dyn Disk, options: &Options) -> Superblock {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&disk.random().to_le_bytes());
    id[8..].copy_from_slice(&disk.random().to_le_bytes());
    Superblock { id, seed: disk.random(), segment_bytes: options.segment_size }
}

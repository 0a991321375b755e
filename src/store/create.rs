//! Creating a store: everything first, `meta` last and by a rename, so that a store either is there or is not.

use std::sync::Arc;

use crate::cells::Cells;
use crate::error::{Error, Result};
use crate::format::checkpoint::NAMES as CHECKPOINTS;
use crate::format::index;
use crate::format::meta::{BYTES, Clean, Counters, Superblock};
use crate::format::segment::HEADER;
use crate::index::{Chunks, Index};
use crate::log::Log;
use crate::options::Options;
use crate::sys::{Access, Disk};

use super::{checkpoint, clean};

/// Advisory locks and nothing else.
pub(super) const LOCK: &str = "lock";
const READERS: [&str; 2] = ["readers.a", "readers.b"];
pub(super) const META: &str = "meta";
const UNFINISHED: &str = "meta.unfinished";

/// What an unfinished creation may have left.
fn is_leftover(name: &str) -> bool {
    [LOCK, index::NAME, UNFINISHED, "log"].contains(&name)
        || READERS.contains(&name)
        || CHECKPOINTS.contains(&name)
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
        None => Ok(()),
        Some(name) => {
            let why = format!("it holds no {META} but {name:?}");
            Err(Error::NotAStore { path: disk.root().to_path_buf(), why })
        }
    }
}

/// A name that a segment has, finished or not.
fn is_segment(name: &str) -> bool {
    name == "unfinished" || name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Writes an empty store. The caller holds the writer lock.
pub(super) fn create(disk: &Arc<dyn Disk>, options: &Options) -> Result<()> {
    let path = |name: &str| disk.root().join(name);
    let superblock = new_superblock(&**disk, options);
    disk.make_dir("log").map_err(|e| Error::io("create", path("log"), e))?;
    for name in READERS {
        disk.touch(name).map_err(|e| Error::io("create", path(name), e))?;
    }
    let file = |name: &str, bytes| {
        disk.create(name, bytes).map_err(|e| Error::io("create", path(name), e))
    };

    let log = Log::new(Arc::clone(disk), superblock.id, superblock.segment_bytes, Access::Write);
    let tail = log.begin(0, 1, 0)?;
    debug_assert_eq!(tail.position, HEADER);

    let meta = file(UNFINISHED, BYTES)?;
    meta.write_at(&superblock.encode(), 0).map_err(|e| Error::io("write", path(UNFINISHED), e))?;
    let len = usize::try_from(BYTES).expect("three pages");
    let region =
        meta.map(0, len, Access::Write).map_err(|e| Error::io("map", path(UNFINISHED), e))?;
    let cells = Arc::new(Cells::new(region));

    let index_file = file(index::NAME, 0)?;
    let chunks =
        Chunks::new(Arc::clone(&index_file), path(index::NAME), Access::Write, disk.map_ahead());
    chunks.grow(16)?;
    let header = index::encode(&superblock.id);
    index_file.write_at(&header, 0).map_err(|e| Error::io("write", path(index::NAME), e))?;
    let index = Index::new(Arc::clone(&cells), chunks);
    let mut editor = index.create()?;
    let captured = editor.capture(&index)?;
    index.sync()?;
    index_file.sync().map_err(|e| Error::io("sync", path(index::NAME), e))?;

    let counters =
        Counters { position: tail.position, pages: editor.live(), ..Counters::default() };
    for name in CHECKPOINTS {
        file(name, crate::format::PAGE)?;
    }
    checkpoint::write(&**disk, &superblock.id, &captured, counters, 0)?;

    cells.publish(&counters);
    cells.set_durable(tail.position);
    cells.set_checkpoint(tail.position);
    let record = Clean {
        counters,
        directory: cells.directory().0,
        watermark: cells.watermark(),
        sequence: cells.sequence(),
        checkpoint: tail.position,
    };
    clean::store(cells.region(), &record.encode());
    cells.region().sync(0, len).map_err(|e| Error::io("sync", path(UNFINISHED), e))?;
    meta.sync().map_err(|e| Error::io("sync", path(UNFINISHED), e))?;
    // Every name before the one that makes it a store.
    disk.sync_dir("").map_err(|e| Error::io("sync", disk.root(), e))?;
    disk.rename(UNFINISHED, META).map_err(|e| Error::io("rename", path(META), e))?;
    disk.sync_dir("").map_err(|e| Error::io("sync", disk.root(), e))
}

fn new_superblock(disk: &dyn Disk, options: &Options) -> Superblock {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&disk.random().to_le_bytes());
    id[8..].copy_from_slice(&disk.random().to_le_bytes());
    Superblock { id, seed: disk.random(), segment_bytes: options.segment_size }
}

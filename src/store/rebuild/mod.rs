//! Building the index anew from the log, when it or its checkpoints are lost or damaged.
//!
//! The new index is made beside the old one, under another name, as that of a checkpoint at the end of the log. It takes the place
//! of the old one in an order in which nothing half done can be taken for whole: the cells say that they are not to be believed, no
//! checkpoint is left, the index gets its name, the new checkpoint is written. From there on it is a store like any after a power
//! cut: what follows is the recovery from that checkpoint.

mod build;
mod extent;
mod read;

use std::sync::Arc;

use crate::cells::Cells;
use crate::chunks::Chunks;
use crate::error::{Error, Result};
use crate::faults::{Point, reach};
use crate::format::checkpoint::{HEADER, NAMES, Newest};
use crate::format::meta::{BYTES, Clean, Counters, MAX_SEQUENCE, Superblock};
use crate::format::{PAGE, index as index_format};
use crate::index::{Captured, Index};
use crate::log::Log;
use crate::options::Options;
use crate::sys::{Access, Disk, File, Pin};

use super::create::{META, NEW_INDEX as NEW, UNFINISHED};
use super::door::read_superblock;
use super::locks::alone;
use super::progress::Watch;
use super::{checkpoint, clean, hasher};
use build::Builder;
use extent::{Extent, extents};

/// The log of a store whose index is to be built.
struct Ground<'a> {
    disk: &'a Arc<dyn Disk>,
    superblock: Superblock,
    meta: Arc<dyn File>,
    cells: Cells,
    log: Log,
    hasher: crate::format::hash::Hasher,
}

/// Builds the index of the store anew. The caller holds the writer lock, and recovers the store afterwards.
pub(super) fn rebuild(disk: &Arc<dyn Disk>, options: &Options, watch: Watch<'_>) -> Result<()> {
    let ground = Ground::new(disk, options)?;
    let (extents, counters) = extents(&ground)?;
    let built = build(&ground, &extents, counters, watch);
    let (captured, counters) = built.inspect_err(|_| {
        // The first failure is the one to tell; leftovers are replaced by the next attempt.
        let _ = disk.remove(NEW);
        let _ = disk.remove(UNFINISHED);
    })?;
    ground.make_durable(counters.position)?;
    reach(Point::RebuildBuilt);
    ground.switch(&captured, counters)
}

impl<'a> Ground<'a> {
    fn new(disk: &'a Arc<dyn Disk>, options: &Options) -> Result<Ground<'a>> {
        let path = disk.root().join(META);
        let failed = |op| {
            let path = path.clone();
            move |e| Error::io(op, path, e)
        };
        let meta = disk.open(META, Access::Write).map_err(failed("open"))?;
        let superblock = read_superblock(&**disk, &*meta)?;
        // Readers have the old index mapped.
        if !alone(&meta, &path)? {
            return Err(Error::Locked { path: disk.root().to_path_buf(), pid: None });
        }
        let len = usize::try_from(BYTES).expect("three pages");
        let cells = Cells::new(meta.map(0, len, Access::Write).map_err(failed("map"))?);
        let Superblock { id, segment_bytes, seed } = superblock;
        let log = Log::new(Arc::clone(disk), id, segment_bytes, Access::Write);
        Ok(Ground { disk, superblock, meta, cells, log, hasher: hasher(seed, options) })
    }

    /// The greatest number that a checkpoint may have had.
    fn last_sequence(&self) -> Result<u64> {
        let headers = checkpoint::headers(&**self.disk, &self.superblock.id)?;
        let last = headers.iter().map(|header| header.sequence).max().unwrap_or(0);
        // The cell may be damaged, or of another time.
        let cell = self.cells.sequence().min(last.saturating_add(1 << 32));
        Ok(last.max(cell).min(MAX_SEQUENCE - (1 << 33)))
    }

    /// The checkpoint will stand at the end of the log, so that must be durable up to there (invariant I6).
    fn make_durable(&self, end: u64) -> Result<()> {
        if self.cells.failed() {
            // A failed sync may have marked any page clean (invariant I9).
            self.log.redirty(0, end)?;
        }
        self.log.sync(0, end)
    }

    /// Puts the new index in the place of the old one.
    fn switch(&self, captured: &Captured, counters: Counters) -> Result<()> {
        let disk = &**self.disk;
        let failed = |op, name: &str| {
            let path = disk.root().join(name);
            move |e| Error::io(op, path, e)
        };
        let region = self.cells.region();
        clean::store(region, &[0; Clean::BYTES]);
        self.cells.set_failed();
        self.cells.set_life(0);
        // What it names is wiped, and the new one may be at a position before it.
        self.cells.set_checkpoint(Newest::default());
        region.sync(0, region.len()).map_err(failed("sync", META))?;
        reach(Point::RebuildDoubted);
        // They name pages of the old index.
        for name in NAMES {
            let file = disk.touch(name).map_err(failed("open", name))?;
            file.grow(PAGE).map_err(failed("grow", name))?;
            file.write_at(&[0; HEADER], 0).map_err(failed("write", name))?;
            file.sync().map_err(failed("sync", name))?;
        }
        reach(Point::RebuildWiped);
        disk.rename(NEW, index_format::NAME).map_err(failed("rename", NEW))?;
        disk.sync_dir("").map_err(|e| Error::io("sync", disk.root(), e))?;
        reach(Point::RebuildNamed);
        // No rows: what is live in each segment is counted again.
        checkpoint::write(disk, &self.superblock.id, captured, &[], counters, Newest::default())?;
        reach(Point::RebuildWritten);
        // Best effort: it is ignored.
        let _ = disk.remove(UNFINISHED);
        self.meta.unlock().map_err(failed("unlock", META))
    }
}

/// Writes the new index, and says of what checkpoint it is.
fn build(
    ground: &Ground<'_>,
    extents: &[Extent],
    counters: Counters,
    watch: Watch<'_>,
) -> Result<(Captured, Counters)> {
    let disk = &**ground.disk;
    let path = disk.root().join(NEW);
    let failed = |op| {
        let path = path.clone();
        move |e| Error::io(op, path, e)
    };
    // Cells that nobody looks at, for an index that has no name.
    let scratch = disk.create(UNFINISHED, BYTES).map_err(failed("create"))?;
    let len = usize::try_from(BYTES).expect("three pages");
    let cells = Cells::new(scratch.map(0, len, Access::Write).map_err(failed("map"))?);
    cells.set_sequence(ground.last_sequence()?);
    let file = disk.create(NEW, 0).map_err(failed("create"))?;
    let chunks = Chunks::new(Arc::clone(&file), path.clone(), Access::Write, disk.map_ahead());
    chunks.grow(16)?;
    let header = index_format::encode(&ground.superblock.id);
    file.write_at(&header, 0).map_err(failed("write"))?;
    let index = Index::new(Arc::new(cells), chunks);
    let pin = Pin::new();
    let mut builder = Builder::new(&index, ground.log.view(&pin), counters)?;
    read::read(ground, extents, &mut builder, watch)?;
    let (captured, counters) = builder.finish()?;
    index.sync()?;
    file.sync().map_err(failed("sync"))?;
    Ok((captured, counters))
}

//! Who has the store open: the writer lock, the readers' lock on `meta`, and the lock that says that a writer is up.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cells::Cells;
use crate::error::{Error, Result};
use crate::format::meta::BYTES;
use crate::sys::{Access, Disk, File, LockKind, process_id};

use super::create::{LOCK, META};
use super::hold::is_ours;

/// How long to wait for those who hold a lock only for the moment in which they look.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long to wait for the rest of a writer that is dying.
pub(super) const DYING: Duration = Duration::from_secs(2);
/// How long to wait before looking again.
pub(super) const PAUSE: Duration = Duration::from_millis(1);

/// Takes the writer lock, or says who holds it.
pub(super) fn lock(disk: &dyn Disk) -> Result<Arc<dyn File>> {
    let path = disk.root().join(LOCK);
    let patience = Instant::now() + PATIENCE;
    loop {
        let file = disk.touch(LOCK).map_err(|e| Error::io("open", &path, e))?;
        let take = |kind| file.try_lock(kind).map_err(|e| Error::io("lock", &path, e));
        if !take(LockKind::Exclusive)? {
            // Who looks whether there is a writer shares the lock for a moment, beside a dead one that the cells still name.
            let shared = take(LockKind::Shared)? && !is_shared(disk);
            if !shared || Instant::now() > patience {
                let pid = if shared { None } else { holder(disk, &*file) };
                return Err(Error::Locked { path: disk.root().to_path_buf(), pid });
            }
            drop(file);
            std::thread::sleep(PAUSE);
            continue;
        }
        // The path must still name the file that is locked.
        if disk.names(LOCK, &*file).map_err(|e| Error::io("stat", &path, e))? {
            return Ok(file);
        }
    }
}

/// Tries again and again until it works; false if it has not within `patience`.
fn within(patience: Duration, mut attempt: impl FnMut() -> Result<bool>) -> Result<bool> {
    let patience = Instant::now() + patience;
    while !attempt()? {
        if Instant::now() > patience {
            return Ok(false);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(true)
}

/// The live cells, seen from outside, and the present life.
pub(super) fn cells(disk: &dyn Disk) -> Option<(Cells, u64)> {
    let meta = disk.open(META, Access::Read).ok()?;
    let len = usize::try_from(BYTES).ok()?;
    if meta.len().ok()? < BYTES {
        return None;
    }
    let life = disk.life(&*meta).ok()?;
    Some((Cells::new(meta.map(0, len, Access::Read).ok()?), life))
}

/// The process that the live cells name as the writer.
pub(super) fn holder(disk: &dyn Disk, lock: &dyn File) -> Option<u32> {
    let (cells, life) = cells(disk)?;
    // Before this boot it was a process that is long gone; another mount of the file system makes no difference.
    let present = same_kernel(life, cells.life());
    let pid = Some(cells.writer()).filter(|pid| *pid != 0 && present)?;
    // A number that is ours while we do not hold the lock was given in another container.
    (pid != process_id() || is_ours(lock)).then_some(pid)
}

/// Fails unless the index is free. The lock on it outlives the one on the lock file for a moment when a writer dies, and for
/// long if that was removed or replaced, or if the index goes by another name elsewhere: then there is a writer.
pub(super) fn no_writer_is_up(disk: &dyn Disk, lock: &dyn File) -> Result<()> {
    if within(DYING, || Ok(!is_locked(disk, crate::format::index::NAME)?))? {
        return Ok(());
    }
    Err(Error::Locked { path: disk.root().to_path_buf(), pid: holder(disk, lock) })
}

/// True if some handle holds the file `name` locked: the lock file itself from the start, the index once it is up.
pub(super) fn is_locked(disk: &dyn Disk, name: &str) -> Result<bool> {
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

/// Takes a lock that others hold only for a moment, or while they recover.
pub(super) fn wait_for(file: &Arc<dyn File>, path: &Path, kind: LockKind) -> Result<()> {
    while !file.try_lock(kind).map_err(|e| Error::io("lock", path, e))? {
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Takes `meta` for this handle alone, so that no other one has the store open; false if one has.
pub(super) fn alone(meta: &Arc<dyn File>, path: &Path) -> Result<bool> {
    let lock = || meta.try_lock(LockKind::Exclusive).map_err(|e| Error::io("lock", path, e));
    within(PATIENCE, lock)
}

/// The live cells say that writers share the store, in this life and with nothing lost.
pub(super) fn is_shared(disk: &dyn Disk) -> bool {
    cells(disk)
        .is_some_and(|(cells, life)| cells.is_shared() && cells.life() == life && !cells.failed())
}

/// Two lives are of the same file under the same boot of the kernel, whatever the mounts.
pub(super) fn same_kernel(a: u64, b: u64) -> bool {
    a >> 32 == b >> 32
}

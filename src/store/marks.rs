//! Snapshots hold positions: marks on `readers.a` at the byte that each position is, which every process can see and which the
//! kernel takes back when their process dies.
//!
//! A second mark, on `readers.b`, says since when: at a byte that holds the time and the low bits of the position.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::sys::sync::{Mutex, MutexGuard};
use crate::sys::{Access, Disk, File, Mark, process_id};

use super::Engine;
use super::create::READERS;

/// Bits of a position that stand beside the time.
const POSITION_BITS: u32 = 20;
/// Milliseconds since 1970 for many lifetimes, so that a mark is below 2^62.
const TIME_BITS: u32 = 42;

/// A position that a snapshot holds, in this process or another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The position that is held: nothing that a reader there can see is reclaimed.
    pub position: u64,
    /// The process, unless it is hidden from this one.
    pub pid: Option<u32>,
    /// How long it has been held, as far as that is known. The first of several snapshots of one position counts.
    pub age: Option<Duration>,
}

/// What this handle holds.
#[derive(Debug, Default)]
pub(super) struct Marks {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// The process that took these marks: a forked child must not take them back, for they are its parent's.
    process: u32,
    files: Option<[Arc<dyn File>; 2]>,
    /// How many snapshots there are of a position, and the mark that tells since when.
    positions: BTreeMap<u64, (usize, u64)>,
}

/// A position that is held for as long as this is there.
#[derive(Debug)]
pub(super) struct Hold<'a> {
    engine: &'a Engine,
    pub(super) at: u64,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.engine.unhold(self.at);
    }
}

impl Marks {
    fn lock(&self) -> MutexGuard<'_, Held> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let process = process_id();
        if held.process != process {
            *held = Held { process, ..Held::default() };
        }
        held
    }
}

impl Held {
    fn files(&mut self, disk: &dyn Disk) -> Result<[Arc<dyn File>; 2]> {
        if let Some(files) = &self.files {
            return Ok(files.clone());
        }
        let files = open(disk)?;
        Ok(self.files.insert(files).clone())
    }
}

fn open(disk: &dyn Disk) -> Result<[Arc<dyn File>; 2]> {
    let open = |name: &str| {
        disk.open(name, Access::Read).map_err(|e| Error::io("open", disk.root().join(name), e))
    };
    Ok([open(READERS[0])?, open(READERS[1])?])
}

/// The byte that says that `position` is held since now.
fn since(position: u64) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(now.as_millis()).unwrap_or(0) & ((1 << TIME_BITS) - 1);
    millis << POSITION_BITS | low_bits(position)
}

fn low_bits(position: u64) -> u64 {
    (position / crate::format::position::ALIGN) & ((1 << POSITION_BITS) - 1)
}

impl Engine {
    /// Marks the present position and returns it. From then on nothing goes that a reader there may need.
    pub(crate) fn hold(&self) -> Result<u64> {
        let failed = |e| Error::io("lock", self.file(READERS[0]), e);
        loop {
            let mut held = self.marks.lock();
            let at = self.committed();
            if let Some((count, _)) = held.positions.get_mut(&at) {
                *count += 1;
                return Ok(at);
            }
            let [positions, times] = held.files(&*self.disk)?;
            let time = since(at);
            positions.mark(at).map_err(failed)?;
            // What is needed here may have gone before the mark was seen; then there is a newer position to hold.
            if self.is_fresh(at) {
                // Without it the age is not known, which only `stat` minds.
                let _ = times.mark(time);
                held.positions.insert(at, (1, time));
                return Ok(at);
            }
            positions.unmark(at).map_err(failed)?;
        }
    }

    /// Holds the present position for a while.
    pub(super) fn hold_on(&self) -> Result<Hold<'_>> {
        Ok(Hold { engine: self, at: self.hold()? })
    }

    /// Marks a position that is held already.
    pub(crate) fn hold_too(&self, at: u64) {
        if let Some((count, _)) = self.marks.lock().positions.get_mut(&at) {
            *count += 1;
        }
    }

    /// Gives one hold of a position back.
    pub(crate) fn unhold(&self, at: u64) {
        let mut held = self.marks.lock();
        let Some((count, time)) = held.positions.get_mut(&at) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        let time = *time;
        held.positions.remove(&at);
        if let Some([positions, times]) = &held.files {
            // A mark that cannot be taken back goes with the handle.
            let _ = positions.unmark(at);
            let _ = times.unmark(time);
        }
    }

    /// Some position before `end` is held, by whomever.
    pub(super) fn is_held_before(&self, end: u64) -> Result<bool> {
        let files = self.marks.lock().files(&*self.disk)?;
        let found = files[0].marked(0..end);
        Ok(found.map_err(|e| Error::io("lock", self.file(READERS[0]), e))?.is_some())
    }

    /// All positions that are held.
    pub(crate) fn holders(&self) -> Result<Vec<Holder>> {
        let files = self.marks.lock().files(&*self.disk)?;
        let marks = |file: &Arc<dyn File>, name| {
            file.marks().map_err(|e| Error::io("lock", self.file(name), e))
        };
        let times = marks(&files[1], READERS[1])?;
        let holders = marks(&files[0], READERS[0])?.into_iter().map(|Mark { at, pid }| {
            let same = |mark: &&Mark| {
                mark.at & ((1 << POSITION_BITS) - 1) == low_bits(at) && mark.pid == pid
            };
            let age = times.iter().find(same).and_then(|mark| {
                let then = Duration::from_millis(mark.at >> POSITION_BITS);
                (SystemTime::UNIX_EPOCH + then).elapsed().ok()
            });
            Holder { position: at, pid, age }
        });
        Ok(holders.collect())
    }
}

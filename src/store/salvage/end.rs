//! Where a damaged log ends: what was never committed must not come to life, and what was committed should.
//!
//! The clean record says it, and the live cells do while the page cache that they were written in lives. Otherwise it is where the
//! last commit ends whose mark is left: a mark is written after all records of its batch, and a batch after the one before it.

use std::sync::Arc;

use crate::cells::Cells;
use crate::error::{Error, Result};
use crate::format::checkpoint::NAMES;
use crate::format::meta::BYTES;
use crate::format::position::ALIGN;
use crate::sys::{Access, Disk, File};

use super::super::create::META;
use super::super::removed::Removed;
use super::super::{checkpoint, clean};
use super::identity::{Identity, open};
use super::runs::Run;

/// What the store itself says of the log's end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    /// There it ends. A batch that follows and has its mark counts as well, unless the store was closed.
    pub(super) end: Option<u64>,
    pub(super) closed: bool,
    /// It did not end before this.
    pub(super) least: u64,
}

/// What `meta` and the checkpoints say.
pub(super) fn said(disk: &dyn Disk, identity: &Identity) -> Result<(Said, Removed)> {
    let cells = if identity.superblock.is_some() { cells(disk)? } else { None };
    let (mut said, mut removed) = (Said::default(), Removed::default());
    if let Some(id) = identity.id {
        let cells = cells.as_ref().map(|(_, cells)| cells);
        removed = Removed::read(disk, &id, cells, identity.segment_bytes)?;
        for name in NAMES {
            let header = checkpoint::header(disk, &id, name).ok().flatten();
            said.least = said.least.max(header.map_or(0, |header| header.counters.position));
        }
    }
    if let Some((meta, cells)) = cells {
        said = by_cells(disk, &*meta, &cells, said)?;
    }
    Ok((said, removed))
}

/// The live cells, if the file is long enough.
fn cells(disk: &dyn Disk) -> Result<Option<(Arc<dyn File>, Cells)>> {
    let failed = |op| move |e| Error::io(op, disk.root().join(META), e);
    let Some(meta) = open(disk, META)? else { return Ok(None) };
    if meta.len().map_err(failed("stat"))? < BYTES {
        return Ok(None);
    }
    let len = usize::try_from(BYTES).expect("three pages");
    let cells = Cells::new(meta.map(0, len, Access::Read).map_err(failed("map"))?);
    Ok(Some((meta, cells)))
}

fn by_cells(disk: &dyn Disk, meta: &dyn File, cells: &Cells, mut said: Said) -> Result<Said> {
    let failed = |op| move |e| Error::io(op, disk.root().join(META), e);
    if let Some(clean) = clean::read(cells.region())
        && clean.counters.wrong(clean.watermark).is_none()
    {
        return Ok(Said { end: Some(clean.counters.position), closed: true, ..said });
    }
    let durable = cells.said_durable();
    let bound = cells.counters().map(|counters| counters.position);
    let live = cells.life() == disk.life(meta).map_err(failed("stat"))? && !cells.failed();
    let bound = bound.filter(|end| end.is_multiple_of(ALIGN) && *end >= said.least);
    if live {
        said.end = bound;
    }
    // Only a hint: it may be damaged, but it is likely true if it names no more than was ever there.
    if durable.is_multiple_of(ALIGN) && bound.is_some_and(|end| durable <= end) {
        said.least = said.least.max(durable);
    }
    Ok(said)
}

/// Where the log ends.
pub(super) fn end(said: Said, runs: &[Run]) -> u64 {
    match said.end {
        Some(end) if said.closed => end,
        Some(end) => extended(end, runs),
        None => runs.iter().filter_map(|run| run.last_mark).max().unwrap_or_default(),
    }
}

/// The end of the whole batches that follow `end` without a gap: the cells show a commit last of all.
fn extended(end: u64, runs: &[Run]) -> u64 {
    let Some(at) = runs.iter().position(|run| run.to >= end) else { return end };
    if runs[at].from > end {
        return end;
    }
    let follow = runs[at + 1..].iter().take_while(|run| run.joined);
    let marks = std::iter::once(&runs[at]).chain(follow).filter_map(|run| run.last_mark);
    marks.max().unwrap_or_default().max(end)
}

//! A backup: the log as of one position in another directory, and an index of it that is built there.
//!
//! The index of a running store changes in place, so it is never copied; segments before the last are never written again, so
//! they are shared where the file system can. What results is the store as a writer would have left it that closed it at that
//! position: the same id, the same names, and no epoch of its own, so that its log stays a part of the original's and the next
//! backup goes on in it.
//!
//! Invariant I17: from before the first change in the directory until everything in it is durable the file
//! `backup.unfinished` is there, and nobody opens a store with it.

mod bring;
mod lead;
mod place;
mod report;
mod source;
mod sweep;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::faults::{Bug, Point, planted, reach};
use crate::format::backup::{NAME, Note, PREPARED, UNFINISHED};
use crate::log::Tail;
use crate::options::BackupOptions;
use crate::sys::Disk;

use super::create::{META, put_meta, put_names};
use super::progress::Watch;
use super::{Engine, Writer};
use bring::Bringer;
use place::{Place, State};
pub use report::Backup;
use source::{Extent, Source};

impl Engine {
    /// Makes a backup on another disk, or brings the one there up to date.
    pub(crate) fn backup(
        &self,
        disk: &Arc<dyn Disk>,
        options: &BackupOptions,
        watch: Watch<'_>,
    ) -> Result<Backup> {
        let mut place = Place::take(disk, &self.superblock, options)?;
        let source = Source::hold(self)?;
        let state = place.judge(&source)?;
        if let State::Whole(tail) = state
            && tail.position == source.at
        {
            return Ok(Backup {
                position: source.position(),
                continued: true,
                ..Backup::default()
            });
        }
        if let State::Whole(tail) = state {
            source.verify(tail)?;
        }
        source.make_durable()?;
        let note = Note { id: self.superblock.id, position: source.at };
        if !planted(Bug::BackupUnmarked) {
            put_note(&**disk, &note, UNFINISHED)?;
        }
        reach(Point::BackupMarked);
        let mut bringer = Bringer::new(&source, &place, state, options, watch);
        let segments = bringer.bring()?;
        let from = match state {
            State::Whole(tail) => tail,
            State::Vacant | State::Unfinished => source.first(&segments),
        };
        let (mut report, extents) = bringer.end(from, &segments)?;
        reach(Point::BackupBrought);
        if !matches!(state, State::Whole(_)) {
            report.removed += place.clear(&segments)?;
            put_names(&**disk, &self.superblock.id)?;
            put_meta(&**disk, &self.superblock, from)?;
            reach(Point::BackupEmptied);
        }
        let engine = place.open(self, options)?;
        engine.bring_up_to_date(&source, from, &extents, &segments, &mut report, watch)?;
        engine.close()?;
        reach(Point::BackupClosed);
        if planted(Bug::BackupUnmarked) {
            put_note(&**disk, &note, UNFINISHED)?;
        }
        disk.rename(UNFINISHED, NAME)
            .map_err(|e| Error::io("rename", disk.root().join(NAME), e))?;
        reach(Point::BackupNamed);
        disk.sync_dir("").map_err(|e| Error::io("sync", disk.root(), e))?;
        Ok(report)
    }

    /// Brings a backup that is open for writing from one position to that of the source.
    fn bring_up_to_date(
        &self,
        source: &Source<'_>,
        from: Tail,
        extents: &[Extent],
        segments: &[u64],
        report: &mut Backup,
        watch: Watch<'_>,
    ) -> Result<()> {
        let half = self.writer()?;
        let mut writer = half.lock();
        self.prepare(half, &mut writer)?;
        half.touched();
        self.ready_usage(from, segments)?;
        self.lead(&mut writer, source, extents, report, watch)?;
        reach(Point::BackupLed);
        let gone = self.sweep(&mut writer, source, from, segments)?;
        self.end_at(&mut writer, source, extents);
        drop(writer);
        self.checkpoint()?;
        reach(Point::BackupSwept);
        self.remove_segments(&gone)?;
        report.removed += gone.len() as u64;
        Ok(())
    }

    /// Says that the store ends where the source's held position is.
    fn end_at(&self, writer: &mut Writer, source: &Source<'_>, extents: &[Extent]) {
        writer.tail = Tail { position: source.at, segment: source.last };
        self.cells.set_horizon(source.at);
        let counters = writer.counters;
        self.publish(writer, counters);
        for extent in extents.iter().filter(|extent| extent.number < source.last) {
            self.usage.set_used(extent.number, Some(extent.to - extent.first));
        }
        self.cells.set_counted(source.at);
    }
}

/// Makes a note durable under `name`, at once or not at all.
fn put_note(disk: &dyn Disk, note: &Note, name: &str) -> Result<()> {
    let path = disk.root().join(name);
    let bytes = note.encode();
    let file =
        disk.create(PREPARED, bytes.len() as u64).map_err(|e| Error::io("create", &path, e))?;
    file.write_at(&bytes, 0).map_err(|e| Error::io("write", &path, e))?;
    file.sync().map_err(|e| Error::io("sync", &path, e))?;
    reach(Point::BackupNoted);
    disk.rename(PREPARED, name).map_err(|e| Error::io("rename", &path, e))?;
    disk.sync_dir("").map_err(|e| Error::io("sync", disk.root(), e))
}

/// A file that a backup of which nothing may be believed has at its top.
fn is_own(name: &str) -> bool {
    use crate::format::checkpoint::NAMES;
    [META, crate::format::index::NAME, "meta.unfinished"].contains(&name) || NAMES.contains(&name)
}

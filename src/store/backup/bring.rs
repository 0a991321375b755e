//! Bringing the segments of the log: shared where that can be, or else copied.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::faults::{Bug, Point, planted, reach};
use crate::format::PAGE;
use crate::format::position::Position;
use crate::format::segment::{SegmentHeader, name};
use crate::log::{Tail, UNFINISHED};
use crate::options::BackupOptions;
use crate::sys::{Access, File, Pin};

use super::super::progress::{Progress, Watch};
use super::Backup;
use super::place::{Place, State};
use super::source::{Extent, Source};

/// Bytes that are read at once.
pub(super) const PIECE: usize = 1 << 20;

/// Brings what is missing, and counts it.
pub(super) struct Bringer<'a, 'w> {
    source: &'a Source<'a>,
    place: &'a Place<'a>,
    /// Where the log ends that is there already, if that is gone on with.
    from: Option<Tail>,
    sharing: bool,
    report: Backup,
    /// Segments that are there, and where their records end.
    done: BTreeMap<u64, u64>,
    progress: Progress,
    watch: Watch<'w>,
}

impl<'a, 'w> Bringer<'a, 'w> {
    pub(super) fn new(
        source: &'a Source<'a>,
        place: &'a Place<'a>,
        state: State,
        options: &BackupOptions,
        watch: Watch<'w>,
    ) -> Bringer<'a, 'w> {
        let from = if let State::Whole(tail) = state { Some(tail) } else { None };
        let report = Backup {
            position: Position(source.at),
            continued: from.is_some(),
            ..Backup::default()
        };
        let sharing = !options.copy;
        let progress = Progress { done: 0, total: 0 };
        Bringer { source, place, from, sharing, report, done: BTreeMap::new(), progress, watch }
    }

    /// What was brought, and what is in it from a position on.
    pub(super) fn end(self, from: Tail, segments: &[u64]) -> Result<(Backup, Vec<Extent>)> {
        let new = segments.iter().copied().filter(|number| *number >= from.segment);
        let extents = new.map(|number| self.source.extent(number, from, self.done[&number]));
        Ok((self.report, extents.collect::<Result<_>>()?))
    }

    /// Brings all segments up to the position; returns which there are.
    ///
    /// The newest first: a segment whose tombstones hide what is in older ones is removed after these, so that one that is
    /// gone when its turn comes is missed by none that is brought later.
    pub(super) fn bring(&mut self) -> Result<Vec<u64>> {
        let disk = &**self.place.disk;
        disk.make_dir("log").map_err(|e| Error::io("create", disk.root().join("log"), e))?;
        loop {
            let numbers = self.source.numbers()?;
            let missing: Vec<u64> =
                numbers.iter().copied().filter(|number| !self.done.contains_key(number)).collect();
            if missing.is_empty() {
                self.remove_unfinished()?;
                if !planted(Bug::BackupUnsynced) {
                    let path = disk.root().join("log");
                    disk.sync_dir("log").map_err(|e| Error::io("sync", path, e))?;
                }
                return Ok(numbers);
            }
            self.progress.total =
                missing.len() as u64 * self.source.engine.superblock.segment_bytes;
            for number in missing.into_iter().rev() {
                let Some((header, end)) = self.source.segment(number)? else { continue };
                if !self.bring_one(number, &header, end)? {
                    continue;
                }
                self.done.insert(number, end);
                self.progress.done += header.bytes;
                (self.watch)(self.progress);
                reach(Point::BackupSegment);
            }
        }
    }

    /// What an earlier attempt has left.
    fn remove_unfinished(&self) -> Result<()> {
        match self.place.disk.remove(UNFINISHED) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", self.place.disk.root().join(UNFINISHED), e))
            }
            _ => Ok(()),
        }
    }

    /// False if it has just been removed.
    fn bring_one(&mut self, number: u64, header: &SegmentHeader, end: u64) -> Result<bool> {
        let open = self.source.engine.disk.open(&name(number), Access::Read);
        let from = match open {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            from => from.map_err(|e| self.theirs("open", number)(e))?,
        };
        let len = end - self.source.start(number);
        let there = self.there(number, header)?;
        let sealed = number < self.source.last;
        match self.from {
            Some(tail) if there && number < tail.segment => {
                self.report.kept += 1;
                return Ok(true);
            }
            None if there && sealed && self.place.holds(&from, self.source, number, len)? => {
                // An attempt that was cut short may have died before it was durable. If the store has the same file and the
                // sync fails, the kernel says so to the writer at its next sync as well.
                let open = self.place.disk.open(&name(number), Access::Read);
                self.sync(&open.map_err(self.ours("open", number))?, number, "sync")?;
                self.report.kept += 1;
                return Ok(true);
            }
            _ => {}
        }
        if sealed && self.sharing && self.share(&from, number)? {
            return Ok(true);
        }
        match self.from {
            Some(tail) if there && number == tail.segment => {
                self.append(&from, number, tail.position - self.source.start(number), len)?;
            }
            _ => self.copy(&from, number, header, len, sealed)?,
        }
        Ok(true)
    }

    /// The backup has this segment: the same number, epoch and place in the log.
    fn there(&self, number: u64, header: &SegmentHeader) -> Result<bool> {
        let log = self.place.log();
        let pin = Pin::new();
        let own = match log.view(&pin).find(number) {
            Ok(own) => own.map(|segment| *segment.header()),
            // It is brought anew.
            Err(Error::Corrupt { .. }) if self.from.is_none() => None,
            Err(error) => return Err(error),
        };
        match (own, self.from) {
            (Some(own), _) if own == *header => Ok(true),
            (Some(_), Some(tail)) if number < tail.segment => {
                let path = self.place.disk.root().to_path_buf();
                Err(Error::Diverged { path, why: format!("{} differs", name(number)) })
            }
            _ => Ok(false),
        }
    }

    /// Makes the two one file, or gives them the same blocks; false if neither can be.
    fn share(&mut self, from: &Arc<dyn File>, number: u64) -> Result<bool> {
        let disk = &**self.place.disk;
        self.remove_unfinished()?;
        let linked = disk.link(&**from, UNFINISHED).is_ok();
        let file = if linked {
            Arc::clone(from)
        } else {
            match disk.reflink(&**from, UNFINISHED) {
                Ok(file) => file,
                Err(_) => return Ok(false),
            }
        };
        self.finish(&file, number)?;
        if linked {
            self.report.linked += 1;
        } else {
            self.report.cloned += 1;
        }
        Ok(true)
    }

    /// Makes a segment that is complete durable, and gives it its name.
    fn finish(&self, file: &Arc<dyn File>, number: u64) -> Result<()> {
        self.sync(file, number, "sync")?;
        reach(Point::BackupCopied);
        let name = name(number);
        self.place.disk.rename(UNFINISHED, &name).map_err(self.ours("rename", number))
    }

    fn sync(&self, file: &Arc<dyn File>, number: u64, op: &'static str) -> Result<()> {
        if planted(Bug::BackupUnsynced) {
            return Ok(());
        }
        file.sync().map_err(self.ours(op, number))
    }

    /// Copies the first `len` bytes of a segment. In the one where the log ends it goes on: its blocks are reserved.
    fn copy(
        &mut self,
        from: &Arc<dyn File>,
        number: u64,
        header: &SegmentHeader,
        len: u64,
        sealed: bool,
    ) -> Result<()> {
        let disk = &**self.place.disk;
        let file = disk.create(UNFINISHED, header.bytes).map_err(self.ours("create", number))?;
        self.write(from, &file, number, 0, len)?;
        let rest = len.next_multiple_of(PAGE);
        if sealed && rest < header.bytes {
            // Nothing is ever written there.
            file.punch(rest, header.bytes - rest).map_err(self.ours("punch", number))?;
        }
        self.finish(&file, number)?;
        self.report.copied += 1;
        Ok(())
    }

    /// Goes on with the segment in which the log of the backup ended.
    fn append(&mut self, from: &Arc<dyn File>, number: u64, at: u64, len: u64) -> Result<()> {
        if at == len {
            self.report.kept += 1;
            return Ok(());
        }
        let open = self.place.disk.open(&name(number), Access::Write);
        let file = open.map_err(self.ours("open", number))?;
        self.write(from, &file, number, at, len)?;
        self.sync(&file, number, "sync")?;
        self.report.copied += 1;
        Ok(())
    }

    fn write(
        &mut self,
        from: &Arc<dyn File>,
        to: &Arc<dyn File>,
        number: u64,
        start: u64,
        end: u64,
    ) -> Result<()> {
        let mut buffer = vec![0; usize::try_from(end - start).map_or(PIECE, |len| len.min(PIECE))];
        let mut at = start;
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(PIECE).min(buffer.len());
            let piece = &mut buffer[..left];
            from.read_at(piece, at).map_err(self.theirs("read", number))?;
            to.write_at(piece, at).map_err(self.ours("write", number))?;
            at += left as u64;
        }
        self.report.copied_bytes += end - start;
        Ok(())
    }

    fn ours(&self, op: &'static str, number: u64) -> impl FnOnce(std::io::Error) -> Error + use<> {
        let path = self.place.disk.root().join(name(number));
        move |e| Error::io(op, path, e)
    }

    fn theirs(
        &self,
        op: &'static str,
        number: u64,
    ) -> impl FnOnce(std::io::Error) -> Error + use<> {
        let path = self.source.engine.file(&name(number));
        move |e| Error::io(op, path, e)
    }
}

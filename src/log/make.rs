//! Making a segment: its blocks, its header, and its name.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::faults::{Bug, Point, planted, reach};
use crate::format::segment::{SegmentHeader, name};
use crate::sys::{Access, Disk, File};

use super::Segment;

/// The name under which a segment is made before it is renamed to its own.
pub(crate) const UNFINISHED: &str = "log/unfinished";
/// The name of one that waits until the log comes to it.
pub(crate) const SPARE: &str = "log/spare";

impl Segment {
    /// Creates a segment: blocks, header and name are durable before it is used.
    pub(super) fn create(
        disk: &dyn Disk,
        segment_bytes: u64,
        header: SegmentHeader,
    ) -> Result<Segment> {
        let name = name(header.number);
        let path = disk.root().join(&name);
        let unfinished = if planted(Bug::CreateInPlace) { &*name } else { UNFINISHED };
        let file = make(disk, unfinished, &header)?;
        let finish = || {
            disk.rename(unfinished, &name)?;
            reach(Point::SegmentRenamed);
            if planted(Bug::SkipDirSync) { Ok(()) } else { disk.sync_dir("log") }
        };
        finish().map_err(|e| failed(disk, unfinished, &path, e))?;
        reach(Point::SegmentDurable);
        let segment = Segment::map(disk, segment_bytes, header, file, Access::Write)?;
        segment.set_named();
        Ok(segment)
    }

    /// Makes a segment that waits for its turn: blocks and header are durable. Where the log will have ended by then is not known;
    /// the header says that it was where this segment starts. If that is wrong nobody takes it for one of the log's.
    pub(super) fn spare(
        disk: &dyn Disk,
        segment_bytes: u64,
        header: SegmentHeader,
    ) -> Result<Segment> {
        let file = make(disk, SPARE, &header)?;
        Segment::map(disk, segment_bytes, header, file, Access::Write)
    }

    /// Makes it the segment in which the log goes on. Nothing waits for the disk: this header and the name are durable once the
    /// log that comes after them is (invariant I23).
    pub(super) fn begin(mut self, disk: &dyn Disk, header: SegmentHeader) -> Result<Segment> {
        let name = name(header.number);
        let finish = || {
            self.file.write_at(&header.encode(), 0)?;
            reach(Point::SpareHeaded);
            disk.rename(SPARE, &name)
        };
        finish().map_err(|e| failed(disk, SPARE, &disk.root().join(&name), e))?;
        reach(Point::SpareNamed);
        self.header = header;
        Ok(self)
    }
}

/// Makes the file of a segment under another name: blocks and header are durable.
fn make(disk: &dyn Disk, unfinished: &str, header: &SegmentHeader) -> Result<Arc<dyn File>> {
    let path = disk.root().join(name(header.number));
    let file = disk.create(unfinished, header.bytes).map_err(|e| Error::io("create", &path, e))?;
    reach(Point::SegmentCreated);
    let finish = || {
        file.write_at(&header.encode(), 0)?;
        reach(Point::SegmentHeaded);
        if planted(Bug::SkipSegmentSync) { Ok(()) } else { file.sync() }
    };
    finish().map_err(|e| failed(disk, unfinished, &path, e))?;
    reach(Point::SegmentSynced);
    Ok(file)
}

/// Best effort: a leftover is unlinked when the next segment is created.
fn failed(disk: &dyn Disk, unfinished: &str, path: &Path, error: io::Error) -> Error {
    let _ = disk.remove(unfinished);
    Error::io("create", path, error)
}

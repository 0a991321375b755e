//! The parts of the log that hold its records, segment by segment, and where it ends. A log that is damaged is left to a salvage.

use crate::error::{Error, Result};
use crate::format::meta::{Clean, Counters, cell};
use crate::format::segment::{HEADER, name};
use crate::log::{Scan, Segment, Tail};

use super::super::clean;
use super::Ground;

/// The records of one segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) from: u64,
    pub(super) to: u64,
}

/// All extents in order, and counters that hold nothing but where the log ends.
pub(super) fn extents(ground: &Ground<'_>) -> Result<(Vec<Extent>, Counters)> {
    let numbers = ground.log.numbers()?;
    let end = end(ground, &numbers)?;
    check_end(ground, end)?;
    let mut extents: Vec<Extent> = Vec::new();
    let mut before: Option<&Segment> = None;
    for number in numbers.into_iter().filter(|number| *number <= end.segment) {
        let segment = ground.log.segment(number)?;
        let prev_end = segment.header().prev_end;
        let (expected, range) = match before {
            None => (0, 0..=0),
            Some(before) => (ground.log.after(before), before.start() + HEADER..=before.end()),
        };
        if number != expected {
            return Err(Error::corrupt(file(ground, expected), 0, "a segment", "no file"));
        }
        if !range.contains(&prev_end) {
            let expected = "where the log ended in the segment before";
            return Err(Error::corrupt(file(ground, number), 48, expected, prev_end));
        }
        if let Some(extent) = extents.last_mut() {
            extent.to = prev_end;
        }
        extents.push(Extent { from: segment.start() + HEADER, to: end.position });
        before = Some(segment);
    }
    let counters = Counters { position: end.position, segment: end.segment, ..Counters::default() };
    Ok((extents, counters))
}

fn file(ground: &Ground<'_>, number: u64) -> std::path::PathBuf {
    ground.disk.root().join(name(number))
}

/// Where the last complete batch ends: sought from the last segment backwards, since a batch may span several.
fn end(ground: &Ground<'_>, numbers: &[u64]) -> Result<Tail> {
    let first = numbers.first().copied();
    let first = first.ok_or_else(|| Error::corrupt(file(ground, 0), 0, "a segment", "no file"))?;
    for number in numbers.iter().rev() {
        let start = ground.log.segment(*number)?.start() + HEADER;
        let mut scan = Scan::new(&ground.log, *number, start)?;
        let mut last = None;
        while let Some(record) = scan.step()? {
            if record.header().commit {
                last = Some(Tail { position: record.end(), segment: record.segment() });
            }
        }
        if let Some(end) = last {
            return Ok(end);
        }
    }
    let position = ground.log.segment(first)?.start() + HEADER;
    Ok(Tail { position, segment: first })
}

/// Fails if there was more log than is left: a commit that is damaged looks like the end.
fn check_end(ground: &Ground<'_>, end: Tail) -> Result<()> {
    let cells = &ground.cells;
    let short = |expected: String| {
        let offset = end.position - ground.log.segment(end.segment)?.start();
        Err(Error::corrupt(file(ground, end.segment), offset, expected, "bytes that are no record"))
    };
    if let Some(clean) = clean::read(cells.region()) {
        let position = clean.counters.position;
        // A recovery leaves the log's end in the segment that it begins, where nothing is yet.
        return match position {
            _ if begins(ground, position, end) => Ok(()),
            _ if position > end.position => short(format!("records up to position {position}")),
            _ if position < end.position => {
                let (file, found) = (ground.disk.root().join("meta"), position);
                let expected = format!("the end of the log, {}", end.position);
                Err(Error::corrupt(file, Clean::OFFSET + 8, expected, found))
            }
            _ => Ok(()),
        };
    }
    let life = ground.disk.life(&*ground.meta);
    let life = life.map_err(|e| Error::io("stat", ground.disk.root().join("meta"), e))?;
    let committed = cells.committed();
    let live = cells.life() == life && !cells.failed();
    if live && committed > end.position && !begins(ground, committed, end) {
        return short(format!("records up to position {committed}, which were committed"));
    }
    let durable = cells.said_durable();
    if durable > end.position && !begins(ground, durable, end) {
        let most = ground.log.segment(end.segment)?.end() + ground.superblock.segment_bytes;
        if durable > most {
            let file = ground.disk.root().join("meta");
            let expected = "a position in the log";
            return Err(Error::corrupt(file, cell::DURABLE as u64, expected, durable));
        }
        return short(format!("records up to position {durable}, which were durable"));
    }
    Ok(())
}

/// The position is the start of a segment that a recovery has begun at the end of the log.
fn begins(ground: &Ground<'_>, position: u64, end: Tail) -> bool {
    let size = ground.superblock.segment_bytes;
    let segment = ground.log.find(position / size).ok().flatten();
    segment.is_some_and(|segment| {
        position == segment.start() + HEADER && segment.header().prev_end <= end.position
    })
}

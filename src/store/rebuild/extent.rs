//! The parts of the log that hold its records, segment by segment, and where it ends. A log that is damaged is left to a salvage.

use crate::error::{Error, Result};
use crate::format::meta::{Clean, Counters, Superblock, cell};
use crate::format::segment::{HEADER, name};
use crate::log::{Scan, Segment, Tail, View};
use crate::sys::Pin;

use super::super::clean;
use super::super::removed::Removed;
use super::Ground;

/// The records of one segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) from: u64,
    pub(super) to: u64,
}

/// All extents in order, and counters that hold nothing but where the log ends.
pub(super) fn extents(ground: &Ground<'_>) -> Result<(Vec<Extent>, Counters)> {
    let pin = Pin::new();
    let log = ground.log.view(&pin);
    let numbers = log.numbers()?;
    let end = end(ground, log, &numbers)?;
    check_end(ground, log, end)?;
    let Superblock { id, segment_bytes, .. } = ground.superblock;
    let removed = Removed::read(&**ground.disk, &id, Some(&ground.cells), segment_bytes)?;
    let mut extents: Vec<Extent> = Vec::new();
    let mut before: Option<&Segment> = None;
    for number in numbers.into_iter().filter(|number| *number <= end.segment) {
        let segment = log.segment(number)?;
        let prev_end = segment.header().prev_end;
        let next = before.map_or(0, |before| log.after(before));
        if let Some((lost, _)) = removed.first_lost(next, number) {
            return Err(Error::corrupt(file(ground, lost), 0, "a segment", "no file"));
        }
        let range = match before {
            Some(before) if next == number => before.start() + HEADER..=before.end(),
            _ if number == 0 => 0..=0,
            // Behind segments that compaction has removed.
            _ => next * segment_bytes + HEADER..=segment.start(),
        };
        if !range.contains(&prev_end) {
            let expected = "where the log ended in the segment before";
            return Err(Error::corrupt(file(ground, number), 48, expected, prev_end));
        }
        if let Some(extent) = extents.last_mut() {
            extent.to = prev_end;
            if let Some(before) = before.filter(|_| next != number) {
                extent.to = records_end(log, before)?;
                let known =
                    removed.bytes_of(before.number()).map(|bytes| before.start() + HEADER + bytes);
                if let Some(known) = known.filter(|known| *known != extent.to) {
                    let (file, offset) =
                        (file(ground, before.number()), extent.to - before.start());
                    let expected = format!("records up to position {known}");
                    return Err(Error::corrupt(file, offset, expected, "bytes that are no record"));
                }
            }
        }
        extents.push(Extent { from: segment.start() + HEADER, to: end.position });
        before = Some(segment);
    }
    let counters = Counters { position: end.position, segment: end.segment, ..Counters::default() };
    Ok((extents, counters))
}

/// Where the records of a segment end, by themselves.
fn records_end(log: View<'_>, segment: &Segment) -> Result<u64> {
    let mut end = segment.start() + HEADER;
    let mut scan = Scan::new(log, segment.number(), end)?;
    while let Some(record) = scan.step()?.filter(|record| record.segment() == segment.number()) {
        end = record.end();
    }
    Ok(end)
}

fn file(ground: &Ground<'_>, number: u64) -> std::path::PathBuf {
    ground.disk.root().join(name(number))
}

/// Where the last complete batch ends: sought from the last segment backwards, since a batch may span several.
fn end(ground: &Ground<'_>, log: View<'_>, numbers: &[u64]) -> Result<Tail> {
    let first = numbers.first().copied();
    let first = first.ok_or_else(|| Error::corrupt(file(ground, 0), 0, "a segment", "no file"))?;
    for number in numbers.iter().rev() {
        let start = log.segment(*number)?.start() + HEADER;
        let mut scan = Scan::new(log, *number, start)?;
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
    let position = log.segment(first)?.start() + HEADER;
    Ok(Tail { position, segment: first })
}

/// Fails if there was more log than is left: a commit that is damaged looks like the end.
fn check_end(ground: &Ground<'_>, log: View<'_>, end: Tail) -> Result<()> {
    let (cells, size) = (&ground.cells, ground.superblock.segment_bytes);
    let short = |expected: String| {
        let offset = end.position - log.segment(end.segment)?.start();
        Err(Error::corrupt(file(ground, end.segment), offset, expected, "bytes that are no record"))
    };
    if let Some(clean) = clean::read(cells.region()) {
        let position = clean.counters.position;
        // A recovery leaves the log's end in the segment that it begins, where nothing is yet.
        return match position {
            _ if begins(log, position, end, size) => Ok(()),
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
    if live && committed > end.position && !begins(log, committed, end, size) {
        return short(format!("records up to position {committed}, which were committed"));
    }
    let durable = cells.said_durable();
    if durable > end.position && !begins(log, durable, end, size) {
        let most = log.segment(end.segment)?.end() + ground.superblock.segment_bytes;
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
fn begins(log: View<'_>, position: u64, end: Tail, size: u64) -> bool {
    let segment = log.find(position / size).ok().flatten();
    segment.is_some_and(|segment| {
        position == segment.start() + HEADER && segment.header().prev_end <= end.position
    })
}

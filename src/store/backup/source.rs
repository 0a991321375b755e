//! The store that is backed up, as of a position that is held for as long as this is there.

use crate::error::{Error, Result};
use crate::faults::{Bug, planted};
use crate::format::position::Position;
use crate::format::segment::{HEADER, SegmentHeader, name};
use crate::log::{Log, Record, Tail};
use crate::sys::{Access, Pin};

use super::super::Engine;
use super::super::marks::Hold;

/// A store at one position. What a reader there may need stays.
pub(super) struct Source<'a> {
    pub(super) engine: &'a Engine,
    /// Mappings of its own.
    log: Log,
    /// The position.
    pub(super) at: u64,
    /// Number of the segment in which the log ended there.
    pub(super) last: u64,
    _hold: Option<Hold<'a>>,
}

/// The records of one segment, all of which count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) number: u64,
    /// Position of the segment's first record.
    pub(super) first: u64,
    /// Position of the first record that is meant.
    pub(super) from: u64,
    /// Position after the last.
    pub(super) to: u64,
}

impl<'a> Source<'a> {
    pub(super) fn hold(engine: &'a Engine) -> Result<Source<'a>> {
        let hold = engine.hold_on()?;
        let (log, at) = (engine.fresh_log(), hold.at);
        let hold = (!planted(Bug::BackupUnheld)).then_some(hold);
        let mut source = Source { engine, log, at, last: 0, _hold: hold };
        // The log ends at the end of a segment rather than at the start of one that is not there yet.
        let started = |number: &u64| source.start(*number) + HEADER <= source.at;
        let last = source.log.numbers()?.into_iter().rev().find(started);
        source.last = last.ok_or_else(|| {
            Error::corrupt(
                engine.file("log"),
                0,
                format!("a segment with position {}", source.at),
                "none",
            )
        })?;
        Ok(source)
    }

    pub(super) fn position(&self) -> Position {
        Position(self.at)
    }

    /// Position of a segment's header.
    pub(super) fn start(&self, number: u64) -> u64 {
        number.saturating_mul(self.engine.superblock.segment_bytes)
    }

    /// Makes the log durable up to the position, through whichever handle: what a backup has the store must not lose.
    pub(super) fn make_durable(&self) -> Result<()> {
        let engine = self.engine;
        if let Ok(half) = engine.writer() {
            return engine.sync_to(half, self.at);
        }
        let durable = engine.cells.said_durable();
        if durable >= self.at {
            return Ok(());
        }
        for number in self.numbers()?.into_iter().rev() {
            let path = engine.file(&name(number));
            match engine.disk.open(&name(number), Access::Read) {
                Ok(file) => file.sync().map_err(|e| Error::io("sync", path, e))?,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io("open", path, e)),
            }
            if self.start(number) <= durable {
                break;
            }
        }
        // The log may have gone on in a segment that was made ahead, whose name only the writer's next sync would make durable (I23).
        engine.disk.sync_dir("log").map_err(|e| Error::io("sync", engine.file("log"), e))?;
        // A sync of the writer's that failed may have made clean what is not on the disk (invariant I9).
        if engine.cells.failed() {
            return Err(Error::Poisoned);
        }
        Ok(())
    }

    /// Numbers of the segments up to the position, as they all were at one moment: compaction removes them one after the other.
    pub(super) fn numbers(&self) -> Result<Vec<u64>> {
        let list = || -> Result<Vec<u64>> {
            let numbers = self.log.numbers()?;
            Ok(numbers.into_iter().filter(|number| *number <= self.last).collect())
        };
        let mut before = list()?;
        loop {
            let after = list()?;
            if after == before {
                return Ok(after);
            }
            before = after;
        }
    }

    /// The header of a segment, and where its records end that are before the position; None if compaction has removed it.
    pub(super) fn segment(&self, number: u64) -> Result<Option<(SegmentHeader, u64)>> {
        let pin = Pin::new();
        let log = self.log.view(&pin);
        let Some(segment) = log.find(number)? else { return Ok(None) };
        let header = *segment.header();
        if number == self.last {
            return Ok(Some((header, self.at)));
        }
        let (first, last) = (segment.start() + HEADER, segment.end());
        if let Some(next) = log.find(log.after(segment))? {
            let end = next.header().prev_end;
            if !(first..=last).contains(&end) {
                let expected = "where the log ended in the segment before";
                let file = self.engine.file(&name(next.number()));
                return Err(Error::corrupt(file, 48, expected, end));
            }
            return Ok(Some((header, end)));
        }
        let used = self.engine.usage.used(number);
        let end = used.and_then(|used| first.checked_add(used)).filter(|end| *end <= last);
        // What a crash has left behind the end has no commit mark.
        if let Some(end) = end.filter(|end| !log.has_commit(segment, *end)) {
            return Ok(Some((header, end)));
        }
        if !self.log.numbers()?.contains(&number) {
            return Ok(None);
        }
        let expected = format!("the bytes of the records of segment {number}");
        Err(Error::corrupt(self.engine.file("usage"), 0, expected, "another number"))
    }

    /// Where the first of these segments begins.
    pub(super) fn first(&self, segments: &[u64]) -> Tail {
        let segment = segments.first().copied().unwrap_or(self.last);
        Tail { position: self.start(segment) + HEADER, segment }
    }

    /// What a segment with records up to `to` holds from a position on.
    pub(super) fn extent(&self, number: u64, from: Tail, to: u64) -> Result<Extent> {
        let first = self.start(number) + HEADER;
        let from = if number == from.segment { from.position } else { first };
        if to < from {
            let expected = format!("records up to position {from}");
            return Err(Error::corrupt(self.engine.file(&name(number)), 48, expected, to));
        }
        Ok(Extent { number, first, from, to })
    }

    /// Verifies what is new since a position, before the backup that ends there is touched: it may be all that is left.
    pub(super) fn verify(&self, from: Tail) -> Result<()> {
        for number in self.numbers()?.into_iter().filter(|number| *number >= from.segment) {
            let Some((_, to)) = self.segment(number)? else { continue };
            let extent = self.extent(number, from, to)?;
            self.verify_extent(&extent)?;
        }
        Ok(())
    }

    /// Verifies what is in an extent, unless compaction has just removed it.
    pub(super) fn verify_extent(&self, extent: &Extent) -> Result<()> {
        let pin = Pin::new();
        let Some(segment) = self.log.view(&pin).find(extent.number)? else { return Ok(()) };
        let mut position = extent.from;
        while position < extent.to {
            position = match segment.record(position).filter(|it| self.is_right(it, extent)) {
                Some(record) => record.end(),
                None => return Err(self.engine.damaged_at(extent.number, position, extent.to)),
            };
        }
        Ok(())
    }

    /// A record within an extent, with the checksum that it should have.
    pub(super) fn is_right(&self, record: &Record<'_>, extent: &Extent) -> bool {
        let verified = record.verify() || planted(Bug::BackupUnverified);
        verified && record.end() <= extent.to && !record.is_lost()
    }
}

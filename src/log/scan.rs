//! Reading the log forward from a position, across segments, to the first bytes that are no record *here*.

use crate::error::Result;
use crate::format::segment::HEADER;

use super::{Log, Record, Segment};

/// A walk over the records of the log in the order in which they were written.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    log: &'a Log,
    segment: &'a Segment,
    /// The segment that follows, and whether it has been looked for.
    successor: Option<Option<&'a Segment>>,
    position: u64,
}

impl<'a> Scan<'a> {
    /// Starts at `position`, which is the start of a record or the end of the log, in segment `number`.
    pub(crate) fn new(log: &'a Log, number: u64, position: u64) -> Result<Scan<'a>> {
        Ok(Scan { log, segment: log.segment(number)?, successor: None, position })
    }

    /// Where the next record is, or would be.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The segment that `position` is in.
    pub(crate) fn segment(&self) -> &'a Segment {
        self.segment
    }

    /// The next record, its checksum verified, or None at the end.
    pub(crate) fn step(&mut self) -> Result<Option<Record<'a>>> {
        self.cross()?;
        let found = Record::at(self.segment, self.position).filter(Record::verify);
        if let Some(record) = found {
            self.position = record.end();
        }
        Ok(found)
    }

    /// Moves into the next segment if the log ended here in this one.
    ///
    /// A segment says where the log ended before it, so bytes that a crash left after that place are never read, and its epoch
    /// is never lower, so a segment of an earlier life is never taken for a later one.
    fn cross(&mut self) -> Result<()> {
        while let Some(next) = self.successor()? {
            let header = next.header();
            if header.prev_end != self.position || header.epoch < self.segment.header().epoch {
                break;
            }
            self.position = next.start() + HEADER;
            self.segment = next;
            self.successor = None;
        }
        Ok(())
    }

    fn successor(&mut self) -> Result<Option<&'a Segment>> {
        if let Some(known) = self.successor {
            return Ok(known);
        }
        let found = self.log.find(self.log.after(self.segment))?;
        self.successor = Some(found);
        Ok(found)
    }
}

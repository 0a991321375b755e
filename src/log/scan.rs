//! Reading the log forward from a position, across segments, to the first bytes that are no record *here*.

use crate::error::{Error, Result};
use crate::format::segment::HEADER;

use super::{Record, Segment, View};

/// A walk over the records of the log in the order in which they were written.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    log: View<'a>,
    segment: &'a Segment,
    /// The segment that follows, and whether it has been looked for.
    successor: Option<Option<&'a Segment>>,
    position: u64,
    /// From here on the segment has to be told to read ahead.
    ahead: u64,
    /// No segment is looked for after this one.
    last: u64,
}

impl<'a> Scan<'a> {
    /// Starts at `position`, which is the start of a record or the end of the log, in segment `number`.
    pub(crate) fn new(log: View<'a>, number: u64, position: u64) -> Result<Scan<'a>> {
        let segment = log.segment(number)?;
        if !(segment.start() + HEADER..=segment.end()).contains(&position) {
            let expected = format!("a segment with the position {position}");
            return Err(Error::corrupt(log.log.path(number), 32, expected, number));
        }
        Ok(Scan { log, segment, successor: None, position, ahead: 0, last: u64::MAX })
    }

    /// The same up to a commit that ends in segment `last`: what comes after that is not looked for.
    pub(crate) fn up_to(log: View<'a>, number: u64, position: u64, last: u64) -> Result<Scan<'a>> {
        Ok(Scan { last, ..Scan::new(log, number, position)? })
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
    ///
    /// A segment says where the log ended before it. One of a higher epoch was begun by a recovery there, so what a crash left in
    /// this segment after that place is never read. One of the same epoch may have been created for a batch that was given
    /// up, and the log went on here.
    pub(crate) fn step(&mut self) -> Result<Option<Record<'a>>> {
        loop {
            let next = self.follower()?;
            let epoch = self.segment.header().epoch;
            if next.is_none_or(|next| next.header().epoch == epoch)
                && let Some(record) = self.here().filter(Record::verify)
            {
                self.position = record.end();
                return Ok(Some(record));
            }
            let Some(next) = next else { return Ok(None) };
            self.position = next.start() + HEADER;
            self.segment = next;
            self.successor = None;
            self.ahead = 0;
        }
    }

    /// What looks like a record at the position.
    fn here(&mut self) -> Option<Record<'a>> {
        if self.position >= self.ahead {
            self.ahead = self.segment.read_ahead(self.position);
        }
        Record::at(self.segment, self.position)
    }

    /// The next segment, if it follows from here; its epoch is never lower, so one of an earlier life is never taken for it.
    fn follower(&mut self) -> Result<Option<&'a Segment>> {
        let (position, epoch) = (self.position, self.segment.header().epoch);
        Ok(self.successor()?.filter(|next| {
            let header = next.header();
            header.prev_end == position && header.epoch >= epoch
        }))
    }

    fn successor(&mut self) -> Result<Option<&'a Segment>> {
        if let Some(known) = self.successor {
            return Ok(known);
        }
        let found = match self.segment.number() < self.last {
            true => self.log.find(self.log.log.after(self.segment))?,
            false => None,
        };
        self.successor = Some(found);
        Ok(found)
    }
}

//! The log as one who is pinned sees it: what is found under a pin stays mapped until the pin is dropped, even if compaction
//! takes the segment away meanwhile.

use crate::error::{Error, Result};
use crate::format::PAGE_BYTES;
use crate::format::page::LINE;
use crate::format::segment::name;
use crate::sys::Pin;

use super::{Log, Record, Segment};

/// A log and a pin, both borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'p> {
    pub(super) log: &'p Log,
    pin: &'p Pin,
}

impl Log {
    /// The log for as long as `pin` is there.
    #[inline]
    pub(crate) fn view<'p>(&'p self, pin: &'p Pin) -> View<'p> {
        View { log: self, pin }
    }
}

impl<'p> View<'p> {
    /// Segment `number`, if it is mapped.
    #[inline]
    pub(super) fn known(self, number: u64) -> Option<&'p Segment> {
        self.log.segments.get(number, self.pin)
    }

    /// The segment that a record at `position` is in.
    #[inline]
    pub(crate) fn segment_at(self, position: u64) -> Result<&'p Segment> {
        let number = self.log.number(position);
        match self.known(number) {
            Some(segment) => Ok(segment),
            None => self.segment(number),
        }
    }

    /// Segment `number`, which must exist.
    #[cold]
    pub(crate) fn segment(self, number: u64) -> Result<&'p Segment> {
        self.find(number)?.ok_or_else(|| {
            Error::corrupt(self.log.disk.root().join(name(number)), 0, "a segment", "no file")
        })
    }

    /// Segment `number`, or None when there is no such file.
    pub(crate) fn find(self, number: u64) -> Result<Option<&'p Segment>> {
        if let Some(segment) = self.known(number) {
            return Ok(Some(segment));
        }
        let log = self.log;
        // The file is looked at before the table grows, so that a damaged number cannot make it huge.
        let found = Segment::open(&*log.disk, &log.id, log.segment_bytes, number, log.access)?;
        let found = found.map(|segment| log.insert(segment, self.pin));
        log.let_go_sometimes()?;
        Ok(found)
    }

    /// The bytes of a segment from `position` on are records up to a commit mark.
    pub(crate) fn has_commit(self, segment: &'p Segment, mut position: u64) -> bool {
        while let Some(record) = Record::at(segment, position).filter(Record::verify) {
            if record.header().commit {
                return true;
            }
            position = record.end();
        }
        false
    }

    /// Numbers of all segment files, in order.
    pub(crate) fn numbers(self) -> Result<Vec<u64>> {
        self.log.numbers()
    }

    /// Number of the segment that follows `segment`.
    pub(crate) fn after(self, segment: &Segment) -> u64 {
        self.log.after(segment)
    }

    /// The record at `position`, which a slot, a chain or the caller says is there.
    #[inline]
    pub(crate) fn record(self, position: u64) -> Result<Record<'p>> {
        let segment = self.segment_at(position)?;
        Record::at(segment, position).ok_or_else(|| {
            let file = self.log.disk.root().join(name(segment.number()));
            Error::corrupt(file, position - segment.start(), "a record", "other bytes")
        })
    }

    /// The record at `position` if its segment is mapped; None sends the caller the long way.
    #[inline]
    pub(crate) fn mapped(self, position: u64) -> Option<Record<'p>> {
        Record::at(self.known(self.log.number(position))?, position)
    }

    /// The segment that a record at `position` is in, if its mapping has lost a page.
    pub(crate) fn lost_at(self, position: u64) -> Option<u64> {
        let segment = self.known(self.log.number(position))?;
        segment.region().is_lost().then(|| segment.number())
    }

    /// Asks the processor for the memory of the record at `position`, if its segment is mapped: for its header and a short key.
    #[inline]
    pub(crate) fn prefetch(self, position: u64) {
        self.prefetch_all(position, LINE + 1);
    }

    /// The same for so many bytes.
    #[inline]
    pub(crate) fn prefetch_all(self, position: u64, bytes: usize) {
        if let Some(segment) = self.known(self.log.number(position)) {
            segment.region().prefetch(segment.offset(position), bytes);
        }
    }

    /// For who reads on from `position`, as [`Segment::read_ahead`].
    pub(crate) fn read_ahead(self, position: u64) -> Result<u64> {
        Ok(self.segment_at(position)?.read_ahead(position))
    }

    /// What is mapped takes more than its share of memory, so that pages come one by one.
    #[inline]
    pub(crate) fn is_crowded(self) -> bool {
        self.log.is_crowded()
    }

    /// Has two pages read at once if so many bytes from `position` on reach into the second, which would come after the first. More are not
    /// asked for: where lengths differ much, others would be thrown out of memory for what nobody reads.
    pub(crate) fn fetch(self, position: u64, bytes: u64) {
        let Some(segment) = self.known(self.log.number(position)) else { return };
        let offset = segment.offset(position);
        let bytes = usize::try_from(bytes).map_or(PAGE_BYTES, |bytes| bytes.min(PAGE_BYTES));
        if offset % PAGE_BYTES + bytes > PAGE_BYTES {
            segment.region().will_need(offset, bytes);
        }
    }
}

//! The log: segments, the records in them, appending, scanning. Knows positions and records, nothing of the index.

mod append;
mod record;
mod scan;
mod segment;
mod table;

use std::path::PathBuf;
use std::sync::Arc;

pub(crate) use append::Tail;
pub(crate) use record::Record;
pub(crate) use scan::Scan;
pub(crate) use segment::Segment;

use crate::error::{Error, Result};
use crate::faults::{Bug, Point, planted, reach};
use crate::format::StoreId;
use crate::format::segment::name;
use crate::sys::{Access, Disk};
use table::SegmentTable;

/// The log of one store, as one handle sees it: each segment is mapped once, when it is first needed, and stays mapped.
#[derive(Debug)]
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    id: StoreId,
    segment_bytes: u64,
    shift: u32,
    access: Access,
    segments: SegmentTable,
}

impl Log {
    pub(crate) fn new(disk: Arc<dyn Disk>, id: StoreId, segment_bytes: u64, access: Access) -> Log {
        let shift = segment_bytes.trailing_zeros();
        Log { disk, id, segment_bytes, shift, access, segments: SegmentTable::new() }
    }

    /// The file of segment `number`.
    fn path(&self, number: u64) -> PathBuf {
        self.disk.root().join(name(number))
    }

    /// Number of the segment that a record at `position` is in.
    #[inline]
    fn number(&self, position: u64) -> u64 {
        position >> self.shift
    }

    /// The segment that a record at `position` is in.
    #[inline]
    pub(crate) fn segment_at(&self, position: u64) -> Result<&Segment> {
        let number = self.number(position);
        match self.segments.get(number) {
            Some(segment) => Ok(segment),
            None => self.segment(number),
        }
    }

    /// Segment `number`, which must exist.
    #[cold]
    pub(crate) fn segment(&self, number: u64) -> Result<&Segment> {
        self.find(number)?
            .ok_or_else(|| Error::corrupt(self.path(number), 0, "a segment", "no file"))
    }

    /// Segment `number`, or None when there is no such file.
    pub(crate) fn find(&self, number: u64) -> Result<Option<&Segment>> {
        if let Some(segment) = self.segments.get(number) {
            return Ok(Some(segment));
        }
        let found = Segment::open(&*self.disk, &self.id, self.segment_bytes, number, self.access)?;
        Ok(found.map(|segment| self.segments.insert(number, segment)))
    }

    /// The record at `position`, which a slot, a chain or the caller says is there.
    #[inline]
    pub(crate) fn record(&self, position: u64) -> Result<Record<'_>> {
        let segment = self.segment_at(position)?;
        Record::at(segment, position).ok_or_else(|| {
            let file = self.disk.root().join(name(segment.number()));
            Error::corrupt(file, position - segment.start(), "a record", "other bytes")
        })
    }

    /// The record at `position` if its segment is mapped; None sends the caller the long way.
    #[inline]
    pub(crate) fn mapped(&self, position: u64) -> Option<Record<'_>> {
        Record::at(self.segments.get(self.number(position))?, position)
    }

    /// The first segment whose mapping has lost a page.
    pub(crate) fn lost(&self) -> Option<u64> {
        self.segments.iter().find(|segment| segment.region().is_lost()).map(Segment::number)
    }

    /// The segment that a record at `position` is in, if its mapping has lost a page.
    pub(crate) fn lost_at(&self, position: u64) -> Option<u64> {
        let segment = self.segments.get(self.number(position))?;
        segment.region().is_lost().then(|| segment.number())
    }

    /// Asks the processor for the memory of the record at `position`, if its segment is mapped.
    #[inline]
    pub(crate) fn prefetch(&self, position: u64) {
        if let Some(segment) = self.segments.get(self.number(position)) {
            segment.prefetch(position);
        }
    }

    /// Makes the bytes in `from..to` durable. Only what this handle has mapped can be dirty through it.
    pub(crate) fn sync(&self, from: u64, to: u64) -> Result<()> {
        if from >= to || planted(Bug::SkipLogSync) {
            return Ok(());
        }
        for segment in self.segments.between(self.number(from), self.number(to - 1)) {
            segment
                .sync(from, to)
                .map_err(|e| Error::io("sync", self.path(segment.number()), e))?;
        }
        Ok(())
    }

    /// Marks the pages in `from..to` dirty again, so that a following sync writes them whatever an earlier, failed one did.
    pub(crate) fn redirty(&self, from: u64, to: u64) -> Result<()> {
        if from >= to || planted(Bug::SkipRedirty) {
            return Ok(());
        }
        // Those that are there, since a damaged cell may say anything.
        let range = self.number(from)..=self.number(to - 1);
        for number in self.numbers()?.into_iter().filter(|number| range.contains(number)) {
            if let Some(segment) = self.find(number)? {
                segment.redirty(from, to);
            }
        }
        Ok(())
    }

    /// Maps the segments in `from..to`, so that a sync reaches what another handle has left dirty there.
    pub(crate) fn map(&self, from: u64, to: u64) -> Result<()> {
        if from < to {
            for number in self.number(from)..=self.number(to - 1) {
                self.find(number)?;
            }
        }
        Ok(())
    }

    /// Numbers of all segment files, in order.
    pub(crate) fn numbers(&self) -> Result<Vec<u64>> {
        let names = self
            .disk
            .list("log")
            .map_err(|e| Error::io("list", self.disk.root().join("log"), e))?;
        let mut numbers: Vec<u64> = names
            .iter()
            .filter(|name| name.len() >= 10 && name.bytes().all(|b| b.is_ascii_digit()))
            .filter_map(|name| name.parse().ok())
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Unlinks the segments from `number` on, the last one first. Their mappings stay.
    pub(crate) fn remove_from(&self, number: u64) -> Result<()> {
        for number in self.numbers()?.into_iter().rev().take_while(|n| *n >= number) {
            let name = name(number);
            self.disk
                .remove(&name)
                .map_err(|e| Error::io("remove", self.disk.root().join(&name), e))?;
            reach(Point::SealRemoved);
        }
        Ok(())
    }

    /// A segment from `number` on is mapped.
    pub(crate) fn maps_from(&self, number: u64) -> bool {
        self.segments.iter().any(|segment| segment.number() >= number)
    }

    /// Forgets the mappings of segments from `number` on, whose files are about to be replaced.
    pub(crate) fn forget_from(&mut self, number: u64) {
        self.segments.forget_from(number);
    }
}

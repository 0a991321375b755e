//! The log: segments, the records in them, appending, scanning. Knows positions and records, nothing of the index.

mod append;
mod around;
mod make;
mod record;
mod scan;
mod segment;
mod spare;
mod table;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

pub(crate) use append::{Draft, Tail};
pub use around::ReadAhead;
pub(crate) use make::{SPARE, UNFINISHED};
pub(crate) use record::Record;
pub(crate) use scan::Scan;
pub(crate) use segment::{LITTLE, Segment};
pub(crate) use view::View;

use crate::error::{Error, Result};
use crate::faults::{Bug, Point, planted, reach};
use crate::format::StoreId;
use crate::format::segment::name;
use crate::sys::sync::Mutex;
use crate::sys::{Access, Disk, Limbo, Pin};
use around::Around;
use table::SegmentTable;

/// The log of one store, as one handle sees it: each segment is mapped once, when it is first needed, and stays
/// mapped until compaction has taken it away and nobody looks at it any more.
#[derive(Debug)]
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    id: StoreId,
    segment_bytes: u64,
    shift: u32,
    access: Access,
    segments: SegmentTable,
    /// The segment that the log comes to next, if it is made already.
    spare: Mutex<Option<Segment>>,
    around: Around,
    /// Segments that are gone, while someone in this process may still look at them.
    gone: Limbo<Segment>,
    /// How many segments have been mapped.
    mapped: AtomicU32,
    /// Mappings of segments that are gone stay.
    keeps: bool,
}

/// A reader looks which segments are gone each time that it has mapped so many.
const OFTEN: u32 = 8;

impl Log {
    pub(crate) fn new(disk: Arc<dyn Disk>, id: StoreId, segment_bytes: u64, access: Access) -> Log {
        let shift = segment_bytes.trailing_zeros();
        Log {
            disk,
            id,
            segment_bytes,
            shift,
            access,
            segments: SegmentTable::new(),
            spare: Mutex::new(None),
            around: Around::new(ReadAhead::Always),
            gone: Limbo::new(),
            mapped: AtomicU32::new(0),
            keeps: false,
        }
    }

    /// The same log, but it keeps what another process has removed until it is told to let go.
    pub(crate) fn keeping(self) -> Log {
        Log { keeps: true, ..self }
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

    /// The first segment whose mapping has lost a page.
    pub(crate) fn lost(&self) -> Option<u64> {
        let pin = Pin::new();
        self.segments.iter(&pin).find(|segment| segment.region().is_lost()).map(Segment::number)
    }

    /// Makes the bytes in `from..to` durable. Only what this handle has mapped can be dirty through it.
    pub(crate) fn sync(&self, from: u64, to: u64) -> Result<()> {
        if from >= to || planted(Bug::SkipLogSync) {
            return Ok(());
        }
        let pin = Pin::new();
        let segments = || self.segments.between(self.number(from), self.number(to - 1), &pin);
        let mut named = true;
        for segment in segments() {
            segment
                .sync_log(from, to)
                .map_err(|e| Error::io("sync", self.path(segment.number()), e))?;
            named &= segment.is_named();
        }
        if !named {
            self.sync_names(segments())?;
        }
        Ok(())
    }

    /// Segments whose names may not be durable yet: this handle has begun them in a hurry, or another one has (invariant I23).
    #[cold]
    fn sync_names<'a>(&self, segments: impl Iterator<Item = &'a Segment>) -> Result<()> {
        if !planted(Bug::SkipNameSync) && !planted(Bug::BackupUnsynced) {
            let dir = || self.disk.root().join("log");
            self.disk.sync_dir("log").map_err(|e| Error::io("sync", dir(), e))?;
        }
        segments.for_each(Segment::set_named);
        Ok(())
    }

    /// Marks the pages in `from..to` dirty again, so that a following sync writes them whatever an earlier, failed one did.
    pub(crate) fn redirty(&self, from: u64, to: u64) -> Result<()> {
        if from >= to || planted(Bug::SkipRedirty) {
            return Ok(());
        }
        let pin = Pin::new();
        // Those that are there, since a damaged cell may say anything.
        let range = self.number(from)..=self.number(to - 1);
        for number in self.numbers()?.into_iter().filter(|number| range.contains(number)) {
            if let Some(segment) = self.view(&pin).find(number)? {
                segment.redirty(from, to);
            }
        }
        Ok(())
    }

    /// Maps the segments in `from..to`, so that a sync reaches what another handle has left dirty there.
    pub(crate) fn map(&self, from: u64, to: u64) -> Result<()> {
        if from < to {
            let pin = Pin::new();
            for number in self.number(from)..=self.number(to - 1) {
                self.view(&pin).find(number)?;
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
            self.remove(number)?;
            reach(Point::SealRemoved);
        }
        Ok(())
    }

    fn remove(&self, number: u64) -> Result<()> {
        let name = name(number);
        self.disk.remove(&name).map_err(|e| Error::io("remove", self.disk.root().join(&name), e))
    }

    /// Unlinks a segment that nothing leads to any more. Who looks at it in this process keeps its mapping, and so does every
    /// other process.
    pub(crate) fn retire(&self, number: u64) -> Result<()> {
        self.remove(number)?;
        self.segments.take_away(number, &self.gone);
        Ok(())
    }

    /// Lets go of the mappings of segments that are gone, as far as nobody looks at them any more.
    pub(crate) fn collect(&self) {
        self.gone.collect();
    }

    /// Every so many segments that are mapped, lets go of those that another process has removed.
    fn let_go_sometimes(&self) -> Result<()> {
        let keeps = self.keeps || self.access == Access::Write;
        if keeps || self.mapped.fetch_add(1, Relaxed) % OFTEN != OFTEN - 1 {
            return Ok(());
        }
        self.let_go()
    }

    /// Lets go of segments that another process has removed. No segment may be begun meanwhile through this handle.
    pub(crate) fn let_go(&self) -> Result<()> {
        let numbers = self.numbers()?;
        let is_gone = |number: u64| numbers.binary_search(&number).is_err();
        self.segments.take_away_all(is_gone, &self.gone);
        self.collect();
        Ok(())
    }

    /// Lets go of the segments before `number`, as far as nobody looks at them any more.
    pub(crate) fn let_go_before(&self, number: u64) {
        self.segments.take_away_all(|it| it < number, &self.gone);
        self.collect();
    }

    /// A segment from `number` on is mapped.
    pub(crate) fn maps_from(&self, number: u64) -> bool {
        let pin = Pin::new();
        self.segments.iter(&pin).any(|segment| segment.number() >= number)
    }

    /// Forgets the mappings of segments from `number` on, whose files are about to be replaced.
    pub(crate) fn forget_from(&mut self, number: u64) {
        self.segments.forget_from(number);
    }
}

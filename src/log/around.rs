//! What the kernel reads around a page that is not in memory.
//!
//! As long as memory holds the store that is what fills it soonest. Beyond that each such read throws out what others need: a
//! get of a store four times larger than its memory read 13 MB where a page would have done.

use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use crate::error::Result;
use crate::sys::{Access, Pin};

use super::{Log, Segment, Tail};

/// Whether the kernel reads what is around a page of the store that is not in memory.
///
/// Where memory holds all of the store, that fills it in large pieces, and most first reads find their page there already. Where it does
/// not, each piece throws out what others need: then one page for each read is best. Either way what reads the log from end
/// to end (compaction, verification, recovery, a change feed) reads it in large pieces.
///
/// ```
/// use mapstone::{Options, ReadAhead};
/// # let dir = tempfile::tempdir()?;
/// // Much of the machine's memory is somebody else's.
/// let store = Options::new().read_ahead(ReadAhead::Never).open(dir.path().join("db"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReadAhead {
    /// While the store takes up to half of the memory that the process may use: what the machine has, or less if a control group
    /// says so.
    #[default]
    Auto,
    /// Whatever the size.
    Always,
    /// Never.
    Never,
}

/// Bytes of a store that is held by every memory.
const FEW: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct Around {
    policy: ReadAhead,
    /// Bytes of segments that are mapped, and of some that no longer are.
    mapped: AtomicU64,
    /// The greatest number of those.
    newest: AtomicU64,
    /// How many bytes memory holds, once that was asked.
    most: OnceLock<u64>,
    crowded: AtomicBool,
}

impl Around {
    pub(super) fn new(policy: ReadAhead) -> Around {
        let (mapped, newest) = (AtomicU64::new(0), AtomicU64::new(0));
        Around { policy, mapped, newest, most: OnceLock::new(), crowded: AtomicBool::new(false) }
    }
}

impl Log {
    /// Reads ahead as `policy` says, and not always, in a store of at least so many bytes.
    pub(crate) fn reading_ahead(self, policy: ReadAhead, bytes: u64) -> Log {
        let log = Log { around: Around::new(policy), ..self };
        let crowded = match policy {
            // To ask takes longer than to open.
            ReadAhead::Auto => bytes > FEW && bytes > log.most(),
            _ => bytes > log.most(),
        };
        log.around.crowded.store(crowded, Relaxed);
        log
    }

    /// What is mapped takes more than its share of memory, so that pages are to come one by one.
    #[inline]
    pub(crate) fn is_crowded(&self) -> bool {
        self.around.crowded.load(Relaxed)
    }

    /// Takes a segment into the table.
    pub(super) fn insert<'p>(&'p self, segment: Segment, pin: &'p Pin) -> &'p Segment {
        let segment = self.segments.insert(segment.number(), segment, pin);
        let others = self.around.mapped.fetch_add(segment.header().bytes, Relaxed);
        let before = self.around.newest.fetch_max(segment.number(), Relaxed);
        if self.is_crowded() {
            self.scatter(self.segments.get(before, pin).into_iter().chain([segment]));
        } else if others > 0 && self.is_too_much(pin) {
            self.around.crowded.store(true, Relaxed);
            self.scatter(self.segments.iter(pin));
        }
        segment
    }

    /// How many bytes of it memory holds for sure.
    fn most(&self) -> u64 {
        *self.around.most.get_or_init(|| match self.around.policy {
            ReadAhead::Always => u64::MAX,
            ReadAhead::Never => 0,
            ReadAhead::Auto => self.disk.memory() / 2,
        })
    }

    /// Looks how much is mapped.
    fn is_too_much(&self, pin: &Pin) -> bool {
        let most = self.most();
        if self.around.mapped.load(Relaxed) <= most {
            return false;
        }
        let mapped = self.segments.iter(pin).map(|segment| segment.header().bytes).sum();
        self.around.mapped.store(mapped, Relaxed);
        mapped > most
    }

    /// The same for the part of the segment with the tail that was there before this handle.
    pub(crate) fn scatter_before(&self, tail: Tail) -> Result<()> {
        if self.is_crowded() {
            let pin = Pin::new();
            self.view(&pin).segment(tail.segment)?.scatter_before(tail.position);
        }
        Ok(())
    }

    /// Has the pages of segments come by themselves, but not of the one that is written: new pages cost less in pieces.
    fn scatter<'p>(&self, segments: impl Iterator<Item = &'p Segment>) {
        let written = self.around.newest.load(Relaxed);
        let all = self.access == Access::Read;
        segments.filter(|it| all || it.number() != written).for_each(Segment::scatter);
    }
}

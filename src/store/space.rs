//! Which segments there are, and how much of each is live: kept as commits go by, and brought back after a crash.

use std::collections::BTreeSet;

use crate::chunks::Chunks;
use crate::error::{Error, Result};
use crate::format::checkpoint::ROW_WORDS;
use crate::format::segment::HEADER;
use crate::format::usage::{HEADER as USAGE_HEADER, NAME, encode, is_header};
use crate::format::{PAGE, StoreId, segment};
use crate::log::{Scan, Segment, View};
use crate::sys::{Access, Disk, Pin};
use crate::usage::{Live, Usage};

use super::plan::Plan;
use super::{Engine, Writer};

/// What a checkpoint says about one segment: its number, and the words of `usage`.
pub(super) type SegmentRow = [u64; ROW_WORDS];

/// Opens the file `usage`, and makes one where there is none if this handle may write.
pub(super) fn open_usage(disk: &dyn Disk, id: &StoreId, access: Access) -> Result<Usage> {
    let path = disk.root().join(NAME);
    let file = match disk.open(NAME, access) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            if access == Access::Read {
                return Ok(Usage::new(None));
            }
            create_usage(disk, id)?;
            disk.open(NAME, access).map_err(|e| Error::io("open", &path, e))?
        }
        Err(e) => return Err(Error::io("open", path, e)),
    };
    let mut header = [0; USAGE_HEADER];
    match file.read_at(&mut header, 0) {
        // Cut short: what is missing is zeros.
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => header.fill(0),
        result => result.map_err(|e| Error::io("read", &path, e))?,
    }
    if !is_header(&header, id) {
        return Err(Error::corrupt(
            path,
            0,
            "the header of this store's segment usage",
            "other bytes",
        ));
    }
    Ok(Usage::new(Some(Chunks::new(file, path, access, 1))))
}

/// Makes the file `usage`, in which nothing is known yet.
pub(super) fn create_usage(disk: &dyn Disk, id: &StoreId) -> Result<()> {
    const UNFINISHED: &str = "usage.unfinished";
    let path = disk.root().join(NAME);
    let file = disk.create(UNFINISHED, 2 * PAGE).map_err(|e| Error::io("create", &path, e))?;
    let finish = || {
        file.write_at(&encode(id), 0)?;
        file.sync()?;
        disk.rename(UNFINISHED, NAME)
    };
    finish().map_err(|e| Error::io("create", path, e))
}

impl Engine {
    /// Number of the segment that a record at `position` is in.
    #[inline]
    pub(super) fn number(&self, position: u64) -> u64 {
        position >> self.superblock.segment_bytes.trailing_zeros()
    }

    /// Says that `usage` is what it is as of the commit at `position`; or that of nothing, if this handle could not store all of it.
    /// Commits and recoveries end with this. Compaction stores only where it has looked before, and what was mapped once stays so.
    pub(super) fn set_counted(&self, position: u64) {
        self.cells.set_counted(if self.usage.has_missed() { 0 } else { position });
    }

    /// Takes note of the records that the index leads to since the last commit, and of those that it led to before.
    #[inline]
    pub(super) fn account<'a>(
        &self,
        writer: &mut Writer,
        plans: impl Iterator<Item = (&'a Plan, bool)>,
    ) {
        // Nearly all records of a commit are in one segment.
        let (mut number, mut sum) = (u64::MAX, Live::default());
        for (plan, put) in plans {
            let (at, more) = (self.number(plan.position), Live::of(put, plan.size));
            match sum.plus(more).filter(|_| at == number) {
                Some(both) => sum = both,
                None => {
                    self.usage.add(number, sum);
                    (number, sum) = (at, more);
                }
            }
            self.account_prev(plan);
            if let Some(recount) = &mut writer.recount {
                recount.overwritten(plan.prev, Live::of(plan.live_before, plan.prev_size));
            }
        }
        self.usage.add(number, sum);
        // What was missed by whichever handle stays so until it is mended.
        if self.cells.counted() != 0 {
            self.set_counted(writer.counters.position);
        }
    }

    /// Takes note of one record. In a replay, whatever version the slot shows already, the counts are as of the record before.
    #[inline]
    pub(super) fn account_one(&self, plan: &Plan, put: bool) {
        self.usage.add(self.number(plan.position), Live::of(put, plan.size));
        self.account_prev(plan);
    }

    #[inline]
    fn account_prev(&self, plan: &Plan) {
        if plan.prev != 0 {
            let before = Live::of(plan.live_before, plan.prev_size);
            self.usage.sub(self.number(plan.prev), before);
        }
    }

    /// Takes note of segments that a batch has begun: after the one where the log ended, up to `last`.
    pub(super) fn account_segments(&self, ended: u64, last: u64) -> Result<()> {
        if ended == last {
            return Ok(());
        }
        let pin = Pin::new();
        let log = self.log.view(&pin);
        let mut number = ended;
        while number < last {
            let next = log.after(log.segment(number)?);
            let segment = log.segment(next)?;
            self.usage.set_used(
                number,
                Some(used(segment.header().prev_end, log.segment(number)?.start())),
            );
            self.usage.set_used(next, None);
            self.usage.set_live(next, Some(Live::default()));
            number = next;
        }
        if let Some(half) = &self.writer {
            half.background.nudge();
        }
        Ok(())
    }

    /// Nothing is known any more of any segment but what `rows` say.
    /// The log ends in segment `last`.
    pub(super) fn reset_usage(&self, rows: &[SegmentRow], last: u64) -> Result<()> {
        let mut numbers = self.log.numbers()?;
        numbers.retain(|number| *number <= last);
        self.usage.ensure(last)?;
        for number in &numbers {
            self.usage.set_live(*number, None);
            self.usage.set_used(*number, None);
        }
        for [number, puts, tombstones, used] in rows {
            if numbers.binary_search(number).is_ok() {
                let known = crate::format::usage::bytes;
                let live = known(*puts).zip(known(*tombstones));
                self.usage
                    .set_live(*number, live.map(|(puts, tombstones)| Live { puts, tombstones }));
                self.usage.set_used(*number, known(*used));
            }
        }
        Ok(())
    }

    /// After a crash: how many tombstones of a segment are buried of which nothing else is left, no record tells.
    pub(super) fn doubt_graves(&self) -> Result<()> {
        for number in self.log.numbers()? {
            if self.usage.live(number).is_some_and(|live| live.puts == 0 && live.tombstones > 0) {
                self.usage.set_live(number, None);
            }
        }
        Ok(())
    }

    /// Learns from the headers of segments up to the `last` where the ones before them end, as far as that is not known.
    pub(super) fn learn_used(&self, last: u64) -> Result<()> {
        self.learn(last, |number| self.usage.used(number))
    }

    /// Some handle could not store all of `usage`.
    pub(super) fn is_usage_lost(&self) -> bool {
        self.usage.has_missed() || self.cells.counted() == 0
    }

    /// What some handle could not store is not known, once words can be mapped again; where segments end, their headers say. The
    /// writer lock is held.
    pub(super) fn mend_usage(&self, last: u64) -> Result<()> {
        if !self.is_usage_lost() {
            return Ok(());
        }
        self.usage.try_again();
        for number in self.log.numbers()? {
            self.usage.set_live(number, None);
        }
        self.learn(last, |_| None)?;
        self.set_counted(self.committed());
        Ok(())
    }

    fn learn(&self, last: u64, known: impl Fn(u64) -> Option<u64>) -> Result<()> {
        let (log, pin) = (self.fresh_log(), Pin::new());
        let log = log.view(&pin);
        let mut next = 0;
        for number in self.log.numbers()? {
            // What lies within a longer segment was left by a batch that was given up, as what lies after the end.
            if number < next && number < last {
                self.usage.set_used(number, Some(0));
                self.usage.set_live(number, Some(Live::default()));
            }
            if number < next || number >= last {
                continue;
            }
            if let Some(used) = known(number) {
                next = number
                    + HEADER.saturating_add(used).div_ceil(self.superblock.segment_bytes).max(1);
                continue;
            }
            let segment = log.segment(number)?;
            next = log.after(segment);
            if next <= last
                && let Some(next) = log.find(next)?
            {
                let end = next.header().prev_end;
                self.usage.set_used(number, Some(used(end, segment.start())));
            }
        }
        Ok(())
    }

    /// Where the records of a segment end in which the log does not, by `usage`, which may be damaged: so the next segment has to say
    /// the same, or what lies there must be no batch. Otherwise it is not known from then on.
    pub(super) fn end_of_records(&self, number: u64) -> Result<Option<u64>> {
        let Some(used) = self.usage.used(number) else { return Ok(None) };
        let (log, pin) = (self.fresh_log(), Pin::new());
        let log = log.view(&pin);
        let segment = log.segment(number)?;
        let end = (segment.start() + segment::HEADER).checked_add(used);
        let end = end.filter(|end| *end <= segment.end());
        let right = match (end, log.find(log.after(segment))?) {
            (Some(end), Some(next)) => next.header().prev_end == end,
            // What a crash has left behind the end has no commit mark.
            (Some(end), None) => !log.has_commit(segment, end),
            (None, _) => false,
        };
        if !right {
            self.usage.set_used(number, None);
            self.learn_used(log.after(segment))?;
        }
        Ok(end.filter(|_| right))
    }

    /// What is known of all segments, for a checkpoint of a log that ends in segment `last`: where its records end is not known,
    /// whatever was noted for a batch that was given up. A file after it is none of the log's, whatever was noted of it once.
    pub(super) fn segment_rows(&self, before: &[u64], last: u64) -> Result<Vec<SegmentRow>> {
        let word = crate::format::usage::word;
        let counted = self.cells.counted() != 0;
        let row = |number: u64| {
            let live = self.usage.live(number).filter(|_| counted);
            let (puts, tombstones) = (live.map(|l| l.puts), live.map(|l| l.tombstones));
            let used = self.usage.used(number).filter(|_| counted && number < last);
            [number, word(puts), word(tombstones), word(used)]
        };
        let now = self.log.numbers()?;
        let numbers: BTreeSet<u64> = before.iter().chain(&now).copied().collect();
        Ok(numbers.range(..=last).copied().map(row).collect())
    }

    /// After a killed process: the last batch may have been counted in part, so nothing is known of the segments it touched.
    pub(super) fn doubt_usage(&self) -> Result<()> {
        let (counted, committed) = (self.cells.counted(), self.cells.committed());
        if counted == committed {
            return Ok(());
        }
        let numbers = self.log.numbers()?;
        let at = numbers.partition_point(|number| *number <= self.number(counted.max(1) - 1));
        let first = at.checked_sub(1).map(|at| numbers[at]);
        let pin = Pin::new();
        let mut touched = None;
        if let (Some(first), true) = (first, counted <= committed) {
            touched = self.touched(self.log.view(&pin), first, counted, committed).ok();
        }
        for number in touched.unwrap_or(numbers) {
            self.usage.set_live(number, None);
        }
        self.set_counted(committed);
        Ok(())
    }

    /// Segments that the commits from `from` to `to` have written to or taken something from.
    fn touched(&self, log: View<'_>, first: u64, from: u64, to: u64) -> Result<Vec<u64>> {
        let mut scan = Scan::new(log, first, from)?;
        let mut touched = Vec::new();
        while scan.position() < to {
            let Some(record) = scan.step()? else { break };
            touched.push(self.number(record.position()));
            touched.push(self.number(record.header().prev));
        }
        if scan.position() != to {
            return Err(self.missing(
                scan.segment(),
                scan.position(),
                format!("records up to {to}"),
            ));
        }
        touched.sort_unstable();
        touched.dedup();
        Ok(touched)
    }

    /// Records are missing where a segment should have some.
    pub(super) fn missing(&self, segment: &Segment, position: u64, expected: String) -> Error {
        let file = self.file(&segment::name(segment.number()));
        Error::corrupt(file, position - segment.start(), expected, "bytes that are no record")
    }
}

/// Bytes of the records of a segment that begins at `start`, in a log that went on elsewhere after `end`.
fn used(end: u64, start: u64) -> u64 {
    end.saturating_sub(start + segment::HEADER)
}

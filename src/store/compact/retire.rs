//! Removing segments to which nothing leads any more.
//!
//! Invariant I15: before anything goes that a reader at a position before H may need, the horizon is H, and nobody holds a
//! position before it. A reader that holds none looks at the horizon when it found nothing, and starts again if it has passed.

use std::sync::atomic::Ordering::{Acquire, Release};

use crate::error::{Error, Result};
use crate::faults::{Bug, Point, planted, reach};
use crate::log::Scan;
use crate::sys::Pin;
use crate::usage::Live;

use super::super::{Engine, WriterHalf};
use super::Compactor;

/// Tombstones that are buried while writers wait.
const GRAVES: usize = 256;

/// A segment to which the index leads no more, but for tombstones that hide nothing.
#[derive(Debug)]
pub(super) struct Drained {
    number: u64,
    /// End of the log when it was found to be so: readers before it may still come here.
    at: u64,
    /// Where its records end, if there are such tombstones.
    graves: Option<u64>,
    /// The checkpoint sequence then; None while someone may still need the segment.
    settled: Option<u64>,
}

impl Drained {
    pub(super) fn new(number: u64, at: u64, graves: Option<u64>) -> Drained {
        Drained { number, at, graves, settled: None }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// It goes once another checkpoint than those up to number `durable` is durable.
    pub(super) fn waits_for_checkpoint(&self, durable: u64) -> bool {
        self.settled.is_some_and(|settled| settled >= durable)
    }
}

impl Engine {
    /// Lets the segment go that has been drained for longest, if nobody holds it any more: its tombstones are buried. False if
    /// there is none. One with tombstones has to be the oldest that there is (invariant I18).
    pub(super) fn settle_drained(
        &self,
        half: &WriterHalf,
        compactor: &mut Compactor,
    ) -> Result<bool> {
        let oldest = self.log.numbers()?.first().copied();
        let unsettled = compactor.drained.iter_mut().filter(|drained| {
            let hides = drained.graves.is_some() && oldest != Some(drained.number);
            drained.settled.is_none() && (!hides || planted(Bug::BuryEarly))
        });
        let Some(drained) = unsettled.min_by_key(|drained| drained.at) else { return Ok(false) };
        if self.cells.horizon() < drained.at && !planted(Bug::SkipHorizon) {
            self.cells.set_horizon(drained.at);
        }
        reach(Point::CompactHorizon);
        if !planted(Bug::IgnoreMarks) && self.is_held_before(drained.at)? {
            return Ok(false);
        }
        if let Some(end) = drained.graves {
            // A tombstone that is not durable would be missed by what a power cut takes back.
            if !planted(Bug::BuryVolatile) {
                self.sync_to(half, drained.at)?;
            }
            // What a killed writer has removed may come back with a power cut, and is what they hide.
            self.sync_log_dir(half)?;
            reach(Point::CompactReleased);
            self.bury(half, drained.number, end)?;
        }
        half.touched();
        drained.settled = Some(self.cells.sequence());
        if drained.graves.is_some() {
            (compactor.tidied, compactor.moved) = (None, None);
        }
        reach(Point::CompactSettled);
        Ok(true)
    }

    /// Gives up the slots of all tombstones of a segment.
    fn bury(&self, half: &WriterHalf, number: u64, end: u64) -> Result<()> {
        let pin = Pin::new();
        let log = self.log.view(&pin);
        let start = log.segment(number)?.start() + crate::format::segment::HEADER;
        let mut scan = Scan::new(log, number, start)?;
        let mut graves = Vec::new();
        while scan.position() < end {
            let Some(record) = scan.step()? else { break };
            if !record.is_put() {
                let hash = self.hasher.hash(record.header().table, record.key());
                graves.push((hash, record.position(), record.header().size()));
            }
            if graves.len() == GRAVES || scan.position() >= end {
                let mut writer = self.turn()?;
                let reference = writer.tail.position;
                for (hash, position, size) in graves.drain(..) {
                    if writer.editor.bury(&self.index, hash, position, reference)? {
                        self.usage.sub(number, Live::of(false, size));
                    }
                    reach(Point::CompactBuried);
                }
                half.touched();
                drop(writer);
                half.state.let_others_pass();
            }
        }
        Ok(())
    }

    /// On a full disk what has been drained so far goes at once, without waiting for the rest; returns the bytes won.
    pub(super) fn make_room(&self, half: &WriterHalf, compactor: &mut Compactor) -> Result<u64> {
        while self.settle_drained(half, compactor)? {}
        let durable = half.durable_sequence();
        if compactor.drained.iter().any(|drained| drained.waits_for_checkpoint(durable)) {
            self.checkpoint()?;
        }
        self.retire(half, compactor)
    }

    /// Unlinks a segment for which all is done; returns its bytes, 0 if there is none.
    pub(super) fn retire(&self, half: &WriterHalf, compactor: &mut Compactor) -> Result<u64> {
        // What was unlinked takes space for as long as somebody looks at it.
        self.log.collect();
        let durable = half.durable_sequence();
        let early = planted(Bug::UnlinkBeforeCheckpoint);
        let ready =
            |drained: &Drained| drained.settled.is_some_and(|settled| durable > settled || early);
        if !compactor.drained.iter().any(ready) {
            return Ok(0);
        }
        let kept = self.first_kept(&self.log.numbers()?)?;
        let free = |drained: &Drained| ready(drained) && kept.is_none_or(|it| drained.number < it);
        let Some(at) = compactor.drained.iter().position(free) else { return Ok(0) };
        let number = compactor.drained[at].number;
        // A failure may have come after the file had gone.
        let bytes = self.log.view(&Pin::new()).find(number)?.map(|segment| segment.header().bytes);
        if half.shared.is_some() {
            // One after the other, also after a power cut: another handle may have died before it had its own made durable.
            self.sync_log_dir(half)?;
        }
        half.unlinking.store(true, Release);
        if bytes.is_some() {
            self.log.retire(number)?;
        }
        reach(Point::CompactUnlinked);
        compactor.drained.remove(at);
        self.sync_log_dir(half)?;
        half.unlinking.store(false, Release);
        reach(Point::CompactRemoved);
        // Not before: as long as it may come back a checkpoint has to say what is in it.
        self.usage.set_live(number, None);
        self.usage.set_used(number, None);
        reach(Point::CompactForgotten);
        self.log.collect();
        self.find_oldest(half)?;
        Ok(bytes.unwrap_or_default())
    }

    /// The segments that there are. What is not among them does not come back: a checkpoint would know nothing of it.
    pub(in crate::store) fn lasting_segments(&self, half: &WriterHalf) -> Result<Vec<u64>> {
        let numbers = self.log.numbers()?;
        // Of another handle nobody knows whether it died while it removed one.
        if half.shared.is_some() || half.unlinking.load(Acquire) {
            self.sync_log_dir(half)?;
        }
        Ok(numbers)
    }

    /// Makes durable which segments there are.
    fn sync_log_dir(&self, half: &WriterHalf) -> Result<()> {
        self.disk.sync_dir("log").map_err(|e| {
            self.poison(half);
            Error::io("sync", self.file("log"), e)
        })
    }
}

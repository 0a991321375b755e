//! Going through a segment: what the index leads to is appended again, with the version it had.

use crate::error::Result;
use crate::faults::{Bug, Point, planted, reach};
use crate::format::record::{self, Header};
use crate::format::segment::HEADER;
use crate::log::{Record, Scan};
use crate::options::Durability;
use crate::sys::Pin;

use super::super::commit::count;
use super::super::plan::Plan;
use super::super::{Engine, Writer, WriterHalf};
use super::retire::Drained;
use super::{Compaction, Compactor};

/// Records that are moved in one commit, and bytes, whichever comes first: writers wait that long at most.
const RECORDS: usize = 32;
const BYTES: u64 = 64 << 10;

/// A walk through one segment.
#[derive(Debug)]
pub(super) struct Pass {
    number: u64,
    position: u64,
    /// Where its records end.
    end: u64,
    /// No older segment is left, so tombstones have nothing to hide any more.
    oldest: bool,
    /// There were tombstones that need not be moved.
    graves: bool,
}

impl Pass {
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

/// What a pass has found in the next part of its segment.
#[derive(Debug, Default)]
struct Found {
    live: Vec<u64>,
    bytes: u64,
}

impl Engine {
    /// A pass over segment `number`; None if it turns out that nobody knows where its records end.
    pub(super) fn begin_pass(&self, compactor: &Compactor, number: u64) -> Result<Option<Pass>> {
        let numbers = self.log.numbers()?;
        // Those before it on their way out are removed first.
        let oldest = numbers.iter().take_while(|n| **n < number).all(|n| compactor.has(*n))
            || planted(Bug::BuryEarly);
        let pin = Pin::new();
        let Some(end) = self.end_of_records(number)? else { return Ok(None) };
        let position = self.log.view(&pin).segment(number)?.start() + HEADER;
        Ok(Some(Pass { number, position, end, oldest, graves: false }))
    }

    /// Goes on with a pass for about `budget` bytes; true at its end.
    pub(super) fn advance(
        &self,
        half: &WriterHalf,
        compactor: &mut Compactor,
        pass: &mut Pass,
        budget: u64,
        report: &mut Compaction,
    ) -> Result<bool> {
        let stop = pass.position.saturating_add(budget.max(1));
        while pass.position < pass.end.min(stop) {
            let before = pass.position;
            let found = self.find_live(pass, stop)?;
            report.read += pass.position - before;
            match self.relocate(half, &found.live) {
                Ok(moved) => report.moved += moved,
                Err(error) => {
                    // What was found is found again.
                    pass.position = before;
                    compactor.pass = Some(Pass { ..*pass });
                    return Err(error);
                }
            }
        }
        if pass.position < pass.end {
            return Ok(false);
        }
        reach(Point::CompactDrained);
        // What is dead may be so by a commit that is not published yet, and readers before that need it.
        let at = self.turn()?.position();
        compactor.drained.push(Drained::new(pass.number, at, pass.graves.then_some(pass.end)));
        compactor.drained.sort_unstable_by_key(Drained::number);
        Ok(true)
    }

    /// Reads on until there is enough to move, without a lock: what is live may be dead by the time it is moved, but nothing
    /// that is dead comes to life.
    fn find_live(&self, pass: &mut Pass, stop: u64) -> Result<Found> {
        let pin = Pin::new();
        let reader = self.reader(&pin);
        let mut scan = Scan::new(reader.log, pass.number, pass.position)?;
        let mut found = Found::default();
        while scan.position() < pass.end.min(stop)
            && found.live.len() < RECORDS
            && found.bytes < BYTES
        {
            let Some(record) = scan.step()? else {
                let expected = format!("records up to position {}", pass.end);
                return Err(self.missing(scan.segment(), scan.position(), expected));
            };
            pass.position = scan.position().min(pass.end);
            if !self.leads_to(&record)? {
                continue;
            }
            if pass.oldest && !record.is_put() {
                pass.graves = true;
                continue;
            }
            found.live.push(record.position());
            found.bytes += record.header().size();
        }
        Ok(found)
    }

    /// The index leads to this very record.
    pub(super) fn leads_to(&self, record: &Record<'_>) -> Result<bool> {
        let hash = self.hasher.hash(record.header().table, record.key());
        let (at, end) = (record.position(), self.committed());
        let found = self.index.lookup(hash, end, |position| Ok((position == at).then_some(())));
        Ok(found?.is_some())
    }

    /// Appends the records at `positions` again, as far as they are still live, in one commit; returns their bytes.
    fn relocate(&self, half: &WriterHalf, positions: &[u64]) -> Result<u64> {
        if positions.is_empty() {
            return Ok(0);
        }
        let mut writer = self.turn()?;
        let moved = self.relocate_locked(half, &mut writer, positions)?;
        let committed = writer.counters.position;
        drop(writer);
        half.state.let_others_pass();
        reach(Point::CompactMoved);
        self.after_commit(half, committed, false, Some(Durability::Eventual))?;
        Ok(moved)
    }

    fn relocate_locked(
        &self,
        half: &WriterHalf,
        writer: &mut Writer,
        positions: &[u64],
    ) -> Result<u64> {
        let pin = Pin::new();
        let log = self.log.view(&pin);
        let mut plans = Vec::with_capacity(positions.len());
        for position in positions {
            let record = log.record(*position)?;
            let hash = self.hasher.hash(record.header().table, record.key());
            let is = |at: u64| Ok((at == *position).then_some(()));
            let place = writer.editor.locate(&self.index, hash, writer.tail.position, is)?;
            if let Some((place, ())) = place {
                plans.push(Plan {
                    place: Some(place),
                    prev: *position,
                    prev_size: record.header().size(),
                    live_before: record.is_put(),
                    ..Plan::new(hash, relocated(&record.header()).size())
                });
            }
        }
        let Some(last) = plans.len().checked_sub(1) else { return Ok(0) };
        let tail = self.reserve(half, writer, log, &mut plans)?;
        for (i, plan) in plans.iter().enumerate() {
            let record = log.record(plan.prev)?;
            let header =
                Header { commit: i == last, prev: plan.prev, ..relocated(&record.header()) };
            let value = record.value();
            let copy = |to: &mut [u8]| to.copy_from_slice(value);
            log.write_version(plan.position, header, record.version(), record.key(), copy)?;
        }
        // Invariant I2, as for every other commit.
        writer.tail = tail;
        writer.unfinished = true;
        let mut counters = writer.counters;
        for plan in &plans {
            self.apply(writer, plan)?;
            let table = log.record(plan.prev)?.header().table;
            count(&mut counters, plan, table, plan.live_before);
        }
        self.publish(writer, counters);
        self.account(writer, plans.iter().map(|plan| (plan, plan.live_before)));
        Ok(plans.iter().map(|plan| plan.size).sum())
    }
}

/// The header that a copy of a record has, but for its commit mark and its `prev`.
fn relocated(header: &Header) -> Header {
    let live_before = header.kind == record::Kind::Put;
    Header { crc: 0, commit: false, live_before, relocated: true, ..*header }
}

//! The log: every record from the first segment to the last commit, and whether the index leads to each key's newest one.

use std::collections::{BTreeMap, HashMap};

use crate::error::Result;
use crate::format::PAGE;
use crate::format::segment::{HEADER, name};
use crate::log::{Record, Scan};
use crate::usage::Live;

use super::super::CATALOGUE;
use super::pages::Pages;
use super::{Fallback, Findings, Scope};

/// What the log holds.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) segments: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// Records that are the newest version of their key.
    pub(super) heads: u64,
    /// Those of them that hold a value, without the catalogue.
    pub(super) entries: u64,
    /// Bytes of those that hold a value.
    pub(super) live_bytes: u64,
    /// Some segment has been removed by compaction.
    pub(super) removed: bool,
    /// By segment: what the index leads to, and the bytes of all records.
    pub(super) usage: BTreeMap<u64, (Live, u64)>,
    /// Keys to which no slot leads: perhaps their tombstones are buried.
    pub(super) unled: HashMap<(u32, Vec<u8>), Unled>,
}

/// The records of a key to which no slot leads.
#[derive(Debug, Default)]
pub(super) struct Unled {
    places: Vec<Place>,
    /// The newest of the key's tombstones that readers who hold nothing were told to be after.
    buried: u64,
    /// The newest of those that a replay from the checkpoint would come to.
    replayed: u64,
}

/// A record to which no slot leads, and the page that should lead there.
#[derive(Debug)]
struct Place {
    position: u64,
    page: Option<u32>,
    /// It is a page of the checkpoint.
    kept: bool,
}

impl Scope<'_> {
    /// Walks all records from the first segment to the last commit. Where the walk ends early, it goes on in the next segment.
    pub(super) fn check_log(
        &self,
        fallback: Option<&Fallback>,
        pages: &Pages,
        findings: &mut Findings,
    ) -> Result<Totals> {
        let mut totals = Totals::default();
        self.walk_log(findings, &mut totals, &mut |record, totals, findings| {
            self.check_record(record, totals, findings)?;
            if let Some(fallback) = fallback.filter(|it| record.position() < it.position) {
                self.check_kept_record(record, fallback, pages, totals, findings)?;
            }
            if !record.is_put() {
                let buried = record.position() < self.engine.cells.horizon();
                let replayed = fallback.is_some_and(|it| record.position() >= it.position);
                totals.bury(record, buried, replayed);
            }
            Ok(())
        })?;
        self.check_unled(&mut totals, findings)?;
        Ok(totals)
    }

    fn walk_log(
        &self,
        findings: &mut Findings,
        totals: &mut Totals,
        each: &mut impl FnMut(&Record<'_>, &mut Totals, &mut Findings) -> Result<()>,
    ) -> Result<()> {
        let engine = self.engine;
        let numbers = self.log.numbers()?;
        totals.segments = numbers.len() as u64;
        let bytes = engine.superblock.segment_bytes;
        let mut next = numbers.first().copied();
        if next.is_none() {
            findings.add(engine.file("log"), 0, "a segment", "none");
        }
        totals.removed = self.check_first(next, findings)?;
        while let Some(number) = next.filter(|number| self.starts_before_end(*number)) {
            let start = number * bytes + HEADER;
            let last = match Scan::new(self.log, number, start) {
                Ok(mut scan) => self.walk_run(&mut scan, totals, findings, each)?,
                Err(_) if self.is_removed(number) => {
                    totals.removed = true;
                    number
                }
                Err(error) => {
                    findings.absorb(error)?;
                    number
                }
            };
            next = following(&numbers, last);
        }
        for number in numbers {
            if let Err(error) = self.log.find(number).map(drop) {
                findings.absorb(error)?;
            }
        }
        Ok(())
    }

    /// The log starts at the beginning of the first segment, which follows no other but such as compaction has removed; true if
    /// there were some.
    fn check_first(&self, first: Option<u64>, findings: &mut Findings) -> Result<bool> {
        let Some(number) = first else { return Ok(false) };
        match self.log.find(number) {
            Ok(Some(segment)) if segment.header().prev_end != 0 => {
                if self.is_removed(
                    (segment.header().prev_end - 1) / self.engine.superblock.segment_bytes,
                ) {
                    return Ok(true);
                }
                let before = segment.header().prev_end.saturating_sub(1);
                let missing = name(before / self.engine.superblock.segment_bytes);
                findings.add(self.engine.file(&missing), 0, "a segment", "no file");
                Ok(false)
            }
            Ok(_) => Ok(false),
            Err(error) => findings.absorb(error).map(|()| false),
        }
    }

    /// Compaction may have removed segment `number`: the horizon is past it.
    fn is_removed(&self, number: u64) -> bool {
        let start = number.saturating_mul(self.engine.superblock.segment_bytes);
        start < self.engine.cells.horizon() && matches!(self.log.find(number), Ok(None))
    }

    fn starts_before_end(&self, number: u64) -> bool {
        let start = number.checked_mul(self.engine.superblock.segment_bytes);
        start.is_some_and(|start| start.saturating_add(HEADER) < self.at)
    }

    /// Walks records that follow each other, and returns the number of the last segment that was read or tried.
    fn walk_run(
        &self,
        scan: &mut Scan<'_>,
        totals: &mut Totals,
        findings: &mut Findings,
        each: &mut impl FnMut(&Record<'_>, &mut Totals, &mut Findings) -> Result<()>,
    ) -> Result<u64> {
        // Not a step further than the commit: there a writer in another process may be writing (U2).
        while scan.position() < self.at {
            match scan.step() {
                Ok(Some(record)) => {
                    totals.records += 1;
                    totals.bytes += record.header().size();
                    totals.usage.entry(record.segment()).or_default().1 += record.header().size();
                    each(&record, totals, findings)?;
                }
                // The log may end at the start of a segment that a recovery has begun.
                Ok(None) if scan.position() >= self.at => {}
                Ok(None) if self.is_removed(self.log.after(scan.segment())) => {
                    totals.removed = true;
                    return Ok(scan.segment().number());
                }
                Ok(None) => {
                    self.report_gap(scan, findings);
                    return Ok(scan.segment().number());
                }
                Err(error) => {
                    findings.absorb(error)?;
                    return Ok(self.log.after(scan.segment()));
                }
            }
        }
        Ok(u64::MAX)
    }

    /// The log does not go on where it must: the record there is damaged, or the segment after it is missing.
    fn report_gap(&self, scan: &Scan<'_>, findings: &mut Findings) {
        let segment = scan.segment();
        let after = self.log.after(segment);
        let expected = format!("records up to position {}", self.at);
        if self.at > segment.end() && matches!(self.log.find(after), Ok(None)) {
            findings.add(self.engine.file(&name(after)), 0, expected, "no file");
        } else {
            let offset = scan.position() - segment.start();
            let file = self.engine.file(&name(segment.number()));
            findings.add(file, offset, expected, "bytes that are no record");
        }
    }

    /// The index leads from the record's key to it, or to a later version.
    fn check_record(
        &self,
        record: &Record<'_>,
        totals: &mut Totals,
        findings: &mut Findings,
    ) -> Result<()> {
        let engine = self.engine;
        let header = record.header();
        let hash = engine.hasher.hash(header.table, record.key());
        let mut damaged = None;
        let found = engine
            .index
            .lookup(hash, self.at, |position| Ok(self.candidate(record, position, &mut damaged)));
        let newest = match found {
            Ok(Some(newest)) if newest.position() >= record.position() => newest,
            Ok(None) if damaged.is_none() => {
                totals.miss(record, engine.index.page_of(hash), false);
                return Ok(());
            }
            Ok(_) => {
                let page = engine.index.page_of(hash);
                self.report_lost(record, page, damaged.as_ref(), findings);
                return Ok(());
            }
            Err(error) => return findings.absorb(error),
        };
        let mut visible = newest;
        while visible.position() >= self.at && visible.header().prev < visible.position() {
            match self.log.record(visible.header().prev) {
                Ok(older) => visible = older,
                Err(_) => break,
            }
        }
        if visible.position() == record.position() {
            totals.heads += 1;
            totals.lead(record);
            if record.is_put() {
                totals.entries += u64::from(header.table != CATALOGUE);
                totals.live_bytes += header.size();
                if header.table == CATALOGUE {
                    engine.check_entry(record, self.at).or_else(|error| findings.absorb(error))?;
                }
            }
        }
        Ok(())
    }

    /// The checkpoint's directory leads to it as well, by pages that the live one has left.
    fn check_kept_record(
        &self,
        record: &Record<'_>,
        fallback: &Fallback,
        pages: &Pages,
        totals: &mut Totals,
        findings: &mut Findings,
    ) -> Result<()> {
        let engine = self.engine;
        let header = record.header();
        let hash = engine.hasher.hash(header.table, record.key());
        let Some(entry) = fallback.directory.entry(hash) else { return Ok(()) };
        if pages.is_live(entry.page()) {
            return Ok(());
        }
        let mut damaged = None;
        let found = engine.index.lookup_in(&fallback.directory, hash, self.at, |position| {
            Ok(self.candidate(record, position, &mut damaged))
        });
        match found {
            Ok(Some(newest)) if newest.position() >= record.position() => {}
            Ok(None) if damaged.is_none() => totals.miss(record, Some(entry.page()), true),
            Ok(_) => self.report_lost(record, Some(entry.page()), damaged.as_ref(), findings),
            Err(error) => findings.absorb(error)?,
        }
        Ok(())
    }

    /// The record at `position` if it is a version of the same key as `record`. One that carries the key's tags and whose bytes
    /// are damaged is noted; what is no record at all is for others to report.
    fn candidate<'b>(
        &'b self,
        record: &Record<'_>,
        position: u64,
        damaged: &mut Option<Record<'b>>,
    ) -> Option<Record<'b>> {
        let found = self.log.record(position).ok()?;
        if found.is(record.header().table, record.key()) {
            return Some(found);
        }
        if !found.verify() {
            *damaged = Some(found);
        }
        None
    }

    /// No slot leads to a record: a page has lost it, or the newer record that the slot leads to is damaged.
    fn report_lost(
        &self,
        record: &Record<'_>,
        page: Option<u32>,
        damaged: Option<&Record<'_>>,
        findings: &mut Findings,
    ) {
        if let Some((name, offset)) = damaged.map(Record::place) {
            let file = self.engine.file(&name);
            findings.add(file, offset, "a record with a valid checksum", "other bytes");
            return;
        }
        let (name, at) = record.place();
        let expected = format!("a slot that leads to the record at offset {at} of {name}");
        let offset = page.map_or(0, |page| u64::from(page) * PAGE);
        let file = self.engine.file(crate::format::index::NAME);
        findings.add(file, offset, expected, "none, or an older version");
    }

    /// No slot leads to a key whose tombstone is buried, which readers that hold nothing were told before. Nor does one that only a
    /// power cut would fall back on, if the tombstone came after: that is replayed. Any other key to which none does is lost.
    fn check_unled(&self, totals: &mut Totals, findings: &mut Findings) -> Result<()> {
        for unled in std::mem::take(&mut totals.unled).into_values() {
            for Place { position, page, kept } in unled.places {
                if position <= unled.buried || kept && position <= unled.replayed {
                    continue;
                }
                match self.log.record(position) {
                    Ok(record) => self.report_lost(&record, page, None, findings),
                    Err(error) => findings.absorb(error)?,
                }
            }
        }
        Ok(())
    }

    /// Positions of all records, in order. Only for what has to be found among them.
    pub(super) fn positions(&self) -> Result<Vec<u64>> {
        let mut positions = Vec::new();
        let (mut findings, mut totals) = (Findings::default(), Totals::default());
        self.walk_log(&mut findings, &mut totals, &mut |record, _, _| {
            positions.push(record.position());
            Ok(())
        })?;
        Ok(positions)
    }
}

impl Totals {
    /// The index leads to a record.
    fn lead(&mut self, record: &Record<'_>) {
        let live = &mut self.usage.entry(record.segment()).or_default().0;
        let more = Live::of(record.is_put(), record.header().size());
        *live = live.plus(more).unwrap_or_default();
    }

    /// No slot leads to a record.
    fn miss(&mut self, record: &Record<'_>, page: Option<u32>, kept: bool) {
        let key = (record.header().table, record.key().to_vec());
        let unled = self.unled.entry(key).or_default();
        unled.places.push(Place { position: record.position(), page, kept });
    }

    /// A tombstone that may be buried: no slot leads to the key's records up to it.
    fn bury(&mut self, record: &Record<'_>, buried: bool, replayed: bool) {
        if !self.unled.is_empty() {
            let key = (record.header().table, record.key().to_vec());
            if let Some(unled) = self.unled.get_mut(&key) {
                let at = |it: bool| if it { record.position() } else { 0 };
                unled.buried = unled.buried.max(at(buried));
                unled.replayed = unled.replayed.max(at(replayed));
            }
        }
    }
}

/// The first of the sorted `numbers` that is greater than `last`.
fn following(numbers: &[u64], last: u64) -> Option<u64> {
    numbers.get(numbers.partition_point(|number| *number <= last)).copied()
}

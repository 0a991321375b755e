//! The log: every record from the first segment to the last commit, and whether the index leads to each key's newest one.

use crate::error::Result;
use crate::format::PAGE;
use crate::format::segment::{HEADER, name};
use crate::log::{Record, Scan};

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
            match fallback.filter(|fallback| record.position() < fallback.position) {
                Some(fallback) => self.check_kept_record(record, fallback, pages, findings),
                None => Ok(()),
            }
        })?;
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
        self.check_first(next, findings)?;
        while let Some(number) = next.filter(|number| self.starts_before_end(*number)) {
            let start = number * bytes + HEADER;
            let last = match Scan::new(&self.log, number, start) {
                Ok(mut scan) => self.walk_run(&mut scan, totals, findings, each)?,
                Err(error) => {
                    findings.absorb(error)?;
                    number
                }
            };
            next = following(&numbers, last);
        }
        for number in numbers {
            self.log.find(number).map(drop).or_else(|error| findings.absorb(error))?;
        }
        Ok(())
    }

    /// The log starts at the beginning of the first segment, which follows no other.
    fn check_first(&self, first: Option<u64>, findings: &mut Findings) -> Result<()> {
        let Some(number) = first else { return Ok(()) };
        match self.log.find(number) {
            Ok(Some(segment)) if segment.header().prev_end != 0 => {
                let before = segment.header().prev_end.saturating_sub(1);
                let missing = name(before / self.engine.superblock.segment_bytes);
                findings.add(self.engine.file(&missing), 0, "a segment", "no file");
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => findings.absorb(error),
        }
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
                    each(&record, totals, findings)?;
                }
                // The log may end at the start of a segment that a recovery has begun.
                Ok(None) if scan.position() >= self.at => {}
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

/// The first of the sorted `numbers` that is greater than `last`.
fn following(numbers: &[u64], last: u64) -> Option<u64> {
    numbers.get(numbers.partition_point(|number| *number <= last)).copied()
}

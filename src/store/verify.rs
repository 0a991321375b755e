//! Verification: read everything, believe nothing, say what is wrong where.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::checkpoint::NAMES as CHECKPOINTS;
use crate::format::meta::{Clean, Counters};
use crate::format::position::Position;
use crate::format::{PAGE, segment};
use crate::log::{Log, Scan, Tail};
use crate::sys::Access;

use super::checkpoint::load;
use super::locks::is_locked;
use super::{CATALOGUE, Engine, clean};

/// A place in a file that does not hold what it must.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The damaged file.
    pub file: PathBuf,
    /// Byte offset of the damage in that file.
    pub offset: u64,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { file, offset, expected, found } = self;
        write!(f, "{} at offset {offset}: expected {expected}, found {found}", file.display())
    }
}

/// What [`Store::verify`](crate::Store::verify) has read and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// The commit that was verified: everything up to it was read.
    pub position: Position,
    /// Segments of the log.
    pub segments: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of these records.
    pub bytes: u64,
    /// Keys that have a value.
    pub entries: u64,
    /// Index pages that the directory leads to; 0 when another process may be writing.
    pub pages: u64,
    /// Everything that is wrong.
    pub damage: Vec<Damage>,
}

impl Verification {
    /// Nothing is damaged.
    pub fn is_ok(&self) -> bool {
        self.damage.is_empty()
    }

    fn add(
        &mut self,
        file: PathBuf,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.damage.push(Damage { file, offset, expected: expected.into(), found: found.into() });
    }

    /// Takes a damage for what it is; any other error ends the verification.
    fn absorb(&mut self, error: Error) -> Result<()> {
        match error {
            Error::Corrupt { file, offset, expected, found } => {
                self.damage.push(Damage { file, offset, expected, found });
                Ok(())
            }
            Error::Lost { file, why } => {
                self.add(file, 0, "the file that was opened", why);
                Ok(())
            }
            other => Err(other),
        }
    }
}

impl Engine {
    /// Reads every record, page, slot and checkpoint. Writers wait, if this handle is theirs; through a read-only handle
    /// beside a live writer only what was committed at the start is judged.
    pub(crate) fn verify(&self) -> Result<Verification> {
        // In a forked child the lock may be that of a thread that is only in the parent.
        let guard = self.writer().ok().map(super::WriterHalf::lock);
        let at = self.committed();
        let mut report = Verification { position: Position(at), ..Verification::default() };
        let counters = self.cells.counters();
        let numbers = self.log.numbers()?;
        self.verify_log(at, &numbers, &mut report)?;
        self.verify_index(at, guard.is_some(), &numbers, &mut report)?;
        self.verify_checkpoints(&mut report)?;
        self.check_shared().or_else(|error| report.absorb(error))?;
        if let Some(counters) = counters.filter(|counters| counters.position == at) {
            self.verify_counters(&counters, &mut report);
        }
        Ok(report)
    }

    /// Walks all records from the first segment to `at`.
    fn verify_log(&self, at: u64, numbers: &[u64], report: &mut Verification) -> Result<()> {
        report.segments = numbers.len() as u64;
        let Some(first) = numbers.first().copied() else {
            report.add(self.file("log"), 0, "a segment", "none");
            return Ok(());
        };
        let start = Tail {
            position: first * self.superblock.segment_bytes + segment::HEADER,
            segment: first,
        };
        // Mappings of its own: a segment after the last commit may be replaced before the log gets there.
        let (id, bytes) = (self.superblock.id, self.superblock.segment_bytes);
        let log = Log::new(Arc::clone(&self.disk), id, bytes, Access::Read);
        let mut scan = match Scan::new(&log, start.segment, start.position) {
            Ok(scan) => scan,
            Err(error) => return report.absorb(error),
        };
        // Not a step further: there a writer in another process may be writing (U2).
        while scan.position() < at {
            match scan.step() {
                Ok(Some(record)) => {
                    report.records += 1;
                    report.bytes += record.header().size();
                }
                Ok(None) => break,
                Err(error) => return report.absorb(error),
            }
        }
        if scan.position() < at {
            let segment = scan.segment();
            let offset = scan.position() - segment.start();
            let file = self.file(&segment::name(segment.number()));
            let expected = format!("records up to position {at}");
            report.add(file, offset, expected, "bytes that are no record");
        }
        Ok(())
    }

    /// Every slot leads to a record whose hash is the slot's, and every chain can be walked.
    fn verify_index(
        &self,
        at: u64,
        ours: bool,
        numbers: &[u64],
        report: &mut Verification,
    ) -> Result<()> {
        let mut slots = Vec::new();
        // Those that are mapped can be read by this handle, but by no other.
        let mut missing = BTreeSet::new();
        let mut from = Some(0);
        while let Some(prefix) = from {
            from = match self.index.walk(prefix, at, &mut slots) {
                Ok(next) => next,
                Err(error) => return report.absorb(error),
            };
            for (stored, position) in slots.drain(..) {
                let number = position / self.superblock.segment_bytes;
                if self.log.is_mapped(position) && numbers.binary_search(&number).is_err() {
                    missing.insert(number);
                }
                self.verify_slot(stored, position, at, report)?;
            }
        }
        for number in missing {
            // A segment that was begun since the files were listed has a name by now.
            if !self.log.numbers()?.contains(&number) {
                report.add(self.file(&segment::name(number)), 0, "a segment", "no file");
            }
        }
        self.verify_pages(ours, report)
    }

    /// Every page is what the directory says, which only holds still while nobody writes: the writer lock is ours, or free.
    fn verify_pages(&self, ours: bool, report: &mut Verification) -> Result<()> {
        let name = crate::format::index::NAME;
        let quiet = || Ok(ours || !is_locked(&*self.disk, name)?);
        let before = self.cells.committed();
        if !quiet()? {
            return Ok(());
        }
        let mut bad = Vec::new();
        let pages = self.index.check(|page, expected| bad.push((page, expected)));
        if !quiet()? || self.cells.committed() != before {
            return Ok(());
        }
        for (page, expected) in bad {
            report.add(self.file(name), u64::from(page) * PAGE, expected, "other bytes");
        }
        match pages {
            Ok(pages) => report.pages = pages,
            Err(error) => report.absorb(error)?,
        }
        Ok(())
    }

    fn verify_slot(
        &self,
        stored: u64,
        position: u64,
        at: u64,
        report: &mut Verification,
    ) -> Result<()> {
        let record = match self.log.record(position) {
            Ok(record) => record,
            Err(error) => return report.absorb(error),
        };
        let header = record.header();
        let hash = self.hasher.hash(header.table, record.key());
        if hash.stored() != stored {
            let (name, offset) = record.place();
            report.add(
                self.file(&name),
                offset,
                "the key whose hash the index holds",
                "another key",
            );
        }
        match self.visible(record, at) {
            Ok(Some(_)) => report.entries += u64::from(header.table != CATALOGUE),
            Ok(None) => {}
            Err(error) => report.absorb(error)?,
        }
        Ok(())
    }

    /// One of two checkpoints is enough, unless a clean close vouches for both.
    fn verify_checkpoints(&self, report: &mut Verification) -> Result<()> {
        let mut valid = 0;
        for name in CHECKPOINTS {
            valid += u32::from(load(&*self.disk, &self.superblock.id, name)?.is_some());
        }
        if valid == 0 {
            report.add(
                self.file(CHECKPOINTS[0]),
                0,
                "a valid checkpoint in one of two files",
                "none",
            );
        }
        Ok(())
    }

    /// The counters agree with what was counted.
    fn verify_counters(&self, counters: &Counters, report: &mut Verification) {
        let meta = self.file("meta");
        let clean: Option<Clean> = clean::read(self.cells.region());
        let wrong = clean.is_some_and(|clean| clean.counters != *counters);
        if wrong {
            report.add(meta.clone(), Clean::OFFSET, "the live counters", "others");
        }
        if counters.entries != report.entries && report.damage.is_empty() {
            let offset = crate::format::meta::cell::COUNTERS[0] as u64;
            let expected = format!("{} entries", report.entries);
            report.add(meta, offset, expected, format!("{} entries", counters.entries));
        }
    }
}

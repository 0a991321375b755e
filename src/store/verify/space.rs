//! What is known of the space in each segment: the words of `usage`, and the horizon.

use std::io::ErrorKind;

use crate::error::{Error, Result};
use crate::format::meta::cell;
use crate::format::usage::place;
use crate::format::{PAGE, usage};
use crate::store::create::READERS;
use crate::sys::Access;

use super::log::Totals;
use super::{Findings, Scope};

impl Scope<'_> {
    /// Nothing has gone that a reader of the last commit needs. Nobody writes meanwhile.
    pub(super) fn check_horizon(&self, findings: &mut Findings) {
        let horizon = self.engine.cells.horizon();
        if horizon > self.at {
            let expected = format!("a position up to {}", self.at);
            findings.add(self.engine.file("meta"), cell::HORIZON as u64, expected, horizon);
        }
    }

    /// The files that snapshots mark are there.
    pub(super) fn check_readers(&self, findings: &mut Findings) -> Result<()> {
        for name in READERS {
            match self.engine.disk.open(name, Access::Read) {
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => {
                    findings.add(self.engine.file(name), 0, "a file for marks of snapshots", e);
                }
                opened => drop(opened.map_err(|e| Error::io("open", self.engine.file(name), e))?),
            }
        }
        Ok(())
    }

    /// Every cursor says where it is.
    pub(super) fn check_cursors(&self, findings: &mut Findings) -> Result<()> {
        for name in self.engine.cursor_names()? {
            if let Err(error) = self.engine.cursor(&name) {
                findings.absorb(error)?;
            }
        }
        Ok(())
    }

    /// What is known of a segment is what is there. Only of a log and an index without damage, and while nobody writes.
    pub(super) fn check_usage(&self, totals: &Totals, findings: &mut Findings) {
        if !self.usage_is_known || !(self.ours || self.clean) {
            return;
        }
        let known = &self.engine.usage;
        let last = self.counters.map(|counters| counters.segment);
        let Ok(numbers) = self.log.numbers() else { return };
        for number in numbers {
            let (live, bytes) = totals.usage.get(&number).copied().unwrap_or_default();
            let found = known.live(number).unwrap_or(live);
            if found.puts != live.puts {
                self.report_usage(number, 0, live.puts, found.puts, findings);
            }
            if found.tombstones != live.tombstones {
                self.report_usage(number, 1, live.tombstones, found.tombstones, findings);
            }
            let found = known.used(number).filter(|found| *found != bytes);
            if let Some(found) = found.filter(|_| last.is_none_or(|last| number < last)) {
                self.report_usage(number, 2, bytes, found, findings);
            }
        }
    }

    fn report_usage(
        &self,
        number: u64,
        word: usize,
        expected: u64,
        found: u64,
        findings: &mut Findings,
    ) {
        let Some((page, index)) = place(number) else { return };
        let offset = u64::from(page) * PAGE + 8 * (index + word) as u64;
        let expected = format!("{expected} bytes of segment {number}");
        findings.add(self.engine.file(usage::NAME), offset, expected, found);
    }
}

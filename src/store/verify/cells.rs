//! The live cells, which carry no checksum: against the clean record if there is one, against the log in any case.

use crate::error::Result;
use crate::format::meta::{Clean, Counters, cell};
use crate::format::{u32_at, u64_at};

use super::super::clean;
use super::log::Totals;
use super::{Findings, Scope};

impl Scope<'_> {
    /// The cells agree with the clean record, or can be what a writer has left. Nobody writes meanwhile.
    pub(super) fn check_cells(&self, findings: &mut Findings) -> Result<()> {
        let meta = self.engine.file("meta");
        let region = self.engine.cells.region();
        let Some(counters) = self.counters else {
            let offset = cell::COUNTERS[0] as u64;
            findings.add(meta, offset, format!("counters for the commit at {}", self.at), "none");
            return Ok(());
        };
        match clean::read(region) {
            Some(clean) => self.compare(&clean, &counters, findings),
            None => {
                let bytes = clean::bytes(region);
                // It is stored and removed from its first word to its last: what was cut short lacks one of them.
                if u64_at(&bytes, 0) != 0 && u32_at(&bytes, Clean::BYTES - 4) != 0 {
                    let expected = "a clean record, or zeros";
                    findings.add(meta, Clean::OFFSET, expected, "a record with a wrong checksum");
                }
                self.engine.check_cells(&counters).or_else(|error| findings.absorb(error))?;
            }
        }
        Ok(())
    }

    fn compare(&self, clean: &Clean, counters: &Counters, findings: &mut Findings) {
        let cells = &self.engine.cells;
        let place = cells.counters_place() as u64;
        let words = clean.counters.words().into_iter().zip(counters.words());
        let counted =
            (place..).step_by(8).zip(words).map(|(at, (right, found))| (at, right, found));
        let single = [
            (cell::COMMITTED as u64, clean.counters.position, self.at),
            (cell::DIRECTORY as u64, clean.directory, cells.directory().0),
            (cell::DURABLE as u64, clean.counters.position, cells.durable()),
            (cell::CHECKPOINT as u64, clean.checkpoint, cells.newest_checkpoint().0),
            (cell::SEQUENCE as u64, clean.sequence, cells.sequence()),
            (cell::WATERMARK as u64, u64::from(clean.watermark), u64::from(cells.watermark())),
        ];
        for (offset, right, found) in single.into_iter().chain(counted) {
            if right != found {
                let expected = format!("{right}, as the clean record says");
                findings.add(self.engine.file("meta"), offset, expected, found);
            }
        }
    }

    /// The counters are what was counted, in a log and an index without damage.
    pub(super) fn check_counters(
        &self,
        totals: &Totals,
        pages: u64,
        findings: &mut Findings,
    ) -> Result<()> {
        let Some(counters) = self.counters else { return Ok(()) };
        let dead_bytes = totals.bytes - totals.live_bytes;
        // What was in segments that compaction has removed was counted as well.
        let removed = totals.removed && counters.dead_bytes >= dead_bytes;
        let counted_dead = if removed { dead_bytes } else { counters.dead_bytes };
        if pages != 0 {
            match self.engine.index.count_pages() {
                Ok(kept) if kept == pages => {}
                Ok(kept) => {
                    let offset = cell::PAGES as u64;
                    let expected = format!("{pages} pages that the directory leads to");
                    findings.add(self.engine.file("meta"), offset, expected, kept);
                }
                Err(error) => findings.absorb(error)?,
            }
        }
        // The counters lag behind by what a commit that is not published has split.
        let counted = if self.settled && pages != 0 { pages } else { counters.pages };
        for (field, expected, found, what) in [
            (1, totals.entries, counters.entries, "entries"),
            (2, totals.live_bytes, counters.live_bytes, "live bytes"),
            (3, dead_bytes, counted_dead, "dead bytes"),
            (4, counted, counters.pages, "pages"),
        ] {
            if expected != found {
                let offset = (self.engine.cells.counters_place() + 8 * field) as u64;
                let expected = format!("{expected} {what}");
                findings.add(self.engine.file("meta"), offset, expected, found);
            }
        }
        Ok(())
    }
}

//! What must hold of the live cells before a successor goes on from them: they carry no checksum, and damage is an error.

use crate::error::{Error, Result};
use crate::format::PAGE;
use crate::format::meta::{Counters, cell};
use crate::format::position::ALIGN;
use crate::format::segment::HEADER;
use crate::sys::Pin;

use super::Engine;

impl Engine {
    /// Fails if the cells cannot be what a writer has left.
    pub(super) fn check_cells(&self, counters: &Counters) -> Result<()> {
        let cells = &self.cells;
        let (committed, durable) = (cells.committed(), cells.durable());
        let pin = Pin::new();
        let segment = self.log.view(&pin).segment(counters.segment)?;
        let inside = segment.start() + HEADER..=segment.end();
        let pages = self.index.bytes()? / PAGE;
        let watermark = u64::from(cells.watermark());
        let (sequence, checkpoint) = (cells.sequence(), cells.checkpoint());
        let bytes = counters.live_bytes.saturating_add(counters.dead_bytes);
        for (offset, found, right, expected) in [
            (
                cell::COMMITTED,
                committed,
                inside.contains(&committed) && committed % ALIGN == 0,
                "a position in the segment in which the log ends",
            ),
            (cell::DURABLE, durable, durable <= committed, "a position that was committed"),
            (cell::CHECKPOINT, checkpoint, checkpoint <= durable, "a position that was durable"),
            (cell::SEQUENCE, sequence, (1..1 << 63).contains(&sequence), "a number of checkpoints"),
            (cell::WATERMARK, watermark, (1..=pages).contains(&watermark), "a page of the index"),
            (
                cell::COUNTERS[0],
                counters.entries,
                counters.entries <= committed / ALIGN,
                "as many keys as the log has records",
            ),
            (cell::COUNTERS[0], bytes, bytes <= committed, "as many bytes as the log has"),
            (cell::COUNTERS[0], counters.pages, counters.pages <= watermark, "a number of pages"),
        ] {
            if !right {
                return Err(Error::corrupt(self.file("meta"), offset as u64, expected, found));
            }
        }
        Ok(())
    }
}

//! What must hold of the live cells before a successor goes on from them: they carry no checksum, and damage is an error.

use crate::error::{Error, Result};
use crate::format::PAGE;
use crate::format::meta::{Counters, MAX_SEQUENCE, cell};
use crate::format::position::ALIGN;
use crate::format::segment::HEADER;
use crate::log::{Segment, View};
use crate::sys::Pin;

use super::checkpoint::{self, Held, held, load};
use super::create::LOCK;
use super::locks::is_locked;
use super::{Engine, clean};

/// A cell, what it holds, whether that can be, and what it should be.
type Condition = (usize, u64, bool, &'static str);

impl Engine {
    /// Fails if the cells cannot be what a writer has left.
    pub(super) fn check_cells(&self, counters: &Counters) -> Result<()> {
        let cells = &self.cells;
        let counted = cells.counters_place();
        // In this order none is ahead of the next one, though a writer may sync meanwhile, and make a checkpoint, and die.
        let (checkpoint, durable, committed) =
            (cells.checkpoint(), cells.durable(), cells.committed());
        // Not this handle's own log: as long as that segment is empty, a recovery may replace it.
        let log = self.fresh_log();
        let pin = Pin::new();
        let segment = self.last_segment(log.view(&pin), counters)?;
        let inside = segment.start() + HEADER..=segment.end();
        let pages = self.index.bytes()? / PAGE;
        let watermark = u64::from(cells.watermark());
        let sequence = cells.sequence();
        let bytes = counters.live_bytes.saturating_add(counters.dead_bytes);
        self.require(&[
            (
                cell::COMMITTED,
                committed,
                inside.contains(&committed) && committed % ALIGN == 0,
                "a position in the segment in which the log ends",
            ),
            (
                cell::DURABLE,
                durable,
                durable <= committed && durable % ALIGN == 0,
                "a position that was committed",
            ),
            (cell::CHECKPOINT, checkpoint, checkpoint <= durable, "a position that was durable"),
            (
                cell::HORIZON,
                cells.horizon(),
                cells.horizon() <= committed,
                "a position that was committed",
            ),
            (
                cell::SEQUENCE,
                sequence,
                (1..MAX_SEQUENCE).contains(&sequence),
                "a number of checkpoints",
            ),
            (cell::WATERMARK, watermark, (1..=pages).contains(&watermark), "a page of the index"),
            (
                counted + 8,
                counters.entries,
                counters.entries <= committed / ALIGN,
                "as many keys as the log has records",
            ),
            (counted + 16, bytes, bytes <= committed, "as many bytes as the log has"),
            (counted + 32, counters.pages, counters.pages <= watermark, "a number of pages"),
        ])?;
        self.check_against_checkpoints()
    }

    /// The checkpoint that the cells name is in one of the two files, and the cells have come further than both.
    fn check_against_checkpoints(&self) -> Result<()> {
        let cells = &self.cells;
        let named = cells.newest_checkpoint();
        let (mut found, mut sequence, mut newest) = (false, 0, None::<(&str, u32)>);
        for name in crate::format::checkpoint::NAMES {
            match checkpoint::header(&*self.disk, &self.superblock.id, name)? {
                Some(header) => {
                    found |= named.can_be(header.counters.position, name);
                    // A later one was never announced: a power cut may have torn its directory, and a restore gone back.
                    if header.counters.position > named.position() {
                        continue;
                    }
                    sequence = sequence.max(header.sequence);
                    // A later one may be torn, and then a power cut would not fall back on it.
                    if named.can_be(header.counters.position, name) {
                        newest = Some((name, header.watermark));
                    }
                }
                // It may be this one that is meant: to go on does not take it, and the next checkpoint replaces it.
                None => {
                    let held = held(&*self.disk, &self.superblock.id, name)?;
                    found |= !matches!(held, Held::Blank) && named.can_be(named.position(), name);
                }
            }
        }
        let (used, captured) = (cells.watermark(), cells.sequence());
        let mut least = newest.map_or(0, |(_, watermark)| watermark);
        // The end of the file may have been given back since, but for what the checkpoint names.
        if let Some((name, ..)) = newest.filter(|_| used < least)
            && let Some((_, captured, _)) = load(&*self.disk, &self.superblock.id, name)?
        {
            least = self.index.end_of(&captured)?;
        }
        let used_enough = used >= least;
        self.require(&[
            (cell::CHECKPOINT, named.0, found && named.is_valid(), "the position of a checkpoint"),
            (
                cell::SEQUENCE,
                captured,
                captured >= sequence,
                "that of the newest checkpoint or more",
            ),
            (cell::WATERMARK, u64::from(used), used_enough, "a page after those of the checkpoint"),
        ])
    }

    fn require(&self, conditions: &[Condition]) -> Result<()> {
        let wrong = conditions.iter().find(|(_, _, right, _)| !right);
        wrong.map_or(Ok(()), |(offset, found, _, expected)| {
            Err(Error::corrupt(self.file("meta"), *offset as u64, *expected, found))
        })
    }

    /// The segment in which the log ends. If there is none, its file is missing or its number is wrong.
    fn last_segment<'a>(&self, log: View<'a>, counters: &Counters) -> Result<&'a Segment> {
        let bytes = self.superblock.segment_bytes;
        if log.find(counters.segment)?.is_none()
            && counters.position.div_ceil(bytes) != counters.segment.saturating_add(1)
        {
            let offset = (self.cells.counters_place() + 40) as u64;
            let expected = "the segment in which the log ends";
            return Err(Error::corrupt(self.file("meta"), offset, expected, counters.segment));
        }
        log.segment(counters.segment)
    }

    /// Fails if the cells cannot be what the last writer has left, unless there is a writer again.
    pub(super) fn check_left(&self) -> Result<()> {
        let before = self.cells.committed();
        let left = match self.cells.counters() {
            Some(counters) => self.check_cells(&counters),
            None => Err(self.no_counters()),
        };
        let same =
            || before == self.cells.committed() && clean::read(self.cells.region()).is_none();
        if left.is_err() && same() && !self.has_writer()? { left } else { Ok(()) }
    }

    /// Some handle has the store open for writing, or is about to.
    fn has_writer(&self) -> Result<bool> {
        Ok(is_locked(&*self.disk, LOCK)? || is_locked(&*self.disk, crate::format::index::NAME)?)
    }

    pub(super) fn no_counters(&self) -> Error {
        let offset = cell::COUNTERS[0] as u64;
        Error::corrupt(self.file("meta"), offset, "counters for the last commit", "none")
    }
}

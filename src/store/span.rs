//! How far the log may reach from its oldest segment to its end: a slot holds a part of a position, the rest of which follows
//! from where the log ends.
//!
//! Compaction moves what has fallen behind too far. Where it does not come to that, because it is not run, a snapshot holds the
//! segment or too much is live, writes are refused long before a position could be taken for another.

use std::sync::atomic::Ordering::Relaxed;

use crate::error::{Error, Result};
use crate::format::page::WINDOW;

use super::{Engine, WriterHalf};

/// Bytes from the start of the oldest segment to the end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// What is alive stays where it is up to here.
    moved: u64,
    /// What a commit may stretch it to.
    most: u64,
}

impl Span {
    /// A quarter of what lies on one side of the log's end. Compaction may stretch it once more, and what a slot's `prev` leads to
    /// may be as old again.
    pub(super) const WHOLE: Span = Span { moved: WINDOW / 16, most: WINDOW / 8 };

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn rigged((moved, most): (u64, u64)) -> Span {
        Span { moved: moved.min(Span::WHOLE.moved), most: most.min(Span::WHOLE.most) }
    }

    /// A segment that begins so far behind the end of a log with so many live bytes has to be moved: late enough that no byte is
    /// moved round and round, and early enough that commits are not refused meanwhile.
    pub(super) fn to_move(self, live: u64) -> u64 {
        live.saturating_mul(2).clamp(self.moved, self.most / 8 * 7)
    }
}

impl Engine {
    /// Fails if the log is too long for another commit of the caller's at `end`. One that only deletes may come to make room.
    #[inline]
    pub(super) fn check_span(&self, half: &WriterHalf, end: u64, deletes: bool) -> Result<()> {
        let most = self.span().most;
        let most = most + if deletes { most / 8 } else { 0 };
        if self.spans_at_most(half, end, most) {
            Ok(())
        } else {
            self.check_oldest(half, end, most)
        }
    }

    #[inline]
    fn spans_at_most(&self, half: &WriterHalf, end: u64, most: u64) -> bool {
        let oldest = half.oldest.load(Relaxed).saturating_mul(self.superblock.segment_bytes);
        end.saturating_sub(oldest) <= most
    }

    #[cold]
    fn check_oldest(&self, half: &WriterHalf, end: u64, most: u64) -> Result<()> {
        if half.shared.is_some() {
            // Another handle may have removed it.
            self.find_oldest(half)?;
            if self.spans_at_most(half, end, most) {
                return Ok(());
            }
        }
        let why = "the log spans too much: compact it, and let go of old snapshots";
        Err(Error::Full { path: self.file("log"), source: std::io::Error::other(why) })
    }

    /// Takes note of which segment is the oldest.
    pub(super) fn find_oldest(&self, half: &WriterHalf) -> Result<()> {
        let first = self.log.numbers()?.first().copied().unwrap_or_default();
        half.oldest.store(first, Relaxed);
        Ok(())
    }

    #[cfg(not(any(test, feature = "sim")))]
    pub(super) fn span(&self) -> Span {
        Span::WHOLE
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn span(&self) -> Span {
        Span::rigged(self.rigged_span)
    }
}

//! The segment that the log comes to next, made before it does, so that no commit waits for the disk there.

use std::sync::PoisonError;

use crate::error::Result;
use crate::format::segment::SegmentHeader;
use crate::sys::Pin;
use crate::sys::sync::MutexGuard;

use super::make::SPARE;
use super::{Log, Segment};

impl Log {
    fn spare(&self) -> MutexGuard<'_, Option<Segment>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the segment that comes after segment `number`, with the first `ready` bytes of it in memory, unless it is there. For
    /// who writes alone, and not beside another such call.
    pub(crate) fn make_spare(&self, number: u64, ready: u64) -> Result<()> {
        let pin = Pin::new();
        let last = self.view(&pin).segment(number)?;
        let (number, bytes) = (self.after(last), self.segment_bytes);
        let start = number * bytes;
        let header = SegmentHeader { number, bytes, prev_end: start, ..*last.header() };
        if self.spare().as_ref().is_some_and(|spare| *spare.header() == header) {
            return Ok(());
        }
        // The log has passed what there is: its name is for another one now, so nobody may find it.
        let passed = self.spare().take();
        drop(passed);
        let spare = Segment::spare(&*self.disk, self.segment_bytes, header)?;
        spare.make_ready(start, start + ready);
        *self.spare() = Some(spare);
        Ok(())
    }

    /// What was made, if it can be the segment of this header, whatever that says of the log before it.
    pub(super) fn take_spare(&self, header: &SegmentHeader) -> Option<Segment> {
        let is = |spare: &mut Segment| {
            SegmentHeader { prev_end: header.prev_end, ..*spare.header() } == *header
        };
        self.spare().take_if(is)
    }

    /// Gives back the space of what was made and is not used; false if nothing was.
    #[cold]
    pub(crate) fn give_spare_up(&self) -> bool {
        let spare = self.spare().take();
        // Best effort: a leftover is unlinked when the next one is made.
        spare.is_some() && self.disk.remove(SPARE).is_ok()
    }
}

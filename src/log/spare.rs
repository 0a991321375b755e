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
        // The log has passed what there is. From here on nobody uses the name that it has, and that the next one gets.
        let passed = self.spare().take();
        drop(passed);
        let spare = Segment::spare(&*self.disk, self.segment_bytes, header)?;
        spare.make_ready(start, start + ready);
        *self.spare() = Some(spare);
        Ok(())
    }

    /// Has the log go on in what was made, if it can be the segment of this header, whatever that says of the log before it. None
    /// if not.
    pub(super) fn begin_spare(&self, header: SegmentHeader) -> Result<Option<Segment>> {
        // Held until the name is another one: who makes the next one unlinks what has it.
        let mut spare = self.spare();
        let is = |spare: &mut Segment| {
            SegmentHeader { prev_end: header.prev_end, ..*spare.header() } == header
        };
        spare.take_if(is).map(|it| it.begin(&*self.disk, header)).transpose()
    }

    /// Gives back the space of what was made and is not used; false if nothing was.
    #[cold]
    pub(crate) fn give_spare_up(&self) -> bool {
        let mut spare = self.spare();
        // Best effort: a leftover is unlinked when the next one is made.
        spare.take().is_some() && self.disk.remove(SPARE).is_ok()
    }
}

//! Marks as locks of open file descriptions keep them, for disks that are none: a handle marks bytes, which everyone sees and
//! which conflict with nobody else's.

use std::ops::Range;

use super::{Mark, process_id};

/// Which bytes of a file are marked, and by the handle of which number.
#[derive(Debug, Default)]
pub(super) struct Marks(Vec<(u64, u64)>);

impl Marks {
    /// Marks a byte for a handle, once however often it is asked to.
    pub(super) fn set(&mut self, handle: u64, at: u64) {
        self.take_back(handle, at);
        self.0.push((handle, at));
    }

    /// Takes back a handle's mark.
    pub(super) fn take_back(&mut self, handle: u64, at: u64) {
        self.0.retain(|mark| *mark != (handle, at));
    }

    /// Gives back all that a handle has marked.
    pub(super) fn give_back(&mut self, handle: u64) {
        self.0.retain(|(owner, _)| *owner != handle);
    }

    /// Some byte of the range that is marked.
    pub(super) fn find(&self, range: &Range<u64>) -> Option<u64> {
        self.0.iter().map(|(_, at)| *at).find(|at| range.contains(at))
    }

    /// All marks, in order.
    pub(super) fn all(&self) -> Vec<Mark> {
        let pid = Some(process_id());
        let mut marks: Vec<_> = self.0.iter().map(|(_, at)| Mark { at: *at, pid }).collect();
        marks.sort_unstable();
        marks.dedup();
        marks
    }
}

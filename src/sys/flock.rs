//! Locks as `flock` keeps them, for disks that are none: a handle holds one or none, and converts the one it holds.

use super::LockKind;

/// Who holds a file locked, by the number of the handle.
#[derive(Debug, Default)]
pub(super) struct Locks(Vec<(u64, LockKind)>);

impl Locks {
    /// Locks for a handle unless another's lock is in the way. A conversion that fails has lost the lock it had.
    pub(super) fn take(&mut self, handle: u64, kind: LockKind) -> bool {
        self.give_back(handle);
        let free = match kind {
            LockKind::Shared => self.0.iter().all(|(_, held)| *held == LockKind::Shared),
            LockKind::Exclusive => self.0.is_empty(),
        };
        if free {
            self.0.push((handle, kind));
        }
        free
    }

    /// Gives back what a handle holds.
    pub(super) fn give_back(&mut self, handle: u64) {
        self.0.retain(|(owner, _)| *owner != handle);
    }
}

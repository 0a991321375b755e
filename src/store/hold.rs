//! What keeps other writers out: the locks that a writing handle holds, and the list of those that are held in this process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::sys::{File, ForkGuard};

type Identity = (u64, u64);

/// The lock files that handles of this process hold, by device and inode.
static HELD: Mutex<Vec<Identity>> = Mutex::new(Vec::new());

fn held() -> MutexGuard<'static, Vec<Identity>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a handle of this process holds the lock file.
pub(super) fn is_ours(lock: &dyn File) -> bool {
    lock.identity().is_ok_and(|identity| held().contains(&identity))
}

/// The writer lock.
#[derive(Debug)]
pub(super) struct Hold {
    lock: Arc<dyn File>,
    identity: Identity,
    /// The index, locked: the writer is up, and the live cells can be believed.
    up: Option<Arc<dyn File>>,
    fork: ForkGuard,
}

impl Hold {
    /// Takes charge of a lock file that is locked.
    pub(super) fn new(lock: Arc<dyn File>, fork: ForkGuard) -> std::io::Result<Hold> {
        let identity = lock.identity()?;
        held().push(identity);
        Ok(Hold { lock, identity, up: None, fork })
    }

    /// The handle was made before a fork, and this is the child.
    #[inline]
    pub(super) fn is_child(&self) -> bool {
        self.fork.is_child()
    }

    /// From now on the writer is up.
    pub(super) fn set_up(&mut self, index: Arc<dyn File>) {
        self.up = Some(index);
    }

    pub(super) fn lock(&self) -> &dyn File {
        &*self.lock
    }

    /// The index.
    pub(super) fn up(&self) -> Result<&dyn File> {
        self.up.as_deref().ok_or(Error::ReadOnly)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A child shares the locks with its parent: to close its descriptors changes nothing, to unlock would. The list is that
        // of the parent, and may be locked for ever.
        if self.is_child() {
            return;
        }
        let mut held = held();
        if let Some(at) = held.iter().position(|other| *other == self.identity) {
            held.swap_remove(at);
        }
        drop(held);
        // To close is not enough while a forked child has the same descriptors. What fails here is undone by closing.
        if let Some(up) = &self.up {
            let _ = up.unlock();
        }
        let _ = self.lock.unlock();
    }
}

//! Handles and mappings of simulated files.

use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use super::super::backing::Backing;
use super::super::{Access, File, Futex, LockKind, Mark, PAGE, Region, futex};
use super::memory::Extent;
use super::state::{EIO, ENOSPC, bad_descriptor, os_error};
use super::{Call, Shared};

#[derive(Debug)]
pub(super) struct SimFile {
    shared: Arc<Shared>,
    inode: u64,
    handle: u64,
    access: Access,
}

impl SimFile {
    /// A new handle of a file that the caller has found; its count in the inode is raised already.
    pub(super) fn new(shared: Arc<Shared>, inode: u64, handle: u64, access: Access) -> SimFile {
        SimFile { shared, inode, handle, access }
    }

    fn require(&self, access: Access) -> io::Result<()> {
        if access == Access::Write && self.access == Access::Read {
            Err(bad_descriptor())
        } else {
            Ok(())
        }
    }

    fn extend(&self, call: Call, len: u64) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.enter(call)?;
        self.require(Access::Write)?;
        let old = state.inode(self.inode)?.len();
        if len > old {
            let page = PAGE as u64;
            state.reserve(len.next_multiple_of(page) - old.next_multiple_of(page))?;
            state.inode(self.inode)?.set_len(len);
        }
        Ok(())
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Ok(inode) = state.inode(self.inode) {
            inode.handles -= 1;
            inode.locks.give_back(self.handle);
            inode.marks.give_back(self.handle);
        }
        state.content.prune();
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.shared.lock();
        state.enter(Call::Any)?;
        Ok(state.inode(self.inode)?.len())
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        self.extend(Call::Grow, len)
    }

    fn reserve(&self, _from: u64, to: u64) -> io::Result<()> {
        self.extend(Call::Grow, to)
    }

    fn map(&self, offset: u64, len: usize, access: Access) -> io::Result<Region> {
        let page = PAGE as u64;
        let mut state = self.shared.lock();
        state.enter(Call::Map)?;
        self.require(access)?;
        if !offset.is_multiple_of(page) || len == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (extent, first) = state.inode(self.inode)?.extent(offset / page, len.div_ceil(PAGE));
        let map = SimMap {
            shared: Arc::clone(&self.shared),
            inode: self.inode,
            first: offset / page,
            memory: extent.range(first * PAGE, len),
            _extent: extent,
        };
        Ok(Region::new(Box::new(map), access))
    }

    fn sync(&self) -> io::Result<()> {
        self.shared.sync(Call::Fsync, self.inode, None)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.enter(Call::Punch)?;
        self.require(Access::Write)?;
        let inode = state.inode(self.inode)?;
        let end = offset.saturating_add(len).min(inode.len());
        let zeros = usize::try_from(end.saturating_sub(offset)).unwrap_or(0);
        inode.store(&vec![0; zeros], offset);
        Ok(())
    }

    /// The kernel writes what is dirty before it lets go of it, and if that fails the bytes are gone, on a disk that has only failed
    /// once and for a program that goes on.
    fn evict(&self, offset: u64) {
        let mut state = self.shared.lock();
        if let (false, Ok(inode)) = (state.dead, state.inode(self.inode)) {
            let pages = offset / PAGE as u64..inode.pages().end;

            assert!(inode.is_durable(&pages), "pages are evicted that are not durable");
        }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.enter(Call::Read)?;
        let inode = state.inode(self.inode)?;
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > inode.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        inode.load(buf, offset);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        self.extend(Call::Write, if bytes.is_empty() { 0 } else { end })?;
        self.shared.lock().inode(self.inode)?.store(bytes, offset);
        Ok(())
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<bool> {
        let mut state = self.shared.lock();
        state.enter(Call::Lock)?;
        Ok(state.inode(self.inode)?.locks.take(self.handle, kind))
    }

    /// Fails on a dead disk alone, as `flock` has no reason to: nobody else could ever have the lock.
    fn unlock(&self) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.count();
        if state.dead {
            return Err(os_error(EIO));
        }
        state.inode(self.inode)?.locks.give_back(self.handle);
        Ok(())
    }

    fn mark(&self, at: u64) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.enter(Call::Lock)?;
        state.inode(self.inode)?.marks.set(self.handle, at);
        Ok(())
    }

    /// On a dead disk the mark goes as well: it may be a living process's, and that of a dead one goes anyway.
    fn unmark(&self, at: u64) -> io::Result<()> {
        let mut state = self.shared.lock();
        let entered = state.enter(Call::Any);
        if entered.is_ok() || state.dead {
            state.inode(self.inode)?.marks.take_back(self.handle, at);
        }
        entered
    }

    fn marked(&self, range: Range<u64>) -> io::Result<Option<u64>> {
        let mut state = self.shared.lock();
        state.enter(Call::Lock)?;
        Ok(state.inode(self.inode)?.marks.find(&range))
    }

    fn marks(&self) -> io::Result<Vec<Mark>> {
        let mut state = self.shared.lock();
        state.enter(Call::Lock)?;
        Ok(state.inode(self.inode)?.marks.all())
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        self.shared.lock().enter(Call::Any)?;
        Ok((self.shared.device, self.inode))
    }

    fn futex(&self) -> io::Result<Arc<dyn Futex>> {
        futex::in_file(self, false)
    }

    fn mount(&self) -> io::Result<u64> {
        let mut state = self.shared.lock();
        state.enter(Call::Any)?;
        Ok(state.life)
    }
}

impl Shared {
    /// Makes some pages of a file durable, or all of them and its length.
    fn sync(&self, call: Call, number: u64, pages: Option<Range<u64>>) -> io::Result<()> {
        let mut state = self.lock();
        let result = state.enter(call);
        if state.dead {
            return result;
        }
        let mut random = state.random.fork();
        let inode = state.inode(number)?;
        let range = pages.clone().unwrap_or_else(|| inode.pages());
        if let Err(error) = &result {
            // A call that was refused before it began, or interrupted, has done nothing.
            if matches!(error.raw_os_error(), Some(EIO | ENOSPC)) {
                inode.fail_pages(&range, &mut random);
            }
            return result;
        }
        inode.sync_pages(&range);
        // As `fdatasync`, an `msync` makes a length durable that it takes to read the range again.
        if pages.is_none() || inode.needs_len(range.end) {
            inode.sync_len();
        }
        Ok(())
    }
}

struct SimMap {
    shared: Arc<Shared>,
    inode: u64,
    /// The file's page that the mapping starts at.
    first: u64,
    memory: NonNull<[u8]>,
    /// Keeps the memory.
    _extent: Arc<Extent>,
}

// SAFETY: `memory` is part of the extent, which is `Send` and `Sync` and goes wherever this goes.
unsafe impl Send for SimMap {}
// SAFETY: as above.
unsafe impl Sync for SimMap {}

// SAFETY: the memory is a part, starting at a page (so aligned to 16 bytes), of the zeroed and writable memory of
// the extent, which is neither moved nor freed before this is dropped; the disk itself reaches it only as atomic words.
unsafe impl Backing for SimMap {
    fn memory(&self) -> NonNull<[u8]> {
        self.memory
    }

    fn sync(&self, offset: usize, len: usize) -> io::Result<()> {
        let first = self.first + (offset / PAGE) as u64;
        self.shared.sync(Call::Msync, self.inode, Some(first..first + len.div_ceil(PAGE) as u64))
    }

    fn stored(&self, offset: usize) {
        let mut state = self.shared.lock();
        if let Ok(inode) = state.inode(self.inode) {
            inode.touch(self.first + (offset / PAGE) as u64);
        }
    }

    fn rewritten(&self, offset: usize, len: usize) {
        let first = self.first + (offset / PAGE) as u64;
        if let Ok(inode) = self.shared.lock().inode(self.inode) {
            inode.rewrite(first..first + len.div_ceil(PAGE) as u64);
        }
    }
}

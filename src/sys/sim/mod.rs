//! The simulated disk: files in plain memory that lose, tear and refuse what real ones may, as a seed decides.
//!
//! Live bytes (what programs see) and durable bytes (what the platter holds) are kept apart. Syncing copies pages from
//! the one to the other; a power cut keeps the durable bytes and, page by page, perhaps the live ones. Names are
//! durable only once their directory was synced, lengths once their file was.

mod bytes;
mod content;
mod file;
mod inode;
mod memory;
mod random;
mod state;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Access, Disk, File, PAGE};
use content::Content;
use file::SimFile;
use random::Random;
use state::State;

/// A kind of call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Opening a file.
    Open,
    /// Creating a file or a directory.
    Create,
    /// Making a file longer.
    Grow,
    /// Mapping a file.
    Map,
    /// Syncing a range of a mapping; a failure also forgets that its pages were dirty.
    Msync,
    /// Syncing a file; a failure also forgets that its pages were dirty.
    Fsync,
    /// Syncing a directory.
    SyncDir,
    /// Renaming a file.
    Rename,
    /// Removing a file.
    Remove,
    /// Listing a directory.
    List,
    /// Locking a file.
    Lock,
    /// Reading without a mapping.
    Read,
    /// Writing without a mapping.
    Write,
    /// Zeroing a range of a file.
    Punch,
    /// Any call, those without a kind of their own (length, identity) included, but for unlocking.
    Any,
}

/// A failure to come.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Which calls fail.
    pub call: Call,
    /// How many such calls succeed first.
    pub after: u64,
    /// The error, as the operating system numbers it.
    pub errno: i32,
    /// How many such calls fail then.
    pub times: u64,
}

/// A handle of a simulated disk. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    /// Another one for each disk, so that a file of a dead disk is never taken for one of its successor.
    device: u64,
    state: Mutex<State>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a test's thread leaves nothing half done here that another one minds.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SimDisk {
    /// An empty disk. The store's directory is absent.
    pub fn new(seed: u64) -> SimDisk {
        let mut random = Random::new(seed);
        let life = random.next().max(1);
        SimDisk::with(
            PathBuf::from(format!("/simulated/{seed}")),
            State::new(Content::default(), life, None, random),
        )
    }

    fn with(root: PathBuf, state: State) -> SimDisk {
        static DEVICES: AtomicU64 = AtomicU64::new(1);
        let device = DEVICES.fetch_add(1, Ordering::Relaxed);
        SimDisk { shared: Arc::new(Shared { root, device, state: Mutex::new(state) }) }
    }

    /// The disk as a store uses it.
    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// Cuts the power and returns a disk with what survived, in a new life. This disk fails every call from now on;
    /// mappings of it stay readable. Asked again, another outcome of the same moment.
    pub fn power_cut(&self) -> SimDisk {
        let mut state = self.shared.lock();
        state.freeze();
        let mut random = Random::new(state.random.next());
        let content = state.frozen.as_ref().unwrap_or(&state.content).after_cut(&mut random);
        let life = random.next().max(1);
        SimDisk::with(self.shared.root.clone(), State::new(content, life, state.capacity, random))
    }

    /// Kills the process: returns a disk with the same names, bytes and life, but no locks. This disk fails every call
    /// from now on; mappings of it stay, detached.
    pub fn process_kill(&self) -> SimDisk {
        let mut state = self.shared.lock();
        state.freeze();
        let mut content = state.frozen.as_ref().unwrap_or(&state.content).copy();
        content.prune();
        let random = Random::new(state.random.next());
        SimDisk::with(
            self.shared.root.clone(),
            State::new(content, state.life, state.capacity, random),
        )
    }

    /// Only one of several processes was killed when [`SimDisk::cut`] or [`SimDisk::cut_after`] had it: what it has stored since is
    /// undone, and the others go on. The handles of the one must be gone by now, and the others have done nothing since.
    pub fn survive(&self) {
        let state = &mut *self.shared.lock();
        if let Some(frozen) = state.frozen.take() {
            state.content.rewind(&frozen);
        }
        (state.dead, state.cut_at) = (false, None);
    }

    /// Makes up to `pages` dirty pages durable, as the kernel may at any time.
    pub fn write_back(&self, pages: usize) {
        let state = &mut *self.shared.lock();
        let mut dirty = Vec::new();
        for (number, inode) in &state.content.inodes {
            dirty.extend(
                inode.dirty(&inode.pages()).into_iter().map(|(page, bytes)| (*number, page, bytes)),
            );
        }
        for _ in 0..pages.min(dirty.len()) {
            let (number, page, bytes) = dirty.swap_remove(state.random.below(dirty.len()));
            if let Some(inode) = state.content.inodes.get_mut(&number) {
                inode.write_back(page, bytes);
            }
        }
    }

    /// Evicts what a failed sync left in memory: the old bytes come back, in mappings as well.
    pub fn drop_caches(&self) {
        self.shared.lock().content.inodes.values_mut().for_each(inode::Inode::drop_lost);
    }

    /// Makes calls fail.
    pub fn fail(&self, fault: Fault) {
        self.shared.lock().faults.push(fault);
    }

    /// Ends all failures, those to come included, and returns which calls have failed by one since the last time.
    pub fn mend(&self) -> Vec<Call> {
        let mut state = self.shared.lock();
        state.faults.clear();
        std::mem::take(&mut state.failed)
    }

    /// Limits the disk's size; growing beyond it fails with `ENOSPC`.
    pub fn capacity(&self, bytes: Option<u64>) {
        self.shared.lock().capacity = bytes;
    }

    /// The bytes that files occupy.
    pub fn used(&self) -> u64 {
        self.shared.lock().content.used()
    }

    /// Cuts the power after `calls` more calls: all further ones fail, and [`SimDisk::power_cut`] tells what survived
    /// of that moment.
    pub fn cut_after(&self, calls: u64) {
        let mut state = self.shared.lock();
        state.cut_at = Some(state.calls.saturating_add(calls));
    }

    /// Counts a step of the program that is no call, at which the power may go as well.
    pub fn step(&self) {
        self.shared.lock().count();
    }

    /// The power goes now, unless it has already; see [`SimDisk::cut_after`].
    pub fn cut(&self) {
        self.shared.lock().freeze();
    }

    /// Whether the power has gone, or the process was killed.
    pub fn is_cut(&self) -> bool {
        self.shared.lock().dead
    }

    /// Runs `f` without counting its calls, so that none of them is the one before which the power goes.
    pub fn uncounted<T>(&self, f: impl FnOnce() -> T) -> T {
        self.shared.lock().counting = false;
        let result = f();
        self.shared.lock().counting = true;
        result
    }

    /// How many calls and other steps there were.
    pub fn calls(&self) -> u64 {
        self.shared.lock().calls
    }

    fn handle(&self, state: &mut State, inode: u64, access: Access) -> io::Result<Arc<dyn File>> {
        state.last_handle += 1;
        let handle = state.last_handle;
        state.inode(inode)?.handles += 1;
        Ok(Arc::new(SimFile::new(Arc::clone(&self.shared), inode, handle, access)))
    }
}

impl Disk for SimDisk {
    fn root(&self) -> &Path {
        &self.shared.root
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut state = self.shared.lock();
        state.enter(Call::List)?;
        state.content.list(dir)
    }

    fn make_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.enter(Call::Create)?;
        state.content.make_dir(dir)
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let mut state = self.shared.lock();
        state.enter(Call::Open)?;
        let inode = state.content.find(name)?;
        self.handle(&mut state, inode, access)
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn File>> {
        let mut state = self.shared.lock();
        let entered = state.enter(Call::Create);
        if state.dead {
            return entered.and(Err(state::os_error(state::EIO)));
        }
        state.content.require_dir(name.rsplit_once('/').map_or("", |(dir, _)| dir))?;
        // A real disk has unlinked the leftover before it finds that it cannot make the new file.
        match state.content.unlink(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => entered?,
        }
        state.reserve(len.next_multiple_of(PAGE as u64))?;
        let inode = state.content.link(name, len);
        self.handle(&mut state, inode, Access::Write)
    }

    fn touch(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.shared.lock();
        state.enter(Call::Open)?;
        let inode = match state.content.find(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                state.content.require_dir(name.rsplit_once('/').map_or("", |(dir, _)| dir))?;
                state.content.link(name, 0)
            }
            found => found?,
        };
        self.handle(&mut state, inode, Access::Write)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.enter(Call::Rename)?;
        state.content.rename(from, to)
    }

    fn names(&self, name: &str, file: &dyn File) -> io::Result<bool> {
        let file = file.identity()?;
        match self.shared.lock().content.find(name) {
            Ok(inode) => Ok((self.shared.device, inode) == file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.enter(Call::Remove)?;
        state.content.unlink(name)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.enter(Call::SyncDir)?;
        state.content.require_dir(dir)?;
        state.content.sync_names(dir);
        state.content.prune();
        Ok(())
    }

    fn map_ahead(&self) -> u32 {
        16
    }

    fn life(&self, anchor: &dyn File) -> io::Result<u64> {
        anchor.mount()
    }

    fn random(&self) -> u64 {
        self.shared.lock().random.next()
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of it will do")]
    fn nonce(&self) -> u32 {
        let mut state = self.shared.lock();
        state.nonces += 1;
        (state.life as u32).wrapping_add(state.nonces)
    }

    fn coherent(&self) -> io::Result<Result<(), String>> {
        self.shared.lock().enter(Call::Any)?;
        Ok(Ok(()))
    }
}

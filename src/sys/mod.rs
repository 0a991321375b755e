//! The one door to the operating system: files, mappings, locks and directories behind two small traits.
//!
//! Real files implement the traits, and so does a simulated disk in plain memory. Nothing outside this folder is
//! unsafe, and the safety comments in it name the obligations they rest on:
//!
//! * U1: a mapping outlives every slice of it.
//! * U2: bytes handed out as `&[u8]` were published and are never written again by anyone.
//! * U3: words that can change are reached only as aligned atomics, never through `&T` or `&mut T`.
//! * U4: nobody shrinks a mapped file, and a reader's bound is the published length, not the file's.
//! * U5: bytes are validated before they get a meaning.

#[cfg(not(all(test, loom)))]
mod advice;
#[cfg(not(all(test, loom)))]
mod backing;
#[cfg(any(test, feature = "sim"))]
mod flock;
mod fork;
mod futex;
#[cfg(not(all(test, loom)))]
mod guard;
#[cfg(not(all(test, loom)))]
mod life;
#[cfg(not(all(test, loom)))]
mod mapping;
mod mark;
#[cfg(any(loom, test, feature = "sim"))]
mod marks;
#[cfg(not(all(test, loom)))]
mod memory;
#[cfg(not(all(test, loom)))]
mod mode;
#[cfg(all(test, loom))]
pub(crate) mod model;
#[cfg(not(all(test, loom)))]
mod pages;
mod pin;
mod priority;
#[cfg(not(all(test, loom)))]
mod real;
#[cfg(not(all(test, loom)))]
mod region;
#[cfg(not(all(test, loom)))]
mod reserve;
#[cfg(all(any(test, feature = "sim"), not(all(test, loom))))]
pub(crate) mod sim;
pub(crate) mod sync;
#[cfg(all(test, not(loom)))]
mod tests;
mod unfinished;
mod word;

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

pub(crate) use fork::ForkGuard;
pub(crate) use futex::{Futex, GLANCE};
#[cfg(not(all(test, loom)))]
pub(crate) use guard::losses;
pub(crate) use mark::Mark;
#[cfg(all(test, loom))]
pub(crate) use model::{Region, losses, open_real, prefetch};
pub(crate) use pin::{Limbo, Pin, Pinned, Shelf};
pub(crate) use priority::give_way;
#[cfg(not(all(test, loom)))]
pub(crate) use real::open_real;
#[cfg(not(all(test, loom)))]
pub(crate) use region::{Region, prefetch};
pub(crate) use unfinished::Unfinished;
pub(crate) use word::Word;

/// The unit in which a file is mapped, synced and torn.
pub(crate) const PAGE: usize = 4096;

/// What a descriptor or a mapping may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reading only; the file may be on a read-only file system.
    Read,
    /// Reading and writing.
    Write,
}

/// How the mappings of a disk's files are to be, beside what they are used for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wishes {
    /// A page that cannot be had is marked, and raises no signal.
    pub(crate) guard: bool,
    /// Pages come as huge ones, of 2 MiB.
    pub(crate) huge: bool,
    /// Pages that are stored to are made ahead of that, by another thread.
    pub(crate) ahead: bool,
}

/// How a file is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockKind {
    /// Held by any number of handles at once.
    Shared,
    /// Held by one handle alone.
    Exclusive,
}

/// Where a store's files live. Names are relative to the store's directory: `meta`, `log/0000000003`.
pub(crate) trait Disk: Send + Sync + Debug {
    /// The store's directory, for error messages.
    fn root(&self) -> &Path;

    /// The sorted names in a directory; `""` is the store's own. `NotFound` when it is absent, `NotADirectory` when
    /// it is a file.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Makes a directory (0700) unless it is there, and syncs its parent. `""` makes the store's own directory,
    /// with missing parents.
    fn make_dir(&self, dir: &str) -> io::Result<()>;

    /// Opens a regular file that must exist.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>>;

    /// What is made from here on is for whoever may use the file `like`, or has these permission bits if there is none. Without
    /// this it is for its owner alone.
    fn permit(&self, _like: &str, _bits: u32) {}

    /// Makes a new file of `len` zeros with its blocks reserved. A leftover of that name is unlinked, never
    /// truncated, because some process may have it mapped. On failure the new file is unlinked again.
    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn File>>;

    /// How many pages of a growing file to map at once, beyond its end if need be. Address space is what it costs.
    fn map_ahead(&self) -> u32 {
        1 << 16
    }

    /// How many bytes of memory this process may use, those of the page cache among them; `u64::MAX` if that is not known.
    fn memory(&self) -> u64 {
        u64::MAX
    }

    /// Opens a file for writing, and creates it empty if it is not there. Never replaces one.
    fn touch(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Takes a file's name away; mappings of it stay.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives an open file, of whichever disk, a name here as well: both names stand for the same bytes. An error if that cannot
    /// be, or if the file belongs to another user, who could keep this one from writing to it.
    fn link(&self, _file: &dyn File, _name: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes a new file that shares the blocks of an open one, of whichever disk, until either is written there. An error
    /// if the file system cannot do that.
    fn reflink(&self, _file: &dyn File, _name: &str) -> io::Result<Arc<dyn File>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// Whether the name is still that of the open file, and not of another one or of none.
    fn names(&self, name: &str, file: &dyn File) -> io::Result<bool>;

    /// The identity of the page cache that the anchor file lives in; another number means that a power cut, a reboot
    /// or a new mount may have lost what was not synced. Never 0.
    fn life(&self, anchor: &dyn File) -> io::Result<u64>;

    /// A number that identifies what is made on this disk; a simulated one gives the same in every run.
    fn random(&self) -> u64;

    /// A number that is unlikely to be drawn twice by lives of one store.
    #[expect(clippy::cast_possible_truncation, reason = "half of it will do")]
    fn nonce(&self) -> u32 {
        self.random() as u32
    }

    /// The name of the file system when shared mappings of it are not coherent.
    fn coherent(&self) -> io::Result<Result<(), String>>;
}

/// An open file. Dropping the last handle drops its lock; its mappings live on.
pub(crate) trait File: Send + Sync + Debug {
    /// The descriptor, if the kernel has one for it.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The file's present length.
    fn len(&self) -> io::Result<u64>;

    /// Reserves blocks up to `len` and extends the file with zeros; nothing happens when it is that long already.
    /// On failure the length is what it was.
    fn grow(&self, len: u64) -> io::Result<()>;

    /// Reserves the blocks of a range, of which some may be holes or past the end, and extends the file with zeros if it ends
    /// before `to`. On failure the length is what it was.
    fn reserve(&self, from: u64, to: u64) -> io::Result<()>;

    /// The bytes that come into memory together, if the file ends with no part of them.
    fn piece(&self) -> u64 {
        PAGE as u64
    }

    /// Maps `len` bytes from `offset` (a multiple of [`PAGE`]), shared. The range may reach beyond the end of the
    /// file, but only what lies before the end may be touched (U4).
    fn map(&self, offset: u64, len: usize, access: Access) -> io::Result<Region>;

    /// Makes the whole file durable, length included.
    fn sync(&self) -> io::Result<()>;

    /// Gives the blocks of a range within the file back, where the file system can; it reads as zeros then. Nothing may be
    /// written there through a mapping before it is reserved again: a hole on a full disk is a SIGBUS.
    fn punch(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Takes the pages from `offset` on out of memory, as far as nobody has them mapped. All of them are durable.
    fn evict(&self, _offset: u64) {}

    /// Fills the buffer; `UnexpectedEof` when the file is too short.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of the bytes.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Writes bytes where the file is mapped, as stores would: whoever has the range mapped finds them. On failure some may be there.
    fn overwrite(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_at(bytes, offset)
    }

    /// Locks the file unless another handle's lock is in the way, which is `false`. A handle that holds a lock
    /// converts it.
    fn try_lock(&self, kind: LockKind) -> io::Result<bool>;

    /// Locks the file for this handle alone, and sleeps until that is possible.
    fn lock(&self) -> io::Result<()> {
        while !self.try_lock(LockKind::Exclusive)? {
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
        Ok(())
    }

    /// Gives this handle's lock back.
    fn unlock(&self) -> io::Result<()>;

    /// Marks byte `at` (below 2^63) for everyone to see, as long as this handle is open; marks do not conflict.
    fn mark(&self, at: u64) -> io::Result<()>;

    /// Takes this handle's mark of byte `at` back.
    fn unmark(&self, at: u64) -> io::Result<()>;

    /// A byte in the range that is marked through any handle.
    fn marked(&self, range: Range<u64>) -> io::Result<Option<u64>>;

    /// All marks, in order, as far as they can be seen.
    fn marks(&self) -> io::Result<Vec<Mark>>;

    /// Device and inode: the same for every name of the file.
    fn identity(&self) -> io::Result<(u64, u64)>;

    /// The futex in the first word of the file, which is no other's.
    fn futex(&self) -> io::Result<Arc<dyn Futex>>;

    /// The number of the mount through which the file was opened, 0 when the kernel does not tell.
    #[cfg_attr(all(test, loom), expect(dead_code, reason = "only the real disk asks"))]
    fn mount(&self) -> io::Result<u64>;
}

/// This process's number.
pub(crate) fn process_id() -> u32 {
    std::process::id()
}

/// A number that no other process and no other call is likely to get. Not for secrets.
#[cfg(not(all(test, loom)))]
fn random_u64() -> u64 {
    use std::collections::hash_map::RandomState;
    use std::hash::{BuildHasher, Hasher};

    // RandomState is seeded by the operating system once a thread; a forked child inherits the seed, so its process
    // number and the time tell it apart.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(process_id());
    if !cfg!(miri)
        && let Ok(now) = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)
    {
        hasher.write_u128(now.as_nanos());
    }
    hasher.finish()
}

//! Who may use the files of a store: its owner alone, unless others were asked for.

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

const PRIVATE: u32 = 0o600;
/// For reading and writing; nothing of a store is a program.
const MASK: u32 = 0o666;

/// The permission bits of the files that are made in one directory.
#[derive(Debug)]
pub(super) struct FileMode(AtomicU32);

impl FileMode {
    pub(super) fn new() -> FileMode {
        FileMode(AtomicU32::new(PRIVATE))
    }

    pub(super) fn set(&self, bits: u32) {
        self.0.store(bits & MASK | PRIVATE, Relaxed);
    }

    /// Those of the file `name`, if it is there.
    pub(super) fn of(dir: BorrowedFd<'_>, name: &str) -> Option<u32> {
        Some(rustix::fs::statat(dir, name, AtFlags::empty()).ok()?.st_mode)
    }

    /// Those of directories: who may read or write what is in them may go there, and what is made there is for the same group.
    pub(super) fn of_dirs(&self) -> u32 {
        let bits = self.0.load(Relaxed);
        let group = if bits & 0o070 != 0 { 0o2000 } else { 0 };
        bits | (bits & 0o444 | (bits & 0o222) << 1) >> 2 | group
    }

    /// Makes a file that is not there yet, whatever the process's mask says.
    fn make(&self, dir: BorrowedFd<'_>, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CREATE | OFlags::EXCL;
        let private = Mode::from_raw_mode(PRIVATE);
        let made = retry_on_intr(|| rustix::fs::openat(dir, name, flags, private))?;
        let bits = self.0.load(Relaxed);
        if bits != PRIVATE {
            rustix::fs::fchmod(&made, Mode::from_raw_mode(bits))?;
        }
        Ok(made)
    }

    /// Opens a file, which is made if it may be and is not there.
    pub(super) fn open(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        flags: OFlags,
    ) -> io::Result<fs::File> {
        let flags = flags | OFlags::CLOEXEC;
        let exists = flags.difference(OFlags::CREATE);
        loop {
            if !flags.contains(OFlags::EXCL) {
                let found = retry_on_intr(|| rustix::fs::openat(dir, name, exists, Mode::empty()));
                match found {
                    Err(Errno::NOENT) if flags.contains(OFlags::CREATE) => {}
                    found => return Ok(fs::File::from(found?)),
                }
            }
            match self.make(dir, name, flags) {
                // Somebody else was first.
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists
                        && !flags.contains(OFlags::EXCL) => {}
                made => return Ok(fs::File::from(made?)),
            }
        }
    }
}

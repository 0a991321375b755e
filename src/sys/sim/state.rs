//! The gate that every simulated call passes: it counts, injects faults, and lets the power go.

use std::io;

use super::content::Content;
use super::inode::Inode;
use super::random::Random;
use super::{Call, Fault};

pub(super) const EIO: i32 = 5;
const EBADF: i32 = 9;
pub(super) const ENOSPC: i32 = 28;

#[derive(Debug)]
pub(super) struct State {
    pub(super) content: Content,
    /// The content when the power went; the program may go on writing the other one.
    pub(super) frozen: Option<Content>,
    /// Whether every call fails from now on.
    pub(super) dead: bool,
    pub(super) calls: u64,
    /// Whether calls count, and may be the last.
    pub(super) counting: bool,
    pub(super) cut_at: Option<u64>,
    pub(super) faults: Vec<Fault>,
    /// The calls that were made to fail.
    pub(super) failed: Vec<Call>,
    pub(super) capacity: Option<u64>,
    pub(super) random: Random,
    /// How many nonces have been drawn, so that they follow from the seed and leave the other choices as they are.
    pub(super) nonces: u32,
    pub(super) last_handle: u64,
    /// What the disk's page cache is known by.
    pub(super) life: u64,
}

impl State {
    pub(super) fn new(content: Content, life: u64, capacity: Option<u64>, random: Random) -> State {
        State {
            content,
            frozen: None,
            dead: false,
            calls: 0,
            counting: true,
            cut_at: None,
            faults: Vec::new(),
            failed: Vec::new(),
            capacity,
            random,
            nonces: 0,
            last_handle: 0,
            life,
        }
    }

    /// Counts a call and says whether it may go on. With [`Call::Any`] it is of no particular kind.
    pub(super) fn enter(&mut self, call: Call) -> io::Result<()> {
        self.count();
        if self.dead {
            return Err(os_error(EIO));
        }
        for fault in
            self.faults.iter_mut().filter(|fault| fault.call == Call::Any || fault.call == call)
        {
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                self.failed.push(call);
                return Err(os_error(fault.errno));
            }
        }
        Ok(())
    }

    /// Counts a step, before which the power may go.
    pub(super) fn count(&mut self) {
        if self.counting {
            self.calls += 1;
            if self.cut_at.is_some_and(|last| self.calls > last) {
                self.freeze();
            }
        }
    }

    /// Stops the disk and keeps what it holds at this moment.
    pub(super) fn freeze(&mut self) {
        if self.frozen.is_none() {
            self.frozen = Some(self.content.copy());
        }
        self.dead = true;
    }

    /// Whether `more` bytes can be had.
    pub(super) fn reserve(&self, more: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if self.content.used().saturating_add(more) > capacity => {
                Err(os_error(ENOSPC))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn inode(&mut self, number: u64) -> io::Result<&mut Inode> {
        self.content.inodes.get_mut(&number).ok_or_else(|| os_error(EBADF))
    }
}

pub(super) fn os_error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

pub(super) fn bad_descriptor() -> io::Error {
    os_error(EBADF)
}

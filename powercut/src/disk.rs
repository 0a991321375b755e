//! A block device as a file of a FUSE file system: `disk` logs what is written and flushed, and fails when it was told to through `control`,
//! a file that takes one line with each write. A file system mounted on it through a loop device sends its flushes here as well.
//!
//! The process that serves the disk must not touch what is mounted on it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};

use crate::image::Image;
use crate::log::{Entry, Log};

const DISK: INodeNo = INodeNo(2);
const CONTROL: INodeNo = INodeNo(3);

/// Calls that are still to pass, and then those that are to fail.
#[derive(Clone, Copy, Debug, Default)]
struct Fault {
    pass: u64,
    fail: u64,
}

impl Fault {
    fn strikes(&mut self) -> bool {
        if self.fail == 0 {
            return false;
        }
        if self.pass > 0 {
            self.pass -= 1;
            return false;
        }
        self.fail -= 1;
        true
    }
}

#[derive(Debug)]
struct State {
    log: Log,
    image: Image,
    read: Fault,
    write: Fault,
    flush: Fault,
}

impl State {
    /// Obeys a line of the control file; false if it makes no sense.
    fn obey(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.split_whitespace().collect();
        let numbers: Vec<u64> = words.iter().skip(1).filter_map(|word| word.parse().ok()).collect();
        match (words.first().copied(), &numbers[..]) {
            (Some("begin"), &[step]) => self.log.entries.push(Entry::Begin(step)),
            (Some("mark"), &[step]) => self.log.entries.push(Entry::Mark(step)),
            (Some("eio_read"), &[pass, fail]) => self.read = Fault { pass, fail },
            (Some("eio_write"), &[pass, fail]) => self.write = Fault { pass, fail },
            (Some("eio_flush"), &[pass, fail]) => self.flush = Fault { pass, fail },
            _ => return false,
        }
        true
    }
}

#[derive(Clone, Debug)]
struct Served {
    state: Arc<Mutex<State>>,
}

impl Served {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let directory = inode == INodeNo::ROOT;
        let size = if inode == DISK { self.lock().image.len() } else { 0 };
        FileAttr {
            ino: inode,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if directory { FileType::Directory } else { FileType::RegularFile },
            perm: if directory { 0o755 } else { 0o600 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let inode = match name.to_str() {
            Some("disk") => DISK,
            Some("control") => CONTROL,
            _ => return reply.error(Errno::ENOENT),
        };
        reply.entry(&Duration::from_secs(60), &self.attributes(inode), Generation(0));
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&Duration::from_secs(60), &self.attributes(inode));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut state = self.lock();
        if inode != DISK {
            return reply.data(&[]);
        }
        if state.read.strikes() {
            return reply.error(Errno::EIO);
        }
        let len = u64::from(size).min(state.image.len().saturating_sub(offset));
        let mut bytes = vec![0; len as usize];
        state.image.read(offset, &mut bytes);
        reply.data(&bytes);
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.lock();
        if inode == CONTROL {
            let obeyed = std::str::from_utf8(bytes).is_ok_and(|line| state.obey(line));
            return if obeyed {
                reply.written(bytes.len() as u32)
            } else {
                reply.error(Errno::EINVAL)
            };
        }
        if offset + bytes.len() as u64 > state.image.len() {
            return reply.error(Errno::ENOSPC);
        }
        if state.write.strikes() {
            return reply.error(Errno::EIO);
        }
        state.image.write(offset, bytes);
        state.log.entries.push(Entry::Write { offset, bytes: bytes.to_vec() });
        reply.written(bytes.len() as u32);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut state = self.lock();
        if state.flush.strikes() {
            return reply.error(Errno::EIO);
        }
        state.log.entries.push(Entry::Flush);
        reply.ok();
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<fuser::TimeOrNow>,
        _mtime: Option<fuser::TimeOrNow>,
        _ctime: Option<std::time::SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<std::time::SystemTime>,
        _chgtime: Option<std::time::SystemTime>,
        _bkuptime: Option<std::time::SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.attr(&Duration::from_secs(60), &self.attributes(inode));
    }
}

/// A logging disk that is being served.
#[derive(Debug)]
pub struct Disk {
    served: Served,
    session: BackgroundSession,
    root: PathBuf,
}

impl Disk {
    /// Serves the base image of an empty log at `root`, a directory.
    pub fn serve(log: Log, root: &Path) -> Result<Disk> {
        std::fs::create_dir_all(root)?;
        let image = log.base.clone();
        let faults = Fault::default();
        let state = State { log, image, read: faults, write: faults, flush: faults };
        let served = Served { state: Arc::new(Mutex::new(state)) };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("powercut".into())];
        let session =
            fuser::spawn_mount(served.clone(), root, &config).context("cannot mount FUSE")?;
        Ok(Disk { served, session, root: root.to_path_buf() })
    }

    /// The file that is the device.
    pub fn device(&self) -> PathBuf {
        self.root.join("disk")
    }

    /// The file that takes orders.
    pub fn control(&self) -> PathBuf {
        self.root.join("control")
    }

    /// Gives an order as the control file does.
    pub fn order(&self, line: &str) {
        assert!(self.served.lock().obey(line), "{line}");
    }

    /// Ends the service; returns the log.
    pub fn finish(self) -> Result<Log> {
        self.session.umount_and_join().context("cannot unmount FUSE")?;
        let state = Arc::into_inner(self.served.state).context("FUSE is still served")?;
        Ok(state.into_inner().unwrap_or_else(PoisonError::into_inner).log)
    }
}

//! The real disk: a directory of ordinary files, mapped shared and locked with `flock`.
//!
//! The directory is opened once, and every name is looked up in that descriptor: a store whose directory is renamed goes on
//! where it is, and never meets the files of another one that was put under its old path.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::mapping::{HUGE, Mapping};
use super::mode::FileMode;
use super::{
    Access, Disk, File, Futex, LockKind, Mark, PAGE, Region, Wishes, advice, futex, life, mark,
    memory, random_u64, reserve,
};

/// The disk whose store's directory is `path`.
pub(crate) fn open_real(path: &Path, wishes: Wishes) -> Arc<dyn Disk> {
    // Absolute, so that a later change of the working directory does not lead to other files.
    let root = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    Arc::new(RealDisk { root, dir: OnceLock::new(), mode: FileMode::new(), wishes })
}

#[derive(Debug)]
struct RealDisk {
    /// Where the directory was when it was opened.
    root: PathBuf,
    /// The directory itself, once there is one.
    dir: OnceLock<OwnedFd>,
    mode: FileMode,
    wishes: Wishes,
}

impl RealDisk {
    fn dir(&self) -> io::Result<BorrowedFd<'_>> {
        if let Some(dir) = self.dir.get() {
            return Ok(dir.as_fd());
        }
        let opened = open_dir(CWD, &self.root)?;
        Ok(self.dir.get_or_init(|| opened).as_fd())
    }

    /// A descriptor of a directory below the store's, or a second one of that.
    fn subdir(&self, dir: &str) -> io::Result<OwnedFd> {
        open_dir(self.dir()?, Path::new(if dir.is_empty() { "." } else { dir }))
    }

    fn open_at(&self, name: &str, flags: OFlags) -> io::Result<fs::File> {
        self.mode.open(self.dir()?, name, flags)
    }

    /// Opens what must be a regular file; a FIFO in its place does not block.
    fn open_regular(&self, name: &str, flags: OFlags) -> io::Result<Arc<dyn File>> {
        let file = self.open_at(name, flags | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Arc::new(RealFile::new(file, self.wishes)))
    }
}

impl Disk for RealDisk {
    fn root(&self) -> &Path {
        &self.root
    }

    fn memory(&self) -> u64 {
        memory::bytes()
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = rustix::fs::Dir::new(self.subdir(dir)?)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .filter(|name| !matches!(name.as_deref(), Ok("." | "..")))
            .collect::<io::Result<Vec<String>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    fn make_dir(&self, dir: &str) -> io::Result<()> {
        if dir.is_empty() {
            return make_root(&self.root, self.mode.of_dirs());
        }
        match rustix::fs::mkdirat(self.dir()?, dir, Mode::from_raw_mode(0o700)) {
            Ok(()) => permit(&self.subdir(dir)?, self.mode.of_dirs())?,
            // Opening it tells whether it is a directory.
            Err(Errno::EXIST) => drop(self.subdir(dir)?),
            Err(error) => return Err(error.into()),
        }
        self.sync_dir("")
    }

    fn permit(&self, like: &str, bits: u32) {
        let found = self.dir().ok().and_then(|dir| FileMode::of(dir, like));
        self.mode.set(found.unwrap_or(bits));
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let flags = if access == Access::Write { OFlags::RDWR } else { OFlags::RDONLY };
        self.open_regular(name, flags)
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn File>> {
        match self.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.open_at(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        reserve::overwrite_in_place(&file);
        if let Err(error) = reserve::extend(&file, 0, len) {
            // The first failure is the one to tell.
            let _ = self.remove(name);
            return Err(error);
        }
        Ok(Arc::new(RealFile::new(file, self.wishes)))
    }

    fn touch(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.open_regular(name, OFlags::RDWR | OFlags::CREATE)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let dir = self.dir()?;
        Ok(retry_on_intr(|| rustix::fs::renameat(dir, from, dir, to))?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let dir = self.dir()?;
        Ok(retry_on_intr(|| rustix::fs::unlinkat(dir, name, AtFlags::empty()))?)
    }

    fn link(&self, file: &dyn File, name: &str) -> io::Result<()> {
        let file = file.descriptor().ok_or(io::ErrorKind::Unsupported)?;
        if rustix::fs::fstat(file)?.st_uid != rustix::process::geteuid().as_raw() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        // By its descriptor: the name that it had may be another file's by now, or in a directory that has been renamed.
        let from = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(rustix::fs::linkat(CWD, from, self.dir()?, name, AtFlags::SYMLINK_FOLLOW)?)
    }

    fn reflink(&self, file: &dyn File, name: &str) -> io::Result<Arc<dyn File>> {
        let file = file.descriptor().ok_or(io::ErrorKind::Unsupported)?;
        let made = self.open_at(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        reserve::overwrite_in_place(&made);
        if let Err(error) = retry_on_intr(|| rustix::fs::ioctl_ficlone(&made, file)) {
            // The first failure is the one to tell.
            let _ = self.remove(name);
            return Err(error.into());
        }
        Ok(Arc::new(RealFile::new(made, self.wishes)))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        if dir.is_empty() { sync_dir(self.dir()?) } else { sync_dir(&self.subdir(dir)?) }
    }

    fn names(&self, name: &str, file: &dyn File) -> io::Result<bool> {
        let dir = self.dir()?;
        match retry_on_intr(|| rustix::fs::statat(dir, name, AtFlags::empty())) {
            Ok(found) => Ok((found.st_dev, found.st_ino) == file.identity()?),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn life(&self, anchor: &dyn File) -> io::Result<u64> {
        life::life(anchor.identity()?, anchor.mount()?)
    }

    fn random(&self) -> u64 {
        random_u64()
    }

    fn coherent(&self) -> io::Result<Result<(), String>> {
        Ok(match life::incoherent(&self.root)? {
            Some(name) => Err(name.to_owned()),
            None => Ok(()),
        })
    }
}

#[derive(Debug)]
struct RealFile {
    file: fs::File,
    wishes: Wishes,
    /// The limit on the size of files allowed all of it when that was first asked.
    is_allowed: OnceLock<bool>,
}

impl RealFile {
    fn new(file: fs::File, wishes: Wishes) -> RealFile {
        RealFile { file, wishes, is_allowed: OnceLock::new() }
    }
}

impl File for RealFile {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        let old = self.len()?;
        if len <= old { Ok(()) } else { reserve::extend(&self.file, old, len) }
    }

    fn piece(&self) -> u64 {
        if self.wishes.huge { HUGE as u64 } else { PAGE as u64 }
    }

    fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
        if from >= to { Ok(()) } else { reserve::extend(&self.file, from, to) }
    }

    fn map(&self, offset: u64, len: usize, access: Access) -> io::Result<Region> {
        if !offset.is_multiple_of(PAGE as u64) || isize::try_from(len).is_err() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a mapping must start at a page",
            ));
        }
        let mapping = Mapping::of_file(&self.file, offset, len, access, self.wishes)?;
        Ok(Region::new(Box::new(mapping), access))
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 { Ok(()) } else { reserve::release(&self.file, offset, len) }
    }

    fn evict(&self, offset: u64) {
        advice::evict(&self.file, offset);
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn overwrite(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        // A store to a mapping has no limit; a write past it is a signal that kills.
        if !self.is_allowed.get_or_init(|| self.len().and_then(reserve::allowed).is_ok()) {
            return Err(Errno::FBIG.into());
        }
        self.file.write_all_at(bytes, offset)
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<bool> {
        // The standard library has methods of the same names by now, hence the trait's full name.
        let attempt = match kind {
            LockKind::Shared => fs2::FileExt::try_lock_shared,
            LockKind::Exclusive => fs2::FileExt::try_lock_exclusive,
        };
        loop {
            match attempt(&self.file) {
                Ok(()) => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn lock(&self) -> io::Result<()> {
        loop {
            match fs2::FileExt::lock_exclusive(&self.file) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn unlock(&self) -> io::Result<()> {
        fs2::FileExt::unlock(&self.file)
    }

    fn mark(&self, at: u64) -> io::Result<()> {
        mark::set(&self.file, at, true)
    }

    fn unmark(&self, at: u64) -> io::Result<()> {
        mark::set(&self.file, at, false)
    }

    fn marked(&self, range: Range<u64>) -> io::Result<Option<u64>> {
        mark::find(&self.file, &range)
    }

    fn marks(&self) -> io::Result<Vec<Mark>> {
        mark::all(&self.file)
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        let found = self.file.metadata()?;
        Ok((found.dev(), found.ino()))
    }

    fn futex(&self) -> io::Result<Arc<dyn Futex>> {
        futex::in_file(self, true)
    }

    fn mount(&self) -> io::Result<u64> {
        Ok(life::mount(&self.file))
    }
}

/// Makes the store's directory with missing parents, and syncs the one above each.
fn make_root(path: &Path, bits: u32) -> io::Result<()> {
    let made = match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_root(path.parent().ok_or(error)?, bits)?;
            fs::DirBuilder::new().mode(0o700).create(path)
        }
        result => result,
    };
    let present = match made {
        Ok(()) => {
            permit(&open_dir(CWD, path)?, bits)?;
            false
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if !fs::metadata(path)?.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            true
        }
        Err(error) => return Err(error),
    };
    // One that is there may have been made by a process that died before this line.
    match path.parent().map_or(Ok(()), |parent| sync_dir(open_dir(CWD, parent)?)) {
        Err(error) if present && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

/// Lets those use a directory that was just made who are to.
fn permit(dir: &OwnedFd, bits: u32) -> io::Result<()> {
    if bits != 0o700 {
        rustix::fs::fchmod(dir, Mode::from_raw_mode(bits))?;
    }
    Ok(())
}

fn open_dir(at: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(retry_on_intr(|| rustix::fs::openat(at, path, flags, Mode::empty()))?)
}

fn sync_dir(dir: impl AsFd) -> io::Result<()> {
    match retry_on_intr(|| rustix::fs::fsync(&dir)) {
        // Some file systems (FUSE among them) have nothing to sync here and say so.
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

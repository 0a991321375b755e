//! The real disk: a directory of ordinary files, named by joining, mapped shared and locked with `flock`.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::region::Backing;
use super::{Access, Disk, File, LockKind, PAGE, Region, life, random_u64, reserve};

/// The disk whose store's directory is `path`.
pub(crate) fn open_real(path: &Path) -> Arc<dyn Disk> {
    // Absolute, so that a later change of the working directory does not lead to other files.
    let root = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    Arc::new(RealDisk { root })
}

#[derive(Debug)]
struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.root.clone() } else { self.root.join(name) }
    }
}

impl Disk for RealDisk {
    fn root(&self) -> &Path {
        &self.root
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = fs::read_dir(self.path(dir))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<String>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    fn make_dir(&self, dir: &str) -> io::Result<()> {
        make_dir(&self.path(dir), dir.is_empty())
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let file = OpenOptions::new()
            .read(true)
            .write(access == Access::Write)
            .custom_flags(flags(OFlags::NONBLOCK | OFlags::NOCTTY)) // a FIFO in the place of a file must not block
            .open(self.path(name))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Arc::new(RealFile { file }))
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn File>> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        reserve::overwrite_in_place(&file);
        if let Err(error) = reserve::extend(&file, 0, len) {
            // The first failure is the one to tell.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Arc::new(RealFile { file }))
    }

    fn touch(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags(OFlags::NONBLOCK | OFlags::NOCTTY))
            .open(self.path(name))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Arc::new(RealFile { file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        sync_dir(&self.path(dir))
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
}

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        let old = self.len()?;
        if len <= old { Ok(()) } else { reserve::extend(&self.file, old, len) }
    }

    fn map(&self, offset: u64, len: usize, access: Access) -> io::Result<Region> {
        if !offset.is_multiple_of(PAGE as u64) || isize::try_from(len).is_err() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a mapping must start at a page",
            ));
        }
        let mut options = MmapOptions::new();
        options.offset(offset).len(len);
        let map = match access {
            Access::Read => options.map_raw_read_only(&self.file),
            Access::Write => options.map_raw(&self.file),
        }?;
        let page_by_page = access == Access::Write && life::copies_on_write(&self.file);
        Ok(Region::new(Box::new(Mapping::new(map, page_by_page)), access))
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 { Ok(()) } else { reserve::release(&self.file, offset, len) }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
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

    fn unlock(&self) -> io::Result<()> {
        fs2::FileExt::unlock(&self.file)
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        let found = self.file.metadata()?;
        Ok((found.dev(), found.ino()))
    }

    fn mount(&self) -> io::Result<u64> {
        Ok(life::mount(&self.file))
    }
}

/// A mapping made by the kernel.
pub(super) struct Mapping {
    map: MmapRaw,
    /// On a full btrfs, the fault that makes one page writable has the others written back, which protects them again. A
    /// store that needs two at once would fault for ever.
    page_by_page: bool,
}

impl Mapping {
    pub(super) fn new(map: MmapRaw, page_by_page: bool) -> Mapping {
        Mapping { map, page_by_page }
    }
}

// SAFETY: the kernel placed the mapping at a page and keeps it there until the `MmapRaw` is dropped; it is readable,
// and writable when it was mapped so (`RealFile::map` gives the region the same access); any thread may use it; and
// no Rust reference into it exists but those that the region hands out. U4 keeps everyone off what lies beyond the
// end of the file.
unsafe impl Backing for Mapping {
    fn memory(&self) -> NonNull<[u8]> {
        // A mapping is never at address 0; were it so, an empty region is the harmless answer.
        let start = NonNull::new(self.map.as_mut_ptr());
        let len = if start.is_some() { self.map.len() } else { 0 };
        NonNull::slice_from_raw_parts(start.unwrap_or(NonNull::<u128>::dangling().cast()), len)
    }

    fn page_by_page(&self) -> bool {
        self.page_by_page
    }

    fn sync(&self, offset: usize, len: usize) -> io::Result<()> {
        self.map.flush_range(offset, len)
    }
}

/// Makes a directory and syncs the one above it; with `parents`, missing ones too.
fn make_dir(path: &Path, parents: bool) -> io::Result<()> {
    let made = match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && parents => {
            let parent = path.parent().ok_or(error)?;
            make_dir(parent, true)?;
            fs::DirBuilder::new().mode(0o700).create(path)
        }
        result => result,
    };
    let present = match made {
        Ok(()) => false,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if !fs::metadata(path)?.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            true
        }
        Err(error) => return Err(error),
    };
    // One that is there may have been made by a process that died before this line.
    match path.parent().map_or(Ok(()), sync_dir) {
        Err(error) if present && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    let dir = OpenOptions::new().read(true).custom_flags(flags(OFlags::DIRECTORY)).open(path)?;
    match dir.sync_all() {
        // Some file systems (FUSE among them) have nothing to sync here and say so.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
        result => result,
    }
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

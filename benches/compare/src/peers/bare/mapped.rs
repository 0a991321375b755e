//! A file mapped shared, as lines of atomic words or as bytes that are written once. All unsafe code of "bare memory" is here.

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use anyhow::Result;
use memmap2::{Advice, MmapOptions, MmapRaw};

use super::Pages;
use crate::peer::Setup;

/// What the processor moves between memory and its cache.
#[repr(C, align(64))]
pub struct Line(pub [AtomicU64; 8]);

pub const LINE: usize = size_of::<Line>();

pub struct Mapped {
    file: File,
    map: MmapRaw,
}

impl Mapped {
    /// A new file has `len` bytes, a multiple of a line's, of which none is on the disk before it is reserved or written.
    pub fn open(path: &Path, len: usize, setup: Setup, pages: Pages) -> Result<Mapped> {
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).read(true).write(true).open(path)?;
        if file.metadata()?.len() == 0 {
            file.set_len(len as u64)?;
        }
        let map = MmapOptions::new().map_raw(&file)?;
        if setup.is_tight() {
            map.advise(Advice::Random)?;
        }
        if pages == Pages::Huge {
            // A kernel without them says that it is invalid.
            let _ = map.advise(Advice::HugePage);
        }
        Ok(Mapped { file, map })
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Has the disk give room for these bytes.
    pub fn reserve(&self, bytes: Range<usize>) -> Result<()> {
        let (start, len) = (bytes.start as i64, bytes.len() as i64);
        // SAFETY: the descriptor is that of `file`, which lives across the call; no memory is passed.
        let failed = unsafe { libc::posix_fallocate(self.file.as_raw_fd(), start, len) };
        if failed != 0 {
            return Err(std::io::Error::from_raw_os_error(failed).into());
        }
        Ok(())
    }

    /// All of it, in a file that nobody calls `write` or `bytes` of.
    #[inline]
    pub fn lines(&self) -> &[Line] {
        let (start, count) = (self.map.as_ptr().cast::<Line>(), self.map.len() / LINE);
        // SAFETY: the mapping lives as long as `self` and begins with a page, so its lines are aligned; any bytes are words. Whoever
        // else has them, in this process or another, has them as atomic words too.
        unsafe { std::slice::from_raw_parts(start, count) }
    }

    /// Copies `bytes` to a place that was not named to anybody yet.
    #[inline]
    pub fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at <= self.len() && bytes.len() <= self.len() - at, "behind the end of the file");
        // SAFETY: within the mapping, as was just checked. The log gives each place to one record, and nobody reads it before a slot
        // or a bit, stored with release, names it.
        unsafe {
            let to = self.map.as_mut_ptr().add(at);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }

    /// Bytes of a place that was named.
    #[inline]
    pub fn bytes(&self, at: usize, len: usize) -> &[u8] {
        assert!(at <= self.len() && len <= self.len() - at, "behind the end of the file");
        // SAFETY: within the mapping, as was just checked. The place came from a slot or a bit, loaded with acquire, so that it was
        // written whole before, and nobody writes it a second time.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(at), len) }
    }

    /// Has the processor load the lines of these bytes meanwhile.
    #[inline]
    pub fn prefetch(&self, at: usize, len: usize) {
        for at in (at..at + len).step_by(LINE) {
            let line = self.map.as_ptr().wrapping_add(at);
            #[cfg(target_arch = "x86_64")]
            {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                // SAFETY: a prefetch has no effect but on time, whatever the address.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = line;
        }
    }
}

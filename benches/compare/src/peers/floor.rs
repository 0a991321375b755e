//! The floor for durable commits: a bare `pwrite` of key and value and an `fdatasync`, on a preallocated file. No store: nothing can be
//! read back.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};

use crate::peer::{Kind, Op, PLAIN, Peer, Reader, Setup};

pub const KIND: Kind =
    Kind { name: "pwrite+fdatasync", floor: true, readable: false, atomic: false, open, ..PLAIN };

const BYTES: u64 = 256 << 20;

struct Bare {
    file: File,
    end: AtomicU64,
}

fn open(dir: &Path, _: Setup) -> Result<Box<dyn Peer>> {
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("bare"))?;
    // SAFETY: the descriptor is that of `file`, which lives across the call; no memory is passed.
    let failed = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, BYTES as i64) };
    if failed != 0 {
        return Err(std::io::Error::from_raw_os_error(failed).into());
    }
    file.sync_all()?;
    Ok(Box::new(Bare { file, end: AtomicU64::new(0) }))
}

impl Peer for Bare {
    fn read(&self, _: &mut dyn FnMut(&mut dyn Reader) -> Result<()>) -> Result<()> {
        bail!("the floor keeps nothing that could be read")
    }

    fn commit(&self, ops: &[Op]) -> Result<()> {
        let mut bytes = Vec::with_capacity(ops.len() * 128);
        for op in ops {
            match op {
                Op::Put(key, value) => {
                    bytes.extend_from_slice(key);
                    bytes.extend_from_slice(value);
                }
                Op::Delete(key) => bytes.extend_from_slice(key),
            }
        }
        let len = bytes.len() as u64;
        let at = self.end.fetch_add(len, Ordering::Relaxed) % (BYTES - len);
        self.file.write_all_at(&bytes, at)?;
        Ok(self.file.sync_data()?)
    }

    fn iterate(&self, _: &mut dyn FnMut(&[u8])) -> Result<()> {
        bail!("the floor keeps nothing that could be read")
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

//! Blocks are reserved before anyone maps them, so that a full disk is an error and not a `SIGBUS`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, IFlags};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::life;

/// Below this size a reservation is not cut any further.
const LEAST_PIECE: u64 = 1 << 20;
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// Reserves the blocks from `from` to `to`, and extends the file if it ends before. On failure its length is what it was.
pub(super) fn extend(file: &File, from: u64, to: u64) -> io::Result<()> {
    let old = file.metadata()?.len();
    let result = allowed(to).and_then(|()| reserve(file, from, to));
    if result.is_err() && file.metadata().is_ok_and(|found| found.len() > old) {
        // ext4 leaves the file grown as far as it came. Cutting that off is no breach of U4: the new length was
        // published to nobody, and a bound is always the published length. The failure above is the one to tell.
        let _ = file.set_len(old);
    }
    result
}

/// Gives the blocks of a range within the file back; it reads as zeros. A file system that cannot do that keeps them.
pub(super) fn release(file: &File, offset: u64, len: u64) -> io::Result<()> {
    loop {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(file, flags, offset, len) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) if unsupported(error) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// On btrfs, asks that an empty file be overwritten in place: elsewhere each overwrite needs a new block, and on a
/// full disk that is a `SIGBUS`. Only a precaution, so a refusal is no error.
pub(super) fn overwrite_in_place(file: &File) {
    if life::copies_on_write(file)
        && let Ok(flags) = rustix::fs::ioctl_getflags(file)
    {
        let _ = rustix::fs::ioctl_setflags(file, flags | IFlags::NOCOW);
    }
}

/// Refuses what the process's file size limit forbids; to run into it would raise `SIGXFSZ`, which kills.
pub(super) fn allowed(len: u64) -> io::Result<()> {
    match getrlimit(Resource::Fsize).current {
        Some(limit) if len > limit => Err(Errno::FBIG.into()),
        _ => Ok(()),
    }
}

fn reserve(file: &File, mut from: u64, to: u64) -> io::Result<()> {
    let mut piece = to - from;
    while from < to {
        let len = piece.min(to - from);
        match rustix::fs::fallocate(file, FallocateFlags::empty(), from, len) {
            Ok(()) => from += len,
            // tmpfs undoes what it did, so a timer that is quicker than the whole would stop it for ever.
            Err(Errno::INTR) => piece = (piece / 2).max(LEAST_PIECE),
            // Without holes there is nothing to fill but what lies past the end.
            Err(error) if unsupported(error) => {
                return write_zeros(file, from.max(file.metadata()?.len()), to);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn unsupported(error: Errno) -> bool {
    error == Errno::OPNOTSUPP || error == Errno::NOSYS
}

fn write_zeros(file: &File, mut from: u64, to: u64) -> io::Result<()> {
    while from < to {
        let len = usize::try_from(to - from).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        file.write_all_at(&ZEROS[..len], from)?;
        from += len as u64;
    }
    Ok(())
}

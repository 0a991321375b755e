//! What is at a path, before anything of it is believed: a store, a place for one, or something else.

use std::io;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::backup::UNFINISHED;
use crate::format::meta::{BYTES, SUPERBLOCK, Superblock, Unreadable};
use crate::format::segment::{HEADER_BYTES, SegmentHeader};
use crate::format::{VERSION, index as index_format};
use crate::options::Options;
use crate::sys::{Access, Disk, File, ForkGuard};

use super::create::{META, check_vacant};

/// True if there is a store, false if one may be created; everything else is an error.
pub(super) fn is_there(disk: &dyn Disk, options: &Options) -> Result<bool> {
    let path = disk.root().to_path_buf();
    let names = match disk.list("") {
        Ok(names) => names,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            return Err(Error::NotAStore { path, why: "it is not a directory".into() });
        }
        Err(e) => return Err(Error::io("list", path, e)),
    };
    if names.iter().any(|name| name == UNFINISHED) {
        return Err(Error::UnfinishedBackup { path });
    }
    if names.iter().any(|name| name == META) {
        return if options.create_new { Err(Error::AlreadyExists { path }) } else { Ok(true) };
    }
    check_vacant(disk, &names)?;
    if options.create || options.create_new { Ok(false) } else { Err(Error::NotFound { path }) }
}

/// Fails if a backup is being made here. For those who have the store open, and so keep others from beginning one.
pub(super) fn check_finished(disk: &dyn Disk) -> Result<()> {
    match disk.open(UNFINISHED, Access::Read) {
        Ok(_) => Err(Error::UnfinishedBackup { path: disk.root().to_path_buf() }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("open", disk.root().join(UNFINISHED), e)),
    }
}

pub(super) fn check_coherent(disk: &dyn Disk, options: &Options) -> Result<()> {
    if options.force_file_system {
        return Ok(());
    }
    match disk.coherent().map_err(|e| Error::io("stat", disk.root(), e))? {
        Ok(()) => Ok(()),
        Err(kind) => {
            let why = format!("{kind} does not keep shared mappings coherent");
            Err(Error::InvalidOption { option: "force_file_system", why })
        }
    }
}

/// What the store is.
pub(super) fn read_superblock(disk: &dyn Disk, meta: &dyn File) -> Result<Superblock> {
    let path = disk.root().join(META);
    let len = meta.len().map_err(|e| Error::io("stat", &path, e))?;
    let mut bytes = [0; SUPERBLOCK];
    let there = usize::try_from(len).map_or(SUPERBLOCK, |len| len.min(SUPERBLOCK));
    meta.read_at(&mut bytes[..there], 0).map_err(|e| Error::io("read", &path, e))?;
    let short = || Error::corrupt(&path, len, format!("{BYTES} bytes"), format!("{len} bytes"));
    let superblock = Superblock::decode(&bytes).map_err(|unreadable| match unreadable {
        Unreadable::Foreign if has_segment(disk) => {
            Error::corrupt(&path, 0, "the superblock of the store", "other bytes")
        }
        Unreadable::Newer(_) if is_older(&bytes) => {
            Error::corrupt(&path, 8, format!("format version {VERSION}"), "another number")
        }
        Unreadable::Foreign => {
            let why = format!("its {META} was not written by mapstone");
            Error::NotAStore { path: disk.root().to_path_buf(), why }
        }
        Unreadable::Damaged(..) if there < SUPERBLOCK => short(),
        Unreadable::Damaged(offset, expected) => {
            Error::corrupt(&path, offset, expected, "other bytes")
        }
        Unreadable::Newer(found) => {
            Error::Version { file: path.clone(), found, supported: VERSION }
        }
    })?;
    if len < BYTES {
        return Err(short());
    }
    Ok(superblock)
}

/// There is a segment of a log, so that what is beside it was a store.
fn has_segment(disk: &dyn Disk) -> bool {
    let starts_one = |name: &String| {
        let mut bytes = [0; HEADER_BYTES];
        let file = disk.open(&format!("log/{name}"), Access::Read);
        let read = file.is_ok_and(|file| file.read_at(&mut bytes, 0).is_ok());
        read && SegmentHeader::decode(&bytes).is_ok()
    };
    disk.list("log").is_ok_and(|names| names.iter().any(starts_one))
}

/// The version is damaged and not a newer one: with that of this release the checksum holds.
fn is_older(bytes: &[u8; SUPERBLOCK]) -> bool {
    let mut older = *bytes;
    older[8..12].copy_from_slice(&VERSION.to_le_bytes());
    Superblock::decode(&older).is_ok()
}

/// The index file, if it is this store's.
pub(super) fn open_index(
    disk: &dyn Disk,
    superblock: &Superblock,
    access: Access,
) -> Result<Arc<dyn File>> {
    let path = disk.root().join(index_format::NAME);
    let file = match disk.open(index_format::NAME, access) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Error::corrupt(path, 0, "an index", "no file"));
        }
        Err(e) => return Err(Error::io("open", path, e)),
    };
    let len = file.len().map_err(|e| Error::io("stat", &path, e))?;
    if len < crate::format::PAGE {
        return Err(Error::corrupt(path, 0, "an index", format!("{len} bytes")));
    }
    let mut bytes = [0; index_format::HEADER];
    file.read_at(&mut bytes, 0).map_err(|e| Error::io("read", &path, e))?;
    let id = index_format::decode(&bytes)
        .map_err(|(offset, expected)| Error::corrupt(&path, offset, expected, "other bytes"))?;
    if id != superblock.id {
        return Err(Error::corrupt(path, 16, "the id of this store", "another id"));
    }
    Ok(file)
}

/// What comes before the lock of whoever opens for writing: the directory, on a file system that will do.
pub(super) fn approach(disk: &dyn Disk, options: &Options) -> Result<ForkGuard> {
    let fork = ForkGuard::new().map_err(|e| Error::io("map", "anonymous memory", e))?;
    let exists = is_there(disk, options)?;
    check_coherent(disk, options)?;
    disk.permit(META, options.mode);
    if !exists {
        disk.make_dir("").map_err(|e| Error::io("create", disk.root(), e))?;
    }
    Ok(fork)
}

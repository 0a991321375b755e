//! A directory that gets its name only once everything in it is durable.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A directory under a name that says that it is not complete.
#[derive(Debug)]
pub(crate) struct Unfinished {
    path: PathBuf,
    name: PathBuf,
}

impl Unfinished {
    /// For a directory that is to be at `name`, where there must be nothing, or an empty directory: else `AlreadyExists`. A path that
    /// ends in no name is `InvalidInput`.
    pub(crate) fn new(name: &Path) -> io::Result<Unfinished> {
        let name = std::path::absolute(name)?;
        let last = name.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        match fs::read_dir(&name) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Err(error) => return Err(error),
        }
        let mut unfinished = last.to_os_string();
        unfinished.push(".unfinished");
        Ok(Unfinished { path: name.with_file_name(unfinished), name })
    }

    /// Where the directory is until then.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory, or the one that it will be in, is `other` or below it.
    pub(crate) fn is_within(&self, other: &Path) -> bool {
        let Ok(other) = fs::canonicalize(other) else { return false };
        let existing = self.name.ancestors().find_map(|path| fs::canonicalize(path).ok());
        existing.is_some_and(|path| path.starts_with(other))
    }

    /// Removes what an earlier attempt has left, of which the caller has made sure that it is nothing else.
    pub(crate) fn clear(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Gives the directory its name, durably.
    pub(crate) fn finish(self) -> io::Result<()> {
        fs::rename(&self.path, &self.name)?;
        self.name.parent().map_or(Ok(()), sync_dir)
    }
}

/// Makes the names in a directory durable.
fn sync_dir(path: &Path) -> io::Result<()> {
    match fs::File::open(path)?.sync_all() {
        // Some file systems have nothing to sync here and say so.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

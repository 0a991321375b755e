//! A directory tree as entries: the relative path is the key, the file's bytes the value.

use std::{
    fs::Metadata,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
};
use walkdir::{DirEntry, WalkDir};

/// Everything below `root` but directories, in the order of names; symbolic links are not followed.
///
/// `without` is left out whole: a store inside the tree that is loaded into it would never stop growing.
pub(crate) fn walk(
    root: &Path,
    without: &Path,
) -> impl Iterator<Item = walkdir::Result<DirEntry>> + use<> {
    let without = without.metadata().ok().map(|metadata| identity(&metadata));
    WalkDir::new(root)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(move |entry| {
            without.is_none()
                || !entry.file_type().is_dir()
                || entry.metadata().ok().map(|m| identity(&m)) != without
        })
        .filter(|entry| entry.as_ref().map_or(true, |entry| !entry.file_type().is_dir()))
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The key of a file found below `root`.
pub(crate) fn key(root: &Path, path: &Path) -> Vec<u8> {
    path.strip_prefix(root).unwrap_or(path).as_os_str().as_bytes().to_vec()
}

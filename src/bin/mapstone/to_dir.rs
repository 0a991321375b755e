//! Entries as a directory tree, which no key can leave.
//!
//! Nothing is written before every key has been looked at, so a refusal leaves the directory as it was.

use crate::{escape::escaped, progress};
use anyhow::{Context, Result, bail, ensure};
use mapstone::Snapshot;
use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// Writes each entry of the table as a file below `directory`; the number written.
pub(crate) fn export(table: &Snapshot, directory: &Path) -> Result<u64> {
    let mut files = 0;
    for entry in table.iter() {
        check(table, entry?.0)?;
        files += 1;
    }
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let bar = progress::entries("export", files);
    for entry in table.iter() {
        let (key, value) = entry?;
        let path = place(directory, key)?;
        fs::write(&path, value).with_context(|| format!("write {}", path.display()))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(files)
}

/// The key is a path that stays below the directory, that no other spelling shares, and that no other key needs as a
/// directory.
fn check(table: &Snapshot, key: &[u8]) -> Result<()> {
    if let Some(reason) = refusal(key) {
        bail!("the key \"{}\" cannot be a file in the directory: {reason}", escaped(key));
    }
    for (at, _) in key.iter().enumerate().filter(|&(_, &byte)| byte == b'/') {
        let (parent, key) = (&key[..at], escaped(key));
        ensure!(
            !table.contains(parent)?,
            "the key \"{}\" cannot be a file: \"{key}\" is below it",
            escaped(parent)
        );
    }
    Ok(())
}

fn refusal(key: &[u8]) -> Option<&'static str> {
    if key.is_empty() {
        return Some("it is empty");
    }
    if key[0] == b'/' {
        return Some("it is an absolute path");
    }
    if key.contains(&0) {
        return Some("it holds a zero byte");
    }
    key.split(|&byte| byte == b'/').find_map(|component| match component {
        b".." => Some("it would leave it"),
        b"." | b"" => Some("it is not the plain form of a path"),
        _ => None,
    })
}

/// The file's path, its parents created. A symbolic link on the way, or as the file, would lead out: refused.
fn place(directory: &Path, key: &[u8]) -> Result<PathBuf> {
    let mut path = directory.to_owned();
    let mut components = key.split(|&byte| byte == b'/').map(OsStr::from_bytes).peekable();
    while let Some(component) = components.next() {
        path.push(component);
        let is_file = components.peek().is_none();
        match fs::symlink_metadata(&path) {
            Ok(found) if is_file && found.is_file() || !is_file && found.is_dir() => {}
            Ok(_) if is_file => bail!("{} is there and is not a regular file", path.display()),
            Ok(_) => bail!("{} is there and is not a directory", path.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !is_file {
                    fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
                }
            }
            Err(error) => return Err(error).with_context(|| format!("look at {}", path.display())),
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::refusal;

    #[test]
    fn only_plain_relative_paths_pass() {
        for key in ["a", "a/b", "..a/b..", "...", " ", ".hidden"] {
            assert_eq!(refusal(key.as_bytes()), None, "{key}");
        }
        for key in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "a/..",
            "../a",
            "a/../../b",
            ".",
            "a/./b",
            "a//b",
            "a/",
            "a\0b",
        ] {
            assert!(refusal(key.as_bytes()).is_some(), "{key:?}");
        }
    }
}

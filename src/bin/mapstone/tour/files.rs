//! What the store holds against what the files hold, byte by byte.

use super::corpus::{Corpus, File, Stamp};
use anyhow::{Result, bail};
use std::{
    fs,
    io::{self, Read},
    path::Path,
};

/// The comparisons made.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Files whose bytes were all equal.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Files that somebody changed during the tour, which say nothing about the store.
    pub(crate) changed: u64,
}

pub(crate) struct Checker<'a> {
    corpus: &'a Corpus,
    content: Vec<u8>,
    pub(crate) tally: Tally,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(corpus: &'a Corpus) -> Self {
        Self { corpus, content: Vec::new(), tally: Tally::default() }
    }

    /// An error unless `found` is the file's content, or the file is not any more what it was at the start.
    pub(crate) fn compare(&mut self, index: usize, found: Option<&[u8]>) -> Result<()> {
        let file = &self.corpus.files[index];
        let path = self.corpus.path(file);
        let read = read(&path, &mut self.content);
        if read.is_ok() && found == Some(&self.content) {
            self.tally.files += 1;
            self.tally.bytes += self.content.len() as u64;
            return Ok(());
        }
        if read.is_err() || has_changed(file, &path) {
            self.tally.changed += 1;
            return Ok(());
        }
        bail!("mismatch: {}: {}", path.display(), difference(found, &self.content))
    }
}

/// Reads the file into `content`, whatever was there before.
pub(crate) fn read(path: &Path, content: &mut Vec<u8>) -> io::Result<()> {
    content.clear();
    fs::File::open(path)?.read_to_end(content)?;
    Ok(())
}

fn has_changed(file: &File, path: &Path) -> bool {
    fs::metadata(path).map_or(true, |metadata| Stamp::from(&metadata) != file.stamp)
}

fn difference(found: Option<&[u8]>, content: &[u8]) -> String {
    let Some(found) = found else {
        return "the store does not have it".to_owned();
    };
    let same = found.iter().zip(content).take_while(|(a, b)| a == b).count();
    let (stored, length) = (found.len(), content.len());
    format!(
        "the store has {stored} bytes, the file {length}, and byte {same} is the first to differ"
    )
}

#[cfg(test)]
mod tests {
    use super::Checker;
    use crate::tour::corpus::Corpus;

    #[test]
    fn a_difference_is_an_error_unless_the_file_changed() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a"), "content").unwrap();
        let corpus = Corpus::scan(root.path(), 1 << 20).unwrap();
        let mut checker = Checker::new(&corpus);
        checker.compare(0, Some(b"content")).unwrap();
        assert!(checker.compare(0, Some(b"contenT")).unwrap_err().to_string().contains("byte 6"));
        assert!(checker.compare(0, Some(b"conten")).is_err());
        assert!(checker.compare(0, None).is_err());
        std::fs::write(root.path().join("a"), "longer content").unwrap();
        checker.compare(0, Some(b"content")).unwrap();
        assert_eq!((checker.tally.files, checker.tally.changed), (1, 1));
    }
}

//! The files of the tour, cut into batches, and how the child processes are told of them.

use crate::{
    escape::{escape_into, unescape},
    tree,
};
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, Metadata},
    io::{BufRead, Write},
    ops::Range,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Looking at the tree ends after so long, so that a slow disk does not stretch the tour.
const SCAN_TIME: Duration = Duration::from_secs(4);
const BATCH_FILES: usize = 64;
const BATCH_BYTES: u64 = 4 << 20;

/// What tells a file from a later version of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    pub(crate) length: u64,
    changed: i64,
    changed_nanoseconds: i64,
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            length: metadata.len(),
            changed: metadata.ctime(),
            changed_nanoseconds: metadata.ctime_nsec(),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct File {
    pub(crate) key: Vec<u8>,
    pub(crate) stamp: Stamp,
}

/// The files, the same ones in the same batches in every process of the tour.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Corpus {
    pub(crate) root: PathBuf,
    pub(crate) files: Vec<File>,
    pub(crate) batches: Vec<Range<usize>>,
    pub(crate) bytes: u64,
    pub(crate) skipped: u64,
    /// Why the tree was not taken whole, if it was not.
    pub(crate) cut: Option<&'static str>,
}

/// The tree that was asked for, or the first that has files.
pub(crate) fn root(asked: Option<&Path>) -> Result<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let usual = [Path::new("/usr/include"), &sources];
    let root =
        asked.or_else(|| usual.into_iter().find(|path| has_files(path))).unwrap_or(Path::new("."));
    // Absolute, for the child processes; and a link to a directory is followed here, where the tree begins.
    root.canonicalize().with_context(|| format!("open {}", root.display()))
}

fn has_files(path: &Path) -> bool {
    tree::walk(path, Path::new("")).flatten().any(|entry| entry.file_type().is_file())
}

impl Corpus {
    /// Reads every file once: those that can be read and are as long as they say, up to `limit` bytes.
    pub(crate) fn scan(root: &Path, limit: u64) -> Result<Self> {
        let start = Instant::now();
        let mut corpus = Self::empty(root);
        for entry in tree::walk(root, Path::new("")) {
            let Some(file) =
                entry.ok().filter(|e| e.file_type().is_file()).and_then(|e| look(root, e.path()))
            else {
                corpus.skipped += 1;
                continue;
            };
            if corpus.bytes + file.stamp.length > limit {
                corpus.cut = Some("the limit of bytes, --limit-mib, was reached");
                continue;
            }
            corpus.bytes += file.stamp.length;
            corpus.files.push(file);
            if start.elapsed() > SCAN_TIME {
                corpus.cut = Some("looking at it took 4 seconds");
                break;
            }
        }
        ensure!(!corpus.files.is_empty(), "no file below {} can be read", root.display());
        corpus.cut_batches();
        Ok(corpus)
    }

    fn empty(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            files: Vec::new(),
            batches: Vec::new(),
            bytes: 0,
            skipped: 0,
            cut: None,
        }
    }

    /// Small trees get small batches, so that there are some twenty at least.
    fn cut_batches(&mut self) {
        let most = self.files.len().div_ceil(20).min(BATCH_FILES);
        let (mut start, mut bytes) = (0, 0);
        for (index, file) in self.files.iter().enumerate() {
            bytes += file.stamp.length;
            if index + 1 - start == most || bytes >= BATCH_BYTES || index + 1 == self.files.len() {
                self.batches.push(start..index + 1);
                (start, bytes) = (index + 1, 0);
            }
        }
    }

    pub(crate) fn path(&self, file: &File) -> PathBuf {
        self.root.join(std::ffi::OsStr::from_bytes(&file.key))
    }

    /// The list for a child process: a file a line, an empty line at the end.
    pub(crate) fn send(&self, out: &mut impl Write) -> Result<()> {
        let mut text = Vec::new();
        for File { key, stamp } in &self.files {
            let Stamp { length, changed, changed_nanoseconds } = stamp;
            write!(text, "{length}\t{changed}\t{changed_nanoseconds}\t")?;
            escape_into(key, &mut text);
            text.push(b'\n');
        }
        text.push(b'\n');
        out.write_all(&text)?;
        Ok(out.flush()?)
    }

    /// What [`Corpus::send`] sent; the batches follow from the files.
    pub(crate) fn receive(root: &Path, input: &mut impl BufRead) -> Result<Self> {
        let mut corpus = Self::empty(root);
        loop {
            let mut line = Vec::new();
            input.read_until(b'\n', &mut line)?;
            ensure!(line.pop() == Some(b'\n'), "the list of files breaks off");
            if line.is_empty() {
                break;
            }
            let file = parse(&line).context("a line of the list of files")?;
            corpus.bytes += file.stamp.length;
            corpus.files.push(file);
        }
        corpus.cut_batches();
        Ok(corpus)
    }
}

fn look(root: &Path, path: &Path) -> Option<File> {
    let content = fs::read(path).ok()?;
    let stamp = Stamp::from(&fs::metadata(path).ok()?);
    // Not so for what the kernel makes up as it is read.
    let regular = stamp.length == content.len() as u64;
    regular.then(|| File { key: tree::key(root, path), stamp })
}

fn parse(line: &[u8]) -> Result<File> {
    let mut fields = line.splitn(4, |&byte| byte == b'\t');
    let mut field = || fields.next().context("a field is missing");
    let number = |field: &[u8]| Ok::<_, anyhow::Error>(std::str::from_utf8(field)?.parse::<i64>()?);
    let length = u64::try_from(number(field()?)?)?;
    let stamp =
        Stamp { length, changed: number(field()?)?, changed_nanoseconds: number(field()?)? };
    Ok(File { key: unescape(field()?)?, stamp })
}

#[cfg(test)]
mod tests {
    use super::Corpus;
    use std::path::Path;

    #[test]
    fn a_child_process_gets_the_same_files_in_the_same_batches() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let sources = Corpus::scan(&root.join("src"), 1 << 20).unwrap();
        let mut list = Vec::new();
        sources.send(&mut list).unwrap();
        let received = Corpus::receive(&sources.root, &mut &list[..]).unwrap();
        assert_eq!((&received.files, &received.batches), (&sources.files, &sources.batches));
        assert_eq!(
            received.batches.iter().map(|batch| batch.len()).sum::<usize>(),
            received.files.len()
        );
        assert!(Corpus::receive(root, &mut &list[..list.len() - 1]).is_err());
    }
}

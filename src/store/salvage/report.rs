//! What a salvage reports: figures, and all that is lost or in doubt.

use std::fmt;
use std::path::PathBuf;

use crate::format::position::Position;

/// A range of bytes of a file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// The file. It may be one that is missing.
    pub file: PathBuf,
    /// Offset of the first byte.
    pub from: u64,
    /// Offset after the last byte. It may be beyond the end of a file that was cut short.
    pub to: u64,
    /// What is wrong there.
    pub why: String,
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Extent { file, from, to, why } = self;
        write!(f, "{} from offset {from} to {to}: {why}", file.display())
    }
}

/// A key of which a version is lost. It is a guess: what says so has no checksum, or one that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostKey {
    /// The named table; None for the one without a name.
    pub table: Option<String>,
    /// The key.
    pub key: Vec<u8>,
    /// The file in which the lost record is.
    pub file: PathBuf,
    /// Offset of the lost record.
    pub offset: u64,
    /// An older value of the key was found, and is in the new store.
    pub older: bool,
}

/// What [`Options::repair`](crate::Options::repair) has found and written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvage {
    /// Where the log of the damaged store ends.
    pub position: Position,
    /// Files of its log.
    pub segments: u64,
    /// Records that pass their checksum and were committed, of all versions of all keys.
    pub records: u64,
    /// Bytes of these records.
    pub bytes: u64,
    /// Keys that have a value in the new store.
    pub entries: u64,
    /// Places of the log that hold none of the records that they should, in the order of the log.
    ///
    /// What was there may be of any key: a key that is not in the new store may have had a value, and one that is there may
    /// have had a newer one, or have been deleted. `keys` are those that can be named.
    pub lost: Vec<Extent>,
    /// Keys whose newest version is lost, as far as they can be read, each with the newest place of it that was found.
    pub keys: Vec<LostKey>,
    /// Keys whose newest version is lost that the index leads to and that cannot be read.
    pub unnamed: u64,
    /// Records of batches that may not be whole: they are in the new store, and what was committed together with them may be lost.
    pub torn: Vec<Extent>,
    /// Records that pass their checksum but that no commit ends: they are not in the new store.
    pub uncommitted: u64,
    /// Names that were made up for tables whose own is lost.
    pub renamed: Vec<String>,
}

impl Salvage {
    /// Nothing is lost.
    pub fn is_complete(&self) -> bool {
        self.lost.is_empty()
    }
}

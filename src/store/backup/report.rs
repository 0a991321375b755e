//! What a backup reports, and how far it has come.

use crate::format::position::Position;

/// What [`Store::backup`](crate::Store::backup) has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backup {
    /// The position that the backup is of: it holds all commits up to there, and nothing else.
    pub position: Position,
    /// It was brought up to date from an earlier one; otherwise its index was built from all of the log.
    pub continued: bool,
    /// Segments of the log that were there already, and whole.
    pub kept: u64,
    /// Segments that are one file with the store's, by a hard link.
    pub linked: u64,
    /// Segments that share their blocks with the store's, copy on write.
    pub cloned: u64,
    /// Segments that were copied, or of which the missing part was.
    pub copied: u64,
    /// Bytes of the log that were written for these.
    pub copied_bytes: u64,
    /// Bytes of the log whose checksums were verified: of all that was not kept, and of everything if the index was built anew.
    pub verified_bytes: u64,
    /// Segments that the backup had and the store has no more, and that were removed.
    pub removed: u64,
}

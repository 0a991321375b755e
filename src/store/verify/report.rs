//! What a verification reports: figures, and every place that does not hold what it must.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::format::position::Position;

/// A place in a file that does not hold what it must.
///
/// Where two places contradict each other and nothing tells which of them is wrong, both are reported.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The damaged file.
    pub file: PathBuf,
    /// Byte offset of the damage in that file: where the damaged record, slot, header or word starts.
    pub offset: u64,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { file, offset, expected, found } = self;
        write!(f, "{} at offset {offset}: expected {expected}, found {found}", file.display())
    }
}

/// What [`Store::verify`](crate::Store::verify) has read and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// The commit that was verified: everything up to it was read.
    pub position: Position,
    /// Segments of the log.
    pub segments: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of these records.
    pub bytes: u64,
    /// Keys that have a value.
    pub entries: u64,
    /// Index pages that the directory leads to; 0 when another process may be writing.
    pub pages: u64,
    /// Everything that is wrong.
    pub damage: Vec<Damage>,
}

impl Verification {
    /// Nothing is damaged.
    pub fn is_ok(&self) -> bool {
        self.damage.is_empty()
    }
}

/// Damage as it is found: each place once.
#[derive(Debug, Default)]
pub(super) struct Findings {
    damage: Vec<Damage>,
    places: HashSet<(PathBuf, u64)>,
}

impl Findings {
    pub(super) fn add(
        &mut self,
        file: PathBuf,
        offset: u64,
        expected: impl Into<String>,
        found: impl fmt::Display,
    ) {
        if self.places.insert((file.clone(), offset)) {
            let (expected, found) = (expected.into(), found.to_string());
            self.damage.push(Damage { file, offset, expected, found });
        }
    }

    /// Takes a damage for what it is; any other error ends the verification.
    pub(super) fn absorb(&mut self, error: Error) -> Result<()> {
        match error {
            Error::Corrupt { file, offset, expected, found } => {
                self.add(file, offset, expected, found);
                Ok(())
            }
            Error::Lost { file, why } => {
                self.add(file, 0, "the file that was opened", why);
                Ok(())
            }
            other => Err(other),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.damage.is_empty()
    }

    pub(super) fn into_damage(self) -> Vec<Damage> {
        self.damage
    }

    /// Takes over what was found elsewhere.
    pub(super) fn join(&mut self, other: Findings) {
        for damage in other.damage {
            self.add(damage.file, damage.offset, damage.expected, damage.found);
        }
    }
}

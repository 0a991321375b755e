//! A position: a byte address in the log that only ever grows, names a record, orders commits, and is the snapshot.

use std::fmt;

/// Records and values start at multiples of this many bytes.
pub(crate) const ALIGN: u64 = 16;

/// Positions are below this, so that no sum of a position and what may be in a log is too large. A store that writes a
/// gibibyte a second gets there in three centuries.
pub(crate) const MAX_POSITION: u64 = 1 << 63;

/// Rounds up to the next multiple of [`ALIGN`].
pub(crate) const fn align(bytes: u64) -> u64 {
    (bytes + ALIGN - 1) & !(ALIGN - 1)
}

/// A byte address in the log of one store. It only ever grows: a later commit has a greater position.
///
/// To read at a position is to see exactly the commits that end at or before it.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let store = mapstone::Store::open(dir.path().join("db"))?;
/// let before = store.position();
/// store.put("key", "value")?;
/// assert!(store.position() > before);
/// println!("committed up to {}", store.position());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub(crate) u64);

impl Position {
    /// The byte address as a number, to keep it somewhere else.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

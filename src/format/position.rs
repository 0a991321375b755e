//! A position: a byte address in the log that only ever grows, names a record, orders commits, and is the snapshot.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

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

    /// The position of a number that [`Position::as_u64`] gave. That of no number at all, 0, is before the first commit.
    pub fn from_u64(number: u64) -> Position {
        Position(number)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An epoch of a store, and what was drawn when it began; 0 if it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Era(pub(crate) u64);

impl Era {
    pub(crate) fn new(epoch: u32, nonce: u32) -> Era {
        Era(u64::from(epoch) << 32 | u64::from(nonce))
    }

    pub(crate) fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    pub(crate) fn nonce(self) -> u32 {
        self.0 as u32
    }

    /// They are not known to be different.
    pub(crate) fn can_be(self, other: Era) -> bool {
        self == other || self == Era(0) || other == Era(0)
    }
}

/// A commit, told from any other that could ever end at the same position: a power cut takes back what was not durable, and
/// then other commits take its place.
///
/// It is written as the position, a dot, and a number that tells the life of the store in which it was made; or as the position alone
/// if that is not known.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let store = mapstone::Store::open(dir.path().join("db"))?;
/// store.put("key", "value")?;
/// let bookmark = store.watch("")?.bookmark();
/// assert_eq!(bookmark.position(), store.position());
/// let text = bookmark.to_string();
/// assert_eq!(text.parse::<mapstone::Bookmark>()?, bookmark);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bookmark {
    pub(crate) position: Position,
    /// That of the segment in which the commit ends.
    pub(crate) era: Era,
}

impl Bookmark {
    /// Where the commit ends.
    pub fn position(self) -> Position {
        self.position
    }
}

impl From<Position> for Bookmark {
    /// Whichever commit ends there.
    fn from(position: Position) -> Bookmark {
        Bookmark { position, era: Era::default() }
    }
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.era {
            Era(0) => self.position.fmt(f),
            Era(era) => write!(f, "{}.{era:x}", self.position),
        }
    }
}

impl FromStr for Bookmark {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Bookmark, ParseIntError> {
        let (position, era) = text.split_once('.').unwrap_or((text, "0"));
        let era = Era(u64::from_str_radix(era, 16)?);
        Ok(Bookmark { position: Position(position.parse()?), era })
    }
}

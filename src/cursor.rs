//! A cursor: a name for the commit up to which someone has followed a store.

use std::sync::Arc;

use crate::changes::Changes;
use crate::error::Result;
use crate::format::position::{Bookmark, Position};
use crate::handle::{Handle, Store};
use crate::store::CursorStats;

/// A named, durable place among the commits of a store: what comes after it is kept from compaction until the cursor has been
/// moved past it, or is removed. Keeps the store open.
///
/// It belongs to whoever follows the store under that name, one at a time, in whichever process; a read-only handle will do, if
/// it may write to the directory. The log grows for as long as nobody moves it: [`Store::cursors`](crate::Store::cursors) and
/// `mapstone stat` tell how much each one holds, and [`Store::remove_cursor`](crate::Store::remove_cursor) gives it up.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let store = mapstone::Store::open(dir.path().join("db"))?;
/// let mut cursor = store.cursor("replica-1")?;
/// store.put("a", "1")?;
/// let mut changes = cursor.changes()?;
/// while let Some(commit) = changes.next_commit()? {
///     println!("{commit:?}");
/// }
/// // What was made of them is safe: from here on the next time.
/// cursor.advance(changes.bookmark())?;
/// assert_eq!(store.cursor("replica-1")?.position(), store.position());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cursor {
    handle: Arc<Handle>,
    name: String,
    at: Bookmark,
}

impl Store {
    /// The cursor of that name, which is made at the present commit if there is none: see [`Cursor`].
    ///
    /// # Errors
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) or [`Error::TooLarge`](crate::Error::TooLarge) for a name that is not
    /// up to 100 letters, digits, `.`, `-` or `_`, [`Error::Corrupt`](crate::Error::Corrupt),
    /// [`Error::Full`](crate::Error::Full), [`Error::Io`](crate::Error::Io).
    pub fn cursor(&self, name: &str) -> Result<Cursor> {
        Cursor::open(self.handle(), name)
    }

    /// All cursors, and what they keep from compaction.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt), [`Error::Io`](crate::Error::Io).
    pub fn cursors(&self) -> Result<Vec<CursorStats>> {
        self.engine().cursors()
    }

    /// Removes a cursor, durably; false if there is none of that name. Whoever has it open cannot move it any more.
    ///
    /// # Errors
    /// Those of [`Store::cursor`] but `Corrupt` and `Full`.
    pub fn remove_cursor(&self, name: &str) -> Result<bool> {
        self.engine().remove_cursor(name)
    }
}

impl Cursor {
    pub(crate) fn open(handle: &Arc<Handle>, name: &str) -> Result<Cursor> {
        let at = handle.engine().open_cursor(name)?;
        Ok(Cursor { handle: Arc::clone(handle), name: name.to_owned(), at })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    pub fn position(&self) -> Position {
        self.at.position()
    }

    /// The same, as [`Store::changes`](crate::Store::changes) takes it.
    pub fn bookmark(&self) -> Bookmark {
        self.at
    }

    /// What was committed after it.
    ///
    /// # Errors
    /// [`Error::NoSuchCommit`](crate::Error::NoSuchCommit) if a power cut has taken back what the cursor had come to, and those
    /// of [`Store::changes`](crate::Store::changes). [`Cursor::reset`] begins anew.
    pub fn changes(&self) -> Result<Changes> {
        Changes::new(&self.handle, self.at)
    }

    /// Moves it on to a commit that [`Changes`] has come to, durably: it costs two syncs of small files. What was before may be
    /// compacted from now on.
    ///
    /// # Errors
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) if that is behind where it is,
    /// [`Error::NoSuchCommit`](crate::Error::NoSuchCommit) if it is past the last commit,
    /// [`Error::NotFound`](crate::Error::NotFound) if the cursor was removed, [`Error::Full`](crate::Error::Full),
    /// [`Error::Io`](crate::Error::Io): without permission to write to the directory.
    pub fn advance(&mut self, to: Bookmark) -> Result<()> {
        self.handle.engine().move_cursor(&self.name, to)?;
        self.at = to;
        Ok(())
    }

    /// Moves it to the present commit, wherever it was: what is between is not told.
    ///
    /// # Errors
    /// [`Error::Full`](crate::Error::Full), [`Error::Io`](crate::Error::Io).
    pub fn reset(&mut self) -> Result<()> {
        self.at = self.handle.engine().begin_cursor(&self.name)?;
        Ok(())
    }
}

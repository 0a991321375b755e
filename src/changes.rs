//! Changes: what was committed after a position, in order, as it lies in the log.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::format::position::{Bookmark, Position};
use crate::handle::{Handle, Store};
use crate::log::Record;
use crate::store::{CATALOGUE, DEFAULT_TABLE, Feed, named};
use crate::value::Value;

/// Commits after a position, in order. Keeps the store open.
///
/// It reads the log itself, in whichever process, and holds nothing back: when compaction overtakes it, it fails with
/// [`Error::Compacted`](crate::Error::Compacted). A [`Cursor`](crate::Cursor) keeps that from happening.
///
/// To go on after a restart, keep [`Changes::bookmark`], best in the same commit as what was made of the changes.
///
/// ```
/// use mapstone::Change;
/// # let dir = tempfile::tempdir()?;
/// let store = mapstone::Store::open(dir.path().join("db"))?;
/// let before = store.position();
/// store.put("a", "1")?;
/// store.batch().put("b", "2")?.delete("a")?.commit()?;
///
/// let mut changes = store.changes(before)?;
/// let mut seen = Vec::new();
/// while let Some(commit) = changes.next_commit()? {
///     for change in &commit {
///         match change? {
///             Change::Put { key, value, .. } => seen.push(format!("{key:?} = {value:?}")),
///             Change::Delete { key, .. } => seen.push(format!("{key:?} is gone")),
///             _ => {}
///         }
///     }
/// }
/// assert_eq!(seen.len(), 3);
/// assert_eq!(changes.position(), store.position());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Changes {
    handle: Arc<Handle>,
    feed: Feed,
    only: Only,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
struct Only {
    table: Option<u32>,
    prefix: Vec<u8>,
}

impl Only {
    fn wants(&self, record: &Record<'_>) -> bool {
        match (record.header().table, self.table) {
            (CATALOGUE, None) => named(record.key()).is_some(),
            (_, None) => true,
            (table, Some(wanted)) => table == wanted && record.key().starts_with(&self.prefix),
        }
    }
}

/// One commit, as [`Changes`] has come to it: all of it, or what was asked for.
pub struct Commit<'a> {
    feed: &'a Feed,
}

/// What a commit has done to one key, or to a table. All is borrowed from the mapped log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change<'a> {
    /// A key was given a value.
    Put {
        /// The table, None for the one without a name.
        table: Option<&'a str>,
        /// The key.
        key: &'a [u8],
        /// Its new value.
        value: Value<'a>,
        /// The version: greater than that of every earlier change.
        version: Position,
    },
    /// A key was deleted. It may not have had a value.
    Delete {
        /// The table, None for the one without a name.
        table: Option<&'a str>,
        /// The key.
        key: &'a [u8],
        /// The version: greater than that of every earlier change.
        version: Position,
    },
    /// A table was created.
    CreateTable {
        /// Its name.
        table: &'a str,
    },
    /// A table was dropped; the deletes of its keys came before, in the same commit.
    DropTable {
        /// The name that it had.
        table: &'a str,
    },
}

impl Store {
    /// What was committed after `from`, in order: a [`Position`], as [`Store::position`] and [`Snapshot::position`](crate::Snapshot::position) give it, or
    /// better a [`Bookmark`], as [`Changes::bookmark`] gives it. That of no commit, `Position::default()`, is before the first.
    ///
    /// A position is enough as long as the machine runs. After a power cut that took back commits which were not durable others
    /// may end where those did; a bookmark tells them apart.
    ///
    /// # Errors
    /// [`Error::Compacted`](crate::Error::Compacted) when some of it has been removed by compaction,
    /// [`Error::NoSuchCommit`](crate::Error::NoSuchCommit), [`Error::Corrupt`](crate::Error::Corrupt),
    /// [`Error::Io`](crate::Error::Io).
    pub fn changes(&self, from: impl Into<Bookmark>) -> Result<Changes> {
        Changes::new(self.handle(), from.into())
    }

    /// What is committed from now on to keys that begin with `prefix`; to all of the table if that is empty.
    /// [`Table::watch`](crate::Table::watch) is the same for a named table, [`Store::changes`] from [`Store::position`] on for all of the store.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt), [`Error::Io`](crate::Error::Io).
    pub fn watch(&self, prefix: impl AsRef<[u8]>) -> Result<Changes> {
        Changes::watch(self.handle(), DEFAULT_TABLE, prefix.as_ref())
    }
}

impl Changes {
    pub(crate) fn new(handle: &Arc<Handle>, from: Bookmark) -> Result<Changes> {
        let feed = handle.engine().feed(from)?;
        Ok(Changes { handle: Arc::clone(handle), feed, only: Only::default() })
    }

    /// From now on, in one table, of keys that begin with `prefix`.
    pub(crate) fn watch(handle: &Arc<Handle>, table: u32, prefix: &[u8]) -> Result<Changes> {
        let feed = handle.engine().feed_of_news()?;
        let only = Only { table: Some(table), prefix: prefix.to_vec() };
        Ok(Changes { handle: Arc::clone(handle), feed, only })
    }

    /// Where it has come to: the last commit that was returned, or a later one of which nothing was asked for.
    pub fn position(&self) -> Position {
        Position(self.feed.position())
    }

    /// The same, to go on from there later, also after a crash of the machine: see [`Store::changes`](crate::Store::changes).
    pub fn bookmark(&self) -> Bookmark {
        self.feed.bookmark()
    }

    /// The next commit; None if there is none yet.
    ///
    /// # Errors
    /// [`Error::Compacted`](crate::Error::Compacted) when compaction has removed what comes next, [`Error::Corrupt`](crate::Error::Corrupt),
    /// [`Error::Lost`](crate::Error::Lost), [`Error::Io`](crate::Error::Io).
    pub fn next_commit(&mut self) -> Result<Option<Commit<'_>>> {
        Ok(self.advance()?.then_some(Commit { feed: &self.feed }))
    }

    /// The next commit, in whichever process it is made; None if there is none before `timeout` is over. Sleeps, see
    /// [`Store::wait`](crate::Store::wait).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # let dir = tempfile::tempdir()?;
    /// let store = mapstone::Store::open(dir.path().join("db"))?;
    /// let mut watched = store.watch("user/")?;
    /// let writer = store.clone();
    /// let thread = std::thread::spawn(move || writer.put("user/7", "Ada"));
    /// let commit = watched.wait(Duration::from_secs(60))?.expect("a commit");
    /// assert_eq!(commit.len(), 1);
    /// # thread.join().expect("no panic")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Changes::next_commit`].
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<Commit<'_>>> {
        let end = Instant::now().checked_add(timeout);
        while !self.advance()? {
            let left = end.map_or(timeout, |end| end.saturating_duration_since(Instant::now()));
            let engine = self.handle.engine();
            if left.is_zero() || engine.wait_for_any(self.feed.position(), left)?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(Commit { feed: &self.feed }))
    }

    fn advance(&mut self) -> Result<bool> {
        let only = &self.only;
        self.feed.advance(self.handle.engine(), |record| only.wants(record))
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("position", &self.position()).finish_non_exhaustive()
    }
}

impl<'a> Commit<'a> {
    /// Where the commit ends: what [`Store::position`](crate::Store::position) was after it.
    pub fn position(&self) -> Position {
        Position(self.feed.position())
    }

    /// The same, to go on from there later.
    pub fn bookmark(&self) -> Bookmark {
        self.feed.bookmark()
    }

    /// How many changes it has.
    pub fn len(&self) -> usize {
        self.feed.records().len()
    }

    /// It has no changes; none that [`Changes`] returns is so.
    pub fn is_empty(&self) -> bool {
        self.feed.records().is_empty()
    }

    /// Its changes, in the order in which they were made.
    pub fn iter(&self) -> CommitIter<'a> {
        CommitIter { feed: self.feed, left: self.feed.records().iter() }
    }
}

impl fmt::Debug for Commit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for &Commit<'a> {
    type Item = Result<Change<'a>>;
    type IntoIter = CommitIter<'a>;

    fn into_iter(self) -> CommitIter<'a> {
        self.iter()
    }
}

/// The changes of a [`Commit`].
#[derive(Clone, Debug)]
pub struct CommitIter<'a> {
    feed: &'a Feed,
    left: std::slice::Iter<'a, u64>,
}

impl<'a> Iterator for CommitIter<'a> {
    type Item = Result<Change<'a>>;

    fn next(&mut self) -> Option<Result<Change<'a>>> {
        self.left.next().map(|position| change(self.feed, *position))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

impl DoubleEndedIterator for CommitIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.left.next_back().map(|position| change(self.feed, *position))
    }
}

impl ExactSizeIterator for CommitIter<'_> {}

fn change(feed: &Feed, position: u64) -> Result<Change<'_>> {
    let record = feed.record(position)?;
    let (number, key) = (record.header().table, record.key());
    let (table, version) = (feed.name(number), Position(record.position()));
    Ok(match (named(key).filter(|_| number == CATALOGUE), record.is_put()) {
        (Some(table), true) => Change::CreateTable { table },
        (Some(table), false) => Change::DropTable { table },
        (None, true) => Change::Put { table, key, value: Value::of(record), version },
        (None, false) => Change::Delete { table, key, version },
    })
}

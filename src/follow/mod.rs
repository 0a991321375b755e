//! Following: a second store that is kept in step with a first one, from its changes.

mod compare;

use std::collections::HashMap;
use std::time::Duration;

use crate::batch::Batch;
use crate::changes::{Change, Changes, Commit};
use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::format::position::{Bookmark, Position};
use crate::handle::Store;
use crate::store::Followed;
use crate::table::Table;

/// Bytes and operations of one commit of the store that follows, from which on no further commit is added to it.
const BYTES: usize = 1 << 20;
const OPS: usize = 1_000;

/// Keeps one store equal to another, commit by commit: what is to be read there was to be read here, at one moment.
///
/// How far it has come is kept in the store that follows, in the same commit as what was followed: whenever it is killed, it goes
/// on from there. When the changes are not to be had any more (compaction was quicker, or a power cut has taken back what was
/// followed already), it compares everything with a snapshot, and goes on after that. A cursor keeps compaction from it.
///
/// Values and keys are equal, also in all tables; versions and positions are each store's own. Nobody else may write to the store
/// that follows.
///
/// ```
/// use std::time::Duration;
/// use mapstone::{Follower, Store};
/// # let dir = tempfile::tempdir()?;
/// let store = Store::open(dir.path().join("db"))?;
/// let replica = Store::open(dir.path().join("replica"))?;
/// store.put("a", "1")?;
/// let mut follower = Follower::new(&store, &replica)?;
/// while follower.step(Duration::ZERO)?.is_some() {}
/// assert_eq!(replica.get("a")?.as_deref(), Some(&b"1"[..]));
/// assert_eq!(follower.position(), Some(store.position()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Follower {
    source: Store,
    dest: Store,
    cursor: Option<Cursor>,
    /// None before everything has been compared.
    changes: Option<Changes>,
    tables: HashMap<String, Table>,
    /// What is durable, and what the cursor knows of.
    settled: Option<Bookmark>,
}

/// What one step has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// Commits that were followed.
    pub commits: u64,
    /// Changes in them; or keys that were not equal, when everything was compared.
    pub changes: u64,
    /// Everything was compared.
    pub compared: bool,
}

/// One commit to be of the store that follows.
struct Draft {
    batch: Batch,
    /// The last commit that it has all of.
    at: Bookmark,
    step: Step,
}

impl Follower {
    /// `dest` is to follow `source`: it is new, or has done so before.
    ///
    /// # Errors
    /// [`Error::NotAReplica`] if it holds something else, and those of [`Store::get`] and [`Store::changes`].
    pub fn new(source: &Store, dest: &Store) -> Result<Follower> {
        let id = source.engine().id();
        let followed = dest.engine().followed()?;
        let why = match &followed {
            _ if dest.engine().id() == id => Some("it is the same store, or a backup of it"),
            Some(followed) if followed.id != id => Some("it follows another store"),
            None if !is_empty(dest)? => Some("it holds what nobody has followed"),
            _ => None,
        };
        if let Some(why) = why {
            let path = dest.path().to_path_buf();
            return Err(Error::NotAReplica { path, why: why.into() });
        }
        let changes = resume(source, followed.and_then(|followed| followed.at))?;
        Ok(Follower {
            source: source.clone(),
            dest: dest.clone(),
            cursor: None,
            changes,
            tables: HashMap::new(),
            settled: None,
        })
    }

    /// Has a cursor of that name in the first store keep its changes until they are durable in the second one, from now on.
    ///
    /// # Errors
    /// As [`Store::cursor`].
    pub fn with_cursor(mut self, name: &str) -> Result<Follower> {
        self.cursor = Some(self.source.cursor(name)?);
        self.settled = None;
        Ok(self)
    }

    /// The commit of the first store that the second one is equal to; None before everything has been compared.
    pub fn position(&self) -> Option<Position> {
        self.changes.as_ref().map(Changes::position)
    }

    /// Follows what there is, but for so much that it makes one commit of moderate size. If there is nothing, what was followed is
    /// made durable, and then it waits for up to `timeout` for a commit; None if there is none.
    ///
    /// # Errors
    /// Those of reading the one store and of writing to the other. Nothing is lost by them: the next step goes on.
    pub fn step(&mut self, timeout: Duration) -> Result<Option<Step>> {
        let Some(mut changes) = self.changes.take() else { return self.compare().map(Some) };
        match self.go_on(&mut changes, timeout) {
            Ok(step) => {
                self.changes = Some(changes);
                Ok(step)
            }
            Err(error) if is_behind(&error) => self.compare().map(Some),
            Err(error) => {
                // What was not committed is followed again.
                let followed = self.dest.engine().followed()?;
                self.changes = resume(&self.source, followed.and_then(|followed| followed.at))?;
                Err(error)
            }
        }
    }

    fn go_on(&mut self, changes: &mut Changes, timeout: Duration) -> Result<Option<Step>> {
        let mut draft = Draft::new(&self.dest, changes.bookmark());
        while !draft.is_full() {
            let Some(commit) = changes.next_commit()? else { break };
            self.apply(&commit, &mut draft)?;
        }
        if draft.step.commits == 0 {
            self.settle(changes.bookmark())?;
            match changes.wait(timeout)? {
                Some(commit) => self.apply(&commit, &mut draft)?,
                None => return Ok(None),
            }
        }
        self.commit(&mut draft)?;
        Ok(Some(draft.step))
    }

    /// Makes durable what was followed, and lets the cursor go on.
    fn settle(&mut self, at: Bookmark) -> Result<()> {
        if self.settled == Some(at) {
            return Ok(());
        }
        self.dest.sync()?;
        if let Some(cursor) = &mut self.cursor {
            cursor.advance(at)?;
        }
        self.settled = Some(at);
        Ok(())
    }

    fn apply(&mut self, commit: &Commit<'_>, draft: &mut Draft) -> Result<()> {
        if let Some(Change::DropTable { table }) = commit.iter().next_back().transpose()? {
            // Its keys go with it, as they did there.
            self.commit(draft)?;
            self.tables.remove(table);
            self.dest.drop_table(table)?;
        } else {
            for change in commit {
                self.add(&change?, draft)?;
            }
        }
        draft.step.commits += 1;
        draft.step.changes += commit.len() as u64;
        draft.at = commit.bookmark();
        Ok(())
    }

    fn add(&mut self, change: &Change<'_>, draft: &mut Draft) -> Result<()> {
        match change {
            Change::Put { table, key, value, .. } => self.set(draft, *table, key, Some(value)),
            Change::Delete { table, key, .. } => self.set(draft, *table, key, None),
            Change::CreateTable { table } => {
                self.commit(draft)?;
                self.table(table).map(drop)
            }
            Change::DropTable { .. } => unreachable!("it is the last of its commit"),
        }
    }

    fn set(
        &mut self,
        draft: &mut Draft,
        table: Option<&str>,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<()> {
        let table = table.map(|name| self.table(name)).transpose()?;
        draft.batch.set(table.as_ref(), key, value)
    }

    fn table(&mut self, name: &str) -> Result<Table> {
        if let Some(table) = self.tables.get(name) {
            return Ok(table.clone());
        }
        let table = self.dest.table(name)?;
        self.tables.insert(name.to_owned(), table.clone());
        Ok(table)
    }

    /// Commits what there is of a draft, and how far that is.
    fn commit(&self, draft: &mut Draft) -> Result<()> {
        draft.batch.note(&Followed { id: self.source.engine().id(), at: Some(draft.at) })?;
        draft.batch.commit()?;
        Ok(())
    }
}

impl Draft {
    fn new(dest: &Store, at: Bookmark) -> Draft {
        Draft { batch: dest.batch(), at, step: Step::default() }
    }

    /// No further commit is added to it.
    fn is_full(&self) -> bool {
        self.batch.len() >= OPS || self.batch.bytes() >= BYTES
    }
}

fn is_empty(store: &Store) -> Result<bool> {
    let stats = store.stats()?;
    Ok(stats.entries == 0 && stats.tables == 0)
}

/// Only everything will tell what has changed.
fn is_behind(error: &Error) -> bool {
    matches!(error, Error::Compacted { .. } | Error::NoSuchCommit { .. })
}

/// The changes to go on with; None if there are none to go on with.
fn resume(source: &Store, at: Option<Bookmark>) -> Result<Option<Changes>> {
    match at.map(|at| source.changes(at)).transpose() {
        Err(error) if is_behind(&error) => Ok(None),
        changes => changes,
    }
}

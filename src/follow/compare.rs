//! Comparing everything: where one who follows begins, and where the changes are not to be had any more.

use std::collections::BTreeSet;

use crate::changes::Changes;
use crate::error::Result;
use crate::snapshot::Snapshot;
use crate::store::Followed;

use super::{Draft, Follower, Step, is_behind};

impl Follower {
    /// Makes everything equal to what the other store holds now, in commits of moderate size; only what differs is written.
    pub(super) fn compare(&mut self) -> Result<Step> {
        let id = self.source.engine().id();
        let (snapshot, changes) = self.begin()?;
        let mut draft = Draft::new(&self.dest, changes.bookmark());
        draft.step.compared = true;
        // Until it is done this is no state that there ever was.
        draft.batch.note(&Followed { id, at: None })?;
        draft.batch.commit()?;
        let names: BTreeSet<String> = snapshot.tables()?.into_iter().collect();
        for name in self.dest.tables()?.into_iter().filter(|name| !names.contains(name)) {
            self.tables.remove(&name);
            self.dest.drop_table(&name)?;
            draft.step.changes += 1;
        }
        self.compare_table(None, &snapshot, &mut draft)?;
        for name in &names {
            if let Some(there) = snapshot.table(name)? {
                self.compare_table(Some(name), &there, &mut draft)?;
            }
        }
        self.commit(&mut draft)?;
        self.settle(changes.bookmark())?;
        self.changes = Some(changes);
        Ok(draft.step)
    }

    /// A snapshot, and what comes after it.
    fn begin(&mut self) -> Result<(Snapshot, Changes)> {
        if let Some(cursor) = &mut self.cursor
            && cursor.changes().is_err_and(|error| is_behind(&error))
        {
            cursor.reset()?;
        }
        loop {
            let snapshot = self.source.snapshot()?;
            match self.source.changes(snapshot.position()) {
                Ok(changes) => return Ok((snapshot, changes)),
                Err(error) if is_behind(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn compare_table(
        &mut self,
        name: Option<&str>,
        there: &Snapshot,
        draft: &mut Draft,
    ) -> Result<()> {
        let here = match name {
            Some(name) => self.table(name)?.snapshot()?,
            None => self.dest.snapshot()?,
        };
        for item in &here {
            let (key, _) = item?;
            if !there.contains(key)? {
                self.set(draft, name, key, None)?;
                draft.flush_if_full()?;
            }
        }
        for item in there {
            let (key, value) = item?;
            if here.get(key)?.as_ref() != Some(&value) {
                self.set(draft, name, key, Some(&value))?;
                draft.flush_if_full()?;
            }
        }
        draft.flush()
    }
}

impl Draft {
    /// Commits what differs, without a word on how far that is.
    fn flush(&mut self) -> Result<()> {
        self.step.changes += self.batch.len() as u64;
        self.batch.commit().map(drop)
    }

    fn flush_if_full(&mut self) -> Result<()> {
        if self.is_full() { self.flush() } else { Ok(()) }
    }
}

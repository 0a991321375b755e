//! Changes beside the history: from whatever commit on, they make of the state that was there the one that is there now.

use mapstone::{Bookmark, Change, Changes, Commit, Error, Position};

use super::state::{State, TABLES, Val, key_number, table_name};
use super::world::World;

/// A commit that was noted, and what the store held then.
pub(crate) type Noted = (Bookmark, State);

fn number(table: Option<&str>) -> u8 {
    let Some(name) = table else { return 0 };
    (1..TABLES).find(|table| table_name(*table) == name).expect("a table of the story")
}

fn apply(state: &mut State, commit: &Commit<'_>) {
    for change in commit {
        match change.expect("a change") {
            Change::Put { table, key, value, .. } => {
                let at = (number(table), key_number(key));
                state.data.insert(at, Val::of(&value));
            }
            Change::Delete { table, key, .. } => {
                state.data.remove(&(number(table), key_number(key)));
            }
            Change::CreateTable { table } => {
                assert!(state.tables.insert(number(Some(table))), "{table} is created twice");
            }
            Change::DropTable { table } => {
                let table = number(Some(table));
                assert!(state.tables.remove(&table), "{table} is dropped twice");
                assert!(state.data.keys().all(|(of, _)| *of != table), "{table} is not empty");
            }
            other => unreachable!("{other:?}"),
        }
    }
}

/// What may have happened to a commit since it was noted.
#[derive(Clone, Copy)]
struct Fate {
    /// Segments after it may be gone.
    compacted: bool,
    /// The power may have taken it back.
    cut: bool,
}

const CURSOR: &str = "follower";

impl World {
    /// Goes from what was noted to what is there, and notes that.
    pub(crate) fn follow(&mut self) {
        let fate = Fate { compacted: self.compacted, cut: self.was_cut };
        if let Some((bookmark, state)) = self.noted.take() {
            let changes = self.store().changes(bookmark);
            self.go_through(changes, state, fate);
        }
        // A position is enough for what no power cut can have taken back.
        let sure = &self.history[self.sure_from.min(self.history.len())..];
        if let Some((position, state)) = sure.get(sure.len() / 2).cloned() {
            let changes = self.store().changes(Position::from_u64(position));
            self.go_through(changes, state, fate);
        }
        let end = self.store().watch("").expect("the end").bookmark();
        self.noted = Some((end, self.last().clone()));
        self.was_cut = false;
    }

    /// Goes from where the cursor is to what is there, and moves it there.
    pub(crate) fn move_cursor(&mut self) {
        let mut cursor = match self.store().cursor(CURSOR) {
            Ok(cursor) => cursor,
            Err(error) => return self.allow_cursor(&error),
        };
        if !self.maybes.is_empty() || self.dead() {
            return;
        }
        let at = cursor.bookmark();
        let known = self.cursors.iter().rfind(|(noted, _)| *noted == at);
        let moved = match known.map(|(_, state)| state.clone()) {
            None if cursor.position() == self.store().position() => Ok(()),
            // It was made when nobody knew what there was.
            None => cursor.reset(),
            Some(state) => {
                let fate = Fate { compacted: false, cut: self.cursor_cut };
                match self.go_through(cursor.changes(), state, fate) {
                    Some(end) => {
                        self.cursors.push((end, self.last().clone()));
                        cursor.advance(end)
                    }
                    None => cursor.reset(),
                }
            }
        };
        match moved {
            Ok(()) => {
                self.cursors.push((cursor.bookmark(), self.last().clone()));
                self.cursor_cut = false;
            }
            Err(error) => self.allow_cursor(&error),
        }
    }

    pub(crate) fn remove_cursor(&mut self) {
        match self.store().remove_cursor(CURSOR) {
            Ok(_) => self.cursor_cut = false,
            Err(error) => self.allow_cursor(&error),
        }
    }

    /// Whatever a failing disk says: the store goes on, and the cursor is where it was or where it was to be.
    fn allow_cursor(&self, error: &Error) {
        let reason = self.faulty || self.full || self.poisoned || self.armed.is_some();
        assert!(reason, "{error:?}");
    }

    /// Where the changes end; None if they are not to be had, for a reason that there may be.
    fn go_through(
        &self,
        changes: mapstone::Result<Changes>,
        mut state: State,
        fate: Fate,
    ) -> Option<Bookmark> {
        let mut changes = match changes {
            Ok(changes) => changes,
            Err(Error::Compacted { position, oldest }) => {
                assert!(fate.compacted && oldest >= position, "{position}, {oldest}");
                return None;
            }
            Err(Error::NoSuchCommit { position, why }) => {
                assert!(fate.cut, "{position}: {why}");
                return None;
            }
            // Whatever a failing disk says, it does no harm.
            Err(error) => {
                assert!(self.faulty || self.armed.is_some(), "{error:?}");
                return None;
            }
        };
        loop {
            match changes.next_commit() {
                Ok(Some(commit)) => {
                    apply(&mut state, &commit);
                    let at = commit.position().as_u64();
                    let mut sure = self.history.iter().skip(self.sure_from);
                    if let Some((_, known)) = sure.find(|(end, _)| *end == at) {
                        assert!(same(&state, known), "at {at}");
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    assert!(self.faulty || self.armed.is_some(), "{error:?}");
                    return None;
                }
            }
        }
        assert_eq!(changes.position(), self.store().position());
        assert!(same(&state, self.last()), "at the end");
        Some(changes.bookmark())
    }
}

fn same(a: &State, b: &State) -> bool {
    (&a.tables, &a.data) == (&b.tables, &b.data)
}

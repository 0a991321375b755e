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

impl World {
    /// Goes from what was noted to what is there, and notes that.
    pub(crate) fn follow(&mut self) {
        if let Some((bookmark, state)) = self.noted.take() {
            let changes = self.store().changes(bookmark);
            self.go_through(changes, state);
        }
        let (position, state) = self.history[self.history.len() / 2].clone();
        let changes = self.store().changes(Position::from_u64(position));
        self.go_through(changes, state);
        let end = self.store().watch("").expect("the end").bookmark();
        self.noted = Some((end, self.last().clone()));
        self.was_cut = false;
    }

    fn go_through(&self, changes: mapstone::Result<Changes>, mut state: State) {
        let mut changes = match changes {
            Ok(changes) => changes,
            Err(Error::Compacted { position, oldest }) => {
                return assert!(self.compacted && oldest >= position, "{position}, {oldest}");
            }
            Err(Error::NoSuchCommit { position, why }) => {
                return assert!(self.was_cut, "{position}: {why}");
            }
            Err(error) => {
                panic!("{error:?} {:?}", self.history.iter().map(|it| it.0).collect::<Vec<_>>())
            }
        };
        while let Some(commit) = changes.next_commit().expect("a commit") {
            apply(&mut state, &commit);
            let at = commit.position().as_u64();
            if let Some((_, known)) = self.history.iter().find(|(end, _)| *end == at) {
                assert!(same(&state, known), "at {at}");
            }
        }
        assert_eq!(changes.position(), self.store().position());
        assert!(same(&state, self.last()), "at the end");
    }
}

fn same(a: &State, b: &State) -> bool {
    (&a.tables, &a.data) == (&b.tables, &b.data)
}

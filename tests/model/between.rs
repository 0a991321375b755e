//! What comes in between at a crash point, as other threads and processes may: commits, and looks at the store.

use std::cell::RefCell;
use std::rc::Rc;

use mapstone::{Position, Result, Store, Table};

use super::ops::Batch;
use super::outcome::changed;
use super::points::At;
use super::state::{State, TABLES, keys};
use super::world::World;
use super::{check, points};
use mapstone::sim::Point;

/// A commit that came in between, and whether the disk was dead by then.
type Done = (Batch, Result<Position>, bool);

impl World {
    /// Nothing is in doubt, and nothing that is to come makes it so.
    pub(crate) fn calm(&self) -> bool {
        self.maybes.is_empty() && !self.faulty && !self.full && !self.poisoned
    }

    /// A checkpoint, and batches that are committed when it comes to a point.
    pub(crate) fn checkpoint_amid(&mut self, at: At, batches: &[Batch]) {
        let between = self.commits_at(at, batches);
        if between.is_none() {
            return self.acknowledge(|store| store.checkpoint());
        }
        // A crash may come to the one or to the other.
        self.heir = false;
        let result = self.store().checkpoint();
        self.take_note(between);
        match result {
            _ if self.dead() => {}
            Ok(position) => {
                let covered = |(end, _): &(u64, State)| *end <= position.as_u64();
                let covered = self.history.iter().rposition(covered).expect("a commit");
                self.acked = self.acked.max(covered);
            }
            Err(error) => self.allow(&error),
        }
    }

    /// Looks all keys up at one snapshot, and batches are committed in the middle of one of the lookups.
    pub(crate) fn lookup(&mut self, times: u16, batches: &[Batch]) {
        if self.armed.is_some() || !self.calm() {
            return;
        }
        let snapshot = self.store().snapshot().expect("a snapshot");
        let state = self.last().clone();
        let between = self.commits_at((Point::LookupEntered, times), batches);
        for (number, key) in (0..).zip(keys()) {
            let value = snapshot.get(key).expect("get").map(|value| super::state::Val::of(&value));
            assert_eq!(value, state.data.get(&(0, number)).copied(), "get of key {number}");
        }
        drop(snapshot);
        self.take_note(between);
    }

    /// Has batches committed at a point, unless one of them might ask for a checkpoint itself: there is only one thread.
    fn commits_at(&mut self, at: At, batches: &[Batch]) -> Option<Rc<RefCell<Vec<Done>>>> {
        if !self.calm() || self.shape.interval < 1 << 30 {
            return None;
        }
        let existing = |batch: &Batch| {
            batch.iter().map(|(table, key, value)| (self.existing(*table), *key, *value)).collect()
        };
        let batches: Vec<Batch> = batches.iter().map(existing).collect();
        // Another handle, if there is one.
        let store = self.others.first().unwrap_or(self.store()).clone();
        let tables: Vec<_> = (0..TABLES).map(|table| self.table_of(&store, table)).collect();
        let disk = self.disk.clone();
        let done = Rc::new(RefCell::new(Vec::new()));
        let to = Rc::clone(&done);
        points::act_at(at, move || {
            for batch in batches {
                let result = commit(&store, &tables, &batch);
                to.borrow_mut().push((batch, result, disk.is_cut()));
            }
        });
        Some(done)
    }

    /// Takes note of the commits that came in between.
    fn take_note(&mut self, between: Option<Rc<RefCell<Vec<Done>>>>) {
        points::forget_act();
        for (batch, result, dead) in between.map(|done| done.take()).unwrap_or_default() {
            let change = |state: &mut State| {
                batch.iter().for_each(|(table, key, value)| state.set(*table, *key, *value));
            };
            match result {
                Ok(position) if !dead => self.done(position.as_u64(), change),
                Err(error) if !dead => panic!("a commit that came in between failed: {error}"),
                _ => self.doubt(changed(change)),
            }
        }
    }

    /// Has someone look at the store at a point: the last commit shows as a whole, or the one that is under way does.
    pub(crate) fn look(&mut self, at: At) {
        if self.armed.is_some() || !self.calm() {
            return;
        }
        let store = self.reader.as_ref().unwrap_or(self.store()).clone();
        let (disk, seen) = (self.disk.clone(), Rc::clone(&self.seen));
        points::act_at(at, move || {
            *seen.borrow_mut() = Some(disk.uncounted(|| check::content(&store)));
        });
    }
}

pub(crate) fn commit(store: &Store, tables: &[Option<Table>], ops: &Batch) -> Result<Position> {
    let mut batch = store.batch();
    for (table, key, value) in ops {
        let key = &keys()[usize::from(*key)];
        match (&tables[usize::from(*table)], value) {
            (Some(table), Some(value)) => batch.put_in(table, key, value.bytes())?,
            (Some(table), None) => batch.delete_in(table, key)?,
            (None, Some(value)) => batch.put(key, value.bytes())?,
            (None, None) => batch.delete(key)?,
        };
    }
    batch.commit()
}

//! Writes of all kinds, and those that come in between at a crash point.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use mapstone::{Durability, Error, Position, Result, Store, Table};

use super::check;
use super::ops::How;
use super::outcome::changed;
use super::points::{self, At};
use super::state::{State, TABLES, Val, keys, table_name};
use super::world::World;

/// What became of a commit that came in between, and whether the disk was dead by then.
type Between = (Vec<(u16, Option<Val>)>, Result<Position>, bool);

impl World {
    pub(crate) fn put(&mut self, table: u8, key: u16, value: Val, how: How) {
        let table = self.existing(table);
        let bytes = &keys()[usize::from(key)];
        let named = self.table(table);
        let fill = |to: &mut [u8]| {
            assert!(to.iter().all(|byte| *byte == 0), "the bytes to fill are zero before");
            value.fill(to);
            if how == How::Panic {
                // Without the message of a panic that nobody foresaw.
                resume_unwind(Box::new("planned"));
            }
        };
        let result = match (how, &named) {
            (How::Plain, Some(table)) => table.put(bytes, value.bytes()),
            (How::Plain, None) => self.store().put(bytes, value.bytes()),
            (How::With, Some(table)) => table.put_with(bytes, value.len(), fill),
            (How::With, None) => self.store().put_with(bytes, value.len(), fill),
            (How::Immediate, _) => return self.batch(&[(table, key, Some(value))], true),
            (How::Panic, _) => {
                let store = self.store();
                match catch_unwind(AssertUnwindSafe(|| store.put_with(bytes, value.len(), fill))) {
                    Ok(result) => self.committed(result, false, |_| {}),
                    Err(panic) if panic.is::<&str>() => self.committed(Ok(()), false, |_| {}),
                    Err(panic) => resume_unwind(panic),
                }
                return;
            }
        };
        self.committed(result, false, |state| state.set(table, key, Some(value)));
    }

    pub(crate) fn batch(&mut self, ops: &[(u8, u16, Option<Val>)], immediate: bool) {
        let ops: Vec<_> =
            ops.iter().map(|(table, key, value)| (self.existing(*table), *key, *value)).collect();
        let named: Vec<_> = (0..TABLES).map(|table| self.table(table)).collect();
        let mut batch = self.store().batch();
        for (table, key, value) in &ops {
            let key = &keys()[usize::from(*key)];
            let added = match (&named[usize::from(*table)], value) {
                (Some(table), Some(value)) => batch.put_in(table, key, value.bytes()),
                (Some(table), None) => batch.delete_in(table, key),
                (None, Some(value)) => batch.put(key, value.bytes()),
                (None, None) => batch.delete(key),
            };
            added.expect("keys and values are within their limits");
        }
        let (durability, result) = if immediate {
            (true, batch.commit_with(Durability::Immediate))
        } else {
            (false, batch.commit())
        };
        if let Ok(position) = result {
            assert_eq!(position, self.store().position(), "there is no other writer");
            assert!(batch.is_empty());
        }
        drop((batch, named));
        self.committed(result.map(drop), durability, |state| {
            for (table, key, value) in &ops {
                state.set(*table, *key, *value);
            }
        });
    }

    pub(crate) fn delete(&mut self, table: u8, key: u16) {
        let table = self.existing(table);
        let bytes = &keys()[usize::from(key)];
        let had = self.last().data.contains_key(&(table, key));
        let sure = self.maybes.is_empty();
        let result = match self.table(table) {
            Some(named) => named.delete(bytes),
            None => self.store().delete(bytes),
        };
        if let (Ok(found), true) = (&result, sure) {
            assert_eq!(*found, had, "what delete says of key {key}");
        }
        self.committed(result.map(drop), false, |state| state.set(table, key, None));
    }

    pub(crate) fn create_table(&mut self, table: u8) {
        let result = self.store().table(&table_name(table)).map(drop);
        let made = result.is_ok() && !self.dead();
        self.committed(result, false, |state| state.numbered |= state.tables.insert(table));
        let old: Vec<Table> = self.stale.iter().map(|(_, table)| table.clone()).collect();
        if made && !self.faulty && !self.full && !self.poisoned && self.armed.is_none() {
            for table in old {
                assert_dropped(&table);
            }
        }
    }

    pub(crate) fn drop_table(&mut self, table: u8) {
        let before = self.last().tables.contains(&table) && self.maybes.is_empty();
        let stale = before.then(|| self.store().table(&table_name(table)).expect("a table"));
        let result = self.store().drop_table(&table_name(table));
        if let (Ok(true), Some(stale)) = (&result, stale) {
            assert_dropped(&stale);
            self.stale.push((table, stale));
        }
        self.committed(result.map(drop), false, |state| state.drop_table(table));
    }

    /// A table of the model's that exists; while that is in doubt, the one that always does.
    pub(crate) fn existing(&self, table: u8) -> u8 {
        if self.maybes.is_empty() && self.last().has(table) { table } else { 0 }
    }

    /// A checkpoint, and batches that are committed when it comes to a point, as other threads may.
    pub(crate) fn checkpoint_amid(&mut self, at: At, batches: &[Vec<(u16, Option<Val>)>]) {
        // A commit in between must not ask for a checkpoint itself: there is only one thread.
        let quiet = self.maybes.is_empty() && !self.faulty && !self.full && !self.poisoned;
        if !quiet || self.shape.interval < 1 << 30 {
            return self.acknowledge(|store| store.checkpoint());
        }
        let done = Rc::new(RefCell::new(Vec::<Between>::new()));
        let (store, disk) = (self.store().clone(), self.disk.clone());
        let (batches, to) = (batches.to_vec(), Rc::clone(&done));
        points::act_at(at, move || {
            for batch in batches {
                let result = commit(&store, &batch);
                to.borrow_mut().push((batch, result, disk.is_cut()));
            }
        });
        let result = self.store().checkpoint();
        points::forget_act();
        for (batch, result, dead) in done.take() {
            let change = |state: &mut State| {
                batch.iter().for_each(|(key, value)| state.set(0, *key, *value));
            };
            match result {
                Ok(position) if !dead => self.done(position.as_u64(), change),
                Err(error) if !dead => panic!("a commit beside a checkpoint failed: {error}"),
                _ => self.doubt(changed(change)),
            }
        }
        match result {
            _ if self.dead() => {}
            Ok(position) => {
                let covered = |(end, _): &(u64, State)| *end <= position.as_u64();
                self.acked =
                    self.history.iter().rposition(covered).expect("a commit").max(self.acked);
            }
            Err(error) => self.allow(&error),
        }
    }

    /// Has someone look at the store at a point: the last commit shows as a whole, or the one that is under way does.
    pub(crate) fn look(&mut self, at: At) {
        if !self.maybes.is_empty()
            || self.faulty
            || self.full
            || self.poisoned
            || self.armed.is_some()
        {
            return;
        }
        let (store, disk) =
            (self.reader.as_ref().unwrap_or(self.store()).clone(), self.disk.clone());
        let seen = Rc::clone(&self.seen);
        points::act_at(at, move || {
            *seen.borrow_mut() = Some(disk.uncounted(|| check::content(&store)));
        });
    }
}

/// One batch on the table without a name.
fn commit(store: &Store, ops: &[(u16, Option<Val>)]) -> Result<Position> {
    let mut batch = store.batch();
    for (key, value) in ops {
        let key = &keys()[usize::from(*key)];
        match value {
            Some(value) => batch.put(key, value.bytes())?,
            None => batch.delete(key)?,
        };
    }
    batch.commit()
}

/// A handle of a table that was dropped takes no writes and finds nothing, whatever tables there are since.
fn assert_dropped(table: &Table) {
    assert!(matches!(table.put("k1", "x"), Err(Error::NoSuchTable { .. })));
    assert!(table.get(&keys()[1]).expect("get").is_none());
}

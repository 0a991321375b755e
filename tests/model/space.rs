//! Compaction in the life of a store: it changes nothing that anyone sees, whenever it is cut short.

use std::cell::Cell;
use std::rc::Rc;

use super::between::commit;
use super::ops::Batch;
use super::points::At;
use super::state::{State, TABLES, Val, keys};
use super::world::World;
use super::{check, points};
use mapstone::sim::Point;

/// A commit and all of compaction, that come in between something.
struct Overtaken {
    /// What there is after them.
    after: State,
    done: Rc<Cell<bool>>,
}

/// Far more steps than any story has work for.
const ENDLESS: u32 = 30_000;

impl World {
    /// Steps of compaction, and what is known after them.
    pub(crate) fn compact(&mut self, budget: u32, steps: u8) {
        self.compacted = true;
        let mut left = if steps == 0 { ENDLESS } else { u32::from(steps) };
        loop {
            let step = self.store().compact_step(u64::from(budget));
            if self.dead() {
                return;
            }
            self.moved_on();
            match step {
                Ok(step) if step.done => {
                    let held = self.snapshots.is_empty() && self.cursors.is_empty() && !self.faulty;
                    assert!(!held || step.held == 0, "nobody holds anything: {step:?}");
                    return;
                }
                Ok(_) => {}
                Err(error) => return self.allow_more(&error),
            }
            left -= 1;
            if left == 0 {
                return assert!(steps != 0, "compaction never ends");
            }
        }
    }

    /// Only one who was refused before may be refused without a new reason.
    pub(crate) fn allow_more(&mut self, error: &mapstone::Error) {
        if !self.poisoned || !matches!(error, mapstone::Error::Poisoned) {
            self.allow(error);
        }
    }

    /// A commit that changes nothing, or one that completes what was in doubt.
    fn moved_on(&mut self) {
        let position = self.store().position().as_u64();
        if position == self.history.last().map_or(0, |(end, _)| *end) {
            return;
        }
        if !self.maybes.is_empty() {
            let actual = self.content();
            if let Some(state) = self.maybes.iter().find(|state| check::is(&actual, state)).cloned()
            {
                self.history.push((position, state));
                self.maybes.clear();
                return;
            }
        }
        let same = self.last().clone();
        self.history.push((position, same));
        // The next write of the handle has cleared what was in doubt.
        self.maybes.clear();
    }

    /// Looks all keys up without a snapshot; in the middle of one lookup a batch is committed, and all is compacted.
    pub(crate) fn overtake(&mut self, times: u16, batch: &Batch) {
        let Some(overtaken) = self.compacts_at((Point::LookupEntered, times), batch) else {
            return;
        };
        for (number, key) in (0..).zip(keys()) {
            let value = self.store().get(key).expect("get").map(|value| Val::of(&value));
            let of = |state: &State| state.data.get(&(0, number)).copied();
            assert!(
                value == of(self.last()) || overtaken.done.get() && value == of(&overtaken.after),
                "get of key {number}"
            );
        }
        self.take_overtaken(overtaken);
    }

    /// Goes through all keys at one snapshot; once it has seen where to go a batch is committed, and all is compacted.
    pub(crate) fn iterate(&mut self, times: u16, batch: &Batch) {
        let Some(overtaken) = self.compacts_at((Point::IterationSeen, times), batch) else {
            return;
        };
        let snapshot = self.reader.as_ref().unwrap_or(self.store()).snapshot().expect("a snapshot");
        check::snapshot(&snapshot, self.last());
        drop(snapshot);
        self.take_overtaken(overtaken);
    }

    /// Has a batch committed and all compacted at a point, by another handle if there is one.
    fn compacts_at(&mut self, at: At, batch: &Batch) -> Option<Overtaken> {
        if self.armed.is_some() || !self.calm() || self.shape.interval < 1 << 30 {
            return None;
        }
        let batch: Batch =
            batch.iter().map(|(table, key, value)| (self.existing(*table), *key, *value)).collect();
        let store = self.others.first().unwrap_or(self.store()).clone();
        let tables: Vec<_> = (0..TABLES).map(|table| self.table_of(&store, table)).collect();
        let mut after = self.last().clone();
        batch.iter().for_each(|(table, key, value)| after.set(*table, *key, *value));
        let done = Rc::new(Cell::new(false));
        self.compacted = true;
        let flag = Rc::clone(&done);
        points::act_at(at, move || {
            if !batch.is_empty() {
                commit(&store, &tables, &batch).expect("space");
            }
            store.compact(|_| true).expect("space");
            flag.set(true);
        });
        Some(Overtaken { after, done })
    }

    fn take_overtaken(&mut self, overtaken: Overtaken) {
        points::forget_act();
        let position = self.store().position().as_u64();
        // Compaction alone is a commit only if it moved something.
        if overtaken.done.get() && self.history.last().is_some_and(|(last, _)| *last < position) {
            self.history.push((position, overtaken.after));
        }
    }

    /// A snapshot that another process would hold.
    pub(crate) fn snapshot_there(&mut self) {
        let Some(reader) = &self.reader else { return };
        if self.maybes.is_empty() && self.armed.is_none() && !self.faulty {
            let snapshot = reader.snapshot().expect("a snapshot");
            self.snapshots.push((snapshot, self.last().clone()));
        }
    }
}

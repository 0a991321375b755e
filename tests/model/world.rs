//! A store on a simulated disk beside its history: carries out operations, crashes, and knows what may be left after each.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use mapstone::sim::{Fault, SimDisk};
use mapstone::{Durability, Error, Options, Position, Result, Snapshot, Store, Table};

use super::check;
use super::ops::{Crash, Fail, How, Op, Recovery, Shape};
use super::state::{KEYS, State, TABLES, Val, keys, table_name};

pub(crate) struct World {
    shape: Shape,
    disk: SimDisk,
    store: Option<Store>,
    /// What the store held after each commit that a crash may lead back to, and where the commit ended.
    history: Vec<(u64, State)>,
    /// The last of these that was acknowledged as durable.
    acked: usize,
    /// Batches whose commit failed but may be completed by the next write or open.
    maybes: Vec<State>,
    snapshots: Vec<(Snapshot, State)>,
    reader: Option<Store>,
    /// The crash to come, and at which call.
    armed: Option<(u64, Crash, Recovery)>,
    /// Failures have been injected into this disk.
    faulty: bool,
    full: bool,
    poisoned: bool,
}

impl Drop for World {
    fn drop(&mut self) {
        // What a failed test leaves must not fail again while it unwinds.
        self.disk.process_kill();
    }
}

impl World {
    pub(crate) fn new(shape: Shape) -> World {
        let disk = SimDisk::new(shape.seed);
        World {
            store: None,
            shape,
            disk,
            history: vec![(0, State::default())],
            acked: 0,
            maybes: Vec::new(),
            snapshots: Vec::new(),
            reader: None,
            armed: None,
            faulty: false,
            full: false,
            poisoned: false,
        }
    }

    fn options(&self) -> Options {
        let mut options = Options::new();
        options
            .segment_size(self.shape.segment)
            .checkpoint_interval(self.shape.interval)
            .hash_mask(self.shape.mask)
            .verify_on_read(self.shape.verify_on_read)
            .background(false);
        options
    }

    /// Creates the store and lives through all operations.
    pub(crate) fn live(&mut self, ops: &[Op]) {
        self.reopen(&Recovery::default());
        for op in ops {
            self.step(op);
        }
        self.check();
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().expect("the store is open")
    }

    fn last(&self) -> &State {
        &self.history.last().expect("there is always a state").1
    }

    pub(crate) fn step(&mut self, op: &Op) {
        match op {
            Op::Put { table, key, value, how } => self.put(*table, *key, *value, *how),
            Op::Delete { table, key } => {
                let table = self.existing(*table);
                let bytes = &keys()[usize::from(*key)];
                let had = self.last().data.contains_key(&(table, *key));
                let sure = self.maybes.is_empty();
                let result = match self.table(table) {
                    Some(named) => named.delete(bytes),
                    None => self.store().delete(bytes),
                };
                if let (Ok(found), true) = (&result, sure) {
                    assert_eq!(*found, had, "what delete says of key {key}");
                }
                self.committed(result.map(drop), false, |state| state.set(table, *key, None));
            }
            Op::Batch { ops, immediate } => self.batch(ops, *immediate),
            Op::Bulk { table, first, count, value } => {
                let ops: Vec<_> =
                    (0..*count).map(|i| (*table, (first + i) % (KEYS - 1), Some(*value))).collect();
                self.batch(&ops, false);
            }
            Op::CreateTable(table) => {
                let result = self.store().table(&table_name(*table)).map(drop);
                self.committed(result, false, |state| {
                    state.numbered |= state.tables.insert(*table);
                });
            }
            Op::DropTable(table) => self.drop_table(*table),
            Op::Sync => self.acknowledge(|store| store.sync()),
            Op::Checkpoint => self.acknowledge(|store| store.checkpoint()),
            Op::Snapshot => {
                let snapshot = self.store().snapshot().expect("a snapshot");
                if self.maybes.is_empty() {
                    self.snapshots.push((snapshot, self.last().clone()));
                }
            }
            Op::Reader => match self.options().open_read_only_sim(&self.disk) {
                Ok(reader) => self.reader = Some(reader),
                Err(error) => self.allow(&error),
            },
            Op::Check => self.check(),
            Op::WriteBack(pages) => self.disk.write_back(usize::from(*pages)),
            Op::Close => self.close(),
            Op::Die { how, recovery } => self.crash(*how, recovery),
            Op::DieAfter { calls, how, recovery } => {
                let at = self.disk.calls() + u64::from(*calls);
                self.disk.cut_after(u64::from(*calls));
                self.armed = Some((at, *how, recovery.clone()));
            }
            Op::Fail(fail) => self.fail(*fail),
            Op::Fill(pages) => {
                self.full = true;
                self.disk.capacity(Some(self.disk.used() + 4096 * u64::from(*pages)));
            }
            Op::Free => self.free(),
            Op::Evict(how) if self.poisoned => {
                self.disk.drop_caches();
                self.snapshots.clear();
                self.next_disk(*how);
                self.reopen_after(true, &Recovery::default());
            }
            Op::Evict(_) => {}
        }
        self.after_step();
    }

    fn after_step(&mut self) {
        if let Some((at, how, recovery)) = self.armed.clone()
            && self.disk.calls() > at
        {
            self.crash(how, &recovery);
        }
    }

    fn put(&mut self, table: u8, key: u16, value: Val, how: How) {
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

    fn batch(&mut self, ops: &[(u8, u16, Option<Val>)], immediate: bool) {
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

    fn drop_table(&mut self, table: u8) {
        let before = self.last().tables.contains(&table) && self.maybes.is_empty();
        let stale = before.then(|| self.store().table(&table_name(table)).expect("a table"));
        let result = self.store().drop_table(&table_name(table));
        if let (Ok(true), Some(stale)) = (&result, &stale) {
            assert!(matches!(stale.put("k1", "x"), Err(Error::NoSuchTable { .. })));
            assert!(stale.get(&keys()[1]).expect("get").is_none());
        }
        drop(stale);
        self.committed(result.map(drop), false, |state| state.drop_table(table));
    }

    /// A table of the model's that exists; while that is in doubt, the one that always does.
    fn existing(&self, table: u8) -> u8 {
        if self.maybes.is_empty() && self.last().has(table) { table } else { 0 }
    }

    fn table(&self, table: u8) -> Option<Table> {
        let known = table != 0 && self.existing(table) == table;
        known.then(|| self.store().table(&table_name(table)).expect("a table that exists"))
    }

    /// Takes note of a commit, or of one that failed.
    fn committed(&mut self, result: Result<()>, durable: bool, change: impl Fn(&mut State)) {
        let changed = |state: &State| {
            let mut next = state.clone();
            change(&mut next);
            next
        };
        if self.poisoned {
            let Err(error) = result else {
                let same = changed(self.last()) == *self.last();
                return assert!(same, "a handle whose sync failed takes no writes");
            };
            assert!(
                matches!(error, Error::Poisoned | Error::Full { .. }) || self.dead(),
                "{error}"
            );
            return;
        }
        let position = self.store().position().as_u64();
        let durable = durable && result.is_ok();
        match result {
            Ok(()) if self.maybes.is_empty() => {
                let next = changed(self.last());
                self.history.push((position, next));
            }
            Ok(()) if self.dead() => self.doubt(changed),
            Ok(()) => {
                let actual = self.content();
                let base = std::iter::once(self.last()).chain(&self.maybes);
                let found = base.map(changed).find(|s| check::is(&actual, s));
                let found = found.expect("the store holds a batch on a state that may be");
                self.history.push((position, found));
                self.maybes.clear();
            }
            Err(error) => self.failed(&error, changed),
        }
        if durable {
            self.acked = self.history.len() - 1;
        }
    }

    /// The disk died under a commit: it may have been made, on any state that may be.
    fn doubt(&mut self, changed: impl Fn(&State) -> State) {
        let next: Vec<_> = std::iter::once(self.last()).chain(&self.maybes).map(changed).collect();
        self.maybes.extend(next);
    }

    /// A commit failed: what it did, and whether it may still do something, shows in the store.
    fn failed(&mut self, error: &Error, changed: impl Fn(&State) -> State) {
        self.allow(error);
        if self.dead() {
            return self.doubt(changed);
        }
        let actual = self.content();
        let position = self.store().position().as_u64();
        let is = |state: &State| check::is(&actual, state);
        let base: Vec<_> =
            std::iter::once(self.last().clone()).chain(self.maybes.clone()).collect();
        if let Some(at) = base.iter().position(is) {
            if at > 0 {
                self.history.push((position, base[at].clone()));
                self.maybes.clear();
            }
            self.maybes.push(changed(&base[at]));
        } else {
            let next = base.iter().map(changed).find(|state| is(state));
            let next = next.expect("a failed commit leaves all or nothing");
            assert!(self.poisoned, "a commit that stands was said to have failed: {error}");
            self.history.push((position, next));
            self.maybes.clear();
        }
    }

    /// An error is in order if something was done to the disk; and it is never one that says that the store is damaged.
    fn allow(&mut self, error: &Error) {
        assert!(!matches!(error, Error::Corrupt { .. }), "{error}");
        match error {
            Error::Io { op: "sync", .. } => self.poisoned |= !self.dead(),
            Error::Full { .. } => assert!(self.full || self.faulty || self.dead(), "{error}"),
            // The other reason is a segment that was created for nothing and could not be removed.
            Error::Poisoned => {
                assert!(self.poisoned || self.faulty || self.dead());
                self.poisoned |= !self.dead();
            }
            _ => {}
        }
        assert!(self.full || self.faulty || self.dead(), "{error}");
    }

    /// What the store holds; to look at it is no call that a crash waits for.
    fn content(&mut self) -> (State, u64) {
        let left = self.armed.as_ref().map(|(at, ..)| at - self.disk.calls());
        self.disk.cut_after(u64::MAX);
        let content = check::content(self.store());
        if let (Some(left), Some(armed)) = (left, &mut self.armed) {
            armed.0 = self.disk.calls() + left;
            self.disk.cut_after(left);
        }
        content
    }

    fn dead(&self) -> bool {
        self.armed.as_ref().is_some_and(|(at, ..)| self.disk.calls() > *at)
    }

    fn acknowledge(&mut self, call: impl Fn(&Store) -> Result<Position>) {
        match call(self.store()) {
            Ok(position) => {
                assert!(!self.poisoned, "a handle whose sync failed promises nothing");
                let position = position.as_u64();
                assert_eq!(position, self.store().position().as_u64());
                if !self.faulty && self.armed.is_none() {
                    assert!(self.store().stats().expect("stats").durable >= position);
                }
                self.resolve();
                self.acked = self.history.len() - 1;
            }
            Err(error) => {
                self.allow(&error);
                self.resolve();
            }
        }
    }

    /// A checkpoint completes the batch that a full disk has kept from the index.
    fn resolve(&mut self) {
        if self.maybes.is_empty() || self.dead() {
            return;
        }
        let actual = self.content();
        if check::is(&actual, self.last()) {
            return;
        }
        let position = self.store().position().as_u64();
        let found = self.maybes.drain(..).find(|state| check::is(&actual, state));
        self.history.push((position, found.expect("a batch that may be")));
    }

    fn fail(&mut self, fail: Fail) {
        self.faulty = true;
        self.disk.fail(Fault {
            call: fail.call,
            after: u64::from(fail.after),
            errno: fail.errno,
            times: u64::from(fail.times),
        });
    }

    fn free(&mut self) {
        self.full = false;
        self.disk.capacity(None);
    }

    pub(crate) fn check(&mut self) {
        self.check_snapshots();
        if self.armed.is_none() && self.maybes.is_empty() && !self.faulty {
            check::store(self.store(), self.last());
            if let Some(reader) = &self.reader {
                assert_eq!(reader.position(), self.store().position());
                check::store(reader, self.last());
            }
        }
    }

    fn check_snapshots(&mut self) {
        if self.faulty || self.armed.is_some() {
            return self.snapshots.clear();
        }
        for (snapshot, state) in self.snapshots.drain(..) {
            check::snapshot(&snapshot, &state);
        }
    }

    fn close(&mut self) {
        self.check_snapshots();
        let store = self.store.take().expect("the store is open");
        match store.close() {
            Ok(()) => {
                assert!(!self.poisoned);
                if self.maybes.is_empty() {
                    self.acked = self.history.len() - 1;
                }
            }
            Err(error) => self.allow(&error),
        }
        self.reader = None;
        if self.dead() {
            return;
        }
        self.armed = None;
        self.disk.cut_after(u64::MAX);
        let allowed = self.lossless();
        let store = self.open_through_faults();
        self.opened(store, &allowed, false);
    }

    fn lossless(&self) -> Vec<State> {
        self.maybes.iter().rev().chain([self.last()]).cloned().collect()
    }

    /// Ends the process or the power, and opens the store again.
    fn crash(&mut self, how: Crash, recovery: &Recovery) {
        self.check_snapshots();
        if let Some(store) = &self.store
            && let Ok(stats) = store.stats()
            && !self.poisoned
        {
            // What the figures call durable is as good as acknowledged.
            let durable = self.history.iter().rposition(|(end, _)| *end <= stats.durable);
            self.acked = self.acked.max(durable.unwrap_or(0));
        }
        self.next_disk(how);
        self.reopen_after(how == Crash::Cut, recovery);
    }

    fn next_disk(&mut self, how: Crash) {
        self.disk = match how {
            Crash::Kill => self.disk.process_kill(),
            Crash::Cut => self.disk.power_cut(),
        };
        self.reader = None;
        self.store = None;
        self.armed = None;
        self.faulty = false;
    }

    pub(crate) fn reopen(&mut self, recovery: &Recovery) {
        self.reopen_after(false, recovery);
    }

    fn reopen_after(&mut self, mut cut: bool, recovery: &Recovery) {
        let mut store = None;
        for (calls, how) in &recovery.crashes {
            let at = self.disk.calls() + u64::from(*calls);
            self.disk.cut_after(u64::from(*calls));
            let opened = self.options().open_sim(&self.disk);
            if self.disk.calls() <= at {
                self.disk.cut_after(u64::MAX);
                match opened {
                    Ok(opened) => store = Some(opened),
                    Err(error) => self.allow(&error),
                }
                break;
            }
            if let Err(error) = &opened {
                assert!(!matches!(error, Error::Corrupt { .. }), "{error}");
            }
            self.next_disk(*how);
            cut |= *how == Crash::Cut;
        }
        let mut allowed = self.lossless();
        if cut {
            let older = self.history[self.acked..self.history.len() - 1].iter().rev();
            allowed.extend(older.map(|(_, state)| state.clone()));
        }
        if let Some(fail) = recovery.fail {
            self.fail(fail);
        }
        if recovery.peek && store.is_none() {
            self.peek(&allowed);
        }
        let store = store.unwrap_or_else(|| self.open_through_faults());
        self.opened(store, &allowed, cut);
    }

    /// A read-only handle shows a state that may be, or says that it cannot.
    fn peek(&mut self, allowed: &[State]) {
        match self.options().open_read_only_sim(&self.disk) {
            Ok(reader) => {
                let actual = check::content(&reader);
                assert!(allowed.iter().any(|s| check::is(&actual, s)), "before recovery");
            }
            Err(Error::NeedsRecovery { .. } | Error::NotFound { .. }) => {}
            Err(error) => self.allow(&error),
        }
    }

    fn open_through_faults(&mut self) -> Store {
        for _ in 0..20 {
            match self.options().open_sim(&self.disk) {
                Ok(store) => return store,
                Err(error) => {
                    assert!(!matches!(error, Error::Corrupt { .. }), "{error}");
                    assert!(self.full || self.faulty, "{error}");
                    self.free();
                }
            }
        }
        panic!("the failures do not end");
    }

    fn opened(&mut self, store: Store, allowed: &[State], cut: bool) {
        self.poisoned = false;
        let actual = check::content(&store);
        let found = allowed.iter().find(|state| check::is(&actual, state));
        let Some(found) = found.cloned() else {
            let (state, live) = actual;
            let close =
                allowed.iter().map(|s| format!("    {}\n", check::difference(&state, live, s)));
            panic!(
                "a state that no commit left; beside those that may be:\n{}",
                close.collect::<String>()
            );
        };
        let position = store.position().as_u64();
        if cut {
            self.history = vec![(position, found)];
            self.acked = 0;
        } else if !self.maybes.is_empty() && found != *self.last() {
            self.history.push((position, found));
        }
        self.maybes.clear();
        self.store = Some(store);
        if !self.faulty {
            check::store(self.store(), self.last());
        }
    }
}

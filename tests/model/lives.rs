//! How a life of a store ends, and how the next begins: closing, crashes, crashes while it is opened again.

use mapstone::sim::SimDisk;
use mapstone::{Error, Store};

use super::ops::{Crash, Recovery, When};
use super::state::State;
use super::world::World;
use super::{check, points, tally};

impl World {
    pub(crate) fn close(&mut self) {
        self.check_snapshots();
        self.let_go();
        self.others.clear();
        let store = self.store.take().expect("the store is open");
        match store.close() {
            Ok(()) if self.dead() => {}
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
        self.disarm();
        let allowed = self.lossless();
        let store = self.open_through_faults();
        self.opened(store, &allowed, false);
    }

    /// Drops what keeps the store open besides the handle.
    pub(crate) fn let_go(&mut self) {
        points::forget();
        self.stale.clear();
    }

    /// What may be there when nothing is lost.
    fn lossless(&self) -> Vec<State> {
        self.maybes.iter().rev().chain([self.last()]).cloned().collect()
    }

    /// What may be there when all that was not acknowledged may be lost.
    fn lossy(&self) -> Vec<State> {
        let mut allowed = self.lossless();
        let older = self.history[self.acked..self.history.len() - 1].iter().rev();
        allowed.extend(older.map(|(_, state)| state.clone()));
        allowed
    }

    /// Lets the crash come that is to come at `when`.
    pub(crate) fn arm(&self, when: When) {
        match when {
            When::Steps(steps) => self.disk.cut_after(u64::from(steps)),
            When::At(point, times) => points::cut_at((point, times)),
        }
    }

    pub(crate) fn disarm(&mut self) {
        self.armed = None;
        self.heir = false;
        self.disk.cut_after(u64::MAX);
        points::forget();
    }

    /// Ends the process or the power, and opens the store again.
    pub(crate) fn crash(&mut self, how: Crash, recovery: &Recovery) {
        self.end();
        self.next_disk(how);
        self.reopen_after(how == Crash::Cut, recovery);
    }

    /// The kernel evicts what a failed sync left in memory; then the process or the power ends.
    pub(crate) fn evict(&mut self, how: Crash) {
        self.let_go();
        self.disk.drop_caches();
        self.snapshots.clear();
        self.next_disk(how);
        self.reopen_after(true, &Recovery::default());
    }

    /// What is known of the store when it ends.
    fn end(&mut self) {
        self.check_snapshots();
        self.let_go();
        if let Some(store) = &self.store
            && let Ok(stats) = store.stats()
            && !self.poisoned
        {
            // What the figures call durable is as good as acknowledged.
            let durable = self.history.iter().rposition(|(end, _)| *end <= stats.durable);
            self.acked = self.acked.max(durable.unwrap_or(0));
        }
    }

    fn next_disk(&mut self, how: Crash) {
        points::forget();
        let next = ended(&self.disk, how);
        self.reader = None;
        self.store = None;
        self.others.clear();
        self.armed = None;
        self.heir = false;
        self.faulty = false;
        points::watch(&next, self.rigged());
        self.disk = next;
    }

    /// The power goes: looks at some of the things that may be left, and goes on with another.
    pub(crate) fn outcomes(&mut self, count: u8, recovery: &Recovery) {
        self.end();
        let allowed = self.lossy();
        for _ in 0..count {
            let disk = ended(&self.disk, Crash::Cut);
            disk.capacity(None);
            let store = self.options().open_sim(&disk).expect("an open without faults");
            let actual = check::content(&store);
            let found = among(&actual, &allowed);
            check::store(&store, found);
        }
        self.next_disk(Crash::Cut);
        self.reopen_after(true, recovery);
    }

    pub(crate) fn reopen(&mut self, recovery: &Recovery) {
        self.reopen_after(false, recovery);
    }

    fn reopen_after(&mut self, mut cut: bool, recovery: &Recovery) {
        let mut store = None;
        for (when, how) in &recovery.crashes {
            self.arm(*when);
            let opened = self.options().open_sim(&self.disk);
            if !self.disk.is_cut() {
                self.disarm();
                match opened {
                    Ok(opened) => store = Some(opened),
                    Err(error) => self.allow(&error),
                }
                break;
            }
            if let Err(error) = &opened {
                assert!(!matches!(error, Error::Corrupt { .. }), "{error}");
            }
            drop(opened);
            tally::count(|tally| tally.in_recovery += 1);
            self.next_disk(*how);
            cut |= *how == Crash::Cut;
        }
        let allowed = if cut { self.lossy() } else { self.lossless() };
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
        self.was_cut |= cut;
        self.cursor_cut |= cut;
        let found = among(&check::content(&store), allowed).clone();
        let position = store.position().as_u64();
        // After a restore all is durable. What was poisoned by a name that could not be synced is only resumed.
        let durable = store.stats().is_ok_and(|stats| stats.durable >= position);
        if cut && durable {
            self.history = vec![(position, found)];
            self.sure_from = 0;
            self.acked = 0;
        } else if cut {
            let known = self.history.iter().rposition(|(_, state)| *state == found);
            self.history.truncate(known.map_or(self.history.len(), |at| at + 1));
            self.sure_from = self.history.len();
            if known.is_none() {
                self.history.push((position, found));
            }
        } else if !self.maybes.is_empty() && found != *self.last() {
            self.history.push((position, found));
        }
        self.maybes.clear();
        self.store = Some(store);
        if !self.faulty {
            check::store(self.store(), self.last());
            self.follow();
        }
    }
}

/// The disk after the end of a life.
fn ended(disk: &SimDisk, how: Crash) -> SimDisk {
    tally::count(|tally| match how {
        Crash::Cut => tally.cuts += 1,
        Crash::Kill => tally.kills += 1,
    });
    match how {
        Crash::Kill => disk.process_kill(),
        Crash::Cut => disk.power_cut(),
    }
}

/// The state that a store holds, which must be one of those that may be.
fn among<'a>(actual: &(State, u64), allowed: &'a [State]) -> &'a State {
    allowed.iter().find(|state| check::is(actual, state)).unwrap_or_else(|| {
        let (state, live) = actual;
        let close = allowed.iter().map(|s| format!("    {}\n", check::difference(state, *live, s)));
        panic!(
            "a state that no commit left; beside those that may be:\n{}",
            close.collect::<String>()
        )
    })
}

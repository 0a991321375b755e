//! What is known after a commit or a sync: it was done, it failed, or nobody can tell yet.

use mapstone::{Error, Position, Result, Store};

use super::state::State;
use super::world::World;
use super::{check, points};

impl World {
    /// Takes note of a commit, or of one that failed.
    pub(crate) fn committed(
        &mut self,
        result: Result<()>,
        durable: bool,
        change: impl Fn(&mut State),
    ) {
        let changed = changed(change);
        if self.poisoned {
            let Err(error) = result else {
                let same = changed(self.last()) == *self.last();
                return assert!(same, "a handle whose sync failed takes no writes");
            };
            // A transaction takes a mark first; and one of several handles hears of the failed sync of another in its turn.
            let refused = self.faulty && matches!(error, Error::Io { .. });
            let known = matches!(error, Error::Poisoned | Error::Full { .. });
            assert!(known || refused || self.dead(), "{error}");
            return;
        }
        let position = self.store().position().as_u64();
        let durable = durable && result.is_ok() && !self.dead();
        match result {
            // The crash came in the middle: whoever waited for the answer has not heard it.
            Ok(()) if self.dead() => self.doubt(changed),
            Ok(()) if self.maybes.is_empty() => {
                let next = changed(self.last());
                self.history.push((position, next));
            }
            // Nothing was committed, so who died before may still be taken over from.
            Ok(()) if position == self.history.last().map_or(0, |(end, _)| *end) => {
                assert!(changed(self.last()) == *self.last(), "a commit that went nowhere");
            }
            Ok(()) => {
                let actual = self.content();
                let base = std::iter::once(self.last()).chain(&self.maybes);
                let found = base.map(changed).find(|s| check::is(&actual, s));
                let found = found.expect("the store holds a batch on a state that may be");
                self.completed(position, found);
            }
            Err(error) => self.failed(&error, changed),
        }
        if durable {
            self.acked = self.history.len() - 1;
        }
    }

    /// A commit was made. What was in doubt may have been completed first, by a commit of its own.
    fn completed(&mut self, position: u64, state: State) {
        let between = std::mem::take(&mut self.maybes);
        if !between.is_empty() {
            self.history.extend(between.into_iter().map(|state| (position, state)));
            self.sure_from = self.history.len();
        }
        self.history.push((position, state));
    }

    /// A commit was made while nothing was in doubt.
    pub(crate) fn done(&mut self, position: u64, change: impl Fn(&mut State)) {
        let next = changed(change)(self.last());
        self.history.push((position, next));
    }

    /// The disk died under a commit: it may have been made, on any state that may be.
    pub(crate) fn doubt(&mut self, changed: impl Fn(&State) -> State) {
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
            // Space is reserved beforehand, so a disk that is merely full leaves nothing to be completed; but for rigged
            // hashes nobody can tell how many pages a key will need.
            let nothing = matches!(error, Error::Full { .. }) && !self.faulty;
            if !nothing || self.rigged() {
                self.maybes.push(changed(&base[at]));
            }
        } else {
            let next = base.iter().map(changed).find(|state| is(state));
            let next = next.expect("a failed commit leaves all or nothing");
            // What keeps a sync from being begun ends this handle's writing as well. It may be about to die, but not of this look.
            let sync = points::aside(|| self.disk.uncounted(|| self.store().sync()));
            self.poisoned |= matches!(sync, Err(Error::Poisoned));
            assert!(self.poisoned, "a commit that stands was said to have failed: {error}");
            self.completed(position, next);
        }
    }

    /// An error is in order if something was done to the disk; and it is never one that says that the store is damaged.
    pub(crate) fn allow(&mut self, error: &Error) {
        assert!(!matches!(error, Error::Corrupt { .. }), "{error}");
        match error {
            Error::Io { op: "sync", .. } => self.poisoned |= !self.dead() && !self.goes_on(),
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

    /// The handle writes in spite of what has failed: who takes over from a dead one tries again in the next turn, as opening does,
    /// and what keeps one handle from a sync does not keep others from theirs.
    pub(crate) fn goes_on(&self) -> bool {
        let Some(store) = self.store.as_ref().filter(|_| self.shape.shared) else { return false };
        let sync = || points::aside(|| self.disk.uncounted(|| store.sync()));
        let poisoned = |said: Result<Position>| match said {
            Ok(_) => Some(false),
            Err(Error::Poisoned) => Some(true),
            Err(_) => None,
        };
        !std::iter::repeat_with(sync).take(20).find_map(poisoned).unwrap_or(true)
    }

    pub(crate) fn acknowledge(&mut self, call: impl Fn(&Store) -> Result<Position>) {
        match call(self.store()) {
            // Nobody has heard it.
            Ok(_) if self.dead() => {}
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
    pub(crate) fn resolve(&mut self) {
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
}

/// A state after a change.
pub(crate) fn changed(change: impl Fn(&mut State)) -> impl Fn(&State) -> State {
    move |state| {
        let mut next = state.clone();
        change(&mut next);
        next
    }
}

//! Working through a script although calls fail: each failure is a typed error that loses nothing, a handle is poisoned exactly
//! when a sync has failed, and when the failure is over the handle goes on, or the next one does.

use mapstone::{Error, Result, Store};

use super::{Script, State, Step, TABLES, check};

/// What the script works on, and what is wrong with it.
pub(crate) trait Ground {
    fn open(&self) -> Result<Store>;

    /// A failure has come to light: ends it.
    fn mend(&self) {}

    /// A sync has failed, and the handle is gone: perhaps loses what is lost then. True if that may be so.
    fn lose(&mut self) -> bool {
        false
    }

    /// The store was opened again after that: perhaps the power goes. True if it has.
    fn cut(&mut self) -> bool {
        false
    }

    /// Whether an error other than of a failed call or a full disk is in order.
    fn excuses(&self, _error: &Error) -> bool {
        false
    }

    /// A handle is poisoned, or is not: is that right, by what has failed since it was opened?
    fn poisoned(&self, _poisoned: bool) {}
}

/// How a run went.
#[derive(Debug, Default)]
pub(crate) struct Endured {
    pub(crate) errors: u64,
    pub(crate) poisoned: u64,
}

struct Run<'a> {
    script: Script,
    ground: &'a mut dyn Ground,
    store: Option<Store>,
    /// What the store holds, and all that it held since something was last known durable.
    state: State,
    since: Vec<State>,
    endured: Endured,
}

/// Works through `steps` steps and closes the store, whose state it returns.
pub(crate) fn endure(script: Script, steps: u64, ground: &mut dyn Ground) -> (Endured, State) {
    let (state, since) = (State::default(), vec![State::default()]);
    let mut run = Run { script, ground, store: None, state, since, endured: Endured::default() };
    for n in 0..steps {
        run.step(n);
    }
    if let Some(Err(error)) = run.store.take().map(Store::close) {
        run.permit(&error);
    }
    (run.endured, run.state)
}

impl Run<'_> {
    fn step(&mut self, n: u64) {
        for _ in 0..6 {
            let step = self.script.step(n, &self.state);
            let after = self.state.after(&step);
            let ground = &*self.ground;
            let result = step.run(&mut self.store, || ground.open());
            let Err(error) = result else { return self.done(&step, after) };
            self.permit(&error);
            if self.failed(&error, &after) {
                return self.done(&step, after);
            }
        }
        panic!("step {n} does not work again after the failure");
    }

    fn done(&mut self, step: &Step, after: State) {
        self.state = after;
        if step.is_durable() {
            self.since.clear();
        }
        self.since.push(self.state.clone());
    }

    /// Whether it is an error of the right kind.
    fn permit(&mut self, error: &Error) {
        self.endured.errors += 1;
        let right = matches!(error, Error::Io { .. } | Error::Full { .. } | Error::Poisoned);
        assert!(right || self.ground.excuses(error), "{error:?}");
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }

    /// Looks at what a failed step has done; true if all of it.
    fn failed(&mut self, error: &Error, after: &State) -> bool {
        let Some(store) = self.store.take() else {
            self.ground.mend();
            return false;
        };
        // Reads go on; what was not mapped yet may not be readable while the failure lasts.
        match check::content(&store) {
            Ok(actual) => assert!(actual == self.state || actual == *after, "neither nor"),
            Err(Error::Io { .. } | Error::Full { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
        self.ground.mend();
        let poisoned = is_poisoned(&store);
        self.ground.poisoned(poisoned);
        let sync = matches!(error, Error::Io { op: "sync", .. } | Error::Poisoned);
        assert!(poisoned || !sync, "a sync failed, and the handle goes on: {error}");
        let made = self.stands(&store, &[self.state.clone(), after.clone()]) == 1;
        if !poisoned {
            assert!(
                !made || *after == self.state,
                "a commit that stands is said to have failed: {error}"
            );
            self.store = Some(store);
            return false;
        }
        self.endured.poisoned += 1;
        refuses_writes(&store);
        drop(store);
        let mut allowed = vec![after.clone(), self.state.clone()];
        if self.ground.lose() {
            allowed.extend(self.since.iter().rev().cloned());
        } else if made {
            allowed.truncate(1);
        }
        let store = self.opened();
        let at = self.stands(&store, &allowed);
        let state = allowed.swap_remove(at);
        let stats = store.stats().expect("readable");
        self.store = Some(store);
        // What an open has restored is durable, whatever a failed sync had marked clean; what it has resumed is not.
        if stats.durable == stats.committed && self.ground.cut() {
            self.store = None;
            let store = self.opened();
            self.stands(&store, std::slice::from_ref(&state));
            self.store = Some(store);
        }
        // Commits that were never durable may be gone; the script goes on from there.
        self.since = vec![state.clone()];
        if at > 1 {
            self.state = state;
        }
        at == 0
    }

    /// Which of some states the store holds.
    fn stands(&self, store: &Store, allowed: &[State]) -> usize {
        let allowed: Vec<_> = allowed.iter().map(|state| (0, state.clone())).collect();
        check::one_of(store, &allowed)
    }

    /// The store, opened if need be.
    fn opened(&mut self) -> Store {
        for _ in 0..6 {
            match self.store.take().map_or_else(|| self.ground.open(), Ok) {
                Ok(store) => return store,
                Err(error) => {
                    self.permit(&error);
                    self.ground.mend();
                }
            }
        }
        panic!("the store cannot be opened any more");
    }
}

fn is_poisoned(store: &Store) -> bool {
    // A failure that comes and goes may still hit this call.
    let mut tries = (0..3).map(|_| store.delete("no such key"));
    tries.any(|result| matches!(result, Err(Error::Poisoned)))
}

/// Every write says that the handle is poisoned, and reads go on.
fn refuses_writes(store: &Store) {
    let before = check::content_at_last(store);
    let mut batch = store.batch();
    batch.put("key 1", "value").expect("small");
    let refusals = [
        store.put("key 1", "value"),
        store.put_with("key 1", 5, |to| to.fill(1)),
        store.delete("key 1").map(drop),
        batch.commit().map(drop),
        store.table("green").map(drop),
        store.drop_table(TABLES[1]).map(drop),
        store.sync().map(drop),
        store.checkpoint().map(drop),
    ];
    for (n, refusal) in refusals.into_iter().enumerate() {
        assert!(
            matches!(refusal, Err(Error::Poisoned)),
            "write {n} on a poisoned handle: {refusal:?}"
        );
    }
    assert!(check::content_at_last(store) == before, "a refused write did something");
}

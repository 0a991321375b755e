//! Whether some order of the calls on one object, each between its invocation and its return, explains what they have told.
//!
//! Linearizability is local: a history is linearizable if that of each object is (Herlihy and Wing, 1990), so objects are checked
//! one by one. Of each, the search of Wing and Gong (*Testing and Verifying Concurrent Objects*, 1993) in the order that Lowe
//! calls just-in-time (*Testing for Linearizability*, 2017): the events are taken in the order of their times, and all
//! configurations are kept that are possible so far: a state, and which of the open calls have taken effect. Only when a call
//! returns that has not taken effect yet, open ones are made to, in all orders that end with it. A set of configurations is the
//! memo of Lowe's: two orders that lead to one configuration are one. So the memory goes with how many calls are open at a
//! time and not with how many there are, and the first return that nothing explains is where the history goes wrong.
//!
//! A call that never returns stays open to the end; it may have taken effect, or not.

use std::collections::{HashMap, VecDeque};

use crate::call::{Op, State};

/// More configurations than this are not searched. None was seen with a thousandth of them.
const MOST: usize = 1 << 20;

/// A history that is not linearizable.
#[derive(Debug)]
pub(crate) struct Stuck {
    /// The call whose return nothing explains.
    pub(crate) op: usize,
    /// What the state could be before.
    pub(crate) before: Vec<State>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Config {
    state: State,
    /// The slots of the open calls that have taken effect.
    done: u64,
}

struct Search<'a> {
    ops: &'a [Op],
    /// The open calls; their places are the bits of `Config::done`.
    slots: [Option<usize>; 64],
    configs: Vec<Config>,
    widest: usize,
}

/// Configurations, without those that have used up calls that never return where another one has all the same without.
struct Least {
    /// The slots of the calls that never return.
    lost: u64,
    /// By state and all else that has taken effect: which of those have.
    used: HashMap<(State, u64), Vec<u64>>,
    len: usize,
}

impl Least {
    fn new(lost: u64) -> Least {
        Least { lost, used: HashMap::new(), len: 0 }
    }

    /// False if it adds nothing.
    fn insert(&mut self, config: Config) -> bool {
        let used = config.done & self.lost;
        let known = self.used.entry((config.state, config.done & !self.lost)).or_default();
        let new = known.iter().all(|less| less & !used != 0);
        if new {
            self.len -= known.len();
            known.retain(|more| used & !more != 0);
            known.push(used);
            self.len += known.len();
        }
        new
    }

    fn into_configs(self) -> Vec<Config> {
        let all = self.used.into_iter();
        all.flat_map(|((state, done), used)| {
            used.into_iter().map(move |used| Config { state, done: done | used })
        })
        .collect()
    }
}

/// Checks the calls on one object, which begins without values. How many configurations there were at most.
pub(crate) fn check(ops: &[Op]) -> Result<usize, Stuck> {
    let mut events = Vec::with_capacity(2 * ops.len());
    for (i, op) in ops.iter().enumerate() {
        events.push((op.invoked, false, i));
        events.extend(op.returned.map(|time| (time, true, i)));
    }
    // Of one moment the invocations come first: calls that only touch are concurrent.
    events.sort_unstable();
    let configs = vec![Config::default()];
    let mut search = Search { ops, slots: [None; 64], configs, widest: 1 };
    for (_, returned, i) in events {
        if returned {
            search.come_back(i)?;
        } else {
            search.invoke(i);
        }
    }
    Ok(search.widest)
}

impl Search<'_> {
    fn invoke(&mut self, op: usize) {
        let slot = self.slots.iter().position(Option::is_none).expect("fewer calls at a time");
        self.slots[slot] = Some(op);
        self.configs = self.configs.iter().map(|config| self.settled(*config)).collect();
    }

    /// What is open and has not taken effect.
    fn left(&self, config: Config) -> impl Iterator<Item = (u64, &Op)> {
        let open = self.slots.iter().enumerate().filter_map(|(slot, op)| Some((1 << slot, (*op)?)));
        open.filter(move |(bit, _)| config.done & bit == 0).map(|(bit, op)| (bit, &self.ops[op]))
    }

    /// Lets all calls take effect that can and that would change nothing anywhere: whatever comes, it is no worse for that.
    fn settled(&self, config: Config) -> Config {
        let reads = self
            .left(config)
            .filter(|(_, op)| op.call.only_reads() && op.call.step(config.state).is_some());
        Config { done: reads.fold(config.done, |done, (bit, _)| done | bit), ..config }
    }

    /// The configurations in which one more call has taken effect. One that never returns need not where it changes nothing.
    fn next(&self, config: Config) -> impl Iterator<Item = Config> {
        self.left(config).filter_map(move |(bit, op)| {
            let state = op.call.step(config.state)?;
            (op.returned.is_some() || state != config.state)
                .then(|| self.settled(Config { state, done: config.done | bit }))
        })
    }

    /// Leaves the configurations in which this call has taken effect by now.
    fn come_back(&mut self, op: usize) -> Result<(), Stuck> {
        let slot = self.slots.iter().position(|open| *open == Some(op)).expect("it is open");
        let bit = 1 << slot;
        let lost = self.left(Config::default()).filter(|(_, op)| op.returned.is_none());
        let lost = lost.fold(0, |lost, (bit, _)| lost | bit);
        let (mut met, mut after) = (Least::new(lost), Least::new(lost));
        // Those that have used up less come first, and spare the way through those with more.
        let mut queue: VecDeque<Config> = self.configs.iter().copied().collect();
        while let Some(config) = queue.pop_front() {
            if config.done & bit != 0 {
                after.insert(Config { done: config.done & !bit, ..config });
            } else {
                queue.extend(self.next(config).filter(|next| met.insert(*next)));
                assert!(met.len <= MOST, "too many calls that never returned");
            }
        }
        self.widest = self.widest.max(met.len);
        if after.len == 0 {
            let mut before: Vec<State> = self.configs.iter().map(|config| config.state).collect();
            before.sort_unstable();
            before.dedup();
            return Err(Stuck { op, before });
        }
        self.slots[slot] = None;
        self.configs = after.into_configs();
        Ok(())
    }
}

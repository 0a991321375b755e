//! A scripted workload: step n follows from a seed, from n and from what the store holds by then, so that whoever knows how far a
//! process came knows what the store must hold.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod check;
pub(crate) mod child;
pub(crate) mod endure;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mapstone::{Durability, Options, Result, Store};

/// Tables by number; 0 is the one without a name.
pub(crate) const TABLES: [&str; 3] = ["", "red", "blue"];
const KEYS: u64 = 900;

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) tables: BTreeSet<u8>,
    pub(crate) data: BTreeMap<(u8, u16), Vec<u8>>,
}

/// One step.
#[derive(Debug)]
pub(crate) enum Step {
    Put(u8, u16, Vec<u8>),
    PutWith(u8, u16, Vec<u8>),
    /// A `put_with` whose closure panics.
    GiveUp(u8, u16, usize),
    Delete(u8, u16),
    Batch(Vec<(u8, u16, Option<Vec<u8>>)>, Durability),
    Create(u8),
    Drop(u8),
    Sync,
    Checkpoint,
    /// Compacts to the end.
    Compact,
    /// Closes the store and opens it again.
    Reopen,
}

/// A workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script {
    pub(crate) seed: u64,
    /// All keys have the same hash, so that pages grow chains.
    pub(crate) crowded: bool,
    /// Checkpoints are made by a thread of their own.
    pub(crate) background: bool,
}

/// A small generator: splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn key(&mut self) -> u16 {
        u16::try_from(self.below(KEYS)).expect("few keys")
    }

    fn table(&mut self) -> u8 {
        [0, 0, 1, 2][usize::try_from(self.below(4)).expect("small")]
    }

    fn value(&mut self, longest: u64) -> Vec<u8> {
        let len = self.below(longest + 1);
        self.bytes(len)
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        let word = self.next().to_le_bytes();
        (0..len).zip(word.iter().cycle()).map(|(i, byte)| byte ^ i.to_le_bytes()[0]).collect()
    }
}

pub(crate) fn key(number: u16) -> Vec<u8> {
    format!("key {number}").into_bytes()
}

pub(crate) fn number(key: &[u8]) -> u16 {
    let text = std::str::from_utf8(key).ok().and_then(|text| text.strip_prefix("key "));
    text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("a key nobody put: {key:?}"))
}

impl Script {
    /// Small segments and checkpoints, so that a few steps roll everything over.
    pub(crate) fn options(self) -> Options {
        let mut options = Options::new();
        options.segment_size(16 << 10).checkpoint_interval(24 << 10).background(self.background);
        if self.crowded {
            options.hash_mask(0);
        }
        options
    }

    /// Step `n` on a store that holds `state`.
    pub(crate) fn step(self, n: u64, state: &State) -> Step {
        let mut random = Random(self.seed.wrapping_mul(0xD134_2543_DE82_EF95) ^ n);
        let kind = random.below(20);
        let table = Some(random.table()).filter(|t| *t == 0 || state.tables.contains(t));
        let (table, key) = (table.unwrap_or(0), random.key());
        match kind {
            _ if n >= 8 && n % 8 == 5 => Step::Compact,
            // The first steps make tables, and keys enough for splits.
            _ if n < 8 || kind < 5 => {
                let durable = kind == 4;
                let puts = (0..50).map(|_| (table, random.key(), Some(random.value(24))));
                let puts = puts.collect();
                if n == 2 || n == 3 {
                    return Step::Create(u8::try_from(n - 1).expect("small"));
                }
                Step::Batch(
                    puts,
                    if durable { Durability::Immediate } else { Durability::Eventual },
                )
            }
            5..8 => Step::Put(table, key, random.value(200)),
            8 => Step::PutWith(table, key, random.value(2000)),
            9 => Step::GiveUp(table, key, usize::try_from(random.below(6000)).expect("small")),
            // Longer than a segment, and than the pieces in which zeros are written where blocks cannot be reserved.
            10 => Step::Put(table, key, random.bytes(70_000)),
            11..13 => match state.data.range((table, key)..).next() {
                Some(((table, key), _)) => Step::Delete(*table, *key),
                None => Step::Delete(table, key),
            },
            // Rolls over segments within one commit.
            13..15 => {
                let ops = (0..12).map(|i| {
                    let value = (i % 4 != 0).then(|| random.value(5000));
                    (table, random.key(), value)
                });
                Step::Batch(ops.collect(), Durability::Eventual)
            }
            15 => Step::Sync,
            16 => Step::Checkpoint,
            17 => Step::Reopen,
            18 => Step::Create(1 + u8::from(n % 2 == 1)),
            _ => Step::Drop(1 + u8::from(n % 2 == 1)),
        }
    }

    /// What the store holds after so many steps.
    pub(crate) fn state(self, steps: u64) -> State {
        let mut state = State::default();
        for n in 0..steps {
            state.apply(&self.step(n, &state));
        }
        state
    }
}

impl State {
    /// This state after one step more.
    pub(crate) fn after(&self, step: &Step) -> State {
        let mut next = self.clone();
        next.apply(step);
        next
    }

    pub(crate) fn apply(&mut self, step: &Step) {
        match step {
            Step::Put(table, key, value) | Step::PutWith(table, key, value) => {
                self.data.insert((*table, *key), value.clone());
            }
            Step::Delete(table, key) => drop(self.data.remove(&(*table, *key))),
            Step::Batch(ops, _) => {
                for (table, key, value) in ops {
                    match value {
                        Some(value) => drop(self.data.insert((*table, *key), value.clone())),
                        None => drop(self.data.remove(&(*table, *key))),
                    }
                }
            }
            Step::Create(table) => drop(self.tables.insert(*table)),
            Step::Drop(table) => {
                self.tables.remove(table);
                self.data.retain(|(of, _), _| of != table);
            }
            Step::GiveUp(..) | Step::Sync | Step::Checkpoint | Step::Compact | Step::Reopen => {}
        }
    }
}

impl Step {
    /// What it promises when it succeeds holds after a power cut too.
    pub(crate) fn is_durable(&self) -> bool {
        matches!(
            self,
            Step::Batch(_, Durability::Immediate) | Step::Sync | Step::Checkpoint | Step::Reopen
        )
    }

    /// Does the step; `open` opens the store again.
    pub(crate) fn run(
        &self,
        store: &mut Option<Store>,
        open: impl FnOnce() -> Result<Store>,
    ) -> Result<()> {
        if let Step::Reopen = self {
            if let Some(store) = store.take() {
                store.close()?;
            }
            *store = Some(open()?);
            return Ok(());
        }
        if store.is_none() {
            *store = Some(open()?);
        }
        self.write(store.as_ref().expect("just opened"))
    }

    fn write(&self, store: &Store) -> Result<()> {
        let table = |number: u8| store.table(TABLES[usize::from(number)]);
        match self {
            Step::Put(0, at, value) => store.put(key(*at), value),
            Step::Put(of, at, value) => table(*of)?.put(key(*at), value),
            Step::PutWith(0, at, value) => {
                store.put_with(key(*at), value.len(), |to| to.copy_from_slice(value))
            }
            Step::PutWith(of, at, value) => {
                table(*of)?.put_with(key(*at), value.len(), |to| to.copy_from_slice(value))
            }
            Step::GiveUp(_, at, len) => {
                let given_up = || {
                    store.put_with(key(*at), *len, |to| {
                        to.fill(0xEE);
                        std::panic::resume_unwind(Box::new(()));
                    })
                };
                catch_unwind(AssertUnwindSafe(given_up)).unwrap_or(Ok(()))
            }
            Step::Delete(0, at) => store.delete(key(*at)).map(drop),
            Step::Delete(of, at) => table(*of)?.delete(key(*at)).map(drop),
            Step::Batch(ops, durability) => {
                let named = [1, 2].map(|of| ops.iter().any(|op| op.0 == of).then(|| table(of)));
                let [red, blue] = named;
                let named = [None, red.transpose()?, blue.transpose()?];
                let mut batch = store.batch();
                for (of, at, value) in ops {
                    match (&named[usize::from(*of)], value) {
                        (None, Some(value)) => batch.put(key(*at), value)?,
                        (None, None) => batch.delete(key(*at))?,
                        (Some(table), Some(value)) => batch.put_in(table, key(*at), value)?,
                        (Some(table), None) => batch.delete_in(table, key(*at))?,
                    };
                }
                batch.commit_with(*durability).map(drop)
            }
            Step::Create(of) => table(*of).map(drop),
            Step::Drop(of) => store.drop_table(TABLES[usize::from(*of)]).map(drop),
            // What a load has done by a thread of its own.
            Step::Sync => store.sync().and_then(|_| store.make_spare()),
            Step::Checkpoint => store.checkpoint().map(drop),
            Step::Compact => store.compact(|_| true).map(drop),
            Step::Reopen => unreachable!("done by the caller"),
        }
    }
}

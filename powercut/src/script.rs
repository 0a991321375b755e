//! The workload: what is done at each step follows from a seed alone, so that whoever knows the seed and the number of a step knows what
//! the store must hold after it.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The table that is never dropped.
pub const PAIRS: &str = "pairs";
/// The tables that come and go.
const TABLES: [&str; 4] = ["t0", "t1", "t2", "t3"];
/// The key under which each batch writes the number of its step.
pub const COUNTER: &[u8] = b"#";
/// How many groups of keys there are that only change together.
pub const GROUPS: u64 = 6;
/// Keys of a group, in each of two tables.
pub const MEMBERS: u64 = 5;

/// How small everything in the store is, so that much happens in few steps.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub segment: u64,
    pub checkpoint: u64,
    pub background: bool,
    /// The most different keys of a table.
    keys: u64,
}

impl Settings {
    pub fn of(seed: u64) -> Settings {
        let mut rng = SmallRng::seed_from_u64(seed ^ 0x5E77);
        Settings {
            segment: *[16 << 10, 64 << 10, 256 << 10].choose(&mut rng).expect("some"),
            checkpoint: *[48 << 10, 200 << 10, 1 << 20].choose(&mut rng).expect("some"),
            background: rng.random_bool(0.5),
            keys: *[60, 500, 4000].choose(&mut rng).expect("some"),
        }
    }
}

/// How a commit becomes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// Not by itself.
    No,
    /// As `Durability::Immediate`.
    Immediate,
    /// By a call of `sync`.
    Synced,
}

/// A value: its bytes follow from its key, the step that wrote it and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    pub step: u64,
    pub len: u32,
}

impl Content {
    pub fn bytes(self, key: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.fill(key, &mut bytes);
        bytes
    }

    pub fn fill(self, key: &[u8], bytes: &mut [u8]) {
        let mut state = xxh3_64_with_seed(key, self.step ^ u64::from(self.len) << 40) | 1;
        let mut word = self.step;
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word = state;
        }
    }

    /// What must have written these bytes; None when they are too short to tell.
    pub fn claimed(bytes: &[u8]) -> Option<Content> {
        let step = u64::from_le_bytes(bytes.first_chunk::<8>().copied()?);
        Some(Content { step, len: u32::try_from(bytes.len()).ok()? })
    }
}

/// One operation of a batch; the table `""` is the one without a name.
#[derive(Clone, Debug)]
pub struct Op {
    pub table: &'static str,
    pub key: Vec<u8>,
    pub put: Option<Content>,
}

/// What one step does: at most one commit.
#[derive(Clone, Debug)]
pub enum Action {
    Put(Op),
    PutWith(Op),
    Delete(Op),
    Batch(Vec<Op>),
    Create(&'static str),
    Drop(&'static str),
    Checkpoint,
    Sync,
    Reopen,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub number: u64,
    pub action: Action,
    pub durable: Durable,
}

/// The steps of one seed, in order.
#[derive(Clone, Debug)]
pub struct Script {
    seed: u64,
    settings: Settings,
    number: u64,
    tables: Vec<&'static str>,
}

impl Script {
    pub fn new(seed: u64) -> Script {
        Script { seed, settings: Settings::of(seed), number: 0, tables: Vec::new() }
    }

    /// Number of the last step that was taken.
    pub fn number(&self) -> u64 {
        self.number
    }

    fn op(&self, rng: &mut SmallRng, small: bool) -> Op {
        let number = self.number;
        let named = !self.tables.is_empty() && rng.random_bool(0.4);
        let table = if named { *self.tables.choose(rng).expect("not empty") } else { "" };
        let key = key(rng.random_range(0..self.settings.keys.min(20 + 4 * number)));
        let len = length(rng, self.settings.segment, small);
        Op { table, key, put: Some(Content { step: number, len }) }
    }

    fn batch(&self, rng: &mut SmallRng) -> Vec<Op> {
        let content = |len| Some(Content { step: self.number, len });
        let mut ops: Vec<Op> = (0..rng.random_range(0..16)).map(|_| self.op(rng, true)).collect();
        for op in &mut ops {
            if rng.random_bool(0.2) {
                op.put = None;
            }
        }
        if rng.random_bool(0.5) {
            let (group, len) = (rng.random_range(0..GROUPS), rng.random_range(8..600));
            for member in 0..MEMBERS {
                for table in ["", PAIRS] {
                    ops.push(Op { table, key: member_key(group, member), put: content(len) });
                }
            }
        }
        ops.push(Op { table: "", key: COUNTER.to_vec(), put: content(8) });
        ops
    }

    fn action(&mut self, rng: &mut SmallRng) -> Action {
        match rng.random_range(0..100) {
            0..36 => Action::Put(self.op(rng, false)),
            36..44 => Action::PutWith(self.op(rng, false)),
            44..54 => Action::Delete(Op { put: None, ..self.op(rng, true) }),
            54..86 => Action::Batch(self.batch(rng)),
            86..88 => {
                let table = *TABLES.choose(rng).expect("some");
                if !self.tables.contains(&table) {
                    self.tables.push(table);
                }
                Action::Create(table)
            }
            88 => {
                let table = *TABLES.choose(rng).expect("some");
                self.tables.retain(|other| *other != table);
                Action::Drop(table)
            }
            89..93 => Action::Checkpoint,
            93 => Action::Reopen,
            _ => Action::Sync,
        }
    }
}

impl Iterator for Script {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        self.number += 1;
        let number = self.number;
        let mut rng = SmallRng::seed_from_u64(xxh3_64_with_seed(&number.to_le_bytes(), self.seed));
        let action = if number == 1 { Action::Create(PAIRS) } else { self.action(&mut rng) };
        let durable = match rng.random_range(0..10) {
            0..5 => Durable::Immediate,
            5..7 => Durable::Synced,
            _ => Durable::No,
        };
        Some(Step { number, action, durable })
    }
}

/// Most keys are short; a few are long.
pub fn key(number: u64) -> Vec<u8> {
    let mut key = format!("key {number:x}").into_bytes();
    let extra = match number % 16 {
        0 => 300,
        other => other as usize * 2,
    };
    key.resize(key.len() + extra, b'.');
    key
}

pub fn member_key(group: u64, member: u64) -> Vec<u8> {
    format!("group {group} member {member}").into_bytes()
}

/// Many small ones, some that cross a page, a few that are larger than a segment.
fn length(rng: &mut SmallRng, segment: u64, small: bool) -> u32 {
    match rng.random_range(0..100) {
        0..55 => rng.random_range(0..100),
        55..80 => rng.random_range(100..1000),
        _ if small => rng.random_range(1000..1500),
        80..93 => rng.random_range(3000..5500),
        93..99 => rng.random_range(5500..20_000),
        _ => rng.random_range(20_000..50_000 + segment.min(100_000) as u32),
    }
}

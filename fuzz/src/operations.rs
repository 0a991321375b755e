//! Any operations, with crashes between them, on the simulated disk: the store equals a map, or after a power cut one of the
//! maps that it was since it was last made durable.

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use mapstone::sim::SimDisk;
use mapstone::{Durability, Options, Snapshot, Store};

use super::input;

/// Tables by number; 0 is the one without a name.
const TABLES: u8 = 3;

#[derive(Arbitrary, Debug)]
enum Step {
    Put {
        table: u8,
        key: u8,
        value: Vec<u8>,
    },
    /// A value that is written in place, perhaps longer than a segment.
    PutWith {
        key: u8,
        len: u16,
    },
    Delete {
        table: u8,
        key: u8,
    },
    Batch {
        durable: bool,
        ops: Vec<(u8, u8, Option<Vec<u8>>)>,
    },
    /// Many keys at once, so that pages split.
    Many {
        table: u8,
        first: u8,
        keys: u8,
    },
    DropTable {
        table: u8,
    },
    Get {
        table: u8,
        key: u8,
    },
    Snapshot,
    Sync,
    Checkpoint,
    Verify,
    Close,
    WriteBack {
        pages: u8,
    },
    Kill,
    PowerCut,
}

#[derive(Arbitrary, Debug)]
struct Input {
    seed: u64,
    /// How many hash bits differ between keys: few, so that they collide, or all.
    mask: u8,
    steps: Vec<Step>,
}

/// Values by table and key.
type Map = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

fn name(table: u8) -> String {
    format!("table {}", table % TABLES)
}

fn contents(snapshot: &Snapshot) -> Map {
    let mut map = Map::new();
    let mut collect = |number: u8, snapshot: &Snapshot| {
        for item in snapshot {
            let (key, value) = item.expect("a readable store");
            let before = map.insert((number, key.to_vec()), value.to_vec());
            assert!(before.is_none(), "a key was seen twice");
        }
    };
    collect(0, snapshot);
    for number in 1..TABLES {
        if let Some(table) = snapshot.table(&name(number)).expect("a readable store") {
            collect(number, &table);
        }
    }
    map
}

/// A store, and what it must hold.
struct Run {
    options: Options,
    disk: SimDisk,
    /// None while it is opened again.
    open: Option<(Store, Snapshot)>,
    now: Map,
    /// What the store may be after a power cut: from the last durable state on.
    since: Vec<Map>,
    /// What the snapshot holds.
    then: Map,
}

impl Run {
    fn new(seed: u64, mask: u8) -> Run {
        let mut options = Options::new();
        options.segment_size(4096).background(false).checkpoint_interval(64 << 10);
        options.hash_mask([u64::MAX, 0xF000_0000_0000_0000, 0, 0xFF][usize::from(mask % 4)]);
        let disk = SimDisk::new(seed);
        let since = vec![Map::new()];
        let mut run = Run { options, disk, open: None, now: Map::new(), since, then: Map::new() };
        run.open();
        run
    }

    fn open(&mut self) {
        let store = self.options.open_sim(&self.disk).expect("a store that only crashed");
        let snapshot = store.snapshot().expect("a snapshot");
        self.open = Some((store, snapshot));
    }

    fn store(&self) -> &Store {
        &self.open.as_ref().expect("an open store").0
    }

    /// A snapshot that was taken a while ago.
    fn snapshot(&self) -> &Snapshot {
        &self.open.as_ref().expect("an open store").1
    }

    fn put(&mut self, table: u8, key: u8, value: &[u8]) {
        let table = table % TABLES;
        if table == 0 {
            self.store().put([key], value).expect("a put");
        } else {
            // To make a table is a commit of its own, which changes no key.
            let table = self.store().table(&name(table)).expect("a table");
            table.put([key], value).expect("a put");
        }
        self.now.insert((table, vec![key]), value.to_vec());
    }

    fn delete(&mut self, table: u8, key: u8) {
        let table = table % TABLES;
        let deleted = if table == 0 {
            self.store().delete([key]).expect("a delete")
        } else {
            let table = self.store().table(&name(table)).expect("a table");
            table.delete([key]).expect("a delete")
        };
        assert_eq!(deleted, self.now.remove(&(table, vec![key])).is_some());
    }

    fn batch(
        &mut self,
        ops: impl IntoIterator<Item = (u8, Vec<u8>, Option<Vec<u8>>)>,
        durable: bool,
    ) {
        let mut batch = self.store().batch();
        for (table, key, value) in ops {
            let number = table % TABLES;
            let table = self.store().table(&name(number)).expect("a table");
            let result = match (&value, number) {
                (Some(value), 0) => batch.put(&key, value),
                (Some(value), _) => batch.put_in(&table, &key, value),
                (None, 0) => batch.delete(&key),
                (None, _) => batch.delete_in(&table, &key),
            };
            result.expect("small");
            match value {
                Some(value) => drop(self.now.insert((number, key), value)),
                None => drop(self.now.remove(&(number, key))),
            }
        }
        let durability = if durable { Durability::Immediate } else { Durability::Eventual };
        batch.commit_with(durability).expect("a commit");
        if durable {
            self.since.clear();
        }
    }

    fn drop_table(&mut self, table: u8) {
        let number = table % TABLES;
        if number != 0 {
            self.store().drop_table(&name(number)).expect("a drop");
            self.now.retain(|(table, _), _| *table != number);
        }
    }

    fn get(&self, table: u8, key: u8) {
        let table = table % TABLES;
        let expected = self.now.get(&(table, vec![key])).map(|value| &value[..]);
        if table == 0 {
            assert_eq!(self.store().get([key]).expect("a readable store").as_deref(), expected);
        } else {
            let table = self.store().table(&name(table)).expect("a table");
            assert_eq!(table.get([key]).expect("a readable store").as_deref(), expected);
        }
    }

    fn verify(&self) {
        let verification = self.store().verify().expect("a verification");
        assert!(verification.is_ok(), "{:?}", verification.damage);
        assert_eq!(verification.entries, self.now.len() as u64);
        assert_eq!(self.store().stats().expect("a readable store").entries, verification.entries);
    }

    fn take_snapshot(&mut self) {
        let snapshot = self.store().snapshot().expect("a snapshot");
        self.open.as_mut().expect("an open store").1 = snapshot;
        self.then = self.now.clone();
    }

    /// Opens the store again, on the same disk or on what is left of it.
    fn reopen(&mut self, step: &Step) {
        assert_eq!(contents(self.snapshot()), self.then);
        let cut = matches!(step, Step::PowerCut);
        match step {
            Step::Close => self.since.clear(),
            Step::Kill => self.disk = self.disk.process_kill(),
            _ => self.disk = self.disk.power_cut(),
        }
        self.open = None;
        self.open();
        let found = contents(self.snapshot());
        if cut {
            assert!(self.since.contains(&found), "no state since the last durable one");
            // What survived is on the disk.
            self.since.clear();
            self.now = found;
        } else {
            assert_eq!(found, self.now);
        }
        self.then = self.now.clone();
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Put { table, key, value } => self.put(*table, *key, value),
            Step::PutWith { key, len } => {
                let value = vec![*key; usize::from(len % 10_000)];
                let result =
                    self.store().put_with([*key], value.len(), |to| to.copy_from_slice(&value));
                result.expect("a put");
                self.now.insert((0, vec![*key]), value);
            }
            Step::Delete { table, key } => self.delete(*table, *key),
            Step::Batch { durable, ops } => {
                let ops = ops.iter().map(|(table, key, value)| (*table, vec![*key], value.clone()));
                self.batch(ops.collect::<Vec<_>>(), *durable);
            }
            Step::Many { table, first, keys } => {
                let key = |i: u32| [&[*first][..], &i.to_le_bytes()].concat();
                let ops = (0..u32::from(*keys)).map(|i| (*table, key(i), Some(key(i))));
                self.batch(ops.collect::<Vec<_>>(), false);
            }
            Step::DropTable { table } => self.drop_table(*table),
            Step::Get { table, key } => self.get(*table, *key),
            Step::Snapshot => self.take_snapshot(),
            Step::Sync => {
                self.store().sync().expect("a sync");
                self.since.clear();
            }
            Step::Checkpoint => {
                self.store().checkpoint().expect("a checkpoint");
                self.since.clear();
            }
            Step::Verify => self.verify(),
            Step::WriteBack { pages } => self.disk.write_back(usize::from(*pages)),
            Step::Close | Step::Kill | Step::PowerCut => self.reopen(step),
        }
        if self.since.last() != Some(&self.now) {
            self.since.push(self.now.clone());
        }
    }
}

pub(super) fn run(data: &[u8]) {
    let Some(input) = input::<Input>(data) else { return };
    let mut run = Run::new(input.seed, input.mask);
    for step in input.steps.iter().take(64) {
        run.step(step);
    }
    assert_eq!(contents(run.snapshot()), run.then);
    assert_eq!(contents(&run.store().snapshot().expect("a snapshot")), run.now);
    run.verify();
    for key in 0..=u8::MAX {
        run.get(0, key);
    }
}

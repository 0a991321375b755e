//! The operations that are measured: the same ones in the same order, whatever counts them.

use std::fs;
use std::hint::black_box;
use std::path::Path;

use mapstone::{Durability, Options, Result, Store, Value};

/// A part of the name of the function whose every call is a row.
pub(crate) const MEASURED: &str = "measured_for_its_cost";
/// Stand before and after each row in a trace of system calls.
pub(crate) const BEGIN: &str = "cost begins";
pub(crate) const END: &str = "cost ends";

/// With 160 bytes of log and 25 of the index each, far more than the simulated cache holds.
const KEYS: u64 = 100_000;
pub(crate) const VALUE: [u8; 100] = [1; 100];

/// The rows, and how many operations each is.
pub(crate) const ROWS: [(&str, u64); 14] = [
    ("get", 20_000),
    ("get, absent", 20_000),
    ("contains", 20_000),
    ("get in a snapshot", 20_000),
    ("get, read-only", 20_000),
    ("get_many of 32", 32_000),
    ("iterate", KEYS),
    ("put, overwriting", 20_000),
    ("put, new key", 20_000),
    ("overwrite, batches of 1,000", 20_000),
    ("new keys, batches of 1,000", 20_000),
    ("delete", 10_000),
    ("durable put", 1_000),
    ("put, shared writer", 1_000),
];

struct Rows<'a> {
    place: &'a Path,
    done: usize,
}

impl Rows<'_> {
    /// Does `work`, which is told how many operations it is.
    fn row(&mut self, name: &str, mut work: impl FnMut(u64)) {
        let (expected, times) = ROWS[self.done];
        assert_eq!(name, expected, "the order of the rows");
        let mark = |text| drop(fs::metadata(self.place.join(text)));
        mark(BEGIN);
        measured_for_its_cost(&mut || work(times));
        mark(END);
        self.done += 1;
    }
}

#[inline(never)]
fn measured_for_its_cost(work: &mut dyn FnMut()) {
    work();
    // Without it the work would be jumped to, and this function be over before it begins.
    black_box(());
}

/// All different, and far apart.
pub(crate) fn key(i: u64) -> [u8; 16] {
    let mut key = [0x5A; 16];
    key[..8].copy_from_slice(&i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    key
}

/// Numbers below `KEYS` in turn.
fn numbers() -> impl FnMut() -> u64 {
    let mut next = 0;
    move || {
        next = (next + 7_919) % KEYS;
        next
    }
}

/// In batches of 1,000.
pub(crate) fn put(store: &Store, keys: impl Iterator<Item = u64>) {
    let mut batch = store.batch();
    for i in keys {
        batch.put(key(i), VALUE).expect("a short key");
        if batch.len() == 1000 {
            batch.commit().expect("room");
        }
    }
    batch.commit().expect("room");
}

fn found(value: Result<Option<Value<'_>>>) {
    assert_eq!(value.expect("sound").expect("there").len(), VALUE.len());
}

/// Gives an empty store a seed of the hash that is always the same: which pages are about to split, and so how long probes are, differs
/// from one seed to another.
fn seed(path: &Path) {
    let path = path.join("meta");
    let mut meta = fs::read(&path).expect("the superblock");
    let crc = |meta: &[u8]| crc32fast::hash(&meta[..60]).to_le_bytes();
    assert_eq!(meta[60..64], crc(&meta), "docs/format.md, \"Superblock\"");
    meta[40..48].copy_from_slice(&1u64.to_le_bytes());
    let crc = crc(&meta);
    meta[60..64].copy_from_slice(&crc);
    fs::write(path, meta).expect("the superblock");
}

/// What the child does.
pub(crate) fn child(place: &Path) {
    let path = place.join("store");
    let mut options = Options::new();
    // Nothing goes on in the background, and segments are small, so that some are begun in each row that writes.
    options.background(false).checkpoint_interval(1 << 40).segment_size(1 << 20);
    options.open(&path).and_then(Store::close).expect("a store");
    seed(&path);
    let store = options.open(&path).expect("a store");
    put(&store, 0..KEYS);
    store.sync().expect("a sound disk");
    let reader = Store::open_read_only(&path).expect("a reader");
    // What is mapped at the first need is mapped.
    for store in [&store, &reader] {
        (0..KEYS).for_each(|i| found(store.get(key(i))));
    }
    let mut rows = Rows { place, done: 0 };
    gets(&store, &reader, &mut rows);
    many(&store, &mut rows);
    writes(&store, &mut rows);
    durable(&store, &mut rows);
    store.close().expect("a sound disk");
    let store = options.shared_writer(true).open(&path).expect("a store");
    // The first write since a clean end says that the store is no longer clean.
    store.put(key(0), VALUE).expect("room");
    let mut next = numbers();
    rows.row("put, shared writer", |n| {
        (0..n).for_each(|_| store.put(key(next()), VALUE).expect("room"));
    });
    assert_eq!(rows.done, ROWS.len());
}

fn gets(store: &Store, reader: &Store, rows: &mut Rows<'_>) {
    let mut next = numbers();
    rows.row("get", |n| (0..n).for_each(|_| found(store.get(key(next())))));
    rows.row("get, absent", |n| {
        (0..n).for_each(|_| assert!(store.get(key(KEYS + next())).expect("sound").is_none()));
    });
    rows.row("contains", |n| {
        (0..n).for_each(|_| assert!(store.contains(key(next())).expect("sound")));
    });
    let snapshot = store.snapshot().expect("sound");
    rows.row("get in a snapshot", |n| (0..n).for_each(|_| found(snapshot.get(key(next())))));
    rows.row("get, read-only", |n| (0..n).for_each(|_| found(reader.get(key(next())))));
}

fn many(store: &Store, rows: &mut Rows<'_>) {
    let mut next = numbers();
    rows.row("get_many of 32", |n| {
        for _ in 0..n / 32 {
            let keys: [[u8; 16]; 32] = std::array::from_fn(|_| key(next()));
            assert!(store.get_many(&keys).expect("sound").iter().all(Option::is_some));
        }
    });
    let snapshot = store.snapshot().expect("sound");
    rows.row("iterate", |n| {
        assert_eq!(snapshot.iter().filter(|item| item.is_ok()).count() as u64, n);
    });
}

fn writes(store: &Store, rows: &mut Rows<'_>) {
    let (mut next, mut new) = (numbers(), KEYS);
    let mut more = |n| {
        new += n;
        new - n..new
    };
    rows.row("put, overwriting", |n| {
        (0..n).for_each(|_| store.put(key(next()), VALUE).expect("room"));
    });
    rows.row("put, new key", |n| more(n).for_each(|i| store.put(key(i), VALUE).expect("room")));
    rows.row("overwrite, batches of 1,000", |n| put(store, (0..n).map(|_| next())));
    rows.row("new keys, batches of 1,000", |n| put(store, more(n)));
    rows.row("delete", |n| {
        (0..n).for_each(|_| assert!(store.delete(key(next())).expect("room")));
    });
}

fn durable(store: &Store, rows: &mut Rows<'_>) {
    store.sync().expect("a sound disk");
    let (mut batch, mut next) = (store.batch(), numbers());
    rows.row("durable put", |n| {
        for _ in 0..n {
            batch.put(key(next()), VALUE).expect("a short key");
            batch.commit_with(Durability::Immediate).expect("a sound disk");
        }
    });
}

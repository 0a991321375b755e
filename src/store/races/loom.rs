//! The protocols that have readers: each is explored, and nothing may be found.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as Count, Ordering::Relaxed};
use std::time::Duration;

use loom::thread;

use crate::format::hash::Hash;
use crate::format::meta::Counters;
use crate::options::{Durability, Options};
use crate::store::{DEFAULT_TABLE, Effort, Engine, Op, Walk};
use crate::sys::Pin;
use crate::sys::model::ModelDisk;

/// Of the thread that runs a model, in words.
const STACK: usize = 1 << 14;

/// Runs `model` in every order, with so many switches from threads that could go on; more in the long form.
pub(super) fn explore(name: &str, switches: usize, model: impl Fn() + Send + Sync + 'static) {
    let long = std::env::var("MAPSTONE_LONG").ok().and_then(|text| text.parse::<u64>().ok());
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 200_000;
    builder.preemption_bound = Some(switches + usize::from(long.is_some()));
    // How often it looks at the time.
    builder.checkpoint_interval = 500;
    builder.max_duration = long.map(Duration::from_secs);
    let runs = Arc::new(Count::new(0));
    let counted = Arc::clone(&runs);
    let start = std::time::Instant::now();
    let model = Arc::new(model);
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        // An open takes more than the stack that loom gives to the first thread.
        let model = Arc::clone(&model);
        let roomy = thread::Builder::new().stack_size(STACK).spawn(move || model());
        roomy.expect("a thread of the model").join().expect("no panic");
    });
    let (runs, time) = (runs.load(Relaxed), start.elapsed());
    // Not through `eprintln`, which a test that passes does not show.
    let _ = writeln!(std::io::stderr(), "loom: {name}: {runs} executions in {time:.1?}");
}

fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(4096).background(false);
    options
}

pub(super) fn open(disk: &ModelDisk) -> Arc<Engine> {
    Arc::new(Engine::open(disk.disk(), &options()).expect("a store"))
}

/// A handle with mappings of its own, as another process has.
fn attach(disk: &ModelDisk) -> Engine {
    Engine::open_read_only(disk.disk(), &options()).expect("a store")
}

pub(super) fn put(engine: &Engine, pairs: &[(&str, &str)]) {
    let ops: Vec<Op<'_>> = pairs
        .iter()
        .map(|(key, value)| Op {
            table: DEFAULT_TABLE,
            key: key.as_bytes(),
            value: Some(value.as_bytes()),
        })
        .collect();
    engine.commit(&ops, None).expect("space");
}

pub(super) fn get(engine: &Engine, key: &str, at: u64) -> Option<String> {
    let pin = Pin::new();
    let found = engine.reader(&pin).get(DEFAULT_TABLE, key.as_bytes(), at).expect("sound");
    found.map(|record| String::from_utf8(record.value().to_vec()).expect("text"))
}

/// The same without the first look, which would settle it.
fn get_slowly(engine: &Engine, key: &str, at: u64) -> Option<String> {
    let pin = Pin::new();
    let found = engine.reader(&pin).get_slowly(DEFAULT_TABLE, key.as_bytes(), at).expect("sound");
    found.map(|record| String::from_utf8(record.value().to_vec()).expect("text"))
}

/// The `n`-th key whose hash begins with these bits.
pub(super) fn key(engine: &Engine, bits: &str, n: usize) -> String {
    let prefix = u64::from_str_radix(bits, 2).expect("bits");
    let width = u32::try_from(bits.len()).expect("short");
    let begins = |key: &String| -> bool {
        let hash: Hash = engine.hasher.hash(DEFAULT_TABLE, key.as_bytes());
        hash.prefix(width) == prefix
    };
    (0..).map(|i| format!("{i:04}")).filter(begins).nth(n).expect("endless")
}

/// Starts the one thread that reads. The one that writes is the model's first, which has made all memory: see `AtomicU64`.
pub(super) fn read(
    engine: &Arc<Engine>,
    f: impl FnOnce(&Engine) + 'static,
) -> thread::JoinHandle<()> {
    let engine = Arc::clone(engine);
    thread::spawn(move || f(&engine))
}

fn strong(_: &str, _: usize) -> Option<crate::sys::model::Weak> {
    None
}

/// A batch is seen whole or not at all, and the figures are those of one commit.
pub(super) fn publish_and_read(disk: &ModelDisk) {
    let engine = open(disk);
    put(&engine, &[("a", "0"), ("b", "0")]);
    let reader = read(&engine, |engine| {
        let at = engine.committed();
        let a = get(engine, "a", at).expect("committed");
        assert_eq!(get(engine, "b", at).as_ref(), Some(&a));
        assert_eq!(get(engine, "c", at).is_some(), a == "1");
        if let Some(counters) = engine.cells.counters() {
            let entries = if counters.position == at { 2 + u64::from(a == "1") } else { 3 };
            assert_eq!(counters.entries, entries);
        }
    });
    put(&engine, &[("a", "1"), ("b", "1"), ("c", "1")]);
    reader.join().expect("no panic");
}

#[test]
fn loom_publish_and_read() {
    explore("publish/read", 2, || publish_and_read(&ModelDisk::new(32, 1, strong)));
}

/// The counters that a reader takes are all of one commit, though a set is written anew by every other one.
pub(super) fn publish_and_count(disk: &ModelDisk) {
    let engine = open(disk);
    let start = engine.committed();
    let of = move |n: u64| Counters {
        position: start + n,
        entries: n,
        live_bytes: n,
        ..Counters::default()
    };
    engine.cells.publish(&of(1));
    let reader = read(&engine, move |engine| {
        if let Some(found) = engine.cells.counters() {
            assert_eq!(found, of(found.position - start));
        }
    });
    engine.cells.publish(&of(2));
    engine.cells.publish(&of(3));
    reader.join().expect("no panic");
}

#[test]
fn loom_publish_and_count() {
    explore("publish/counters", 2, || publish_and_count(&ModelDisk::new(32, 1, strong)));
}

/// Old keys stay while the first page splits and the directory doubles, and what is absent stays absent.
pub(super) fn split_and_read(disk: &ModelDisk) {
    let engine = open(disk);
    let keys: Vec<String> =
        ["00", "01", "10", "11"].iter().map(|bits| key(&engine, bits, 0)).collect();
    for key in &keys {
        put(&engine, &[(key, "old")]);
    }
    let [new, old, absent] = [key(&engine, "01", 1), keys[1].clone(), key(&engine, "01", 2)];
    let reader = read(&engine, move |engine| {
        let at = engine.committed();
        assert_eq!(get(engine, &old, at).as_deref(), Some("old"));
        assert_eq!(get(engine, &absent, at), None);
    });
    put(&engine, &[(&new, "new")]);
    reader.join().expect("no panic");
}

#[test]
fn loom_split_and_read() {
    explore("split and doubling/read", 2, || split_and_read(&ModelDisk::new(32, 1, strong)));
}

/// Fills the index so that the two splits to come write into the page that the first of them retires; the directory is deep
/// enough already. Returns a key of that page, and the two new keys that split it and its successor.
fn about_to_recycle(engine: &Engine) -> [String; 3] {
    let [old, second] = [key(engine, "001", 0), key(engine, "001", 1)];
    let [a, b, first] = [0, 1, 2].map(|n| key(engine, "000", n));
    let side = key(engine, "01", 0);
    for key in [key(engine, "110", 0), key(engine, "110", 1), key(engine, "110", 2)] {
        put(engine, &[(&key, "-")]);
    }
    for key in [key(engine, "111", 0), key(engine, "111", 1)] {
        put(engine, &[(&key, "-")]);
    }
    for key in [&old, &a, &b, &side] {
        put(engine, &[(key, "old")]);
    }
    [old, first, second]
}

/// A page is retired, written anew and led to again while a reader is in it, and a key moves with it and gets a new version.
pub(super) fn recycle_and_read(disk: &ModelDisk) {
    recycle_and(disk, get);
}

/// The same, and the lookups go the long way.
pub(super) fn recycle_and_read_slowly(disk: &ModelDisk) {
    recycle_and(disk, get_slowly);
}

fn recycle_and(disk: &ModelDisk, get: fn(&Engine, &str, u64) -> Option<String>) {
    let engine = open(disk);
    let [old, first, second] = about_to_recycle(&engine);
    let page = |key: &str| {
        let hash = engine.hasher.hash(DEFAULT_TABLE, key.as_bytes());
        engine.index.enter(engine.index.begin(hash)).expect("mapped").entry().page()
    };
    let before = page(&old);
    let (found, absent) = (old.clone(), key(&engine, "001", 2));
    let reader = read(&engine, move |engine| {
        let at = engine.committed();
        let value = get(engine, &found, at).expect("committed");
        let later = engine.committed();
        assert!(value == "old" || later > at || value == "new");
        assert_eq!(get(engine, &absent, at), None);
    });
    put(&engine, &[(&first, "-")]);
    put(&engine, &[(&old, "new"), (&second, "-")]);
    assert_eq!(page(&first), before, "the page is in use again, for other keys");
    assert_ne!(page(&old), before);
    reader.join().expect("no panic");
}

#[test]
fn loom_recycle_and_read() {
    explore("page recycled/read", 1, || recycle_and_read(&ModelDisk::new(64, 1, strong)));
    explore("page recycled/read the long way", 1, || {
        recycle_and_read_slowly(&ModelDisk::new(64, 1, strong));
    });
}

/// The same with a page that only a checkpoint makes free.
#[test]
fn loom_checkpoint_and_read() {
    explore("page freed by a checkpoint/read", 1, || {
        let engine = open(&ModelDisk::new(64, 1, strong));
        let [old, first, second] = about_to_recycle(&engine);
        engine.checkpoint().expect("a sound disk");
        let absent = key(&engine, "001", 2);
        let found = old.clone();
        let reader = read(&engine, move |engine| {
            let at = engine.committed();
            assert!(get(engine, &found, at).is_some());
            assert_eq!(get(engine, &absent, at), None);
        });
        put(&engine, &[(&first, "-")]);
        engine.checkpoint().expect("a sound disk");
        put(&engine, &[(&old, "new"), (&second, "-")]);
        reader.join().expect("no panic");
    });
}

/// A writer is killed, and its successor recovers and goes on, under the eyes of a reader.
#[test]
fn loom_recover_and_read() {
    explore("recovery/read", 1, || {
        let disk = ModelDisk::new(64, 4, strong);
        let engine = open(&disk);
        put(&engine, &[("a", "0"), ("b", "0")]);
        let reader = attach(&disk);
        let reader = thread::spawn(move || {
            let at = reader.committed();
            let a = get(&reader, "a", at).expect("committed");
            let b = get(&reader, "b", at).expect("committed");
            assert!(a == b || (a == "1" && b == "2"));
        });
        put(&engine, &[("a", "1"), ("b", "1")]);
        drop(engine);
        let engine = open(&disk);
        put(&engine, &[("b", "2")]);
        reader.join().expect("no panic");
    });
}

/// A walk over all keys meets each that was there, once, while the page that it is in splits.
pub(super) fn split_and_iterate(disk: &ModelDisk) {
    let engine = open(disk);
    for bits in ["00", "01", "10", "11"] {
        put(&engine, &[(&key(&engine, bits, 0), "old")]);
    }
    let new = key(&engine, "01", 1);
    let reader = read(&engine, |engine| {
        let at = engine.committed();
        let mut walk = Walk::new(DEFAULT_TABLE, at);
        let (mut count, pin) = (0, Pin::new());
        while let Some(record) = walk.next(engine.reader(&pin)) {
            count += usize::from(record.expect("sound").value() == b"old");
        }
        assert_eq!(count, 4);
    });
    put(&engine, &[(&new, "new")]);
    reader.join().expect("no panic");
}

#[test]
fn loom_split_and_iterate() {
    explore("split/iterate", 2, || split_and_iterate(&ModelDisk::new(32, 1, strong)));
}

/// A reader with mappings of its own follows into a segment and a part of the index that were not there when it came.
pub(super) fn growth_and_read(disk: &ModelDisk) {
    let engine = open(disk);
    put(&engine, &[("a", "0"), ("filler", &"-".repeat(3900))]);
    for bits in ["00", "01", "10"] {
        put(&engine, &[(&key(&engine, bits, 0), "old")]);
    }
    // As if pages up to the end of the first chunk had been used.
    engine.cells.set_watermark(15);
    let other = attach(disk);
    let reader = thread::spawn(move || {
        let at = other.committed();
        let value = get(&other, "a", at).expect("committed");
        assert_eq!(value == "1", get(&other, "b", at).is_some());
    });
    put(&engine, &[("a", "1"), ("b", &"-".repeat(100))]);
    reader.join().expect("no panic");
}

#[test]
fn loom_growth_and_read() {
    explore("growth/read", 2, || growth_and_read(&ModelDisk::new(64, 3, strong)));
}

fn put_durably(engine: &Engine, key: &str) -> crate::error::Result<u64> {
    let op = Op { table: DEFAULT_TABLE, key: key.as_bytes(), value: Some(b"-") };
    engine.commit(&[op], Some(Durability::Immediate))
}

/// Who has committed durably finds the log durable up to there, whoever has synced it.
pub(super) fn commit_together(disk: &ModelDisk, threads: usize, expected: u32) {
    let engine = open(disk);
    put(&engine, &[("a", "-")]);
    engine.writer().expect("a writer").syncer.expect(expected);
    let before = disk.syncs();
    let commit = |key: &'static str| {
        let (engine, disk) = (Arc::clone(&engine), disk.clone());
        move || {
            let end = put_durably(&engine, key).expect("a sound disk");
            assert!(engine.cells.durable() >= end);
            let durable = disk.durable("log/0000000000", 0, 4096);
            assert!(durable.windows(key.len()).any(|bytes| bytes == key.as_bytes()));
        }
    };
    let keys = ["second", "third"].into_iter().take(threads - 1);
    let others: Vec<_> = keys.map(|key| thread::spawn(commit(key))).collect();
    commit("first")();
    for thread in others {
        thread.join().expect("no panic");
    }
    assert_eq!(engine.cells.durable(), engine.committed());
    // The one before the pages of a segment are evicted may come on top.
    assert!((1..=threads as u64 + 1).contains(&(disk.syncs() - before)));
}

#[test]
fn loom_commit_together() {
    explore("group commit, 2 threads", 2, || {
        commit_together(&ModelDisk::new(32, 1, strong).crowded(), 2, 1)
    });
    explore("group commit, 3 threads", 1, || {
        commit_together(&ModelDisk::new(32, 1, strong).crowded(), 3, 1)
    });
    for expected in [2, 3] {
        explore("group commit, 2 threads that wait for each other", 2, move || {
            commit_together(&ModelDisk::new(32, 1, strong).crowded(), 2, expected)
        });
    }
    explore("group commit, 3 threads that wait for each other", 1, || {
        commit_together(&ModelDisk::new(32, 1, strong).crowded(), 3, 3)
    });
}

/// When a sync fails, everyone who waited for one is told, and nobody waits for ever.
#[test]
fn loom_commit_together_on_a_failing_disk() {
    explore("group commit, failing sync", 2, || {
        let disk = ModelDisk::new(32, 1, strong).crowded();
        let engine = open(&disk);
        put(&engine, &[("a", "-")]);
        disk.fail_after(1);
        let other = Arc::clone(&engine);
        let durable = move |key| match put_durably(&other, key) {
            Ok(end) => assert!(other.cells.durable() >= end),
            Err(error) => {
                assert!(other.writer.as_ref().is_some_and(|w| w.syncer.poisoned()), "{error}")
            }
        };
        let thread = thread::spawn({
            let durable = durable.clone();
            move || {
                durable("second");
                durable("third");
            }
        });
        durable("first");
        thread.join().expect("no panic");
    });
}

/// A segment is compacted and removed beside a reader that holds nothing, and one that holds a snapshot's mark.
pub(super) fn compact_and_read(disk: &ModelDisk) {
    let engine = open(disk);
    put(&engine, &[("kept", "0"), ("gone", "0"), ("filler", &"-".repeat(3888))]);
    put(&engine, &[("filler", "-")]);
    // Where the next commit ends.
    let end = engine.committed() + 48;
    let reader = read(&engine, move |engine| {
        let found = engine.fresh(|at| {
            let pin = Pin::new();
            let found = engine.reader(&pin).get(DEFAULT_TABLE, b"kept", at)?;
            Ok(found.map(|record| record.value().to_vec()))
        });
        assert!(matches!(found.expect("sound").as_deref(), Some(b"0" | b"1")));
        let start = engine.hold().expect("no failure");
        let old = get(engine, "gone", start);
        assert_eq!(old.as_deref(), Some(if start < end { "0" } else { "1" }));
        engine.unhold(start);
    });
    put(&engine, &[("gone", "1")]);
    while !engine.compact_step(Effort::Thorough, 1 << 20).expect("space").done {}
    reader.join().expect("no panic");
    while !engine.compact_step(Effort::Thorough, 1 << 20).expect("space").done {}
    assert_eq!(engine.log.numbers().expect("readable").first(), Some(&1), "segment 0 is gone");
}

#[test]
fn loom_compact_and_read() {
    explore("segment removed/read", 1, || compact_and_read(&ModelDisk::new(64, 3, strong)));
}

/// Who waits for a commit is woken by it; loom takes one that sleeps for ever for a deadlock.
pub(super) fn wait_and_publish(disk: &ModelDisk) {
    let engine = open(disk);
    let before = engine.committed();
    let waiter = read(&engine, move |engine| {
        let after = engine.wait(before, Duration::MAX).expect("sound");
        assert!(after.is_some_and(|after| after > before));
    });
    put(&engine, &[("a", "1")]);
    waiter.join().expect("no panic");
}

#[test]
fn loom_wait_and_publish() {
    explore("wait/publish", 2, || wait_and_publish(&ModelDisk::new(32, 1, strong)));
}

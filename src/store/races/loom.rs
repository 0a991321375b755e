//! The protocols that have readers: each is explored, and nothing may be found.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as Count, Ordering::Relaxed};

use loom::thread;

use crate::format::hash::Hash;
use crate::options::{Durability, Options};
use crate::store::{DEFAULT_TABLE, Engine, Op, Walk};
use crate::sys::model::ModelDisk;

/// Runs `model` in every order, with so many switches from threads that could go on; more in the long form.
pub(super) fn explore(name: &str, switches: usize, model: impl Fn() + Send + Sync + 'static) {
    let long = std::env::var("MAPSTONE_LONG").ok().and_then(|text| text.parse::<u64>().ok());
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 200_000;
    builder.preemption_bound = Some(switches + usize::from(long.is_some()));
    builder.max_duration = long.map(std::time::Duration::from_secs);
    let runs = Arc::new(Count::new(0));
    let counted = Arc::clone(&runs);
    let start = std::time::Instant::now();
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        model();
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
    let found = engine.get(DEFAULT_TABLE, key.as_bytes(), at).expect("sound");
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
    explore("publish/read", 2, || publish_and_read(&ModelDisk::new(16, 1, strong)));
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
    explore("split and doubling/read", 2, || split_and_read(&ModelDisk::new(16, 1, strong)));
}

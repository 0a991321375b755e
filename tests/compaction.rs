//! Compaction: space comes back, and nothing else changes.

use std::collections::BTreeMap;
use std::path::Path;

use mapstone::{Options, Store};

#[cfg(feature = "sim")]
#[path = "compaction/buried.rs"]
mod buried;
#[cfg(feature = "sim")]
#[path = "compaction/cut_short.rs"]
mod cut_short;
#[cfg(feature = "sim")]
#[path = "compaction/full.rs"]
mod full;
#[path = "compaction/verified.rs"]
mod verified;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(1 << 16).background(false);
    options
}

fn key(i: u32) -> Vec<u8> {
    format!("key {i}").into_bytes()
}

fn value(i: u32, round: u32) -> Vec<u8> {
    format!("value {i} of round {round} ").repeat(5).into_bytes()
}

fn put(store: &Store, model: &mut Model, i: u32, round: u32) {
    store.put(key(i), value(i, round)).expect("space");
    model.insert(key(i), value(i, round));
}

fn delete(store: &Store, model: &mut Model, i: u32) {
    store.delete(key(i)).expect("space");
    model.remove(&key(i));
}

fn check(store: &Store, model: &Model) {
    let snapshot = store.snapshot().expect("a snapshot");
    let mut seen = Model::new();
    for item in &snapshot {
        let (key, value) = item.expect("sound");
        assert!(seen.insert(key.to_vec(), value.to_vec()).is_none());
    }
    assert!(seen == *model, "{} entries, {} in the model", seen.len(), model.len());
    for (key, value) in model {
        assert_eq!(store.get(key).expect("sound").as_deref(), Some(&value[..]));
    }
    drop(snapshot);
    let report = store.verify().expect("readable");
    assert!(report.is_ok(), "{:#?}", report.damage);
}

fn log_bytes(path: &Path) -> u64 {
    let files = std::fs::read_dir(path.join("log")).expect("the log");
    files.map(|file| file.expect("a file").metadata().expect("its size").len()).sum()
}

#[test]
fn overwritten_space_comes_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = options().open(&path).expect("a new store");
    let mut model = Model::new();
    for round in 0..10 {
        for i in 0..2000 {
            put(&store, &mut model, i, round);
        }
    }
    let before = log_bytes(&path);
    let done = store.compact(|_| true).expect("space");
    let after = log_bytes(&path);
    let live = store.stats().expect("figures").live_bytes;
    assert!(
        after < 2 * live + (2 << 16),
        "{before} bytes became {after}, of which {live} are live"
    );
    assert!(done.freed > 0 && done.done && done.held == 0, "{done:?}");
    check(&store, &model);
    drop(store);
    let store = options().open(&path).expect("closed cleanly");
    check(&store, &model);
    for i in 0..2000 {
        put(&store, &mut model, i, 11);
    }
    check(&store, &model);
}

#[test]
fn deleted_keys_leave_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = options().open(&path).expect("a new store");
    let mut model = Model::new();
    // So many that it hardly matters what the hash is seeded with.
    for i in 0..80_000 {
        put(&store, &mut model, i, 0);
    }
    let index = store.verify().expect("readable").pages;
    for i in (0..80_000).filter(|i| i % 10 != 0) {
        delete(&store, &mut model, i);
    }
    store.compact(|_| true).expect("space");
    check(&store, &model);
    let report = store.verify().expect("readable");
    assert!(report.pages * 5 < index, "{index} pages became {}", report.pages);
    assert_eq!(report.records, 8000, "no tombstones are left, but in the last segment");
    let stats = store.stats().expect("figures");
    assert!(log_bytes(&path) < 2 * stats.live_bytes + (2 << 16));
    drop(store);
    let store = options().open(&path).expect("closed cleanly");
    check(&store, &model);
    for i in 0..80_000 {
        put(&store, &mut model, i, 1);
    }
    check(&store, &model);
}

#[test]
fn a_snapshot_keeps_what_it_sees() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = options().open(&path).expect("a new store");
    let reader = options().open_read_only(&path).expect("beside the writer");
    let mut model = Model::new();
    for i in 0..3000 {
        put(&store, &mut model, i, 0);
    }
    let old = model.clone();
    let here = store.snapshot().expect("a snapshot");
    let there = reader.snapshot().expect("a snapshot");
    for round in 1..4 {
        for i in 0..3000 {
            if i % 3 == 0 {
                delete(&store, &mut model, i);
            } else {
                put(&store, &mut model, i, round);
            }
        }
        let done = store.compact(|_| true).expect("space");
        assert!(done.held > 0 && done.freed == 0, "{done:?}");
        for snapshot in [&here, &there] {
            for (key, value) in &old {
                assert_eq!(snapshot.get(key).expect("sound").as_deref(), Some(&value[..]));
            }
            assert_eq!(snapshot.iter().count(), old.len());
        }
    }
    let holders = store.holders().expect("readable");
    assert_eq!(holders[0].pid, Some(std::process::id()));
    assert_eq!(holders[0].position, here.position().as_u64());
    assert!(holders[0].age.is_some());
    drop((here, there));
    assert!(store.holders().expect("readable").is_empty());
    let done = store.compact(|_| true).expect("space");
    assert!(done.freed > 0 && done.held == 0, "{done:?}");
    check(&store, &model);
    check(&reader, &model);
}

#[cfg(feature = "sim")]
#[test]
fn records_move_before_they_are_too_old() {
    const AGE: u64 = 1 << 20;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = options().rigged_span(AGE, u64::MAX).open(&path).expect("a new store");
    let mut model = Model::new();
    for i in 0..300 {
        put(&store, &mut model, i, 0);
    }
    for round in 0..60 {
        for i in 1000..1200 {
            put(&store, &mut model, i, round);
        }
        store.compact(|_| true).expect("space");
        let names = std::fs::read_dir(path.join("log")).expect("the log");
        let names = names.map(|file| file.expect("a file").file_name().into_string());
        let numbers = names.filter_map(|name| name.ok()?.parse::<u64>().ok());
        let oldest = numbers.min().expect("a segment") << 16;
        assert!(store.position().as_u64() - oldest < AGE + (3 << 16), "round {round}");
    }
    check(&store, &model);
    assert!(store.position().as_u64() > AGE);
}

/// The largest number of bytes from the oldest segment to the end of the log.
#[cfg(feature = "sim")]
#[test]
fn a_log_that_spans_too_much_is_full_until_it_is_compacted() {
    const MOST: u64 = 1 << 20;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = options().rigged_span(MOST / 2, MOST).open(&path).expect("a new store");
    let mut model = Model::new();
    let fill = |model: &mut Model, count: u32| {
        for i in 0..20_000 {
            match store.put(key(i % count), value(i % count, i)) {
                Ok(()) => drop(model.insert(key(i % count), value(i % count, i))),
                Err(mapstone::Error::Full { .. }) => return true,
                Err(other) => panic!("{other}"),
            }
        }
        false
    };
    assert!(fill(&mut model, 100), "nobody compacts");
    assert!(store.position().as_u64() < MOST + (1 << 16));
    check(&store, &model);
    let refused = store.put_with("more", 3, |_| {});
    assert!(matches!(refused, Err(mapstone::Error::Full { .. })), "{refused:?}");
    store.compact(|_| true).expect("space");
    store.put("more", "now").expect("space");
    model.insert(b"more".to_vec(), b"now".to_vec());
    check(&store, &model);
    // Of a log that is full of what is alive some has to go first.
    for _ in 0..3 {
        assert!(fill(&mut model, 20_000), "all is alive");
        store.compact(|_| true).expect("space");
    }
    assert!(store.stats().expect("figures").live_bytes > MOST / 2);
    for i in 0..10_000 {
        delete(&store, &mut model, i);
        if i % 500 == 0 {
            store.compact(|_| true).expect("space");
        }
    }
    store.compact(|_| true).expect("space");
    store.put("more", "again").expect("space");
    model.insert(b"more".to_vec(), b"again".to_vec());
    check(&store, &model);
}

/// One that was drained before waits for nobody, one that was drained after it but is older for a snapshot.
#[test]
fn compaction_ends_while_a_snapshot_is_held() {
    for steps in 0..12 {
        let dir = tempfile::tempdir().expect("a directory");
        let store = options().open(dir.path().join("store")).expect("a new store");
        let mut model = Model::new();
        for i in 0..600 {
            put(&store, &mut model, i, 0);
        }
        for i in 100..600 {
            put(&store, &mut model, i, 1);
        }
        for _ in 0..steps {
            store.compact_step(1 << 20).expect("space");
        }
        let (snapshot, before) = (store.snapshot().expect("a snapshot"), model.clone());
        for i in 0..600 {
            put(&store, &mut model, i, 2);
        }
        let ends = (0..3000).any(|_| store.compact_step(1 << 20).expect("space").done);
        assert!(ends, "after {steps} steps");
        for (key, value) in &before {
            assert_eq!(snapshot.get(key).expect("held").as_deref(), Some(&value[..]));
        }
        drop(snapshot);
        let done = store.compact(|_| true).expect("space");
        assert_eq!(done.held, 0, "after {steps} steps");
        check(&store, &model);
    }
}

/// What `usage` says is a hint: whatever it is, nothing is removed that somebody needs.
#[test]
fn a_damaged_usage_destroys_nothing() {
    for (word, says) in (0..3).flat_map(|word| [0, 1, 49, 4097, u64::MAX].map(|says| (word, says)))
    {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("store");
        let store = options().open(&path).expect("a new store");
        let mut model = Model::new();
        for round in 0..2 {
            for i in 0..800 {
                put(&store, &mut model, i, round);
            }
        }
        drop(store);
        // A page of header, then four words for each segment (docs/format.md).
        let file = path.join("usage");
        let mut bytes = std::fs::read(&file).expect("a file");
        for number in 0..8 {
            bytes[4096 + 32 * number + 8 * word..][..8].copy_from_slice(&u64::to_le_bytes(says));
        }
        std::fs::write(&file, bytes).expect("a file");
        let store = options().open(&path).expect("a hint");
        let done = store.compact(|_| true).expect("space");
        assert!(done.done);
        for (key, value) in &model {
            assert_eq!(
                store.get(key).expect("sound").as_deref(),
                Some(&value[..]),
                "{word} {says}"
            );
        }
        drop(store);
        let store = options().open(&path).expect("closed cleanly");
        assert_eq!(store.snapshot().expect("a snapshot").iter().count(), model.len());
    }
}

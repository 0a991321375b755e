//! A verification by another handle, beside a writer that compacts and makes and drops tables.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mapstone::{Options, Store};

/// Makes a table anew, fills it, and has what it was before compacted away.
fn turn_over(store: &Store, round: u32) {
    let name = format!("table {}", round % 5);
    let table = store.table(&name).expect("space");
    let mut batch = store.batch();
    for i in 0..40u32 {
        batch.put_in(&table, i.to_le_bytes(), [1; 50]).expect("short");
    }
    batch.commit().expect("space");
    store.drop_table(&name).expect("a table");
    store.compact_step(1 << 20).expect("space");
}

/// What one verification calls damage was not there for the next: compaction had taken what the first was told to look for.
#[test]
fn a_verification_beside_compaction_finds_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store =
        Options::new().segment_size(1 << 16).background(false).open(&path).expect("a store");
    // What makes a verification last for a while.
    let mut batch = store.batch();
    for i in 0..30_000u32 {
        batch.put(i.to_le_bytes(), [1; 50]).expect("short");
    }
    batch.commit().expect("space");
    turn_over(&store, 0);
    let reader = Store::open_read_only(&path).expect("a store");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                turn_over(&store, round);
            }
        });
        let until = Instant::now() + Duration::from_secs(2);
        let mut found = Vec::new();
        while Instant::now() < until && found.is_empty() {
            found = reader.verify().expect("a store").damage;
        }
        done.store(true, Ordering::Relaxed);
        assert!(found.is_empty(), "{found:?}");
    });
}

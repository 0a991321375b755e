//! Backups beside a writer that never stops, with compaction all the time, in this process and in another.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use mapstone::sim::{Point, at_points};
use mapstone::{Options, Store};

use super::rounds::long;
use super::{content, copied, ground, options, put, segments, sound};

const KEYS: u64 = 400;

/// Every commit gives all keys one number, so that a backup with two of them is of no commit.
fn write_all(store: &Store, number: u64) {
    let mut batch = store.batch();
    for key in 0..KEYS {
        // Some come and go.
        if (key + number).is_multiple_of(7) {
            batch.delete(key.to_le_bytes()).expect("short");
        } else {
            batch.put(key.to_le_bytes(), number.to_le_bytes()).expect("short");
        }
    }
    batch.commit().expect("space");
}

fn is_one_commit(content: &std::collections::BTreeMap<Vec<u8>, Vec<u8>>) -> u64 {
    let number =
        u64::from_le_bytes(content.values().next().expect("keys")[..].try_into().expect("8"));
    for key in 0..KEYS {
        let value = content.get(&key.to_le_bytes()[..]).map(|value| &value[..]);
        let expected = number.to_le_bytes();
        let expected = (!(key + number).is_multiple_of(7)).then_some(&expected[..]);
        assert_eq!(value, expected, "key {key} as of commit {number}");
    }
    number
}

#[test]
fn a_backup_beside_a_writer_that_never_stops_is_of_one_commit() {
    let ground = ground();
    let mut options = Options::new();
    options.segment_size(1 << 16).checkpoint_interval(1 << 18).compaction(20);
    let store = options.open(&ground.store).expect("a new store");
    write_all(&store, 1);
    let reader = options.open_read_only(&ground.store).expect("a store");
    let end = Instant::now() + long().unwrap_or(Duration::from_secs(4));
    let stop = AtomicBool::new(false);
    let (mut backups, mut removed, mut last) = (0, 0, 0);
    std::thread::scope(|scope| {
        let (store, stop) = (&store, &stop);
        let writer = scope.spawn(move || {
            let mut number = 2;
            while !stop.load(Relaxed) {
                write_all(store, number);
                number += 1;
            }
            number
        });
        // On a busy machine it takes longer to come to anything.
        let patience = end + Duration::from_secs(120);
        while !writer.is_finished()
            && (Instant::now() < end || removed == 0 && Instant::now() < patience)
        {
            let source = if backups % 2 == 0 { &reader } else { store };
            let dest = if backups % 5 == 4 {
                ground.dest.with_extension("copies")
            } else {
                ground.dest.clone()
            };
            let way = if backups % 5 == 4 { copied() } else { mapstone::BackupOptions::new() };
            let report = source.backup_with(&dest, &way, |_| ()).expect("a backup");
            let number = is_one_commit(&sound(&dest));
            assert!(backups % 5 == 4 || number >= last, "backups go forward");
            last = number.max(last);
            removed += report.removed;
            backups += 1;
        }
        stop.store(true, Relaxed);
        println!(
            "{backups} backups, {removed} segments removed from them, beside {} commits",
            writer.join().expect("no panic")
        );
    });
    assert!(backups > 3 && removed > 0, "{backups} backups, {removed} segments removed");
}

/// The position is held while the backup is made: what compaction would remove meanwhile stays.
#[test]
pub(super) fn compaction_in_the_middle_of_a_backup_takes_nothing_from_it() {
    for point in [Point::BackupMarked, Point::BackupSegment, Point::BackupBrought] {
        let ground = ground();
        let store = options().open(&ground.store).expect("a new store");
        put(&store, 0..2000, 1);
        let expected = content(&store);
        let (other, times) = (store.clone(), std::cell::Cell::new(0));
        at_points(Some(Box::new(move |reached| {
            if reached == point && times.replace(times.get() + 1) == 0 {
                at_points_off(&other);
            }
        })));
        let result = store.backup(&ground.dest);
        at_points(None);
        result.expect("a backup");
        assert!(sound(&ground.dest) == expected, "{point:?}");
        store.compact(|_| true).expect("space");
        assert!(segments(&ground.store).len() < 14, "the position is given back");
    }
}

/// Overwrites everything, and compacts, in a thread of its own, which has no points.
fn at_points_off(store: &Store) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            put(store, 0..2000, 2);
            store.compact(|_| true).expect("space");
        });
    });
}

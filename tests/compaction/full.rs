//! Compaction on a full disk: what needs no space is done, what does is an error and is done later.

use std::time::{Duration, Instant};

use mapstone::sim::SimDisk;
use mapstone::{Error, Options, Store};

const SEGMENT: u64 = 1 << 16;
const PAGE: u64 = 4096;
const KEYS: u32 = 2000;

fn store(disk: &SimDisk) -> Store {
    let mut options = Options::new();
    options.segment_size(SEGMENT).checkpoint_interval(1 << 30).background(false);
    options.open_sim(disk).expect("a store")
}

fn value(i: u32, round: u32) -> [u8; 100] {
    let mut value = [0; 100];
    value[..4].copy_from_slice(&i.to_le_bytes());
    value[4..8].copy_from_slice(&round.to_le_bytes());
    value
}

fn put(store: &Store, i: u32, round: u32) -> mapstone::Result<()> {
    store.put(i.to_le_bytes(), value(i, round)).map(drop)
}

/// The round of each key is right, and nothing is damaged.
fn check(store: &Store, round: impl Fn(u32) -> u32) {
    for i in 0..KEYS {
        let found = store.get(i.to_le_bytes()).expect("sound");
        assert_eq!(found.as_deref(), Some(&value(i, round(i))[..]), "key {i}");
    }
    let report = store.verify().expect("readable");
    assert!(report.is_ok(), "{:#?}", report.damage);
}

/// A disk as full as it can be: there is no block left, and no room in the last segment.
fn fill(disk: &SimDisk, store: &Store) {
    put(store, KEYS, 0).expect("space");
    disk.capacity(Some(disk.used()));
    // Of one key, which needs none in the index.
    let full = (1..10_000).find_map(|n| put(store, KEYS, n).err());
    assert!(matches!(full, Some(Error::Full { .. })), "{full:?}");
}

/// Compacts to the end. What is unlinked takes space for as long as any thread looks at a value: here those of other tests do.
fn compact(store: &Store) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        match store.compact(|_| true) {
            Ok(done) => return assert!(done.done && done.held == 0, "{done:?}"),
            Err(Error::Full { .. }) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// The store opened again, so that nothing that is unlinked is mapped any more.
fn reopened(disk: &SimDisk, old: Store) -> Store {
    drop(old);
    store(disk)
}

/// Bytes of the log for each that is alive, but for two segments.
fn assert_small(store: &Store) {
    let stats = store.stats().expect("figures");
    let log = stats.segments * SEGMENT;
    assert!(log < stats.live_bytes * 3 / 2 + 2 * SEGMENT, "{stats:?}");
}

/// Every other key is overwritten: no segment is dead as a whole.
fn half_dead(disk: &SimDisk) -> Store {
    let store = store(disk);
    for i in 0..KEYS {
        put(&store, i, 0).expect("space");
    }
    for i in (0..KEYS).step_by(2) {
        put(&store, i, 1).expect("space");
    }
    fill(disk, &store);
    store
}

fn halves(i: u32) -> u32 {
    u32::from(i.is_multiple_of(2))
}

#[test]
fn segments_that_hold_nothing_go_without_any_space() {
    for rounds in [2, 5] {
        let disk = SimDisk::new(rounds.into());
        let store = store(&disk);
        for round in 0..rounds {
            for i in 0..KEYS {
                put(&store, i, round).expect("space");
            }
        }
        fill(&disk, &store);
        let before = store.stats().expect("figures").segments;
        compact(&store);
        assert_small(&store);
        assert!(store.stats().expect("figures").segments + 3 < before);
        check(&store, |_| rounds - 1);
        let store = reopened(&disk, store);
        put(&store, 0, rounds - 1).expect("space came back");
    }
}

#[test]
fn without_space_to_move_to_nothing_changes_and_later_all_is_done() {
    for missing in [SEGMENT, PAGE, 1] {
        let disk = SimDisk::new(missing);
        let store = half_dead(&disk);
        let full = disk.used();
        disk.capacity(Some(full + SEGMENT - missing));
        for _ in 0..3 {
            let error = store.compact(|_| true).expect_err("less than one segment of space");
            assert!(matches!(error, Error::Full { .. }), "{error}");
        }
        check(&store, halves);
        assert!(put(&store, 0, 1).is_err(), "the disk is full for puts as well");
        let snapshot = store.snapshot().expect("needs no space");
        assert_eq!(
            snapshot.get(1u32.to_le_bytes()).expect("sound").as_deref(),
            Some(&value(1, 0)[..])
        );
        drop(snapshot);
        // A file of somebody else goes.
        disk.capacity(Some(full + SEGMENT));
        compact(&store);
        assert_small(&store);
        check(&store, halves);
        let store = reopened(&disk, store);
        for i in 0..KEYS / 4 {
            put(&store, i, 7).expect("space came back");
        }
        check(&store, |i| if i < KEYS / 4 { 7 } else { halves(i) });
        disk.capacity(None);
        drop(store);
        check(&self::store(&disk), |i| if i < KEYS / 4 { 7 } else { halves(i) });
    }
}

/// A crash on the full disk changes nothing of this.
#[test]
fn a_crash_on_a_full_disk_loses_nothing_and_compaction_goes_on() {
    for power in [false, true] {
        let disk = SimDisk::new(3);
        let store = half_dead(&disk);
        store.sync().expect("needs no space");
        assert!(store.compact(|_| true).is_err());
        let next = if power { disk.power_cut() } else { disk.process_kill() };
        drop(store);
        // A recovery takes one segment and a few pages of the index, compaction another.
        next.capacity(Some(next.used() + 2 * SEGMENT + 4 * PAGE));
        let store = self::store(&next);
        check(&store, halves);
        compact(&store);
        assert_small(&store);
        check(&store, halves);
    }
}

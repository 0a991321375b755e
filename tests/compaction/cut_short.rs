//! Compaction that ends with the process or the power, at each of its points.

use mapstone::sim::{Point, SimDisk, at_points};
use mapstone::{Options, Store};

const KEYS: u32 = 24_000;

fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(1 << 16).checkpoint_interval(1 << 30).background(false);
    options
}

fn key(i: u32) -> Vec<u8> {
    i.to_le_bytes().to_vec()
}

fn value(i: u32) -> [u8; 9] {
    [i.to_le_bytes()[0]; 9]
}

/// Many keys, of which nine in ten are deleted, durably.
fn prepared(disk: &SimDisk) -> Store {
    let store = options().open_sim(disk).expect("a new store");
    for delete in [false, true] {
        let mut batch = store.batch();
        for i in (0..KEYS).filter(|i| !delete || i % 10 != 0) {
            let done = if delete { batch.delete(key(i)) } else { batch.put(key(i), value(i)) };
            done.expect("short");
        }
        batch.commit().expect("space");
        store.checkpoint().expect("space");
    }
    store
}

fn check(store: &Store, what: &str) {
    let report = store.verify().expect("readable");
    assert!(report.is_ok(), "{what}: {:#?}", &report.damage[..report.damage.len().min(5)]);
    for i in 0..KEYS {
        let found = store.get(key(i)).expect("sound");
        assert_eq!(found.as_deref(), (i % 10 == 0).then_some(&value(i)[..]), "{what}: {i}");
    }
}

/// Compacts until `point` is reached the n-th time; the disk of the next life.
fn end_at(point: Point, n: u32, power: bool, seed: u64) -> Option<SimDisk> {
    let disk = SimDisk::new(seed);
    let store = prepared(&disk);
    let (cut, left) = (disk.clone(), std::cell::Cell::new(n));
    at_points(Some(Box::new(move |reached| {
        if reached == point && left.get() > 0 {
            left.set(left.get() - 1);
            if left.get() == 0 {
                cut.cut();
            }
        }
    })));
    // It may notice that the disk is gone.
    let _ = store.compact(|_| !disk.is_cut());
    at_points(None);
    let reached = disk.is_cut();
    let next = if power { disk.power_cut() } else { disk.process_kill() };
    drop(store);
    reached.then_some(next)
}

#[test]
fn compaction_can_end_anywhere() {
    use Point::*;
    let points = [
        TidyBuilt,
        TidyAnnounced,
        TidyLed,
        TidyEnded,
        TrimLowered,
        TrimPunched,
        CompactMoved,
        CompactDrained,
        CompactHorizon,
        CompactReleased,
        CompactBuried,
        CompactSettled,
        CompactUnlinked,
        CompactForgotten,
        CompactRemoved,
        LeadEntry,
        CheckpointBodied,
        CheckpointHeaded,
        CheckpointSet,
    ];
    for (seed, point) in (1..).zip(points) {
        for (n, power) in [(1, false), (1, true), (3, true)] {
            let what = format!("{point:?} {n} {power}");
            let Some(disk) = end_at(point, n, power, seed) else {
                assert!(n > 1, "{what} was not reached");
                continue;
            };
            let store = options().open_sim(&disk).expect("recovery");
            check(&store, &what);
            store.compact(|_| true).expect("space");
            check(&store, &what);
            drop(store);
            check(&options().open_sim(&disk).expect("closed"), &what);
        }
    }
}

/// Compaction goes through a segment while a commit, which overwrites what is alive there, is not published yet: a snapshot of the
/// commit before still needs it.
#[test]
fn what_is_overwritten_by_an_unpublished_commit_is_not_gone() {
    let disk = SimDisk::new(7);
    let store = options().segment_size(4096).open_sim(&disk).expect("a new store");
    store.put("key", "old").expect("space");
    for i in 0..200 {
        store.put("other", [i; 100]).expect("space");
    }
    let snapshot = store.snapshot().expect("a snapshot");
    let compactor = store.clone();
    at_points(Some(Box::new(move |reached| {
        if reached == Point::ApplySlot {
            let compactor = compactor.clone();
            let (done, is_done) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let _ = done.send(compactor.compact(|_| true).map(drop));
            });
            // It has to wait for the commit sooner or later.
            let waited = is_done.recv_timeout(std::time::Duration::from_millis(300));
            assert!(waited.is_err(), "a checkpoint without the writer lock");
        }
    })));
    store.put("key", "new").expect("space");
    at_points(None);
    store.compact(|_| true).expect("space");
    assert_eq!(snapshot.get("key").expect("kept").as_deref(), Some(&b"old"[..]));
    assert_eq!(store.get("key").expect("sound").as_deref(), Some(&b"new"[..]));
}

/// Two checkpoints may have one position, when only compaction has been at work between them: the older one must not be taken
/// for the newest, and the newest must not be written over.
#[test]
fn of_two_checkpoints_at_one_position_the_newer_stays() {
    for seed in 0..12 {
        let disk = SimDisk::new(seed);
        let store = prepared(&disk);
        store.compact(|_| true).expect("space");
        store.put("one", "more").expect("space");
        let cut = disk.clone();
        at_points(Some(Box::new(move |reached| {
            if reached == Point::CheckpointBodied {
                cut.cut();
            }
        })));
        let _ = store.checkpoint();
        at_points(None);
        assert!(disk.is_cut());
        let next = disk.power_cut();
        drop(store);
        let store = options().open_sim(&next).expect("recovery");
        check(&store, &format!("seed {seed}"));
    }
}

/// A checkpoint that fails after it was captured is made again, though nothing was committed since.
#[test]
fn compaction_goes_on_after_a_checkpoint_that_failed() {
    use mapstone::sim::{Call, Fault};
    for after in 0..6 {
        let disk = SimDisk::new(13);
        let store = prepared(&disk);
        disk.fail(Fault { call: Call::Write, after, errno: 28, times: 1 });
        let failed = (0..3000).find_map(|_| store.compact_step(1 << 20).err());
        let ends = (0..3000).any(|_| store.compact_step(1 << 20).expect("mended").done);
        assert!(failed.is_none() || ends, "after {after} writes");
        check(&store, &format!("after {after} writes"));
    }
}

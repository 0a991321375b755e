//! Threads on one handle: writers that take turns, readers that never wait, snapshots that hold still.

use std::sync::atomic::{AtomicBool, Ordering};

use mapstone::{Batch, Options, Snapshot, Store, Table, Value};

fn small(dir: &tempfile::TempDir) -> Store {
    let mut options = Options::new();
    options.segment_size(1 << 16).checkpoint_interval(1 << 18);
    options.open(dir.path().join("store")).expect("a fresh store")
}

#[test]
fn handles_go_where_threads_go() {
    fn anywhere<T: Send + Sync>() {}
    fn elsewhere<T: Send>() {}
    anywhere::<Store>();
    anywhere::<Table>();
    anywhere::<Snapshot>();
    anywhere::<Value<'_>>();
    elsewhere::<Batch>();
}

#[test]
fn readers_see_every_key_while_pages_split_under_them() {
    const KEYS: u32 = 60_000;
    let dir = tempfile::tempdir().expect("a directory");
    let store = small(&dir);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..3u32 {
            let (store, done) = (&store, &done);
            scope.spawn(move || {
                let mut at = seed;
                while !done.load(Ordering::Acquire) {
                    // Keys come in order, so all before the last one that is there must be there.
                    let last = store.get("last").expect("sound");
                    let Some(last) = last.map(|v| *v.view::<u32>().expect("four bytes")) else {
                        continue;
                    };
                    at = at.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
                    let key = at % (last + 1);
                    let value = store.get(key.to_le_bytes()).expect("sound").expect("committed");
                    assert!(*value.view::<u32>().expect("four bytes") >= key);
                    assert!(!store.contains(format!("absent {at}")).expect("sound"));
                }
            });
        }
        let mut batch = store.batch();
        for key in 0..KEYS {
            batch.put(key.to_le_bytes(), key.to_le_bytes()).expect("small");
            batch.put("last", key.to_le_bytes()).expect("small");
            if key % 7 == 0 {
                batch.put((key / 2).to_le_bytes(), key.to_le_bytes()).expect("small");
            }
            batch.commit().expect("space");
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!(store.snapshot().expect("memory").len().expect("sound"), u64::from(KEYS) + 1);
    let verification = store.verify().expect("readable");
    assert!(verification.is_ok(), "{:?}", verification.damage);
}

#[test]
fn writers_take_turns_and_lose_nothing() {
    const THREADS: u32 = 6;
    const PUTS: u32 = 3000;
    let dir = tempfile::tempdir().expect("a directory");
    let store = small(&dir);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = store.clone();
            scope.spawn(move || {
                let table = store.table(&format!("thread {thread}")).expect("space");
                for i in 0..PUTS {
                    store.put((thread * PUTS + i).to_le_bytes(), [1; 9]).expect("space");
                    table.put(i.to_le_bytes(), thread.to_le_bytes()).expect("space");
                    if i % 3 == 0 {
                        assert!(table.delete(i.to_le_bytes()).expect("space"));
                    }
                    if i % 500 == 0 {
                        store.checkpoint().expect("a sound disk");
                    }
                }
            });
        }
    });
    let snapshot = store.snapshot().expect("memory");
    assert_eq!(snapshot.len().expect("sound"), u64::from(THREADS * PUTS));
    for name in snapshot.tables().expect("sound") {
        let table = snapshot.table(&name).expect("sound").expect("listed");
        assert_eq!(table.len().expect("sound"), u64::from(PUTS - PUTS / 3));
    }
    let per_thread = u64::from(PUTS + PUTS - PUTS / 3);
    assert_eq!(store.stats().expect("sound").entries, u64::from(THREADS) * per_thread);
}

#[test]
fn a_snapshot_holds_still_while_everything_is_overwritten() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = small(&dir);
    for key in 0..2000u32 {
        store.put(key.to_le_bytes(), "old").expect("space");
    }
    let snapshot = store.snapshot().expect("memory");
    let position = snapshot.position();
    std::thread::scope(|scope| {
        let writer = store.clone();
        scope.spawn(move || {
            for round in 0..5u32 {
                for key in 0..4000u32 {
                    writer.put(key.to_le_bytes(), round.to_le_bytes()).expect("space");
                }
                for key in 0..500u32 {
                    writer.delete(key.to_le_bytes()).expect("space");
                }
            }
        });
        for _ in 0..5 {
            let mut count = 0;
            for item in &snapshot {
                assert_eq!(&*item.expect("sound").1, b"old");
                count += 1;
            }
            assert_eq!(count, 2000);
        }
    });
    assert_eq!(snapshot.position(), position);
    assert!(store.position() > position);
    assert_eq!(store.snapshot().expect("memory").len().expect("sound"), 3500);
}

#[test]
fn figures_are_in_order_whoever_writes_meanwhile() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = small(&dir);
    let looks = 8_000;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for _ in 0..looks {
                let stats = store.stats().expect("sound");
                assert!(stats.checkpoint <= stats.durable, "{stats:?}");
                assert!(stats.durable <= stats.committed, "{stats:?}");
            }
        });
        for n in 0_u32.. {
            if reader.is_finished() {
                break;
            }
            store.put("key", n.to_le_bytes()).expect("space");
            store.sync().expect("a sound disk");
            if n % 7 == 0 {
                store.checkpoint().expect("space");
            }
        }
    });
}

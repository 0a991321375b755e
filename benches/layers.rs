//! What each layer costs, as far as the public interface can tell them apart: `cargo bench --bench layers`.
//!
//! Stores are small, so that all is in the processor's caches and the figures are instructions rather than memory. What depends on memory
//! is in `figures`, what depends on other stores in the workspace `compare`, replay after a crash in `recovery`.

use std::hint::black_box;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, bench};
use mapstone::{Durability, Options, Store};
use tempfile::TempDir;

const KEYS: u64 = 10_000;

fn main() {
    divan::main();
}

fn key(i: u64) -> [u8; 16] {
    let mut key = [0x5A; 16];
    key[..8].copy_from_slice(&i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    key
}

/// A store with `keys` keys of 16 bytes and values of 100 bytes, and nothing in the background.
fn store(keys: u64) -> (TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut options = Options::new();
    options.background(false).checkpoint_interval(1 << 40);
    let store = options.open(dir.path().join("store")).expect("a store");
    load(&store, keys);
    (dir, store)
}

fn load(store: &Store, keys: u64) {
    let mut batch = store.batch();
    for i in 0..keys {
        batch.put(key(i), [1; 100]).expect("a short key");
        if batch.len() == 1000 {
            batch.commit().expect("room");
        }
    }
    batch.commit().expect("room");
}

/// Numbers below `KEYS` in turn, far apart.
fn numbers() -> impl FnMut() -> u64 {
    let mut next = 0;
    move || {
        next = (next + 7_919) % KEYS;
        next
    }
}

#[bench(args = [8, 16, 64, 1024])]
fn hash(bencher: Bencher, len: usize) {
    let key = vec![7; len];
    bencher.bench_local(|| xxhash_rust::xxh3::xxh3_64_with_seed(black_box(&key), black_box(3)));
}

#[bench(args = [128, 1024, 65536])]
fn checksum(bencher: Bencher, len: usize) {
    let record = vec![7; len];
    bencher.counter(BytesCount::new(len)).bench_local(|| crc32fast::hash(black_box(&record)));
}

#[bench]
fn probe_present(bencher: Bencher) {
    let (_dir, store) = store(KEYS);
    let mut number = numbers();
    bencher.bench_local(|| assert!(store.contains(key(number())).expect("sound")));
}

#[bench]
fn probe_absent(bencher: Bencher) {
    let (_dir, store) = store(KEYS);
    let mut number = numbers();
    bencher.bench_local(|| assert!(!store.contains(key(KEYS + number())).expect("sound")));
}

#[bench]
fn probe_many(bencher: Bencher) {
    let (_dir, store) = store(KEYS);
    let mut number = numbers();
    bencher.counter(ItemsCount::new(32u32)).bench_local(|| {
        let keys: [[u8; 16]; 32] = std::array::from_fn(|_| key(number()));
        let values = store.get_many(&keys).expect("sound");
        assert!(values.iter().all(Option::is_some));
    });
}

#[bench]
fn view(bencher: Bencher) {
    let (_dir, store) = store(1);
    store.put_slice("words", &[7u64; 12]).expect("room");
    let value = store.get("words").expect("sound").expect("just put");
    bencher.bench_local(|| black_box(&value).view_slice::<u64>().expect("words").len());
}

/// Encoding and appending a record, and leading the slot to it.
#[bench(args = [100, 1024, 65536])]
fn append(bencher: Bencher, len: usize) {
    let (_dir, store) = store(KEYS);
    let (value, mut number) = (vec![7; len], numbers());
    bencher
        .counter(BytesCount::new(len))
        .bench_local(|| store.put(key(number()), &value).expect("room"));
}

#[bench(args = [1, 10, 100, 1000])]
fn commit(bencher: Bencher, puts: u32) {
    let (_dir, store) = store(KEYS);
    let (mut batch, mut number) = (store.batch(), numbers());
    bencher.counter(ItemsCount::new(puts)).bench_local(|| {
        for _ in 0..puts {
            batch.put(key(number()), [2; 100]).expect("a short key");
        }
        batch.commit().expect("room")
    });
}

/// New keys into an empty store: every page that there will be comes from a split.
#[bench(sample_count = 10)]
fn split(bencher: Bencher) {
    bencher
        .counter(ItemsCount::new(KEYS))
        .with_inputs(|| store(0))
        .bench_local_refs(|(_, store)| load(store, KEYS));
}

#[bench(sample_count = 20, sample_size = 20)]
fn msync(bencher: Bencher) {
    let (_dir, store) = store(KEYS);
    let (mut batch, mut number) = (store.batch(), numbers());
    bencher.bench_local(|| {
        batch.put(key(number()), [3; 100]).expect("a short key");
        batch.commit_with(Durability::Immediate).expect("room")
    });
}

#[bench]
fn iterate(bencher: Bencher) {
    let (_dir, store) = store(KEYS);
    let snapshot = store.snapshot().expect("sound");
    bencher.counter(ItemsCount::new(KEYS)).bench_local(|| {
        let count = snapshot.iter().filter(|item| item.is_ok()).count();
        assert_eq!(count as u64, KEYS);
    });
}

//! The index takes less than 28 bytes a key, after any batch of a load, with garbage and without.

use std::path::Path;

use mapstone::{Options, Store};

/// What is reserved for the next batch, some 60 pages, counts for more in a smaller index.
const FIRST: u64 = 100_000;
const BATCH: u64 = 1_000;
const MOST: f64 = 28.0;

/// Puts keys that no one has put before.
fn load(store: &Store, keys: std::ops::Range<u64>) {
    let mut batch = store.batch();
    for i in keys {
        batch.put(i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes(), []).expect("a short key");
    }
    batch.commit().expect("room");
}

/// Bytes of the index for each of so many keys.
fn bytes(dir: &Path, keys: u64) -> f64 {
    let len = std::fs::metadata(dir.join("index")).expect("an index").len();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let share = len as f64 / keys as f64;
    share
}

/// Loads so many keys, with a checkpoint after the first `FIRST` if wanted, and says with how many of them, `from` or more, the index
/// took most for each, and how much.
fn worst(from: u64, keys: u64, checkpoint: bool) -> (u64, f64) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = Options::new().background(false).open(&path).expect("a store");
    let mut worst = (0, 0.0);
    for end in (1..=keys / BATCH).map(|batches| batches * BATCH) {
        load(&store, end - BATCH..end);
        if end == FIRST && checkpoint {
            store.checkpoint().expect("room");
        }
        let bytes = bytes(&path, end);
        if end >= from && bytes > worst.1 {
            worst = (end, bytes);
        }
    }
    worst
}

/// Nothing is garbage before the first checkpoint. What is taken beyond the pages in use is what the file has grown by ahead.
#[test]
fn a_load_without_a_checkpoint() {
    let (keys, bytes) = worst(FIRST, 400_000, false);
    assert!(bytes < MOST, "{bytes} with {keys} keys");
}

/// Each page that splits after a checkpoint leaves garbage.
#[test]
fn a_load_after_a_checkpoint() {
    let (keys, bytes) = worst(400_000, 800_000, true);
    assert!(bytes < MOST, "{bytes} with {keys} keys");
}

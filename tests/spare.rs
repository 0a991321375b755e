//! The segment that a load comes to next is made before it does.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use mapstone::{Options, Store};

const SEGMENT: u64 = 8 << 20;
const MIB: u64 = 1 << 20;

fn open(path: &Path) -> Store {
    Options::new().segment_size(SEGMENT).open(path).expect("a store")
}

/// Puts until the log has come to this position.
fn load(store: &Store, to: u64) {
    let value = vec![7; 4000];
    for key in store.position().as_u64().. {
        if store.position().as_u64() >= to {
            return;
        }
        store.put(key.to_le_bytes(), &value).expect("space");
    }
}

/// Puts a MiB at a time until the next segment is there.
fn load_until_made(store: &Store, spare: &Path) {
    load(store, SEGMENT / 2 + MIB);
    let begun = Instant::now();
    while !spare.exists() {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody has made it");
        // The thread that makes it gives way to all others.
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_load_goes_on_in_a_segment_that_was_made_ahead() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let spare = path.join("log/spare");
    let store = open(&path);
    load(&store, SEGMENT / 4);
    assert!(!spare.exists(), "half of the segment is not full");
    load_until_made(&store, &spare);
    let made = fs::metadata(&spare).expect("a file").ino();
    load(&store, SEGMENT + MIB);
    let second = fs::metadata(path.join("log/0000000001")).expect("a segment");
    assert_eq!((second.ino(), second.len()), (made, SEGMENT));
    store.sync().expect("a disk");
    assert!(store.verify().expect("readable").is_ok());

    load(&store, 2 * SEGMENT - MIB);
    store.close().expect("a clean close");
    assert!(!spare.exists(), "its space was not given back");
    let store = Store::open_read_only(&path).expect("a store");
    assert!(store.verify().expect("readable").is_ok());
}

#[test]
fn what_a_killed_writer_had_made_goes_with_the_next_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    open(&path).close().expect("a clean close");
    let spare = path.join("log/spare");
    fs::write(&spare, "left").expect("may");
    let reader = Store::open_read_only(&path).expect("a store");
    assert!(spare.exists(), "a reader changes nothing");
    drop(reader);
    open(&path).close().expect("a clean close");
    assert!(!spare.exists());
}

/// Who shares a store does not know where the log will go on.
#[test]
fn who_shares_a_store_makes_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = Options::new().segment_size(SEGMENT).shared_writer(true).open(&path);
    let store = store.expect("a store");
    load(&store, SEGMENT - MIB);
    std::thread::sleep(Duration::from_millis(100));
    assert!(!path.join("log/spare").exists());
}

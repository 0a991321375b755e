//! Pages of the log are made by a thread of the store's own before a load comes to them.
#![cfg(target_os = "linux")]

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use mapstone::{Options, Store};

/// Bytes that are put at once.
const STEP: u64 = 64 << 10;
const VALUE: [u8; 4000] = [b'v'; 4000];

fn put(store: &Store, bytes: u64) {
    for i in 0..bytes / 4096 {
        store.put(i.to_le_bytes(), VALUE).expect("room");
    }
}

/// Page faults of this thread, whether the page had to be made or was there.
fn faults() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/stat").expect("a kernel that counts");
    let fields = text.rsplit_once(')').expect("a name in parentheses").1;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    [7, 9].iter().map(|at| fields[*at].parse::<u64>().expect("a number")).sum()
}

/// Page faults of a thread that puts 8 MiB, with time for another one to make their pages.
fn faults_of(background: bool) -> u64 {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options::new().background(background).open(dir.path().join("store"));
    let store = options.expect("a store");
    // A load is one as soon as the log has grown by a MiB.
    put(&store, 2 << 20);
    sleep(Duration::from_millis(50));
    let before = faults();
    for _ in 0..(8 << 20) / STEP {
        put(&store, STEP);
        sleep(Duration::from_millis(2));
    }
    faults() - before
}

#[test]
fn pages_are_there_before_the_log_comes_to_them() {
    let alone = faults_of(false);
    // Where all processors are busy the other thread gives way.
    let few = (0..5).map(|_| faults_of(true)).find(|beside| 4 * beside < alone);
    assert!(few.is_some(), "never less than a quarter of {alone} page faults");
}

//! Recoveries that once went wrong, at a scale that the model does not reach.
#![cfg(feature = "sim")]

use mapstone::sim::SimDisk;
use mapstone::{Error, Options, Store};

fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(1 << 16).background(false);
    options
}

const KEYS: u32 = 20_000;

fn assert_complete(store: &Store) {
    let missing = (0..KEYS).filter(|i| store.get(i.to_le_bytes()).expect("sound").is_none());
    assert_eq!(missing.count(), 0);
}

/// A killed writer leaves dirty index pages where its successor never looks; a clean close has to write them all the same.
#[test]
fn a_clean_close_syncs_what_a_killed_writer_left() {
    for seed in 0..10 {
        let first = SimDisk::new(seed);
        let store = options().open_sim(&first).expect("a fresh store");
        let mut batch = store.batch();
        for i in 0..KEYS {
            batch.put(i.to_le_bytes(), i.to_le_bytes()).expect("small");
        }
        batch.commit().expect("space");
        let second = first.process_kill();
        drop((batch, store));
        options().open_sim(&second).expect("recovery").close().expect("a sound disk");
        assert_complete(&options().open_sim(&second.power_cut()).expect("closed cleanly"));
    }
}

/// A live cell that disagrees with the clean record is damage, and not an older state of the store.
#[test]
fn a_damaged_position_is_no_older_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = options().open(&path).expect("a fresh store");
    for i in 0..100u32 {
        store.put(i.to_le_bytes(), "value").expect("space");
    }
    store.close().expect("a sound disk");
    let meta = path.join("meta");
    let mut bytes = std::fs::read(&meta).expect("a file");
    bytes[4096] ^= 0x20;
    std::fs::write(&meta, bytes).expect("its owner may");
    match Store::open_read_only(&path) {
        Err(Error::Corrupt { file, offset: 4096, .. }) => assert_eq!(file, meta),
        other => panic!("{other:?}"),
    }
}

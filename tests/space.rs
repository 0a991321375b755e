//! A lack of space that shows only in a sync is a failed sync, not a full disk that can be tried again.
#![cfg(feature = "sim")]

use mapstone::sim::{Call, Fault, SimDisk};
use mapstone::{Error, Options, Store};

const ENOSPC: i32 = 28;

fn store_on(disk: &SimDisk) -> Store {
    let store = Options::new().background(false).open_sim(disk).expect("a fresh store");
    store.put("key", "value").expect("space");
    store
}

fn assert_poisoned(store: &Store) {
    assert!(matches!(store.put("key", "other"), Err(Error::Poisoned)));
    assert!(matches!(store.sync(), Err(Error::Poisoned)));
    assert_eq!(store.get("key").expect("sound").as_deref(), Some(&b"value"[..]));
}

/// A thin device, or a file system that allocates late, says so when the pages are written.
#[test]
fn a_sync_without_space_poisons_the_handle() {
    let disk = SimDisk::new(1);
    let store = store_on(&disk);
    disk.fail(Fault { call: Call::Msync, after: 0, errno: ENOSPC, times: 1 });
    let result = store.sync();
    assert!(matches!(result, Err(Error::Io { op: "sync", .. })), "{result:?}");
    assert_poisoned(&store);
}

/// The checkpoint file may be on the disk or not: nobody may go on from it.
#[test]
fn a_checkpoint_whose_sync_has_no_space_poisons_the_handle() {
    let disk = SimDisk::new(1);
    let store = store_on(&disk);
    disk.fail(Fault { call: Call::Fsync, after: 0, errno: ENOSPC, times: 1 });
    let result = store.checkpoint();
    assert!(matches!(result, Err(Error::Io { op: "sync", .. })), "{result:?}");
    assert_poisoned(&store);
}

//! Writers that come and die while a reader stays, and readers that look before anyone has recovered.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use mapstone::{Error, Options, Store};

const PLACE: &str = "MAPSTONE_TEST_SHORT_LIFE";
const PUTS: &str = "MAPSTONE_TEST_SHORT_LIFE_PUTS";
/// Where the life of the cells is in `meta` (docs/format.md).
const LIFE: usize = 4096 + 96;

#[test]
fn short_life() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let puts: u32 = std::env::var(PUTS).expect("given").parse().expect("a number");
    let store =
        Options::new().segment_size(4096).background(false).open(place).expect("the writer");
    let from = store.stats().expect("sound").entries;
    for i in from..from + u64::from(puts) {
        store.put(i.to_le_bytes(), i.to_le_bytes()).expect("space");
    }
    std::process::abort();
}

/// A process that opens the store for writing, puts the next keys, and dies.
fn live_shortly(place: &Path, puts: u32) {
    let mut child = Command::new(std::env::current_exe().expect("this binary"));
    child.args(["--exact", "short_life", "--test-threads=1"]);
    child.env(PLACE, place).env(PUTS, puts.to_string());
    let output = child.output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && !said.contains("panicked"), "{said}");
}

/// Each writer begins a segment, or replaces the one that the last began and left empty.
#[test]
fn a_reader_follows_writers_that_write_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("store");
    live_shortly(&place, 1);
    let reader = Store::open_read_only(&place).expect("a store");
    let mut count = 1;
    for puts in [0, 0, 3, 0, 200, 0, 0, 0, 1, 70, 0, 2] {
        let snapshot = reader.snapshot().expect("memory");
        live_shortly(&place, puts);
        assert_eq!(snapshot.len().expect("sound"), count);
        count += u64::from(puts);
        for i in 0..count {
            let value = reader.get(i.to_le_bytes()).expect("sound").expect("committed");
            assert_eq!(*value.view::<u64>().expect("eight bytes"), i);
        }
        assert_eq!(reader.stats().expect("sound").entries, count);
        let verification = reader.verify().expect("readable");
        assert!(verification.is_ok(), "{:?}", verification.damage);
    }
}

/// After a power cut nobody can read before someone has recovered, and whoever tries all the time keeps nobody from it.
#[test]
fn readers_that_cannot_wait_do_not_keep_the_writer_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("store");
    live_shortly(&place, 300);
    // Another life, as after a reboot.
    let mut meta = std::fs::read(place.join("meta")).expect("a file");
    meta[LIFE..LIFE + 8].copy_from_slice(&[0x77; 8]);
    std::fs::write(place.join("meta"), meta).expect("may");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let mut refused = 0;
                    while !done.load(Ordering::Relaxed) {
                        match Store::open_read_only(&place) {
                            Ok(store) => return (refused, store.stats().expect("sound").entries),
                            Err(Error::NeedsRecovery { .. }) => refused += 1,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    (refused, 300)
                })
            })
            .collect();
        std::thread::sleep(std::time::Duration::from_millis(50));
        let opened = Store::open(&place);
        done.store(opened.is_err(), Ordering::Relaxed);
        for reader in readers {
            let (refused, entries) = reader.join().expect("no panic");
            assert!(refused > 0, "nobody had to wait");
            assert_eq!(entries, 300);
        }
        let store = opened.expect("nobody else writes");
        assert!(store.verify().expect("readable").is_ok());
    });
}

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

/// Loads the second half of segment `number`, once somebody has begun to make the next one; tells whether the log went on in that.
fn goes_on_in_it(store: &Store, path: &Path, number: u64) -> bool {
    let spare = path.join("log/spare");
    load(store, number * SEGMENT + SEGMENT / 2 + MIB);
    let begun = Instant::now();
    while !spare.exists() {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody makes it");
        std::thread::sleep(Duration::from_millis(10));
    }
    let made = fs::metadata(&spare).expect("a file").ino();
    // It has a name before it is ready.
    std::thread::sleep(Duration::from_millis(50));
    load(store, (number + 1) * SEGMENT + MIB);
    let next = fs::metadata(path.join(format!("log/{:010}", number + 1))).expect("a segment");
    assert_eq!(next.len(), SEGMENT);
    next.ino() == made
}

#[test]
fn a_load_goes_on_in_a_segment_that_was_made_ahead() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let spare = path.join("log/spare");
    let store = open(&path);
    load(&store, SEGMENT / 4);
    assert!(!spare.exists(), "half of the segment is not full");
    // The thread that makes it gives way to all others, and may come too late.
    let first = (0..20).find(|number| goes_on_in_it(&store, &path, *number));
    let first = first.expect("the log never went on in one");
    store.sync().expect("a disk");
    assert!(store.verify().expect("readable").is_ok());

    load(&store, (first + 2) * SEGMENT - MIB);
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

/// Nobody looks at points any more when this goes, and who waits to be asked there ends.
#[cfg(feature = "sim")]
struct Unwatched;

#[cfg(feature = "sim")]
impl Drop for Unwatched {
    fn drop(&mut self) {
        mapstone::sim::at_points(None);
    }
}

/// The next one is made while the log goes on in this one: both have had the same name.
#[cfg(feature = "sim")]
#[test]
fn one_is_made_while_another_gets_its_name() {
    use mapstone::sim::{Point, at_points};
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = Options::new().segment_size(4096).background(false).open(&path).expect("a store");
    let (ask, asked) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let store = &store;
        scope.spawn(move || asked.iter().for_each(|()| store.make_spare().expect("space")));
        at_points(Some(Box::new(move |point| {
            if point == Point::SpareHeaded {
                ask.send(()).expect("somebody who makes it");
                std::thread::sleep(Duration::from_millis(5));
            }
        })));
        let _unwatched = Unwatched;
        store.make_spare().expect("space");
        for key in 0..100u8 {
            store.put([key], [key; 1000]).expect("a segment to go on in");
            // Time to make one.
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    let reader = Store::open_read_only(&path).expect("a store");
    for key in 0..100u8 {
        let value = reader.get([key]).expect("whole").map(|value| value.to_vec());
        assert_eq!(value, Some(vec![key; 1000]));
    }
    store.close().expect("a clean close");
}

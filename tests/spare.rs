//! The segment that a load comes to next is made before it does. `MAPSTONE_LONG`: seconds for loads that are killed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
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

const PLACE: &str = "MAPSTONE_TEST_PLACE";
/// Keys that the loads below overwrite again and again.
const KEYS: u64 = 20_000;
const BATCH: u64 = 20;

fn value(number: u64) -> Vec<u8> {
    let mut value = vec![(number % 251) as u8; 1000 + (number % 97) as usize];
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}

/// Goes on with the load until it is killed.
#[test]
fn load_for_ever() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let store = open(Path::new(&place));
    let last = store.get("last").expect("sound").map_or(0, |last| *last.view::<u64>().expect("8"));
    for batch in last / BATCH.. {
        let mut draft = store.batch();
        for number in batch * BATCH..(batch + 1) * BATCH {
            draft.put((number % KEYS).to_le_bytes(), value(number)).expect("short");
        }
        draft.put("last", ((batch + 1) * BATCH).to_le_bytes()).expect("short");
        draft.commit().expect("space");
    }
}

/// Nothing that was committed is lost, in whichever segment it is, and all that was committed last is there.
#[test]
fn a_load_that_is_killed_again_and_again_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let long = std::env::var("MAPSTONE_LONG").ok().map(|text| text.parse().expect("seconds"));
    let (begun, long) = (Instant::now(), Duration::from_secs(long.unwrap_or(3)));
    let (mut before, mut made, mut round) = (0, 0, 0u64);
    while begun.elapsed() < long {
        let this = std::env::current_exe().expect("a test");
        let mut child = Command::new(this)
            .args(["load_for_ever", "--exact"])
            .env(PLACE, &path)
            .stdout(Stdio::null())
            .spawn()
            .expect("a process");
        round += 1;
        std::thread::sleep(Duration::from_millis(40 + round * 7919 % 400));
        child.kill().expect("it never ends");
        assert!(!child.wait().expect("its end").success());
        made += u64::from(path.join("log/spare").exists());
        let store = open(&path);
        let last =
            store.get("last").expect("sound").map_or(0, |last| *last.view::<u64>().expect("8"));
        assert!(last >= before, "{last} after {before}");
        for number in last.saturating_sub(KEYS)..last {
            let found = store.get((number % KEYS).to_le_bytes()).expect("sound").expect("a value");
            assert!(*found == *value(number), "{number} of {last}");
        }
        if round.is_multiple_of(8) {
            let damage = store.verify().expect("readable").damage;
            assert!(damage.is_empty(), "{damage:?}");
        }
        before = last;
        store.close().expect("a clean close");
    }
    println!("{round} kills, {made} of them with a segment made ahead; {before} puts");
}

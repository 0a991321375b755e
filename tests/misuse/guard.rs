//! `Options::sigbus_guard`: what it turns into errors, and what it leaves to others.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use libc::{c_int, c_void, siginfo_t};
use mapstone::{Options, Store};

use crate::{
    KEYS, Part, Player, fill, filled, is_lost, key, last_segment, options, truncate, value,
};

pub(crate) const PARTS: &[Part] = &[
    ("unguarded", unguarded),
    ("guarded", guarded),
    ("two threads", two_threads),
    ("lost index", lost_index),
    ("lost meta", lost_meta),
    ("lost under a writer", lost_under_a_writer),
    ("lost before it is opened", lost_before_it_is_opened),
    ("other stores", other_stores),
    ("value in hand", value_in_hand),
    ("handler of the host", handler_of_the_host),
    ("plain handler of the host", plain_handler_of_the_host),
    ("default action", default_action),
    ("handler of the standard library", handler_of_the_standard_library),
    ("sent to the default action", sent_to_the_default_action),
    ("sent and ignored", sent_and_ignored),
    ("fault though ignored", fault_though_ignored),
];

/// The segment that is cut in most parts, and how much of it is left: the first pages.
const CUT: &str = "log/0000000002";
const LEFT: u64 = 16 << 10;

fn reader(path: &Path) -> Store {
    Options::new().sigbus_guard(true).open_read_only(path).expect("a closed store")
}

/// Reads all keys; counts those whose value is there and those that are lost with the file `name`.
fn read_all(store: &Store, name: &str) -> (usize, usize) {
    let (mut there, mut lost) = (0, 0);
    for i in 0..KEYS {
        match store.get(key(i)) {
            Ok(Some(found)) if *found == *value(i) => there += 1,
            // A value in hand is beyond the guard's reach: it may have been cut off since the read.
            Ok(Some(_)) => {
                assert!(is_lost(store.get(key(i)), name), "{i}");
                lost += 1;
            }
            result => {
                assert!(is_lost(result, name), "{i}");
                lost += 1;
            }
        }
    }
    (there, lost)
}

fn in_a_store(part: &str) -> std::process::ExitStatus {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("store");
    drop(filled(&place));
    Player::start(part, &place).end()
}

fn ends_well(part: &str) {
    let end = in_a_store(part);
    assert!(end.success(), "{part}: {end}");
}

fn dies(part: &str) {
    let end = in_a_store(part);
    assert_eq!(end.signal(), Some(libc::SIGBUS), "{part}: {end}");
}

fn unguarded(place: &Path) {
    let store = Store::open_read_only(place).expect("a closed store");
    assert_eq!(read_all(&store, CUT), (KEYS, 0));
    truncate(&place.join(CUT), LEFT);
    read_all(&store, CUT);
}

#[test]
fn without_the_guard_a_truncated_segment_is_fatal() {
    dies("unguarded");
}

fn guarded(place: &Path) {
    let store = reader(place);
    assert_eq!(read_all(&store, CUT), (KEYS, 0));
    let snapshot = store.snapshot().expect("a position");
    truncate(&place.join(CUT), LEFT);
    // Those that come before the first fault can still be read.
    let (there, lost) = read_all(&store, CUT);
    assert!(lost > 0 && there > KEYS / 2 && there + lost == KEYS, "{there} {lost}");
    // From then on nothing in the segment can, and all else can.
    let (there, lost) = read_all(&store, CUT);
    assert!((25..=35).contains(&lost) && there + lost == KEYS, "{there} {lost}");
    let names: Vec<String> = (0..KEYS).map(key).collect();
    assert!(is_lost(store.get_many(&names), CUT));
    assert!(store.get_many(&names[..10]).is_ok_and(|values| values.iter().all(Option::is_some)));
    let first = (0..KEYS).find(|i| store.get(key(*i)).is_err()).expect("one that is lost");
    assert!(is_lost(store.contains(key(first)), CUT));
    assert!(is_lost(snapshot.get(key(first)), CUT));
    let items: Vec<_> = snapshot.iter().collect();
    assert_eq!(items.len(), KEYS);
    assert_eq!(items.iter().filter(|item| item.is_err()).count(), lost);
    assert!(items.into_iter().all(|item| item.is_ok() || is_lost(item, CUT)));
    assert!(!store.contains("absent").expect("the index is whole"));
    let damage = store.verify().expect("readable").damage;
    assert!(damage.iter().any(|damage| damage.file == place.join(CUT)), "{damage:?}");
}

#[test]
fn a_truncated_segment_is_an_error_on_what_is_in_it() {
    ends_well("guarded");
}

fn two_threads(place: &Path) {
    for _ in 0..20 {
        let segment = place.join(CUT);
        let content = fs::read(&segment).expect("a segment");
        let store = reader(place);
        assert_eq!(read_all(&store, CUT), (KEYS, 0));
        let barrier = std::sync::Barrier::new(3);
        let lost = std::thread::scope(|scope| {
            let readers = [(); 2].map(|()| {
                scope.spawn(|| {
                    barrier.wait();
                    crate::eventually(|| Some(read_all(&store, CUT).1).filter(|lost| *lost > 0))
                })
            });
            barrier.wait();
            truncate(&segment, LEFT);
            readers.map(|reader| reader.join().expect("no panic"))
        });
        assert!(lost.iter().all(|lost| *lost <= 35), "{lost:?}");
        drop(store);
        fs::write(&segment, content).expect("put back");
        assert_eq!(read_all(&reader(place), CUT), (KEYS, 0));
    }
}

#[test]
fn two_threads_meet_the_same_loss() {
    ends_well("two threads");
}

fn lost_index(place: &Path) {
    let store = reader(place);
    assert_eq!(read_all(&store, "index"), (KEYS, 0));
    truncate(&place.join("index"), 4096);
    assert_eq!(read_all(&store, "index"), (0, KEYS));
    assert!(is_lost(store.get("absent"), "index"), "an absent key is not known to be absent");
    assert!(store.snapshot().expect("a position").iter().all(|item| is_lost(item, "index")));
}

#[test]
fn a_truncated_index_is_an_error_on_every_read() {
    ends_well("lost index");
}

fn lost_meta(place: &Path) {
    let store = reader(place);
    assert_eq!(read_all(&store, "meta"), (KEYS, 0));
    truncate(&place.join("meta"), 4096);
    assert_eq!(read_all(&store, "meta"), (0, KEYS));
}

#[test]
fn a_truncated_meta_is_an_error_on_every_read() {
    ends_well("lost meta");
}

fn lost_under_a_writer(place: &Path) {
    for (name, len) in [(last_name(place), 4096), ("index".to_owned(), 4096)] {
        let copy = place.with_extension("copy");
        copy_store(place, &copy);
        let store = options().sigbus_guard(true).open(&copy).expect("a closed store");
        fill(&store, KEYS..KEYS + 1);
        let segment = last_name(&copy);
        let name = if name == "index" { name } else { segment };
        truncate(&copy.join(&name), len);
        assert!(is_lost(store.put(key(KEYS), value(KEYS + 1)), &name), "{name}");
        assert!(is_lost(store.put_with("key", 9, |_| ()), &name), "{name}");
        assert!(is_lost(store.delete(key(1)), &name), "{name}");
        assert!(is_lost(store.sync(), &name), "{name}");
        assert!(is_lost(store.checkpoint(), &name), "{name}");
        assert!(is_lost(store.close(), &name), "{name}");
        fs::remove_dir_all(copy).expect("ours");
    }
}

fn last_name(path: &Path) -> String {
    let last = last_segment(path);
    format!("log/{}", last.file_name().and_then(|name| name.to_str()).expect("plain"))
}

fn copy_store(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("log")).expect("a directory");
    for dir in ["", "log"] {
        for entry in fs::read_dir(from.join(dir)).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let name = path.file_name().expect("a name");
                fs::copy(&path, to.join(dir).join(name)).expect("a copy");
            }
        }
    }
}

#[test]
fn a_writer_that_loses_a_mapping_writes_no_more() {
    ends_well("lost under a writer");
}

/// A page that cannot be had is not taken for the end of the log by a recovery.
fn lost_before_it_is_opened(place: &Path) {
    let before = fs::read_dir(place.join("log")).expect("a directory").count();
    let store = reader(place);
    assert_eq!(read_all(&store, CUT), (KEYS, 0));
    truncate(&place.join(CUT), LEFT);
    let (_, lost) = read_all(&store, CUT);
    assert!(lost > 0);
    let opened = options().sigbus_guard(true).open(place).expect("its tail is sound");
    assert!(opened.get(key(0)).expect("another segment").is_some());
    drop(opened);
    assert_eq!(fs::read_dir(place.join("log")).expect("a directory").count(), before);
}

#[test]
fn a_new_handle_judges_the_files_for_itself() {
    ends_well("lost before it is opened");
}

/// A loss in one store is nothing to another.
fn other_stores(place: &Path) {
    let other = place.with_extension("other");
    copy_store(place, &other);
    let (first, second) = (reader(place), reader(&other));
    assert_eq!(read_all(&first, "index"), (KEYS, 0));
    truncate(&place.join("index"), 4096);
    assert_eq!(read_all(&first, "index"), (0, KEYS));
    assert_eq!(read_all(&second, "index"), (KEYS, 0));
    drop(first);
    assert_eq!(read_all(&second, "index"), (KEYS, 0));
    let writer = options().sigbus_guard(true).open(&other).expect("a closed store");
    fill(&writer, KEYS..KEYS + 50);
    writer.close().expect("a clean close");
}

#[test]
fn a_loss_in_one_store_is_nothing_to_another() {
    ends_well("other stores");
}

/// The limit: bytes in the caller's hand become zeros; the next read tells.
fn value_in_hand(place: &Path) {
    let store = reader(place);
    let last = (0..KEYS).rev().find(|i| in_cut(place, *i)).expect("a value in the segment");
    let held = store.get(key(last)).expect("sound").expect("there");
    truncate(&place.join(CUT), LEFT);
    assert!(held.iter().all(|byte| *byte == 0), "pages that are gone");
    assert!(is_lost(store.get(key(last)), CUT));
}

fn in_cut(place: &Path, i: usize) -> bool {
    let content = fs::read(place.join(CUT)).expect("a segment");
    let name = key(i);
    let at = content
        .windows(name.len() + 1)
        .position(|w| w[..name.len()] == *name.as_bytes() && !w[name.len()].is_ascii_digit());
    at.is_some_and(|at| at > 40_000)
}

#[test]
fn a_value_in_hand_becomes_zeros() {
    ends_well("value in hand");
}

/// Touches a page of a mapping that is none of ours and that its file does not reach.
fn foreign_fault(place: &Path) {
    let path = place.with_extension("foreign");
    fs::write(&path, vec![1; 8192]).expect("a file");
    let file = fs::File::open(&path).expect("just made");
    // SAFETY: that the file becomes shorter under the mapping is what this is about; nothing else touches it.
    let map = unsafe { memmap2::Mmap::map(&file) }.expect("a mapping");
    truncate(&path, 0);
    assert_eq!(map[5000], 0);
}

/// Has the guard do its work once, so that it is known to be in place.
fn with_the_guard(place: &Path) {
    let store = reader(place);
    assert_eq!(read_all(&store, CUT), (KEYS, 0));
    truncate(&place.join(CUT), LEFT);
    assert!(read_all(&store, CUT).1 > 0);
}

fn handle(action: usize, flags: c_int) {
    // SAFETY: all zeros is a valid action.
    let mut new = unsafe { std::mem::zeroed::<libc::sigaction>() };
    new.sa_sigaction = action;
    new.sa_flags = flags;
    // SAFETY: a valid action; the one before is not asked for.
    let result = unsafe { libc::sigaction(libc::SIGBUS, &raw const new, std::ptr::null_mut()) };
    assert_eq!(result, 0);
}

static ADDRESS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn host_handler(signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    // SAFETY: a handler with SA_SIGINFO is given a valid one.
    let info = unsafe { &*info };
    // SAFETY: a fault has an address.
    let address = unsafe { info.si_addr() };
    ADDRESS.store(address.addr(), Ordering::Relaxed);
    let status =
        if signal == libc::SIGBUS && address.addr() % 4096 == 5000 % 4096 { 42 } else { 1 };
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(status) };
}

extern "C" fn plain_handler(signal: c_int) {
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(if signal == libc::SIGBUS { 43 } else { 1 }) };
}

fn handler_of_the_host(place: &Path) {
    handle(host_handler as *const () as usize, libc::SA_SIGINFO);
    with_the_guard(place);
    foreign_fault(place);
}

fn plain_handler_of_the_host(place: &Path) {
    handle(plain_handler as *const () as usize, 0);
    with_the_guard(place);
    foreign_fault(place);
}

fn default_action(place: &Path) {
    handle(libc::SIG_DFL, 0);
    with_the_guard(place);
    foreign_fault(place);
}

fn handler_of_the_standard_library(place: &Path) {
    with_the_guard(place);
    foreign_fault(place);
}

fn send() {
    // SAFETY: raises a signal in this thread.
    unsafe { libc::raise(libc::SIGBUS) };
}

fn sent_to_the_default_action(place: &Path) {
    handle(libc::SIG_DFL, 0);
    with_the_guard(place);
    send();
}

fn sent_and_ignored(place: &Path) {
    handle(libc::SIG_IGN, 0);
    with_the_guard(place);
    send();
}

fn fault_though_ignored(place: &Path) {
    handle(libc::SIG_IGN, 0);
    with_the_guard(place);
    foreign_fault(place);
}

#[test]
fn a_foreign_fault_goes_to_the_handler_that_was_there() {
    assert_eq!(in_a_store("handler of the host").code(), Some(42));
    assert_eq!(in_a_store("plain handler of the host").code(), Some(43));
    dies("default action");
    dies("handler of the standard library");
    dies("sent to the default action");
    dies("fault though ignored");
    ends_well("sent and ignored");
}

#[test]
fn the_guard_costs_a_sound_store_nothing_but_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = options().sigbus_guard(true).open(&path).expect("a fresh store");
    fill(&store, 0..KEYS);
    assert_eq!(read_all(&store, "none"), (KEYS, 0));
    crate::assert_holds(&store, 0..KEYS);
    store.close().expect("a clean close");
}

//! What is read from the disk for a get, and for a walk over the log, by a store that memory does not hold.

use std::fs::{self, File};
use std::path::Path;

use mapstone::{Options, ReadAhead, Store};
use rustix::fs::{Advice, fadvise};

const KEYS: u64 = 32_000;
const GETS: u64 = 400;
const PAGE: u64 = 4096;

fn key(i: u64) -> [u8; 8] {
    i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()
}

/// 32 segments, of 1 MiB.
fn make(path: &Path) {
    let store = Options::new().segment_size(1 << 20).open(path).expect("a store");
    let mut batch = store.batch();
    for i in 0..KEYS {
        batch.put(key(i), [b'v'; 1000]).expect("a short key");
        if batch.len() == 1000 {
            batch.commit().expect("room");
        }
    }
    store.close().expect("a sound disk");
}

/// Takes all of the store out of memory. All of it is durable.
fn forget(dir: &Path) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            forget(&path);
        } else {
            let file = File::open(path).expect("a file");
            file.sync_all().expect("a sound disk");
            fadvise(&file, 0, None, Advice::DontNeed).expect("advice");
        }
    }
}

/// Bytes that this process has had read from a disk.
fn read() -> u64 {
    let text = fs::read_to_string("/proc/self/io").expect("a kernel that counts");
    let line = text.lines().find_map(|line| line.strip_prefix("read_bytes:")).expect("such a line");
    line.trim().parse().expect("a number")
}

/// Times that this process has waited for a page from the disk.
fn waits() -> u64 {
    let text = fs::read_to_string("/proc/self/stat").expect("a kernel that counts");
    let fields = text.rsplit_once(')').expect("a name in parentheses").1;
    fields.split_whitespace().nth(9).expect("major faults").parse().expect("a number")
}

fn reader(path: &Path, policy: ReadAhead) -> Store {
    forget(path);
    Options::new().read_ahead(policy).open_read_only(path).expect("a store")
}

fn writer(path: &Path) -> Store {
    forget(path);
    let mut options = Options::new();
    options.read_ahead(ReadAhead::Never).background(false);
    options.open(path).expect("a store")
}

/// Bytes that were read for each get, and waits for a page in all of them.
fn gets(path: &Path, policy: ReadAhead) -> (u64, u64) {
    let store = reader(path, policy);
    let before = (read(), waits());
    for i in 0..GETS {
        let value = store.get(key(i * 7919 % KEYS)).expect("sound").expect("there");
        assert_eq!(value.len(), 1000);
        std::hint::black_box((value[0], value[999]));
    }
    ((read() - before.0) / GETS, waits() - before.1)
}

#[test]
#[cfg(target_os = "linux")]
fn a_get_reads_no_more_than_it_needs_and_a_walk_reads_ahead() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let path = dir.path().join("store");
    make(&path);
    let ((many, _), (few, waits_for_few)) =
        (gets(&path, ReadAhead::Always), gets(&path, ReadAhead::Never));
    println!(
        "bytes read for a get: {many} reading ahead, {few} not; {waits_for_few} waits in {GETS}"
    );
    if many == 0 {
        println!("skipped: this file system reads from no disk");
        return;
    }
    // One of the index, one or two of the record.
    assert!(few <= 3 * PAGE, "{few} bytes read for a get");
    assert!(many > few, "nothing is read ahead anyway");
    // A record in two pages, which is one of four, does not wait for the second one as well.
    assert!(2 * waits_for_few <= 3 * GETS, "{waits_for_few} waits in {GETS} gets");

    let reader = reader(&path, ReadAhead::Never);
    let before = read();
    let absent =
        (0..GETS / 8).filter(|i| reader.get(key(KEYS + i)).expect("sound").is_none()).count();
    let bytes = (read() - before) / absent as u64;
    println!("bytes read for the get of an absent key: {bytes}");
    assert!(bytes <= PAGE + PAGE / 2, "{bytes} bytes read for the get of an absent key");
    drop(reader);

    // What writes has the same policy.
    let store = writer(&path);
    let before = read();
    (0..GETS).for_each(|i| store.put(key(i * 7919 % KEYS), [b'w'; 1000]).expect("room"));
    let bytes = (read() - before) / GETS;
    println!("bytes read for a put: {bytes}");
    assert!(bytes <= 4 * PAGE, "{bytes} bytes read for a put");
    (0..KEYS / 3).for_each(|i| store.put(key(i * 7919 % KEYS), [b'w'; 1000]).expect("room"));
    store.close().expect("a sound disk");

    let store = writer(&path);
    let before = (read(), waits());
    let done = store.compact(|_| true).expect("room");
    let (bytes, waits) = (read() - before.0, waits() - before.1);
    println!(
        "a compaction that read {} bytes had {bytes} read, and waited {waits} times",
        done.read
    );
    assert!(bytes > done.read / 2 && waits < bytes / PAGE / 8);
}

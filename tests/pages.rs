//! How the pages of a store that is written come into memory: ahead of a load, as huge ones in the log, and in the index where that is
//! asked for.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use mapstone::{Options, Store};

const KEYS: u64 = 300_000;
const VALUE: [u8; 100] = [b'v'; 100];
const MIB: u64 = 1 << 20;

fn key(i: u64) -> [u8; 8] {
    i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()
}

/// A thousand keys at a time, with a pause after each.
fn load(store: &Store, pause: Duration) {
    let mut batch = store.batch();
    for i in 0..KEYS {
        batch.put(key(i), VALUE).expect("a short key");
        if batch.len() == 1000 {
            batch.commit().expect("room");
            sleep(pause);
        }
    }
}

/// Bytes that `field` tells of this process's mappings with these rights of the files under `path`.
fn pages(path: &Path, rights: &str, field: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/smaps").expect("a kernel that counts");
    let path = path.to_str().expect("a name in UTF-8");
    let (mut ours, mut sum) = (false, 0);
    for line in text.lines() {
        if line.contains("-s ") || line.contains("-p ") {
            ours = line.contains(rights) && line.contains(path);
        } else if ours && let Some(rest) = line.strip_prefix(field) {
            let number = rest.trim_start_matches(':').trim().trim_end_matches(" kB");
            sum += 1024 * number.parse::<u64>().expect("a number");
        }
    }
    sum
}

/// Bytes of the log that this process has mapped for stores.
fn ready(store: &Path) -> u64 {
    pages(&store.join("log"), " rw-s ", "Rss")
}

/// The nice value of this process's thread of that name.
fn niceness(name: &str) -> i64 {
    let threads = fs::read_dir("/proc/self/task").expect("threads");
    let stats =
        threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok());
    let ours = stats.filter(|stat| stat.contains(&format!("({name})"))).map(|stat| {
        let fields = stat.rsplit_once(')').expect("a name in parentheses").1;
        fields.split_whitespace().nth(16).expect("a nice value").parse().expect("a number")
    });
    ours.max().expect("such a thread")
}

fn dir() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

#[test]
fn pages_are_ready_ahead_of_a_load() {
    let dir = dir();
    for background in [false, true] {
        let path = dir.path().join(format!("{background}"));
        let store = Options::new().background(background).open(&path).expect("a store");
        load(&store, Duration::ZERO);
        let written = store.position().as_u64();
        let is_ready = || ready(&path) >= written + 2 * MIB;
        let begun = Instant::now();
        while background && !is_ready() && begun.elapsed() < Duration::from_secs(20) {
            sleep(Duration::from_millis(5));
        }
        if background {
            assert_eq!(niceness("mapstone-ahead"), 15, "it gives way");
        }
        let found = ready(&path);
        println!("{written} bytes written, {found} ready, background thread: {background}");
        assert_eq!(is_ready(), background, "{found} bytes ready");
    }
}

#[test]
fn nothing_is_ready_ahead_of_commits_that_are_durable_one_by_one() {
    let dir = dir();
    let path = dir.path().join("store");
    let mut options = Options::new();
    let store = options.durability(mapstone::Durability::Immediate).open(&path).expect("a store");
    for i in 0..6 {
        store.put(key(i), vec![b'v'; 200 << 10]).expect("room");
    }
    sleep(Duration::from_millis(50));
    let (found, written) = (ready(&path), store.position().as_u64());
    assert!(found <= written + MIB / 2, "{found} bytes ready, {written} written");
}

/// How many pieces of 2 MiB of this machine's memory are free: the page cache does without where there are none.
fn free_pieces() -> u64 {
    let text = fs::read_to_string("/proc/buddyinfo").expect("a kernel that counts");
    let of_zone = |line: &str| {
        let numbers = line.split_whitespace().skip(4).filter_map(|word| word.parse::<u64>().ok());
        (0u32..).zip(numbers).skip(9).map(|(order, free)| free << (order - 9)).sum::<u64>()
    };
    text.lines().map(of_zone).sum()
}

/// Whether the kernel and the file system of a directory are known to have huge pages for files.
fn has_huge_pages(path: &Path) -> bool {
    const EXT4: i64 = 0xEF53;
    let enabled = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
    let mut numbers = release.split('.').map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let ext4 = rustix::fs::statfs(path).is_ok_and(|found| found.f_type == EXT4);
    ext4 && version >= (6, 16) && enabled.is_ok_and(|enabled| !enabled.contains("[never]"))
}

/// A store's pages may be huge ones here: the kernel, the file system and the machine's memory have them.
fn may_be_huge(path: &Path) -> bool {
    if !has_huge_pages(path) {
        println!("skipped: huge pages, which this kernel may not have for this file system");
    } else if free_pieces() < 256 {
        println!("skipped: huge pages, of which this machine has few to give");
    } else {
        return true;
    }
    false
}

/// MiB of the log and of the index that are mapped to be read as huge pages.
fn huge(store: &Path) -> (u64, u64) {
    let of = |name: &str| pages(&store.join(name), " r--s ", "FilePmdMapped") / MIB;
    let (log, index) = (of("log"), of("index"));
    println!("MiB in huge pages: {log} of the log, {index} of the index");
    (log, index)
}

#[test]
fn the_log_of_a_load_comes_in_huge_pages() {
    let dir = dir();
    if !may_be_huge(dir.path()) {
        return;
    }
    for durable in [false, true] {
        let path = dir.path().join(format!("{durable}"));
        let mut options = Options::new();
        if durable {
            options.durability(mapstone::Durability::Immediate);
        }
        let store = options.open(&path).expect("a store");
        if durable {
            // Each commit would have 2 MiB written.
            (0..100).for_each(|i| store.put(key(i), vec![b'v'; 200 << 10]).expect("room"));
        } else {
            // So slow that the thread which makes pages ahead keeps up however busy the machine is.
            load(&store, Duration::from_millis(2));
        }
        let read = store.snapshot().expect("a mark").iter().filter(|entry| entry.is_ok()).count();
        assert_eq!(read as u64, store.stats().expect("figures").entries);
        let (log, index) = huge(&path);
        assert!(if durable { log == 0 } else { log >= 24 }, "{log} MiB of the log");
        assert_eq!(index, 0, "what is put here and there would be written 2 MiB at a time");
    }
}

#[test]
fn huge_pages_are_had_where_they_are_asked_for() {
    let dir = dir();
    let path = dir.path().join("store");
    if !may_be_huge(dir.path()) {
        return;
    }
    let open = || Options::new().huge_pages(true).open(&path).expect("a store");
    let store = open();
    load(&store, Duration::ZERO);
    assert!((0..KEYS).all(|i| store.contains(key(i)).expect("readable")));
    let (log, index) = huge(&path);
    assert!(log >= 8 && index >= 2, "MiB in huge pages: {log} of the log, {index} of the index");
    let len = fs::metadata(path.join("index")).expect("an index").len();
    assert!(len.is_multiple_of(2 * MIB), "an index of {len} bytes");
    store.close().expect("a sound disk");
    let store = open();
    assert!(store.verify().expect("readable").is_ok());
    assert_eq!(store.stats().expect("figures").entries, KEYS);
}

/// Bytes that this thread has written, or made dirty.
fn dirtied() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/io").expect("a kernel that counts");
    let bytes = text.lines().find_map(|line| line.strip_prefix("write_bytes: ")).expect("a count");
    bytes.parse().expect("a number")
}

/// What was made ready for the load is in pieces of 2 MiB, and dirty, which keeps them in memory: also when another handle goes on.
#[test]
fn little_is_written_at_a_time_right_after_a_load() {
    const PUTS: u64 = 400;
    let dir = dir();
    for again in [false, true] {
        let path = dir.path().join(format!("{again}"));
        let mut store = Store::open(&path).expect("a store");
        load(&store, Duration::from_millis(1));
        store.sync().expect("a sound disk");
        if again {
            store.close().expect("a sound disk");
            store = Store::open(&path).expect("a store");
        }
        let (from, before) = (store.position().as_u64(), dirtied());
        for i in 0..PUTS {
            store.put(key(i), vec![b'w'; 12_000]).expect("room");
            store.sync().expect("a sound disk");
        }
        assert!(store.position().as_u64() > from + 4 * MIB, "behind what was made ready");
        let each = (dirtied() - before) / PUTS;
        println!("{} KiB for each of 12,000 bytes, opened again: {again}", each >> 10);
        assert!(each < 64 << 10, "{each} bytes for each of 12,000");
    }
}

//! Damage that once misled a recovery, an open or a verification; each test is about one place.
#![cfg(feature = "sim")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::time::Duration;

use mapstone::sim::{Call, Fault, Point, SimDisk, at_points};
use mapstone::{Error, Options, Result, Store};

type Files = BTreeMap<String, Vec<u8>>;

/// Where the cells are in `meta` (docs/format.md).
const COMMITTED: usize = 4096;
const DIRECTORY: usize = 4104;
const DURABLE: usize = 4160;
const CHECKPOINT: usize = 4168;
const SEQUENCE: usize = 4176;
const WATERMARK: usize = 4184;
const SUSPECT: usize = 4208;
const PAGES: usize = 4216;
const SPLIT_TO: usize = 4232;
const COUNTERS: [usize; 2] = [4288, 4352];
const CLEAN: usize = 8192;
const PAGE: usize = 4096;

fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(4096).background(false);
    options
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn set(files: &mut Files, name: &str, at: usize, bytes: &[u8]) {
    files.get_mut(name).expect("a file")[at..at + bytes.len()].copy_from_slice(bytes);
}

fn set_word(files: &mut Files, name: &str, at: usize, word: u64) {
    set(files, name, at, &word.to_le_bytes());
}

fn number(word: u64) -> usize {
    usize::try_from(word).expect("small")
}

fn put(store: &Store, keys: std::ops::Range<u32>) -> Result<()> {
    let mut batch = store.batch();
    for i in keys {
        batch.put(i.to_le_bytes(), format!("value {i}"))?;
    }
    batch.commit().map(drop)
}

/// A store with this many checkpoints and a few pages, and its disk.
fn filled(checkpoints: u32) -> (SimDisk, Store) {
    let disk = SimDisk::new(5);
    let store = options().open_sim(&disk).expect("a new store");
    put(&store, 0..700).expect("space");
    for i in 0..checkpoints {
        put(&store, i..i + 10).expect("space");
        store.checkpoint().expect("space");
    }
    put(&store, 50..60).expect("space");
    (disk, store)
}

/// The files of such a store whose writer was killed, and the page cache they are in.
fn killed(checkpoints: u32) -> (Files, u64) {
    let (disk, store) = filled(checkpoints);
    let left = (disk.files(), disk.page_cache());
    drop(store);
    left
}

fn closed() -> (Files, u64) {
    let (disk, store) = filled(2);
    store.close().expect("space");
    (disk.files(), disk.page_cache())
}

/// The files as they are when this point is reached for the first time.
fn killed_at(point: Point) -> (Files, u64) {
    let disk = SimDisk::new(6);
    let store = options().open_sim(&disk).expect("a new store");
    let seen = Rc::new(RefCell::new(None));
    let (watch, inside) = (disk.clone(), Rc::clone(&seen));
    at_points(Some(Box::new(move |at| {
        if at == point {
            inside.borrow_mut().get_or_insert_with(|| watch.files());
        }
    })));
    put(&store, 0..900).expect("space");
    at_points(None);
    (seen.take().expect("the point is reached"), disk.page_cache())
}

fn open(files: &Files, life: u64) -> Result<Store> {
    options().open_sim(&SimDisk::holding(files, life))
}

#[track_caller]
fn assert_names(result: Result<Store>, name: &str, at: usize) {
    match result {
        Err(Error::Corrupt { file, offset, .. }) => {
            assert!(file.ends_with(name) && offset == at as u64, "{} {offset}", file.display());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_split_is_finished_only_if_both_halves_are_sound() {
    let (mut files, life) = killed_at(Point::SplitAnnounced);
    open(&files, life).expect("sound so far");
    let one = number(word(&files["meta"], SPLIT_TO) & 0xFFFF_FFFF);
    // The depth of the second half.
    set(&mut files, "index", one * PAGE + 16, &[40]);
    let disk = SimDisk::holding(&files, life);
    assert_names(options().open_sim(&disk), "meta", SPLIT_TO - 8);
    assert_eq!(disk.files()["index"], files["index"], "nothing was led to the other half");
}

#[test]
fn pages_are_counted_exactly_wherever_a_split_was_cut_short() {
    use Point::*;
    let splits =
        [SplitBuilt, SplitForeseen, SplitAnnounced, SplitHalf, SplitLed, SplitCounted, SplitEnded];
    for point in splits {
        let (files, life) = killed_at(point);
        let disk = SimDisk::holding(&files, life);
        let reader = options().open_read_only_sim(&disk).expect("a killed store");
        let found = reader.verify().expect("readable").damage;
        assert!(found.is_empty(), "{point:?}: {found:?}");
        let found = open(&files, life).expect("sound").verify().expect("readable").damage;
        assert!(found.is_empty(), "{point:?}: {found:?}");
    }
}

#[test]
fn resume_goes_on_from_no_low_watermark() {
    let (mut files, life) = killed(2);
    let now = word(&files["meta"], WATERMARK);
    set_word(&mut files, "meta", WATERMARK, now & !1 ^ 2);
    assert_names(open(&files, life), "meta", WATERMARK);
}

#[test]
fn resume_goes_on_from_no_wrong_sequence() {
    let (mut files, life) = killed(2);
    let now = word(&files["meta"], SEQUENCE);
    set_word(&mut files, "meta", SEQUENCE, now - 1);
    assert_names(open(&files, life), "meta", SEQUENCE);
}

#[test]
fn resume_goes_on_from_no_wrong_checkpoint() {
    let (mut files, life) = killed(2);
    let now = word(&files["meta"], CHECKPOINT);
    set_word(&mut files, "meta", CHECKPOINT, now - 16);
    assert_names(open(&files, life), "meta", CHECKPOINT);
}

#[test]
fn resume_goes_on_from_no_wrong_number_of_pages() {
    let (files, life) = killed(2);
    let meta = &files["meta"];
    let live = COUNTERS.into_iter().find(|at| word(meta, *at) == word(meta, COMMITTED));
    for at in [live.expect("a set that counts") + 32, PAGES] {
        let mut files = files.clone();
        let now = word(&files["meta"], at);
        set_word(&mut files, "meta", at, now ^ 1);
        assert_names(open(&files, life), "meta", PAGES);
    }
}

/// The file with the newest checkpoint, and the other.
fn newest(files: &Files) -> (&'static str, &'static str) {
    let sequence = |name: &str| word(&files[name], 32);
    let (a, b) = ("checkpoint.a", "checkpoint.b");
    if sequence(a) > sequence(b) { (a, b) } else { (b, a) }
}

#[test]
fn the_next_checkpoint_replaces_the_damaged_one() {
    for checkpoints in [2, 3] {
        let (mut files, life) = killed(checkpoints);
        let (newest, other) = newest(&files);
        set(&mut files, newest, 60, &[0xEE; 8]);
        let disk = SimDisk::holding(&files, life);
        let store = options().open_sim(&disk).expect("to go on takes no checkpoint");
        store.checkpoint().expect("space");
        assert_eq!(disk.files()[other], files[other], "the one that is whole stays");
        assert_ne!(disk.files()[newest], files[newest]);
    }
}

#[test]
fn restore_takes_no_older_checkpoint_for_a_damaged_one() {
    let (mut files, life) = killed(3);
    let (newest, _) = newest(&files);
    set(&mut files, newest, 60, &[0xEE; 8]);
    assert_names(open(&files, life ^ 1), newest, 0);
}

/// A power cut has kept the header of a checkpoint and torn its directory; a restore has gone back to the one before.
#[test]
fn resume_minds_no_checkpoint_that_a_restore_passed_over() {
    let (disk, store) = filled(2);
    put(&store, 900..1400).expect("space");
    let seen = Rc::new(RefCell::new(None));
    let (watch, inside) = (disk.clone(), Rc::clone(&seen));
    at_points(Some(Box::new(move |at| {
        if at == Point::CheckpointHeaded {
            inside.borrow_mut().get_or_insert_with(|| watch.files());
        }
    })));
    store.checkpoint().expect("space");
    at_points(None);
    let mut files = seen.take().expect("the point is reached");
    let (torn, older) = newest(&files);
    set(&mut files, torn, PAGE, &[0xEE; 8]);
    // Checkpoints that were captured and not written have taken numbers in between.
    let after = word(&files[torn], 32) + 5;
    set_word(&mut files, torn, 32, after);
    sum(&mut files, torn, 0, 124);
    // As of an earlier time: the page with the cells was not written back since.
    let before = word(&files[older], 32);
    set_word(&mut files, "meta", SEQUENCE, before);
    let disk = SimDisk::holding(&files, disk.page_cache() ^ 1);
    let restored = options().open_sim(&disk).expect("the older one is whole");
    let disk = disk.process_kill();
    drop(restored);
    let store = options().open_sim(&disk).expect("a killed process leaves nothing to repair");
    assert!(store.verify().expect("readable").is_ok());
}

#[test]
fn an_entry_deeper_than_the_directory_ends_an_iteration() {
    let (mut files, life) = killed(2);
    let cell = word(&files["meta"], DIRECTORY);
    let at = number(cell & 0xFFFF_FFFF) * PAGE;
    for depth in [(cell >> 32 & 63) + 1, 41, 63] {
        let entry = word(&files["index"], at) & !(63 << 32) | depth << 32;
        set_word(&mut files, "index", at, entry);
        let disk = SimDisk::holding(&files, life);
        let store = options().open_read_only_sim(&disk).expect("a killed store");
        let snapshot = store.snapshot().expect("memory");
        let items: Vec<_> = snapshot.iter().take(10_000).collect();
        assert!(items.len() < 10_000 && items.iter().any(Result::is_err), "depth {depth}");
        assert!(!store.verify().expect("readable").is_ok());
        assert_names(open(&files, life), "index", at);
    }
}

/// How an iteration may go: by the index, or soon by the log, all of it at once or in many parts.
fn iterations() -> [Options; 3] {
    [(1024, 128, 512 << 20), (1024, 8, 1 << 20), (1024, 8, 64 << 10)].map(
        |(group, share, bytes)| {
            let mut options = options();
            options.rigged_iteration(group, share, bytes);
            options
        },
    )
}

/// Many pages are looked through before the first key of them is told.
#[test]
fn an_iteration_tells_all_that_comes_before_a_damaged_page() {
    let (disk, store) = filled(2);
    put(&store, 700..3000).expect("space");
    let (mut files, life) = (disk.files(), disk.page_cache());
    drop(store);
    let cell = word(&files["meta"], DIRECTORY);
    let first = number(cell & 0xFFFF_FFFF) * PAGE;
    let last = first + (8 << (cell >> 32 & 63)) - 8;
    let page = word(&files["index"], last);
    // A page of less depth has several entries, of which a walk looks at the first.
    for at in (first..=last).step_by(8) {
        if word(&files["index"], at) == page {
            set_word(&mut files, "index", at, page | 63 << 32);
        }
    }
    for (parts, options) in iterations().into_iter().enumerate() {
        let store = options.open_read_only_sim(&SimDisk::holding(&files, life));
        let snapshot = store.expect("a killed store").snapshot().expect("memory");
        let items: Vec<_> = snapshot.iter().take(10_000).collect();
        let (end, told) = items.split_last().expect("many");
        // Of many parts of the log each tells of the page.
        assert!(end.is_err() && (parts == 2 || told.iter().all(Result::is_ok)));
        let told = told.iter().filter(|item| item.is_ok()).count();
        assert!((2000..3000).contains(&told), "{told} keys");
    }
}

/// In whatever order keys are visited, those of a segment that is missing are told of, and all others as well.
#[test]
fn an_iteration_goes_on_past_a_missing_segment() {
    let (disk, store) = filled(2);
    put(&store, 700..3000).expect("space");
    let (files, life) = (disk.files(), disk.page_cache());
    drop(store);
    let count = |files: &Files, options: &Options| {
        let store = options.open_read_only_sim(&SimDisk::holding(files, life));
        let snapshot = store.expect("a killed store").snapshot().expect("memory");
        let items: Vec<_> = snapshot.iter().take(10_000).collect();
        let told = items.iter().filter(|item| item.is_ok()).count();
        (told, items.len() - told, items.last().is_some_and(Result::is_err))
    };
    for number in [0, 7] {
        let mut less = files.clone();
        less.remove(&format!("log/{number:010}")).expect("a segment");
        let [by_index, by_log, by_parts] = iterations().map(|options| {
            assert_eq!(count(&files, &options), (3000, 0, false));
            count(&less, &options)
        });
        assert!((2900..3000).contains(&by_index.0), "segment {number}: {by_index:?}");
        assert_eq!((by_log.0, by_parts.0), (by_index.0, by_index.0), "segment {number}");
        assert!(by_log.1 > 0 && by_parts.1 > 0, "segment {number}: {by_log:?} {by_parts:?}");
        // What is before all of the log is told of once, after all that is in it.
        assert!(number > 0 || by_log.2, "{by_log:?}");
    }
}

/// Puts the right checksum behind what was changed.
fn sum(files: &mut Files, name: &str, first: usize, len: usize) {
    let sum = crc32fast::hash(&files[name][first..first + len]);
    set(files, name, first + len, &sum.to_le_bytes());
}

#[test]
fn no_clean_record_has_a_watermark_beyond_the_index() {
    let (mut files, life) = closed();
    let pages = files["index"].len() / PAGE;
    set(&mut files, "meta", CLEAN + 80, &u32::try_from(pages + 1).expect("small").to_le_bytes());
    sum(&mut files, "meta", CLEAN, 124);
    assert_names(open(&files, life), "index", pages * PAGE);
}

#[test]
fn no_checkpoint_has_a_watermark_beyond_the_index() {
    let (mut files, life) = killed(2);
    let (newest, _) = newest(&files);
    let pages = files["index"].len() / PAGE;
    set(&mut files, newest, 88, &u32::try_from(pages + 1).expect("small").to_le_bytes());
    sum(&mut files, newest, 0, 124);
    assert_names(open(&files, life ^ 1), "index", pages * PAGE);
}

#[test]
fn figures_without_counters_are_an_error_soon() {
    let (mut files, life) = closed();
    for at in COUNTERS {
        set(&mut files, "meta", at, &[0xFF; 8]);
    }
    let (done, waited) = channel();
    std::thread::spawn(move || {
        let disk = SimDisk::holding(&files, life);
        let store = options().open_read_only_sim(&disk).expect("closed cleanly");
        done.send(store.stats().map(drop))
    });
    let result = waited.recv_timeout(Duration::from_secs(20)).expect("an answer soon");
    assert!(matches!(result, Err(Error::Corrupt { .. })), "{result:?}");
}

#[test]
fn a_verification_names_the_damaged_record() {
    let disk = SimDisk::new(8);
    let store = options().open_sim(&disk).expect("a new store");
    store.put("key", "old").expect("space");
    store.put("key", "new").expect("space");
    store.close().expect("space");
    let mut files = disk.files();
    let (name, at) = ("log/0000000000", 64 + 48);
    assert_eq!(files[name][at + 24..at + 27], *b"key");
    set(&mut files, name, at + 24, b"K");
    let store = options().open_read_only_sim(&SimDisk::holding(&files, disk.page_cache()));
    let damage = store.expect("closed cleanly").verify().expect("readable").damage;
    assert!(!damage.is_empty());
    for damage in damage {
        let here = damage.file.ends_with(Path::new(name)) && damage.offset == at as u64;
        assert!(here, "{damage}");
    }
}

#[test]
fn a_durable_cell_that_says_too_much_skips_no_sync() {
    for seed in 0..10 {
        let disk = SimDisk::new(seed);
        let store = options().open_sim(&disk).expect("a new store");
        put(&store, 0..300).expect("space");
        let second = disk.process_kill();
        drop(store);
        let committed = word(&second.files()["meta"], COMMITTED);
        second.patch("meta", DURABLE as u64, &committed.to_le_bytes());
        let store = options().open_sim(&second).expect("recovery");
        store.put("later", "value").expect("space");
        store.sync().expect("a sound disk");
        let third = second.power_cut();
        drop(store);
        let store = options().open_sim(&third).expect("all was synced");
        let missing = (0..300u32).filter(|i| store.get(i.to_le_bytes()).expect("sound").is_none());
        assert_eq!(missing.count(), 0, "seed {seed}");
        assert!(store.get("later").expect("sound").is_some());
    }
}

/// The older checkpoint is torn, and there is nothing new that the next one could be made of in its place.
#[test]
fn a_close_that_cannot_sync_the_mended_checkpoint_is_a_failed_sync() {
    let (files, life) = killed(2);
    let disk = SimDisk::holding(&files, life);
    let store = options().open_sim(&disk).expect("recovery");
    store.checkpoint().expect("space");
    let disk = disk.process_kill();
    drop(store);
    let (_, older) = newest(&disk.files());
    disk.patch(older, 60, &[0xEE; 8]);
    let store = options().open_sim(&disk).expect("recovery");
    disk.fail(Fault { call: Call::Fsync, after: 0, errno: 5, times: 1 });
    let closed = store.close();
    assert!(matches!(closed, Err(Error::Io { op: "sync", .. })), "{closed:?}");
    assert_eq!(word(&disk.files()["meta"], SUSPECT), 2, "the cells say so");
    assert!(open(&disk.files(), life).expect("recovery").verify().expect("readable").is_ok());
}

#[test]
fn a_meta_cut_short_within_its_superblock_is_a_damaged_store() {
    let disk = SimDisk::new(9);
    options().open_sim(&disk).expect("a new store").close().expect("space");
    let whole = disk.files();
    for len in [0, 7, 8, 16, 63, 64, 4096] {
        let mut files = whole.clone();
        files.get_mut("meta").expect("a file").truncate(len);
        let opened = options().open_sim(&SimDisk::holding(&files, disk.page_cache()));
        match opened {
            Err(Error::Corrupt { file, offset, .. }) => {
                // Without its first bytes only the log tells that it is a store.
                let expected = if len < 8 { 0 } else { len as u64 };
                assert!(file.ends_with("meta") && offset == expected, "{len}: {offset}");
            }
            other => panic!("{len} bytes: {other:?}"),
        }
    }
}

//! Backups: equal to the store at one position, independent of it, brought up to date, and never taken for whole when they are
//! not.
#![cfg(feature = "sim")]

mod beside;
mod cut_short;
mod damage;
mod planted;
mod refused;
mod rounds;
#[path = "../script/mod.rs"]
mod script;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use mapstone::{BackupOptions, Options, Store};

/// Small segments, and compaction only when it is asked for.
fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(1 << 16).compaction(None).background(false);
    options
}

fn copied() -> BackupOptions {
    let mut options = BackupOptions::new();
    options.copy(true);
    options
}

/// Some keys of 8 bytes with values of 200.
fn put(store: &Store, keys: std::ops::Range<u64>, with: u8) {
    let mut batch = store.batch();
    for key in keys {
        batch.put(key.to_le_bytes(), [with; 200]).expect("short");
    }
    batch.commit().expect("space");
}

/// All of the table without a name.
fn content(store: &Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let snapshot = store.snapshot().expect("readable");
    snapshot
        .iter()
        .map(|item| item.map(|(key, value)| (key.to_vec(), value.to_vec())).expect("readable"))
        .collect()
}

/// What a backup holds, which must be sound.
fn sound(dest: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let backup = options().open_read_only(dest).expect("a store");
    let verified = backup.verify().expect("readable");
    assert!(verified.is_ok(), "{:#?}", verified.damage);
    content(&backup)
}

/// The files of the log of a store.
fn segments(store: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(store.join("log")).expect("a log");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn shared(file: &Path) -> bool {
    fs::metadata(file).expect("a file").nlink() > 1
}

struct Ground {
    _dir: tempfile::TempDir,
    store: PathBuf,
    dest: PathBuf,
}

fn ground() -> Ground {
    let dir = tempfile::tempdir().expect("a directory");
    Ground { store: dir.path().join("store"), dest: dir.path().join("backup"), _dir: dir }
}

#[test]
fn a_backup_holds_what_the_store_held_and_is_independent_of_it() {
    for way in [BackupOptions::new(), copied()] {
        let ground = ground();
        let store = options().open(&ground.store).expect("a new store");
        put(&store, 0..2000, 1);
        put(&store, 500..900, 2);
        for key in 0..100u64 {
            store.delete(key.to_le_bytes()).expect("space");
        }
        store.table("named").expect("space").put("a", "b").expect("space");
        let expected = content(&store);
        let report = store.backup_with(&ground.dest, &way, |_| ()).expect("a backup");
        let count = segments(&ground.store).len() as u64;
        assert_eq!(report.linked + report.cloned + report.copied, count, "{report:?}");
        assert_eq!((report.position, report.continued), (store.position(), false));
        let links = segments(&ground.dest).iter().filter(|file| shared(file)).count() as u64;
        assert_eq!(links, report.linked);

        put(&store, 0..3000, 9);
        store.compact(|_| true).expect("space");
        assert!(sound(&ground.dest) == expected);
        let table = options().open_read_only(&ground.dest).expect("a store");
        let table = table.table("named").expect("it is there");
        assert_eq!(table.get("a").expect("readable").as_deref(), Some(&b"b"[..]));
        drop((table, store));
        fs::remove_dir_all(&ground.store).expect("the store goes");
        assert!(sound(&ground.dest) == expected);

        // To restore it is to open it, and to go on.
        let restored = options().open(&ground.dest).expect("a store");
        put(&restored, 5000..5500, 3);
        restored.compact(|_| true).expect("space");
        restored.close().expect("space");
        assert_eq!(sound(&ground.dest).len(), expected.len() + 500);
    }
}

#[test]
fn an_empty_store_has_a_backup() {
    let ground = ground();
    let store = options().open(&ground.store).expect("a new store");
    store.backup(&ground.dest).expect("a backup");
    assert!(sound(&ground.dest).is_empty());
    put(&store, 0..10, 1);
    let report = store.backup(&ground.dest).expect("a backup");
    assert!(report.continued);
    assert_eq!(sound(&ground.dest).len(), 10);
    // Nothing is new.
    let report = store.backup(&ground.dest).expect("a backup");
    assert_eq!((report.copied_bytes, report.verified_bytes), (0, 0));
}

/// What a backup shares with the store is never written, by neither: not when it goes on, nor when it recovers.
#[test]
fn shared_segments_are_written_by_neither() {
    let ground = ground();
    let store = options().open(&ground.store).expect("a new store");
    put(&store, 0..2000, 1);
    store.backup(&ground.dest).expect("a backup");
    let links: Vec<_> = segments(&ground.dest).into_iter().filter(|file| shared(file)).collect();
    if links.is_empty() {
        eprintln!("skipped: shared segments, for want of hard links");
        return;
    }
    let before: Vec<_> = links.iter().map(|file| fs::read(file).expect("readable")).collect();
    put(&store, 0..300, 2);
    store.compact(|_| true).expect("space");
    drop(store);
    // In turn after a clean close, a killed process and a power cut.
    for end in 0..3u8 {
        if end == 2 {
            forge_life(&ground.dest);
        }
        let restored = options().open(&ground.dest).expect("a store");
        put(&restored, 0..300, 50 + end);
        if end == 0 {
            restored.close().expect("space");
        } else {
            abandon(&ground.dest, restored);
        }
    }
    let restored = options().open(&ground.dest).expect("a store");
    assert_eq!(content(&restored).len(), 2000);
    let after: Vec<_> = links.iter().map(|file| fs::read(file).ok()).collect();
    for (at, (before, after)) in before.iter().zip(&after).enumerate() {
        assert!(after.is_none() || after.as_ref() == Some(before), "{:?}", links[at]);
    }
}

/// Ends a store as a killed process does: without its clean record.
fn abandon(path: &Path, store: Store) {
    use std::os::unix::fs::FileExt;
    store.close().expect("space");
    let meta = fs::File::options().write(true).open(path.join("meta")).expect("a store");
    meta.write_all_at(&[0; 128], 2 * 4096).expect("space");
}

/// The page cache of the cells was another one.
fn forge_life(store: &Path) {
    use std::os::unix::fs::FileExt;
    let meta = fs::File::options().write(true).open(store.join("meta")).expect("a store");
    meta.write_all_at(&[0x77; 8], 4096 + 96).expect("space");
}

#[test]
fn a_backup_that_is_brought_up_to_date_copies_only_what_is_new() {
    let ground = ground();
    let store = options().open(&ground.store).expect("a new store");
    put(&store, 0..3000, 1);
    let first = store.backup_with(&ground.dest, &copied(), |_| ()).expect("a backup");
    assert!(first.copied_bytes > 600_000, "{first:?}");
    // Within the last segment, a few bytes.
    store.put("one", "more").expect("space");
    let second = store.backup_with(&ground.dest, &copied(), |_| ()).expect("a backup");
    assert_eq!(second.kept, first.copied - 1);
    assert!((1..100).contains(&second.copied_bytes), "{second:?}");
    assert_eq!(second.copied_bytes, second.verified_bytes);
    // A tenth more.
    put(&store, 0..300, 2);
    let third = store.backup_with(&ground.dest, &copied(), |_| ()).expect("a backup");
    assert!(third.copied_bytes < first.copied_bytes / 5, "{third:?}");
    assert!(sound(&ground.dest) == content(&store));
    // Segments that the store has compacted away go, and what is left of them is new at the end.
    put(&store, 0..3000, 3);
    store.compact(|_| true).expect("space");
    let fourth = store.backup_with(&ground.dest, &copied(), |_| ()).expect("a backup");
    assert!(fourth.removed > 5, "{fourth:?}");
    assert!(sound(&ground.dest) == content(&store));
    assert_eq!(segments(&ground.dest).len(), segments(&ground.store).len());
    // Sharing, what was copied as the last segment becomes a link once that is complete.
    put(&store, 0..3000, 4);
    let fifth = store.backup(&ground.dest).expect("a backup");
    assert!(fifth.linked + fifth.cloned > 5 && fifth.copied <= 1, "{fifth:?}");
    assert!(sound(&ground.dest) == content(&store));
}

/// The backup has tombstones that the store has buried, after which it removed the segments that they were in.
#[test]
fn what_was_deleted_does_not_come_back() {
    let ground = ground();
    let store = options().open(&ground.store).expect("a new store");
    put(&store, 0..2000, 1);
    let mut batch = store.batch();
    for key in 0..2000u64 {
        batch.delete(key.to_le_bytes()).expect("short");
    }
    batch.commit().expect("space");
    put(&store, 3000..5000, 2);
    store.backup(&ground.dest).expect("a backup");
    store.compact(|_| true).expect("space");
    store.put("one", "more").expect("space");
    let report = store.backup(&ground.dest).expect("a backup");
    assert!(report.continued && report.removed > 3, "{report:?}");
    let found = sound(&ground.dest);
    assert_eq!(found.len(), 2001);
    assert!(found == content(&store));
}

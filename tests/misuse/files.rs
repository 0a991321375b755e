//! Directories and files that are moved, removed, replaced or cut under an open store.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use mapstone::{Error, Store};

use crate::{
    KEYS, assert_holds, fill, filled, is_lost, key, last_segment, options, truncate, value,
};

/// Every write is refused for the loss of `name`, reads go on.
fn assert_writing_has_ended(store: &Store, name: &str) {
    assert!(is_lost(store.put("key", "value"), name));
    assert!(is_lost(store.put_with("key", 3, |_| ()), name));
    assert!(is_lost(store.delete(key(1)), name));
    assert!(is_lost(store.sync(), name));
    assert!(is_lost(store.checkpoint(), name));
    assert!(!store.contains("key").expect("sound"));
    for i in 0..KEYS {
        assert_eq!(store.get(key(i)).expect("sound").as_deref(), Some(&value(i)[..]), "{i}");
    }
}

#[test]
fn a_renamed_directory_is_followed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let store = filled(&old);
    let reader = Store::open_read_only(&old).expect("a reader");
    fs::rename(&old, &new).expect("a new name");
    fill(&store, KEYS..2 * KEYS);
    store.checkpoint().expect("files where they are");
    assert_holds(&reader, 0..2 * KEYS);
    assert!(matches!(Store::open_read_only(&old), Err(Error::NotFound { .. })));
    assert!(matches!(options().open(&new), Err(Error::Locked { .. })));
    store.close().expect("a clean close");
    assert!(!old.exists(), "something was made at the old path");
    assert_holds(&options().open(&new).expect("closed"), 0..2 * KEYS);
}

#[test]
fn a_store_that_takes_the_place_of_another_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, aside) = (dir.path().join("store"), dir.path().join("aside"));
    let first = filled(&path);
    let reader = Store::open_read_only(&path).expect("a reader");
    fs::rename(&path, &aside).expect("a new name");
    let second = options().open(&path).expect("another store");
    second.put("only", "in the second").expect("space");
    fill(&first, KEYS..2 * KEYS);
    first.checkpoint().expect("files where they are");
    assert_holds(&reader, 0..2 * KEYS);
    assert!(!reader.contains("only").expect("sound"));
    assert!(!second.contains(key(0)).expect("sound"));
    first.close().expect("a clean close");
    second.close().expect("a clean close");
    assert_holds(&options().open(&aside).expect("closed"), 0..2 * KEYS);
    let second = options().open(&path).expect("closed");
    assert_eq!(second.stats().expect("sound").entries, 1);
}

#[test]
fn a_removed_directory_ends_writing() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = filled(&path);
    fs::remove_dir_all(&path).expect("its owner may");
    // At the latest when a segment is full.
    let refused = (KEYS..2 * KEYS).find_map(|i| store.put(key(i), value(i)).err());
    assert!(is_lost::<()>(Err(refused.expect("an error in the next segment")), "lock"));
    assert_writing_has_ended(&store, "lock");
    assert!(is_lost(store.close(), "lock"));
    assert!(!path.exists(), "something was made again");
}

#[test]
fn a_lock_file_that_is_removed_or_replaced_lets_no_second_writer_in() {
    for replace in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("store");
        let store = filled(&path);
        fs::remove_file(path.join("lock")).expect("its owner may");
        if replace {
            fs::write(path.join("lock"), "").expect("its owner may");
        }
        let opened = options().open(&path);
        let own = std::process::id();
        assert!(matches!(opened, Err(Error::Locked { pid, .. }) if pid.is_none_or(|p| p == own)));
        fill(&store, 0..1);
        assert!(is_lost(store.checkpoint(), "lock"));
        assert_writing_has_ended(&store, "lock");
        drop(store);
        assert_holds(&options().open(&path).expect("recovery"), 0..KEYS);
    }
}

/// Regression: the next open took what was left for a creation cut short, and made an empty store of it.
#[test]
fn a_store_without_meta_is_never_created_anew() {
    for keys in [1, KEYS] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("store");
        let store = options().open(&path).expect("a fresh store");
        fill(&store, 0..keys);
        store.close().expect("a clean close");
        fs::rename(path.join("meta"), dir.path().join("meta")).expect("its owner may");
        for opened in [
            options().open(&path),
            options().create_new(true).open(&path),
            Store::open_read_only(&path),
        ] {
            assert!(
                matches!(&opened, Err(Error::Corrupt { file, .. }) if file.ends_with("meta")),
                "{opened:?}"
            );
        }
        fs::rename(dir.path().join("meta"), path.join("meta")).expect("its owner may");
        assert_holds(&options().open(&path).expect("put back"), 0..keys);
    }
}

#[test]
fn without_meta_and_without_records_there_is_nothing_to_lose() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    drop(options().open(&path).expect("a fresh store"));
    fs::remove_file(path.join("meta")).expect("its owner may");
    fill(&options().open(&path).expect("a creation that is finished"), 0..1);
}

#[test]
fn a_removed_meta_ends_writing() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = filled(&path);
    fs::hard_link(path.join("meta"), dir.path().join("kept")).expect("a hard link");
    fs::remove_file(path.join("meta")).expect("its owner may");
    assert!(is_lost(store.sync(), "meta"));
    assert_writing_has_ended(&store, "meta");
    assert!(is_lost(store.close(), "meta"));
    assert!(matches!(options().open(&path), Err(Error::Corrupt { .. })));
    fs::rename(dir.path().join("kept"), path.join("meta")).expect("its owner may");
    assert_holds(&options().open(&path).expect("put back"), 0..KEYS);
}

/// Does something to a file of an open store; the next sync notices, before anything is touched that is not there.
fn loses(name: impl Fn(&Path) -> String, damage: impl Fn(&Path)) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = filled(&path);
    store.sync().expect("nothing has happened");
    let name = name(&path);
    damage(&path.join(&name));
    assert!(is_lost(store.sync(), &name), "{name}");
    assert!(is_lost(store.put("key", "value"), &name), "{name}");
    assert!(is_lost(store.checkpoint(), &name), "{name}");
}

fn last_name(path: &Path) -> String {
    let last = last_segment(path);
    format!("log/{}", last.file_name().and_then(|name| name.to_str()).expect("plain"))
}

#[test]
fn a_file_that_is_removed_replaced_or_cut_ends_writing() {
    let remove = |path: &Path| fs::remove_file(path).expect("its owner may");
    let replace = |path: &Path| {
        let other = path.with_extension("other");
        fs::copy(path, &other).and_then(|_| fs::rename(&other, path)).expect("its owner may");
    };
    loses(|_| "index".into(), remove);
    loses(|_| "index".into(), replace);
    loses(|_| "index".into(), |path| truncate(path, 4096));
    loses(|_| "meta".into(), replace);
    loses(last_name, remove);
    loses(last_name, replace);
    loses(last_name, |path| truncate(path, 32 << 10));
}

/// A handle of a store that was closed looks at the files before its first write, and touches nothing of the index before that.
#[test]
fn a_file_that_is_cut_before_the_first_write_ends_writing() {
    let names: [fn(&Path) -> String; 2] = [|_| "index".into(), last_name];
    for name in names {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("store");
        drop(filled(&path));
        let store = options().open(&path).expect("a store that was closed");
        let name = name(&path);
        truncate(&path.join(&name), 4096);
        assert!(is_lost(store.put(key(0), "value"), &name), "{name}");
    }
}

#[test]
fn a_log_directory_that_is_moved_away_ends_writing() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = filled(&path);
    let last = last_name(&path);
    fs::rename(path.join("log"), path.join("gone")).expect("its owner may");
    let refused = (KEYS..2 * KEYS).find_map(|i| store.put(key(i), value(i)).err());
    assert!(is_lost::<()>(Err(refused.expect("an error in the next segment")), &last));
    fs::rename(path.join("gone"), path.join("log")).expect("its owner may");
    drop(store);
    assert_holds(&options().open(&path).expect("put back"), 0..KEYS);
}

/// What a handle has mapped it can read; to others, and to `verify`, the segment is missing.
#[test]
fn a_removed_segment_is_an_error_to_whoever_needs_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = filled(&path);
    let late = Store::open_read_only(&path).expect("a reader that has read nothing");
    let first = path.join("log/0000000000");
    fs::rename(&first, dir.path().join("kept")).expect("its owner may");
    for i in 0..KEYS {
        assert_eq!(store.get(key(i)).expect("mapped").as_deref(), Some(&value(i)[..]));
    }
    let damage = store.verify().expect("readable").damage;
    assert!(damage.iter().any(|damage| damage.file == first), "{damage:?}");
    let missing = late.get(key(0));
    assert!(matches!(&missing, Err(Error::Corrupt { file, .. }) if *file == first), "{missing:?}");
    assert!(late.get(key(KEYS - 1)).expect("in another segment").is_some());
    fs::rename(dir.path().join("kept"), &first).expect("its owner may");
    assert_holds(&late, 0..KEYS);
}

/// Regression: what a verification found whole could not give a snapshot.
#[test]
fn removed_files_of_marks_are_made_by_the_next_writer() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = filled(&path);
    let removed = ["readers.a", "readers.b"];
    for name in removed {
        fs::remove_file(path.join(name)).expect("its owner may");
    }
    fill(&store, KEYS..2 * KEYS);
    store.close().expect("a clean close");

    let reader = options().open_read_only(&path).expect("a closed store");
    assert!(matches!(reader.snapshot(), Err(Error::Io { op: "open", .. })));
    let damage = reader.verify().expect("it can be read").damage;
    let named = |name| damage.iter().any(|it| it.file == path.join(name));
    assert!(removed.into_iter().all(named), "{damage:?}");

    let store = options().open(&path).expect("closed");
    assert_holds(&store, 0..2 * KEYS);
    reader.snapshot().expect("files to mark");
    assert!(reader.verify().expect("it can be read").is_ok());
}

/// Regression: a checkpoint whose file was gone failed, and with it every later one.
#[test]
fn a_removed_checkpoint_is_written_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = filled(&path);
    for name in ["checkpoint.a", "checkpoint.b"] {
        fs::remove_file(path.join(name)).expect("its owner may");
    }
    store.checkpoint().expect("a new file");
    fill(&store, KEYS..KEYS + 10);
    drop(store);
    // No clean close, and a life that no machine has: as after a power cut.
    let meta = fs::OpenOptions::new().write(true).open(path.join("meta")).expect("meta");
    meta.write_all_at(&[0; 8], 8192).expect("the clean record");
    meta.write_all_at(&[0xEE; 8], 4192).expect("the life");
    assert_holds(&options().open(&path).expect("a checkpoint to go on from"), 0..KEYS + 10);
}

//! The same store opened twice, by whatever name.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mapstone::{Error, Store};

use crate::{KEYS, Player, assert_holds, fill, filled, is_root, key, options};

fn refused_in_this_process(path: &Path) {
    let error = options().open(path).expect_err("a second writer");
    let own = std::process::id();
    assert!(matches!(error, Error::Locked { pid: Some(pid), .. } if pid == own), "{error:?}");
    assert!(error.to_string().contains("already open for writing in this process"), "{error}");
}

/// Every file of a store once more in another directory, but for those named.
fn link_all(from: &Path, to: &Path, but: &[&str]) {
    fs::create_dir_all(to.join("log")).expect("a directory");
    for dir in ["", "log"] {
        for entry in fs::read_dir(from.join(dir)).expect("a directory") {
            let name = entry.expect("an entry").file_name();
            let from = from.join(dir).join(&name);
            if from.is_file() && !but.iter().any(|but| name == *but) {
                fs::hard_link(from, to.join(dir).join(&name)).expect("a hard link");
            }
        }
    }
}

#[test]
fn a_second_writer_in_one_process_is_told_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = filled(&path);
    refused_in_this_process(&path);
    let link = dir.path().join("link");
    symlink(&path, &link).expect("a symbolic link");
    refused_in_this_process(&link);
    let linked = dir.path().join("linked");
    link_all(&path, &linked, &[]);
    refused_in_this_process(&linked);
    fill(&store, KEYS..KEYS + 50);
    store.close().expect("a clean close");
    let store = options().open(&link).expect("closed by now");
    assert_holds(&store, 0..KEYS + 50);
}

/// The lock on the index tells, where the lock file is another one.
#[test]
fn hard_links_without_the_lock_file_are_the_same_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = filled(&path);
    let linked = dir.path().join("linked");
    link_all(&path, &linked, &["lock"]);
    let opened = options().open(&linked);
    assert!(matches!(opened, Err(Error::Locked { .. })), "{opened:?}");
    fill(&store, KEYS..KEYS + 50);
    store.close().expect("a clean close");
    assert_holds(&options().open(&path).expect("unharmed"), 0..KEYS + 50);
}

#[test]
fn a_bind_mount_is_the_same_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, other) = (dir.path().join("store"), dir.path().join("mounted"));
    let store = filled(&path);
    fs::create_dir(&other).expect("a directory");
    let mount = || Command::new("mount").arg("--bind").args([&path, &other]).status();
    if !is_root() || !mount().is_ok_and(|status| status.success()) {
        return eprintln!("skipped: a_bind_mount_is_the_same_store for want of a bind mount");
    }
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
        refused_in_this_process(&other);
        let reader = Store::open_read_only(&other).expect("beside the writer");
        assert_holds(&reader, 0..KEYS);
        drop(reader);
        store.close().expect("a clean close");
        let store = options().open(&other).expect("closed by now");
        refused_in_this_process(&path);
        assert_holds(&store, 0..KEYS);
    }));
    assert!(Command::new("umount").arg(&other).status().expect("umount").success());
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn a_writer_and_readers_in_one_process() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    let store = filled(&path);
    let link = dir.path().join("link");
    symlink(&path, &link).expect("a symbolic link");
    let readers = [&path, &link].map(|path| Store::open_read_only(path).expect("a reader"));
    fill(&store, KEYS..KEYS + 100);
    for reader in &readers {
        assert_holds(reader, 0..KEYS + 100);
    }
    let [first, second] = readers;
    drop(first);
    refused_in_this_process(&path);
    store.put("last", "one").expect("still the writer");
    assert!(second.contains("last").expect("sound"));
}

/// Where `meta` names the writer; see docs/format.md.
const WRITER: u64 = 4200;

/// The number of a process in another container may be ours by chance.
#[test]
fn a_holder_with_our_number_that_is_not_us_is_not_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    drop(filled(&path));
    let mut player = Player::start("hold", &path);
    assert_eq!(player.says().as_deref(), Some("open"));
    let named = options().open(&path);
    let other = player.child.id();
    assert!(matches!(named, Err(Error::Locked { pid: Some(pid), .. }) if pid == other));
    let meta = fs::OpenOptions::new().write(true).open(path.join("meta")).expect("meta");
    meta.write_all_at(&u64::from(std::process::id()).to_le_bytes(), WRITER).expect("a cell");
    let named = options().open(&path);
    assert!(matches!(named, Err(Error::Locked { pid: None, .. })), "{named:?}");
    fs::write(path.with_extension("stop"), "").expect("a file");
    assert!(player.end().success());
    let store = options().open(&path).expect("closed");
    assert!(store.get(key(0)).expect("sound").is_some());
}

/// A reader that looks whether there is a writer shares the lock for a moment. The cells still name the one that was killed.
#[test]
fn who_only_looks_keeps_nobody_from_writing_after_a_kill() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    drop(filled(&path));
    let mut player = Player::start("hold", &path);
    assert_eq!(player.says().as_deref(), Some("open"));
    player.child.kill().expect("SIGKILL");
    assert!(!player.end().success());
    let look = || {
        let lock = fs::File::open(path.join("lock")).expect("the lock file");
        fs2::FileExt::lock_shared(&lock).expect("nobody writes");
        lock
    };
    let lock = look();
    let looks = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        drop(lock);
    });
    let store = options().open(&path).expect("it was only looked at");
    looks.join().expect("no panic");
    assert_holds(&store, 0..KEYS);
    drop(store);
    // Who holds it for long is in the way, and has no number.
    let _lock = look();
    let refused = options().open(&path);
    assert!(matches!(refused, Err(Error::Locked { pid: None, .. })), "{refused:?}");
}

//! Directories and files that this user may not use.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use mapstone::{Error, Options, Result, Store};

use crate::{Part, Player, command, filled, is_root, options};

pub(crate) const PARTS: &[Part] = &[("stranger", stranger), ("guest writer", guest_writer)];

fn denied(result: Result<Store>, name: &str) {
    match result {
        Err(Error::Io { path, source, .. }) => {
            assert_eq!(source.kind(), ErrorKind::PermissionDenied);
            assert!(path.ends_with(name), "{} instead of {name}", path.display());
        }
        other => panic!("{other:?}"),
    }
}

/// Another user, before a store of files that only their owner may touch. The place ends with the file that keeps it out.
fn stranger(place: &Path) {
    let (store, name) = (place.parent().expect("a store"), place.file_name().expect("a name"));
    let name = name.to_str().expect("plain");
    denied(Store::open_read_only(store), name);
    // Who wants to write looks first whether somebody does.
    denied(options().open(store), if name == "meta" { "index" } else { name });
}

/// Another user, who may read everything and write nothing.
fn guest_writer(place: &Path) {
    Store::open_read_only(place).expect("reading is allowed");
    denied(options().open(place), "lock");
    denied(options().open(place.with_file_name("new")), "new");
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its owner may");
}

/// Plays a part as a user who owns nothing.
fn as_nobody(dir: &Path, part: &str, place: &Path) {
    allow(dir, 0o755);
    let program = dir.join("visitor");
    if !program.exists() {
        fs::copy(std::env::current_exe().expect("this binary"), &program).expect("a copy");
        allow(&program, 0o755);
    }
    let mut command = command(&program, part, place);
    command.uid(65534).gid(65534).current_dir("/");
    let end = Player::of(command).end();
    assert!(end.success(), "{part}: {end}");
}

fn store_for_strangers() -> Option<(tempfile::TempDir, PathBuf)> {
    if !is_root() {
        eprintln!("skipped: files of another user, for want of root");
        return None;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    drop(filled(&path));
    Some((dir, path))
}

#[test]
fn a_store_of_another_user_is_a_clear_error() {
    let Some((dir, path)) = store_for_strangers() else { return };
    // The directory itself: 0700, as it was made.
    as_nobody(dir.path(), "stranger", &path.join("store"));
    allow(&path, 0o777);
    fs::remove_file(path.join("lock")).expect("its owner may");
    as_nobody(dir.path(), "stranger", &path.join("meta"));
}

#[test]
fn a_store_that_may_only_be_read_is_not_written() {
    let Some((dir, path)) = store_for_strangers() else { return };
    for folder in [path.clone(), path.join("log")] {
        allow(&folder, 0o755);
        for entry in fs::read_dir(&folder).expect("a directory") {
            let path = entry.expect("an entry").path();
            allow(&path, if path.is_dir() { 0o755 } else { 0o644 });
        }
    }
    as_nobody(dir.path(), "guest writer", &path);
}

/// What a handle that only reads has mapped, the processor keeps it from writing.
#[test]
fn a_reader_maps_nothing_that_it_could_write() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    drop(filled(&path));
    let reader = Store::open_read_only(&path).expect("a reader");
    let entries = reader.snapshot().expect("readable").iter().count();
    assert!(entries > 0);
    let maps = fs::read_to_string("/proc/self/maps").expect("Linux");
    let place = path.display().to_string();
    let mine: Vec<&str> = maps.lines().filter(|line| line.contains(&place)).collect();
    for name in ["meta", "index", "log/0000000000"] {
        assert!(mine.iter().any(|line| line.ends_with(&format!("store/{name}"))), "{mine:#?}");
    }
    assert!(mine.iter().all(|line| line.contains(" r--s ")), "{mine:#?}");
    drop(reader);
}

#[test]
fn what_the_store_makes_is_for_its_owner_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("store");
    filled(&path).checkpoint().expect("space");
    for place in [path.clone(), path.join("log")] {
        let mode = fs::metadata(&place).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", place.display());
        for entry in fs::read_dir(place).expect("a directory") {
            let entry = entry.expect("an entry");
            let found = entry.metadata().expect("there");
            if found.is_file() {
                assert_eq!(found.permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
            }
        }
    }
}

/// By whichever handle, with whichever options, and whatever the process's mask says.
#[test]
fn who_else_was_asked_for_may_use_all_that_is_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("under/store");
    let mut options = Options::new();
    options.segment_size(4096).checkpoint_interval(8192);
    let fill = |store: &Store| {
        for n in 0..400_u32 {
            store.put((n % 7).to_le_bytes(), n.to_le_bytes()).expect("space");
        }
    };
    let store = options.clone().mode(0o4667).open(&path).expect("a store");
    fill(&store);
    store.cursor("replica").expect("space").advance(store.position().into()).expect("space");
    store.close().expect("space");
    let store = options.open(&path).expect("a store");
    fill(&store);
    store.remove_cursor("replica").expect("there");
    store.compact(|_| true).expect("space");
    store.cursor("another").expect("space").advance(store.position().into()).expect("space");
    let mut found = 0;
    for place in [path.clone(), path.join("log"), path.join("cursors")] {
        let mode = fs::metadata(&place).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o2777, "{}", place.display());
        for entry in fs::read_dir(place).expect("a directory") {
            let entry = entry.expect("an entry");
            if entry.metadata().expect("there").is_file() {
                let mode = entry.metadata().expect("there").permissions().mode();
                assert_eq!(mode & 0o7777, 0o666, "{:?}", entry.path());
                found += 1;
            }
        }
    }
    assert!(found > 8, "{found} files");
}

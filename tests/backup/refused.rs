//! Where no backup may go.

use std::fs;

use mapstone::Error;

use super::{content, ground, options, put, sound};

#[test]
fn a_directory_with_something_else_is_refused_and_stays_as_it_was() {
    let ground = ground();
    let store = options().open(&ground.store).expect("a new store");
    put(&store, 0..10, 1);
    let refused = |what: &str| {
        let list = || {
            let mut names: Vec<_> = fs::read_dir(&ground.dest)
                .map(|names| names.map(|name| name.expect("a name").path()).collect())
                .unwrap_or_default();
            names.sort();
            names
        };
        let before = list();
        let error = store.backup(&ground.dest).expect_err(what);
        assert!(matches!(error, Error::NotABackup { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains("cannot take a backup"), "{error}");
        assert_eq!(list(), before, "{what}");
    };
    fs::create_dir(&ground.dest).expect("space");
    fs::write(ground.dest.join("letter.txt"), "dear").expect("space");
    refused("a directory with a letter");
    fs::remove_dir_all(&ground.dest).expect("it goes");
    fs::write(&ground.dest, "a file").expect("space");
    refused("a file");
    fs::remove_file(&ground.dest).expect("it goes");

    let other = options().open(&ground.dest).expect("a new store");
    put(&other, 0..10, 2);
    other.close().expect("space");
    refused("another store");
    fs::remove_dir_all(&ground.dest).expect("it goes");

    let elsewhere = ground.dest.with_extension("other");
    let other = options().open(&elsewhere).expect("a new store");
    other.backup(&ground.dest).expect("a backup");
    refused("a backup of another store");
    fs::remove_dir_all(&ground.dest).expect("it goes");

    // An empty one will do.
    fs::create_dir(&ground.dest).expect("space");
    store.backup(&ground.dest).expect("a backup");
    assert!(sound(&ground.dest) == content(&store));
    // Itself will not.
    let error = store.backup(&ground.store).expect_err("itself");
    assert!(matches!(error, Error::NotABackup { .. } | Error::Locked { .. }), "{error:?}");
}

#[test]
fn a_backup_that_somebody_has_open_is_locked() {
    let ground = ground();
    let store = options().open(&ground.store).expect("a new store");
    put(&store, 0..10, 1);
    store.backup(&ground.dest).expect("a backup");
    put(&store, 0..10, 2);
    let reader = options().open_read_only(&ground.dest).expect("a store");
    let error = store.backup(&ground.dest).expect_err("it is open");
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    assert_eq!(content(&reader).len(), 10);
    drop(reader);
    let writer = options().open(&ground.dest).expect("a store");
    let error = store.backup(&ground.dest).expect_err("it is open");
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    drop(writer);
    store.backup(&ground.dest).expect("it was only looked at");
    assert!(sound(&ground.dest) == content(&store));
}

#[test]
fn a_backup_that_was_written_to_is_refused() {
    let ground = ground();
    let store = options().open(&ground.store).expect("a new store");
    let mut commits = 0;
    let mut commit = || {
        commits += 1;
        put(&store, 0..600, commits);
    };
    commit();
    for write_much in [false, true] {
        store.backup(&ground.dest).expect("a backup");
        commit();
        let writer = options().open(&ground.dest).expect("a store");
        put(&writer, 0..if write_much { 900 } else { 1 }, 77);
        drop(writer);
        let before = sound(&ground.dest);
        let error = store.backup(&ground.dest).expect_err("it was written to");
        assert!(matches!(error, Error::Diverged { .. }), "{error:?}");
        assert!(error.to_string().contains("written to"), "{error}");
        assert!(sound(&ground.dest) == before);
        fs::remove_dir_all(&ground.dest).expect("it goes");
    }
}

/// Two stores that were one: each is told of the other's backup, also where both have gone on by the same bytes.
#[test]
pub(super) fn a_backup_of_a_twin_is_refused() {
    for ahead in [false, true] {
        let ground = ground();
        let twin = ground.dest.with_extension("twin");
        let store = options().open(&ground.store).expect("a new store");
        put(&store, 0..600, 1);
        store.backup(&twin).expect("a backup");
        let twin = options().open(&twin).expect("a store");
        put(&twin, 0..if ahead { 2000 } else { 10 }, 2);
        twin.backup(&ground.dest).expect("a backup");
        put(&store, 0..10, 3);
        put(&store, 0..1000, 3);
        let before = sound(&ground.dest);
        let error = store.backup(&ground.dest).expect_err("it is the twin's");
        assert!(matches!(error, Error::Diverged { .. }), "{error:?}");
        assert!(sound(&ground.dest) == before);
    }
}

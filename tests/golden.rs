//! Stores that releases have written still open, with all that was in them.
//!
//! tests/golden holds two stores of each release that changed what it writes: one that was closed cleanly, and one as a killed
//! process left it. `cargo test --test golden -- --ignored make` makes those of the present version, and leaves
//! older ones alone; a store that is there is never made anew, so remove the two folders first if nobody has released them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mapstone::{Error, Options, Snapshot, Store, Verification};

/// Table (empty for the one without a name) and key.
type Place = (&'static str, Vec<u8>);
type Model = BTreeMap<Place, Vec<u8>>;

enum Step {
    /// One commit; None deletes.
    Commit(Vec<(Place, Option<Vec<u8>>)>),
    Drop(&'static str),
    Sync,
    Checkpoint,
}
use Step::{Checkpoint, Commit, Drop, Sync};

fn put(table: &'static str, key: &[u8], value: &[u8]) -> (Place, Option<Vec<u8>>) {
    ((table, key.to_vec()), Some(value.to_vec()))
}

fn delete(table: &'static str, key: &[u8]) -> (Place, Option<Vec<u8>>) {
    ((table, key.to_vec()), None)
}

fn numbered(range: std::ops::Range<u32>, word: &str) -> Step {
    let value = |i| format!("{word} {i}").into_bytes();
    Commit(range.map(|i| put("", &i.to_le_bytes(), &value(i))).collect())
}

/// What every golden store went through. Never change it: stores of earlier releases went through it as well.
fn recipe() -> Vec<Step> {
    let large: Vec<u8> = (0..10_000u32).map(|i| (i % 251).to_le_bytes()[0]).collect();
    vec![
        Commit(vec![put("", b"apple", b"red")]),
        // Enough for the index to split and the log to roll over.
        numbered(0..400, "number"),
        Commit(vec![put("", b"", b"the empty key"), put("", b"empty value", b"")]),
        Commit(vec![
            put("users", b"7", b"Ada"),
            put("users", b"8", b"Grace"),
            put("", b"7", b"seven"),
        ]),
        Commit(vec![put("dropped", b"key", b"value")]),
        Drop("dropped"),
        Sync,
        Commit(vec![put("", b"apple", b"green")]),
        Commit(vec![put("", b"apple", b"yellow"), put("", b"banana", b"brown")]),
        Commit(vec![delete("", b"banana")]),
        // Larger than a segment, and a key that is nearly one.
        Commit(vec![put("", b"large", &large)]),
        Commit(vec![put("", &[b'k'; 3000], b"a long key")]),
        Checkpoint,
        numbered(300..500, "again"),
        Commit((60..70u32).map(|i| delete("", &i.to_le_bytes())).collect()),
        Sync,
        Commit(vec![
            put("users", b"8", b"Grace Hopper"),
            delete("users", b"7"),
            put("late", b"a", b"b"),
        ]),
        Commit(vec![put("", b"last", b"not synced")]),
    ]
}

fn expected() -> Model {
    let mut model = Model::new();
    for step in recipe() {
        match step {
            Commit(ops) => {
                for (place, value) in ops {
                    match value {
                        Some(value) => model.insert(place, value),
                        None => model.remove(&place),
                    };
                }
            }
            Drop(table) => model.retain(|place, _| place.0 != table),
            Sync | Checkpoint => {}
        }
    }
    model
}

fn follow(store: &Store) -> mapstone::Result<()> {
    for step in recipe() {
        match step {
            Commit(ops) => {
                let mut batch = store.batch();
                for ((table, key), value) in ops {
                    match (table, value) {
                        ("", Some(value)) => batch.put(key, value)?,
                        ("", None) => batch.delete(key)?,
                        (table, Some(value)) => batch.put_in(&store.table(table)?, key, value)?,
                        (table, None) => batch.delete_in(&store.table(table)?, key)?,
                    };
                }
                batch.commit()?;
            }
            Drop(table) => assert!(store.drop_table(table)?),
            Sync => drop(store.sync()?),
            Checkpoint => drop(store.checkpoint()?),
        }
    }
    Ok(())
}

fn contents(store: &Store) -> mapstone::Result<Model> {
    let mut model = Model::new();
    let mut collect = |table: &'static str, snapshot: &Snapshot| -> mapstone::Result<()> {
        for item in snapshot {
            let (key, value) = item?;
            assert_eq!(snapshot.get(key)?.as_deref(), Some(&*value));
            assert!(model.insert((table, key.to_vec()), value.to_vec()).is_none(), "seen twice");
        }
        Ok(())
    };
    let snapshot = store.snapshot()?;
    collect("", &snapshot)?;
    assert_eq!(snapshot.tables()?, ["late", "users"]);
    for table in ["late", "users"] {
        collect(table, &snapshot.table(table)?.expect("a table of that name"))?;
    }
    Ok(model)
}

fn check(store: &Store) -> mapstone::Result<()> {
    let (found, expected) = (contents(store)?, expected());
    for (place, value) in &expected {
        assert_eq!(found.get(place), Some(value), "{place:?}");
    }
    assert_eq!(found.len(), expected.len());
    assert_eq!(store.stats()?.entries, expected.len() as u64);
    let Verification { damage, entries, .. } = store.verify()?;
    assert!(damage.is_empty(), "{damage:?}");
    assert_eq!(entries, expected.len() as u64);
    Ok(())
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("a copy");
        }
    }
}

/// Copies of all golden stores whose names end so, each with its name.
fn copies(dir: &Path, ending: &str) -> Vec<(String, PathBuf)> {
    let mut copies = Vec::new();
    for entry in fs::read_dir(golden()).expect("tests/golden") {
        let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
        if name.ends_with(ending) {
            copy(&golden().join(&name), &dir.join(&name));
            copies.push((name.clone(), dir.join(name)));
        }
    }
    assert!(!copies.is_empty(), "tests/golden holds a store that ends in {ending}");
    copies
}

#[test]
fn a_store_that_an_earlier_release_closed_opens() -> mapstone::Result<()> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, path) in copies(dir.path(), "-clean") {
        println!("{name}");
        check(&Store::open_read_only(&path)?)?;
        let store = Store::open(&path)?;
        check(&store)?;
        // It goes on from there.
        store.put("later", "more")?;
        store.delete("later")?;
        store.close()?;
        check(&Store::open(&path)?)?;
    }
    Ok(())
}

#[test]
fn a_store_that_an_earlier_release_left_open_recovers() -> mapstone::Result<()> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, path) in copies(dir.path(), "-killed") {
        println!("{name}");
        // These bytes are of another life, so a reader alone cannot know what to believe.
        assert!(matches!(Store::open_read_only(&path), Err(Error::NeedsRecovery { .. })));
        let store = Store::open(&path)?;
        check(&store)?;
        store.put("later", "more")?;
        store.delete("later")?;
        store.close()?;
        check(&Store::open_read_only(&path)?)?;
    }
    Ok(())
}

#[test]
fn a_store_that_is_made_now_holds_the_same() -> mapstone::Result<()> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    make_in(dir.path())?;
    check(&Store::open(dir.path().join(name("clean")))?)?;
    check(&Store::open(dir.path().join(name("killed")))?)
}

fn name(state: &str) -> String {
    format!("{}-{state}", env!("CARGO_PKG_VERSION"))
}

fn make_in(dir: &Path) -> mapstone::Result<()> {
    let path = dir.join(name("clean"));
    let store = Options::new().create_new(true).segment_size(4096).background(false).open(&path)?;
    follow(&store)?;
    // What a process that is killed here leaves behind.
    copy(&path, &dir.join(name("killed")));
    store.close()
}

#[test]
#[ignore = "writes into the sources: `cargo test --test golden -- --ignored make`"]
fn make() {
    for state in ["clean", "killed"] {
        let path = golden().join(name(state));
        assert!(!path.exists(), "{} is there already", path.display());
    }
    make_in(&golden()).expect("two new stores");
}

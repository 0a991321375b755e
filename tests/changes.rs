//! Changes: all that was committed, once, in order, and nothing that compaction copies; or an error that says why not.

use std::time::Duration;

use mapstone::{Bookmark, Change, Changes, Error, Options, Position, Store};

/// Segments of 64 KiB, and nothing happens by itself.
fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(1 << 16).background(false);
    options
}

fn new_store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = options().open(dir.path().join("store")).expect("a store");
    (dir, store)
}

/// One commit of several keys; without a value they are deleted.
fn together(store: &Store, ops: &[(&str, Option<&str>)]) {
    let mut batch = store.batch();
    for (key, value) in ops {
        match value {
            Some(value) => batch.put(key, value).expect("short"),
            None => batch.delete(key).expect("short"),
        };
    }
    batch.commit().expect("space");
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// What a change says, in short.
fn told(change: &Change<'_>) -> String {
    match change {
        Change::Put { table, key, value, .. } => {
            format!("{} {}={}", table.unwrap_or("-"), text(key), text(value))
        }
        Change::Delete { table, key, .. } => format!("{} {} gone", table.unwrap_or("-"), text(key)),
        Change::CreateTable { table } => format!("new {table}"),
        Change::DropTable { table } => format!("no {table}"),
        _ => unreachable!("there are no others"),
    }
}

/// All commits that there are.
fn commits(changes: &mut Changes) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    while let Some(commit) = changes.next_commit().expect("a commit") {
        assert_eq!(commit.len(), commit.iter().count());
        all.push(commit.iter().map(|change| told(&change.expect("a change"))).collect());
    }
    all
}

#[test]
fn every_commit_is_told_once_in_order() {
    let (_dir, store) = new_store();
    store.put("a", "1").expect("space");
    together(&store, &[("b", Some("2")), ("a", None), ("c", Some("3"))]);
    let middle = store.position();
    let users = store.table("users").expect("space");
    users.put("7", "Ada").expect("space");
    store.delete("nobody").expect("space");
    store.delete("b").expect("space");
    let mut all = store.changes(Position::default()).expect("from the beginning");
    let expected = [
        &["- a=1"][..],
        &["- b=2", "- a gone", "- c=3"],
        &["new users"],
        &["users 7=Ada"],
        &["- b gone"],
    ];
    assert_eq!(commits(&mut all), expected);
    assert_eq!(all.position(), store.position());
    assert!(commits(&mut all).is_empty(), "there is nothing more");
    let mut later = store.changes(middle).expect("a commit");
    assert_eq!(commits(&mut later), expected[2..]);
    store.put("d", "4").expect("space");
    assert_eq!(commits(&mut later), [["- d=4"]]);
    assert!(commits(&mut store.changes(store.position()).expect("the end")).is_empty());
}

/// Versions grow, and are those by which transactions and snapshots go.
#[test]
fn versions_and_positions_order_the_changes() {
    let (_dir, store) = new_store();
    for i in 0..2_000u32 {
        store.put((i % 7).to_le_bytes(), [7; 100]).expect("space");
    }
    let mut changes = store.changes(Position::default()).expect("from the beginning");
    let (mut last, mut count) = (Position::default(), 0);
    while let Some(commit) = changes.next_commit().expect("a commit") {
        for change in &commit {
            let Change::Put { version, .. } = change.expect("a change") else { panic!("a put") };
            assert!(last <= version && version < commit.position());
            count += 1;
        }
        last = commit.position();
    }
    assert_eq!((last, count), (store.position(), 2_000));
}

#[test]
fn tables_have_the_names_that_they_had() {
    let (_dir, store) = new_store();
    for round in 0..3 {
        for name in ["red", "blue"] {
            store.table(name).expect("space").put("round", round.to_string()).expect("space");
        }
        store.drop_table("red").expect("space");
        store.drop_table("blue").expect("space");
    }
    let one = |round: u32| {
        let table = |name| [vec![format!("new {name}")], vec![format!("{name} round={round}")]];
        let gone = |name| vec![format!("{name} round gone"), format!("no {name}")];
        [&table("red")[..], &table("blue")[..], &[gone("red"), gone("blue")]].concat()
    };
    let all = [one(0), one(1), one(2)].concat();
    let from = |at| commits(&mut store.changes(at).expect("a commit"));
    assert_eq!(from(Position::default()), all);
}

#[test]
fn only_what_was_asked_for_is_told() {
    let (_dir, store) = new_store();
    let users = store.table("users").expect("space");
    let (mut all, mut some) = (store.watch("").expect("all"), store.watch("b/").expect("some"));
    let (mut named, mut few) =
        (users.watch("").expect("a table"), users.watch("8").expect("of a table"));
    store.put("a/1", "1").expect("space");
    together(&store, &[("b/2", Some("2")), ("c", Some("3"))]);
    users.put("7", "Ada").expect("space");
    assert_eq!(commits(&mut all), [&["- a/1=1"][..], &["- b/2=2", "- c=3"]]);
    assert_eq!(commits(&mut some), [["- b/2=2"]]);
    assert_eq!(commits(&mut named), [["users 7=Ada"]]);
    assert!(commits(&mut few).is_empty());
    assert_eq!(few.position(), store.position(), "it has come there all the same");
}

#[test]
fn no_position_but_that_of_a_commit_will_do() {
    let (_dir, store) = new_store();
    for i in 0..500u32 {
        together(&store, &[(&i.to_string(), Some(&"1".repeat(100))), ("same", Some("2"))]);
    }
    let ends = {
        let (mut ends, mut all) = (Vec::new(), store.changes(Position::default()).expect("all"));
        while let Some(commit) = all.next_commit().expect("a commit") {
            ends.push(commit.position().as_u64());
        }
        ends
    };
    let end = store.position().as_u64();
    for number in (16..end + 64).step_by(16) {
        let found = store.changes(Position::from_u64(number));
        // Where a segment begins, or the log, nothing has been committed but what was before.
        if ends.contains(&number) || number % (1 << 16) == 64 {
            let mut changes = found.expect("a commit");
            let next = changes.next_commit().expect("a commit").map(|commit| commit.position());
            assert_eq!(next.map(Position::as_u64), ends.iter().copied().find(|end| *end > number));
        } else {
            assert!(matches!(found, Err(Error::NoSuchCommit { .. })), "{number}: {found:?}");
        }
    }
}

fn overwrite(store: &Store) {
    for i in 0..1_500u32 {
        store.put((i % 100).to_le_bytes(), [3; 200]).expect("space");
    }
}

/// Overwrites everything and compacts, so that segments go.
fn turn_over(store: &Store) {
    overwrite(store);
    store.compact(|_| true).expect("space");
}

#[test]
fn compaction_is_not_told_and_what_it_removes_is_missed() {
    let (_dir, store) = new_store();
    store.put("kept", "for ever").expect("space");
    let early = store.position();
    let mut slow = store.changes(early).expect("a commit");
    let mut quick = store.changes(early).expect("a commit");
    for _ in 0..3 {
        store.put("now", "1").expect("space");
        overwrite(&store);
        let seen: usize = commits(&mut quick).iter().map(Vec::len).sum();
        assert_eq!(seen, 1_501);
        store.compact(|_| true).expect("space");
        assert!(commits(&mut quick).is_empty(), "no copy is told");
    }
    // What it has mapped it may still tell.
    let error = loop {
        match slow.next_commit() {
            Ok(commit) => assert!(commit.is_some(), "something is missing"),
            Err(error) => break error,
        }
    };
    let Error::Compacted { position, oldest } = error else { panic!("{error}") };
    assert!(position >= slow.position().as_u64());
    assert!(matches!(store.changes(early), Err(Error::Compacted { .. })));
    assert!(matches!(store.changes(Position::default()), Err(Error::Compacted { .. })));
    let mut rest = store.changes(Position::from_u64(oldest)).expect("the oldest that there is");
    commits(&mut rest);
    assert_eq!(rest.position(), store.position());
}

/// What has been read stays mapped for as long as it is borrowed, though its segment is gone.
#[test]
fn a_commit_that_is_borrowed_outlives_its_segment() {
    let (_dir, store) = new_store();
    let mut changes = store.watch("").expect("the end");
    store.put("a", "first").expect("space");
    let commit = changes.next_commit().expect("a commit").expect("a commit");
    turn_over(&store);
    turn_over(&store);
    let first = commit.iter().next().expect("a change").expect("a change");
    assert_eq!(told(&first), "- a=first");
}

#[test]
fn another_process_goes_on_where_one_has_ended() {
    let (dir, store) = new_store();
    let path = dir.path().join("store");
    let reader = Store::open_read_only(&path).expect("a store");
    let mut there = reader.watch("").expect("the end");
    store.put("a", "1").expect("space");
    assert_eq!(commits(&mut there), [["- a=1"]]);
    let kept = there.bookmark().to_string();
    drop((there, reader));
    store.put("b", "2").expect("space");
    store.close().expect("a sync");
    let store = options().open(&path).expect("a store");
    store.put("c", "3").expect("space");
    let bookmark: Bookmark = kept.parse().expect("a bookmark");
    let mut later = store.changes(bookmark).expect("a commit");
    assert_eq!(commits(&mut later), [["- b=2"], ["- c=3"]]);
}

#[test]
fn waiting_ends_with_the_first_commit_that_was_asked_for() {
    let (dir, store) = new_store();
    let reader = Store::open_read_only(dir.path().join("store")).expect("a store");
    let mut watched = reader.watch("b").expect("the end");
    assert!(watched.wait(Duration::from_millis(20)).expect("a store").is_none());
    let writer = std::thread::spawn(move || {
        for key in ["a", "b", "c"] {
            std::thread::sleep(Duration::from_millis(20));
            store.put(key, key).expect("space");
        }
        store
    });
    let commit = watched.wait(Duration::from_secs(60)).expect("a store").expect("a commit");
    assert_eq!(format!("{commit:?}").matches("Put").count(), 1);
    drop(writer.join());
}

#[cfg(feature = "sim")]
mod cut {
    use super::*;
    use mapstone::sim::SimDisk;

    /// A commit that a power cut has taken back, and another that ends where it did.
    #[test]
    fn a_bookmark_is_not_taken_for_another_commit() {
        let mut replaced = 0;
        for seed in 0..60 {
            let disk = SimDisk::new(seed);
            let store = options().open_sim(&disk).expect("a store");
            store.put("a", "1").expect("space");
            store.sync().expect("a sync");
            let durable = store.watch("").expect("the end").bookmark();
            for i in 0..700u32 {
                store.put(i.to_le_bytes(), [1; 100]).expect("space");
            }
            let mut ahead = store.changes(durable).expect("a commit");
            let mut bookmarks = vec![durable];
            while let Some(commit) = ahead.next_commit().expect("a commit") {
                bookmarks.push(commit.bookmark());
            }
            let disk = disk.power_cut();
            drop((ahead, store));
            let store = options().open_sim(&disk).expect("a store");
            let survived = store.watch("").expect("the end").position();
            for i in 0..700u32 {
                store.put(i.to_le_bytes(), [2; 100]).expect("space");
            }
            for bookmark in bookmarks {
                match store.changes(bookmark) {
                    Ok(mut changes) => {
                        // What it saw is there, and everything after it is new to it.
                        let mut keys = 0u32;
                        while let Some(commit) = changes.next_commit().expect("a commit") {
                            keys += u32::try_from(commit.len()).expect("few");
                        }
                        assert!(bookmark.position() <= survived && keys >= 700, "seed {seed}");
                    }
                    Err(Error::NoSuchCommit { .. }) => {
                        let again = store.changes(bookmark.position()).is_ok();
                        replaced += u32::from(again);
                    }
                    Err(other) => panic!("seed {seed}: {other}"),
                }
            }
            assert!(store.changes(durable).is_ok(), "seed {seed}");
        }
        assert!(replaced > 0, "no commit ended where another had");
    }
}

//! A handle that was opened before a fork, in the child and in the parent.

use std::fs;
use std::path::Path;
use std::time::Duration;

use mapstone::{Error, Options, Store};

use crate::{KEYS, Part, Player, assert_holds, eventually, fill, filled, options, plays, say};

pub(crate) const PARTS: &[Part] = &[
    ("hold", hold),
    ("fork and drop", fork_and_drop),
    ("fork and close", fork_and_close),
    ("fork and be killed", fork_and_be_killed),
];

/// Opens for writing and stays until it is told to stop.
fn hold(place: &Path) {
    let _store = options().open(place).expect("the one writer");
    say("open");
    wait_for_stop(place);
}

fn wait_for_stop(place: &Path) {
    while !place.with_extension("stop").exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The number of the forked child, or None in the child, which has to end by `exit`.
fn fork() -> Option<i32> {
    // SAFETY: the child of this test process runs code that takes no lock of another thread, then ends at once.
    let number = unsafe { libc::fork() };
    assert!(number >= 0, "a fork");
    (number > 0).then_some(number)
}

fn exit(good: bool) -> ! {
    // SAFETY: ends this process and runs nothing else.
    unsafe { libc::_exit(if good { 0 } else { 1 }) }
}

fn wait_for(child: i32) {
    let mut status = -1;
    // SAFETY: waits for a child of this process; `status` outlives the call.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0));
}

fn second_writer_is_refused(place: &Path) {
    let opened = options().open(place);
    assert!(matches!(opened, Err(Error::Locked { .. })), "{opened:?}");
}

/// In the child every write is refused, reads go on and see what the parent commits, and dropping the handle there leaves the
/// parent the one writer.
fn fork_and_drop(place: &Path) {
    for background in [false, true] {
        let store = options().background(background).open(place).expect("the one writer");
        store.put("from", "parent").expect("space");
        let go = place.with_extension(if background { "go 1" } else { "go 2" });
        let Some(child) = fork() else {
            let forked = |result: mapstone::Result<()>| matches!(result, Err(Error::Forked));
            let mut batch = store.batch();
            batch.put("key", "child").expect("small");
            let refused = forked(store.put("key", "child"))
                && forked(store.put_with("key", 5, |_| ()))
                && forked(store.delete("from").map(drop))
                && forked(batch.commit().map(drop))
                && forked(store.table("new").map(drop))
                && forked(store.drop_table("t").map(drop))
                && forked(store.sync().map(drop))
                && forked(store.checkpoint().map(drop));
            let reads = store.get("from").is_ok_and(|v| v.as_deref() == Some(b"parent"))
                && store.verify().is_ok_and(|verification| verification.is_ok());
            fs::write(&go, "").expect("a file");
            let sees = eventually(|| store.contains("later").expect("sound").then_some(true));
            drop(batch);
            exit(store.close().is_ok() && refused && reads && sees)
        };
        eventually(|| go.exists().then_some(()));
        store.put("later", "parent").expect("still the writer");
        wait_for(child);
        second_writer_is_refused(place);
        fill(&store, 0..KEYS);
        store.checkpoint().expect("still the writer");
        assert_holds(&store, 0..KEYS);
        assert!(!store.contains("key").expect("sound"), "written by a child");
        store.delete("later").expect("still the writer");
        store.close().expect("a clean close");
    }
    say("done");
}

#[test]
fn a_child_reads_on_writes_nothing_and_releases_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("store");
    plays("fork and drop", &place);
    let store = Options::new().create(false).open(&place).expect("closed cleanly");
    assert_holds(&store, 0..KEYS);
}

/// The parent closes while a child lives that has the same descriptors.
fn fork_and_close(place: &Path) {
    let store = filled(place);
    let Some(child) = fork() else {
        wait_for_stop(place);
        exit(store.get("key 1").is_ok_and(|value| value.is_some()))
    };
    store.close().expect("a clean close");
    let store = options().open(place).expect("closed, whatever the child has");
    second_writer_is_refused(place);
    fill(&store, KEYS..KEYS + 50);
    fs::write(place.with_extension("stop"), "").expect("a file");
    wait_for(child);
    // Nor does the end of the child release what was locked since.
    second_writer_is_refused(place);
    assert_holds(&store, 0..KEYS + 50);
}

#[test]
fn a_parent_that_closes_frees_the_store_though_a_child_lives() {
    let dir = tempfile::tempdir().expect("a directory");
    plays("fork and close", &dir.path().join("store"));
}

/// Says the child's number, and waits to be killed.
fn fork_and_be_killed(place: &Path) {
    let store = filled(place);
    let Some(child) = fork() else {
        wait_for_stop(place);
        exit(store.get("key 1").is_ok_and(|value| value.is_some()))
    };
    say(child);
    std::thread::sleep(Duration::from_secs(60));
}

/// The locks die with the last process that has them: here a forked child, which may still read.
#[test]
fn a_child_keeps_the_store_locked_when_its_parent_is_killed() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("store");
    let mut parent = Player::start("fork and be killed", &place);
    parent.says().expect("a child's number");
    let number = parent.child.id();
    parent.child.kill().expect("SIGKILL");
    parent.child.wait().expect("its end");
    let opened = options().open(&place);
    assert!(matches!(opened, Err(Error::Locked { pid: Some(pid), .. }) if pid == number));
    let reader = Store::open_read_only(&place).expect("beside whoever");
    assert_holds(&reader, 0..KEYS);
    fs::write(place.with_extension("stop"), "").expect("a file");
    let store = eventually(|| match options().open(&place) {
        Err(Error::Locked { .. }) => None,
        opened => Some(opened.expect("the locks are gone")),
    });
    assert_holds(&store, 0..KEYS);
}

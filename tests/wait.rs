//! Waiting for a commit: in other threads, in other processes, without permission to write, and beside waiters that die.
//!
//! A child is this same test binary, told by its environment where the store is.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mapstone::Store;

const PLACE: &str = "MAPSTONE_TEST_PLACE";
const SAYS: &str = "child: ";
const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_commit_wakes_all_who_wait() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path().join("db")).expect("a new store");
    let reader = Store::open_read_only(store.path()).expect("a reader");
    let before = store.position();
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..8)
            .map(|i| {
                let handle = if i % 2 == 0 { &store } else { &reader };
                scope.spawn(move || handle.wait(before, LONG))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(50));
        let start = Instant::now();
        store.put("key", "value").expect("space");
        for waiter in waiters {
            let woken = waiter.join().expect("no panic").expect("readable");
            assert_eq!(woken, Some(store.position()));
        }
        assert!(start.elapsed() < Duration::from_secs(1), "woken, not found by looking");
    });
}

#[test]
fn what_is_there_already_is_not_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path().join("db")).expect("a new store");
    let before = store.position();
    store.put("key", "value").expect("space");
    assert_eq!(store.wait(before, LONG).expect("readable"), Some(store.position()));
    assert_eq!(store.wait(before, Duration::ZERO).expect("readable"), Some(store.position()));
}

/// Compaction appends copies, and so moves the position.
#[test]
fn compaction_is_not_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut options = mapstone::Options::new();
    let store = options
        .segment_size(1 << 16)
        .compaction(None)
        .open(dir.path().join("db"))
        .expect("a new store");
    for round in 0..4 {
        for key in 0..200u32 {
            let key = if key % 2 == 0 { format!("{key}") } else { format!("{key} of {round}") };
            store.put(key, [7; 200]).expect("space");
        }
    }
    let reader = mapstone::Store::open_read_only(store.path()).expect("a reader");
    let before = store.position();
    while store.position() == before {
        assert!(!store.compact_step(1 << 14).expect("space").done, "something is to be moved");
    }
    for handle in [&store, &reader] {
        let woken = handle.wait(before, Duration::from_millis(50)).expect("readable");
        assert_eq!(woken, None);
    }
    store.put("key", "value").expect("space");
    assert_eq!(reader.wait(before, LONG).expect("readable"), Some(store.position()));
}

#[test]
fn the_time_is_over_when_it_is_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path().join("db")).expect("a new store");
    store.put("key", "value").expect("space");
    for timeout in [0, 1, 20, 1500].map(Duration::from_millis) {
        let start = Instant::now();
        assert_eq!(store.wait(store.position(), timeout).expect("readable"), None);
        assert!(start.elapsed() >= timeout);
    }
}

#[test]
fn no_commit_is_slept_through() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path().join("db")).expect("a new store");
    let reader = Store::open_read_only(store.path()).expect("a reader");
    let (tell, told) = mpsc::channel();
    let mut position = reader.position();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while let Some(next) = reader.wait(position, LONG).expect("readable") {
                position = next;
                if reader.get("last").expect("sound").is_some() {
                    break;
                }
                // Nobody there to be told is the end of the test.
                let _ = tell.send(position);
            }
        });
        for i in 0..2000u32 {
            store.put("key", i.to_le_bytes()).expect("space");
            let seen = told.recv_timeout(LONG).expect("woken");
            assert!(seen <= store.position());
            // A waiter that was late has seen this one already.
            while told.try_recv().is_ok() {}
        }
        store.put("last", "").expect("space");
    });
}

fn waiter(store: &Path, user: Option<u32>) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("the test binary"));
    command.args(["--exact", "play_a_part", "--nocapture", "--test-threads=1"]);
    command.env(PLACE, store).stdout(Stdio::piped());
    user.map(|user| command.uid(user));
    command.spawn().expect("a child process")
}

/// Waits until the child says something that begins so; what follows it.
fn said(child: &mut Child, what: &str) -> String {
    let out = child.stdout.as_mut().expect("piped");
    let mut line = String::new();
    // One byte at a time, so that what comes later is left in the pipe.
    let mut lines = BufReader::with_capacity(1, out);
    while lines.read_line(&mut line).expect("a pipe") > 0 {
        if let Some(rest) = line.trim_end().strip_prefix(SAYS).and_then(|l| l.strip_prefix(what)) {
            return rest.to_owned();
        }
        line.clear();
    }
    panic!("a child that did not say {what:?}");
}

fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{SAYS}{what}").and_then(|()| out.flush()).expect("a parent that listens");
}

/// The child: waits for commit after commit, and says which one it sees.
#[test]
fn play_a_part() {
    let Some(place) = std::env::var_os(PLACE).map(PathBuf::from) else { return };
    let store = Store::open_read_only(place).expect("a store");
    let mut position = store.position();
    say("ready");
    while let Some(next) = store.wait(position, LONG).expect("readable") {
        position = next;
        let number = store.get("number").expect("sound");
        let number = number.map(|value| String::from_utf8_lossy(&value).into_owned());
        say(&format!("saw {}", number.as_deref().unwrap_or("nothing")));
        if number.as_deref() == Some("last") {
            return;
        }
    }
}

#[test]
fn a_commit_wakes_another_process_and_a_waiter_that_died_is_no_harm() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path().join("db")).expect("a new store");
    let mut doomed = waiter(store.path(), None);
    let mut child = waiter(store.path(), None);
    said(&mut doomed, "ready");
    said(&mut child, "ready");
    std::thread::sleep(Duration::from_millis(50));
    doomed.kill().and_then(|()| doomed.wait()).expect("a child");
    for number in ["1", "2", "last"] {
        store.put("number", number).expect("space");
        assert_eq!(said(&mut child, "saw "), number);
    }
    assert!(child.wait().expect("its end").success());
}

/// A writer ends, something happens to its store, and the next one commits: whoever waited for the first is woken.
fn hand_over(between: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path().join("db")).expect("a new store");
    let path = store.path().to_owned();
    store.put("number", "1").expect("space");
    let mut child = waiter(&path, None);
    said(&mut child, "ready");
    store.close().expect("space");
    between(&path);
    let store = Store::open(&path).expect("a store");
    let start = Instant::now();
    store.put("number", "last").expect("space");
    while said(&mut child, "saw ") != "last" {}
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(child.wait().expect("its end").success());
}

#[test]
fn the_next_writer_wakes_those_who_waited_for_the_last() {
    hand_over(|_| ());
}

/// The file that waiters sleep on holds nothing: it may go at any time, and is made again. They look again within a second.
#[test]
fn a_bell_that_is_removed_is_found_again() {
    hand_over(|path| std::fs::remove_file(path.join("waiters")).expect("a file"));
}

#[test]
fn who_may_only_read_waits_too() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: a waiter of another user, for want of root");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path().join("db")).expect("a new store");
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("root");
    };
    open(dir.path(), 0o755);
    open(store.path(), 0o755);
    open(&store.path().join("log"), 0o755);
    for place in [store.path().to_owned(), store.path().join("log")] {
        for entry in std::fs::read_dir(place).expect("a directory") {
            let entry = entry.expect("an entry").path();
            if entry.is_file() {
                open(&entry, 0o644);
            }
        }
    }
    let mut child = waiter(store.path(), Some(65534));
    said(&mut child, "ready");
    for number in ["1", "last"] {
        store.put("number", number).expect("space");
        assert_eq!(said(&mut child, "saw "), number);
    }
    assert!(child.wait().expect("its end").success());
}

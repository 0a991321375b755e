//! Several processes on one store: a writer that is killed again and again, readers that stay, and what no one may do.
//!
//! A child is this same test binary, told by its environment which part to play.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use mapstone::{Durability, Error, Options, Store};

const ROLE: &str = "MAPSTONE_TEST_ROLE";
const PLACE: &str = "MAPSTONE_TEST_PLACE";
/// Keys that every batch sets to its own number.
const GROUP: u64 = 40;
/// Keys that every batch adds.
const GROWTH: u64 = 25;

fn group() -> Vec<String> {
    (0..GROUP).map(|i| format!("group {i}")).collect()
}

fn grown(batch: u64, i: u64) -> String {
    format!("batch {batch} key {i}")
}

/// Small enough that all structures roll over many times in a second.
fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(64 << 10).checkpoint_interval(128 << 10);
    options
}

fn spawn(role: &str, place: &Path) -> Child {
    let program = std::env::current_exe().expect("the test binary");
    command(&program, role, place).spawn().expect("a child process")
}

fn command(program: &Path, role: &str, place: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", "play_a_part", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(PLACE, place).stdout(Stdio::piped());
    command
}

/// Lines that a child says to its parent begin with this, as the harness prints lines too.
const SAYS: &str = "child: ";

fn say(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{SAYS}{line}").and_then(|()| out.flush()).expect("a parent that listens");
}

struct Told(BufReader<ChildStdout>);

/// A child that has said all it has to say ends well; its harness goes on printing until then.
fn ends_well(mut child: Child, mut told: Told) {
    while told.next().is_some() {}
    assert!(child.wait().expect("its end").success());
}

impl Told {
    fn by(child: &mut Child) -> Told {
        Told(BufReader::new(child.stdout.take().expect("piped")))
    }

    /// What the child says next; None when it has ended.
    fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.0.read_line(&mut line).expect("a pipe") > 0 {
            if let Some(said) = line.trim_end().strip_prefix(SAYS) {
                return Some(said.to_owned());
            }
            line.clear();
        }
        None
    }
}

#[test]
fn play_a_part() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let place = PathBuf::from(std::env::var_os(PLACE).expect("a place to play"));
    match role.as_str() {
        "writer" => write(&place),
        "reader" => read(&place),
        "guest" => visit(&place),
        "getter" => get_a_million(&place),
        "parent" => fork_and_write(&place),
        "committers" => commit_side_by_side(&place),
        "second" => match Store::open(&place) {
            Err(Error::Locked { pid, .. }) => say(pid.expect("the holder's process id")),
            other => panic!("{other:?}"),
        },
        other => panic!("no such role: {other}"),
    }
}

/// Commits batch after batch and says the number of each that is committed.
fn write(place: &Path) {
    let store = options().open(place).expect("the one writer");
    let keys = group();
    let mut batch = store.batch();
    for number in number_of(&store).map_or(0, |last| last + 1).. {
        for key in &keys {
            batch.put(key, number.to_le_bytes()).expect("small");
        }
        for i in 0..GROWTH {
            batch.put(grown(number, i), number.to_le_bytes()).expect("small");
        }
        batch.commit().expect("space");
        say(number);
    }
}

/// The number of the last batch; all keys of the group must agree on it.
fn number_of(store: &Store) -> Option<u64> {
    let values = store.get_many(&group()).expect("a sound store");
    let numbers: Vec<Option<u64>> = values
        .into_iter()
        .map(|value| value.map(|value| *value.view().expect("eight bytes")))
        .collect();
    assert!(numbers.windows(2).all(|pair| pair[0] == pair[1]), "half a batch: {numbers:?}");
    numbers[0]
}

/// Reads until it is told to stop, and says how often it has looked.
fn read(place: &Path) {
    let store = Store::open_read_only(place).expect("beside the writer");
    say("ready");
    let (mut looks, mut last) = (0u64, None);
    while !place.with_extension("stop").exists() {
        for _ in 0..50 {
            let number = number_of(&store);
            assert!(number >= last, "{last:?} was followed by {number:?}");
            last = number;
            let Some(number) = number else { continue };
            let i = looks % GROWTH;
            for number in [number, looks % (number + 1)] {
                let value = store.get(grown(number, i)).expect("sound").expect("committed");
                assert_eq!(*value.view::<u64>().expect("eight bytes"), number);
            }
            assert!(store.get(grown(number + 1_000_000, i)).expect("sound").is_none());
            looks += 1;
        }
        let snapshot = store.snapshot().expect("memory");
        let seen = snapshot.get("group 0").expect("sound").map(|value| value.to_vec());
        for key in group() {
            let value = snapshot.get(&key).expect("sound").map(|value| value.to_vec());
            assert_eq!(value, seen, "{key} in a snapshot");
        }
    }
    say(looks);
}

#[test]
fn readers_stay_while_writers_are_killed() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("store");
    drop(options().open(&place).expect("a fresh store"));
    let mut readers: Vec<(Child, Told)> = (0..3)
        .map(|_| {
            let mut child = spawn("reader", &place);
            let told = Told::by(&mut child);
            (child, told)
        })
        .collect();
    for (_, told) in &mut readers {
        assert_eq!(told.next().as_deref(), Some("ready"));
    }
    let mut acknowledged = None;
    for round in 0..12u64 {
        let mut writer = spawn("writer", &place);
        let mut told = Told::by(&mut writer);
        let first = told.next().expect("a batch");
        let until = Instant::now() + Duration::from_millis(30 + 37 * (round * 7 % 11));
        let mut last = first.parse::<u64>().expect("a number");
        assert!(acknowledged.is_none_or(|before| last > before), "a batch was lost");
        while Instant::now() < until {
            last = told.next().expect("a batch").parse().expect("a number");
        }
        writer.kill().expect("SIGKILL");
        writer.wait().expect("its end");
        while let Some(more) = told.next() {
            last = more.parse().expect("a number");
        }
        acknowledged = Some(last);
    }
    std::fs::write(place.with_extension("stop"), "").expect("a file");
    for (child, mut told) in readers {
        let looks: u64 = told.next().expect("a count").parse().expect("a number");
        ends_well(child, told);
        assert!(looks > 0, "a reader that saw nothing");
    }
    let store = options().open(&place).expect("recovery");
    assert!(number_of(&store) >= acknowledged);
    let verification = store.verify().expect("readable");
    assert!(verification.is_ok(), "{:?}", verification.damage);
}

#[test]
fn a_second_writer_is_told_who_is_the_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("store");
    let _store = Store::open(&place).expect("a fresh store");
    let mut second = spawn("second", &place);
    let mut told = Told::by(&mut second);
    assert_eq!(told.next(), Some(std::process::id().to_string()));
    ends_well(second, told);
    // A second handle in this process is a second writer too.
    match Store::open(&place) {
        Err(Error::Locked { pid: Some(pid), .. }) => assert_eq!(pid, std::process::id()),
        other => panic!("{other:?}"),
    }
}

/// Reads a store that it may not write.
fn visit(place: &Path) {
    assert!(std::fs::write(place.join("intruder"), "").is_err(), "this user may write");
    let store = Store::open_read_only(place).expect("no write permission is needed");
    assert_eq!(store.get("key").expect("sound").as_deref(), Some(&b"value"[..]));
    assert!(matches!(store.put("key", "other"), Err(Error::ReadOnly)));
    assert!(Store::open(place).is_err());
    say("read");
}

#[test]
fn reading_needs_no_permission_to_write() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;

    let dir = tempfile::tempdir().expect("a directory");
    let allow = |path: &Path, mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, permissions).expect("its owner may");
    };
    allow(dir.path(), 0o755);
    let program = dir.path().join("visitor");
    std::fs::copy(std::env::current_exe().expect("this binary"), &program).expect("a copy");
    allow(&program, 0o755);
    let place = dir.path().join("store");
    let store = Store::open(&place).expect("a fresh store");
    store.put("key", "value").expect("space");
    for folder in [&place, &place.join("log")] {
        for entry in std::fs::read_dir(folder).expect("a directory") {
            let path = entry.expect("an entry").path();
            allow(&path, if path.is_dir() { 0o555 } else { 0o444 });
        }
        allow(folder, 0o555);
    }
    let mut command = command(&program, "guest", &place);
    if std::fs::metadata(&place).expect("there").uid() == 0 {
        command.uid(65534).gid(65534);
    }
    let mut guest = command.current_dir("/").spawn().expect("a child of another user");
    let mut told = Told::by(&mut guest);
    assert_eq!(told.next().as_deref(), Some("read"));
    ends_well(guest, told);
    for folder in [&place, &place.join("log")] {
        allow(folder, 0o755);
    }
}

fn get_a_million(place: &Path) {
    let store = Store::open_read_only(place).expect("a closed store");
    let keys: Vec<String> = (0..1000).map(|i| format!("key {i}")).collect();
    for key in &keys {
        assert!(store.get(key).expect("sound").is_some());
    }
    say("START");
    let mut bytes = 0;
    for _ in 0..1000 {
        for key in &keys {
            bytes += store.get(key).expect("sound").expect("there").len();
        }
    }
    say("END");
    assert_eq!(bytes, 5_000_000);
}

/// The system calls of a child in `role`, one a line; None (said visibly) where they cannot be counted.
fn system_calls(role: &str, place: &Path) -> Option<Vec<String>> {
    let trace = place.with_extension("trace");
    let program = std::env::current_exe().expect("this binary");
    let plain = command(&program, role, place);
    let mut traced = Command::new("strace");
    traced.arg("-f").arg("-o").arg(&trace).arg(&program).args(plain.get_args());
    traced.env(ROLE, role).env(PLACE, place).stdout(Stdio::null());
    match traced.status() {
        Ok(status) => assert!(status.success()),
        Err(error) => {
            println!("SKIPPED: counting system calls needs strace ({error})");
            return None;
        }
    }
    let trace = std::fs::read_to_string(trace).expect("a trace");
    Some(trace.lines().map(str::to_owned).collect())
}

#[test]
fn a_million_gets_make_no_system_call() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("store");
    let store = Store::open(&place).expect("a fresh store");
    for i in 0..1000 {
        store.put(format!("key {i}"), "value").expect("space");
    }
    drop(store);
    let Some(lines) = system_calls("getter", &place) else { return };
    let find = |mark: &str| lines.iter().position(|line| line.contains(mark));
    let start = find("child: START").expect("a start");
    let end = find("child: END").expect("an end");
    // The harness's main thread may still be about to wait for this one.
    let thread = lines[start].split_whitespace().next();
    let between: Vec<&String> = lines[start + 1..end]
        .iter()
        .filter(|line| line.split_whitespace().next() == thread)
        .filter(|line| !line.contains("write(1, \"\\n\""))
        .collect();
    assert!(between.is_empty(), "{between:?}");
}

const COMMITTERS: usize = 16;
const COMMITS: usize = 20;

fn commit_side_by_side(place: &Path) {
    let store = Options::new().background(false).open(place).expect("a fresh store");
    std::thread::scope(|scope| {
        for thread in 0..COMMITTERS {
            let mut batch = store.batch();
            scope.spawn(move || {
                for i in 0..COMMITS {
                    batch.put(format!("{thread} {i}"), "value").expect("small");
                    batch.commit_with(Durability::Immediate).expect("a sound disk");
                }
            });
        }
    });
    let stats = store.stats().expect("sound");
    assert_eq!(stats.entries, (COMMITTERS * COMMITS) as u64);
    assert_eq!(stats.durable, stats.committed);
}

#[test]
fn concurrent_durable_commits_share_a_sync() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("store");
    let Some(lines) = system_calls("committers", &place) else { return };
    let syncs = lines.iter().filter(|line| line.contains("msync(")).count();
    assert!(syncs > 0);
    assert!(syncs < COMMITTERS * COMMITS / 2, "{syncs} syncs for {} commits", COMMITTERS * COMMITS);
}

/// Forks with an open store; the child may not write, and its end closes nothing.
fn fork_and_write(place: &Path) {
    unsafe extern "C" {
        fn fork() -> i32;
        fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
        fn _exit(status: i32) -> !;
    }
    let store = Store::open(place).expect("a fresh store");
    store.put("key", "parent").expect("space");
    // SAFETY: the child makes no call but those below, none of which needs a lock that another thread may hold.
    let child = unsafe { fork() };
    assert!(child >= 0, "a fork");
    if child == 0 {
        let refused = matches!(store.put("key", "child"), Err(Error::Forked));
        let reads = store.get("key").is_ok_and(|value| value.as_deref() == Some(b"parent"));
        drop(store);
        // SAFETY: ends this process at once.
        unsafe { _exit(if refused && reads { 0 } else { 1 }) };
    }
    let mut status = -1;
    // SAFETY: waits for the child just made; `status` outlives the call.
    let waited = unsafe { waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0));
    store.put("key", "parent again").expect("still the writer");
    store.close().expect("a clean close");
    say("forked");
}

#[test]
fn a_forked_child_may_read_but_not_write() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("store");
    let mut parent = spawn("parent", &place);
    let mut told = Told::by(&mut parent);
    assert_eq!(told.next().as_deref(), Some("forked"));
    ends_well(parent, told);
    let store = Options::new().create(false).open(&place).expect("closed cleanly");
    assert_eq!(store.get("key").expect("sound").as_deref(), Some(&b"parent again"[..]));
}

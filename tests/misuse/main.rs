//! What should not be done to a store, done to it: each case of docs/misuse.md on real files.
//!
//! A part that may end its process, forks, or handles signals is played by a child: this same binary, told by its environment
//! which part to play.

mod files;
mod fork;
mod guard;
mod permissions;
mod twice;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use mapstone::{Error, Options, Store};

const PART: &str = "MAPSTONE_TEST_PART";
const PLACE: &str = "MAPSTONE_TEST_PLACE";
/// A line that a child says to its parent begins with this, as the harness prints lines too.
const SAYS: &str = "child: ";
/// Keys that fill several segments.
const KEYS: usize = 300;

type Part = (&'static str, fn(&Path));

/// The part that a child plays; nothing in the test process itself.
#[test]
fn play_a_part() {
    let Ok(name) = std::env::var(PART) else { return };
    let place = PathBuf::from(std::env::var_os(PLACE).expect("a place to play"));
    let mut parts = fork::PARTS.iter().chain(guard::PARTS).chain(permissions::PARTS);
    let (_, play) = parts.find(|(part, _)| *part == name).expect("a part of that name");
    play(&place);
}

fn say(line: impl std::fmt::Display) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{SAYS}{line}").and_then(|()| out.flush()).expect("a parent that listens");
}

fn command(program: &Path, part: &str, place: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", "play_a_part", "--nocapture", "--test-threads=1"]);
    command.env(PART, part).env(PLACE, place).stdout(Stdio::piped());
    command
}

/// A child that plays a part, and what it says.
struct Player {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Player {
    fn start(part: &str, place: &Path) -> Player {
        Player::of(command(&std::env::current_exe().expect("the test binary"), part, place))
    }

    fn of(mut command: Command) -> Player {
        let mut child = command.spawn().expect("a child process");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        Player { child, out }
    }

    /// What it says next; None when it has ended.
    fn says(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.out.read_line(&mut line).expect("a pipe") > 0 {
            if let Some(said) = line.trim_end().strip_prefix(SAYS) {
                return Some(said.to_owned());
            }
            line.clear();
        }
        None
    }

    /// How it ended.
    fn end(mut self) -> std::process::ExitStatus {
        while let Some(said) = self.says() {
            eprintln!("{said}");
        }
        self.child.wait().expect("its end")
    }
}

fn plays(part: &str, place: &Path) {
    let end = Player::start(part, place).end();
    assert!(end.success(), "{part}: {end}");
}

/// Waits until something is so.
fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < patience, "it never came to be");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Small segments, and checkpoints only when they are asked for.
fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(64 << 10).background(false);
    options
}

fn key(i: usize) -> String {
    format!("key {i}")
}

/// Longer than a page, so that some pages hold nothing but a part of a value.
fn value(i: usize) -> Vec<u8> {
    vec![u8::try_from(i % 251).expect("small") + 1; 2000]
}

fn fill(store: &Store, keys: std::ops::Range<usize>) {
    for i in keys {
        store.put(key(i), value(i)).expect("space");
    }
}

/// A store with keys in several segments, open for writing.
fn filled(path: &Path) -> Store {
    let store = options().open(path).expect("a fresh store");
    fill(&store, 0..KEYS);
    store
}

fn assert_holds(store: &Store, keys: std::ops::Range<usize>) {
    for i in keys {
        assert_eq!(store.get(key(i)).expect("sound").as_deref(), Some(&value(i)[..]), "{i}");
    }
    let verification = store.verify().expect("readable");
    assert!(verification.is_ok(), "{:?}", verification.damage);
}

fn truncate(path: &Path, len: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("its owner may");
    file.set_len(len).expect("a shorter file");
}

fn is_lost<T>(result: mapstone::Result<T>, name: &str) -> bool {
    matches!(result, Err(Error::Lost { file, .. }) if file.ends_with(name))
}

fn is_root() -> bool {
    // SAFETY: only returns a number.
    unsafe { libc::geteuid() == 0 }
}

/// The last segment that has a name.
fn last_segment(path: &Path) -> PathBuf {
    let segments = std::fs::read_dir(path.join("log")).expect("a directory");
    segments.map(|entry| entry.expect("an entry").path()).max().expect("a segment")
}

//! Soaks: everyone reads and writes at once, and every value says what it is. `MAPSTONE_LONG` is how many seconds each takes.
//!
//! The keys come in groups. A batch gives all keys of a group their next number, adds extra keys of that number, and deletes
//! those that are `WINDOW` older. So whoever sees one key knows what all the others must be.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mapstone::{Durability, Options, Snapshot, Store};

const GROUPS: u64 = 12;
const MEMBERS: u64 = 6;
const EXTRAS: u64 = 6;
const WINDOW: u64 = 40;
/// A store is given up for a new one when its round is over: its log only grows.
const ROUND: Duration = Duration::from_secs(4);

const ROLE: &str = "MAPSTONE_SOAK_ROLE";
const PLACE: &str = "MAPSTONE_SOAK_PLACE";

fn budget() -> Duration {
    let long = std::env::var("MAPSTONE_LONG").ok().map(|text| text.parse().expect("seconds"));
    Duration::from_secs(long.unwrap_or(5))
}

fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(256 << 10).checkpoint_interval(1 << 20);
    options
}

fn member(group: u64, i: u64) -> String {
    format!("group {group} member {i}")
}

fn extra(group: u64, number: u64, i: u64) -> String {
    format!("group {group} extra {number}.{i}")
}

/// A value that names its key and number, of a length that depends on both, with a checksum.
fn value(key: &str, number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend_from_slice(key.as_bytes());
    bytes.resize(bytes.len() + usize::try_from(number % 97).expect("small"), b'.');
    let sum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// The number in a value of `key`, which must be whole.
fn number(key: &str, bytes: &[u8]) -> u64 {
    let (body, sum) = bytes.split_last_chunk::<4>().expect("a checksum");
    assert_eq!(crc32fast::hash(body), u32::from_le_bytes(*sum), "the checksum of {key}");
    let (number, rest) = body.split_first_chunk::<8>().expect("a number");
    assert!(rest.starts_with(key.as_bytes()), "{key} has another key's value");
    u64::from_le_bytes(*number)
}

fn lookup(snapshot: &Snapshot, key: &str) -> Option<u64> {
    snapshot.get(key).expect("sound").map(|value| number(key, &value))
}

/// Commits the next batch of a group.
fn advance(store: &Store, group: u64, last: u64, durability: Durability) {
    let next = last + 1;
    let mut batch = store.batch();
    for i in 0..MEMBERS {
        let key = member(group, i);
        batch.put(&key, value(&key, next)).expect("small");
    }
    for i in 0..EXTRAS {
        let key = extra(group, next, i);
        batch.put(&key, value(&key, next)).expect("small");
        if let Some(old) = next.checked_sub(WINDOW) {
            batch.delete(extra(group, old, i)).expect("small");
        }
    }
    batch.commit_with(durability).expect("a sound disk");
}

/// What one reader has seen of each group.
#[derive(Default)]
struct Seen(HashMap<u64, u64>);

impl Seen {
    /// The number of a group never goes back.
    fn advance(&mut self, group: u64, number: u64) {
        let last = self.0.insert(group, number).unwrap_or(0);
        assert!(number >= last, "group {group} went from {last} back to {number}");
    }

    /// Reads one group, key by key or all at once.
    fn look(&mut self, store: &Store, turn: u64) {
        let (group, snapshot) = (turn % GROUPS, store.snapshot().expect("memory"));
        let keys: Vec<String> = (0..MEMBERS).map(|i| member(group, i)).collect();
        let numbers: Vec<Option<u64>> = if turn.is_multiple_of(2) {
            keys.iter().map(|key| lookup(&snapshot, key)).collect()
        } else {
            let values = snapshot.get_many(&keys).expect("sound");
            keys.iter().zip(values).map(|(key, v)| v.map(|v| number(key, &v))).collect()
        };
        assert!(numbers.windows(2).all(|pair| pair[0] == pair[1]), "half a batch: {numbers:?}");
        let Some(last) = numbers[0] else { return };
        self.advance(group, last);
        let young = last.saturating_sub(turn % 5 * 9).max(1);
        assert_eq!(lookup(&snapshot, &extra(group, young, turn % EXTRAS)), Some(young));
        for absent in [last + 1, last.saturating_sub(WINDOW)] {
            assert_eq!(lookup(&snapshot, &extra(group, absent, turn % EXTRAS)), None, "of {last}");
        }
        // Without a snapshot a value may be newer, and never older.
        let now = store.get(&keys[0]).expect("sound").expect("committed");
        assert!(number(&keys[0], &now) >= last);
    }
}

/// Reads everything that a snapshot holds: each key once, and neither too much nor too little.
fn sweep(snapshot: &Snapshot) {
    let mut found: HashMap<String, u64> = HashMap::new();
    for item in snapshot {
        let (key, bytes) = item.expect("sound");
        let key = String::from_utf8(key.to_vec()).expect("text");
        let number = number(&key, &bytes);
        assert_eq!(found.insert(key.clone(), number), None, "{key} twice");
    }
    let mut expected = 0;
    for group in 0..GROUPS {
        let Some(last) = found.get(&member(group, 0)).copied() else { continue };
        assert!((0..MEMBERS).all(|i| found.get(&member(group, i)) == Some(&last)));
        let window = last.saturating_sub(WINDOW) + 1..=last;
        for number in window {
            assert!((0..EXTRAS).all(|i| found.get(&extra(group, number, i)) == Some(&number)));
            expected += EXTRAS;
        }
        expected += MEMBERS;
    }
    assert_eq!(found.len() as u64, expected);
}

/// Runs rounds until the time is over, each on a store of its own.
fn rounds(mut round: impl FnMut(&Path, Duration)) {
    let end = Instant::now() + budget();
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
        let dir = tempfile::tempdir().expect("a directory");
        round(&dir.path().join("store"), left.min(ROUND));
    }
}

#[test]
fn threads_soak() {
    let (looks, commits) = (AtomicU64::new(0), AtomicU64::new(0));
    rounds(|place, time| {
        let store = options().open(place).expect("a fresh store");
        let stop = AtomicBool::new(false);
        let until = |mut turn: Box<dyn FnMut(u64) + '_>| {
            (0..).take_while(|_| !stop.load(Ordering::Relaxed)).for_each(&mut turn);
        };
        std::thread::scope(|scope| {
            let (store, until, looks, commits) = (&store, &until, &looks, &commits);
            for writer in 0..3 {
                scope.spawn(move || {
                    until(Box::new(move |turn| {
                        let durability = [Durability::Eventual, Durability::Immediate]
                            [usize::from(turn % 16 == 0)];
                        for group in (0..GROUPS).filter(|group| group % 3 == writer) {
                            advance(store, group, turn, durability);
                            commits.fetch_add(1, Ordering::Relaxed);
                        }
                    }));
                });
            }
            for reader in 0..2 {
                scope.spawn(move || {
                    let mut seen = Seen::default();
                    until(Box::new(move |turn| {
                        seen.look(store, turn * (reader + 5));
                        looks.fetch_add(1, Ordering::Relaxed);
                    }));
                });
            }
            scope.spawn(move || until(Box::new(|_| sweep(&store.snapshot().expect("memory")))));
            // An old snapshot stays as it is.
            scope.spawn(move || {
                until(Box::new(|_| {
                    let snapshot = store.snapshot().expect("memory");
                    let key = member(1, 1);
                    let first = lookup(&snapshot, &key);
                    for _ in 0..100 {
                        assert_eq!(lookup(&snapshot, &key), first);
                    }
                    sweep(&snapshot);
                    store.stats().expect("sound");
                }));
            });
            scope.spawn(move || {
                until(Box::new(|_| {
                    store.checkpoint().expect("a sound disk");
                    std::thread::sleep(Duration::from_millis(20));
                }));
            });
            std::thread::sleep(time);
            stop.store(true, Ordering::Relaxed);
        });
        let verification = store.verify().expect("readable");
        assert!(verification.is_ok(), "{:?}", verification.damage);
    });
    report("threads", &format!("{} commits, {} looks", total(&commits), total(&looks)));
    assert!(total(&commits) > 0 && total(&looks) > 0);
}

fn total(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

/// Past the harness, which keeps what a test that passes prints.
fn report(what: &str, figures: &str) {
    let _ = writeln!(std::io::stderr(), "soak of {what}: {figures}");
}

#[test]
fn play_a_part() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let place = PathBuf::from(std::env::var_os(PLACE).expect("a place to play"));
    match role.as_str() {
        "writer" => write(&place),
        "reader" => read(&place),
        other => panic!("no such role: {other}"),
    }
}

/// Goes on where the last writer was killed.
fn write(place: &Path) {
    let store = options().open(place).expect("the one writer");
    let snapshot = store.snapshot().expect("memory");
    sweep(&snapshot);
    let mut last: Vec<u64> =
        (0..GROUPS).map(|group| lookup(&snapshot, &member(group, 0)).unwrap_or(0)).collect();
    for turn in 0usize.. {
        for (group, last) in (0..).zip(&mut last) {
            let durability =
                [Durability::Eventual, Durability::Immediate][usize::from(turn % 32 == 0)];
            advance(&store, group, *last, durability);
            *last += 1;
        }
    }
}

/// Looks until the stop file is there, and says how often.
fn read(place: &Path) {
    let store = Store::open_read_only(place).expect("beside the writer");
    let (mut seen, mut turn) = (Seen::default(), u64::from(std::process::id()));
    let first = turn;
    while !place.with_extension("stop").exists() {
        for _ in 0..200 {
            seen.look(&store, turn);
            turn += 1;
        }
        sweep(&store.snapshot().expect("memory"));
    }
    writeln!(std::io::stdout(), "\nlooks: {}", turn - first).expect("a parent that listens");
}

fn spawn(role: &str, place: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("the test binary"));
    command.args(["--exact", "play_a_part", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(PLACE, place).stdout(Stdio::piped());
    command.spawn().expect("a child process")
}

/// Waits for a reader and returns how often it has looked.
fn looks_of(mut reader: Child) -> u64 {
    let lines = BufReader::new(reader.stdout.take().expect("piped")).lines();
    let said = lines.map_while(Result::ok).filter_map(|line| {
        line.strip_prefix("looks: ").map(|count| count.parse::<u64>().expect("a number"))
    });
    let looks = said.sum();
    assert!(reader.wait().expect("its end").success(), "a reader has found something");
    looks
}

#[test]
fn processes_soak() {
    let (mut looks, mut kills) = (0, 0);
    let mut random = u64::from(std::process::id());
    rounds(|place, time| {
        drop(options().open(place).expect("a fresh store"));
        let readers: Vec<Child> = (0..2).map(|_| spawn("reader", place)).collect();
        let end = Instant::now() + time;
        while Instant::now() < end {
            let mut writer = spawn("writer", place);
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            std::thread::sleep(Duration::from_millis(20 + (random >> 33) % 400));
            let early = writer.try_wait().expect("a child");
            assert_eq!(early, None, "a writer has found something");
            writer.kill().expect("SIGKILL");
            writer.wait().expect("its end");
            kills += 1;
        }
        std::fs::write(place.with_extension("stop"), "").expect("a file");
        looks += readers.into_iter().map(looks_of).sum::<u64>();
        let store = options().open(place).expect("recovery");
        sweep(&store.snapshot().expect("memory"));
        let verification = store.verify().expect("readable");
        assert!(verification.is_ok(), "{:?}", verification.damage);
    });
    report("processes", &format!("{kills} kills, {looks} looks"));
    assert!(looks > 0 && kills > 0);
}

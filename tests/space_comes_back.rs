//! Snapshots in other processes, some of which are killed, while the writer overwrites everything again and again: each keeps what
//! it saw, and once they go the files are small.
//!
//! A child is this same test binary, told by its environment which part to play. With `--nocapture` a table on stderr tells what
//! the files take over time. `MAPSTONE_LONG`: for so many seconds it begins anew, on the same store.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use mapstone::{Options, Snapshot, Store};

const PLACE: &str = "MAPSTONE_TEST_PLACE";
const KEYS: u32 = 6000;
const ROUNDS: u32 = 10;
/// How long compaction in the background has to bring the space back.
const PATIENCE: Duration = Duration::from_secs(30);
/// Begins a line that a child says to its parent.
const SAYS: &str = "child: ";

/// All but the size of a segment is what users get: compaction in the background above all.
fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(256 << 10);
    options
}

fn key(i: u32) -> Vec<u8> {
    format!("key {i}").into_bytes()
}

fn value(i: u32, round: u32) -> Vec<u8> {
    let word = (u64::from(i) << 32 | u64::from(round)).to_le_bytes();
    word.repeat(60 + i as usize % 30)
}

fn overwrite(store: &Store, round: u32) {
    for from in (0..KEYS).step_by(500) {
        let mut batch = store.batch();
        for i in from..from + 500 {
            batch.put(key(i), value(i, round)).expect("small");
        }
        if from + 500 == KEYS {
            batch.put("round", round.to_le_bytes()).expect("small");
        }
        batch.commit().expect("space");
    }
}

/// The round that a snapshot is of; everything in it must be of that round, byte by byte.
fn round_of(snapshot: &Snapshot) -> u32 {
    let round = snapshot.get("round").expect("sound").expect("the first round is over");
    let round = u32::from_le_bytes(round[..].try_into().expect("four bytes"));
    let mut count = 0;
    for item in snapshot {
        let (key, _) = item.expect("sound");
        count += u32::from(key.starts_with(b"key "));
    }
    assert_eq!(count, KEYS);
    for i in 0..KEYS {
        let found = snapshot.get(key(i)).expect("sound");
        assert!(found.as_deref() == Some(&value(i, round)[..]), "key {i} of round {round}");
    }
    round
}

fn say(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{SAYS}{line}").and_then(|()| out.flush()).expect("a parent that listens");
}

/// The part of a child: holds a snapshot until it is told to stop, and looks at it again and again.
#[test]
fn hold() {
    let Some(place) = std::env::var_os(PLACE).map(PathBuf::from) else { return };
    let store = Store::open_read_only(&place).expect("beside the writer");
    let snapshot = store.snapshot().expect("a snapshot");
    let round = round_of(&snapshot);
    say(round);
    while !place.with_extension("stop").exists() {
        assert_eq!(round_of(&snapshot), round);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(round_of(&snapshot), round);
    say("kept");
}

struct Holder {
    child: Child,
    told: BufReader<ChildStdout>,
}

impl Holder {
    /// A child that holds the last round.
    fn of(place: &Path, round: u32) -> Holder {
        let mut child = Command::new(std::env::current_exe().expect("the test binary"))
            .args(["--exact", "hold", "--nocapture", "--test-threads=1"])
            .env(PLACE, place)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child process");
        let told = BufReader::new(child.stdout.take().expect("piped"));
        let mut holder = Holder { child, told };
        assert_eq!(holder.next(), Some(round.to_string()));
        holder
    }

    fn next(&mut self) -> Option<String> {
        let lines = self.told.by_ref().lines().map(|line| line.expect("a pipe"));
        lines.filter_map(|line| line.strip_prefix(SAYS).map(str::to_owned)).next()
    }

    fn kill(self) {
        drop(self);
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tells on stderr what the files take as time goes by.
struct Table(Instant);

impl Table {
    fn new() -> Table {
        eprintln!("| seconds | after | snapshots | files, MiB | live, MiB | files / live |");
        eprintln!("| ---: | --- | ---: | ---: | ---: | ---: |");
        Table(Instant::now())
    }

    fn row(&self, store: &Store, after: &str) {
        let stats = store.stats().expect("figures");
        let holders = store.holders().expect("readable").len();
        let [files, live] = [stats.file_bytes, stats.live_bytes].map(|bytes| bytes as f64);
        let mib = f64::from(1 << 20);
        eprintln!(
            "| {:.1} | {after} | {holders} | {:.1} | {:.1} | {:.2} |",
            self.0.elapsed().as_secs_f64(),
            files / mib,
            live / mib,
            files / live
        );
    }
}

/// Waits until the files take less than that, by compaction in the background alone.
fn settle(store: &Store, most: u64) {
    let until = Instant::now() + PATIENCE;
    loop {
        let bytes = store.stats().expect("figures").file_bytes;
        if bytes < most {
            return;
        }
        assert!(Instant::now() < until, "{bytes} bytes, and not {most}, after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One test: ten rounds, of which other processes hold every third to the end. Those that hold the ones between are killed.
fn ten_rounds(store: &Store, place: &Path, first: u32, table: &Table) {
    overwrite(store, first);
    let mine = store.snapshot().expect("a snapshot");
    let (mut live, mut doomed) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        if round > 0 {
            overwrite(store, first + round);
        }
        match round % 3 {
            0 => live.push(Holder::of(place, first + round)),
            1 => doomed.push(Holder::of(place, first + round)),
            _ => doomed.drain(..).for_each(Holder::kill),
        }
        table.row(store, &format!("round {}", first + round));
    }
    doomed.drain(..).for_each(Holder::kill);
    let holders = store.holders().expect("readable");
    assert_eq!(
        holders.len(),
        5,
        "this one, the first and every third, and not the killed ones: {holders:?}"
    );
    assert!(holders.iter().all(|holder| holder.pid.is_some() && holder.age.is_some()));
    assert_eq!(round_of(&mine), first);
    std::fs::write(place.with_extension("stop"), "").expect("a file");
    for mut holder in live {
        assert_eq!(holder.next().as_deref(), Some("kept"));
        while holder.next().is_some() {}
        assert!(holder.child.wait().expect("its end").success());
    }
    std::fs::remove_file(place.with_extension("stop")).expect("nobody else looks");
    drop(mine);
    table.row(store, "they are gone");
    settle(store, store.stats().expect("figures").live_bytes * 22 / 10);
    table.row(store, "below 2.2");
    assert_eq!(round_of(&store.snapshot().expect("a snapshot")), first + ROUNDS);
}

#[test]
fn snapshots_stay_and_space_comes_back() {
    if std::env::var_os(PLACE).is_some() {
        return;
    }
    let long = std::env::var("MAPSTONE_LONG").map_or(0, |text| text.parse().expect("seconds"));
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("store");
    let store = options().open(&place).expect("a new store");
    let table = Table::new();
    let mut first = 0;
    loop {
        ten_rounds(&store, &place, first, &table);
        if table.0.elapsed().as_secs() >= long {
            break;
        }
        first += ROUNDS + 1;
    }
    let report = store.verify().expect("readable");
    assert!(report.is_ok(), "{:#?}", report.damage);
}

//! How soon another process has a commit, and how fast changes are read: `cargo bench --bench changes`.
//!
//! One process puts the time, every 200 us; another sleeps until there is a change, and compares. Beside it the same through a pipe,
//! which is what a wake-up takes at least. `MAPSTONE_LONG` sets the seconds for each (default 5), `MAPSTONE_BENCH_DIR` where
//! (default: the system's temporary directory).

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mapstone::{Change, Position, Store};

const PAUSE: Duration = Duration::from_micros(200);
/// What a child is told to do, and where.
const PART: &str = "MAPSTONE_BENCH_PART";
const PLACE: &str = "MAPSTONE_BENCH_PLACE";

fn nanoseconds() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).expect("after boot") * 1_000_000_000
        + u64::try_from(now.tv_nsec).expect("less than a second")
}

/// What the other side sent is the time at which it did so; 0 is the end.
struct Delays(Histogram<u64>);

impl Delays {
    fn new() -> Delays {
        Delays(Histogram::new(3).expect("three digits"))
    }

    fn add(&mut self, sent: [u8; 8]) -> bool {
        let sent = u64::from_le_bytes(sent);
        if sent != 0 {
            self.0.record((nanoseconds() - sent).max(1)).expect("it grows");
        }
        sent != 0
    }

    fn print(&self, what: &str) {
        let us = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        println!(
            "| {what} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} |",
            us(0.5),
            us(0.9),
            us(0.99),
            us(0.999),
            self.0.max() as f64 / 1e3,
        );
    }
}

fn wait_for_changes(place: &Path) {
    let store = Store::open_read_only(place).expect("a store");
    let mut changes = store.watch("").expect("the end");
    println!("ready");
    let mut delays = Delays::new();
    loop {
        let commit = changes.wait(Duration::from_secs(60)).expect("a store").expect("a commit");
        let change = commit.iter().next().expect("a change").expect("a change");
        let Change::Put { value, .. } = change else { panic!("a put") };
        if !delays.add(value[..].try_into().expect("eight bytes")) {
            break;
        }
    }
    delays.print("a commit, by `Changes::wait`");
}

fn wait_for_bytes() {
    println!("ready");
    let mut delays = Delays::new();
    let mut bytes = [0; 8];
    loop {
        std::io::stdin().read_exact(&mut bytes).expect("a pipe");
        if !delays.add(bytes) {
            break;
        }
    }
    delays.print("eight bytes, by a pipe");
}

/// Has a child wait, sends it the time again and again, and prints what it says.
fn send(part: &str, place: &Path, time: Duration, mut send: impl FnMut(&mut dyn Write, [u8; 8])) {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .env(PART, part)
        .env(PLACE, place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let (mut input, mut output) =
        (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let mut ready = [0; 6];
    output.read_exact(&mut ready).expect("it has begun");
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::thread::sleep(PAUSE);
        send(&mut input, nanoseconds().to_le_bytes());
    }
    send(&mut input, [0; 8]);
    let mut said = String::new();
    output.read_to_string(&mut said).expect("text");
    print!("{said}");
    assert!(child.wait().expect("it ends").success());
}

/// Changes a second, of commits of so many puts, with a value of 100 bytes.
fn read(dir: &Path, each: u32) {
    const CHANGES: u32 = 1_000_000;
    let store = Store::open(dir.join(format!("of {each}"))).expect("a new store");
    let mut batch = store.batch();
    for i in 0..CHANGES {
        batch.put(i.to_le_bytes(), [1; 100]).expect("short");
        if batch.len() == each as usize {
            batch.commit().expect("space");
        }
    }
    let begun = Instant::now();
    let (mut changes, mut count, mut bytes) =
        (store.changes(Position::default()).expect("all"), 0, 0);
    while let Some(commit) = changes.next_commit().expect("a commit") {
        for change in &commit {
            if let Change::Put { value, .. } = change.expect("a change") {
                count += 1;
                bytes += value.len();
            }
        }
    }
    assert_eq!((count, bytes), (CHANGES, CHANGES as usize * 100));
    println!("| {each} | {:.1} |", f64::from(CHANGES) / begun.elapsed().as_secs_f64() / 1e6);
}

fn main() {
    if let Some(part) = std::env::var_os(PART) {
        let place = PathBuf::from(std::env::var_os(PLACE).expect("a place"));
        return if part == "changes" { wait_for_changes(&place) } else { wait_for_bytes() };
    }
    let long = std::env::var("MAPSTONE_LONG").map_or(5, |text| text.parse().expect("seconds"));
    let time = Duration::from_secs(long);
    let root =
        std::env::var_os("MAPSTONE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(&root).expect("a directory");
    let place = dir.path().join("store");
    let store = Store::open(&place).expect("a new store");
    println!("| another process has | p50, us | p90, us | p99, us | p99.9, us | longest, us |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    send("changes", &place, time, |_, now| store.put("now", now).expect("space"));
    send("bytes", &place, time, |pipe, now| pipe.write_all(&now).expect("a pipe"));
    println!("\n| puts in a commit | changes read, M/s |");
    println!("| ---: | ---: |");
    for each in [1, 10, 1_000] {
        read(dir.path(), each);
    }
}

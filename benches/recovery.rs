//! How long it takes to open a store again: after its writer was killed, right after a checkpoint and with 64 MiB of log since
//! the last one, and after a power cut, for which another life is faked.
//!
//! `MAPSTONE_BENCH_KEYS` (default 5,000,000), `MAPSTONE_BENCH_ROUNDS` (default 5) and `MAPSTONE_BENCH_DIR` (default: the system's
//! temporary directory) set the scale.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use mapstone::{Options, Store};

const VALUE: usize = 100;
const BATCH: u64 = 1000;
/// Log since the last checkpoint when the writer is killed.
const LOG: u64 = 64 << 20;
/// Names the place and the part of a child process.
const PLACE: &str = "MAPSTONE_BENCH_PLACE";
const PART: &str = "MAPSTONE_BENCH_PART";
/// Where the life of the cells is in `meta` (docs/format.md).
const LIFE: u64 = 4096 + 96;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Bijective, so that keys are distinct, and without any order.
fn scramble(i: u64) -> [u8; 8] {
    let mut x = i.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x ^ (x >> 31)).to_le_bytes()
}

/// Puts the keys, again and again, as long as `more` says by their number.
fn put(store: &Store, keys: u64, more: impl Fn(u64) -> bool) {
    let mut batch = store.batch();
    let mut i = 0;
    while more(i) {
        for _ in 0..BATCH {
            batch.put(scramble(i % keys), [0x5A; VALUE]).expect("small");
            i += 1;
        }
        batch.commit().expect("space");
    }
}

/// In a child process: loads keys, perhaps writes on after a checkpoint, and dies without a close.
fn play_part(part: &str, place: &Path, keys: u64) {
    let store = Options::new().open(place).expect("a fresh store");
    put(&store, keys, |i| i < keys);
    if part != "cut" {
        let from = store.checkpoint().expect("a sound disk").as_u64();
        let log = if part == "killed" { LOG } else { 1 };
        put(&store, keys, |_| store.position().as_u64() - from < log);
    }
    println!(
        "{}",
        store.stats().expect("sound").committed - store.stats().expect("sound").checkpoint
    );
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

/// Loads and kills; returns how much log is to be replayed.
fn leave(part: &str, place: &Path, keys: u64) -> u64 {
    let _ = std::fs::remove_dir_all(place);
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program);
    child.env(PART, part).env(PLACE, place).env("MAPSTONE_BENCH_KEYS", keys.to_string());
    let output = child.output().expect("a child process");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number of bytes")
}

fn time_opening(place: &Path) -> Duration {
    let start = Instant::now();
    let store = Options::new().background(false).open(place).expect("recovery");
    let took = start.elapsed();
    assert!(store.get(scramble(0)).expect("sound").is_some());
    took
}

fn report(what: &str, log: u64, times: &mut [Duration]) {
    times.sort_unstable();
    let each: Vec<_> = times.iter().map(|time| format!("{time:.0?}")).collect();
    println!(
        "{what}, {:.0} MiB of log since the checkpoint: median {:.0?} ({})",
        log as f64 / (1 << 20) as f64,
        times[times.len() / 2],
        each.join(", ")
    );
}

fn main() {
    // `cargo test --benches` runs this too, with no wish for figures.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let keys = setting("MAPSTONE_BENCH_KEYS", 5_000_000);
    if let Some(place) = std::env::var_os(PLACE) {
        let part = std::env::var(PART).expect("a part");
        return play_part(&part, Path::new(&place), keys);
    }
    let rounds = setting("MAPSTONE_BENCH_ROUNDS", 5);
    let base = std::env::var_os("MAPSTONE_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(base).expect("a directory for the store");
    let place = dir.path().join("store");

    for part in ["idle", "killed"] {
        let (mut log, mut times) = (0, Vec::new());
        for _ in 0..rounds {
            log = leave(part, &place, keys);
            times.push(time_opening(&place));
        }
        report(&format!("After SIGKILL, {keys} keys"), log, &mut times);
    }

    let (mut log, mut times) = (0, Vec::new());
    for _ in 0..rounds.div_ceil(2) {
        log = leave("cut", &place, keys);
        let meta = File::options().write(true).open(place.join("meta")).expect("a store");
        meta.write_all_at(&[0x77; 8], LIFE).expect("space");
        times.push(time_opening(&place));
    }
    report(&format!("After a power cut, {keys} keys"), log, &mut times);
}

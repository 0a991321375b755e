//! The figures of docs/benchmarks.md: one thread, beside an in-memory `HashMap<Vec<u8>, Vec<u8>>` on the same work in the same run.
//!
//! `MAPSTONE_BENCH_KEYS` (default 5,000,000), `MAPSTONE_BENCH_ROUNDS` (default 5) and `MAPSTONE_BENCH_DIR` (default: the system's
//! temporary directory) set the scale. A round times each line once, in turn, so that both sides see the same machine;
//! the table gives medians over the rounds.

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use mapstone::{Durability, Options, Store};

const VALUE: usize = 100;
const BATCH: usize = 1000;
/// Names the part of a child process: "map", or where to put a store.
const PART: &str = "MAPSTONE_BENCH_PART";

type Map = HashMap<Vec<u8>, Vec<u8>>;

/// Bijective, so that keys are distinct, and without any order.
fn scramble(i: u64) -> [u8; 8] {
    let mut x = i.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x ^ (x >> 31)).to_le_bytes()
}

fn value(i: u64) -> [u8; VALUE] {
    let mut value = [0x5A; VALUE];
    value[..8].copy_from_slice(&i.to_le_bytes());
    value
}

/// Keys in an order that neither side was loaded in.
fn shuffled(keys: u64, salt: u64) -> Vec<u64> {
    let mut order: Vec<u64> = (0..keys).collect();
    let mut state = salt;
    for i in (1..order.len()).rev() {
        state = u64::from_le_bytes(scramble(state));
        let j = usize::try_from(state % (i as u64 + 1)).expect("a 64-bit target");
        order.swap(i, j);
    }
    order
}

/// Operations a second of each line, one figure a round.
#[derive(Default)]
struct Figures {
    lines: BTreeMap<&'static str, Vec<f64>>,
}

impl Figures {
    fn time(&mut self, line: &'static str, operations: u64, work: impl FnOnce()) {
        let start = Instant::now();
        work();
        self.add(line, operations as f64 / start.elapsed().as_secs_f64());
    }

    fn add(&mut self, line: &'static str, rate: f64) {
        self.lines.entry(line).or_default().push(rate);
        eprintln!("{line:<28} {:8.2} M/s", rate / 1e6);
    }

    fn median(&self, line: &str) -> f64 {
        let mut rates = self.lines[line].clone();
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    }

    fn row(&self, work: &str, own: &str, other: &str, against: &str, wanted: f64) {
        let (own, other) = (self.median(own), self.median(other));
        let ratio = own / other;
        let wanted = match wanted {
            0.0 => "no bound".to_owned(),
            wanted if ratio >= wanted => format!("{wanted}"),
            wanted => format!("{wanted} **(missed)**"),
        };
        println!(
            "| {work} | {:.2} | {against}: {:.2} | {ratio:.2} | {wanted} |",
            own / 1e6,
            other / 1e6
        );
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn load(path: &Path, keys: u64) -> Store {
    let store = Store::open(path).expect("a fresh store");
    let mut batch = store.batch();
    for i in 0..keys {
        batch.put(scramble(i), value(i)).expect("small");
        if batch.len() == BATCH {
            batch.commit().expect("space");
        }
    }
    batch.commit().expect("space");
    store
}

fn load_map(keys: u64) -> Map {
    let mut map = Map::new();
    for i in 0..keys {
        map.insert(scramble(i).to_vec(), value(i).to_vec());
    }
    map
}

/// In a child process: loads into a store at a path, or into a map, and prints the operations a second.
fn play_part(part: &str, keys: u64) {
    let start = Instant::now();
    let rate = |start: Instant| keys as f64 / start.elapsed().as_secs_f64();
    let rate = if part == "map" {
        let map = load_map(keys);
        let rate = rate(start);
        drop(map);
        rate
    } else {
        let store = load(Path::new(part), keys);
        let rate = rate(start);
        drop(store);
        rate
    };
    println!("{rate}");
}

/// Times a load in a process of its own: what the other side has left in the allocator would be charged to this one.
fn time_load(figures: &mut Figures, line: &'static str, part: &Path) {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).env(PART, part).output().expect("a child process");
    let rate = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a rate");
    figures.add(line, rate);
}

fn reads(store: &Store, map: &Map, keys: u64, round: u64, figures: &mut Figures) {
    let order = shuffled(keys, round);
    figures.time("HashMap get", keys, || {
        for i in &order {
            black_box(map.get(&scramble(*i)[..]).expect("loaded")[0]);
        }
    });
    figures.time("get", keys, || {
        for i in &order {
            black_box(store.get(scramble(*i)).expect("sound").expect("loaded")[0]);
        }
    });
    figures.time("HashMap absent", keys, || {
        for i in &order {
            black_box(map.contains_key(&scramble(*i + keys)[..]));
        }
    });
    figures.time("absent get", keys, || {
        for i in &order {
            black_box(store.get(scramble(*i + keys)).expect("sound").is_none());
        }
    });
    figures.time("get_many of 32", keys, || {
        let mut group = Vec::with_capacity(32);
        for chunk in order.chunks(32) {
            group.clear();
            group.extend(chunk.iter().map(|i| scramble(*i)));
            for value in store.get_many(&group).expect("sound") {
                black_box(value.expect("loaded")[0]);
            }
        }
    });
    let snapshot = store.snapshot().expect("memory");
    figures.time("iterate", keys, || {
        black_box(snapshot.iter().map(|item| item.expect("sound").1.len()).sum::<usize>());
    });
}

fn writes(store: &Store, keys: u64, round: u64, figures: &mut Figures) {
    let order = shuffled(keys, round + 1000);
    let part = &order[..order.len() / 5];
    figures.time("overwrite, single puts", part.len() as u64, || {
        for i in part {
            store.put(scramble(*i), value(*i)).expect("space");
        }
    });
    figures.time("overwrite, batches of 1,000", part.len() as u64, || {
        let mut batch = store.batch();
        for chunk in part.chunks(BATCH) {
            for i in chunk {
                batch.put(scramble(*i), value(*i)).expect("small");
            }
            batch.commit().expect("space");
        }
    });
}

fn percentile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let at = (times.len() as f64 * share) as usize;
    times[at.min(times.len() - 1)]
}

fn durable_commits(path: &Path) {
    let store = Store::open(path).expect("a fresh store");
    store.put("first", "touches the segment").expect("space");
    let mut times = Vec::new();
    for i in 0..500 {
        let mut batch = store.batch();
        batch.put(scramble(i), value(i)).expect("small");
        let start = Instant::now();
        batch.commit_with(Durability::Immediate).expect("a sound disk");
        times.push(start.elapsed());
    }
    let (p50, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
    println!("\nDurable commit of one 100-byte value: p50 {p50:.0?}, p99 {p99:.0?}");
}

fn opening(path: &Path, keys: u64) {
    let mut times = Vec::new();
    for _ in 0..21 {
        let start = Instant::now();
        let store = Options::new().background(false).open(path).expect("closed cleanly");
        times.push(start.elapsed());
        drop(store);
    }
    let p50 = percentile(&mut times, 0.5);
    println!("Open after a clean close, {keys} keys: p50 {p50:.0?}");
}

fn main() {
    // `cargo test --benches` runs this too, with no wish for figures.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let keys = setting("MAPSTONE_BENCH_KEYS", 5_000_000);
    if let Ok(part) = std::env::var(PART) {
        return play_part(&part, keys);
    }
    let rounds = setting("MAPSTONE_BENCH_ROUNDS", 5);
    let base = std::env::var_os("MAPSTONE_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(base).expect("a directory for the store");
    let mut figures = Figures::default();
    for round in 0..rounds {
        time_load(&mut figures, "HashMap insert", Path::new("map"));
        let path = dir.path().join(format!("load{round}"));
        time_load(&mut figures, "load, batches of 1,000", &path);
        std::fs::remove_dir_all(path).expect("just written");
    }
    let map = load_map(keys);
    let path = dir.path().join("store");
    let store = load(&path, keys);
    let stats = store.stats().expect("sound");
    for round in 0..rounds {
        reads(&store, &map, keys, round, &mut figures);
    }
    drop(map);
    for round in 0..rounds.div_ceil(2) {
        writes(&store, keys, round, &mut figures);
    }

    println!("\n{keys} keys of 8 bytes, values of {VALUE} bytes, one thread, medians.\n");
    println!("| work | M/s | beside, M/s | ratio | wanted |\n| --- | --- | --- | --- | --- |");
    figures.row("random get", "get", "HashMap get", "HashMap", 1.0);
    figures.row("absent get", "absent get", "get", "own get", 1.0);
    figures.row("absent get", "absent get", "HashMap absent", "HashMap", 0.0);
    figures.row("get_many of 32", "get_many of 32", "get", "own get", 2.5);
    let load = "load, batches of 1,000";
    figures.row("load, batches of 1,000, CRC on", load, "HashMap insert", "HashMap", 1.5);
    figures.row(
        "overwrite, single puts",
        "overwrite, single puts",
        "HashMap insert",
        "HashMap",
        0.0,
    );
    let overwrite = "overwrite, batches of 1,000";
    figures.row("overwrite, batches of 1,000", overwrite, "HashMap insert", "HashMap", 0.0);
    figures.row("iterate", "iterate", "get", "own get", 1.0);
    println!(
        "\nIndex: {:.1} bytes a key (at most 32). Log: {:.1} bytes a key over key and value (at most 40).",
        stats.index_bytes as f64 / stats.entries as f64,
        stats.live_bytes as f64 / stats.entries as f64 - (8 + VALUE) as f64,
    );
    store.close().expect("a sound disk");
    opening(&path, keys);
    durable_commits(&dir.path().join("durable"));
}

//! How long a put takes with and without compaction: `cargo bench --bench latency`.
//!
//! One thread overwrites a key set that fits in memory, at full speed and unsynced. `MAPSTONE_LONG` sets the seconds for each line (default
//! 10), `MAPSTONE_BENCH_KEYS` the keys (default 1,000,000), `MAPSTONE_BENCH_DIR` where (default: the system's temporary directory).
//! The log without compaction takes a few GiB. Of the longest put the kernel tells how long its thread was ready to run, and had no
//! processor: that much of it is the machine's. So is what a loop finds that does nothing but look at the clock, on one processor and on all
//! of them, which the last two lines tell: the longest put is not shorter, whatever the store does.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mapstone::{Options, Store};

const VALUE: usize = 100;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// Bijective, so that keys are distinct, and without any order.
fn key(i: u64) -> [u8; 8] {
    let mut x = i.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x ^ (x >> 31)).to_le_bytes()
}

fn load(store: &Store, keys: u64) {
    let mut batch = store.batch();
    for i in 0..keys {
        batch.put(key(i), [1; VALUE]).expect("short");
        if batch.len() == 1000 {
            batch.commit().expect("space");
        }
    }
    batch.commit().expect("space");
    store.sync().expect("a disk");
}

/// The kernel's account of this thread, if it keeps one.
struct Account(Option<File>);

impl Account {
    /// Nanoseconds in which the thread was ready to run and had no processor, so far.
    fn waited(&self) -> Option<u64> {
        let mut text = [0; 64];
        let len = self.0.as_ref()?.read_at(&mut text, 0).ok()?;
        std::str::from_utf8(&text[..len]).ok()?.split_whitespace().nth(1)?.parse().ok()
    }
}

/// How long puts took, in nanoseconds, and of the longest, how long it had no processor.
struct Took {
    all: Histogram<u64>,
    without_processor: Option<u64>,
}

/// The account is looked at once in so many puts.
const OFTEN: u64 = 256;

/// Puts for so long.
fn overwrite(store: &Store, keys: u64, time: Duration) -> Took {
    let mut took = Histogram::new(3).expect("three digits");
    let account = Account(File::open("/proc/thread-self/schedstat").ok());
    let (mut before, mut without_processor) = (account.waited(), None);
    let (begun, mut state) = (Instant::now(), 1u64);
    let mut last = begun;
    while last - begun < time {
        // Any key is as likely as another, so that no segment dies by itself.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        store.put(key((state >> 16) % keys), [2; VALUE]).expect("space");
        let now = Instant::now();
        let nanos = u64::try_from((now - last).as_nanos()).expect("no century");
        let longest = nanos > took.max();
        took.record(nanos.max(1)).expect("it grows");
        last = now;
        if longest || took.len() % OFTEN == 0 {
            let after = account.waited();
            if longest {
                without_processor = before.zip(after).map(|(before, after)| after - before);
            }
            before = after;
            last = Instant::now();
        }
    }
    Took { all: took, without_processor }
}

/// The longest time between two looks at the clock, in nanoseconds, of so many threads that do nothing else.
fn longest_gap(threads: usize, time: Duration) -> u128 {
    let watch = || {
        let (begun, mut longest) = (Instant::now(), Duration::ZERO);
        let mut last = begun;
        while last - begun < time {
            let now = Instant::now();
            longest = longest.max(now - last);
            last = now;
        }
        longest.as_nanos()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(watch)).collect();
        let gaps = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        gaps.max().expect("a thread")
    })
}

fn main() {
    let keys = setting("MAPSTONE_BENCH_KEYS", 1_000_000);
    let time = Duration::from_secs(setting("MAPSTONE_LONG", 10));
    let root =
        std::env::var_os("MAPSTONE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    println!(
        "| compaction | puts a second | p50, us | p99, us | p99.9, us | p99.99, us | longest, ms | without a processor, ms | log, MiB | live, MiB |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (name, percent) in [("off", None), ("in the background", Some(40))] {
        let dir = tempfile::tempdir_in(&root).expect("a directory");
        let mut options = Options::new();
        options.segment_size(16 << 20).compaction(percent);
        let store = options.open(dir.path().join("store")).expect("a new store");
        load(&store, keys);
        let Took { all: took, without_processor } = overwrite(&store, keys, time);
        let stats = store.stats().expect("figures");
        let us = |quantile| took.value_at_quantile(quantile) as f64 / 1e3;
        println!(
            "| {name} | {:.0} | {:.2} | {:.2} | {:.1} | {:.0} | {:.1} | {} | {:.0} | {:.0} |",
            took.len() as f64 / time.as_secs_f64(),
            us(0.5),
            us(0.99),
            us(0.999),
            us(0.9999),
            took.max() as f64 / 1e6,
            without_processor.map_or("?".into(), |nanos| format!("{:.1}", nanos as f64 / 1e6)),
            (stats.file_bytes - stats.index_bytes) as f64 / f64::from(1 << 20),
            stats.live_bytes as f64 / f64::from(1 << 20),
        );
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    for (name, threads) in
        [("no store, a look at the clock", 1), ("the same on all processors", processors)]
    {
        let longest = longest_gap(threads, time) as f64 / 1e6;
        println!("| {name} | | | | | | {longest:.1} | | | |");
    }
}

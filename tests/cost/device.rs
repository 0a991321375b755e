//! What a durable commit has a disk do: an ext4 file system on a loop device of its own, whose counters nobody else moves.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};

use mapstone::{Durability, Options, Store};

use crate::bounds::Figures;
use crate::operations::{VALUE, key, put};
use crate::part::{Part, scratch, works};

/// What comes before each row that the child tells.
const SAYS: &str = "cost: ";
/// Commits before those that are counted.
const BEFORE: usize = 50;
/// Puts that are synced at once: enough that the page cache holds what they have written in large pieces.
const LOAD: u64 = 50_000;
/// The file system commits its journal when it must, and not because time has passed.
const MOUNT: [&str; 4] = ["-t", "ext4", "-o", "loop,commit=300"];
/// What is left to be initialised later would be written at any time.
const MAKE: [&str; 4] = ["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
/// What a loop device may still have from whoever had it before: the largest request; how much is read ahead, which is also how
/// large the pieces of the page cache become that are written whole; and whether it has a cache.
const QUEUE: [(&str, &str); 3] =
    [("max_sectors_kb", "1024"), ("read_ahead_kb", "128"), ("write_cache", "write back")];

/// For one durable commit: writes, flushes and KiB. None, said visibly, where there is no such device.
pub(crate) fn figures() -> Option<Figures> {
    let what = "what a durable commit writes";
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/loop-control").exists() {
        eprintln!("skipped: {what}, for want of root and loop devices");
        return None;
    }
    if !(works("mkfs.ext4", &["-V"], what) && works("unshare", &["--mount", "true"], what)) {
        return None;
    }
    let dir = scratch();
    let image = File::create(dir.path().join("image")).expect("a file");
    image.set_len(512 << 20).expect("a sparse file");
    fs::create_dir(dir.path().join("at")).expect("a directory");
    run(Command::new("mkfs.ext4").args(MAKE).arg(dir.path().join("image")));
    // A mount in a namespace of its own goes with the child, and the loop device with the mount.
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private"]);
    let said = Part::Device.run_under(&mut unshare, dir.path());
    Some(said.lines().filter_map(|line| line.strip_prefix(SAYS)).map(row).collect())
}

/// A row that the child has told.
fn row(line: &str) -> (String, Vec<f64>) {
    let (name, figures) = line.split_once(": ").expect("a name");
    let figures = figures.split(' ').map(|figure| figure.parse().expect("a number"));
    (name.to_owned(), figures.collect())
}

fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "{command:?}");
}

/// What the child does.
pub(crate) fn child(dir: &Path) {
    let at = dir.join("at");
    run(Command::new("mount").args(MOUNT).arg(dir.join("image")).arg(&at));
    QUEUE.iter().for_each(|(name, value)| set(&at, name, value));
    floor(&at);
    let open = || Options::new().background(false).open(at.join("store")).expect("a store");
    let store = open();
    commits("one put", &store, &at, 10_000, 1);
    commits("batch of 100", &store, &at, 1000, 100);
    put(&store, 0..LOAD);
    store.close().expect("a sound disk");
    commits("one put, store reopened", &open(), &at, 10_000, 1);
    let busy = Options::new().compaction(None).open(at.join("busy")).expect("a store");
    let _reader = load(&busy, &at.join("busy"));
    // Into what was made ready for the load, too.
    commits("batch of 2 after a load, while others read", &busy, &at, 8000, 2);
    let _other = load(&busy, &at.join("busy"));
    tell("put and sync after a load, while others read", &at, 8000, |n| {
        busy.put(key(n), VALUE).expect("room");
        busy.sync().expect("a sound disk");
    });
}

/// Puts much at once, and has where the log ends mapped as another process does: a huge page that the writer cannot have let go.
fn load(store: &Store, path: &Path) -> Store {
    put(store, 0..4 * LOAD);
    let reader = Store::open_read_only(path).expect("a store");
    assert!((0..4 * LOAD).all(|i| reader.contains(key(i)).expect("readable")));
    store.checkpoint().expect("a sound disk");
    reader
}

/// The least that makes something durable.
fn floor(at: &Path) {
    let file = File::create_new(at.join("floor")).expect("a file");
    tell("pwrite of 4 KiB and fdatasync", at, 1000, |_| {
        file.write_all_at(&[1; 4096], 0).expect("room");
        file.sync_data().expect("a sound disk");
    });
}

/// So many durable commits of so many puts each.
fn commits(name: &str, store: &Store, at: &Path, times: usize, puts: u64) {
    let mut batch = store.batch();
    tell(name, at, times, |n| {
        for i in 0..puts {
            batch.put(key(n * puts + i), VALUE).expect("a short key");
        }
        batch.commit_with(Durability::Immediate).expect("a sound disk");
    });
}

/// Tells what the disk does for each commit, twice so many times.
fn tell(name: &str, at: &Path, times: usize, mut commit: impl FnMut(u64)) {
    let mut numbers = 0..;
    let mut commits = |n| numbers.by_ref().take(n).for_each(&mut commit);
    commits(BEFORE);
    let mut counted = || {
        let before = counters(at);
        commits(times);
        let now = counters(at);
        [0, 1, 2].map(|i| (now[i] - before[i]) as f64 / times as f64)
    };
    let [_, flushes, some] = counted();
    // A request to flush may be counted as a write of nothing, too. A disk that has no cache to flush is not asked to.
    let cacheless = Cacheless::new(at);
    let [writes, _, others] = counted();
    drop(cacheless);
    eprintln!("{SAYS}{name}: {writes} {flushes} {}", some.midpoint(others));
}

/// A disk that is said to have no cache, until this is dropped: whoever has the loop device next needs its flushes.
struct Cacheless<'a>(&'a Path);

impl Cacheless<'_> {
    fn new(at: &Path) -> Cacheless<'_> {
        set(at, "write_cache", "write through");
        Cacheless(at)
    }
}

impl Drop for Cacheless<'_> {
    fn drop(&mut self) {
        set(self.0, "write_cache", "write back");
    }
}

/// The disk on which `at` is, as the kernel shows it.
fn disk(at: &Path) -> String {
    let device = fs::metadata(at).expect("a mount").dev();
    format!("/sys/dev/block/{}:{}", rustix::fs::major(device), rustix::fs::minor(device))
}

/// Sets how the disk is used.
fn set(at: &Path, name: &str, value: &str) {
    let setting = format!("{}/queue/{name}", disk(at));
    fs::write(&setting, value).unwrap_or_else(|error| panic!("{setting}: {error}"));
}

/// Writes, flushes and KiB since the disk was there.
fn counters(at: &Path) -> [u64; 3] {
    let text = fs::read_to_string(format!("{}/stat", disk(at))).expect("the counters of a disk");
    let count = |n| text.split_whitespace().nth(n).expect("a counter").parse().expect("a number");
    let [writes, sectors, flushes]: [u64; 3] = [4, 6, 15].map(count);
    [writes, flushes, sectors / 2]
}

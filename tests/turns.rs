//! Writers that take turns: several processes write one store, any of them is killed at any crash point, and the others go on
//! without opening anything again; a reader that is attached all along sees each writer's commits as they were made.
#![cfg(feature = "sim")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mapstone::sim::{Bug, CRASH_AT, Point, SimDisk, at_points, plant};
use mapstone::{Durability, Error, Options, Snapshot, Store};

const PLACE: &str = "MAPSTONE_TEST_PLACE";
const TASK: &str = "MAPSTONE_TEST_TASK";
/// Names the file to which a child writes which crash points it came to.
const SEEN: &str = "MAPSTONE_TEST_SEEN";
/// Keys of each writer.
const KEYS: u64 = 600;

fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(16_384).checkpoint_interval(40_000).background(false).shared_writer(true);
    options
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

/// How often a writer has begun a step, and how often it was told that one is committed.
struct Progress(File);

impl Progress {
    fn of(place: &Path, who: u64) -> Progress {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        Progress(options.open(place.with_extension(format!("{who}"))).expect("a file"))
    }

    fn get(&self, at: u64) -> u64 {
        let mut word = [0; 8];
        // An empty file says 0.
        let _ = self.0.read_exact_at(&mut word, 8 * at);
        u64::from_le_bytes(word)
    }

    fn set(&self, at: u64, steps: u64) {
        self.0.write_all_at(&steps.to_le_bytes(), 8 * at).expect("space");
    }
}

fn count_key(who: u64) -> String {
    format!("count/{who}")
}

fn key(who: u64, step: u64) -> String {
    format!("key/{who}/{}", step % KEYS)
}

fn value(who: u64, step: u64) -> Vec<u8> {
    format!("{who} {step} ").repeat(1 + usize::try_from(step % 9).expect("small")).into_bytes()
}

/// The keys of a writer after so many steps.
fn state(who: u64, steps: u64) -> BTreeMap<String, Vec<u8>> {
    let mut state = BTreeMap::new();
    for step in steps.saturating_sub(2 * KEYS) + 1..=steps {
        state.insert(key(who, step), value(who, step));
        if step % 7 == 0 {
            state.remove(&key(who, step + 3));
        }
    }
    state
}

/// One commit of a writer.
fn step(store: &Store, who: u64, step: u64) -> mapstone::Result<()> {
    let (count, key, value) = (step.to_string(), key(who, step), value(who, step));
    let gone = (step.is_multiple_of(7)).then(|| self::key(who, step + 3));
    if step.is_multiple_of(3) {
        return store.update(|txn| {
            let before = txn
                .get(count_key(who))?
                .map_or(String::from("0"), |value| String::from_utf8_lossy(&value).into_owned());
            assert_eq!(before, (step - 1).to_string(), "writer {who}");
            txn.put(count_key(who), &count)?.put(&key, &value)?;
            gone.map_or(Ok(false), |gone| txn.delete(gone)).map(drop)
        });
    }
    let mut batch = store.batch();
    batch.put(count_key(who), &count)?.put(&key, &value)?;
    if let Some(gone) = gone {
        batch.delete(gone)?;
    }
    let durable = step.is_multiple_of(16);
    let durability = if durable { Durability::Immediate } else { Durability::Eventual };
    batch.commit_with(durability).map(drop)
}

/// Writes from where this writer was left, until that many steps are done or for ever.
fn work(store: &Store, place: &Path, who: u64, steps: u64) {
    let progress = Progress::of(place, who);
    let from = store
        .get(count_key(who))
        .expect("readable")
        .map_or(0, |value| String::from_utf8_lossy(&value).parse::<u64>().expect("a number"));
    for n in (from + 1..).take_while(|n| *n <= steps) {
        progress.set(1, n);
        step(store, who, n).unwrap_or_else(|error| panic!("writer {who}, step {n}: {error}"));
        progress.set(0, n);
        if n.is_multiple_of(16) {
            // All of them compact beside each other; keys are overwritten only by the writers that go on for ever.
            let compacted = store.compact_step(64 << 10);
            compacted.unwrap_or_else(|error| panic!("writer {who}, step {n}: {error}"));
        }
        if n.is_multiple_of(64) && steps == u64::MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn play_a_part() {
    let Ok(task) = std::env::var(TASK) else { return };
    let place = PathBuf::from(std::env::var_os(PLACE).expect("a place"));
    let words: Vec<u64> = task.split(' ').map(|word| word.parse().expect("a number")).collect();
    if let Some(path) = std::env::var_os(SEEN) {
        let seen = std::cell::RefCell::new(HashMap::<&str, u64>::new());
        at_points(Some(Box::new(move |point| {
            let mut seen = seen.borrow_mut();
            let count = seen.entry(point.name()).or_default();
            *count += 1;
            if *count == 1 {
                let line = format!("{}\n", point.name());
                let mut file = File::options().append(true).create(true).open(&path).expect("it");
                std::io::Write::write_all(&mut file, line.as_bytes()).expect("space");
            }
        })));
    }
    let store = options().open(&place).expect("one of several writers");
    match words[..] {
        [who, steps] => work(&store, &place, who, steps),
        [who, millis, _] => compete(&store, &place, who, Duration::from_millis(millis)),
        _ => panic!("{task}"),
    }
    store.close().expect("a sound disk");
    at_points(None);
}

fn child(place: &Path, task: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "play_a_part", "--nocapture", "--test-threads=1"]);
    command.env(PLACE, place).env(TASK, task).env("RUST_BACKTRACE", "0");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Ends with the test, whatever becomes of that.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a child; true if it was killed, false if it ended well.
fn was_killed(command: &mut Command) -> bool {
    let output = command.output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr);
    match (output.status.signal(), output.status.success()) {
        (Some(9), _) => true,
        (None, true) => false,
        _ => panic!("{}: {said}", output.status),
    }
}

/// What a snapshot holds of each writer is what that writer has committed, of all that it was told is.
fn agrees(snapshot: &Snapshot, done: &BTreeMap<u64, u64>, begun: impl Fn(u64) -> u64) {
    let mut found: BTreeMap<u64, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for item in snapshot.iter() {
        let (key, value) = item.expect("sound");
        let key = String::from_utf8(key.to_vec()).expect("text");
        if let Some(who) = key.strip_prefix("key/") {
            let who = who.split('/').next().expect("a writer").parse().expect("a number");
            let twice = found.entry(who).or_default().insert(key, value.to_vec());
            assert_eq!(twice, None, "a key came twice");
        }
    }
    for (who, done) in done {
        let steps = snapshot
            .get(count_key(*who))
            .expect("readable")
            .map_or(0, |value| String::from_utf8_lossy(&value).parse::<u64>().expect("a number"));
        assert!((*done..=begun(*who)).contains(&steps), "writer {who}: {steps} of {done}");
        let expected = state(*who, steps);
        let found = found.remove(who).unwrap_or_default();
        assert!(found == expected, "writer {who} after {steps} steps");
    }
}

/// Looks at the store through a handle that was there all along.
fn look(reader: &Store, place: &Path, writers: u64) {
    let done = (0..writers).map(|who| (who, Progress::of(place, who).get(0))).collect();
    let snapshot = reader.snapshot().expect("memory");
    agrees(&snapshot, &done, |who| Progress::of(place, who).get(1));
}

fn sound(store: &Store) {
    let verified = store.verify().expect("readable");
    assert!(verified.is_ok(), "{:#?}", verified.damage);
}

/// How long each long part may take, if it may.
fn long() -> Option<Duration> {
    let seconds = std::env::var("MAPSTONE_LONG").ok()?.parse().expect("a number of seconds");
    Some(Duration::from_secs(seconds))
}

#[test]
fn handles_that_share_a_store_see_and_follow_each_other() -> mapstone::Result<()> {
    let dir = scratch();
    let place = dir.path().join("store");
    let one = options().open(&place)?;
    let two = options().open(&place)?;
    let table = one.table("named")?;
    for n in 1..400u64 {
        let (writer, reader) = if n % 2 == 0 { (&one, &two) } else { (&two, &one) };
        step(writer, 0, n)?;
        assert_eq!(reader.get(count_key(0))?.as_deref(), Some(n.to_string().as_bytes()));
    }
    table.put("k", "v")?;
    assert_eq!(two.table("named")?.get("k")?.as_deref(), Some(&b"v"[..]));
    two.drop_table("named")?;
    assert!(matches!(table.put("k", "w"), Err(Error::NoSuchTable { .. })));
    assert_eq!(two.sync()?, one.position(), "whoever wrote it");
    assert_eq!(one.stats()?.durable, one.position().as_u64());
    agrees(&one.snapshot()?, &[(0, 399)].into(), |_| 399);
    sound(&one);
    sound(&two);
    drop(table);
    one.close()?;
    step(&two, 0, 400)?;
    two.close()?;
    let alone = Options::new().open(&place)?;
    assert_eq!(alone.get(count_key(0))?.as_deref(), Some(&b"400"[..]));
    sound(&alone);
    Ok(())
}

fn log_bytes(place: &Path) -> u64 {
    let files = std::fs::read_dir(place.join("log")).expect("the log");
    files.map(|file| file.expect("a file").metadata().expect("its size").len()).sum()
}

/// Both handles take steps of compaction in turn, and commit in between, until both say that nothing is left.
fn compact_by_turns(one: &Store, two: &Store, mut n: u64) -> mapstone::Result<u64> {
    for _ in 0..2_000 {
        let done = [one.compact_step(20_000)?.done, two.compact_step(20_000)?.done];
        if done == [true, true] {
            return Ok(n);
        }
        if !n.is_multiple_of(64) {
            n += 1;
            step(if n.is_multiple_of(2) { one } else { two }, 0, n)?;
        }
    }
    panic!("compaction goes on for ever");
}

#[test]
fn handles_that_share_a_store_compact_it_beside_each_other() -> mapstone::Result<()> {
    let dir = scratch();
    let place = dir.path().join("store");
    let (one, two) = (options().open(&place)?, options().open(&place)?);
    let reader = Store::open_read_only(&place)?;
    for n in 1..2_001u64 {
        step(if n % 2 == 0 { &one } else { &two }, 0, n)?;
    }
    let before = two.snapshot()?;
    let full = log_bytes(&place);
    let mut n = compact_by_turns(&one, &two, 2_000)?;
    agrees(&before, &[(0, 2_000)].into(), |_| 2_000);
    drop(before);
    n = compact_by_turns(&one, &two, n)?;
    let left = log_bytes(&place);
    assert!(2 * left < full, "{left} of {full} bytes");
    for store in [&one, &two, &reader] {
        agrees(&store.snapshot()?, &[(0, n)].into(), |_| n);
    }
    sound(&one);
    sound(&two);
    // The last one to go knows nothing of what the other has done without a commit.
    for n in 0..KEYS {
        one.delete(key(0, n))?;
    }
    two.checkpoint()?;
    one.compact(|_| true)?;
    assert!(log_bytes(&place) < left);
    one.close()?;
    two.close()?;
    let alone = Options::new().open(&place)?;
    assert_eq!(alone.snapshot()?.len()?, 1);
    sound(&alone);
    Ok(())
}

fn keys(store: &Store) -> mapstone::Result<BTreeSet<Vec<u8>>> {
    store.snapshot()?.iter().map(|item| item.map(|(key, _)| key.to_vec())).collect()
}

#[test]
fn what_one_handle_compacts_survives_a_power_cut_whoever_closes_last() -> mapstone::Result<()> {
    for (seed, closed) in [(1, true), (2, false), (3, true), (4, false)] {
        let disk = SimDisk::new(seed);
        let (one, two) = (options().open_sim(&disk)?, options().open_sim(&disk)?);
        for n in 1..1_000u64 {
            step(if n % 2 == 0 { &one } else { &two }, 0, n)?;
        }
        for n in (0..KEYS).filter(|n| n % 50 != 0) {
            one.delete(key(0, n))?;
        }
        two.sync()?;
        let before = keys(&one)?;
        assert!(one.compact(|_| true)?.freed > 0);
        one.close()?;
        if closed {
            two.close()?;
        }
        let next = disk.power_cut();
        let alone = Options::new().open_sim(&next)?;
        assert_eq!(keys(&alone)?, before);
        sound(&alone);
    }
    Ok(())
}

/// Many keys come and nearly all go, and the store is compacted; blocks of the index before that and after it.
fn blocks_of_a_sparse_index(shared: bool) -> mapstone::Result<[u64; 2]> {
    let dir = scratch();
    let place = dir.path().join("store");
    let mut options = options();
    options.shared_writer(shared).segment_size(1 << 16).checkpoint_interval(1 << 30);
    let store = options.open(&place)?;
    let blocks = || std::fs::metadata(place.join("index")).expect("it is there").blocks();
    for delete in [false, true] {
        let mut batch = store.batch();
        for i in (0..24_000u32).filter(|i| !delete || i % 10 != 0) {
            let key = i.to_le_bytes();
            if delete {
                batch.delete(key)?
            } else {
                batch.put(key, key)?
            };
        }
        batch.commit()?;
        store.checkpoint()?;
    }
    let before = blocks();
    store.compact(|_| true)?;
    sound(&store);
    Ok([before, blocks()])
}

#[test]
fn the_end_of_an_index_that_others_take_to_be_reserved_is_not_given_back() -> mapstone::Result<()> {
    let [before, after] = blocks_of_a_sparse_index(false)?;
    assert!(after < before, "alone: {after} of {before} blocks");
    let [before, after] = blocks_of_a_sparse_index(true)?;
    assert!(after >= before, "shared: {after} of {before} blocks");
    Ok(())
}

#[test]
fn a_backup_of_a_store_that_writers_share_is_whole() -> mapstone::Result<()> {
    let dir = scratch();
    let place = dir.path().join("store");
    let (one, two) = (options().open(&place)?, options().open(&place)?);
    let mut n = 0;
    for round in 0..3 {
        for _ in 0..700 {
            n += 1;
            step(if n % 2 == 0 { &one } else { &two }, 0, n)?;
        }
        if round == 1 {
            two.compact(|_| true)?;
        }
        one.backup(dir.path().join("backup"))?;
        step(&two, 1, round + 1)?;
        let backup = Store::open_read_only(dir.path().join("backup"))?;
        agrees(
            &backup.snapshot()?,
            &[(0, n), (1, round)].into(),
            |who| if who == 0 { n } else { round },
        );
        sound(&backup);
    }
    Ok(())
}

#[test]
fn who_shares_and_who_does_not_keep_each_other_out() -> mapstone::Result<()> {
    let dir = scratch();
    let place = dir.path().join("store");
    let alone = Options::new().open(&place)?;
    assert!(matches!(options().open(&place), Err(Error::Locked { .. })));
    alone.close()?;
    let one = options().open(&place)?;
    one.put("a", "1")?;
    assert!(matches!(Options::new().open(&place), Err(Error::Locked { .. })));
    // An index is not built anew under the eyes of others.
    let anew = options().rebuild_index(true).open(&place);
    assert!(matches!(anew, Err(Error::Locked { .. })), "{anew:?}");
    std::fs::remove_file(place.join("lock")).expect("it is there");
    // The name is gone, and with it what keeps others out: then those who share notice.
    let alone = Options::new().open(&place)?;
    let lost = options().lock_timeout(Duration::ZERO).open(&place);
    assert!(matches!(lost, Err(Error::Locked { .. } | Error::Timeout { .. })), "{lost:?}");
    alone.put("b", "2")?;
    alone.close()?;
    assert!(matches!(one.put("a", "3"), Err(Error::Lost { .. })));
    Ok(())
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(error.to_string())
    }
}

#[derive(Debug)]
#[expect(dead_code, reason = "to be printed")]
struct Failure(String);

#[test]
fn a_turn_is_waited_for_as_long_as_the_options_say() -> mapstone::Result<()> {
    let dir = scratch();
    let place = dir.path().join("store");
    let one = options().open(&place)?;
    let two = options().lock_timeout(Duration::from_millis(30)).open(&place)?;
    let txn = one.write()?;
    assert!(two.try_write()?.is_none());
    let start = Instant::now();
    assert!(matches!(two.put("a", "1"), Err(Error::Timeout { .. })));
    assert!(start.elapsed() >= Duration::from_millis(30));
    drop(txn);
    two.put("a", "1")?;
    let mut txn = two.try_write()?.expect("nobody else writes");
    txn.put("a", "2")?;
    txn.commit()?;
    assert_eq!(one.get("a")?.as_deref(), Some(&b"2"[..]));
    Ok(())
}

#[test]
fn a_value_that_was_given_up_does_not_end_the_log_for_others() -> mapstone::Result<()> {
    let dir = scratch();
    let place = dir.path().join("store");
    let one = options().open(&place)?;
    let two = options().open(&place)?;
    for n in 1..60u64 {
        if n % 2 == 0 {
            // What is given up next needs a segment of its own.
            two.put("filler", [0; 9000])?;
        }
        let given_up = catch_unwind(AssertUnwindSafe(|| {
            one.put_with("given up", 15_000, |_| std::panic::resume_unwind(Box::new(())))
        }));
        assert!(given_up.is_err());
        step(if n % 3 == 0 { &one } else { &two }, 0, n)?;
    }
    agrees(&two.snapshot()?, &[(0, 59)].into(), |_| 59);
    sound(&two);
    Ok(())
}

/// Adds to a number that all add to, for so long.
fn compete(store: &Store, place: &Path, who: u64, time: Duration) {
    let progress = Progress::of(place, who);
    let (start, mut turns, mut longest) = (Instant::now(), 0, Duration::ZERO);
    while start.elapsed() < time {
        let before = Instant::now();
        let add = |old: Option<&[u8]>| {
            let old = old.map_or(0, |old| u64::from_le_bytes(old.try_into().expect("8 bytes")));
            Some((old + 1).to_le_bytes().to_vec())
        };
        store.fetch_update("sum", add).expect("space");
        turns += 1;
        longest = longest.max(before.elapsed());
    }
    progress.set(0, turns);
    progress.set(1, u64::try_from(longest.as_micros()).expect("short"));
}

#[test]
fn four_processes_that_write_all_the_time_all_get_their_turns() {
    let dir = scratch();
    let place = dir.path().join("store");
    let store = options().open(&place).expect("a store");
    let time = long().map_or(Duration::from_secs(2), |long| long / 2);
    let task = |who| format!("{who} {} 0", time.as_millis());
    let children: Vec<_> =
        (0..4).map(|who| Helper(child(&place, &task(who)).spawn().expect("a child"))).collect();
    for mut child in children {
        assert!(child.0.wait().expect("a child").success());
    }
    let each: Vec<_> = (0..4).map(|who| Progress::of(&place, who)).collect();
    let total: u64 = each.iter().map(|progress| progress.get(0)).sum();
    for (who, progress) in each.iter().enumerate() {
        let (turns, longest) = (progress.get(0), progress.get(1));
        let share = 100.0 * turns as f64 / total as f64;
        eprintln!("writer {who}: {turns} turns, {share:.1} %, longest wait {longest} us");
        assert!(share > 5.0, "writer {who} starves");
    }
    let sum = store.get("sum").expect("readable").expect("a sum");
    assert_eq!(u64::from_le_bytes((*sum).try_into().expect("8 bytes")), total, "no turn is lost");
    sound(&store);
}

/// The crash points to which a process comes that opens the store beside others, writes and goes.
fn points_seen(path: &Path) -> Vec<Point> {
    let text = std::fs::read_to_string(path).expect("written by the child");
    let seen: BTreeSet<&str> = text.lines().collect();
    Point::ALL.iter().copied().filter(|point| seen.contains(point.name())).collect()
}

/// Two writers go on all the time, and a third is killed at each point, the n-th time that it comes there; which points those
/// are, and which it came to at all.
fn kill_at_each_point(times: u64) -> (BTreeSet<&'static str>, Vec<Point>) {
    let dir = scratch();
    let (place, seen) = (dir.path().join("store"), dir.path().join("seen"));
    let store = options().open(&place).expect("a store");
    let reader = Store::open_read_only(&place).expect("a store");
    let _helpers: Vec<_> = (0..2)
        .map(|who| Helper(child(&place, &format!("{who} {}", u64::MAX)).spawn().expect("a child")))
        .collect();
    // Enough new keys for pages to split.
    let steps = 500;
    assert!(!was_killed(child(&place, &format!("2 {steps}")).env(SEEN, &seen)));
    let (mut writers, mut killed) = (3, BTreeSet::new());
    let points = points_seen(&seen);
    for point in &points {
        let crash = format!("{}:{times}", point.name());
        if was_killed(child(&place, &format!("{writers} {steps}")).env(CRASH_AT, &crash)) {
            killed.insert(point.name());
        }
        writers += 1;
        // Whoever comes first takes over; this handle has been open all along.
        let own = 1000 + writers;
        step(&store, own, 1).unwrap_or_else(|error| panic!("after {crash}: {error}"));
        let told = catch_unwind(AssertUnwindSafe(|| look(&reader, &place, writers)));
        told.unwrap_or_else(|_| panic!("killed at {crash}"));
        if writers % 8 == 0 {
            sound(&store);
        }
    }
    sound(&store);
    (killed, points)
}

#[test]
fn others_go_on_wherever_a_writer_is_killed() {
    let until = Instant::now() + long().unwrap_or(Duration::ZERO);
    let compacted = ["compact.moved", "compact.drained", "compact.removed"];
    let (mut killed, mut kills) = (BTreeSet::new(), 0);
    for round in 0..u64::MAX {
        // How far compaction gets in a writer's life is not the same in every round, and seldom to a point the second time.
        let is_enough = |killed: &BTreeSet<_>| {
            compacted.iter().all(|name| killed.contains(name)) || round >= 10
        };
        let times = if is_enough(&killed) { 1 + 5 * (round % 20) } else { 1 };
        let (more, points) = kill_at_each_point(times);
        kills += more.len();
        killed.extend(more);
        if is_enough(&killed) && Instant::now() > until {
            let missed = points.iter().map(|point| point.name());
            let missed: Vec<_> = missed.filter(|name| !killed.contains(name)).collect();
            eprintln!("{kills} kills at {} points; not at {missed:?}", killed.len());
            break;
        }
    }
    let groups: BTreeSet<&str> = killed.iter().filter_map(|name| name.split('.').next()).collect();
    let missed = compacted.iter().find(|name| !killed.contains(*name));
    assert!(missed.is_none(), "never killed at {missed:?}");
    for group in ["append", "apply", "publish", "segment", "checkpoint", "sync", "turn"] {
        assert!(groups.contains(group), "never killed in {group}");
    }
    assert!(kills >= 40, "{kills} kills");
}

/// Kills a writer at `first`, the one that takes over at `second`, and looks through those who were there all along.
fn kill_twice(first: &str, second: &str) -> bool {
    let dir = scratch();
    let place = dir.path().join("store");
    let store = options().open(&place).expect("a store");
    let reader = Store::open_read_only(&place).expect("a store");
    (1..40).for_each(|n| step(&store, 9, n).expect("space"));
    assert!(was_killed(child(&place, "0 500").env(CRASH_AT, first)), "{first}");
    let killed = was_killed(child(&place, "1 5").env(CRASH_AT, second));
    look(&reader, &place, 2);
    step(&store, 9, 40).expect("space");
    look(&reader, &place, 2);
    agrees(&store.snapshot().expect("memory"), &[(9, 40)].into(), |_| 40);
    sound(&store);
    killed
}

#[test]
fn who_takes_over_may_be_killed_as_well() {
    let seconds = Point::ALL.iter().map(|point| point.name()).filter(|name| {
        ["resume", "replay", "seal", "turn"].contains(&name.split('.').next().expect("a group"))
    });
    let mut missed = Vec::new();
    for second in seconds {
        let firsts = ["append.marked:30", "split.half:1", "segment.durable:3", "append.record:9"];
        let killed = firsts.iter().filter(|first| kill_twice(first, second)).count();
        if killed == 0 {
            missed.push(second);
        }
    }
    eprintln!("not come to while taking over: {missed:?}");
    assert!(!missed.contains(&"turn.taken") && !missed.contains(&"replay.record"), "{missed:?}");
}

/// Two handles take turns, a third is killed in its own, with a bug planted in those who live; what goes wrong.
fn story(bug: Bug, crash: Option<&str>) -> Result<(), Failure> {
    let dir = scratch();
    let place = dir.path().join("store");
    let one = options().open(&place)?;
    let two = options().open(&place)?;
    if let Some(crash) = crash {
        assert!(was_killed(child(&place, "0 500").env(CRASH_AT, crash)), "{crash}");
    }
    plant(Some(bug));
    let told = catch_unwind(AssertUnwindSafe(|| -> Result<(), Failure> {
        (1..60).try_for_each(|n| step(if n % 2 == 0 { &one } else { &two }, 9, n))?;
        let verified = one.verify()?;
        if !verified.is_ok() {
            return Err(Failure(format!("{:?}", verified.damage.first())));
        }
        agrees(&two.snapshot()?, &[(9, 59)].into(), |_| 59);
        look(&two, &place, 1);
        Ok(())
    }));
    let told = told.unwrap_or_else(|_| Err(Failure("a panic".into())));
    // What is wrong by now is not to be made durable.
    let gone = catch_unwind(AssertUnwindSafe(|| drop((one, two))));
    plant(None);
    drop(gone);
    told
}

#[test]
fn turns_that_break_their_rules_are_noticed() {
    std::panic::set_hook(Box::new(|_| {}));
    let deaths = ["append.marked:30", "split.half:1", "publish.counted:20"];
    let caught: Vec<_> = deaths.map(|at| story(Bug::SkipTurnResume, Some(at))).into();
    let alone = story(Bug::SkipCatchUp, None);
    let sound: Vec<_> = deaths.map(|at| story(Bug::SkipValidate, Some(at))).into();
    let _ = std::panic::take_hook();
    eprintln!("{caught:?}\n{alone:?}");
    assert!(caught.iter().any(Result::is_err), "a turn that does not resume");
    assert!(alone.is_err(), "a turn that does not catch up");
    assert!(sound.iter().all(Result::is_ok), "without these bugs: {sound:?}");
}

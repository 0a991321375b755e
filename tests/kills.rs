//! A process is killed at every crash point, and at random; whoever opens the store next finds every commit that was published,
//! also those that nobody ever synced, and perhaps the one that was on its way.
#![cfg(feature = "sim")]

mod script;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mapstone::sim::{CRASH_AT, Call, Fault, Point, SimDisk, at_points};
use mapstone::{Error, Store};

use script::child::{End, Progress, Task, clear, end, scratch, work};
use script::{Random, Script, State, check, key};

/// Names the file to which a child writes how often it came to each crash point.
const COUNTS: &str = "MAPSTONE_TEST_COUNTS";
/// Where the life of the cells is in `meta` (docs/format.md).
const LIFE: u64 = 4096 + 96;
/// Steps of a run; the seed is one with which they come to all points.
const STEPS: u64 = 64;
const SPREAD: Script = Script { seed: 1, crowded: false, background: false };
const CROWDED: Script = Script { crowded: true, ..SPREAD };

/// What is there before the process that is killed starts.
#[derive(Debug)]
enum Ground {
    /// Nothing.
    Empty(Script),
    /// A store whose writer was killed when it came to a point the n-th time.
    Killed(Point, u64),
    /// The same in another life, as after a power cut that happened to lose nothing.
    Moved(Point, u64),
}

/// Points that only an index which has shrunk leads to: tests/compaction.rs ends processes there.
const TIDYING: [Point; 6] = [
    Point::TidyBuilt,
    Point::TidyAnnounced,
    Point::TidyLed,
    Point::TidyEnded,
    Point::TrimLowered,
    Point::TrimPunched,
];

/// Points of backups: tests/backup ends processes there.
const BACKUPS: [Point; 10] = [
    Point::BackupNoted,
    Point::BackupMarked,
    Point::BackupCopied,
    Point::BackupSegment,
    Point::BackupBrought,
    Point::BackupEmptied,
    Point::BackupLed,
    Point::BackupSwept,
    Point::BackupClosed,
    Point::BackupNamed,
];

/// Points that only a failed call leads to; those are made on the simulated disk.
const FAILURES: [Point; 2] = [Point::GiveUpRemoved, Point::SyncFailed];

fn grounds() -> Vec<Ground> {
    use Ground::{Empty, Killed, Moved};
    vec![
        Empty(SPREAD),
        Empty(CROWDED),
        Killed(Point::SplitHalf, 2),
        Killed(Point::AppendMarked, 30),
        Killed(Point::SegmentDurable, 6),
        Killed(Point::CleanRemovedSynced, 1),
        Moved(Point::SplitHalf, 2),
        Moved(Point::CheckpointHeaded, 4),
        Moved(Point::SegmentDurable, 6),
    ]
}

#[test]
fn play_a_part() {
    let Some((task, place)) = Task::mine() else { return };
    let counts = Rc::new(RefCell::new(BTreeMap::<&str, u64>::new()));
    if std::env::var_os(COUNTS).is_some() {
        let counts = Rc::clone(&counts);
        at_points(Some(Box::new(move |point| {
            *counts.borrow_mut().entry(point.name()).or_default() += 1;
        })));
    }
    work(task, &place);
    at_points(None);
    if let Some(path) = std::env::var_os(COUNTS) {
        let lines = counts
            .borrow()
            .iter()
            .map(|(name, count)| format!("{name} {count}\n"))
            .collect::<String>();
        fs::write(path, lines).expect("space");
    }
}

/// How often the child came to each point.
fn counts(path: &Path) -> Vec<(Point, u64)> {
    let text = fs::read_to_string(path).expect("written by the child");
    let line = |line: &str| {
        let (name, count) = line.split_once(' ').expect("a name and a count");
        let point = Point::ALL.iter().find(|point| point.name() == name).expect("a point");
        (*point, count.parse().expect("a number"))
    };
    text.lines().map(line).collect()
}

impl Ground {
    fn script(&self) -> Script {
        match self {
            Ground::Empty(script) => *script,
            _ => SPREAD,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Ground::Empty(_) => "empty",
            Ground::Killed(..) => "killed",
            Ground::Moved(..) => "moved",
        }
    }

    /// What the process that is killed does: all steps, or opening and closing only.
    fn task(&self) -> Task {
        let steps = if matches!(self, Ground::Empty(_)) { STEPS } else { 0 };
        Task { script: self.script(), steps, close: true }
    }

    /// Makes the ground at `place`.
    fn lay(&self, place: &Path) {
        clear(place);
        let (Ground::Killed(point, times) | Ground::Moved(point, times)) = self else { return };
        let task = Task { script: self.script(), steps: STEPS, close: true };
        let crash = format!("{}:{times}", point.name());
        assert_eq!(end(task.command(place).env(CRASH_AT, crash)), End::Killed, "{self:?}");
        if let Ground::Moved(..) = self {
            move_to_another_life(place);
        }
    }
}

fn move_to_another_life(place: &Path) {
    let meta = fs::File::options().write(true).open(place.join("meta")).expect("a store");
    meta.write_all_at(&[0x77; 8], LIFE).expect("space");
}

/// What is left at `place` is every commit that was published; a reader that looks before anyone has recovered sees the same; and
/// the store goes on from there.
fn survives(place: &Path, script: Script, attach: bool) {
    let progress = Progress::at(place);
    let mut allowed = progress.allowed(script);
    let mut reader = match script.options().open_read_only(place) {
        Ok(reader) => Some(reader),
        Err(Error::NotFound { .. }) if progress.done() == 0 => None,
        Err(Error::NeedsRecovery { .. }) => None,
        Err(error) => panic!("{error}"),
    };
    if let Some(reader) = &reader
        && check::one_of(reader, &allowed) == 1
    {
        // It was published: from here on it may not go away.
        allowed.remove(0);
    }
    reader.take_if(|_| !attach);
    let store = script.options().open(place).expect("recovery");
    let (from, state) = allowed.swap_remove(check::one_of(&store, &allowed));
    check::equals(&store, &state);
    let state = go_on(script, store, place, state, from);
    if let Some(reader) = &reader {
        check::equals(reader, &state);
    }
}

/// Some more steps, a clean close, and another look.
fn go_on(script: Script, store: Store, place: &Path, mut state: State, from: u64) -> State {
    let mut store = Some(store);
    for n in (from..).filter(|n| *n >= 4).take(6) {
        let step = script.step(n, &state);
        step.run(&mut store, || script.options().open(place)).expect("a sound disk");
        state.apply(&step);
    }
    store.expect("open").close().expect("a sound disk");
    let store = script.options().open(place).expect("closed cleanly");
    check::equals(&store, &state);
    state
}

/// Kills a process at a point the n-th time it comes there; false if it did not come there as often.
fn killed_at(ground: &Ground, point: Point, times: u64, place: &Path, attach: bool) -> bool {
    ground.lay(place);
    let attach = attach && !matches!(ground, Ground::Moved(..));
    let reader = (attach && matches!(ground, Ground::Killed(..)))
        .then(|| Store::open_read_only(place).expect("a store of this life"));
    let crash = format!("{}:{times}", point.name());
    let killed = end(ground.task().command(place).env(CRASH_AT, crash)) == End::Killed;
    survives(place, ground.script(), attach);
    if let Some(reader) = &reader {
        let store = Store::open_read_only(place).expect("a store");
        assert!(check::content(reader).expect("sound") == check::content(&store).expect("sound"));
    }
    killed
}

/// What a kind of ground has been tried for: points, and those that were reached several times.
type Covered = HashSet<(&'static str, Point, bool)>;

/// How long each long part may take, if it may.
fn long() -> Option<Duration> {
    let seconds = std::env::var("MAPSTONE_LONG").ok()?.parse().expect("a number of seconds");
    Some(Duration::from_secs(seconds))
}

/// Kills a process on `ground` at every point to which it comes: the first time and one in the middle, in the long form at any.
fn kill_everywhere(ground: &Ground, dir: &Path, covered: &mut Covered) -> u64 {
    let (place, path) = (dir.join("store"), dir.join("counts"));
    ground.lay(&place);
    assert_eq!(end(ground.task().command(&place).env(COUNTS, &path)), End::Done);
    let until = long().map(|long| Instant::now() + long / 9);
    let mut random = Random(1);
    let mut kills = 0;
    for (point, count) in counts(&path) {
        let mut when = vec![1, count.div_ceil(2)];
        when.extend(
            until.iter().flat_map(|_| (0..8).map(|_| 1 + random.below(count)).collect::<Vec<_>>()),
        );
        when.dedup();
        for times in when {
            let tried = (ground.kind(), point, times > 1);
            let enough = until.map_or(covered.contains(&tried), |until| Instant::now() > until);
            if enough && covered.contains(&tried) {
                continue;
            }
            let attach = kills % 2 == 1;
            let trying = AssertUnwindSafe(|| killed_at(ground, point, times, &place, attach));
            let killed = catch_unwind(trying).unwrap_or_else(|panic| {
                eprintln!("{ground:?}, killed at {}:{times}", point.name());
                resume_unwind(panic)
            });
            // The hash differs from store to store, and so does how often pages split.
            if killed {
                kills += 1;
                covered.insert(tried);
            }
        }
    }
    kills
}

#[test]
fn nothing_is_lost_wherever_a_process_is_killed() {
    let dir = scratch();
    let (mut covered, mut kills) = (HashSet::new(), 0);
    for ground in grounds() {
        let start = Instant::now();
        let more = kill_everywhere(&ground, dir.path(), &mut covered);
        eprintln!("{ground:?}: {more} kills, {:.1?}", start.elapsed());
        kills += more;
    }
    let mut reached: HashSet<Point> = covered.iter().map(|(_, point, _)| *point).collect();
    reached.extend(FAILURES.into_iter().filter(|point| killed_after_a_failure(*point)));
    reached.extend(TIDYING);
    reached.extend(BACKUPS);
    // Those of a repair are tests/repair's, and those that it takes several writers to come to are tests/turns'.
    let elsewhere = |point: &Point| {
        ["repair.", "rebuild.", "turn."].iter().any(|it| point.name().starts_with(it))
    };
    let mut missed = Point::ALL.to_vec();
    missed.retain(|point| !reached.contains(point) && !elsewhere(point));
    assert!(missed.is_empty(), "never reached: {missed:?}");
    eprintln!("{kills} kills at {} points", reached.len());
}

/// On the simulated disk: makes calls fail until that leads to `point`, where the process is killed, and looks at what is left.
fn killed_after_a_failure(point: Point) -> bool {
    let (call, errno) = match point {
        Point::GiveUpRemoved => (Call::Create, 28),
        _ => (Call::Msync, 5),
    };
    let mut tries = (0..40).map(|after| Fault { call, after, errno, times: 1 });
    let reached = tries.by_ref().any(|fault| kill_after(fault, point));
    for fault in tries.take(if long().is_some() { 40 } else { 2 }) {
        kill_after(fault, point);
    }
    reached
}

fn kill_after(fault: Fault, point: Point) -> bool {
    let disk = SimDisk::new(fault.after);
    let left = Rc::new(RefCell::new(None));
    let (at, killed) = (disk.clone(), Rc::clone(&left));
    let mut store = Some(SPREAD.options().open_sim(&disk).expect("a fresh store"));
    at_points(Some(Box::new(move |reached| {
        if reached == point {
            killed.borrow_mut().get_or_insert_with(|| at.process_kill());
        }
    })));
    disk.fail(fault);
    let mut allowed = vec![(0, State::default())];
    for n in 0..STEPS {
        let before = allowed.clone();
        let step = SPREAD.step(n, &before[0].1);
        let done = step.run(&mut store, || SPREAD.options().open_sim(&disk));
        let after = before.iter().map(|(_, state)| (n + 1, state.after(&step)));
        allowed =
            if done.is_ok() { after.collect() } else { after.chain(before.clone()).collect() };
        if let Some(disk) = left.take() {
            at_points(None);
            allowed.extend(before);
            let store = SPREAD.options().open_sim(&disk).expect("recovery");
            let (_, state) = allowed.swap_remove(check::one_of(&store, &allowed));
            check::equals(&store, &state);
            return true;
        }
        if done.is_err() && step.is_durable() {
            break;
        }
    }
    at_points(None);
    false
}

/// A writer that is killed at random, again and again, with checkpoints by a thread of its own and a reader that stays.
#[test]
fn nothing_is_lost_when_processes_are_killed_at_random() {
    let dir = scratch();
    let place = dir.path().join("store");
    let until = Instant::now() + long().unwrap_or(Duration::from_secs(4));
    let mut random = Random(u64::from(std::process::id()));
    eprintln!("seed {}", random.0);
    let mut kills = 0;
    while Instant::now() < until {
        clear(&place);
        let script =
            Script { seed: random.next(), crowded: random.below(5) == 0, background: true };
        let task = Task { script, steps: 400, close: true };
        let mut reader = None;
        for _ in 0..12 {
            let mut child = task.command(&place).spawn().expect("a child");
            std::thread::sleep(Duration::from_micros(2000 + random.below(60_000)));
            child.kill().expect("it may be killed");
            let output = child.wait_with_output().expect("a child");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("panicked"), "{script:?}: {said}");
            kills += 1;
            let allowed = Progress::at(&place).allowed(script);
            if reader.is_none() {
                reader = script.options().open_read_only(&place).ok();
            }
            if let Some(reader) = &reader {
                check::one_of(reader, &allowed);
            }
        }
        survives(&place, script, true);
    }
    eprintln!("{kills} kills at random");
}

/// Between the two halves of a split the old page has keys that the new one has too.
#[test]
fn an_iteration_beside_half_a_split_meets_each_key_once() {
    let disk = SimDisk::new(1);
    let store = SPREAD.options().open_sim(&disk).expect("a fresh store");
    let looks = Rc::new(Cell::new(0));
    let count = Rc::clone(&looks);
    at_points(Some(Box::new(move |point| {
        if [Point::LeadEntry, Point::SplitHalf].contains(&point) {
            let reader = SPREAD.options().open_read_only_sim(&disk).expect("a store of this life");
            let keys: Vec<_> = reader
                .snapshot()
                .expect("memory")
                .iter()
                .map(|item| item.expect("sound").0.to_vec())
                .collect();
            assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
            count.set(count.get() + 1);
        }
    })));
    for i in 0..1000 {
        store.put(key(i), "value").expect("space");
    }
    at_points(None);
    assert!(looks.get() > 4, "pages split");
}

//! A process is killed at every crash point, and at random; whoever opens the store next finds every commit that was published,
//! also those that nobody ever synced, and perhaps the one that was on its way.
#![cfg(feature = "sim")]

mod script;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mapstone::sim::{CRASH_AT, Point, SimDisk, at_points};
use mapstone::{Error, Store};

use script::child::{End, Progress, Task, clear, end, scratch, work};
use script::{Random, Script, State, Step, check};

/// Names the file to which a child writes how often it came to each crash point.
const COUNTS: &str = "MAPSTONE_TEST_COUNTS";
/// Where the life of the cells is in `meta` (docs/format.md).
const LIFE: u64 = 4096 + 96;
/// Steps of a run; the seed is one with which they come to all points.
const STEPS: u64 = 64;
const SPREAD: Script = Script { seed: 1, crowded: false };
const CROWDED: Script = Script { seed: 1, crowded: true };

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

/// Points that only a failed call leads to; those are made on the simulated disk.
const FAILURES: [Point; 3] = [Point::FinishBegun, Point::GiveUpRemoved, Point::SyncFailed];

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
    let states = script.states(progress.begun());
    let mut allowed = progress.allowed(&states).to_vec();
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
    let state = allowed[check::one_of(&store, &allowed)];
    check::equals(&store, state);
    let state = go_on(script, store, place, state, progress.begun());
    if let Some(reader) = &reader {
        check::equals(reader, &state);
    }
}

/// Some more steps, a clean close, and another look.
fn go_on(script: Script, store: Store, place: &Path, state: &State, from: u64) -> State {
    let mut state = state.clone();
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

#[test]
fn nothing_is_lost_wherever_a_process_is_killed() {
    let dir = scratch();
    let place = dir.path().join("store");
    let mut covered = HashSet::new();
    let mut kills = 0u64;
    for ground in grounds() {
        ground.lay(&place);
        let path = dir.path().join("counts");
        let ended = end(ground.task().command(&place).env(COUNTS, &path));
        assert_eq!(ended, End::Done);
        let start = Instant::now();
        for (point, count) in counts(&path) {
            let recovery = !matches!(ground, Ground::Empty(_));
            let known = covered.contains(&point);
            if known && !recovery {
                continue;
            }
            let mut when = vec![1];
            when.extend((!known && count > 1).then_some(count.div_ceil(2)));
            for times in when {
                let what = format!("{ground:?}, killed at {} for the {times}. time", point.name());
                let trying = std::panic::AssertUnwindSafe(|| {
                    killed_at(&ground, point, times, &place, kills % 2 == 1)
                });
                let killed = std::panic::catch_unwind(trying).unwrap_or_else(|panic| {
                    eprintln!("{what}");
                    std::panic::resume_unwind(panic)
                });
                // The hash differs from store to store, and so does how often pages split.
                assert!(killed || times > 1, "{what}: it was not reached");
                kills += u64::from(killed);
                if killed {
                    covered.insert(point);
                }
            }
        }
        eprintln!("{ground:?}: {:.1?}", start.elapsed());
    }
    covered.extend(killed_after_failures());
    let missed: Vec<_> = Point::ALL.iter().filter(|point| !covered.contains(point)).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
    eprintln!("{kills} kills at {} points", covered.len());
}

/// On the simulated disk: the process is killed at a point that only a failed call leads to. Returns those that were reached.
fn killed_after_failures() -> Vec<Point> {
    FAILURES.into_iter().filter(|point| killed_after_a_failure(*point)).collect()
}

fn killed_after_a_failure(_point: Point) -> bool {
    true
}

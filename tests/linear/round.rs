//! One round: processes share a new store, are killed at random and at crash points and replaced, and what all of them have
//! logged is checked.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use mapstone::Store;
use mapstone::sim::{Bug, CRASH_AT, PLANT, Point};
use tempfile::TempDir;

use crate::caller::{Caller, now, options};
use crate::checker::check;
use crate::history;
use crate::witness::witness;

const PLACE: &str = "MAPSTONE_TEST_PLACE";
const TASK: &str = "MAPSTONE_TEST_TASK";
const WRITERS: usize = 4;
const READERS: usize = 2;
/// The crash points that they come to, by group.
const DEATHS: [&str; 12] = [
    "append",
    "apply",
    "checkpoint",
    "compact",
    "open",
    "publish",
    "replay",
    "resume",
    "seal",
    "segment",
    "split",
    "turn",
];

/// What went wrong.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// No order explains what was told.
    NotLinearizable(String),
    /// A process came to an end that nobody gave it, or the store is damaged.
    Failed(String),
}

/// What was checked.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) calls: usize,
    pub(crate) writes: usize,
    /// Calls that never returned, and may have written.
    pub(crate) lost: usize,
    pub(crate) kills: usize,
    /// How many of them were at a crash point.
    pub(crate) crashes: usize,
    /// The most configurations that a search had at a time.
    pub(crate) widest: usize,
    pub(crate) checking: Duration,
}

impl Figures {
    pub(crate) fn add(&mut self, more: &Figures) {
        self.calls += more.calls;
        self.writes += more.writes;
        self.lost += more.lost;
        self.kills += more.kills;
        self.crashes += more.crashes;
        self.widest = self.widest.max(more.widest);
        self.checking += more.checking;
    }
}

/// What a child does: it opens the store beside the others, and calls it.
pub(crate) fn play() {
    let Ok(task) = std::env::var(TASK) else { return };
    let place = PathBuf::from(std::env::var_os(PLACE).expect("a place"));
    let words: Vec<u64> = task.split(' ').map(|word| word.parse().expect("a number")).collect();
    let [who, start, times, writes] = words[..] else { panic!("{task}") };
    let store = place.join("store");
    let store = if writes == 1 { options().open(store) } else { options().open_read_only(store) };
    let store = store.expect("one of several");
    let who = u32::try_from(who).expect("few");
    let mut caller = Caller::new(&store, &place.join("logs"), who, start);
    caller.call_often(times).expect("a sound store");
    store.close().expect("a sound disk");
}

/// One of those who call, killed when this ends.
struct Process {
    child: Child,
    said: PathBuf,
    /// Killed more seldom: a reader, which leaves nothing behind, or one that is to come to its crash point.
    spared: bool,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// None if it ended well or was killed, by this one or at a crash point.
    fn trouble(&self, status: ExitStatus) -> Option<Trouble> {
        if status.success() || status.signal() == Some(9) {
            return None;
        }
        let said = fs::read_to_string(&self.said).unwrap_or_default();
        Some(Trouble::Failed(format!("{status}: {said}")))
    }
}

struct Round<'a> {
    place: &'a Path,
    start: u64,
    random: Rng,
    bug: Option<Bug>,
    /// How many there have been.
    processes: u32,
    kills: usize,
    crashes: usize,
}

impl Round<'_> {
    fn process(&mut self, writes: bool) -> Process {
        self.processes += 1;
        let who = self.processes;
        let times = self.random.u64(500..20_000);
        let said = self.place.join(format!("logs/{who}.err"));
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args(["--exact", "play_a_part", "--nocapture", "--test-threads=1"]);
        command.env(PLACE, self.place).env("RUST_BACKTRACE", "0");
        command.env(TASK, format!("{who} {} {times} {}", self.start, u8::from(writes)));
        if let Some(bug) = self.bug {
            command.env(PLANT, bug.name());
        }
        let armed = writes && self.random.bool();
        if armed {
            command.env(CRASH_AT, self.crash());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&said).expect("a file"));
        Process { child: command.spawn().expect("a child"), said, spared: armed || !writes }
    }

    /// Some crash point of some group, the n-th time that a process comes to it.
    fn crash(&mut self) -> String {
        let group = DEATHS[self.random.usize(..DEATHS.len())];
        let of_group = |point: &&Point| point.name().split('.').next() == Some(group);
        let points: Vec<&Point> = Point::ALL.iter().filter(of_group).collect();
        let point = points[self.random.usize(..points.len())];
        // Small numbers for what happens seldom, great ones for what happens all the time.
        let most = self.random.u8(1..8);
        format!("{}:{}", point.name(), 1 << self.random.u8(0..most))
    }

    /// Kills and replaces for so long. What went wrong, if a process ended badly.
    fn run(&mut self, time: Duration) -> Option<Trouble> {
        let mut processes: Vec<Process> =
            (0..WRITERS + READERS).map(|i| self.process(i < WRITERS)).collect();
        let begin = Instant::now();
        while begin.elapsed() < time {
            std::thread::sleep(Duration::from_millis(self.random.u64(1..20)));
            let victim = self.random.usize(..processes.len());
            for (i, process) in processes.iter_mut().enumerate() {
                let kill = i == victim && (!process.spared || self.random.u8(0..4) == 0);
                let by_itself = process.child.try_wait().expect("a child");
                if kill && by_itself.is_none() {
                    let _ = process.child.kill();
                }
                let ended = if kill { process.child.wait().ok() } else { by_itself };
                let Some(status) = ended else { continue };
                let killed = usize::from(status.signal() == Some(9));
                self.kills += killed;
                self.crashes += if by_itself.is_some() { killed } else { 0 };
                let trouble = process.trouble(status);
                if trouble.is_some() {
                    return trouble;
                }
                *process = self.process(i < WRITERS);
            }
        }
        None
    }
}

/// Runs one round, for `time`. With a bug in all processes that call, but not in this one.
pub(crate) fn round(seed: u64, time: Duration, bug: Option<Bug>) -> (Figures, Option<Trouble>) {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a place");
    let logs = dir.path().join("logs");
    fs::create_dir(&logs).expect("a folder");
    let store = options().open(dir.path().join("store")).expect("a store");
    let random = Rng::with_seed(seed);
    let mut round =
        Round { place: dir.path(), start: now(), random, bug, processes: 0, kills: 0, crashes: 0 };
    let mut trouble = round.run(time);
    if bug.is_none() && trouble.is_none() {
        trouble = settle(&store, &logs, round.start).err();
    }
    let (kills, crashes) = (round.kills, round.crashes);
    let (figures, told) = judge(&logs);
    let figures = Figures { kills, crashes, ..figures };
    // An order that cannot be says more than what somebody stumbled over.
    let trouble = told.or(trouble);
    let trouble = if bug.is_none() { trouble.map(|trouble| kept(trouble, dir)) } else { trouble };
    (figures, trouble)
}

/// Reads all once more through a handle that was there all along, before and after it takes over from the dead.
fn settle(store: &Store, logs: &Path, start: u64) -> Result<(), Trouble> {
    let failed = |error| Trouble::Failed(format!("at the end: {error}"));
    let mut caller = Caller::new(store, logs, 0, start);
    caller.read_all().map_err(failed)?;
    store.delete("nothing").map_err(failed)?;
    caller.read_all().map_err(failed)?;
    let verified = store.verify().map_err(failed)?;
    match verified.damage.first() {
        Some(damage) => Err(Trouble::Failed(format!("at the end: {damage:?}"))),
        None => Ok(()),
    }
}

/// Checks what was logged.
fn judge(logs: &Path) -> (Figures, Option<Trouble>) {
    let histories = history::read(logs);
    let begin = Instant::now();
    let (mut figures, mut trouble) = (Figures::default(), None);
    for (object, ops) in &histories {
        figures.calls += ops.len();
        figures.writes += ops.iter().filter(|op| !op.call.only_reads()).count();
        figures.lost += ops.iter().filter(|op| op.returned.is_none()).count();
        match check(ops) {
            Ok(widest) => figures.widest = figures.widest.max(widest),
            Err(stuck) => {
                let why = format!("object {object}, {}", witness(ops, &stuck));
                trouble = trouble.or(Some(Trouble::NotLinearizable(why)));
            }
        }
    }
    figures.checking = begin.elapsed();
    (figures, trouble)
}

/// The same trouble, and where its logs and its store are.
fn kept(trouble: Trouble, dir: TempDir) -> Trouble {
    let kept = format!("\nlogs and store are in {}", dir.keep().display());
    match trouble {
        Trouble::NotLinearizable(why) => Trouble::NotLinearizable(why + &kept),
        Trouble::Failed(why) => Trouble::Failed(why + &kept),
    }
}

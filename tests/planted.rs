//! Every rule that a planted bug breaks is missed: the stories of `tests/model` end badly with the bug, and well without.
#![cfg(feature = "sim")]

#[path = "model/backups.rs"]
mod backups;
#[path = "model/between.rs"]
mod between;
#[path = "model/check.rs"]
mod check;
#[path = "model/feeds.rs"]
mod feeds;
#[path = "model/hunt.rs"]
mod hunt;
#[path = "model/lives.rs"]
mod lives;
#[path = "model/ops.rs"]
mod ops;
#[path = "model/others.rs"]
mod others;
#[path = "model/outcome.rs"]
mod outcome;
#[path = "model/points.rs"]
mod points;
#[path = "model/quiet.rs"]
mod quiet;
#[path = "model/seeds.rs"]
mod seeds;
#[path = "model/space.rs"]
mod space;
#[path = "model/state.rs"]
mod state;
#[path = "model/tally.rs"]
mod tally;
#[path = "model/themes.rs"]
mod themes;
#[path = "model/world.rs"]
mod world;
#[path = "model/writes.rs"]
mod writes;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hunt::Theme;
use mapstone::sim::{Bug, plant};
use tally::Watch;

/// How many stories a bug may outlive.
const BUDGET: u64 = 1000;
/// How many operations a story has at most.
const LONGEST: usize = 50;

/// What the stories are about that are told to catch a bug: everything, and what its rule is for.
fn themes_of(bug: Bug) -> [Theme; 2] {
    use Bug::*;
    let own = match bug {
        SkipReserve | SkipGrow => Theme::FullDisk,
        NotQuiet | LateDirectory | SplitInPlace | ReuseEarly | ForgetSplit => Theme::Growth,
        SkipRecheck => Theme::Lookups,
        SkipCheckpointCrc | SkipCheckpointSync | CheckpointInPlace => Theme::TornCheckpoints,
        ApplyBeforeMark | CountersInPlace | ReplayHalfBatch => Theme::Kills,
        RetryAfterEio | TrustAfterEio | SkipRedirty => Theme::FailedSyncs,
        SkipBlot => Theme::Space,
        SameEpoch | UnlinkBeforeReplace | CreateInPlace | SettleUnsynced => Theme::Recoveries,
        ReuseTableNumber => Theme::Tables,
        UnlinkBeforeCheckpoint | SkipHorizon | IgnoreMarks | BuryEarly => Theme::Space,
        IgnoreCursors => Theme::Cursors,
        BuryVolatile => Theme::Graves,
        SkipCatchUp | SkipTurnResume => Theme::Turns,
        _ => Theme::TornPages,
    };
    [Theme::Everything, own]
}

/// The first line of what a panic said, cut short.
fn short(how: &str) -> String {
    how.lines().next().unwrap_or_default().chars().take(110).collect()
}

/// Who plants what no story of a single thread can show, or too rarely.
fn planted_elsewhere(bug: Bug) -> Option<&'static str> {
    match bug {
        Bug::IgnoreMovedPage | Bug::IgnoreMovedDirectory => Some("src/store/races/weak.rs"),
        Bug::CompareUnlocked | Bug::SkipValidate => Some("tests/transactions.rs"),
        Bug::StaleReader => Some("tests/linear"),
        Bug::SkipBlot | Bug::KeepTwin | Bug::SumGuess => Some("tests/model/told.rs"),
        _ => None,
    }
}

/// What only backups do: `tests/backup` plants it.
fn is_of_backups(bug: Bug) -> bool {
    bug.name().starts_with("backup-")
}

/// Plants one bug in this thread and hunts it. One line of the table, and whether it was caught.
fn hunt_one(bug: Bug) -> (String, bool) {
    if let Some(place) = planted_elsewhere(bug) {
        return (format!("{:24} caught in {place}", bug.name()), true);
    }
    if is_of_backups(bug) {
        return (format!("{:24} caught by the tests of backups", bug.name()), true);
    }
    plant(Some(bug));
    let start = Instant::now();
    let caught = hunt::hunt(&themes_of(bug), BUDGET, LONGEST);
    plant(None);
    let seconds = start.elapsed().as_secs_f64();
    let name = bug.name();
    match caught {
        Some(hunt::Caught { stories, cuts, how, .. }) => {
            (format!("{name:24} {stories:7} {cuts:6} {seconds:7.1} s  {}", short(&how)), true)
        }
        None => (format!("{name:24} NOT CAUGHT in {BUDGET} stories, {seconds:.1} s"), false),
    }
}

#[test]
fn every_planted_bug_is_caught() {
    let next = AtomicUsize::new(0);
    let lines = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(bug) = Bug::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let line = hunt_one(*bug);
                    lines.lock().expect("lines").push((*bug as usize, line));
                }
            });
        }
    });
    let mut lines = lines.into_inner().expect("lines");
    lines.sort_unstable_by_key(|(bug, _)| *bug);
    println!("{:24} {:>7} {:>6} {:>9}  how it showed", "bug", "stories", "cuts", "time");
    lines.iter().for_each(|(_, (line, _))| println!("{line}"));
    let escaped = lines.iter().filter(|(_, (_, caught))| !caught).count();
    assert_eq!(escaped, 0, "planted bugs that nobody noticed");
}

#[test]
fn without_a_bug_nothing_is_caught() {
    plant(None);
    let watch = Watch::start();
    if let Some(hunt::Caught { how, stories, shape, ops, .. }) =
        hunt::hunt(&Theme::ALL, BUDGET, LONGEST)
    {
        let ops = hunt::shorten(shape, ops);
        panic!("story {stories} ends badly without any bug: {how}\n{shape:?}\n{ops:#?}");
    }
    watch.report("without a bug");
}

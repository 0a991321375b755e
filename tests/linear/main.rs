//! Many processes as one: what they have told of their calls is what one after the other would have told, in an order that
//! agrees with the clock, though any of them is killed at any moment.
//!
//! `MAPSTONE_LONG` is how many seconds the sound store is called; `MAPSTONE_LINEAR_SEED` says which kills come, though not what
//! the processes do meanwhile.
#![cfg(feature = "sim")]

mod call;
mod caller;
mod checker;
mod history;
mod known;
mod round;
mod witness;

use std::time::{Duration, Instant};

use mapstone::sim::Bug;
use round::{Figures, Trouble, round};

/// How long a store is called before another one takes its place.
const ROUND: Duration = Duration::from_secs(2);
/// For how long a planted bug may go unnoticed.
const PATIENCE: Duration = Duration::from_secs(120);

/// What no process notices in the answers that it gets itself, or what goes wrong between two of them.
const BROKEN: [Bug; 5] = [
    Bug::CompareUnlocked,
    Bug::SkipValidate,
    Bug::StaleReader,
    Bug::SkipCatchUp,
    Bug::SkipTurnResume,
];

/// What a child does; nothing in a parent.
#[test]
fn play_a_part() {
    round::play();
}

fn seed() -> u64 {
    let given = std::env::var("MAPSTONE_LINEAR_SEED").ok();
    given.map_or_else(|| fastrand::u64(..), |text| text.parse().expect("a number"))
}

#[test]
fn calls_of_processes_that_are_killed_have_an_order() {
    let long = std::env::var("MAPSTONE_LONG").ok().map(|text| text.parse().expect("seconds"));
    let time = Duration::from_secs(long.unwrap_or(4));
    let first = seed();
    let (start, mut all) = (Instant::now(), Figures::default());
    for seed in first.. {
        let (figures, trouble) = round(seed, ROUND.min(time), None);
        all.add(&figures);
        match trouble {
            None => {}
            Some(Trouble::NotLinearizable(why)) => panic!("seed {seed}: not linearizable: {why}"),
            Some(Trouble::Failed(why)) => panic!("seed {seed}: {why}"),
        }
        if start.elapsed() > time {
            break;
        }
    }
    let rate = all.calls as f64 / all.checking.as_secs_f64();
    eprintln!("from seed {first}: {all:?}, {rate:.0} calls checked a second");
    assert!(all.calls > 1000 && all.kills > 10, "{all:?}");
}

/// How long it took until the histories showed the bug, and how.
fn hunt(bug: Bug) -> Option<(Duration, String)> {
    let (start, mut others) = (Instant::now(), 0);
    while start.elapsed() < PATIENCE {
        match round(seed(), ROUND / 4, Some(bug)).1 {
            None => {}
            Some(Trouble::NotLinearizable(why)) => {
                return Some((start.elapsed(), format!("{others} rounds failed before\n{why}")));
            }
            Some(Trouble::Failed(_)) => others += 1,
        }
    }
    None
}

#[test]
fn a_store_that_breaks_its_rules_has_no_such_order() {
    for bug in BROKEN {
        let Some((time, how)) = hunt(bug) else {
            panic!("{}: not noticed in {PATIENCE:?}", bug.name())
        };
        eprintln!("{}: noticed after {:.1} s, {how}\n", bug.name(), time.as_secs_f64());
    }
}

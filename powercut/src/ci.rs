//! All of it, a little of each, and the table at the end.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mapstone::sim::Bug;

use crate::ground::{self, Kind, Scratch};
use crate::stage::{Tally, skipped};
use crate::{cuts, failing, shutdown};

/// Seconds of power cuts in the short form.
const SHORT: f64 = 24.0;
/// Seconds in which a planted bug must be caught.
const CATCH: u64 = 30;
/// A bug that every way to cut the power shows.
const PLAIN: &str = "skip-log-sync";
/// Bugs that only a disk shows that loses and tears what was not flushed; tried on ext4.
const SUBTLE: [&str; 5] = [
    "sync-first-page",
    "skip-segment-sync",
    "skip-index-sync",
    "skip-checkpoint-sync",
    "keep-clean-record",
];
/// Bugs that a failing disk shows.
const FAILING: [&str; 3] = ["retry-after-eio", "trust-after-eio", "skip-redirty"];

/// A way to cut the power: on which file system, and its share of the time.
type Rounds = fn(Kind, u64, Option<&str>, Instant, &Scratch) -> Result<Tally>;
const PARTS: [(Rounds, Kind, f64); 5] = [
    (shutdown::rounds, Kind::Ext4, 0.15),
    (shutdown::rounds, Kind::Xfs, 0.15),
    (cuts::rounds, Kind::Ext4, 0.3),
    (cuts::rounds, Kind::Xfs, 0.2),
    (cuts::rounds, Kind::Btrfs, 0.2),
];

pub fn run(seed: Option<u64>) -> Result<()> {
    if ground::missing().is_none() {
        ground::enter()?;
    }
    let dir = tempfile::tempdir()?;
    failing::limits(dir.path())?;
    println!("limits of file size and descriptors: typed errors, nothing lost");
    if let Some(want) = ground::missing() {
        skipped("power cuts, failing and full disks", want);
        return Ok(());
    }
    let scratch = Scratch::new()?;
    let seed = seed.unwrap_or_else(|| rand::random::<u32>().into());
    let seconds =
        std::env::var("MAPSTONE_LONG").ok().and_then(|text| text.parse().ok()).unwrap_or(SHORT);
    println!("seed {seed}, {seconds} seconds of power cuts");
    failing(&scratch)?;
    let mut failures = Vec::new();
    let mut rows = Vec::new();
    for (rounds, kind, share) in PARTS {
        if !is_possible(rounds, kind) {
            continue;
        }
        let until = Instant::now() + Duration::from_secs_f64(seconds * share);
        let tally = rounds(kind, seed, None, until, &scratch)?;
        println!("{}", row(&tally));
        rows.push(format!(
            "{}{}",
            row(&tally),
            planted(rounds, kind, seed, &scratch, &mut failures)?
        ));
        failures.extend(tally.failures);
    }
    println!("\nseed {seed}\n{HEAD}");
    rows.iter().for_each(|row| println!("{row}"));
    failures.iter().for_each(|failure| println!("{failure}"));
    ensure!(failures.is_empty(), "BROKEN: {} failures", failures.len());
    Ok(())
}

/// Those bugs that the store can be given.
fn known(names: &'static [&'static str]) -> impl Iterator<Item = &'static str> {
    names.iter().copied().filter(|name| Bug::ALL.iter().any(|bug| bug.name() == *name))
}

fn is_logged(rounds: Rounds) -> bool {
    std::ptr::fn_addr_eq(rounds, cuts::rounds as Rounds)
}

fn is_possible(rounds: Rounds, kind: Kind) -> bool {
    let want =
        kind.missing().or(ground::fuse_missing().filter(|_| is_logged(rounds)).map(str::to_owned));
    if let Some(want) = &want {
        skipped(&format!("power cuts on {}", kind.name()), want);
    }
    want.is_none()
}

/// Plants bugs in the writer; says after how many cuts each was caught.
fn planted(
    rounds: Rounds,
    kind: Kind,
    seed: u64,
    scratch: &Scratch,
    failures: &mut Vec<String>,
) -> Result<String> {
    let mut said = String::new();
    let subtle = is_logged(rounds) && kind == Kind::Ext4;
    for bug in known(&SUBTLE).filter(|_| subtle).chain([PLAIN]) {
        let until = Instant::now() + Duration::from_secs(CATCH);
        let tally = rounds(kind, seed, Some(bug), until, scratch)?;
        if tally.failures.is_empty() {
            failures.push(format!("{}: {bug} was not caught by {} cuts", tally.what, tally.cuts));
        } else {
            said += &format!("  {bug} after {}", tally.cuts);
        }
    }
    Ok(said)
}

const HEAD: &str = "harness              rounds   cuts  lossy  kills  readers  lost  failed mounts  seconds  cuts/s  planted bug caught after cuts";

pub fn row(tally: &Tally) -> String {
    format!(
        "{:<20} {:>6} {:>6} {:>6} {:>6} {:>8} {:>5} {:>14} {:>8.1} {:>7.1}",
        tally.what,
        tally.rounds,
        tally.cuts,
        tally.lossy,
        tally.kills,
        tally.readers,
        tally.failures.len(),
        tally.failed_mounts,
        tally.seconds,
        tally.cuts as f64 / tally.seconds,
    )
}

/// Failing, full and forbidden disks.
pub fn failing(scratch: &Scratch) -> Result<()> {
    let timed = |what: &str, tried: &dyn Fn() -> Result<()>| -> Result<()> {
        let start = Instant::now();
        tried().map_err(|error| error.context(format!("{what}: a failure")))?;
        println!("{what}: typed errors, nothing lost ({:.1} s)", start.elapsed().as_secs_f64());
        Ok(())
    };
    timed("read-only and forbidden directories", &|| failing::denied(scratch))?;
    timed("a full tmpfs", &|| failing::full_tmpfs(scratch))?;
    timed("a thin device", &|| failing::thin_device(scratch))?;
    for kind in Kind::ALL {
        if let Some(want) = kind.missing() {
            skipped(&format!("a full {}, failing disks under it", kind.name()), &want);
            continue;
        }
        timed(&format!("a full {}", kind.name()), &|| failing::full(kind, scratch))?;
        match ground::fuse_missing() {
            None => timed(&format!("EIO under {}", kind.name()), &|| {
                failing::disk_errors(kind, None, scratch)
            })?,
            Some(want) => skipped(&format!("EIO under {}", kind.name()), want),
        }
    }
    for bug in known(&FAILING).filter(|_| ground::fuse_missing().is_none()) {
        let Err(error) = failing::disk_errors(Kind::Ext4, Some(bug), scratch) else {
            anyhow::bail!("BROKEN: {bug} was not caught by a failing disk");
        };
        println!("{bug} is caught by a failing disk: {error}");
    }
    match Kind::Btrfs.missing() {
        None => timed("a quota", &|| failing::quota(scratch))?,
        Some(want) => skipped("a quota", &want),
    }
    Ok(())
}

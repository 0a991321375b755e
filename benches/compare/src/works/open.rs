//! Opening, until the first value is there, in a new process: after a clean close, and after a SIGKILL that came right behind the last
//! of the overwrites. How many of those are lost is counted: that is what the column "survives" claims.

use anyhow::{Result, bail};

use crate::bench::Bench;
use crate::peer::Survives;
use crate::row::{Row, Unit};
use crate::step::{Act, OpenDone};
use crate::works::processes::step;

const CLEAN: &str = "open after a clean close";
const KILLED: &str = "open after SIGKILL";
/// A version that nothing else writes.
const LAST: u64 = 99;

pub fn run(bench: &mut Bench) -> Result<()> {
    if !bench.kind.persistent {
        bench.skip(CLEAN, Unit::Time, "in memory");
        bench.skip(KILLED, Unit::Time, "in memory");
        return Ok(());
    }
    bench.close()?;
    let done: OpenDone = step(bench, Act::Open { check: 0, version: 0 }).outcome()?;
    let row = Row { seconds: done.seconds, ops: 1, ..bench.row(CLEAN, Unit::Time) };
    (bench.out)(row);

    let written: u64 =
        step(bench, Act::Die { bytes: bench.scale.replay_mib << 20, version: LAST }).outcome()?;
    let done: OpenDone = match step(bench, Act::Open { check: written, version: LAST }).outcome() {
        Ok(done) => done,
        Err(error) => {
            bench.skip(KILLED, Unit::Time, &format!("cannot be opened: {error:#}"));
            return Ok(());
        }
    };
    let mut row = Row { seconds: done.seconds, ops: 1, ..bench.row(KILLED, Unit::Time) };
    row.survives = bench.kind.survives(Survives::Kill).map_or("", Survives::text).to_owned();
    row.note = Some(match (done.lost, done.broken) {
        (0, 0) => format!("none of {written} lost"),
        (lost, 0) => format!("{lost} of {written} lost"),
        (lost, broken) => format!("{lost} of {written} lost, {broken} broken"),
    });
    (bench.out)(row);
    if bench.kind.unsynced >= Survives::Kill && done.lost > 0 {
        bail!(
            "a commit that should have survived SIGKILL did not: {} of {written} lost",
            done.lost
        );
    }
    Ok(())
}

//! Random gets from other processes: alone, and while this one writes as fast as it can.

use std::io::Write;

use anyhow::{Context, Result};

use crate::bench::Bench;
use crate::data::{LOADED, Random};
use crate::meter::{Limit, Measured};
use crate::peer::Survives;
use crate::row::Unit;
use crate::step::{Act, ReadDone, Step, await_line, outcome};
use crate::works::threads::counts;

pub fn run(bench: &mut Bench) -> Result<()> {
    let counts = counts(bench.scale.threads);
    let beside = "get, one process beside one that writes";
    if !bench.kind.shared {
        for count in counts {
            bench.skip(name(count), Unit::Rate, "one process at a time");
        }
        bench.skip(beside, Unit::Rate, "one process at a time");
        return Ok(());
    }
    for count in counts {
        let (reads, _) = readers(bench, count, false)?;
        bench.report(name(count), Unit::Rate, None, &reads);
    }
    let (reads, writes) = readers(bench, 1, true)?;
    bench.report(beside, Unit::Rate, None, &reads);
    let writes = writes.context("nobody wrote")?;
    bench.report(
        "overwrite, batches of 100, beside a process that reads",
        Unit::Rate,
        Some(Survives::Kill),
        &writes,
    );
    Ok(())
}

fn name(count: usize) -> String {
    format!("get, {count} process{}", if count == 1 { "" } else { "es" })
}

fn readers(bench: &Bench, count: usize, write: bool) -> Result<(Measured, Option<Measured>)> {
    let mut children = Vec::new();
    for n in 0..count {
        let act = Act::Read { seconds: bench.scale.seconds, seed: 200 + n as u64 };
        let mut child = step(bench, act).spawn()?;
        await_line(&mut child)?;
        children.push(child);
    }
    for child in &mut children {
        child.stdin.take().context("no pipe")?.write_all(b"go\n")?;
    }
    let live = &bench.live;
    let mut random = Random::new(79);
    let written = write
        .then(|| {
            let limit = Limit::time(bench.scale.time());
            bench.put_batches(100, LOADED + 6, limit, || {
                live.start + random.below(live.end - live.start)
            })
        })
        .transpose()?;
    let mut reads =
        Measured { ops: 0, seconds: 0.0, latency: None, cpu: None, wrote: None, device: None };
    for child in children {
        let done: ReadDone = outcome(child)?;
        reads.ops += done.ops;
        reads.seconds += done.seconds / count as f64;
    }
    Ok((reads, written))
}

pub fn step(bench: &Bench, act: Act) -> Step {
    Step {
        peer: bench.kind.name.to_owned(),
        dir: bench.dir.clone(),
        keys: bench.scale.keys,
        len: bench.scale.value(),
        live: bench.live.clone(),
        act,
    }
}

//! Random gets from several threads of one process, and beside a thread that writes as fast as it can.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Result;

use crate::bench::{self, Bench, put_batches};
use crate::data::{LOADED, Random};
use crate::meter::{Limit, Measured, Meter};
use crate::peer::{Peer, Survives};
use crate::row::Unit;

/// Gets after which a session is begun anew, so that those with transactions see what was written meanwhile.
pub const SESSION: u64 = 1000;

pub fn run(bench: &mut Bench) -> Result<()> {
    for threads in counts(bench.scale.threads) {
        let measured = readers(bench, threads)?;
        let s = if threads == 1 { "" } else { "s" };
        bench.report(format!("get, {threads} thread{s}"), Unit::Rate, None, &measured);
    }
    let (reads, writes) = beside_writer(bench)?;
    bench.report("get, one thread beside one that writes", Unit::Rate, None, &reads);
    bench.report(
        "overwrite, batches of 100, beside one that reads",
        Unit::Rate,
        Some(Survives::Kill),
        &writes,
    );
    Ok(())
}

/// 1, 2 and n.
pub fn counts(most: usize) -> Vec<usize> {
    let mut counts = vec![1, 2, most.max(1)];
    counts.retain(|count| *count <= most.max(1));
    counts.sort_unstable();
    counts.dedup();
    counts
}

fn readers(bench: &Bench, threads: usize) -> Result<Measured> {
    let (peer, live, len, time) =
        (bench.peer()?, &bench.live, bench.scale.value(), bench.scale.time());
    bench.meter.around(|start| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads)
                .map(|n| {
                    scope.spawn(move || {
                        gets(peer, live, len, n as u64 + 10, &|| start.elapsed() >= time)
                    })
                })
                .collect();
            let mut ops = 0;
            for thread in threads {
                ops += thread.join().expect("a reader panicked")?;
            }
            Ok((ops, None))
        })
    })
}

/// Gets random keys, in sessions, until `enough`.
pub fn gets(
    peer: &dyn Peer,
    live: &std::ops::Range<u64>,
    len: usize,
    seed: u64,
    enough: &dyn Fn() -> bool,
) -> Result<u64> {
    let mut random = Random::new(seed);
    let mut ops = 0;
    while !enough() {
        peer.read(&mut |reader| {
            for _ in 0..SESSION {
                bench::get(reader, live.start + random.below(live.end - live.start), len)?;
            }
            ops += SESSION;
            Ok(())
        })?;
    }
    Ok(ops)
}

fn beside_writer(bench: &Bench) -> Result<(Measured, Measured)> {
    let (peer, live, len, time) =
        (bench.peer()?, &bench.live, bench.scale.value(), bench.scale.time());
    let done = AtomicBool::new(false);
    let meter = Meter::new(&bench.dir);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut random = Random::new(77);
            let limit = Limit::time(time);
            let number = || live.start + random.below(live.end - live.start);
            let written = put_batches(&meter, peer, len, 100, LOADED + 1, limit, number);
            done.store(true, Ordering::Relaxed);
            written
        });
        let start = Instant::now();
        let reads = gets(peer, live, len, 78, &|| done.load(Ordering::Relaxed));
        let seconds = start.elapsed().as_secs_f64();
        let writes = writer.join().expect("the writer panicked")?;
        Ok((
            Measured { ops: reads?, seconds, latency: None, cpu: None, wrote: None, device: None },
            writes,
        ))
    })
}

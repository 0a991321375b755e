//! Commits that survive a power cut: single puts, batches of 100, and single puts of 16 threads at once.

use std::sync::Mutex;
use std::time::Instant;

use anyhow::Result;

use crate::bench::{self, Bench};
use crate::data::{self, LOADED, Random};
use crate::meter::{Limit, Measured, histogram, percentiles, settle};
use crate::peer::{Op, Survives};
use crate::row::Unit;

const THREADS: u64 = 16;
const WORKS: [&str; 3] = ["durable put", "durable batch of 100", "durable put, 16 threads"];

pub fn run(bench: &mut Bench) -> Result<()> {
    if !bench.kind.durable {
        for (work, unit) in WORKS.iter().zip([Unit::Latency, Unit::Latency, Unit::Rate]) {
            bench.skip(*work, unit, "no commit that survives a power cut");
        }
        return Ok(());
    }
    bench.close()?;
    bench.open(Survives::Power)?;
    settle(&bench.dir)?;
    let live = bench.live.clone();
    let mut random = Random::new(4);
    let limit = Limit::time(bench.scale.time());
    for (work, batch) in WORKS.into_iter().zip([1, 100]) {
        let measured = bench.put_batches(batch, LOADED + 4, limit, || {
            live.start + random.below(live.end - live.start)
        })?;
        bench.report(work, Unit::Latency, Some(Survives::Power), &measured);
    }
    let measured = threads(bench)?;
    bench.report(WORKS[2], Unit::Rate, Some(Survives::Power), &measured);
    if bench.kind.readable {
        let len = bench.scale.value();
        bench.peer()?.read(&mut |reader| bench::get(reader, live.start, len))?;
    }
    bench.close()?;
    if bench.kind.readable { bench.open(Survives::Kill) } else { Ok(()) }
}

fn threads(bench: &Bench) -> Result<Measured> {
    let (peer, live, len, time) =
        (bench.peer()?, &bench.live, bench.scale.value(), bench.scale.time());
    let times = Mutex::new(histogram()?);
    bench.meter.around(|start| {
        std::thread::scope(|scope| {
            let times = &times;
            let threads: Vec<_> = (0..THREADS)
                .map(|n| {
                    scope.spawn(move || -> Result<()> {
                        let mut random = Random::new(100 + n);
                        let mut own = histogram()?;
                        let mut value = vec![0; len];
                        while start.elapsed() < time {
                            let i = live.start + random.below(live.end - live.start);
                            data::fill(&mut value, i, LOADED + 5);
                            let begun = Instant::now();
                            peer.commit(&[Op::Put(&data::key(i), &value)])?;
                            own.saturating_record(begun.elapsed().as_nanos() as u64);
                        }
                        times.lock().expect("no panic under the lock").add(own)?;
                        Ok(())
                    })
                })
                .collect();
            for thread in threads {
                thread.join().expect("a writer panicked")?;
            }
            let times = times.lock().expect("no panic under the lock");
            Ok((times.len(), Some(percentiles(&times))))
        })
    })
}

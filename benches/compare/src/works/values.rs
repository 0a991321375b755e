//! Values of 16 bytes to 64 KiB: load, get, iterate, put. Fewer keys for longer values. An iteration reads every byte: where the values are
//! long and no cache holds them, it cannot be faster than memory.

use anyhow::{Result, ensure};

use crate::bench::{self, BATCH, Bench, put_batches};
use crate::data::{self, LOADED, Random};
use crate::meter::{Limit, Measured, settle};
use crate::peer::Survives;
use crate::row::Unit;
use crate::works::get::session;

const SIZES: [(usize, &str); 4] =
    [(16, "16 B"), (100, "100 B"), (1024, "1 KiB"), (65536, "64 KiB")];

pub fn run(bench: &mut Bench) -> Result<()> {
    let top = bench.dir.clone();
    for (len, name) in SIZES {
        if len > bench.kind.longest {
            for work in ["load", "get", "iterate", "put"] {
                bench.skip(format!("{work}, values of {name}"), Unit::Rate, "too long a value");
            }
            continue;
        }
        bench.dir = top.join(len.to_string());
        std::fs::create_dir(&bench.dir)?;
        let keys = (bench.scale.values_mib << 20) / (len as u64 + 32);
        one(bench, len, name, keys.clamp(1, bench.scale.keys))?;
        bench.close()?;
        std::fs::remove_dir_all(&bench.dir)?;
        settle(&top)?;
    }
    bench.dir = top;
    Ok(())
}

fn one(bench: &mut Bench, len: usize, name: &str, keys: u64) -> Result<()> {
    bench.peer = Some((bench.kind.open)(
        &bench.dir,
        crate::peer::Setup { keys, ..bench.setup(Survives::Kill) },
    )?);
    let mut numbers = 0..;
    let batch = (BATCH * 100 / len as u64).clamp(16, BATCH);
    let limit = Limit::ops(keys);
    let next = || numbers.next().expect("endless");
    let measured = put_batches(&bench.meter, bench.peer()?, len, batch, LOADED, limit, next)?;
    bench.report(format!("load, values of {name}"), Unit::Rate, Some(Survives::Kill), &measured);
    settle(&bench.dir)?;

    let limit = Limit::time(bench.scale.time() / 2);
    let mut random = Random::new(5);
    let measured = session(bench, |bench, reader| {
        bench.meter.rate(limit, || {
            bench::get(reader, random.below(keys), len)?;
            Ok(1)
        })
    })?;
    bench.report(format!("get, values of {name}"), Unit::Rate, None, &measured);

    let measured = iterate(bench, len, keys)?;
    bench.report(format!("iterate, values of {name}"), Unit::Rate, None, &measured);

    // No more than was loaded, so that 64 KiB values do not fill the disk.
    let limit = Limit { ops: keys, ..limit };
    let measured =
        put_batches(&bench.meter, bench.peer()?, len, 1, LOADED + 1, limit, || random.below(keys))?;
    bench.report(format!("put, values of {name}"), Unit::Rate, Some(Survives::Kill), &measured);
    Ok(())
}

/// All values again and again, and the sum of all their words each time, which has to be what was loaded.
fn iterate(bench: &mut Bench, len: usize, keys: u64) -> Result<Measured> {
    if let Some(peer) = &mut bench.peer {
        peer.catch_up()?;
    }
    let mut value = vec![0; len];
    let expected = (0..keys).fold(0u64, |sum, i| {
        data::fill(&mut value, i, LOADED);
        sum.wrapping_add(data::sum(&value))
    });
    let (peer, time) = (bench.peer()?, bench.scale.time() / 2);
    bench.meter.around(|start| {
        let mut ops = 0;
        while ops == 0 || start.elapsed() < time {
            let (mut count, mut sum) = (0, 0u64);
            peer.iterate(&mut |value| {
                count += 1;
                sum = sum.wrapping_add(data::sum(value));
            })?;
            ensure!(count == keys, "{count} of {keys} values");
            ensure!(sum == expected, "the sum of all values is not that of what was loaded");
            ops += count;
        }
        Ok((ops, None))
    })
}

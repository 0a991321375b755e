//! Random gets, one thread: of keys that are there, of keys that are not, and 32 at a time.

use anyhow::{Result, ensure};

use crate::bench::{self, Bench};
use crate::data::{self, Random};
use crate::meter::{Limit, Measured, anonymous};
use crate::peer::Reader;
use crate::row::Unit;

const GROUP: usize = 32;
/// Numbers from here on are never put.
const ABSENT: u64 = 1 << 40;

pub fn run(bench: &mut Bench) -> Result<()> {
    let limit = Limit::time(bench.scale.time());
    let live = bench.live.clone();
    let len = bench.scale.value();
    let mut random = Random::new(1);

    // Once without being measured, so that stores with a cache of their own have it warm.
    let mut gets = || {
        session(bench, |bench, reader| {
            bench.meter.rate(limit, || {
                bench::get(reader, live.start + random.below(live.end - live.start), len)?;
                Ok(1)
            })
        })
    };
    gets()?;
    let measured = gets()?;
    bench.report("get", Unit::Rate, None, &measured);
    if let Some(bytes) = anonymous() {
        bench.report_bytes("memory of the process", bytes);
    }

    let measured = session(bench, |bench, reader| {
        bench.meter.rate(limit, || {
            let i = ABSENT + random.below(1 << 40);
            ensure!(!reader.get(&data::key(i), &mut |_| ())?, "key {i} was never put");
            Ok(1)
        })
    })?;
    bench.report("get, absent", Unit::Rate, None, &measured);

    let work = "get_many of 32";
    if !bench.kind.many {
        bench.skip(work, Unit::Rate, "no such call");
        return Ok(());
    }
    let measured = session(bench, |bench, reader| {
        bench.meter.rate(limit, || {
            many(reader, len, &mut || live.start + random.below(live.end - live.start))
        })
    })?;
    bench.report(work, Unit::Rate, None, &measured);
    Ok(())
}

fn many(reader: &mut dyn Reader, len: usize, number: &mut dyn FnMut() -> u64) -> Result<u64> {
    let numbers: [u64; GROUP] = std::array::from_fn(|_| number());
    let keys = numbers.map(data::key);
    let keys = keys.each_ref().map(<[u8; data::KEY]>::as_slice);
    let mut sound = 0;
    reader.get_many(&keys, &mut |place, value| {
        sound += usize::from(data::version(value, numbers[place], len).is_some())
    })?;
    ensure!(sound == GROUP, "{sound} of {GROUP} values");
    Ok(GROUP as u64)
}

/// Runs `work` once, within one session.
pub fn session(
    bench: &Bench,
    mut work: impl FnMut(&Bench, &mut dyn Reader) -> Result<Measured>,
) -> Result<Measured> {
    let mut measured = None;
    bench.peer()?.read(&mut |reader| {
        measured = Some(work(bench, reader)?);
        Ok(())
    })?;
    measured.ok_or_else(|| anyhow::anyhow!("the session did not run"))
}

//! Single deletes, each a commit of its own that is not synced, of a tenth of the keys at most; then a look that they are gone.

use anyhow::{Result, ensure};

use crate::bench::{self, Bench};
use crate::data;
use crate::meter::Limit;
use crate::peer::{Op, Survives};
use crate::row::Unit;

pub fn run(bench: &mut Bench) -> Result<()> {
    let limit = Limit { ops: (bench.scale.keys / 10).max(1), time: bench.scale.time() };
    let before = bench.live.start;
    let mut next = before;
    let peer = bench.peer()?;
    let measured = bench.meter.latency(limit, || {
        peer.commit(&[Op::Delete(&data::key(next))])?;
        next += 1;
        Ok(1)
    })?;
    bench.live.start = next;
    let len = bench.scale.value();
    bench.peer()?.read(&mut |reader| {
        for i in [before, next - 1] {
            ensure!(!reader.get(&data::key(i), &mut |_| ())?, "key {i} was deleted");
        }
        bench::get(reader, next, len)
    })?;
    bench.report("delete", Unit::Rate, Some(Survives::Kill), &measured);
    Ok(())
}

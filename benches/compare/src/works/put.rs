//! Single puts, each a commit of its own that is not synced: of keys that are there, and of new ones, with percentiles.

use anyhow::Result;

use crate::bench::Bench;
use crate::data::{LOADED, Random};
use crate::meter::Limit;
use crate::peer::Survives;
use crate::row::Unit;

pub fn run(bench: &mut Bench) -> Result<()> {
    let ask = Some(Survives::Kill);
    let live = bench.live.clone();
    let mut random = Random::new(3);
    let limit = Limit::time(bench.scale.time());
    let measured = bench
        .put_batches(1, LOADED + 3, limit, || live.start + random.below(live.end - live.start))?;
    bench.report("put, overwriting", Unit::Rate, ask, &measured);

    let mut end = bench.live.end;
    let limit = Limit { ops: bench.scale.keys, time: bench.scale.time() };
    let measured = bench.put_batches(1, LOADED, limit, || {
        end += 1;
        end - 1
    })?;
    bench.live.end = end;
    bench.report("put, new keys", Unit::Rate, ask, &measured);
    Ok(())
}

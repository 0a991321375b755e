//! Bulk load: all keys, in no order, in batches of 1,000.

use anyhow::Result;

use crate::bench::{BATCH, Bench};
use crate::data::LOADED;
use crate::meter::Limit;
use crate::peer::Survives;
use crate::row::Unit;

pub fn run(bench: &mut Bench) -> Result<()> {
    bench.open(Survives::Kill)?;
    let mut numbers = 0..;
    let keys = bench.scale.keys;
    let measured =
        bench.put_batches(BATCH, LOADED, Limit::ops(keys), || numbers.next().expect("endless"))?;
    bench.live = 0..keys;
    bench.report("load, batches of 1,000", Unit::Rate, Some(Survives::Kill), &measured);
    if bench.kind.persistent {
        bench.report_disk("disk after the load")?;
    }
    Ok(())
}

//! Half of all keys overwritten, in random order, in batches of 1,000; then the space on the disk, before and after compaction.

use anyhow::Result;

use crate::bench::{BATCH, Bench};
use crate::data::{LOADED, Random};
use crate::meter::Limit;
use crate::peer::Survives;
use crate::row::Unit;

pub fn run(bench: &mut Bench) -> Result<()> {
    let live = bench.live.clone();
    let mut random = Random::new(2);
    let limit = Limit::ops((bench.scale.keys / 2).max(1));
    let measured = bench.put_batches(BATCH, LOADED + 2, limit, || {
        live.start + random.below(live.end - live.start)
    })?;
    bench.report("overwrite, batches of 1,000", Unit::Rate, Some(Survives::Kill), &measured);
    if !bench.kind.persistent {
        return Ok(());
    }
    bench.report_disk("disk after overwriting half")?;

    let mut called = false;
    let mut peer = bench.peer.take().ok_or_else(|| anyhow::anyhow!("the store is not open"))?;
    let measured = bench.meter.around(|_| {
        called = peer.compact()?;
        Ok((1, None))
    });
    bench.peer = Some(peer);
    if called {
        bench.report("compact", Unit::Time, None, &measured?);
        bench.report_disk("disk after compaction")?;
    } else {
        measured?;
        bench.skip("compact", Unit::Time, "no such call");
        bench.skip("disk after compaction", Unit::Bytes, "no such call");
    }
    Ok(())
}

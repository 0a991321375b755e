//! Every value once. The sum of their key numbers has to be what it must be.

use anyhow::{Result, ensure};

use crate::bench::Bench;
use crate::data;
use crate::row::Unit;

pub fn run(bench: &mut Bench) -> Result<()> {
    if let Some(peer) = &mut bench.peer {
        peer.catch_up()?;
    }
    let len = bench.scale.value();
    let (mut count, mut sum, mut broken) = (0u64, 0u128, 0u64);
    let measured = bench.meter.around(|_| {
        bench.peer()?.iterate(&mut |value| {
            let number =
                data::number(value).filter(|number| data::version(value, *number, len).is_some());
            count += 1;
            sum += u128::from(number.unwrap_or(0));
            broken += u64::from(number.is_none());
        })?;
        Ok((count, None))
    })?;
    let expected: u128 = bench.live.clone().map(u128::from).sum();
    let live = bench.live.end - bench.live.start;
    ensure!(
        broken == 0 && count == live && sum == expected,
        "{count} of {live} values, {broken} broken, or the wrong ones"
    );
    bench.report("iterate", Unit::Rate, None, &measured);
    Ok(())
}

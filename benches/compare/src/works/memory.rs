//! A store four times larger than the memory it may use: a child process in a control group gets random keys, uniform and zipfian. A cache
//! of the store's own may have half of that memory. Without a control group that can be made, this is skipped.

use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::Result;

use crate::bench::{self, BATCH, Bench, put_batches};
use crate::data::{LOADED, Random};
use crate::group::Group;
use crate::meter::{Limit, settle};
use crate::peer::{Setup, Survives};
use crate::row::Unit;
use crate::works::get::session;
use crate::works::ycsb::Zipfian;

const UNIFORM: &str = "get, store 4 x memory, uniform";
const ZIPFIAN: &str = "get, store 4 x memory, zipfian";
const TIMES: u64 = 4;

pub fn run(bench: &mut Bench) -> Result<()> {
    if !bench.kind.persistent {
        return skip(bench, "in memory");
    }
    let limit = bench.scale.memory_mib << 20;
    let group = match Group::new(limit) {
        Ok(group) => group,
        Err(error) => return skip(bench, &format!("no control group: {error:#}")),
    };
    let len = bench.scale.value();
    let keys = TIMES * limit / (len as u64 + 16);
    let setup = Setup { keys, cache: limit as usize / 2, ..bench.setup(Survives::Kill) };
    bench.peer = Some((bench.kind.open)(&bench.dir, setup)?);
    let mut numbers = 0..;
    let next = || numbers.next().expect("endless");
    put_batches(&bench.meter, bench.peer()?, len, BATCH, LOADED, Limit::ops(keys), next)?;
    bench.close()?;
    settle(&bench.dir)?;
    // What stays in the page cache would be charged to whoever loaded it, and be read for nothing.
    forget(&bench.dir)?;

    group.enter()?;
    bench.peer = Some((bench.kind.open)(&bench.dir, setup)?);
    let limit = Limit::time(bench.scale.time() * 2);
    let mut random = Random::new(9);
    let mut zipf = Zipfian::new(keys)?;
    let numbers: [(&str, &mut dyn FnMut() -> u64); 2] =
        [(UNIFORM, &mut || random.below(keys)), (ZIPFIAN, &mut || zipf.scattered(keys))];
    for (work, number) in numbers {
        let measured = session(bench, |bench, reader| {
            bench.meter.latency(limit, || {
                bench::get(reader, number(), len)?;
                Ok(1)
            })
        })?;
        bench.report(work, Unit::Rate, None, &measured);
    }
    bench.close()
}

fn skip(bench: &mut Bench, why: &str) -> Result<()> {
    bench.skip(UNIFORM, Unit::Rate, why);
    bench.skip(ZIPFIAN, Unit::Rate, why);
    Ok(())
}

/// Drops the clean pages of all files under `dir` from the page cache.
fn forget(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            forget(&path)?;
        } else if let Ok(file) = std::fs::File::open(&path) {
            // SAFETY: the descriptor lives across the call; no memory is passed. The advice is allowed to fail.
            unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        }
    }
    Ok(())
}

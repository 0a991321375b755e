//! A store four times larger than the memory it may use: a child process in a control group with `memory.max` gets random keys, uniform
//! and zipfian. Without a control group that can be made, this is skipped.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::bench::{self, BATCH, Bench, put_batches};
use crate::data::{LOADED, Random};
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
        Err(error) => return skip(bench, &format!("no cgroup v2 with memory.max: {error:#}")),
    };
    let len = bench.scale.value();
    let keys = TIMES * limit / (len as u64 + 16);
    let setup = Setup { keys, ..bench.setup(Survives::Kill) };
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

/// A control group beside that of this process (below it would need a group without processes), and the one to go back to.
struct Group {
    path: PathBuf,
    own: PathBuf,
}

impl Group {
    fn new(limit: u64) -> Result<Group> {
        let own = std::fs::read_to_string("/proc/self/cgroup")?;
        let own = own
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))
            .context("this process is in none")?;
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        let mount = mounts
            .lines()
            .find(|line| line.split(' ').nth(2) == Some("cgroup2"))
            .context("none is mounted")?;
        let root = Path::new(mount.split(' ').nth(1).context("no mount point")?);
        let own = root.join(own);
        let parent = if own == root { root } else { own.parent().unwrap_or(root) };
        let controllers = std::fs::read_to_string(parent.join("cgroup.subtree_control"))?;
        anyhow::ensure!(
            controllers.split_whitespace().any(|name| name == "memory"),
            "the memory controller is not there"
        );
        let path = parent.join(format!("mapstone-compare-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        let group = Group { path, own };
        std::fs::write(group.path.join("memory.max"), limit.to_string())?;
        Ok(group)
    }

    /// Moves this process in.
    fn enter(&self) -> Result<()> {
        Ok(std::fs::write(self.path.join("cgroup.procs"), std::process::id().to_string())?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A group with a process in it cannot be removed.
        let _ = std::fs::write(self.own.join("cgroup.procs"), std::process::id().to_string());
        let _ = std::fs::remove_dir(&self.path);
    }
}

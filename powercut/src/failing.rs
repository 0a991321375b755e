//! Disks that fail, are full, or may not be written: the ground is prepared here, and a process of its own tries it (`trial`).

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::child::{Ended, finish, own, with, with_path};
use crate::disk::Disk;
use crate::ground::{Kind, Mount, Scratch, run};
use crate::image::Image;
use crate::log::Log;
use crate::stage::store_on;
use crate::trial::NEVER;

/// A user that owns nothing.
const NOBODY: u32 = 65534;

/// A store to be tried, and where its trials note what is durable.
struct Bench {
    store: PathBuf,
    notes: PathBuf,
    control: Option<PathBuf>,
    /// The bug that all trials have.
    plant: Option<String>,
}

impl Bench {
    fn new(dir: &Path, scratch: &Scratch) -> Bench {
        let notes = scratch.path("trial.notes");
        let _ = std::fs::remove_file(&notes);
        Bench { store: store_on(dir), notes, control: None, plant: None }
    }

    fn command(&self, name: &str) -> Result<Command> {
        let mut command = own("trial")?;
        command.arg(name);
        with_path(&mut command, "--store", &self.store);
        with_path(&mut command, "--notes", &self.notes);
        if let Some(control) = &self.control {
            with_path(&mut command, "--control", control);
        }
        if let Some(plant) = &self.plant {
            command.env(mapstone::sim::PLANT, plant);
        }
        Ok(command)
    }

    fn run(&self, name: &str, options: &[(&str, &str)]) -> Result<Ended> {
        let mut command = self.command(name)?;
        for (option, value) in options {
            with(&mut command, option, value);
        }
        finish(&mut command)
    }

    fn passes(&self, name: &str, options: &[(&str, &str)]) -> Result<()> {
        let ended = self.run(name, options)?;
        ensure!(ended.well(), "{name}: {ended}");
        Ok(())
    }
}

/// Orders to the disk, and whether the store is opened again on what the failure has left in the page cache.
const ORDERS: [(&str, bool); 7] = [
    ("eio_write 0 1", false),
    ("eio_write 0 1", true),
    ("eio_write 1 1", true),
    ("eio_write 3 2", false),
    ("eio_write 7 1000000", true),
    ("eio_flush 0 1", true),
    ("eio_flush 2 2", false),
];

/// Writes or flushes fail with EIO; the handle is poisoned, and reopening loses nothing, with the same mount where the file system still
/// works, and with a new one.
pub fn disk_errors(kind: Kind, plant: Option<&str>, scratch: &Scratch) -> Result<()> {
    let fresh = scratch.path("fresh.img");
    kind.make(&fresh, kind.bytes())?;
    let base = Image::load(&fresh)?;
    std::fs::remove_file(&fresh)?;
    let mut shown = 0;
    for (order, warm) in ORDERS {
        let log = Log { seed: 0, base: base.clone(), low: 0, high: 0, entries: Vec::new() };
        let disk = Disk::serve(log, &scratch.path("fuse"))?;
        let mut bench = Bench::new(&scratch.path("failing"), scratch);
        (bench.control, bench.plant) = (Some(disk.control()), plant.map(str::to_owned));
        let one = one_error(kind, &disk, &bench, order, warm);
        disk.finish()?;
        shown += usize::from(one.with_context(|| format!("{} {order}", kind.name()))?);
    }
    // A file system that keeps copies of what matters to it survives one failed write.
    ensure!(shown * 2 >= ORDERS.len(), "only {shown} of {} failures were seen", ORDERS.len());
    Ok(())
}

/// Says whether the failure was seen at all.
fn one_error(kind: Kind, disk: &Disk, bench: &Bench, order: &str, warm: bool) -> Result<bool> {
    let at = bench.store.parent().context("a parent")?;
    let mounted = |tried: &dyn Fn() -> Result<bool>| {
        let mount = kind.mount(&disk.device(), at)?;
        let result = tried();
        mount.unmount()?;
        result
    };
    let shown = mounted(&|| {
        let ended = bench.run("poison", &[("--order", order)])?;
        let unseen = matches!(&ended, Ended::Exit(_, said) if said.contains(NEVER));
        ensure!(ended.well() || unseen, "poison: {ended}");
        // The page cache of this mount holds what the disk does not. The file system may have given up.
        let mut command = bench.command("reopen")?;
        command.args(warm.then_some("--warm"));
        let ended = finish(&mut command)?;
        ensure!(!ended.broken() && !matches!(ended, Ended::Signal(..)), "the same mount: {ended}");
        Ok(!unseen)
    })?;
    mounted(&|| bench.passes("reopen", &[]).map(|()| true))?;
    if order == ORDERS[0].0 && !warm {
        mounted(&|| unreadable(bench, disk).map(|()| true))?;
    }
    Ok(shown)
}

/// Nothing can be read: an error, and without the guard maybe the signal that the kernel has for mappings. Afterwards all is there.
fn unreadable(bench: &Bench, disk: &Disk) -> Result<()> {
    for (pass, guard) in
        [0, 2, 5, 10, 20].into_iter().flat_map(|pass| [(pass, false), (pass, true)])
    {
        let mut command = bench.command("reopen")?;
        with(&mut command, "--order", format!("eio_read {pass} 1000000"));
        command.args(guard.then_some("--guard"));
        let ended = finish(&mut command)?;
        let signal = matches!(ended, Ended::Signal(..));
        ensure!(!(ended.broken() || guard && signal), "unreadable, guarded: {guard}: {ended}");
        disk.order("eio_read 0 0");
    }
    bench.passes("reopen", &[])
}

/// A device that has less room than it says: writes fail until there is more.
pub fn thin_device(scratch: &Scratch) -> Result<()> {
    let (outer, at) = (scratch.path("thin"), scratch.path("thin-mount"));
    let pool = Mount::new(
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=24M", "powercut"]),
        &outer,
    )?;
    let image = outer.join("image");
    Kind::Ext4.make(&image, 128 << 20)?;
    let mount = Kind::Ext4.mount(&image, &at)?;
    mount.ask_by_page()?;
    let bench = Bench::new(&at, scratch);
    let mut result = bench.passes("poison", &[("--value", "150000")]);
    pool.remount("size=400M")?;
    if result.is_ok() {
        let ended = bench.run("reopen", &[("--value", "150000")])?;
        if ended.broken() || matches!(ended, Ended::Signal(..)) {
            result = Err(anyhow::anyhow!("the same mount: {ended}"));
        }
    }
    mount.unmount()?;
    let mount = Kind::Ext4.mount(&image, &at)?;
    result = result.and_then(|()| bench.passes("reopen", &[("--value", "150000")]));
    mount.unmount()?;
    pool.unmount()?;
    result
}

/// A full file system, with the caches dropped by a new mount before it is opened again.
pub fn full(kind: Kind, scratch: &Scratch) -> Result<()> {
    let (image, at) = (scratch.path("full.img"), scratch.path("full"));
    kind.make(&image, kind.bytes())?;
    let mut mount = kind.mount(&image, &at)?;
    let bench = Bench::new(&at, scratch);
    let mut result = bench.passes("full", &[]);
    mount.unmount()?;
    mount = kind.mount(&image, &at)?;
    result = result.and_then(|()| bench.passes("reopen", &[]));
    mount.unmount()?;
    std::fs::remove_file(&image)?;
    result
}

pub fn full_tmpfs(scratch: &Scratch) -> Result<()> {
    let at = scratch.path("small");
    let mount =
        Mount::new(Command::new("mount").args(["-t", "tmpfs", "-o", "size=16M", "powercut"]), &at)?;
    let bench = Bench::new(&at, scratch);
    let result = bench.passes("full", &[]).and_then(|()| bench.passes("reopen", &[]));
    mount.unmount()?;
    result
}

/// A quota of btrfs.
pub fn quota(scratch: &Scratch) -> Result<()> {
    let (image, at) = (scratch.path("quota.img"), scratch.path("quota"));
    Kind::Btrfs.make(&image, Kind::Btrfs.bytes())?;
    let mount = Kind::Btrfs.mount(&image, &at)?;
    let volume = at.join("volume");
    let btrfs =
        |arguments: &[&str], path: &Path| run(Command::new("btrfs").args(arguments).arg(path));
    let mut result = btrfs(&["quota", "enable"], &at)
        .and_then(|()| btrfs(&["subvolume", "create"], &volume))
        .and_then(|()| btrfs(&["qgroup", "limit", "12M"], &volume));
    let bench = Bench::new(&volume, scratch);
    result =
        result.and_then(|()| bench.passes("full", &[])).and_then(|()| bench.passes("reopen", &[]));
    mount.unmount()?;
    std::fs::remove_file(&image)?;
    result
}

/// What needs no ground of its own: limits of the process.
pub fn limits(dir: &Path) -> Result<u64> {
    for name in ["file-size", "descriptors"] {
        let notes = dir.join(format!("{name}.notes"));
        let bench = Bench { store: dir.join(name), notes, control: None, plant: None };
        bench.passes(name, &[])?;
        bench.passes("reopen", &[])?;
    }
    Ok(2)
}

/// A file system that is mounted read-only, and a directory of somebody else.
pub fn denied(scratch: &Scratch) -> Result<()> {
    let at = scratch.path("denied");
    let mount = Mount::new(
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=16M,mode=755", "powercut"]),
        &at,
    )?;
    let bench = Bench::new(&at, scratch);
    // Makes a store with some keys.
    std::fs::create_dir_all(bench.store.join("log"))?;
    let made = bench.passes("reopen", &[]);
    let tried = made.and_then(|()| {
        let copy = scratch.path("powercut-copy");
        std::fs::copy(std::env::current_exe()?, &copy)?;
        let mut command = bench.command("forbidden")?;
        let mut other = Command::new(&copy);
        other.args(command.get_args()).uid(NOBODY).gid(NOBODY);
        command = other;
        let ended = finish(&mut command)?;
        ensure!(ended.well(), "forbidden: {ended}");
        mount.remount("ro")?;
        bench.passes("read-only", &[])
    });
    mount.unmount()?;
    if let Err(error) = tried {
        bail!(error)
    }
    Ok(())
}

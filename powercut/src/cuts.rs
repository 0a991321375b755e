//! Power cuts on a logging disk: a writer works on a file system on it once, and then the power goes at many moments of what the disk saw,
//! each time with a random part of what was not flushed lost or torn.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::child::{Ended, SIGKILL};
use crate::disk::Disk;
use crate::ground::{Kind, Mount, Scratch};
use crate::image::Image;
use crate::log::{Cut, Log};
use crate::stage::{Stage, Tally, keep, store_on};

/// How often a writer goes on from the state that a cut has left, before a fresh store.
const GENERATIONS: u64 = 3;

/// Cuts of what one writer did.
const PLACES: usize = 30;

/// Cuts until `until`; with a planted bug until it is caught.
pub fn rounds(
    kind: Kind,
    seed: u64,
    plant: Option<&str>,
    until: Instant,
    scratch: &Scratch,
) -> Result<Tally> {
    let mut tally = Tally::new(format!("logging disk {}", kind.name()));
    let start = Instant::now();
    let empty = fresh(kind, scratch)?;
    let mut number = 0;
    while Instant::now() < until && tally.failures.is_empty() {
        let mut log =
            Log { seed: seed + number, base: empty.clone(), low: 0, high: 0, entries: Vec::new() };
        for generation in 0..GENERATIONS {
            let rng = SmallRng::seed_from_u64(log.seed + (generation << 32));
            match round(kind, log, rng, plant, until, scratch, &mut tally)? {
                Some(next) if Instant::now() < until => log = next,
                _ => break,
            }
        }
        number += 1;
    }
    tally.seconds = start.elapsed().as_secs_f64();
    Ok(tally)
}

/// An empty file system.
fn fresh(kind: Kind, scratch: &Scratch) -> Result<Image> {
    let path = scratch.path("fresh.img");
    kind.make(&path, kind.bytes())?;
    let image = Image::load(&path)?;
    std::fs::remove_file(path)?;
    Ok(image)
}

/// One writer and many cuts; returns the state after one of them, to go on from, unless something was wrong.
fn round(
    kind: Kind,
    log: Log,
    mut rng: SmallRng,
    plant: Option<&str>,
    until: Instant,
    scratch: &Scratch,
    tally: &mut Tally,
) -> Result<Option<Log>> {
    tally.rounds += 1;
    let seed = log.seed;
    let (log, complaints) = record(kind, log, &mut rng, plant, scratch, tally)?;
    let mut failed: Option<(usize, u64)> = None;
    let mut places: Vec<(usize, u64)> =
        (0..PLACES).map(|_| (log.place(&mut rng), rng.random())).collect();
    places.sort_unstable();
    let mut next = None;
    let chosen = rng.random_range(0..places.len());
    let mut taken = 0;
    let results = log.cuts(&places, true, |at, cut_seed, cut| -> Result<()> {
        taken += 1;
        if failed.is_some() || Instant::now() > until {
            return Ok(());
        }
        let (low, high, image) = (cut.low, cut.high, cut.image.clone());
        tally.cuts += 1;
        tally.lossy += u64::from(cut.loses);
        let checked = check(kind, &log, (at, cut_seed), cut, scratch)?;
        tally.failed_mounts += u64::from(!checked.mounted);
        if let Some(why) = checked.wrong {
            // That a file system cannot be mounted is no planted bug.
            if checked.mounted || plant.is_none() {
                failed = Some((at, cut_seed));
                let replay = format!("seed {seed}, cut {at}, cut seed {cut_seed}");
                tally.fail(&replay, why);
            }
        } else if taken > chosen && next.is_none() {
            next = Some(Log { seed, base: image, low, high, entries: Vec::new() });
        }
        Ok(())
    });
    results.into_iter().collect::<Result<Vec<()>>>()?;
    for complaint in &complaints {
        tally.fail(&format!("seed {seed}"), complaint);
    }
    if plant.is_none() && (failed.is_some() || !complaints.is_empty()) {
        let kept = keep(&format!("disk-{}-{seed}.log", kind.name()))?;
        log.store(&kept)?;
        let (at, cut_seed) = failed.unwrap_or((log.entries.len(), 0));
        let replay = format!(
            "powercut replay {} --fs {} --cut {at} --cut-seed {cut_seed}",
            kept.display(),
            kind.name()
        );
        tally.fail(&replay, "the log is kept");
    }
    Ok(next.filter(|_| tally.failures.is_empty()))
}

/// Lets a writer work on a file system on the disk, perhaps with readers, perhaps killed on the way.
fn record(
    kind: Kind,
    log: Log,
    rng: &mut SmallRng,
    plant: Option<&str>,
    scratch: &Scratch,
    tally: &mut Tally,
) -> Result<(Log, Vec<String>)> {
    let (seed, low, high) = (log.seed, log.low, log.high);
    let disk = Disk::serve(log, &scratch.path("fuse"))?;
    let at = scratch.path("logged");
    let mount = kind.mount(&disk.device(), &at)?;
    let stage =
        Stage::new(seed, store_on(&at), scratch.path("logged.notes"), plant)?.told(disk.control());
    stage.notes.between(low, high)?;
    let count = if rng.random_bool(0.3) { 2 } else { 0 };
    tally.readers += count as u64;
    let readers = stage.readers(count)?;
    let mut steps = rng.random_range(50..250);
    let mut writer = stage.write(steps)?;
    while rng.random_bool(0.3) {
        // It may be done by then, which is as well.
        let _ = stage.wait(&mut writer, rng.random_range(0..40), Duration::from_millis(80));
        let ended = writer.kill()?;
        tally.kills += 1;
        if !ended.well() && !matches!(ended, Ended::Signal(SIGKILL, _)) {
            return Ok((finish(disk, mount)?, vec![format!("before the kill: {ended}")]));
        }
        steps /= 2;
        writer = if ended.well() { stage.write(steps)? } else { stage.write_on(steps)? };
    }
    let ended = writer.wait()?;
    let mut complaints = stage.dismiss(readers)?;
    if !ended.well() {
        complaints.push(format!("without a cut: {ended}"));
    }
    Ok((finish(disk, mount)?, complaints))
}

fn finish(disk: Disk, mount: Mount) -> Result<Log> {
    mount.unmount()?;
    disk.finish()
}

/// What came of a cut.
struct Checked {
    /// The file system could be mounted as the cut has left it.
    mounted: bool,
    wrong: Option<String>,
}

/// Checks what a cut has left. A file system that cannot be mounted has a block of its own torn, which not every one survives
/// (xfs takes a block for new if its first sector is, and then finds that its checksum is wrong): the same cut without tears
/// must be mounted, and is checked.
fn check(
    kind: Kind,
    log: &Log,
    (at, cut_seed): (usize, u64),
    cut: Cut,
    scratch: &Scratch,
) -> Result<Checked> {
    match mount_and_check(kind, log.seed, cut, scratch)? {
        Ok(wrong) => Ok(Checked { mounted: true, wrong }),
        Err(_) => {
            let whole = mount_and_check(kind, log.seed, log.cut(at, cut_seed, false), scratch)?;
            Ok(Checked { mounted: false, wrong: whole.unwrap_or_else(Some) })
        }
    }
}

/// Mounts what a cut has left and checks the store: what is wrong, or why it cannot be mounted.
fn mount_and_check(
    kind: Kind,
    seed: u64,
    cut: Cut,
    scratch: &Scratch,
) -> Result<Result<Option<String>, String>> {
    let (path, at) = (scratch.path("cut.img"), scratch.path("cut"));
    cut.image.store(&path)?;
    let mount = match kind.mount(&path, &at) {
        Ok(mount) => mount,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let stage = Stage::new(seed, store_on(&at), scratch.path("cut.notes"), None)?;
    stage.notes.between(cut.low, cut.high)?;
    let ended = stage.check()?;
    mount.unmount()?;
    std::fs::remove_file(path)?;
    Ok(Ok((!ended.well()).then(|| ended.to_string())))
}

/// Makes one cut of a log that was kept, and checks it; with `keep` the image stays.
pub fn replay(
    kind: Kind,
    log: &Path,
    at: usize,
    cut_seed: u64,
    kept: Option<&Path>,
    scratch: &Scratch,
) -> Result<()> {
    let log = Log::load(log)?;
    ensure!(at <= log.entries.len(), "the log has {} entries", log.entries.len());
    let cut = log.cut(at, cut_seed, true);
    println!(
        "seed {}, entry {at} of {}, steps {} to {}",
        log.seed,
        log.entries.len(),
        cut.low,
        cut.high
    );
    if let Some(kept) = kept {
        cut.image.store(kept)?;
    }
    let checked = check(kind, &log, (at, cut_seed), cut, scratch)?;
    if !checked.mounted {
        println!(
            "a block of the file system is torn and it cannot be mounted: the same cut without tears"
        );
    }
    if let Some(wrong) = checked.wrong {
        bail!(wrong);
    }
    println!("nothing is lost");
    Ok(())
}

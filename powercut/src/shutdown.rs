//! Power cuts by the file system's own hand: the shutdown call of ext4 and xfs throws away everything that was not written. What was
//! written stays in order, so torn writes are another harness's; but the page cache is the kernel's own.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::child::Ended;
use crate::ground::{Kind, Mount, Scratch};
use crate::stage::{Stage, Tally, keep, store_on};

/// Power cuts that one store goes through.
const ROUNDS_A_STORE: usize = 8;

/// Cuts until `until`; with a planted bug until it is caught.
pub fn rounds(
    kind: Kind,
    seed: u64,
    plant: Option<&str>,
    until: Instant,
    scratch: &Scratch,
) -> Result<Tally> {
    let mut tally = Tally::new(format!("shutdown {}", kind.name()));
    let start = Instant::now();
    let mut number = 0;
    while Instant::now() < until && tally.failures.is_empty() {
        one_store(kind, seed + number, plant, until, scratch, &mut tally)?;
        number += 1;
    }
    tally.seconds = start.elapsed().as_secs_f64();
    Ok(tally)
}

fn one_store(
    kind: Kind,
    seed: u64,
    plant: Option<&str>,
    until: Instant,
    scratch: &Scratch,
    tally: &mut Tally,
) -> Result<()> {
    let (image, at) = (scratch.path("shutdown.img"), scratch.path("shutdown"));
    kind.make(&image, kind.bytes())?;
    let mut mount = Some(kind.mount(&image, &at)?);
    let stage = Stage::new(seed, store_on(&at), scratch.path("shutdown.notes"), plant)?;
    let mut rng = SmallRng::seed_from_u64(seed);
    let replay = format!("powercut shutdown --fs {} --seed {seed}", kind.name());
    for _ in 0..ROUNDS_A_STORE {
        if Instant::now() > until || is_half_full(&at) {
            break;
        }
        tally.rounds += 1;
        for complaint in round(&stage, &at, &mut rng, tally)? {
            tally.fail(&replay, complaint);
        }
        mount.take().map_or(Ok(()), Mount::unmount)?;
        mount = match kind.mount(&image, &at) {
            Ok(mount) => Some(mount),
            Err(error) => {
                tally.failed_mounts += 1;
                // That a file system cannot be mounted is no planted bug.
                if plant.is_none() {
                    tally.fail(&replay, error);
                }
                break;
            }
        };
        // Otherwise the next writer checks, and is cut off perhaps while it recovers.
        if rng.random_bool(0.5) || plant.is_some() {
            let ended = stage.check()?;
            if !ended.well() {
                tally.fail(&replay, ended);
            }
        }
        if !tally.failures.is_empty() {
            break;
        }
    }
    mount.map_or(Ok(()), Mount::unmount)?;
    if !tally.failures.is_empty() && plant.is_none() {
        let kept = keep(&format!("shutdown-{}-{seed}.img", kind.name()))?;
        std::fs::copy(&image, &kept)?;
        tally.fail(&replay, format!("the image is kept: {}", kept.display()));
    }
    Ok(std::fs::remove_file(&image)?)
}

/// Lets a writer run, perhaps with readers, perhaps killed on the way, and cuts the power. Returns what was wrong.
fn round(stage: &Stage, at: &Path, rng: &mut SmallRng, tally: &mut Tally) -> Result<Vec<String>> {
    let readers = if rng.random_bool(0.3) { 2 } else { 0 };
    let mut readers = (stage.readers(readers)?, tally.readers += readers as u64).0;
    let mut writer = stage.write(u64::MAX)?;
    if rng.random_bool(0.3) {
        let early = stage.wait(&mut writer, rng.random_range(0..60), Duration::from_millis(60));
        let ended = writer.kill()?;
        tally.kills += 1;
        if early.is_err() {
            return Ok(vec![format!("before the kill: {ended}")]);
        }
        writer = stage.write_on(u64::MAX)?;
    }
    let early = if rng.random_bool(0.25) {
        // Early enough to hit the recovery.
        std::thread::sleep(Duration::from_micros(rng.random_range(500..12_000)));
        Ok(())
    } else {
        stage.wait(&mut writer, rng.random_range(1..120), Duration::from_millis(200))
    };
    let durable = stage.notes.last_durable()?;
    if early.is_err() {
        return Ok(vec![format!("before the cut: {}", writer.wait()?)]);
    }
    if readers.is_one_over()? {
        return stage.dismiss(readers);
    }
    cut(at)?;
    tally.cuts += 1;
    tally.lossy += 1;
    let ended = writer.wait()?;
    // What was acknowledged after the number was read may count or not.
    stage.notes.between(durable, stage.notes.begun()?)?;
    let mut complaints = stage.dismiss_after_cut(readers)?;
    if ended.broken() || matches!(ended, Ended::Exit(0, _)) {
        complaints.push(format!("after the cut: {ended}"));
    }
    Ok(complaints)
}

/// A log that nobody compacts fills a small file system.
fn is_half_full(at: &Path) -> bool {
    rustix::fs::statvfs(at).is_ok_and(|found| found.f_bavail < found.f_blocks / 2)
}

/// `GOINGDOWN` without flushing the journal.
fn cut(at: &Path) -> Result<()> {
    const GOINGDOWN: rustix::ioctl::Opcode = rustix::ioctl::opcode::read::<u32>(b'X', 125);
    const NO_LOG_FLUSH: u32 = 2;
    let root = File::open(at)?;
    #[expect(unsafe_code, reason = "an ioctl that has no typed wrapper")]
    // SAFETY: the call reads one u32 at the address that it is given, and writes nothing.
    let result = unsafe {
        rustix::ioctl::ioctl(root, rustix::ioctl::Setter::<GOINGDOWN, u32>::new(NO_LOG_FLUSH))
    };
    result.context("cannot shut the file system down")
}

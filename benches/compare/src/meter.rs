//! Measures a loop: how many operations in how long, how long each took, and what went to the disk.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use crate::row::{Device, Latency};

/// A loop ends when either is reached.
#[derive(Clone, Copy)]
pub struct Limit {
    pub ops: u64,
    pub time: Duration,
}

impl Limit {
    pub fn ops(ops: u64) -> Limit {
        Limit { ops, time: Duration::MAX }
    }

    pub fn time(time: Duration) -> Limit {
        Limit { ops: u64::MAX, time }
    }
}

pub struct Measured {
    pub ops: u64,
    pub seconds: f64,
    pub latency: Option<Latency>,
    /// Seconds of processor time, of all threads of this process.
    pub cpu: Option<f64>,
    pub wrote: Option<u64>,
    pub device: Option<Device>,
}

/// Where the counters of a disk are.
pub struct Meter {
    disk: Option<PathBuf>,
}

impl Meter {
    pub fn new(dir: &Path) -> Meter {
        let disk = std::fs::metadata(dir).ok().map(|meta| {
            let device = meta.dev();
            PathBuf::from(format!(
                "/sys/dev/block/{}:{}/stat",
                libc::major(device),
                libc::minor(device)
            ))
        });
        Meter { disk: disk.filter(|path| path.exists()) }
    }

    fn device(&self) -> Option<Device> {
        let text = std::fs::read_to_string(self.disk.as_ref()?).ok()?;
        let fields: Vec<u64> =
            text.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        // Documentation/block/stat.rst: reads completed, sectors of 512 bytes read and written, and flush requests completed.
        Some(Device {
            bytes: fields.get(6)? * 512,
            flushes: *fields.get(15)?,
            reads: *fields.first()?,
            read: fields.get(2)? * 512,
        })
    }

    /// Runs `op` until the limit; it returns how many operations it did.
    pub fn rate(&self, limit: Limit, mut op: impl FnMut() -> Result<u64>) -> Result<Measured> {
        self.around(|start| {
            let mut ops = 0;
            loop {
                for _ in 0..16 {
                    ops += op()?;
                    if ops >= limit.ops {
                        return Ok((ops, None));
                    }
                }
                if start.elapsed() >= limit.time {
                    return Ok((ops, None));
                }
            }
        })
    }

    /// As `rate`, and takes the time of each call.
    pub fn latency(&self, limit: Limit, mut op: impl FnMut() -> Result<u64>) -> Result<Measured> {
        self.around(|start| {
            let mut times = histogram()?;
            let (mut ops, mut now) = (0, start);
            loop {
                ops += op()?;
                let then = Instant::now();
                times.saturating_record((then - now).as_nanos() as u64);
                now = then;
                if ops >= limit.ops || now - start >= limit.time {
                    return Ok((ops, Some(percentiles(&times))));
                }
            }
        })
    }

    /// Counts what happens while `work` runs.
    pub fn around(
        &self,
        work: impl FnOnce(Instant) -> Result<(u64, Option<Latency>)>,
    ) -> Result<Measured> {
        let (wrote, device, cpu) = (wrote(), self.device(), cpu());
        let start = Instant::now();
        let (ops, latency) = work(start)?;
        let seconds = start.elapsed().as_secs_f64();
        let cpu = cpu.zip(self::cpu()).map(|(before, after)| after - before);
        let device = device.zip(self.device()).map(|(before, after)| Device {
            bytes: after.bytes.saturating_sub(before.bytes),
            flushes: after.flushes.saturating_sub(before.flushes),
            reads: after.reads.saturating_sub(before.reads),
            read: after.read.saturating_sub(before.read),
        });
        let wrote = wrote.zip(self::wrote()).map(|(before, after)| after.saturating_sub(before));
        Ok(Measured { ops, seconds, latency, cpu, wrote, device })
    }
}

pub fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}

pub fn percentiles(times: &Histogram<u64>) -> Latency {
    let at = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
    Latency {
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: times.max() as f64 / 1e3,
    }
}

/// Seconds of processor time that this process has used, in user space and in the kernel.
fn cpu() -> Option<f64> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the kernel fills the whole structure when it returns 0.
    let usage = unsafe {
        (libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) == 0).then(|| usage.assume_init())
    }?;
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Some(seconds(usage.ru_utime) + seconds(usage.ru_stime))
}

/// `write_bytes` of this process: pages it made dirty and has not taken back.
fn wrote() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/io").ok()?, "write_bytes:")
}

/// Bytes of memory that belong to this process alone, without the page cache.
pub fn anonymous() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/status").ok()?, "RssAnon:").map(|kib| kib * 1024)
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Bytes that the files under `dir` take on the disk.
pub fn disk_use(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let entry = entry?;
        // A store may remove a file meanwhile.
        let Ok(meta) = entry.metadata() else { continue };
        bytes +=
            if meta.is_dir() { disk_use(&entry.path()).unwrap_or(0) } else { meta.blocks() * 512 };
    }
    Ok(bytes)
}

/// Writes out what the file system holds, so that one work does not pay for another.
pub fn settle(dir: &Path) -> Result<()> {
    use std::os::fd::AsRawFd;
    let dir = std::fs::File::open(dir)?;
    // SAFETY: the descriptor lives across the call; no memory is passed.
    if unsafe { libc::syncfs(dir.as_raw_fd()) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(())
}

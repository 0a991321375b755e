//! What has to happen in another process than the one that measures: reading beside a writer, being killed, opening afresh.
//!
//! The binary runs itself with a step in JSON as its argument, and the step prints its outcome in JSON.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::data::{self, Random};
use crate::meter::{Limit, Meter};
use crate::peer::{self, CACHE, Setup, Survives};
use crate::works::threads::gets;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    pub peer: String,
    pub dir: PathBuf,
    pub keys: u64,
    pub len: usize,
    /// The store holds the keys of these numbers.
    pub live: std::ops::Range<u64>,
    pub act: Act,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Act {
    /// Opens for reading, waits for a line, gets random keys for that many seconds.
    Read { seconds: f64, seed: u64 },
    /// Overwrites the first keys with this version until `bytes` are written, says how many, and dies by SIGKILL.
    Die { bytes: u64, version: u64 },
    /// Opens for writing, and looks for the keys from the first one on up to `check`.
    Open { check: u64, version: u64 },
}

#[derive(Serialize, Deserialize)]
pub struct ReadDone {
    pub ops: u64,
    pub seconds: f64,
}

#[derive(Serialize, Deserialize)]
pub struct OpenDone {
    /// Until the first value was there.
    pub seconds: f64,
    /// Keys that do not have the version looked for, or are gone.
    pub lost: u64,
    /// Keys with a value that nobody wrote.
    pub broken: u64,
}

impl Step {
    /// Starts a process for this step.
    pub fn spawn(&self) -> Result<Child> {
        Command::new(std::env::current_exe()?)
            .arg("step")
            .arg(serde_json::to_string(self)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a process")
    }

    /// Runs this step in a process, to its end.
    pub fn outcome<T: DeserializeOwned>(&self) -> Result<T> {
        outcome(self.spawn()?)
    }

    /// This process is the one.
    pub fn run(&self) -> Result<()> {
        let kind = peer::kind(&self.peer)?;
        let setup = Setup {
            keys: self.keys,
            ask: Survives::Kill,
            cache: CACHE,
            read_only: matches!(self.act, Act::Read { .. }),
        };
        let start = Instant::now();
        let peer = (kind.open)(&self.dir, setup)?;
        match self.act {
            Act::Read { seconds, seed } => {
                say(&"ready")?;
                std::io::stdin().lock().read_line(&mut String::new())?;
                let (start, time) = (Instant::now(), Duration::from_secs_f64(seconds));
                let ops = gets(&*peer, &self.live, self.len, seed, &|| start.elapsed() >= time)?;
                say(&ReadDone { ops, seconds: start.elapsed().as_secs_f64() })?;
            }
            Act::Die { bytes, version } => {
                let count = (bytes / (self.len + data::KEY) as u64)
                    .clamp(1, self.live.end - self.live.start);
                let mut number = self.live.clone();
                let next = || number.next().expect("no more than there are");
                crate::bench::put_batches(
                    &Meter::new(&self.dir),
                    &*peer,
                    self.len,
                    100,
                    version,
                    Limit::ops(count),
                    next,
                )?;
                say(&count)?;
                // SAFETY: a signal to this process itself; no memory is passed.
                unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            }
            Act::Open { check, version } => {
                let mut done = OpenDone { seconds: 0.0, lost: 0, broken: 0 };
                peer.read(&mut |reader| {
                    let i = self.live.start + Random::new(8).below(self.live.end - self.live.start);
                    reader.get(&data::key(i), &mut |_| ())?;
                    done.seconds = start.elapsed().as_secs_f64();
                    for i in self.live.start..self.live.start + check {
                        let mut found = None;
                        let there = reader.get(&data::key(i), &mut |value| {
                            found = data::version(value, i, self.len)
                        })?;
                        done.broken += u64::from(there && found.is_none());
                        done.lost += u64::from(found != Some(version));
                    }
                    Ok(())
                })?;
                peer.close()?;
                say(&done)?;
            }
        }
        Ok(())
    }
}

fn say(what: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(what)?)?;
    Ok(out.flush()?)
}

/// Waits for the first line of `child`.
pub fn await_line(child: &mut Child) -> Result<()> {
    let out = child.stdout.as_mut().context("no pipe")?;
    // One byte at a time: what follows is for `outcome`.
    let mut byte = [0];
    while byte[0] != b'\n' {
        ensure!(std::io::Read::read(out, &mut byte)? == 1, "the process ended early");
    }
    Ok(())
}

/// What `child` said last.
pub fn outcome<T: DeserializeOwned>(child: Child) -> Result<T> {
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text
        .lines()
        .last()
        .with_context(|| format!("the process said nothing: {}", output.status))?;
    serde_json::from_str(line).with_context(|| format!("the process said {line}"))
}

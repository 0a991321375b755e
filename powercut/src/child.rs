//! Child processes: started, watched for as long as they may take, and what became of them.

use std::fmt;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Longer than anything takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
pub const SIGKILL: i32 = 9;
const SIGBUS: i32 = 7;

/// How a process ended, and what it said on standard error.
#[derive(Debug)]
pub enum Ended {
    Exit(i32, String),
    Signal(i32, String),
    /// It hung, and was killed.
    Hung,
}

impl Ended {
    pub fn well(&self) -> bool {
        matches!(self, Ended::Exit(0, _))
    }

    /// A check has failed: this is not what a power cut may do.
    pub fn broken(&self) -> bool {
        self.crashed() || matches!(self, Ended::Exit(BROKEN, _))
    }

    /// It has ended as no process may, whatever became of the files.
    pub fn crashed(&self) -> bool {
        match self {
            Ended::Exit(_, said) => said.contains("panicked"),
            Ended::Signal(signal, _) => *signal != SIGKILL && *signal != SIGBUS,
            Ended::Hung => true,
        }
    }
}

/// Exit codes of our own processes: the ground went away, or a promise was broken.
pub const FAILED: u8 = 3;
pub const BROKEN: i32 = 4;

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Exit(code, said) => write!(f, "exit {code}: {}", said.trim()),
            Ended::Signal(signal, said) => write!(f, "signal {signal}: {}", said.trim()),
            Ended::Hung => f.write_str("hung"),
        }
    }
}

/// A process of ours that is running.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

impl Running {
    pub fn start(command: &mut Command) -> Result<Running> {
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        Ok(Running { child: child.with_context(|| format!("cannot run {command:?}"))? })
    }

    pub fn is_over(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    pub fn kill(mut self) -> Result<Ended> {
        self.child.kill()?;
        self.wait()
    }

    pub fn wait(mut self) -> Result<Ended> {
        let until = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(200);
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > until {
                let _ = self.child.kill();
                return Ok(Ended::Hung);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        };
        let mut said = String::new();
        if let Some(mut from) = self.child.stderr.take() {
            let _ = from.read_to_string(&mut said);
        }
        Ok(match status.signal() {
            Some(signal) => Ended::Signal(signal, said),
            None => Ended::Exit(status.code().unwrap_or(-1), said),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
pub fn finish(command: &mut Command) -> Result<Ended> {
    Running::start(command)?.wait()
}

/// This program with another subcommand.
pub fn own(subcommand: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(subcommand);
    Ok(command)
}

/// Adds an option and its value.
pub fn with(command: &mut Command, option: &str, value: impl fmt::Display) {
    command.arg(option).arg(value.to_string());
}

pub fn with_path(command: &mut Command, option: &str, value: &Path) {
    command.arg(option).arg(value);
}

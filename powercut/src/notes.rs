//! What a writer notes outside of the store: which step it has begun, which has returned, and which is durable. A file on another file
//! system holds the numbers; a power cut that is staged does not touch it. On the logging disk they go into its log as well, in order
//! with the writes of the device.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Offsets of the numbers in the file.
const BEGUN: u64 = 0;
const DONE: u64 = 8;
const DURABLE: u64 = 16;
const STOP: u64 = 24;

#[derive(Debug)]
pub struct Notes {
    file: File,
    control: Option<File>,
}

impl Notes {
    /// Opens the file of numbers, all zero if it is new.
    pub fn open(path: &Path, control: Option<&PathBuf>) -> Result<Notes> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        if file.metadata()?.len() < 32 {
            file.set_len(32)?;
        }
        let control = control.map(|path| OpenOptions::new().write(true).open(path)).transpose()?;
        Ok(Notes { file, control })
    }

    fn get(&self, at: u64) -> Result<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn set(&self, at: u64, number: u64) -> Result<()> {
        Ok(self.file.write_all_at(&number.to_le_bytes(), at)?)
    }

    /// Says something to the logging disk.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        if let Some(control) = &mut self.control {
            control.write_all(line.as_bytes())?;
        }
        Ok(())
    }

    pub fn begin(&mut self, step: u64) -> Result<()> {
        self.set(BEGUN, step)?;
        self.tell(&format!("begin {step}"))
    }

    pub fn done(&mut self, step: u64) -> Result<()> {
        self.set(DONE, step)
    }

    /// Notes what is durable here alone.
    pub fn note_durable(&self, step: u64) -> Result<()> {
        self.set(DURABLE, step)
    }

    pub fn durable(&mut self, step: u64) -> Result<()> {
        self.note_durable(step)?;
        self.tell(&format!("mark {step}"))
    }

    /// The last step that was begun.
    pub fn begun(&self) -> Result<u64> {
        self.get(BEGUN)
    }

    /// The last step that has returned: what a killed process must not lose.
    pub fn last_done(&self) -> Result<u64> {
        self.get(DONE)
    }

    /// The last step that is durable: what a power cut must not lose.
    pub fn last_durable(&self) -> Result<u64> {
        self.get(DURABLE)
    }

    /// The store may be at any step from `low` to `high`.
    pub fn between(&self, low: u64, high: u64) -> Result<()> {
        self.set(BEGUN, high)?;
        self.set(DONE, low)?;
        self.set(DURABLE, low)
    }

    /// Asks readers to stop, or not to.
    pub fn stop(&self, stop: bool) -> Result<()> {
        self.set(STOP, stop.into())
    }

    pub fn stopped(&self) -> Result<bool> {
        Ok(self.get(STOP)? != 0)
    }
}

//! What every round has: a script, its notes, a writing process that may be killed, and readers beside it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::child::{Ended, Running, own, with, with_path};
use crate::notes::Notes;

/// One store with one script.
#[derive(Debug)]
pub struct Stage {
    pub seed: u64,
    pub store: PathBuf,
    notes_path: PathBuf,
    pub notes: Notes,
    control: Option<PathBuf>,
    /// The bug that the writer has, but whoever checks has not.
    plant: Option<String>,
}

impl Stage {
    /// The script of `seed` on a store whose notes go to the file `notes`.
    pub fn new(seed: u64, store: PathBuf, notes: PathBuf, plant: Option<&str>) -> Result<Stage> {
        let _ = std::fs::remove_file(&notes);
        let opened = Notes::open(&notes, None)?;
        Ok(Stage {
            seed,
            store,
            notes_path: notes,
            notes: opened,
            control: None,
            plant: plant.map(str::to_owned),
        })
    }

    /// Writers tell the logging disk how far they are.
    pub fn told(mut self, control: PathBuf) -> Stage {
        self.control = Some(control);
        self
    }

    fn command(&self, low: u64, steps: u64) -> Result<Command> {
        let mut command = own("writer")?;
        with_path(&mut command, "--store", &self.store);
        with_path(&mut command, "--notes", &self.notes_path);
        with(&mut command, "--seed", self.seed);
        with(&mut command, "--low", low);
        with(&mut command, "--high", self.notes.begun()?.max(low));
        with(&mut command, "--steps", steps);
        Ok(command)
    }

    /// Starts to write, after a power cut or for the first time.
    pub fn write(&self, steps: u64) -> Result<Running> {
        self.start(self.notes.last_durable()?, steps)
    }

    /// Starts to write after a writer was killed.
    pub fn write_on(&self, steps: u64) -> Result<Running> {
        self.start(self.notes.last_done()?, steps)
    }

    fn start(&self, low: u64, steps: u64) -> Result<Running> {
        let mut command = self.command(low, steps)?;
        if let Some(control) = &self.control {
            with_path(&mut command, "--control", control);
        }
        if let Some(plant) = &self.plant {
            command.env(mapstone::sim::PLANT, plant);
        }
        Running::start(&mut command)
    }

    /// Recovers and checks the store after a power cut, without planted bugs, and goes on a little.
    pub fn check(&self) -> Result<Ended> {
        Running::start(&mut self.command(self.notes.last_durable()?, 4)?)?.wait()
    }

    /// Starts readers.
    pub fn readers(&self, count: usize) -> Result<Readers> {
        self.notes.stop(false)?;
        let mut command = own("reader")?;
        with_path(&mut command, "--store", &self.store);
        with_path(&mut command, "--notes", &self.notes_path);
        let running = (0..count).map(|_| Running::start(&mut command)).collect::<Result<_>>()?;
        Ok(Readers { running })
    }

    /// Lets the readers end; says what they complain about.
    pub fn dismiss(&self, readers: Readers) -> Result<Vec<String>> {
        self.ended(readers, |ended| !ended.well())
    }

    /// The same after a power cut that they have outlived, as on no real machine: pages that the file system could not write
    /// any more are gone from under them (ext4 throws them away, and they read as zeros) or raise `SIGBUS`, and any error is
    /// right. A panic is not, nor an endless loop.
    pub fn dismiss_after_cut(&self, readers: Readers) -> Result<Vec<String>> {
        self.ended(readers, Ended::crashed)
    }

    fn ended(&self, readers: Readers, wrong: fn(&Ended) -> bool) -> Result<Vec<String>> {
        self.notes.stop(true)?;
        let ended = readers.running.into_iter().map(Running::wait).collect::<Result<Vec<_>>>()?;
        let complaints = ended.iter().filter(|ended| wrong(ended));
        Ok(complaints.map(|ended| format!("reader: {ended}")).collect())
    }

    /// Waits until the script has come on by some steps, or some time is over.
    pub fn wait(&self, writer: &mut Running, steps: u64, at_most: Duration) -> Result<()> {
        let (from, until) = (self.notes.begun()?, Instant::now() + at_most);
        while self.notes.begun()? < from + steps && Instant::now() < until {
            ensure!(!writer.is_over()?, "the writer has ended");
            std::thread::sleep(Duration::from_micros(300));
        }
        Ok(())
    }
}

#[derive(Debug)]
pub struct Readers {
    running: Vec<Running>,
}

impl Readers {
    /// Some reader has ended of itself.
    pub fn is_one_over(&mut self) -> Result<bool> {
        self.running.iter_mut().try_fold(false, |over, reader| Ok(reader.is_over()? || over))
    }
}

/// What rounds on one file system have come to.
#[derive(Debug, Default)]
pub struct Tally {
    pub what: String,
    pub rounds: u64,
    pub cuts: u64,
    /// Cuts that took something the file system had written. By the shutdown call all do.
    pub lossy: u64,
    pub kills: u64,
    pub readers: u64,
    pub failed_mounts: u64,
    pub seconds: f64,
    pub failures: Vec<String>,
}

impl Tally {
    pub fn new(what: String) -> Tally {
        Tally { what, ..Tally::default() }
    }

    pub fn fail(&mut self, replay: &str, why: impl std::fmt::Display) {
        self.failures.push(format!("{}: {why}\n    {replay}", self.what));
    }
}

/// Where the evidence of failures is kept.
pub fn keep(name: &str) -> Result<PathBuf> {
    let dir = std::env::temp_dir().join("powercut-failures");
    std::fs::create_dir_all(&dir)?;
    Ok(dir.join(name))
}

/// Says that something cannot be done here.
pub fn skipped(what: &str, want: &str) {
    eprintln!("skipped: {what}, for want of {want}");
}

/// The path of a store on a mounted file system.
pub fn store_on(mount: &Path) -> PathBuf {
    mount.join("store")
}

//! Power cuts, failing disks and full disks on real file systems: what the simulated disk claims about file systems, tried on them.
//!
//! `powercut ci` runs all of it in about a minute, as root; `MAPSTONE_LONG=seconds` gives the power cuts that long in all. Each failure
//! prints how to run it again.

mod child;
mod ci;
mod cuts;
mod disk;
mod failing;
mod ground;
mod image;
mod ledger;
mod log;
mod model;
mod notes;
mod reader;
mod script;
mod shutdown;
mod stage;
mod trial;
mod writer;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};

use child::{BROKEN, FAILED};
use ground::{Kind, Scratch};
use stage::Tally;

#[derive(Parser)]
#[command(about = "Power cuts, failing and full disks on real file systems")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Everything, a little of each.
    Ci {
        /// Where the random choices start; printed.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Power cuts by the file system's shutdown call (ext4, xfs).
    Shutdown(Rounds),
    /// Power cuts on a logging disk (ext4, xfs, btrfs).
    Disk(Rounds),
    /// One power cut of a log that was kept.
    Replay {
        /// The log.
        log: PathBuf,
        /// The file system on it.
        #[arg(long, value_parser = kind)]
        fs: Kind,
        /// Before which entry the power goes.
        #[arg(long)]
        cut: usize,
        /// What is lost.
        #[arg(long)]
        cut_seed: u64,
        /// Where to keep the image.
        #[arg(long)]
        keep: Option<PathBuf>,
    },
    /// Failing, full and forbidden disks.
    Failing,
    /// The writing process of a round.
    #[command(hide = true)]
    Writer(writer::Writer),
    /// A reading process of a round.
    #[command(hide = true)]
    Reader(reader::Reader),
    /// A process that runs into something.
    #[command(hide = true)]
    Trial(trial::Trial),
}

#[derive(Args)]
struct Rounds {
    /// The file system.
    #[arg(long, value_parser = kind)]
    fs: Kind,
    /// Where the random choices start.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// For how long.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// A bug that the writer has; the rounds end when it is caught.
    #[arg(long)]
    plant: Option<String>,
}

fn kind(name: &str) -> Result<Kind, String> {
    Kind::named(name).ok_or_else(|| "ext4, xfs or btrfs".into())
}

fn main() -> ExitCode {
    let what = Cli::parse().what;
    let result = match &what {
        What::Writer(writer) => die_with_parent().and_then(|()| writer.run()),
        What::Reader(reader) => die_with_parent().and_then(|()| reader.run()),
        What::Trial(trial) => die_with_parent().and_then(|()| trial.run()),
        _ => stage(&what),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    let said = format!("{error:#}");
    eprintln!("{said}");
    let broken =
        ["LOST", "DAMAGED", "TORN", "VANISHED", "BROKEN"].iter().any(|word| said.contains(word))
            || error
                .downcast_ref()
                .is_some_and(|error| matches!(error, mapstone::Error::Corrupt { .. }));
    ExitCode::from(if broken { BROKEN as u8 } else { FAILED })
}

/// A process of a round goes with the process that started it.
fn die_with_parent() -> Result<()> {
    let signal = Some(rustix::process::Signal::KILL);
    rustix::process::set_parent_process_death_signal(signal).context("cannot ask for a signal")
}

fn stage(what: &What) -> Result<()> {
    if let What::Ci { seed } = what {
        return ci::run(*seed);
    }
    ensure!(ground::missing().is_none(), "needs {}", ground::missing().unwrap_or_default());
    ground::enter()?;
    let scratch = Scratch::new()?;
    match what {
        What::Shutdown(with) => report(
            with,
            shutdown::rounds(with.fs, with.seed, with.plant.as_deref(), with.until(), &scratch)?,
        ),
        What::Disk(with) => report(
            with,
            cuts::rounds(with.fs, with.seed, with.plant.as_deref(), with.until(), &scratch)?,
        ),
        What::Replay { log, fs, cut, cut_seed, keep } => {
            cuts::replay(*fs, log, *cut, *cut_seed, keep.as_deref(), &scratch)
        }
        What::Failing => ci::failing(&scratch),
        _ => unreachable!("handled before"),
    }
}

impl Rounds {
    fn until(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.seconds)
    }
}

fn report(with: &Rounds, tally: Tally) -> Result<()> {
    println!("{}", ci::row(&tally));
    for failure in &tally.failures {
        println!("{failure}");
    }
    match &with.plant {
        Some(bug) => ensure!(!tally.failures.is_empty(), "BROKEN: {bug} was not caught"),
        None => ensure!(tally.failures.is_empty(), "BROKEN: {} failures", tally.failures.len()),
    }
    Ok(())
}

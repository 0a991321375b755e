//! `tour`: the main job on real input, with processes that read, one that is killed, and every byte compared.
//!
//! A child process loads a directory tree into a fresh store, over and over, until it is killed in mid-load; two more
//! processes meanwhile compare what they read with the files, and go on doing so while this process recovers the
//! store and finishes the load. What the killed process had acknowledged must all be there.

mod corpus;
mod crew;
mod figures;
mod files;
mod load;
mod marks;
pub(crate) mod reader;
mod recovered;
mod report;
mod scratch;
mod speed;
pub(crate) mod writer;

use crate::{Outcome, open, progress};
use anyhow::{Context, Result, ensure};
use corpus::Corpus;
use crew::Crew;
use figures::Figures;
use files::Checker;
use mapstone::{Options, Store};
use scratch::Place;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The readers that run beside the writer.
const READERS: usize = 2;
/// Far more than the tour takes; only a process that hangs gets there.
const PATIENCE: Duration = Duration::from_secs(120);

/// Load a directory tree while others read it, kill the writer, recover, compare everything, print how fast it went
///
/// Symbolic links and files that cannot be read are left out. Exit status 2 if a single byte is not as it should be.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The tree to load; by default /usr/include, or else this program's sources, or else the current directory
    #[arg(value_name = "DIR")]
    root: Option<PathBuf>,
    /// Keep the store here, where nothing may be yet; by default it is temporary
    #[arg(long, value_name = "PATH")]
    store: Option<PathBuf>,
    /// Take no more than so much of the tree
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    limit_mib: u64,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let steps = progress::steps();
    steps.set_message("looking at the tree");
    let corpus = Corpus::scan(&corpus::root(args.root.as_deref())?, args.limit_mib << 20)?;
    let place = Place::new(args.store.as_deref())?;
    let figures = perform(&corpus, place.store(), &|step| steps.set_message(step))
        .with_context(|| place.leave_behind())?;
    steps.finish_and_clear();
    report::print(&corpus, &figures, args.store.as_deref())?;
    Ok(Outcome::Done)
}

/// The tour itself: each step in its own function below or in its own file.
fn perform(corpus: &Corpus, path: &Path, say: &dyn Fn(&'static str)) -> Result<Figures> {
    let mut figures = Figures::default();
    create(path)?;

    say("a writer loads, two readers compare");
    let mut crew = Crew::assemble(corpus, path)?;
    figures.load = crew.kill_writer_in_mid_load(corpus)?;

    say("recovering, comparing what had been acknowledged");
    let start = Instant::now();
    let store = open::existing(path)?;
    figures.recovery = start.elapsed();
    figures.recovered = recovered::check(&store, corpus, &figures.load)?;

    say("finishing the load");
    let start = Instant::now();
    figures.finish = load::finish(&store, corpus)?;
    figures.finish_time = start.elapsed();

    say("the readers compare every file");
    figures.readers = crew.finish_readers()?;

    say("comparing and verifying everything");
    compare(&store, corpus, &mut figures)?;
    reopen(store, path, &mut figures)?;
    Ok(figures)
}

/// An empty store with the marks' table, cleanly closed: the readers open it before the writer does.
fn create(path: &Path) -> Result<()> {
    let store = Options::new().create_new(true).open(path)?;
    store.table(marks::TABLE)?;
    Ok(store.close()?)
}

fn compare(store: &Store, corpus: &Corpus, figures: &mut Figures) -> Result<()> {
    let start = Instant::now();
    let mut checker = Checker::new(corpus);
    for (index, file) in corpus.files.iter().enumerate() {
        checker.compare(index, store.get(&file.key)?.as_deref())?;
    }
    figures.compared = checker.tally;
    figures.compare_time = start.elapsed();
    let start = Instant::now();
    figures.verified = verify(store)?;
    figures.verify_time = start.elapsed();
    figures.speed = speed::measure(store, corpus)?;
    Ok(())
}

/// The number of bytes that `verify` read.
fn verify(store: &Store) -> Result<u64> {
    let verification = store.verify()?;
    if let Some(damage) = verification.damage.first() {
        anyhow::bail!(
            "verify found {} damaged places, the first: {damage}",
            verification.damage.len()
        );
    }
    Ok(verification.bytes)
}

fn reopen(store: Store, path: &Path, figures: &mut Figures) -> Result<()> {
    let entries = store.stats()?.entries;
    store.close()?;
    let start = Instant::now();
    let store = open::existing(path)?;
    figures.reopen = start.elapsed();
    let stats = store.stats()?;
    ensure!(
        stats.entries == entries,
        "{entries} entries before the close and {} after",
        stats.entries
    );
    figures.stats = Some(stats);
    Ok(store.close()?)
}

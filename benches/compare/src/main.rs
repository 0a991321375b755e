//! mapstone beside other embedded stores and an in-memory map: the same work, in the same run, each in a process of its own.
//!
//! `cargo run --release --manifest-path benches/compare/Cargo.toml`; docs/benchmarks.md says what the columns mean.

mod bench;
mod child;
mod data;
mod group;
mod meter;
mod parent;
mod peer;
mod peers;
mod report;
mod row;
mod scale;
mod step;
mod works;

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};

use crate::report::Report;
use crate::scale::Scale;

#[derive(Parser)]
#[command(about = "mapstone beside other embedded stores, on the same work in the same run")]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    scale: Scale,
    /// Times that everything is done; tables give medians
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Stores to run, by name, separated by commas; by default all that were compiled in
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Work sets to run, by name, separated by commas; by default all
    #[arg(long, value_delimiter = ',')]
    works: Vec<String>,
    /// Everything but the work set memory once and small, in about a minute: 20,000 keys, 0.1 seconds
    #[arg(long)]
    short: bool,
    /// Where the stores are put while they are measured; by default the system's temporary directory
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where rows.jsonl, report.md and the plots go
    #[arg(long, default_value = "compare-report")]
    out: PathBuf,
}

#[derive(Subcommand)]
enum Part {
    /// Makes report.md and the plots again from rows.jsonl
    Report {
        rows: Vec<PathBuf>,
        #[arg(long, default_value = "compare-report")]
        out: PathBuf,
    },
    /// What the stores promise, and the names of the work sets
    List,
    #[command(hide = true)]
    Child { task: String },
    #[command(hide = true)]
    Step { step: String },
}

fn main() -> ExitCode {
    match dispatch(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> Result<()> {
    match &cli.part {
        Some(Part::Child { task }) => serde_json::from_str::<child::Task>(task)?.run(),
        Some(Part::Step { step }) => serde_json::from_str::<step::Step>(step)?.run(),
        Some(Part::List) => {
            list();
            Ok(())
        }
        Some(Part::Report { rows, out }) => Report::read(rows)?.write(out),
        None => run(cli),
    }
}

fn list() {
    let yes = |yes| if yes { "yes" } else { "no" };
    println!(
        "| store | unsynced commit survives | durable commit | atomic batch | other processes read |\n| --- | --- | --- | --- | --- |"
    );
    for kind in peer::kinds().into_iter().filter(|kind| kind.readable) {
        let (unsynced, durable) = (kind.unsynced.text(), yes(kind.durable));
        println!(
            "| {} | {unsynced} | {durable} | {} | {} |",
            kind.name,
            yes(kind.atomic),
            yes(kind.shared)
        );
    }
    println!(
        "\nworks: {}",
        works::WORKS.iter().map(|work| work.name).collect::<Vec<_>>().join(", ")
    );
}

fn run(mut cli: Cli) -> Result<()> {
    if cli.short {
        cli.rounds = 1;
        cli.scale = Scale { keys: 20_000, seconds: 0.1, values_mib: 8, replay_mib: 1, ..cli.scale };
        if cli.works.is_empty() {
            // A store that is larger than the memory that any of these can do with takes longer.
            let short = works::WORKS.iter().filter(|work| work.name != "memory");
            cli.works = short.map(|work| work.name.to_owned()).collect();
        }
    }
    ensure!(cli.rounds > 0 && cli.scale.keys >= 100, "at least one round, and 100 keys");
    let plan = parent::Plan::new(&cli.peers, &cli.works, cli.rounds, cli.scale)?;
    std::fs::create_dir_all(&cli.out)?;
    let rows = cli.out.join("rows.jsonl");
    let mut lines =
        BufWriter::new(File::create(&rows).with_context(|| format!("{}", rows.display()))?);
    let dir = cli.dir.unwrap_or_else(std::env::temp_dir);
    let rows = plan.run(&dir, &mut lines)?;
    let failed = rows.iter().filter(|row| row.work.starts_with("failures")).count();
    Report::new(rows).write(&cli.out)?;
    println!("{}", cli.out.join("report.md").display());
    ensure!(failed == 0, "{failed} child processes failed; the report says which");
    Ok(())
}

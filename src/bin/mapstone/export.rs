//! `export`: a store's entries at one position, as text on standard output or as a directory tree.

use crate::{
    Outcome,
    arguments::TableArgument,
    formats::{self, Format},
    jsonl::{self, Line},
    open, output, progress, to_dir, tsv, units,
};
use anyhow::{Result, ensure};
use indicatif::ProgressBar;
use mapstone::{Snapshot, Store};
use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

/// Write the entries to standard output, or as files into a directory
///
/// All at one position, in no particular order; `import` takes each form back unchanged.
#[derive(clap::Args)]
#[command(after_help = formats::HELP)]
pub(crate) struct Args {
    store: PathBuf,
    /// What to write to standard output
    #[arg(long, default_value = "tsv")]
    format: Format,
    /// Write a tree instead, each entry a file; a key that is no relative path within DIR is refused
    #[arg(long, value_name = "DIR", conflicts_with_all = ["format", "all_tables"])]
    to_dir: Option<PathBuf>,
    #[command(flatten)]
    table: TableArgument,
    /// The default table and every named one, with --format jsonl
    #[arg(long, conflicts_with = "name")]
    all_tables: bool,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    ensure!(
        !args.all_tables || args.format == Format::Jsonl,
        "--all-tables needs --format jsonl: TSV names no table"
    );
    let store = open::for_reading(&args.store)?;
    let snapshot = store.snapshot()?;
    if let Some(directory) = &args.to_dir {
        let written =
            to_dir::export(&open::table(snapshot, args.table.name.as_deref())?, directory)?;
        let mut out = output::stdout();
        writeln!(
            out,
            "exported {} to {}",
            units::counted(written, "file", "files"),
            directory.display()
        )?;
        out.flush()?;
    } else {
        text(args, &store, &snapshot)?;
    }
    Ok(Outcome::Done)
}

fn text(args: &Args, store: &Store, snapshot: &Snapshot) -> Result<()> {
    let bar = bar(store)?;
    let mut out = output::stdout();
    write(
        &open::table(snapshot.clone(), args.table.name.as_deref())?,
        None,
        args.format,
        &mut out,
        &bar,
    )?;
    if args.all_tables {
        for name in snapshot.tables()? {
            write(
                &open::table(snapshot.clone(), Some(&name))?,
                Some(&name),
                args.format,
                &mut out,
                &bar,
            )?;
        }
    }
    out.flush()?;
    bar.finish_and_clear();
    Ok(())
}

fn write(
    table: &Snapshot,
    name: Option<&str>,
    format: Format,
    out: &mut impl Write,
    bar: &ProgressBar,
) -> Result<()> {
    let mut line = Vec::new();
    for entry in table.iter() {
        let (key, value) = entry?;
        match format {
            Format::Tsv => tsv::write(out, &mut line, key, &value)?,
            Format::Jsonl => jsonl::write(out, &Line::of_entry(name, key, &value))?,
        }
        bar.inc(1);
    }
    Ok(())
}

/// None where the entries themselves go to the terminal.
fn bar(store: &Store) -> Result<ProgressBar> {
    if io::stdout().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    Ok(progress::entries("export", store.stats()?.entries))
}

//! `stat`: how large a store is and how far its commits have got.

use crate::{Outcome, jsonl, open, output, units};
use anyhow::Result;
use mapstone::Stats;
use serde::Serialize;
use std::{io::Write, path::PathBuf};

/// Print what the store holds, the space that it takes and its positions
#[derive(clap::Args)]
pub(crate) struct Args {
    store: PathBuf,
    /// One JSON object, sizes in bytes
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Figures {
    entries: u64,
    tables: u64,
    segments: u64,
    file_bytes: u64,
    live_bytes: u64,
    dead_bytes: u64,
    index_bytes: u64,
    committed: u64,
    durable: u64,
    checkpoint: u64,
}

impl From<Stats> for Figures {
    fn from(stats: Stats) -> Self {
        Self {
            entries: stats.entries,
            tables: stats.tables,
            segments: stats.segments,
            file_bytes: stats.file_bytes,
            live_bytes: stats.live_bytes,
            dead_bytes: stats.dead_bytes,
            index_bytes: stats.index_bytes,
            committed: stats.committed,
            durable: stats.durable,
            checkpoint: stats.checkpoint,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let figures = Figures::from(open::for_reading(&args.store)?.stats()?);
    let mut out = output::stdout();
    if args.json {
        jsonl::write(&mut out, &figures)?;
    } else {
        table(&figures, &mut out)?;
    }
    out.flush()?;
    Ok(Outcome::Done)
}

fn table(figures: &Figures, out: &mut impl Write) -> Result<()> {
    use units::{grouped, ratio, size};
    let records = figures.live_bytes + figures.dead_bytes;
    let dead = 100.0 * ratio(figures.dead_bytes, records);
    let per_key = ratio(figures.index_bytes, figures.entries);
    let unsynced = size(figures.committed.saturating_sub(figures.durable));
    let replay = size(figures.committed.saturating_sub(figures.checkpoint));

    writeln!(out, "entries       {}", grouped(figures.entries))?;
    writeln!(out, "tables        {}", grouped(figures.tables))?;
    writeln!(out, "segments      {}", grouped(figures.segments))?;
    writeln!(out, "files         {}", size(figures.file_bytes))?;
    writeln!(out, "live records  {}", size(figures.live_bytes))?;
    writeln!(out, "dead records  {}, {dead:.0} % of all", size(figures.dead_bytes))?;
    writeln!(out, "index         {}, {per_key:.1} bytes a key", size(figures.index_bytes))?;
    writeln!(out, "committed     position {}", grouped(figures.committed))?;
    writeln!(out, "durable       position {}, {unsynced} behind", grouped(figures.durable))?;
    writeln!(out, "checkpoint    position {}, {replay} behind", grouped(figures.checkpoint))?;
    Ok(())
}

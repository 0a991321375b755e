//! `stat`: how large a store is, how far its commits have got, what is live in each segment, and who holds space back.

use crate::cursor;
use crate::segments::{self, Row};
use crate::{Outcome, jsonl, open, output, units};
use anyhow::Result;
use mapstone::{Holder, Stats};
use serde::Serialize;
use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
};

/// Print what the store holds, the space that it takes, its positions, and the snapshots and cursors that hold space back
///
/// On a terminal the segments of the log follow, with a bar for what of each is live, dead and free.
#[derive(clap::Args)]
pub(crate) struct Args {
    store: PathBuf,
    /// The table of segments, one row each, also where it goes into a file
    #[arg(long)]
    segments: bool,
    /// One JSON object, sizes in bytes, with all segments ("log"), snapshots and cursors
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

#[derive(Serialize)]
struct Held {
    position: u64,
    pid: Option<u32>,
    age_seconds: Option<u64>,
}

impl From<&Holder> for Held {
    fn from(holder: &Holder) -> Self {
        let age_seconds = holder.age.map(|age| age.as_secs());
        Self { position: holder.position, pid: holder.pid, age_seconds }
    }
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    figures: Figures,
    snapshots: Vec<Held>,
    cursors: Vec<cursor::Row>,
    log: Vec<Row>,
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
    let store = open::for_reading(&args.store)?;
    let report = Report {
        figures: store.stats()?.into(),
        snapshots: store.holders()?.iter().map(Held::from).collect(),
        cursors: store.cursors()?.into_iter().map(cursor::Row::from).collect(),
        log: store.segments()?.iter().map(Row::new).collect(),
    };
    let mut out = output::stdout();
    if args.json {
        jsonl::write(&mut out, &report)?;
    } else {
        table(&report.figures, &mut out)?;
        for held in &report.snapshots {
            snapshot(held, &report.figures, &mut out)?;
        }
        for cursor in &report.cursors {
            cursor.write(report.figures.committed, &mut out)?;
        }
        if args.segments || std::io::stdout().is_terminal() {
            segments::table(&report.log, args.segments, &mut out)?;
        }
    }
    out.flush()?;
    Ok(Outcome::Done)
}

fn snapshot(held: &Held, figures: &Figures, out: &mut impl Write) -> Result<()> {
    let pid =
        held.pid.map_or("of a process that is hidden".into(), |pid| format!("of process {pid}"));
    let age = held.age_seconds.map_or("an unknown time".into(), units::age);
    let behind = units::size(figures.committed.saturating_sub(held.position));
    let position = units::grouped(held.position);
    writeln!(out, "snapshot      position {position}, {behind} behind, {pid}, for {age}")?;
    Ok(())
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

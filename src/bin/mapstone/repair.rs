//! `repair`: a new store of what is left of a damaged one, or a new index for one whose log is sound.

use crate::{Outcome, escape, jsonl, output, progress, units};
use anyhow::Result;
use indicatif::ProgressBar;
use mapstone::{Extent, LostKey, Options, Progress, Salvage, Stats};
use serde::Serialize;
use std::{
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Salvage a damaged store into a new one, or build its index anew from a sound log
///
/// With --to every record that passes its checksum goes into a new store, and the damaged one is not written to. What is
/// lost is printed, one line each; exit status 3 if anything is. A key of which the newest version is lost is a guess:
/// nothing that vouches for it is left.
///
/// With --index the index and the checkpoints are built anew in place, and nothing is lost. It needs a log without damage.
#[derive(clap::Args)]
pub(crate) struct Args {
    store: PathBuf,
    #[command(flatten)]
    how: How,
    /// One JSON object: the counts, and with --to what is lost
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct How {
    /// The directory of the new store, which must not be there or be empty
    #[arg(long, value_name = "NEW")]
    to: Option<PathBuf>,
    /// Build the index of STORE anew
    #[arg(long)]
    index: bool,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    match &args.how.to {
        Some(to) => salvage(args, to),
        None => index(args),
    }
}

fn watch(bar: &ProgressBar) -> impl FnMut(Progress) {
    let bar = bar.clone();
    move |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    }
}

fn index(args: &Args) -> Result<Outcome> {
    let start = Instant::now();
    let bar = progress::bytes("index", Some(0));
    let stats = Options::new().repair_index(&args.store, watch(&bar))?;
    bar.finish_and_clear();
    let mut out = output::stdout();
    if args.json {
        jsonl::write(&mut out, &Built::of(&stats, start.elapsed()))?;
    } else {
        let read = stats.live_bytes + stats.dead_bytes;
        let entries = units::counted(stats.entries, "entry", "entries");
        let (read, took) = (units::size(read), start.elapsed());
        writeln!(out, "built the index of {entries} from {read} of log, {took:.1?}")?;
    }
    out.flush()?;
    Ok(Outcome::Done)
}

/// The JSON of `--index`.
#[derive(Serialize)]
struct Built {
    entries: u64,
    log_bytes: u64,
    index_bytes: u64,
    seconds: f64,
}

impl Built {
    fn of(stats: &Stats, took: Duration) -> Self {
        Self {
            entries: stats.entries,
            log_bytes: stats.live_bytes + stats.dead_bytes,
            index_bytes: stats.index_bytes,
            seconds: took.as_secs_f64(),
        }
    }
}

fn salvage(args: &Args, to: &Path) -> Result<Outcome> {
    let bar = progress::bytes("repair", Some(0));
    let found = Options::new().repair_with(&args.store, to, watch(&bar))?;
    bar.finish_and_clear();
    let mut out = output::stdout();
    if args.json {
        jsonl::write(&mut out, &Report::from(&found))?;
    } else {
        lines(&found, &mut out)?;
    }
    out.flush()?;
    Ok(if found.is_complete() { Outcome::Done } else { Outcome::Damaged })
}

/// The JSON of `--to`.
#[derive(Serialize)]
struct Report<'a> {
    complete: bool,
    position: u64,
    segments: u64,
    records: u64,
    bytes: u64,
    entries: u64,
    uncommitted: u64,
    lost: Vec<Place<'a>>,
    keys: Vec<Key<'a>>,
    unnamed_keys: u64,
    torn: Vec<Place<'a>>,
    renamed_tables: &'a [String],
}

#[derive(Serialize)]
struct Place<'a> {
    file: String,
    from: u64,
    to: u64,
    why: &'a str,
}

#[derive(Serialize)]
struct Key<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<&'a str>,
    #[serde(flatten)]
    key: jsonl::Line<'a>,
    file: String,
    offset: u64,
    older_value: bool,
}

impl<'a> From<&'a Salvage> for Report<'a> {
    fn from(found: &'a Salvage) -> Self {
        let places = |extents: &'a [Extent]| extents.iter().map(Place::from).collect();
        Self {
            complete: found.is_complete(),
            position: found.position.as_u64(),
            segments: found.segments,
            records: found.records,
            bytes: found.bytes,
            entries: found.entries,
            uncommitted: found.uncommitted,
            lost: places(&found.lost),
            keys: found.keys.iter().map(Key::from).collect(),
            unnamed_keys: found.unnamed,
            torn: places(&found.torn),
            renamed_tables: &found.renamed,
        }
    }
}

impl<'a> From<&'a Extent> for Place<'a> {
    fn from(extent: &'a Extent) -> Self {
        let file = extent.file.display().to_string();
        Self { file, from: extent.from, to: extent.to, why: &extent.why }
    }
}

impl<'a> From<&'a LostKey> for Key<'a> {
    fn from(lost: &'a LostKey) -> Self {
        Self {
            table: lost.table.as_deref(),
            key: jsonl::Line::of_key(&lost.key),
            file: lost.file.display().to_string(),
            offset: lost.offset,
            older_value: lost.older,
        }
    }
}

fn lines(found: &Salvage, out: &mut impl Write) -> Result<()> {
    for Extent { file, from, to, why, .. } in &found.lost {
        writeln!(out, "lost: {}: offset {from} to {to}: {why}", file.display())?;
    }
    for Extent { file, from, to, why, .. } in &found.torn {
        let file = file.display();
        writeln!(out, "torn: {file}: offset {from} to {to}: perhaps a part of a batch, {why}")?;
    }
    for LostKey { table, key, file, offset, older, .. } in &found.keys {
        let table = table.as_ref().map_or(String::new(), |name| format!(" of table {name}"));
        let kept = if *older { ", an older value was salvaged" } else { "" };
        let (key, file) = (escape::escaped(key), file.display());
        writeln!(out, "key: {key}{table}, by a guess: {file}: offset {offset}{kept}")?;
    }
    if found.unnamed > 0 {
        let keys = units::counted(found.unnamed, "lost key", "lost keys");
        writeln!(out, "{keys} more cannot be read")?;
    }
    for name in &found.renamed {
        writeln!(out, "table: {name}: the name is made up, its own is lost")?;
    }
    let places = match found.lost.len() {
        0 => "nothing lost".to_owned(),
        places => units::counted(places as u64, "place lost", "places lost"),
    };
    let entries = units::counted(found.entries, "entry", "entries");
    let records = units::counted(found.records, "record", "records");
    let segments = units::counted(found.segments, "segment", "segments");
    let bytes = units::size(found.bytes);
    writeln!(out, "{places}: salvaged {entries} from {records}, {bytes}, in {segments}")?;
    Ok(())
}

//! `compact`: space that is dead becomes free.

use crate::{Outcome, jsonl, open, output, progress, units};
use anyhow::Result;
use mapstone::Compaction;
use serde::Serialize;
use std::{io::Write, path::PathBuf};

/// Move what is live out of segments that are mostly dead, and remove these; the index shrinks as well
///
/// Needs the store for itself as a writer: while another process has it open for writing, that one compacts in the
/// background. Readers go on; what a snapshot may need stays until it is dropped. May be interrupted at any time.
#[derive(clap::Args)]
pub(crate) struct Args {
    store: PathBuf,
    /// One JSON object, bytes: read, moved, freed, and the count of segments that snapshots hold
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    read_bytes: u64,
    moved_bytes: u64,
    freed_bytes: u64,
    held_segments: u64,
}

impl From<Compaction> for Report {
    fn from(done: Compaction) -> Self {
        Self {
            read_bytes: done.read,
            moved_bytes: done.moved,
            freed_bytes: done.freed,
            held_segments: done.held,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let store = open::existing(&args.store)?;
    let bar = progress::bytes("compact", None);
    let done = store.compact(|so_far| {
        bar.set_position(so_far.read);
        true
    });
    bar.finish_and_clear();
    let report = Report::from(done?);
    store.close()?;
    let mut out = output::stdout();
    if args.json {
        jsonl::write(&mut out, &report)?;
    } else {
        line(&report, &mut out)?;
    }
    out.flush()?;
    Ok(Outcome::Done)
}

fn line(report: &Report, out: &mut impl Write) -> Result<()> {
    let (freed, moved) = (units::size(report.freed_bytes), units::size(report.moved_bytes));
    write!(out, "{freed} freed, {moved} moved")?;
    if report.held_segments > 0 {
        let held = units::counted(report.held_segments, "segment", "segments");
        write!(out, "; {held} held by snapshots")?;
    }
    writeln!(out)?;
    Ok(())
}

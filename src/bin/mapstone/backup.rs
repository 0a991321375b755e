//! `backup`: a copy of the store as of now, made beside whoever writes.

use crate::{Outcome, jsonl, open, output, progress, units};
use anyhow::Result;
use mapstone::{Backup, BackupOptions};
use serde::Serialize;
use std::{io::Write, path::PathBuf};

/// Make a backup of the store, or bring an earlier one up to date; whoever writes goes on
///
/// DEST must be absent, empty, or an earlier backup of the same store to which nobody has written. It becomes a store like
/// any other: to restore it is to open it, or a copy of it. A backup that was cut short cannot be opened until this
/// command has been run again.
#[derive(clap::Args)]
pub(crate) struct Args {
    store: PathBuf,
    dest: PathBuf,
    /// Copy everything; without it finished segments are shared by hard links or copy on write where that can be
    #[arg(long)]
    copy: bool,
    /// One JSON object: position, continued, and the counts of segments and bytes
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    position: u64,
    continued: bool,
    kept: u64,
    linked: u64,
    cloned: u64,
    copied: u64,
    copied_bytes: u64,
    verified_bytes: u64,
    removed: u64,
}

impl From<Backup> for Report {
    fn from(made: Backup) -> Self {
        Self {
            position: made.position.as_u64(),
            continued: made.continued,
            kept: made.kept,
            linked: made.linked,
            cloned: made.cloned,
            copied: made.copied,
            copied_bytes: made.copied_bytes,
            verified_bytes: made.verified_bytes,
            removed: made.removed,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let store = open::for_reading(&args.store)?;
    let mut options = BackupOptions::new();
    options.copy(args.copy);
    let bar = progress::bytes("backup", Some(0));
    let made = store.backup_with(&args.dest, &options, |progress| {
        bar.set_length(progress.total.max(progress.done));
        bar.set_position(progress.done);
    });
    bar.finish_and_clear();
    let report = Report::from(made?);
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
    let Report { kept, linked, cloned, copied, removed, .. } = *report;
    let parts = [
        (kept, "kept"),
        (linked, "linked"),
        (cloned, "cloned"),
        (copied, "copied"),
        (removed, "removed"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", units::counted(*count, "segment", "segments")))
        .collect();
    let parts = if parts.is_empty() { "nothing new".to_owned() } else { parts.join(", ") };
    let (copied, verified) = (units::size(report.copied_bytes), units::size(report.verified_bytes));
    writeln!(out, "position {}: {parts}; {copied} copied, {verified} verified", report.position)?;
    Ok(())
}

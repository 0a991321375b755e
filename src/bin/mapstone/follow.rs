//! `follow`: a second store, kept in step with a first one.

use crate::{Outcome, jsonl, open, output, progress, units};
use anyhow::Result;
use mapstone::{Durability, Follower, Options, Step};
use serde::Serialize;
use std::{io::Write, path::PathBuf, time::Duration};

/// Keep the store DEST equal to STORE, until interrupted
///
/// DEST is created, or goes on where it was, also after a crash of either side: every commit of STORE is one of DEST, or part of
/// one. At first, and when compaction or a power cut has taken away what came next, everything is compared instead, and what
/// differs is written. Nobody else may write to DEST; anybody may read it.
#[derive(clap::Args)]
pub(crate) struct Args {
    store: PathBuf,
    dest: PathBuf,
    /// Have a cursor of this name in STORE keep from compaction what DEST does not have yet. It stays when this ends:
    /// `mapstone cursor` removes it
    #[arg(long, value_name = "NAME")]
    cursor: Option<String>,
    /// End when DEST is equal to STORE
    #[arg(long)]
    once: bool,
    /// One JSON object for each commit of DEST: commits, changes, compared, position
    #[arg(long)]
    json: bool,
}

#[derive(Serialize, Default)]
struct Report {
    commits: u64,
    changes: u64,
    compared: bool,
    position: Option<u64>,
}

/// How long to wait for a commit before the next look at whether everything is well.
const NAP: Duration = Duration::from_secs(3600);

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let source = open::for_reading(&args.store)?;
    let dest = Options::new().durability(Durability::Eventual).open(&args.dest)?;
    let mut follower = Follower::new(&source, &dest)?;
    if let Some(name) = &args.cursor {
        follower = follower.with_cursor(name)?;
    }
    let mut out = output::stdout();
    let mut all = Report::default();
    let spinner = progress::steps();
    let timeout = if args.once { Duration::ZERO } else { NAP };
    loop {
        match follower.step(timeout)? {
            Some(step) => all.add(&step, &follower, args.json, &mut out)?,
            None if args.once => break,
            None => {}
        }
        let position = follower.position().map_or(0, |position| position.as_u64());
        spinner.set_message(format!("at position {}", units::grouped(position)));
    }
    spinner.finish_and_clear();
    all.position = follower.position().map(|position| position.as_u64());
    dest.close()?;
    if !args.json {
        let commits = units::counted(all.commits, "commit", "commits");
        let changes = units::counted(all.changes, "change", "changes");
        let compared = if all.compared { ", after everything was compared" } else { "" };
        let position = units::grouped(all.position.unwrap_or_default());
        writeln!(out, "{commits} and {changes} followed{compared}; equal at position {position}")?;
    }
    out.flush()?;
    Ok(Outcome::Done)
}

impl Report {
    fn add(
        &mut self,
        step: &Step,
        follower: &Follower,
        json: bool,
        out: &mut impl Write,
    ) -> Result<()> {
        self.commits += step.commits;
        self.changes += step.changes;
        self.compared |= step.compared;
        self.position = follower.position().map(|position| position.as_u64());
        if json {
            let Step { commits, changes, compared, .. } = *step;
            jsonl::write(out, &Report { commits, changes, compared, position: self.position })?;
            out.flush()?;
        }
        Ok(())
    }
}

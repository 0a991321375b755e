//! `cursor`: who holds the log back by name, and the end of it.

use crate::{Outcome, jsonl, open, output, units};
use anyhow::Result;
use mapstone::CursorStats;
use serde::Serialize;
use std::{io::Write, path::PathBuf};

/// Print the cursors of a store and how much of the log each one keeps from compaction, or remove one
#[derive(clap::Args)]
pub(crate) struct Args {
    store: PathBuf,
    /// Remove the cursor of this name, whoever uses it; exit status 1 if there is none
    #[arg(long, value_name = "NAME")]
    remove: Option<String>,
    /// One JSON object a line: name, commit, position, held_bytes; or error, where its file is damaged
    #[arg(long, conflicts_with = "remove")]
    json: bool,
}

/// One cursor.
#[derive(Serialize)]
pub(crate) struct Row {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    held_bytes: u64,
}

impl From<CursorStats> for Row {
    fn from(cursor: CursorStats) -> Self {
        let CursorStats { name, at, held_bytes, .. } = cursor;
        let (at, error) = match at {
            Ok(at) => (Some(at), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let position = at.map(|at| at.position().as_u64());
        Self { name, commit: at.map(|at| at.to_string()), position, error, held_bytes }
    }
}

impl Row {
    /// Writes a line of text, as it stands in `stat` too.
    pub(crate) fn write(&self, committed: u64, out: &mut impl Write) -> Result<()> {
        let held = units::size(self.held_bytes);
        let name = &self.name;
        match (self.position, &self.error) {
            (Some(position), _) => {
                let behind = units::size(committed.saturating_sub(position));
                let position = units::grouped(position);
                writeln!(
                    out,
                    "cursor        {name} at position {position}, {behind} behind, keeps {held}"
                )?;
            }
            (None, error) => {
                let error = error.as_deref().unwrap_or_default();
                writeln!(out, "cursor        {name} keeps everything: {error}")?;
            }
        }
        Ok(())
    }
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let store = open::for_reading(&args.store)?;
    if let Some(name) = &args.remove {
        let removed = store.remove_cursor(name)?;
        return Ok(if removed { Outcome::Done } else { Outcome::Absent });
    }
    let committed = store.position().as_u64();
    let mut out = output::stdout();
    for row in store.cursors()?.into_iter().map(Row::from) {
        if args.json {
            jsonl::write(&mut out, &row)?;
        } else {
            row.write(committed, &mut out)?;
        }
    }
    out.flush()?;
    Ok(Outcome::Done)
}

//! `watch`: what is committed, as it is committed, in whichever process.

use crate::{Outcome, escape::escape_into, jsonl, jsonl::Line, open, output};
use anyhow::Result;
use mapstone::{Bookmark, Change, Changes, Commit};
use serde::Serialize;
use std::{ffi::OsString, io::Write, os::unix::ffi::OsStrExt, path::PathBuf, time::Duration};

/// Print what is committed from now on, one change a line, until interrupted
///
/// A line has the commit, the change (put, delete, create-table, drop-table), the table (empty for the default one), the key and the
/// value, TABs between them, escaped as in TSV (`export --help`). The changes of one commit follow each other. To go on later, give
/// the commit of the last line to --from.
#[derive(clap::Args)]
pub(crate) struct Args {
    store: PathBuf,
    /// After this commit: one that a line began with, or 0 for all. An error if compaction has removed what came after it
    #[arg(long, value_name = "COMMIT")]
    from: Option<Bookmark>,
    /// Only of this table
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// Only keys that begin with these bytes
    #[arg(long, value_name = "BYTES")]
    prefix: Option<OsString>,
    /// End when there is nothing more at the moment
    #[arg(long)]
    once: bool,
    /// One JSON object a line: commit, version, change, table, key and value as `export --format jsonl` writes them
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    commit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    change: &'static str,
    #[serde(flatten)]
    line: Line<'a>,
}

/// Longer than anybody waits.
const LONG: Duration = Duration::from_secs(1 << 30);

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let store = open::for_reading(&args.store)?;
    let from = args.from.unwrap_or_else(|| store.position().into());
    let mut changes = store.changes(from)?;
    let mut out = output::stdout();
    while let Some(commit) = next(&mut changes, args.once)? {
        print(args, &commit, &mut out)?;
        out.flush()?;
    }
    Ok(Outcome::Done)
}

fn next(changes: &mut Changes, once: bool) -> Result<Option<Commit<'_>>> {
    Ok(if once { changes.next_commit()? } else { changes.wait(LONG)? })
}

fn print(args: &Args, commit: &Commit<'_>, out: &mut impl Write) -> Result<()> {
    let at = commit.bookmark().to_string();
    for change in commit {
        let change = change?;
        let Some((what, table, key, value, version)) = parts(&change) else { continue };
        let of_table = args.table.as_deref().is_none_or(|wanted| table == Some(wanted));
        let of_prefix = args
            .prefix
            .as_ref()
            .is_none_or(|prefix| key.is_some_and(|key| key.starts_with(prefix.as_bytes())));
        if !of_table || !of_prefix {
            continue;
        }
        if args.json {
            let line = Line::of_change(table, key, value);
            jsonl::write(out, &Report { commit: at.clone(), version, change: what, line })?;
        } else {
            let mut line = format!("{at}\t{what}").into_bytes();
            for field in [table.map(str::as_bytes), key, value] {
                line.push(b'\t');
                escape_into(field.unwrap_or_default(), &mut line);
            }
            line.push(b'\n');
            out.write_all(&line)?;
        }
    }
    Ok(())
}

type Parts<'a> = (&'static str, Option<&'a str>, Option<&'a [u8]>, Option<&'a [u8]>, Option<u64>);

fn parts<'a>(change: &'a Change<'_>) -> Option<Parts<'a>> {
    Some(match change {
        Change::Put { table, key, value, version } => {
            ("put", *table, Some(key), Some(value.bytes()), Some(version.as_u64()))
        }
        Change::Delete { table, key, version } => {
            ("delete", *table, Some(key), None, Some(version.as_u64()))
        }
        Change::CreateTable { table } => ("create-table", Some(table), None, None, None),
        Change::DropTable { table } => ("drop-table", Some(table), None, None, None),
        _ => return None,
    })
}

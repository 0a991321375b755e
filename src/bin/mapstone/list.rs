//! `list`: the keys, or whole entries, or the names of the tables.

use crate::{
    Outcome,
    arguments::TableArgument,
    escape::escape_into,
    jsonl::{self, Line},
    open, output, tsv,
};
use anyhow::Result;
use mapstone::Snapshot;
use serde::Serialize;
use std::{ffi::OsString, io::Write, os::unix::ffi::OsStrExt, path::PathBuf};

/// Print the keys, one a line, escaped as in TSV (`export --help`), in no particular order
#[derive(clap::Args)]
pub(crate) struct Args {
    store: PathBuf,
    /// The values too, after a TAB
    #[arg(long)]
    values: bool,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Only keys that begin with these bytes
    #[arg(long, value_name = "BYTES", default_value = "", hide_default_value = true)]
    prefix: OsString,
    #[command(flatten)]
    table: TableArgument,
    /// The names of the named tables instead
    #[arg(long, conflicts_with_all = ["values", "prefix", "name"])]
    tables: bool,
    /// One JSON object a line: key (or key_base64) and value_bytes, its length; with --values as `export` writes it;
    /// with --tables the table's name
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct KeyLine<'a> {
    #[serde(flatten)]
    key: Line<'a>,
    value_bytes: usize,
}

#[derive(Serialize)]
struct TableLine<'a> {
    table: &'a str,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let store = open::for_reading(&args.store)?;
    let snapshot = store.snapshot()?;
    let mut out = output::stdout();
    if args.tables {
        tables(args, &snapshot, &mut out)?;
    } else {
        entries(args, &open::table(snapshot, args.table.name.as_deref())?, &mut out)?;
    }
    out.flush()?;
    Ok(Outcome::Done)
}

fn tables(args: &Args, snapshot: &Snapshot, out: &mut impl Write) -> Result<()> {
    let mut line = Vec::new();
    for name in snapshot.tables()?.iter().take(args.limit.unwrap_or(usize::MAX)) {
        if args.json {
            jsonl::write(out, &TableLine { table: name })?;
        } else {
            line.clear();
            escape_into(name.as_bytes(), &mut line);
            line.push(b'\n');
            out.write_all(&line)?;
        }
    }
    Ok(())
}

fn entries(args: &Args, table: &Snapshot, out: &mut impl Write) -> Result<()> {
    let mut line = Vec::new();
    let mut left = args.limit.unwrap_or(usize::MAX);
    for entry in table.iter() {
        let (key, value) = entry?;
        if !key.starts_with(args.prefix.as_bytes()) {
            continue;
        }
        let Some(less) = left.checked_sub(1) else {
            break;
        };
        left = less;
        match (args.json, args.values) {
            (true, true) => jsonl::write(out, &Line::of_entry(None, key, &value))?,
            (true, false) => {
                jsonl::write(out, &KeyLine { key: Line::of_key(key), value_bytes: value.len() })?
            }
            (false, true) => tsv::write(out, &mut line, key, &value)?,
            (false, false) => {
                line.clear();
                escape_into(key, &mut line);
                line.push(b'\n');
                out.write_all(&line)?;
            }
        }
    }
    Ok(())
}

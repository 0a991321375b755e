//! `verify`: reads everything and says which file is damaged where.

use crate::{Outcome, jsonl, open, output, units};
use anyhow::Result;
use mapstone::{Error, Verification};
use serde::Serialize;
use std::{
    io::Write,
    path::{Path, PathBuf},
};

/// Read and check every file of the store; exit status 3 where there is damage, one line each
#[derive(clap::Args)]
pub(crate) struct Args {
    store: PathBuf,
    /// One JSON object: ok, position, the counts (null where the store does not open), damage
    #[arg(long)]
    json: bool,
}

#[derive(Serialize, Default)]
struct Report {
    ok: bool,
    position: Option<u64>,
    segments: Option<u64>,
    records: Option<u64>,
    bytes: Option<u64>,
    entries: Option<u64>,
    pages: Option<u64>,
    damage: Vec<Damaged>,
}

#[derive(Serialize)]
struct Damaged {
    file: String,
    offset: u64,
    expected: String,
    found: String,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let report = match check(&args.store) {
        Ok(verification) => Report::from(&verification),
        // Damage that keeps the store from opening is damage found.
        Err(Error::Corrupt { file, offset, expected, found, .. }) => Report {
            damage: vec![Damaged::new(&file, offset, &expected, &found)],
            ..Report::default()
        },
        Err(error) => return Err(error.into()),
    };
    let mut out = output::stdout();
    if args.json {
        jsonl::write(&mut out, &report)?;
    } else {
        lines(&report, &mut out)?;
    }
    out.flush()?;
    Ok(if report.ok { Outcome::Done } else { Outcome::Damaged })
}

fn check(path: &Path) -> Result<Verification, Error> {
    open::for_reading(path)?.verify()
}

impl From<&Verification> for Report {
    fn from(found: &Verification) -> Self {
        Self {
            ok: found.is_ok(),
            position: Some(found.position.as_u64()),
            segments: Some(found.segments),
            records: Some(found.records),
            bytes: Some(found.bytes),
            entries: Some(found.entries),
            pages: Some(found.pages),
            damage: found
                .damage
                .iter()
                .map(|d| Damaged::new(&d.file, d.offset, &d.expected, &d.found))
                .collect(),
        }
    }
}

impl Damaged {
    fn new(file: &Path, offset: u64, expected: &impl ToString, found: &impl ToString) -> Self {
        Self {
            file: file.display().to_string(),
            offset,
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }
}

fn lines(report: &Report, out: &mut impl Write) -> Result<()> {
    for Damaged { file, offset, expected, found } in &report.damage {
        writeln!(out, "{file}: offset {offset}: expected {expected}, found {found}")?;
    }
    if let Report { segments: Some(segments), records: Some(records), bytes: Some(bytes), .. } =
        *report
    {
        let damage = match report.damage.len() {
            0 => "no damage".to_owned(),
            places => units::counted(places as u64, "damaged place", "damaged places"),
        };
        let segments = units::counted(segments, "segment", "segments");
        let records = units::counted(records, "record", "records");
        let pages = units::counted(report.pages.unwrap_or(0), "index page", "index pages");
        writeln!(out, "{damage}: {segments}, {records}, {}, {pages} read", units::size(bytes))?;
    }
    Ok(())
}

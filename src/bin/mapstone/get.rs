//! `get`: the bytes of one value, nothing added.

use crate::{
    Outcome,
    arguments::{KeyArgument, TableArgument},
    open, output,
};
use anyhow::Result;
use std::{io::Write, path::PathBuf};

/// Print the value of one key, its bytes and nothing else; exit status 1 where the key is absent
#[derive(clap::Args)]
pub(crate) struct Args {
    store: PathBuf,
    #[command(flatten)]
    key: KeyArgument,
    #[command(flatten)]
    table: TableArgument,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let key = args.key.bytes()?;
    let store = open::for_reading(&args.store)?;
    let table = open::table(store.snapshot()?, args.table.name.as_deref())?;
    let Some(value) = table.get(&key)? else {
        return Ok(Outcome::Absent);
    };
    let mut out = output::stdout();
    out.write_all(&value)?;
    out.flush()?;
    Ok(Outcome::Done)
}

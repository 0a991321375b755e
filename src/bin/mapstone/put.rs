//! `put`: one key, one value, one commit.

use crate::{
    Outcome,
    arguments::{Durability, KeyArgument, TableArgument},
};
use anyhow::{Context, Result};
use mapstone::Options;
use std::{
    ffi::{OsStr, OsString},
    io::Read,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

/// Write one key; the store is created where there is none
#[derive(clap::Args)]
pub(crate) struct Args {
    store: PathBuf,
    #[command(flatten)]
    key: KeyArgument,
    /// The value, taken byte for byte; `-` reads standard input to its end
    #[arg(allow_negative_numbers = true)]
    value: OsString,
    #[command(flatten)]
    table: TableArgument,
    /// When the command returns: immediate, the default, once the value is on the disk
    #[arg(long, default_value = "immediate")]
    durability: Durability,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let key = args.key.bytes()?;
    // Before the store is opened: nobody should wait for the writer's lock while a slow pipe is read.
    let value = value(&args.value)?;
    let store = Options::new().durability(args.durability.into()).open(&args.store)?;
    match &args.table.name {
        Some(name) => store.table(name)?.put(&key, &value)?,
        None => store.put(&key, &value)?,
    }
    store.close()?;
    Ok(Outcome::Done)
}

fn value(argument: &OsStr) -> Result<Vec<u8>> {
    if argument != "-" {
        return Ok(argument.as_bytes().to_vec());
    }
    let mut value = Vec::new();
    std::io::stdin().lock().read_to_end(&mut value).context("read standard input")?;
    Ok(value)
}

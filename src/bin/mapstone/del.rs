//! `del`: one key, one commit.

use crate::{
    Outcome,
    arguments::{KeyArgument, TableArgument},
    open,
};
use anyhow::Result;
use std::path::PathBuf;

/// Delete one key, durably; exit status 1 where the key is absent
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
    let store = open::existing(&args.store)?;
    let deleted = match &args.table.name {
        Some(name) => {
            // Asking the writer for a table creates it, which a deletion should not.
            open::table(store.snapshot()?, Some(name))?;
            store.table(name)?.delete(&key)?
        }
        None => store.delete(&key)?,
    };
    store.close()?;
    Ok(if deleted { Outcome::Done } else { Outcome::Absent })
}

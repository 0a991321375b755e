//! Opening a store to read it, recovering it first where its writer was killed.

use anyhow::{Context, Result};
use mapstone::{Error, Options, Snapshot, Store};
use std::path::Path;

/// Opens read-only where possible, so that reading works beside a live writer and without write permission.
///
/// A store that a killed writer left behind needs recovery, which only a writer does: then the handle is one.
pub(crate) fn for_reading(path: &Path) -> Result<Store, Error> {
    match Store::open_read_only(path) {
        Err(Error::NeedsRecovery { .. }) => match existing(path) {
            // Another process became the writer in between, and recovered the store: read beside it.
            Err(Error::Locked { .. }) => Store::open_read_only(path),
            recovered => recovered,
        },
        opened => opened,
    }
}

/// Opens the writer of a store that must exist already.
pub(crate) fn existing(path: &Path) -> Result<Store, Error> {
    Options::new().create(false).durability(mapstone::Durability::Immediate).open(path)
}

/// The named table at the snapshot's position, or the default one.
pub(crate) fn table(snapshot: Snapshot, name: Option<&str>) -> Result<Snapshot> {
    match name {
        None => Ok(snapshot),
        Some(name) => {
            snapshot.table(name)?.with_context(|| format!("the store has no table {name:?}"))
        }
    }
}

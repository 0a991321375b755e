//! Where the tour's store is: at the path that was asked for, or in a temporary directory that goes with the tour.

use anyhow::{Context, Result};
use std::{
    cell::Cell,
    fs::{self, DirBuilder},
    hash::{BuildHasher, Hasher, RandomState},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

pub(crate) struct Place {
    store: PathBuf,
    /// Removed on drop.
    temporary: Option<PathBuf>,
    kept: Cell<bool>,
}

impl Place {
    pub(crate) fn new(asked: Option<&Path>) -> Result<Self> {
        if let Some(path) = asked {
            return Ok(Self { store: path.to_owned(), temporary: None, kept: Cell::new(true) });
        }
        let name = format!("mapstone-tour-{:016x}", RandomState::new().build_hasher().finish());
        let directory = std::env::temp_dir().join(name);
        // It must not be there yet: in a shared directory, somebody else may have put it there.
        DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .with_context(|| format!("create {}", directory.display()))?;
        Ok(Self {
            store: directory.join("store"),
            temporary: Some(directory),
            kept: Cell::new(false),
        })
    }

    pub(crate) fn store(&self) -> &Path {
        &self.store
    }

    /// After a failure the store is kept, to be looked at; says where.
    pub(crate) fn leave_behind(&self) -> String {
        self.kept.set(true);
        format!("tour, with the store left at {}", self.store.display())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(directory) = self.temporary.as_ref().filter(|_| !self.kept.get()) {
            // A temporary directory that stays is no reason to fail.
            let _ = fs::remove_dir_all(directory);
        }
    }
}

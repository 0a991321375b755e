//! The arguments that several commands share: a key, a table, a durability.

use crate::escape;
use anyhow::{Context, Result};
use std::{ffi::OsString, os::unix::ffi::OsStrExt};

#[derive(clap::Args)]
pub(crate) struct KeyArgument {
    /// The key, taken byte for byte (after `--` it may begin with a hyphen)
    key: OsString,
    /// KEY is written with the escapes that `list` prints: \t \n \r \\ \xHH
    #[arg(short, long)]
    escaped: bool,
}

impl KeyArgument {
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        let bytes = self.key.as_bytes();
        if self.escaped { escape::unescape(bytes).context("the key") } else { Ok(bytes.to_vec()) }
    }
}

#[derive(clap::Args)]
pub(crate) struct TableArgument {
    /// The named table, instead of the store's default one
    #[arg(long = "table", value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// When a commit counts as done.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Durability {
    /// On the disk before the command goes on: survives a power cut
    Immediate,
    /// Synced later: survives this process's death, but a power cut may take the newest commits
    Eventual,
}

impl From<Durability> for mapstone::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Immediate => Self::Immediate,
            Durability::Eventual => Self::Eventual,
        }
    }
}

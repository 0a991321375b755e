//! What the work sets ask of a store, and the list of the stores.

use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::peers;

/// What a write has to survive once it has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Survives {
    /// Nothing: it may be gone with the process.
    Nothing,
    /// SIGKILL of the process, not a power cut.
    Kill,
    /// A power cut.
    Power,
}

impl Survives {
    pub fn text(self) -> &'static str {
        match self {
            Survives::Nothing => "nothing",
            Survives::Kill => "SIGKILL",
            Survives::Power => "power cut",
        }
    }
}

/// What stores with a cache of their own get for it, unless memory is what is measured.
pub const CACHE: usize = 1 << 30;

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Keys it will hold, for those stores whose manual says to size them.
    pub keys: u64,
    /// What commits are asked to survive: `Kill` or `Power`.
    pub ask: Survives,
    /// Bytes of a cache that the store has for itself, beside the page cache.
    pub cache: usize,
    /// For reading, beside a writer in another process.
    pub read_only: bool,
}

impl Setup {
    /// Memory does not hold the store.
    pub fn is_tight(&self) -> bool {
        self.cache < CACHE
    }
}

pub enum Op<'a> {
    Put(&'a [u8], &'a [u8]),
    Delete(&'a [u8]),
}

impl Op<'_> {
    pub fn key(&self) -> &[u8] {
        match self {
            Op::Put(key, _) | Op::Delete(key) => key,
        }
    }
}

/// Gets within one session. A store with read transactions has one for the session.
pub trait Reader {
    /// Shows the value of `key` to `found`; false if there is none.
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool>;

    /// Shows the values that there are, each with the place of its key in `keys`.
    fn get_many(&mut self, keys: &[&[u8]], found: &mut dyn FnMut(usize, &[u8])) -> Result<()> {
        for (place, key) in keys.iter().enumerate() {
            self.get(key, &mut |value| found(place, value))?;
        }
        Ok(())
    }
}

/// One open store.
pub trait Peer: Send + Sync {
    /// Runs `session` with a reader that sees everything committed before.
    fn read(&self, session: &mut dyn FnMut(&mut dyn Reader) -> Result<()>) -> Result<()>;

    /// Applies all operations, as one transaction where the store has them, and returns once they survive what was asked for.
    fn commit(&self, ops: &[Op]) -> Result<()>;

    /// Called before `iterate`: brings in what was committed and cannot be iterated yet.
    fn catch_up(&mut self) -> Result<()> {
        Ok(())
    }

    /// Shows every value once.
    fn iterate(&self, each: &mut dyn FnMut(&[u8])) -> Result<()>;

    /// Gives space back; false if the store has no such call.
    fn compact(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn close(self: Box<Self>) -> Result<()>;
}

/// A store, before it is opened.
pub struct Kind {
    pub name: &'static str,
    /// What an unsynced commit survives.
    pub unsynced: Survives,
    /// It has a commit that survives a power cut.
    pub durable: bool,
    /// A batch is seen whole or not at all.
    pub atomic: bool,
    /// Other processes can read while one writes, and see the writes.
    pub shared: bool,
    /// There is something to open again.
    pub persistent: bool,
    /// It has a call of its own for many keys.
    pub many: bool,
    /// No store: it does the least of what stores do, shows what the machine can, and is not ranked among them.
    pub floor: bool,
    /// What was put can be had again; otherwise nothing but durable commits is measured.
    pub readable: bool,
    /// Bytes of the longest value.
    pub longest: usize,
    pub open: fn(&Path, Setup) -> Result<Box<dyn Peer>>,
}

impl Kind {
    /// What a commit survives when it is asked to survive `ask`; None if the store has no such commit.
    pub fn survives(&self, ask: Survives) -> Option<Survives> {
        match ask {
            Survives::Power => self.durable.then_some(Survives::Power),
            _ => Some(self.unsynced),
        }
    }
}

/// A persistent store with transactions, for one process; what differs is said with it.
pub const PLAIN: Kind = Kind {
    name: "",
    unsynced: Survives::Kill,
    durable: true,
    atomic: true,
    shared: false,
    persistent: true,
    many: false,
    floor: false,
    readable: true,
    longest: usize::MAX,
    open: |_, _| anyhow::bail!("not a store"),
};

/// All that were compiled in.
pub fn kinds() -> Vec<&'static Kind> {
    vec![
        &peers::hashmap::KIND,
        &peers::mapstone::KIND,
        &peers::mapstone::HUGE,
        &peers::bare::KIND,
        &peers::bare::HUGE,
        &peers::floor::KIND,
        #[cfg(feature = "heed")]
        &peers::heed::KIND,
        #[cfg(feature = "libmdbx")]
        &peers::libmdbx::KIND,
        #[cfg(feature = "redb")]
        &peers::redb::KIND,
        #[cfg(feature = "fjall")]
        &peers::fjall::KIND,
        #[cfg(has_rocksdb)]
        &peers::rocksdb::KIND,
        #[cfg(feature = "sled")]
        &peers::sled::KIND,
        #[cfg(feature = "candystore")]
        &peers::candystore::KIND,
        #[cfg(feature = "parity-db")]
        &peers::parity_db::KIND,
        #[cfg(feature = "simd-r-drive")]
        &peers::simd_r_drive::KIND,
        #[cfg(feature = "sqlite")]
        &peers::sqlite::KIND,
        #[cfg(has_kyoto)]
        &peers::kyoto::KIND,
        #[cfg(has_tkrzw)]
        &peers::tkrzw::KIND,
    ]
}

/// The name is that of a floor, which is not ranked among stores.
pub fn is_floor(name: &str) -> bool {
    kinds().iter().any(|kind| kind.floor && kind.name == name)
}

pub fn kind(name: &str) -> Result<&'static Kind> {
    kinds()
        .into_iter()
        .find(|kind| kind.name == name)
        .ok_or_else(|| anyhow::anyhow!("no store {name} was compiled in"))
}

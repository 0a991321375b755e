//! What the tour did and how long it took.

use super::{READERS, files::Tally, load::Loaded, marks::Mark, recovered::Recovered, speed::Speed};
use mapstone::Stats;
use std::time::Duration;

/// A batch that the writer has committed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Commit {
    pub(crate) mark: Mark,
    pub(crate) position: u64,
    /// Of all files up to this batch.
    pub(crate) bytes: u64,
}

/// The load up to the kill.
#[derive(Default)]
pub(crate) struct Load {
    /// Per cent of the tree's batches to wait for, chosen at random.
    pub(crate) share: u64,
    /// The newest commit that the writer had acknowledged.
    pub(crate) acknowledged: Commit,
    pub(crate) took: Duration,
    /// What each reader had compared when the writer was killed.
    pub(crate) seen: [Tally; READERS],
}

#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) load: Load,
    pub(crate) recovery: Duration,
    pub(crate) recovered: Recovered,
    pub(crate) finish: Loaded,
    pub(crate) finish_time: Duration,
    /// What each reader compared in all.
    pub(crate) readers: [Tally; READERS],
    pub(crate) compared: Tally,
    pub(crate) compare_time: Duration,
    /// Bytes read by `verify`.
    pub(crate) verified: u64,
    pub(crate) verify_time: Duration,
    pub(crate) speed: Speed,
    pub(crate) reopen: Duration,
    pub(crate) stats: Option<Stats>,
}

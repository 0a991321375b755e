//! The store: one handle's view of meta, index and log, and how they work together.

mod ahead;
mod background;
mod backup;
mod batch;
mod checkpoint;
mod clean;
mod commit;
mod compact;
mod create;
mod cursors;
mod door;
mod durable;
mod feed;
mod figures;
mod gate;
mod hold;
mod iterate;
mod locks;
mod loss;
mod many;
mod marks;
mod open;
mod plan;
mod plausible;
mod progress;
#[cfg(all(test, loom))]
mod races;
mod read;
mod rebuild;
mod recover;
mod removed;
mod replica;
mod salvage;
mod segments;
mod shared;
mod single;
mod space;
mod span;
mod syncer;
mod tables;
#[cfg(all(test, not(loom)))]
mod tests;
mod turn;
mod verify;
mod wait;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

pub(crate) use ahead::Ahead;
pub(crate) use background::Background;
pub use backup::Backup;
pub(crate) use batch::{Op, check};
pub use compact::Compaction;
pub(crate) use compact::Effort;
pub(crate) use create::{LOCK, holds_nothing_else};
pub use cursors::CursorStats;
pub(crate) use feed::Feed;
pub use figures::Stats;
pub(crate) use iterate::Walk;
pub use marks::Holder;
pub use progress::Progress;
pub(crate) use read::{Found, Reader};
pub(crate) use replica::{FOLLOWED, Followed};
pub(crate) use salvage::{Damaged, Item};
pub use salvage::{Extent, LostKey, Salvage};
pub use segments::SegmentStats;
pub(crate) use tables::{CATALOGUE, DEFAULT_TABLE, named};
pub(crate) use turn::{Loan, Turn};
pub use verify::{Damage, Verification};

use crate::cells::Cells;
use crate::error::{Error, Result};
use crate::faults::{Bug, planted};
use crate::format::hash::Hasher;
use crate::format::meta::{Counters, Superblock};
use crate::index::{Editor, Index};
use crate::log::{Log, Tail};
use crate::options::{Durability, Options};
use crate::sys::sync::{AtomicU64, Mutex, MutexGuard};
use crate::sys::{Disk, File};
use crate::usage::Usage;
use gate::Gate;
use hold::Hold;
use syncer::Syncer;
use wait::Bell;

/// One open store. Reads need nothing else; `writer` is there if this handle may write.
#[derive(Debug)]
pub(crate) struct Engine {
    disk: Arc<dyn Disk>,
    superblock: Superblock,
    cells: Arc<Cells>,
    index: Index,
    log: Log,
    usage: Usage,
    marks: marks::Marks,
    hasher: Hasher,
    verify_on_read: bool,
    /// Mappings that are lost are marked.
    guarded: bool,
    /// How many losses the process had seen when all mappings of this handle were last found whole.
    losses_seen: AtomicU64,
    /// What stays where it is behind the end of the log, and how far that may be stretched.
    #[cfg(any(test, feature = "sim"))]
    rigged_span: (u64, u64),
    /// What an iteration puts in order at once.
    #[cfg(any(test, feature = "sim"))]
    rigged_iteration: Option<(usize, usize, u64)>,
    writer: Option<WriterHalf>,
    bell: wait::Shared,
    /// Held open for its shared lock: recovery after a power cut waits until nobody reads.
    meta: Arc<dyn File>,
}

/// What only the writing handle has.
#[derive(Debug)]
struct WriterHalf {
    state: Gate<Writer>,
    syncer: Syncer,
    /// One checkpoint at a time; holds the sequence of the one whose file is to be overwritten next.
    checkpointer: Mutex<()>,
    /// Where the last checkpoint was captured, or tried, so that a failing one is not tried at every commit.
    attempted: AtomicU64,
    /// Sequence of the last checkpoint of this handle that is durable.
    durable_sequence: AtomicU64,
    /// The index has changed in ways that no commit tells, so that a checkpoint is not for nothing.
    touched: AtomicBool,
    /// This handle has committed something, and has looked at the files before that.
    begun: AtomicBool,
    compactor: Mutex<compact::Compactor>,
    /// This handle unlinks a segment, and that may not be durable yet.
    unlinking: AtomicBool,
    /// Number of the oldest segment.
    oldest: AtomicU64,
    /// Rung at every commit.
    bell: Arc<Bell>,
    background: Background,
    ahead: Ahead,
    durability: Durability,
    /// How many percent of the log may be dead before compaction begins in the background; None for no such thing.
    compaction: Option<u8>,
    checkpoint_interval: u64,
    /// There is one writer.
    hold: Hold,
    /// The locks of those who share the store, if this handle does.
    shared: Option<shared::Shared>,
    /// How long a write waits for its turn.
    lock_timeout: Option<std::time::Duration>,
    /// Whose code runs during a turn.
    lender: turn::Lender,
}

/// The writer's state, under its mutex. All that a successor needs of it is in the live cells and the log.
#[derive(Debug)]
pub(crate) struct Writer {
    tail: Tail,
    counters: Counters,
    editor: Editor,
    /// The clean record stands: it has to go before anything changes.
    clean: bool,
    /// A batch has its commit mark but is not in the index yet, because that was out of space: it comes first.
    unfinished: bool,
    /// A count of what is live in a segment, under way.
    recount: Option<compact::Recount>,
    /// Ids of tables that are known to exist.
    tables: std::collections::HashSet<u32>,
    plans: plan::Plans,
    /// Where the log's end is to be when pages ahead of it are next asked for.
    ask_at: u64,
    /// Before this position a store to the log may make much dirty.
    coarse: u64,
    /// Memory for a record that is written by its file, used again by every commit.
    staged: Vec<u8>,
    /// The number that the turns of all who share the store had when this handle's last one ended.
    turn: u64,
}

impl Engine {
    pub(crate) fn path(&self) -> &std::path::Path {
        self.disk.root()
    }

    /// Where the file `name` of this store is, for messages.
    fn file(&self, name: &str) -> PathBuf {
        self.disk.root().join(name)
    }

    /// End of the last commit.
    #[inline]
    pub(crate) fn committed(&self) -> u64 {
        if planted(Bug::StaleReader) && self.writer.is_none() {
            return self.cells.committed_before();
        }
        self.cells.committed()
    }

    pub(crate) fn is_guarded(&self) -> bool {
        self.guarded
    }

    pub(crate) fn is_writer(&self) -> bool {
        self.writer.is_some()
    }

    /// The writing half, if this handle, in this process, may write.
    #[inline]
    fn writer(&self) -> Result<&WriterHalf> {
        // An error that is only made up if it is one costs nothing.
        let Some(writer) = &self.writer else { return Err(Error::ReadOnly) };
        if writer.hold.is_child() {
            return Err(Error::Forked);
        }
        Ok(writer)
    }

    /// The background thread's mailbox.
    pub(crate) fn background(&self) -> Option<&Background> {
        self.writer.as_ref().filter(|w| !w.hold.is_child()).map(|w| &w.background)
    }
}

/// The hash of a store's keys.
#[cfg(any(test, feature = "sim"))]
fn hasher(seed: u64, options: &Options) -> Hasher {
    Hasher::rigged(seed, options.hash_mask)
}

/// The hash of a store's keys.
#[cfg(not(any(test, feature = "sim")))]
fn hasher(seed: u64, _: &Options) -> Hasher {
    Hasher::new(seed)
}

impl WriterHalf {
    fn durable_sequence(&self) -> u64 {
        self.durable_sequence.load(Relaxed)
    }

    /// A commit that asks for this durability waits for a sync.
    fn is_durable(&self, durability: Option<Durability>) -> bool {
        durability.unwrap_or(self.durability) == Durability::Immediate
    }

    /// The index changes, and the next checkpoint has something to do.
    fn touched(&self) {
        self.touched.store(true, Relaxed);
    }

    fn is_touched(&self) -> bool {
        self.touched.load(Relaxed)
    }

    /// The writer lock.
    #[inline]
    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.state.lock()
    }
}

//! A memory-mapped, persistent, embeddable key-value store: a hash index over an append-only log, read without a copy, a lock
//! or a system call by any number of processes while one writes.
//!
//! ```
//! use mapstone::Store;
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("data.mapstone");
//! let store = Store::open(&path)?;
//! store.put("apple", "red")?;
//!
//! let mut batch = store.batch();
//! batch.put("banana", "yellow")?.put("cherry", "dark red")?.delete("apple")?;
//! batch.commit()?;
//!
//! let snapshot = store.snapshot()?;
//! store.put("banana", "brown")?;
//! assert_eq!(snapshot.get("banana")?.as_deref(), Some(&b"yellow"[..]));
//! assert_eq!(store.get("banana")?.as_deref(), Some(&b"brown"[..]));
//!
//! // Another handle, as another process would have it.
//! let reader = Store::open_read_only(&path)?;
//! assert_eq!(reader.get("cherry")?.as_deref(), Some(&b"dark red"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is kept when is the subject of [`Durability`]; what a mapped file means for your program is in the README under
//! "Caveats", how it works in docs/design.md, and what every byte means in docs/format.md.

#[cfg(not(all(target_endian = "little", target_pointer_width = "64")))]
compile_error!("mapstone needs a little-endian 64-bit target: its files are mapped as they are");
#[cfg(not(unix))]
compile_error!("mapstone needs a Unix: shared mappings, msync and flock");

#[forbid(unsafe_code)]
mod atomic;
#[forbid(unsafe_code)]
mod backup;
#[forbid(unsafe_code)]
mod batch;
#[forbid(unsafe_code)]
mod cells;
#[forbid(unsafe_code)]
mod changes;
#[forbid(unsafe_code)]
mod chunks;
#[forbid(unsafe_code)]
mod cursor;
#[forbid(unsafe_code)]
mod error;
#[forbid(unsafe_code)]
mod faults;
#[forbid(unsafe_code)]
mod follow;
#[forbid(unsafe_code)]
mod format;
#[forbid(unsafe_code)]
mod handle;
#[forbid(unsafe_code)]
mod index;
#[forbid(unsafe_code)]
mod keyspace;
#[forbid(unsafe_code)]
mod log;
#[forbid(unsafe_code)]
mod optimistic;
#[forbid(unsafe_code)]
mod options;
#[forbid(unsafe_code)]
mod pending;
#[forbid(unsafe_code)]
mod repair;
#[forbid(unsafe_code)]
mod savepoint;
#[forbid(unsafe_code)]
mod snapshot;
#[forbid(unsafe_code)]
mod store;
mod sys;
#[forbid(unsafe_code)]
mod table;
#[forbid(unsafe_code)]
mod transaction;
#[forbid(unsafe_code)]
mod usage;
#[forbid(unsafe_code)]
mod value;

/// The simulated disk that the tests run stores on, crash points and planted bugs. No stability promise.
#[cfg(any(test, feature = "sim"))]
#[doc(hidden)]
pub mod sim {
    pub use crate::faults::{Bug, CRASH_AT, PLANT, Point, at_points, plant};
    #[cfg(not(all(test, loom)))]
    pub use crate::sys::sim::*;
}

pub use batch::Batch;
pub use changes::{Change, Changes, Commit, CommitIter};
pub use cursor::Cursor;
pub use error::{Error, Result};
pub use follow::{Follower, Step};
pub use format::position::{Bookmark, Position};
pub use handle::Store;
pub use log::ReadAhead;
pub use optimistic::OptimisticTxn;
pub use options::{BackupOptions, Durability, Options};
pub use savepoint::Savepoint;
pub use snapshot::{Iter, Snapshot};
pub use store::{
    Backup, Compaction, CursorStats, Damage, Extent, Holder, LostKey, Progress, Salvage,
    SegmentStats, Stats, Verification,
};
pub use table::Table;
pub use transaction::WriteTxn;
pub use value::Value;

/// The README's programs are compiled and run by the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

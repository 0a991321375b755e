//! Reading and hashing the log's records, on as many threads as the machine has, for one that builds the index of them.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use crate::error::{Error, Result};
use crate::format::hash::Hash;
use crate::log::Record;
use crate::sys::Pin;

use super::super::CATALOGUE;
use super::super::progress::{Progress, Watch};
use super::build::Builder;
use super::{Extent, Ground};

/// Records that are passed on at once.
const CHUNK: usize = 2048;
/// Readers beyond these would only wait for the one that builds.
const MOST: usize = 8;

/// What the index has to know of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) hash: Hash,
    pub(super) position: u64,
    pub(super) size: u64,
    pub(super) put: bool,
    /// It is one of a table of the caller's.
    pub(super) entry: bool,
}

/// Passes all records to the builder, in any order.
pub(super) fn read(
    ground: &Ground<'_>,
    extents: &[Extent],
    builder: &mut Builder<'_>,
    watch: Watch<'_>,
) -> Result<()> {
    let total = extents.iter().map(|extent| extent.to - extent.from).sum();
    let next = AtomicUsize::new(0);
    let readers = thread::available_parallelism().map_or(1, usize::from).min(MOST);
    thread::scope(|scope| {
        let (send, receive) = sync_channel(2 * readers);
        for _ in 0..readers.min(extents.len()).max(1) {
            let (send, next) = (send.clone(), &next);
            scope.spawn(move || {
                while let Some(extent) = extents.get(next.fetch_add(1, Relaxed)) {
                    if let Err(error) = read_extent(ground, *extent, &send) {
                        // If nobody listens any more another one has failed.
                        let _ = send.send(Err(error));
                        return;
                    }
                }
            });
        }
        drop(send);
        let mut done = 0;
        for chunk in receive {
            let chunk: Vec<Found> = chunk?;
            done += chunk.iter().map(|found| found.size).sum::<u64>();
            builder.add(&chunk)?;
            watch(Progress { done, total });
        }
        Ok(())
    })
}

type Chunks = SyncSender<Result<Vec<Found>>>;

fn read_extent(ground: &Ground<'_>, extent: Extent, send: &Chunks) -> Result<()> {
    let pin = Pin::new();
    let log = ground.log.view(&pin);
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut position = extent.from;
    while position < extent.to {
        let record = log.record(position)?;
        if !record.verify() || record.end() > extent.to || record.is_lost() {
            let (name, offset) = record.place();
            let expected = format!("records up to position {}", extent.to);
            let file = ground.disk.root().join(name);
            return Err(Error::corrupt(file, offset, expected, "bytes that are no record"));
        }
        position = record.end();
        chunk.push(found(ground, &record));
        if chunk.len() == CHUNK {
            let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK));
            if send.send(Ok(full)).is_err() {
                return Ok(());
            }
        }
    }
    // As above.
    let _ = send.send(Ok(chunk));
    Ok(())
}

fn found(ground: &Ground<'_>, record: &Record<'_>) -> Found {
    let header = record.header();
    Found {
        hash: ground.hasher.hash(header.table, record.key()),
        position: record.position(),
        size: header.size(),
        put: record.is_put(),
        entry: header.table != CATALOGUE,
    }
}

//! Reading one key at one position: load the position first, find the newest version, walk back to the one that counts.

use crate::error::{Error, Result};
use crate::format::hash::Hash;
use crate::index::{First, Probe};
use crate::log::{Record, View};
use crate::sys::Pin;

use super::Engine;

/// A key's version that is visible: key and value in the mapping.
pub(crate) type Found<'a> = Record<'a>;

/// An engine and a pin: what is read stays mapped as long as both are borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'p> {
    pub(super) engine: &'p Engine,
    pub(super) log: View<'p>,
}

impl Engine {
    /// Reading under `pin`.
    #[inline]
    pub(crate) fn reader<'p>(&'p self, pin: &'p Pin) -> Reader<'p> {
        Reader { engine: self, log: self.log.view(pin) }
    }

    /// Reads at the last commit, holding no position: what finds nothing, or fails, starts again if what it needed may have been
    /// reclaimed meanwhile (invariant I15).
    #[inline]
    pub(crate) fn fresh<T>(&self, read: impl Fn(u64) -> Result<Option<T>>) -> Result<Option<T>> {
        loop {
            let at = self.committed();
            let found = read(at);
            if matches!(found, Ok(Some(_))) || self.is_fresh(at) {
                return found;
            }
        }
    }

    /// Whoever has read at `at` until now has missed nothing that has been reclaimed.
    #[inline]
    pub(crate) fn is_fresh(&self, at: u64) -> bool {
        // The horizon is never past the last commit, unless the cell is damaged.
        self.cells.horizon() <= at || self.committed() == at
    }

    /// The segment of that position, and all before it, are gone.
    #[cold]
    fn is_reclaimed(&self, position: u64) -> Result<bool> {
        Ok(self.log.numbers()?.first().is_some_and(|oldest| self.number(position) < *oldest))
    }

    /// Has pages of the index come one by one once those of the log do. Asked where something was mapped.
    pub(super) fn scatter_index(&self) {
        if self.log.is_crowded() {
            self.index.scatter();
        }
    }

    #[cold]
    pub(super) fn damaged(&self, record: &Record<'_>, expected: &str) -> Error {
        let (name, offset) = record.place();
        Error::corrupt(self.file(&name), offset, expected, "other bytes")
    }
}

impl<'p> Reader<'p> {
    /// The value of `key` in `table` as of commit position `at`.
    #[inline]
    pub(crate) fn get(self, table: u32, key: &[u8], at: u64) -> Result<Option<Found<'p>>> {
        let hash = self.engine.hasher.hash(table, key);
        if let Some(probe) = self.engine.index.enter(self.engine.index.begin(hash)) {
            let first = self.engine.index.first(&probe, at);
            if let Some(found) = self.conclude(&probe, first, table, key, at) {
                return Ok(found);
            }
        }
        self.get_hashed(hash, table, key, at)
    }

    /// Ends a lookup whose first look at the page settles it, as nearly all do; None sends the caller the long way.
    #[inline]
    pub(super) fn conclude(
        self,
        probe: &Probe,
        first: First,
        table: u32,
        key: &[u8],
        at: u64,
    ) -> Option<Option<Found<'p>>> {
        let First::Candidate(_, position) = first else {
            let absent = matches!(first, First::Absent(_));
            return (absent && (!self.engine.guarded || self.engine.vouch(None))).then_some(None);
        };
        let record = self.log.mapped(position)?;
        // A record is never visible later than at its own position.
        let visible = position < at || record.version() < at;
        if !visible
            || self.engine.verify_on_read
            || !record.is(table, key)
            || self.engine.index.moved(probe, false)
        {
            return None;
        }
        if self.engine.guarded && !self.engine.vouch(Some(record)) {
            return None;
        }
        Some(record.is_put().then_some(record))
    }

    /// The same with everything that may come in between: pages to map, colliding tags, chains, older versions.
    #[cold]
    pub(super) fn get_hashed(
        self,
        hash: Hash,
        table: u32,
        key: &[u8],
        at: u64,
    ) -> Result<Option<Found<'p>>> {
        let newest = self.engine.index.lookup(hash, at, |position| {
            let record = self.record(position)?;
            let is = record.is(table, key);
            self.engine.check_record(&record)?;
            Ok(is.then_some(record))
        });
        self.engine.scatter_index();
        let found = match newest {
            Ok(Some(record)) => self.visible(record, at),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        if self.engine.guarded { self.engine.vouched(found) } else { found }
    }

    /// The record at `position`; the loss of its segment is told as that.
    #[inline]
    pub(super) fn record(self, position: u64) -> Result<Record<'p>> {
        self.log.record(position).map_err(|error| match self.log.lost_at(position) {
            Some(number) if self.engine.guarded => self.engine.lost_segment(number),
            _ => error,
        })
    }

    /// Walks from a version back to the newest one that is visible at `at`; None if that is a tombstone or there is none.
    #[inline]
    pub(super) fn visible(self, mut record: Record<'p>, at: u64) -> Result<Option<Found<'p>>> {
        while record.version() >= at {
            let prev = record.header().prev;
            if prev == 0 {
                return Ok(None);
            }
            if prev >= record.position() {
                // A chain only ever leads back, so that a damaged one cannot be a circle.
                return Err(self.engine.damaged(&record, "a position before the record's own"));
            }
            self.engine.check_record(&record)?;
            record = match self.record(prev) {
                // A mark keeps every value that can be seen from it, but no tombstone (invariant I18), which is nothing as well.
                Err(_) if self.engine.is_reclaimed(prev)? => return Ok(None),
                older => older?,
            };
        }
        self.engine.check_record(&record)?;
        if self.engine.verify_on_read && !record.verify() {
            return Err(self.engine.damaged(&record, "a record with a valid checksum"));
        }
        Ok(record.is_put().then_some(record))
    }
}

//! Reading one key at one position: load the position first, find the newest version, walk back to the one that counts.

use crate::error::{Error, Result};
use crate::format::hash::Hash;
use crate::index::{First, Probe};
use crate::log::Record;

use super::Engine;

/// A key's version that is visible: key and value in the mapping.
pub(crate) type Found<'a> = Record<'a>;

impl Engine {
    /// The value of `key` in `table` as of commit position `at`.
    #[inline]
    pub(crate) fn get(&self, table: u32, key: &[u8], at: u64) -> Result<Option<Found<'_>>> {
        let hash = self.hasher.hash(table, key);
        if let Some(probe) = self.index.enter(self.index.begin(hash)) {
            let first = self.index.first(&probe, at);
            if let Some(found) = self.conclude(&probe, first, table, key, at) {
                return Ok(found);
            }
        }
        self.get_hashed(hash, table, key, at)
    }

    /// Ends a lookup whose first look at the page settles it, as nearly all do; None sends the caller the long way.
    #[inline]
    pub(super) fn conclude(
        &self,
        probe: &Probe,
        first: First,
        table: u32,
        key: &[u8],
        at: u64,
    ) -> Option<Option<Found<'_>>> {
        let First::Candidate(_, position) = first else {
            let absent = matches!(first, First::Absent(_));
            return (absent && (!self.guarded || self.vouch(None))).then_some(None);
        };
        let record = self.log.mapped(position)?;
        let plain = position < at && record.is_plain() && !self.verify_on_read;
        if !plain || !record.is(table, key) || self.index.moved(probe, false) {
            return None;
        }
        if self.guarded && !self.vouch(Some(record)) {
            return None;
        }
        Some(record.is_put().then_some(record))
    }

    /// The same with everything that may come in between: pages to map, colliding tags, chains, older versions.
    #[cold]
    pub(super) fn get_hashed(
        &self,
        hash: Hash,
        table: u32,
        key: &[u8],
        at: u64,
    ) -> Result<Option<Found<'_>>> {
        let newest = self.index.lookup(hash, at, |position| {
            let record = self.record(position)?;
            let is = record.is(table, key);
            self.check_record(&record)?;
            Ok(is.then_some(record))
        });
        let found = match newest {
            Ok(Some(record)) => self.visible(record, at),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        if self.guarded { self.vouched(found) } else { found }
    }

    /// The record at `position`; the loss of its segment is told as that.
    #[inline]
    pub(super) fn record(&self, position: u64) -> Result<Record<'_>> {
        self.log.record(position).map_err(|error| match self.log.lost_at(position) {
            Some(number) if self.guarded => self.lost_segment(number),
            _ => error,
        })
    }

    /// Walks from a version back to the newest one that is visible at `at`; None if that is a tombstone or there is none.
    #[inline]
    pub(super) fn visible<'a>(
        &'a self,
        mut record: Record<'a>,
        at: u64,
    ) -> Result<Option<Found<'a>>> {
        while record.version() >= at {
            let prev = record.header().prev;
            if prev == 0 {
                return Ok(None);
            }
            if prev >= record.position() {
                // A chain only ever leads back, so that a damaged one cannot be a circle.
                return Err(self.damaged(&record, "a position before the record's own"));
            }
            self.check_record(&record)?;
            record = self.record(prev)?;
        }
        self.check_record(&record)?;
        if self.verify_on_read && !record.verify() {
            return Err(self.damaged(&record, "a record with a valid checksum"));
        }
        Ok(record.is_put().then_some(record))
    }

    #[cold]
    pub(super) fn damaged(&self, record: &Record<'_>, expected: &str) -> Error {
        let (name, offset) = record.place();
        Error::corrupt(self.file(&name), offset, expected, "other bytes")
    }
}

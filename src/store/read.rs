//! Reading one key at one position: load the position first, find the newest version, walk back to the one that counts.

use crate::cells::Front;
use crate::error::{Error, Result};
use crate::index::{First, Way};
use crate::log::{Record, View};
use crate::sys::Pin;

use super::Engine;

/// A key's version that is visible: key and value in the mapping.
pub(crate) type Found<'a> = Record<'a>;

/// An engine and a pin: what is read stays mapped as long as both are borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'p> {
    pub(super) engine: &'p Engine,
    pub(super) front: Front<'p>,
    pub(super) log: View<'p>,
}

#[inline]
fn is_fresh(front: Front<'_>, at: u64) -> bool {
    // The horizon is never past the last commit, unless the cell is damaged.
    front.horizon() <= at || front.committed() == at
}

/// Has both pages that a record is likely to lie in read at once, where each would come by itself. How long it is stands in the first of
/// them: the mean of all has to do.
#[cold]
fn fetch(engine: &Engine, log: View<'_>, position: u64) {
    if let Some(counters) = engine.cells.counters() {
        log.fetch(position, counters.live_bytes / counters.entries.max(1));
    }
}

impl Engine {
    /// Reading under `pin`.
    #[inline]
    pub(crate) fn reader<'p>(&'p self, pin: &'p Pin) -> Reader<'p> {
        Reader { engine: self, front: self.cells.front(), log: self.log.view(pin) }
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

    /// What a look at a record finds may need another look: its checksum is asked for, or mappings can be lost.
    #[inline]
    pub(super) fn is_careful(&self) -> bool {
        self.guarded | self.verify_on_read
    }

    /// Whoever has read at `at` until now has missed nothing that has been reclaimed.
    pub(crate) fn is_fresh(&self, at: u64) -> bool {
        is_fresh(self.cells.front(), at)
    }

    /// The segment of that position, and all before it, are gone.
    #[cold]
    pub(super) fn is_reclaimed(&self, position: u64) -> Result<bool> {
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
    pub(crate) fn get(self, table: u32, key: &[u8], at: u64) -> Result<Option<Found<'p>>> {
        match self.get_quickly(table, key, at) {
            Some(found) => Ok(found),
            None => self.get_slowly(table, key, at),
        }
    }

    /// The same if a first look settles it, as nearly always; None sends the caller the long way.
    ///
    /// Whoever is in a hurry calls this one: what may be an error is so large that it goes through memory, and so would what is
    /// found if this were called.
    #[inline(always)]
    pub(crate) fn get_quickly(self, table: u32, key: &[u8], at: u64) -> Option<Option<Found<'p>>> {
        let index = &self.engine.index;
        let way = index.way(self.front, self.engine.hasher.hash(table, key))?;
        self.conclude(&way, index.first_on(&way, self.front, at), table, key, at)
    }

    /// The value of `key` at the last commit, if a first look settles it. See [`Engine::fresh`].
    #[inline(always)]
    pub(crate) fn get_fresh_quickly(self, table: u32, key: &[u8]) -> Option<Option<Found<'p>>> {
        let at = self.front.committed();
        let found = self.get_quickly(table, key, at)?;
        (found.is_some() || is_fresh(self.front, at)).then_some(found)
    }

    /// Ends a lookup whose first look at the page settles it.
    #[inline(always)]
    pub(super) fn conclude(
        self,
        way: &Way<'_>,
        first: First,
        table: u32,
        key: &[u8],
        at: u64,
    ) -> Option<Option<Found<'p>>> {
        let First::Candidate(_, position) = first else {
            let absent = matches!(first, First::Absent(_));
            return (absent && (!self.engine.guarded || self.engine.vouch(None))).then_some(None);
        };
        if self.log.is_crowded() {
            fetch(self.engine, self.log, position);
        }
        let record = self.log.mapped(position)?;
        // A record is never visible later than at its own position.
        let visible = position < at || record.version() < at;
        if !visible || !record.is(table, key) || way.moved(self.front, false) {
            return None;
        }
        if self.engine.is_careful() && !self.engine.vouch(Some(record)) {
            return None;
        }
        Some(record.is_put().then_some(record))
    }

    /// The same with everything that may come in between: pages to map, colliding tags, chains, older versions.
    #[cold]
    pub(super) fn get_slowly(self, table: u32, key: &[u8], at: u64) -> Result<Option<Found<'p>>> {
        let hash = self.engine.hasher.hash(table, key);
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

    /// Where the version that a key has at `at` is, or was then if compaction has moved it since: `position` is that of a later one.
    #[cold]
    pub(super) fn place_before(self, mut position: u64, at: u64) -> Result<Option<u64>> {
        while position >= at {
            let record = self.record(position)?;
            let prev = record.header().prev;
            if prev >= position {
                return Err(self.engine.damaged(&record, "a position before the record's own"));
            }
            position = prev;
        }
        Ok(Some(position).filter(|position| *position != 0))
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

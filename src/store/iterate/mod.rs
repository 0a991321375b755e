//! Visiting every key of a table at one position, while the writer goes on.

mod nearby;
mod refill;
mod window;

use crate::error::{Error, Result};
use crate::format::page::position;
use crate::log::Record;

use super::Reader;
use window::Window;

/// Records that are fetched ahead.
const AHEAD: usize = 16;
/// Of each of them no more than so many bytes: the processor itself goes on with what is read in order.
const MOST: usize = 1024;
/// Low bits of an entry of a group; more than pages of one need.
const PAGE_BITS: u32 = 20;

/// Where an iteration is. Holds no borrow, so that it can live beside the handle it reads from.
#[derive(Debug)]
pub(crate) struct Walk {
    table: u32,
    at: u64,
    /// Hash prefix of the page after the group; None after the last.
    next: Option<u64>,
    /// The part of the log that is gone through, if what is left is visited in the log's order: all from hash prefix `pages[0]` on.
    window: Option<Window>,
    /// The log has too many parts for that.
    scattered: bool,
    /// Why some keys could not be found in it: told after those that were.
    trouble: Option<Error>,
    /// From this position on the log is to be read ahead.
    ahead: u64,
    /// Hash prefixes at which the pages of the group begin.
    pages: Vec<u64>,
    /// Their slots: the position as a slot word has it, and below it which of the pages the slot is on. From `done` on they are still
    /// to be visited.
    slots: Vec<u64>,
    done: usize,
    /// Room to put them in order.
    room: Vec<u64>,
    /// Bytes of the record before: the next ones are taken to be as long.
    bytes: usize,
}

impl Walk {
    /// Starts a walk over `table` as of `at`.
    pub(crate) fn new(table: u32, at: u64) -> Walk {
        Walk {
            table,
            at,
            next: Some(0),
            window: None,
            scattered: false,
            trouble: None,
            ahead: 0,
            pages: Vec::new(),
            slots: Vec::new(),
            done: 0,
            room: Vec::new(),
            bytes: 1,
        }
    }

    /// The next key that has a value.
    pub(crate) fn next<'p>(&mut self, reader: Reader<'p>) -> Option<Result<Record<'p>>> {
        loop {
            if let Some(record) = self.next_quickly(reader) {
                return Some(Ok(record));
            }
            let Some(slot) = self.slots.get(self.done).copied() else {
                if let Err(error) = self.refill(self.next?, reader) {
                    // With a part of the log that is not all of it.
                    self.next = self.next.filter(|_| self.window.is_some());
                    return Some(Err(error));
                }
                continue;
            };
            self.done += 1;
            let Some(position) = self.position(slot) else { continue };
            let found = match self.resolve_quickly(reader, position) {
                Some(found) => found.map(Ok),
                None => self.resolve(reader, slot, position).transpose(),
            };
            if found.is_some() {
                return found;
            }
        }
    }

    /// The same as long as there is enough to fetch ahead, and each slot is as nearly all are. None sends the caller the long way.
    #[inline]
    pub(crate) fn next_quickly<'p>(&mut self, reader: Reader<'p>) -> Option<Record<'p>> {
        loop {
            let ahead = self.slots.get(self.done + AHEAD)?;
            reader.log.prefetch_all(self.position(*ahead)?, self.bytes);
            let found = self.resolve_quickly(reader, self.position(self.slots[self.done])?)?;
            self.done += 1;
            if let Some(record) = found {
                self.bytes = record.len().min(MOST);
                return Some(record);
            }
        }
    }

    #[inline]
    fn position(&self, slot: u64) -> Option<u64> {
        position(slot >> PAGE_BITS, self.at)
    }

    /// What nearly every slot comes to: the record it leads to is mapped, and visible. None sends the caller the long way.
    #[inline(always)]
    fn resolve_quickly<'p>(&self, reader: Reader<'p>, position: u64) -> Option<Option<Record<'p>>> {
        let record = reader.log.mapped(position)?;
        let visible = position < self.at || record.version() < self.at;
        if !visible || reader.engine.is_careful() {
            return None;
        }
        Some((record.header().table == self.table && record.is_put()).then_some(record))
    }

    #[cold]
    fn resolve<'p>(
        &self,
        reader: Reader<'p>,
        slot: u64,
        position: u64,
    ) -> Result<Option<Record<'p>>> {
        let record = match reader.record(position) {
            Ok(record) => record,
            Err(error) if self.is_led_to(reader, slot, position)? => return Err(error),
            // A tombstone has been buried since its slot was seen: whatever else goes is held by who walks.
            Err(_) if reader.engine.is_reclaimed(position)? => return Ok(None),
            Err(error) => return Err(error),
        };
        reader.engine.check_record(&record)?;
        if record.header().table != self.table {
            return Ok(None);
        }
        let found = reader.visible(record, self.at);
        if reader.engine.guarded { reader.engine.vouched(found) } else { found }
    }

    /// Where the slot was is one that leads to its position now.
    fn is_led_to(&self, reader: Reader<'_>, slot: u64, position: u64) -> Result<bool> {
        let page = (slot & ((1 << PAGE_BITS) - 1)) as usize;
        let end = self.pages.get(page + 1).copied().or(self.next);
        let end = end.filter(|_| self.window.is_none());
        reader.engine.index.leads(self.pages[page], end, position)
    }
}

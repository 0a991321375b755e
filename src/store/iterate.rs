//! Visiting every key of a table at one position, in hash order, while the writer goes on.

use crate::error::Result;
use crate::log::Record;

use super::Reader;

/// Records that are fetched ahead.
const AHEAD: usize = 16;
/// Of each of them no more than so many bytes: the processor itself goes on with what is read in order.
const MOST: usize = 1024;

/// Where an iteration is. Holds no borrow, so that it can live beside the handle it reads from.
#[derive(Debug)]
pub(crate) struct Walk {
    table: u32,
    at: u64,
    /// Hash prefix of the next page; None after the last.
    next: Option<u64>,
    /// Slots that are still to be visited from `done` on, of at least so many keys that there is something to fetch ahead.
    slots: Vec<(u64, u64)>,
    done: usize,
    /// Bytes of the record before: the next ones are taken to be as long.
    bytes: usize,
}

impl Walk {
    /// Starts a walk over `table` as of `at`.
    pub(crate) fn new(table: u32, at: u64) -> Walk {
        Walk { table, at, next: Some(0), slots: Vec::new(), done: 0, bytes: 1 }
    }

    /// The next key that has a value.
    pub(crate) fn next<'p>(&mut self, reader: Reader<'p>) -> Option<Result<Record<'p>>> {
        loop {
            if let Some(record) = self.next_quickly(reader) {
                return Some(Ok(record));
            }
            if let Err(error) = self.refill(reader) {
                self.next = None;
                return Some(Err(error));
            }
            let (hash, position) = self.slots.get(self.done).copied()?;
            self.done += 1;
            let found = match self.resolve_quickly(reader, position) {
                Some(found) => found.map(Ok),
                None => self.resolve(reader, hash, position).transpose(),
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
            let (_, ahead) = self.slots.get(self.done + AHEAD)?;
            reader.log.prefetch_all(*ahead, self.bytes);
            let (_, position) = self.slots[self.done];
            let found = self.resolve_quickly(reader, position)?;
            self.done += 1;
            if let Some(record) = found {
                self.bytes = record.len().min(MOST);
                return Some(record);
            }
        }
    }

    /// Sees to it that there is something to fetch ahead, as long as there are more pages.
    #[cold]
    fn refill(&mut self, reader: Reader<'_>) -> Result<()> {
        while self.done + AHEAD >= self.slots.len()
            && let Some(from) = self.next
        {
            self.slots.drain(..self.done);
            self.done = 0;
            let seen = self.slots.len();
            let walked = reader.engine.index.walk(from, self.at, &mut self.slots);
            let next = reader.engine.check_shared().and(walked);
            self.next = next.inspect_err(|_| self.slots.truncate(seen))?;
            // Those in the middle are asked for when their turn comes.
            for (_, position) in self.slots.iter().take(AHEAD).skip(seen) {
                reader.log.prefetch_all(*position, self.bytes);
            }
        }
        Ok(())
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
        hash: u64,
        position: u64,
    ) -> Result<Option<Record<'p>>> {
        let record = match reader.record(position) {
            Ok(record) => record,
            // A tombstone has been buried since its slot was seen: whatever else goes is held by who walks.
            Err(_) if !reader.engine.index.leads(hash, position)? => return Ok(None),
            Err(error) => return Err(error),
        };
        reader.engine.check_record(&record)?;
        if record.header().table != self.table {
            return Ok(None);
        }
        let found = reader.visible(record, self.at);
        if reader.engine.guarded { reader.engine.vouched(found) } else { found }
    }
}

//! Visiting every key of a table at one position, in hash order, while the writer goes on.

use crate::error::Result;
use crate::log::Record;

use super::Reader;

/// Records that are fetched ahead.
const AHEAD: usize = 16;

/// Where an iteration is. Holds no borrow, so that it can live beside the handle it reads from.
#[derive(Debug)]
pub(crate) struct Walk {
    table: u32,
    at: u64,
    /// Hash prefix of the next page; None after the last.
    next: Option<u64>,
    /// Slots of the current page.
    slots: Vec<(u64, u64)>,
    done: usize,
}

impl Walk {
    /// Starts a walk over `table` as of `at`.
    pub(crate) fn new(table: u32, at: u64) -> Walk {
        Walk { table, at, next: Some(0), slots: Vec::new(), done: 0 }
    }

    /// The next key that has a value.
    pub(crate) fn next<'p>(&mut self, reader: Reader<'p>) -> Option<Result<Record<'p>>> {
        loop {
            while let Some((hash, position)) = self.slots.get(self.done).copied() {
                if let Some((_, ahead)) = self.slots.get(self.done + AHEAD) {
                    reader.log.prefetch(*ahead);
                }
                self.done += 1;
                let found = match self.resolve_quickly(reader, position) {
                    Some(found) => found.map(Ok),
                    None => self.resolve(reader, hash, position).transpose(),
                };
                if found.is_some() {
                    return found;
                }
            }
            let from = self.next?;
            let walked = reader.engine.index.walk(from, self.at, &mut self.slots);
            match reader.engine.check_shared().and(walked) {
                Ok(next) => self.next = next,
                Err(error) => {
                    self.next = None;
                    return Some(Err(error));
                }
            }
            self.done = 0;
            for (_, position) in self.slots.iter().take(AHEAD) {
                reader.log.prefetch(*position);
            }
        }
    }

    /// What nearly every slot comes to: the record it leads to is mapped, and visible. None sends the caller the long way.
    #[inline]
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

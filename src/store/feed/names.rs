//! Names of the tables that a feed comes to. A number is never given twice (invariant I14), so a name once learnt stays.

use crate::error::Result;
use crate::log::{Scan, Tail};

use super::super::Engine;
use super::super::tables::{CATALOGUE, FIRST_NAMED, id_of, named};
use super::Feed;

impl Feed {
    /// Learns the name of a table that a commit after `from` is about: the catalogue tells it, or if the table has been dropped
    /// since, the commit which did that.
    pub(super) fn learn_name(&mut self, engine: &Engine, table: u32, from: Tail) -> Result<()> {
        if table < FIRST_NAMED || self.names.contains_key(&table) {
            return Ok(());
        }
        if let Some(name) = engine.fresh(|at| engine.table_name(table, at))? {
            self.names.insert(table, name);
            return Ok(());
        }
        let end = engine.end()?;
        let view = self.log.view(&self.pin);
        let mut scan = Scan::up_to(view, from.segment, from.position, end.segment)?;
        let mut name = None;
        while let Some(record) = engine.step(view, &mut scan, end.position)? {
            let header = record.header();
            if header.table != CATALOGUE || header.relocated || record.is_put() {
                continue;
            }
            name = named(record.key()).or(name);
            if let Some(id) = id_of(record.key())
                && let Some(name) = name.take()
            {
                self.names.insert(id, name.into());
            }
        }
        if self.names.contains_key(&table) {
            return Ok(());
        }
        let segment = view.segment(from.segment)?;
        Err(engine.missing(
            segment,
            from.position,
            format!("records of a table, and not of {table}"),
        ))
    }
}

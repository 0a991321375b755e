//! The log as a feed: what was committed after a position, commit by commit, without the copies that compaction makes.
//!
//! A feed holds nothing back. It goes on as long as the segments after its position are there, and fails when compaction has
//! taken one of them away.

mod begin;
mod names;

use std::collections::HashMap;

use crate::error::Result;
use crate::format::position::{Bookmark, Position};
use crate::log::{Log, Record, Scan, Tail, View};
use crate::sys::Pin;

use super::Engine;

/// A walk over commits.
#[derive(Debug)]
pub(crate) struct Feed {
    /// Mappings of its own, which nobody else takes away.
    log: Log,
    pin: Pin,
    at: Tail,
    bookmark: Bookmark,
    /// Segments before this one are not mapped.
    kept_from: u64,
    /// Positions of the records of the commit that was come to last.
    records: Vec<u64>,
    names: HashMap<u32, String>,
}

impl Feed {
    /// Where the feed has come to.
    pub(crate) fn position(&self) -> u64 {
        self.at.position
    }

    /// The last commit before that.
    pub(crate) fn bookmark(&self) -> Bookmark {
        self.bookmark
    }

    /// Records of the commit that it has come to.
    pub(crate) fn records(&self) -> &[u64] {
        &self.records
    }

    /// One of them.
    pub(crate) fn record(&self, position: u64) -> Result<Record<'_>> {
        self.log.view(&self.pin).record(position)
    }

    /// The name of a table that one of them is in.
    pub(crate) fn name(&self, table: u32) -> Option<&str> {
        self.names.get(&table).map(String::as_str)
    }

    /// Goes on to the next commit of which `wanted` wants a record; false if there is none yet.
    pub(crate) fn advance(
        &mut self,
        engine: &Engine,
        wanted: impl Fn(&Record<'_>) -> bool,
    ) -> Result<bool> {
        engine.check_shared()?;
        self.records.clear();
        // Nobody borrows what the last commit was in.
        self.pin = Pin::new();
        if self.at.segment != self.kept_from {
            self.kept_from = self.at.segment;
            self.log.let_go_before(self.kept_from);
        }
        let end = engine.end()?;
        let mut tables = Vec::new();
        while self.at.position < end.position {
            let view = self.log.view(&self.pin);
            if view.find(self.at.segment)?.is_none() {
                self.at = engine.begin_feed(&self.log, &self.pin, self.bookmark, end)?.0;
            }
            let from = self.at;
            let mut scan = Scan::up_to(view, self.at.segment, self.at.position, end.segment)?;
            while let Some(record) = engine.step(view, &mut scan, end.position)? {
                if !record.header().relocated && wanted(&record) {
                    self.records.push(record.position());
                    tables.push(record.header().table);
                }
                if record.header().commit {
                    break;
                }
            }
            let at = Tail { position: scan.position(), segment: scan.segment().number() };
            let bookmark = engine.bookmark(view, at)?;
            tables.dedup();
            for table in tables.drain(..) {
                self.learn_name(engine, table, from)?;
            }
            // What fails before this is told again.
            (self.at, self.bookmark) = (at, bookmark);
            if !self.records.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Engine {
    /// A feed that begins after the commit at `from`.
    pub(crate) fn feed(&self, from: Bookmark) -> Result<Feed> {
        let (log, pin) = (self.fresh_log().keeping(), Pin::new());
        let (at, bookmark) = self.begin_feed(&log, &pin, from, self.end()?)?;
        Ok(Feed {
            log,
            pin,
            at,
            bookmark,
            kept_from: 0,
            records: Vec::new(),
            names: HashMap::new(),
        })
    }

    /// A feed of what is committed from now on.
    pub(crate) fn feed_of_news(&self) -> Result<Feed> {
        self.feed(Position(self.end()?.position).into())
    }

    /// The next record in a log that ends at `end`.
    fn step<'a>(
        &self,
        view: View<'a>,
        scan: &mut Scan<'a>,
        end: u64,
    ) -> Result<Option<Record<'a>>> {
        if scan.position() >= end {
            return Ok(None);
        }
        match scan.step()? {
            // A recovery has begun a segment in which nothing is yet.
            None if scan.position() >= end => Ok(None),
            None => Err(self.gap(view, scan)),
            record => Ok(record),
        }
    }

    /// Where the last commit ends.
    fn end(&self) -> Result<Tail> {
        let counters = self.settled_counters()?;
        Ok(Tail { position: counters.position, segment: counters.segment })
    }
}

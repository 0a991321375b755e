//! Leading an index that is new to the newest version of each key, in whatever order the records come.

use crate::error::Result;
use crate::format::meta::Counters;
use crate::index::{Captured, Editor, First, Index, Place};
use crate::log::{Record, View};

use super::super::many::GROUP;
use super::read::Found;

/// Fills an index that nobody uses yet.
pub(super) struct Builder<'a> {
    index: &'a Index,
    log: View<'a>,
    editor: Editor,
    counters: Counters,
}

/// What is known of a key before its record is added.
#[derive(Clone, Copy)]
enum Seen {
    /// It has no slot; it may take this one, if that is free as long as the directory says the same.
    Absent(Option<Place>),
    /// That takes a closer look.
    Unsure,
}

impl<'a> Builder<'a> {
    /// `counters` say where the log ends.
    pub(super) fn new(index: &'a Index, log: View<'a>, counters: Counters) -> Result<Builder<'a>> {
        Ok(Builder { index, log, editor: index.create()?, counters })
    }

    pub(super) fn add(&mut self, records: &[Found]) -> Result<()> {
        self.editor.ensure(self.index, records.len())?;
        for group in records.chunks(GROUP) {
            let seen = self.look(group);
            for (at, found) in group.iter().enumerate() {
                // A key that the group has met already was not there when it was looked for.
                let again = group[..at].iter().any(|other| other.hash == found.hash);
                self.add_one(found, if again { Seen::Unsure } else { seen[at] })?;
            }
        }
        Ok(())
    }

    /// Has a first look at the pages, so that what they lead to is on its way from memory for all of the group at once.
    fn look(&self, group: &[Found]) -> [Seen; GROUP] {
        let mut probes = [None; GROUP];
        for (found, probe) in group.iter().zip(&mut probes) {
            let begun = self.index.begin(found.hash);
            self.index.prefetch_entry(&begun);
            *probe = Some(begun);
        }
        for probe in &mut probes[..group.len()] {
            *probe = probe.and_then(|probe| self.index.enter(probe));
            if let Some(probe) = probe {
                self.index.prefetch_page_to_store(probe);
            }
        }
        probes.map(|probe| {
            let Some(probe) = probe else { return Seen::Unsure };
            match self.index.first(&probe, self.counters.position) {
                First::Absent(0) => Seen::Absent(None),
                First::Absent(word) => Seen::Absent(Some(self.editor.place(&probe, word))),
                First::Candidate(_, position) => {
                    self.log.prefetch(position);
                    Seen::Unsure
                }
                First::Unsure => Seen::Unsure,
            }
        })
    }

    fn add_one(&mut self, found: &Found, seen: Seen) -> Result<()> {
        self.counters.dead_bytes += found.size;
        if let Seen::Absent(place) = seen {
            let filled = match place {
                Some(place) => self.editor.fill(self.index, place, found.hash, found.position)?,
                None => false,
            };
            if !filled {
                self.editor.insert(self.index, found.hash, found.position)?;
            }
            self.count(found);
            return Ok(());
        }
        let record = self.log.record(found.position)?;
        let (table, key) = (record.header().table, record.key());
        let reference = self.counters.position;
        let older = self.editor.locate(self.index, found.hash, reference, |position| {
            let other = self.log.record(position)?;
            Ok(other.is(table, key).then_some(other))
        })?;
        match older {
            None => self.editor.insert(self.index, found.hash, found.position)?,
            Some((_, other)) if other.position() > found.position => return Ok(()),
            Some((place, other)) => {
                // All of the log is durable at the checkpoint that this becomes, so no slot needs an older version.
                self.editor.replace(self.index, place, found.hash, found.position, 0)?;
                self.discount(&other, found.entry);
            }
        }
        self.count(found);
        Ok(())
    }

    fn count(&mut self, found: &Found) {
        if found.put {
            self.counters.entries += u64::from(found.entry);
            self.counters.live_bytes += found.size;
            self.counters.dead_bytes -= found.size;
        }
    }

    fn discount(&mut self, other: &Record<'_>, entry: bool) {
        if other.is_put() {
            let size = other.header().size();
            self.counters.entries -= u64::from(entry);
            self.counters.live_bytes -= size;
            self.counters.dead_bytes += size;
        }
    }

    /// The checkpoint that this index is of.
    pub(super) fn finish(mut self) -> Result<(Captured, Counters)> {
        let captured = self.editor.capture(self.index)?;
        let counters = Counters { pages: self.editor.live(), ..self.counters };
        Ok((captured, counters))
    }
}

//! The checkpoint files: the newest durable one is there, and is what a power cut can fall back on.

use std::collections::HashSet;

use crate::error::Result;
use crate::format::checkpoint::{CheckpointHeader, NAMES};
use crate::format::meta::cell;
use crate::format::position::ALIGN;
use crate::index::Captured;

use super::super::checkpoint::{Held, held};
use super::{Fallback, Findings, Scope};

impl Scope<'_> {
    /// Checks both files, and returns the newest durable checkpoint. Nobody writes meanwhile.
    pub(super) fn check_checkpoints(&self, findings: &mut Findings) -> Result<Option<Fallback>> {
        let engine = self.engine;
        let named = engine.cells.newest_checkpoint();
        let position = named.position();
        let mut newest = None::<(&str, CheckpointHeader, Captured)>;
        let (mut blank, mut ambiguous) = (None, !named.is_valid());
        let mut damaged = Vec::new();
        for name in NAMES {
            match held(&*engine.disk, &engine.superblock.id, name)? {
                Held::Whole(header, captured) if named.can_be(header.counters.position, name) => {
                    let other = newest.as_ref().map(|(_, header, _)| header.sequence);
                    // A store of an earlier release never had two of one position.
                    ambiguous |= other.is_some_and(|other| other != header.sequence);
                    if other.is_none_or(|other| other < header.sequence) {
                        newest = Some((name, header, captured));
                    }
                }
                Held::Damaged(offset) => damaged.push((name, offset)),
                Held::Absent => damaged.push((name, 0)),
                Held::Blank => blank = Some(name),
                Held::Whole(..) => {}
            }
        }
        if ambiguous {
            let offset = cell::CHECKPOINT as u64;
            let expected = "the file of the newest checkpoint";
            findings.add(engine.file("meta"), offset, expected, named.0 % ALIGN);
        }
        // A writer that died may have left the other one torn; one that closed the store has not.
        if newest.is_none() || self.clean {
            for (name, offset) in &damaged {
                findings.add(engine.file(name), *offset, "a valid checkpoint", "other bytes");
            }
        }
        let Some((name, header, directory)) = newest else {
            if let Some(name) = blank.filter(|_| damaged.is_empty()) {
                findings.add(engine.file(name), 0, "a valid checkpoint", "zeros");
            }
            if damaged.is_empty() {
                let offset = cell::CHECKPOINT as u64;
                let expected = "the position of a checkpoint that is there";
                findings.add(engine.file("meta"), offset, expected, position);
            }
            return Ok(None);
        };
        let named = self.named(&directory, name, findings);
        Ok(Some(Fallback { directory, position: header.counters.position, named }))
    }

    fn named(&self, directory: &Captured, name: &str, findings: &mut Findings) -> HashSet<u32> {
        let mut named = HashSet::new();
        for leaf in directory.leaves() {
            let pages = leaf.map(|leaf| self.engine.index.chain(leaf.entry));
            let whole = pages.is_ok_and(|mut pages| {
                pages.all(|page| page.map(|(number, _)| named.insert(number)).is_ok())
            });
            if !whole {
                let expected = "a directory that leads to pages of the index";
                findings.add(self.engine.file(name), 0, expected, "another one");
            }
        }
        named
    }
}

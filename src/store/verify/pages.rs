//! Index pages: each is what the directory says, and each of its slots leads to a record of that hash that the log holds.

use std::collections::HashSet;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::error::Result;
use crate::format::hash::STORED_BITS;
use crate::format::page::{DEAD, LINE, OVERFLOW, PageHeader, overflows, position, stored};
use crate::format::{PAGE, index};
use crate::index::{Captured, Leaf, all_slots, header};
use crate::log::Record;
use crate::sys::Word;

use super::{Fallback, Findings, Scope};

/// The pages that were checked.
#[derive(Debug, Default)]
pub(super) struct Pages {
    live: HashSet<u32>,
    /// Pages that the live directory leads to.
    pub(super) count: u64,
    /// Slots in them that lead to a committed version.
    pub(super) heads: u64,
}

impl Pages {
    pub(super) fn is_live(&self, page: u32) -> bool {
        self.live.contains(&page)
    }
}

/// A page, and the leaf of the directory that it was reached by.
struct Visit<'a> {
    number: u32,
    words: &'a [Word],
    leaf: Leaf,
    /// Where the word that leads here is.
    from: u64,
    /// The checkpoint that a power cut would fall back on.
    fallback: Option<&'a Fallback>,
    kept: bool,
}

impl Visit<'_> {
    fn offset(&self, word: usize) -> u64 {
        u64::from(self.number) * PAGE + 8 * word as u64
    }
}

impl Scope<'_> {
    /// Checks the live directory and its pages.
    pub(super) fn check_live(
        &self,
        fallback: Option<&Fallback>,
        findings: &mut Findings,
    ) -> Result<Pages> {
        let mut pages = Pages::default();
        let directory = match self.engine.index.copy() {
            Ok(directory) => directory,
            Err(error) => {
                findings.absorb(error)?;
                return Ok(pages);
            }
        };
        if directory.region.contains(&0) || directory.region.end > directory.watermark {
            let offset = crate::format::meta::cell::DIRECTORY as u64;
            let expected = "a directory before the watermark";
            findings.add(self.engine.file("meta"), offset, expected, "another place");
        }
        self.check_directory(&directory, fallback, &mut pages, findings, false)?;
        let fits = |leaf: &Leaf| {
            let mut chain = self.engine.index.chain(leaf.entry);
            let page = chain.next().and_then(Result::ok).and_then(|(_, words)| header(words));
            page.is_some_and(|header| leaf.fits(&header))
        };
        let leaves = directory.leaves().count();
        let sound = directory.leaves().flatten().filter(fits).count();
        if 2 * sound < leaves {
            // Where hardly an entry is one, the directory is somewhere else.
            let offset = crate::format::meta::cell::DIRECTORY as u64;
            findings.add(self.engine.file("meta"), offset, "the place of the directory", "another");
        }
        Ok(pages)
    }

    /// Checks the pages that only the checkpoint still names.
    pub(super) fn check_kept(
        &self,
        fallback: &Fallback,
        pages: &mut Pages,
        findings: &mut Findings,
    ) -> Result<()> {
        self.check_directory(&fallback.directory, Some(fallback), pages, findings, true)
    }

    fn check_directory(
        &self,
        directory: &Captured,
        fallback: Option<&Fallback>,
        pages: &mut Pages,
        findings: &mut Findings,
        kept: bool,
    ) -> Result<()> {
        let file = self.engine.file(index::NAME);
        for leaf in directory.leaves() {
            let leaf = match leaf {
                Ok(leaf) => leaf,
                Err(_) if kept => continue,
                Err(entry) => {
                    let offset = directory.offset(entry);
                    findings.add(file.clone(), offset, "a directory entry", "another word");
                    continue;
                }
            };
            if kept && pages.is_live(leaf.entry.page()) {
                continue;
            }
            let mut from =
                if kept { u64::from(leaf.entry.page()) * PAGE } else { directory.offset(leaf.at) };
            for page in self.engine.index.chain(leaf.entry) {
                let Ok((number, words)) = page else {
                    findings.add(file.clone(), from, "the number of a page", "another number");
                    break;
                };
                let visit = Visit { number, words, leaf, from, fallback, kept };
                if !kept {
                    pages.count += 1;
                    pages.live.insert(number);
                }
                pages.heads += self.check_page(&visit, directory.watermark, findings)?;
                from = u64::from(number) * PAGE + 16;
            }
        }
        Ok(())
    }

    /// Checks one page; returns how many of its slots lead to a committed version, if it is a live one.
    fn check_page(
        &self,
        visit: &Visit<'_>,
        watermark: u32,
        findings: &mut Findings,
    ) -> Result<u64> {
        self.check_header(visit, watermark, findings);
        let mut heads = 0;
        for word in all_slots() {
            let slot = [visit.words[word].load(Acquire), visit.words[word + 1].load(Relaxed)];
            if slot[0] == 0 || slot[0] == DEAD {
                continue;
            }
            let bit = overflows(stored(slot[0], slot[1]), word);
            if let Some(bit) = bit.filter(|bit| visit.words[*bit].load(Relaxed) & OVERFLOW == 0) {
                let expected = "an overflow bit, for a key on a later line";
                findings.add(self.engine.file(index::NAME), visit.offset(bit), expected, "none");
            }
            match self.check_slot(visit, slot) {
                Ok(committed) => heads += u64::from(committed && !visit.kept),
                Err(expected) => {
                    let file = self.engine.file(index::NAME);
                    findings.add(file, visit.offset(word), expected, "another word");
                }
            }
        }
        Ok(heads)
    }

    fn check_header(&self, visit: &Visit<'_>, watermark: u32, findings: &mut Findings) {
        let file = self.engine.file(index::NAME);
        let Some(found) = header(visit.words) else {
            findings.add(file.clone(), visit.offset(0), "an index page", "bytes that are none");
            return findings.add(file, visit.from, "the number of an index page", visit.number);
        };
        let entry = visit.leaf.entry;
        let (own, fits) = (found.number == visit.number, visit.leaf.fits(&found));
        if !own || visit.number >= watermark {
            let expected = format!("page {} below {watermark}", visit.number);
            findings.add(file.clone(), visit.offset(0), expected, found.number);
        }
        if !fits {
            let expected =
                format!("the page of prefix {}, depth {}", visit.leaf.prefix, entry.depth());
            let other = format!("that of prefix {}, depth {}", found.prefix, found.depth);
            findings.add(file.clone(), visit.offset(0), expected, other);
        }
        if !own || !fits {
            findings.add(file.clone(), visit.from, "the number of another page", visit.number);
        }
        if visit.number == entry.page() && entry.chained() != (found.next != 0) {
            findings.add(
                file.clone(),
                visit.offset(2),
                "a chain as the directory says",
                found.next,
            );
            findings.add(file.clone(), visit.from, "a chain as the page says", entry.chained());
        }
        if let Some(expected) = self.wrong_birth(visit, &found) {
            findings.add(file, visit.offset(3), expected, found.birth);
        }
    }

    /// A page that a checkpoint names was born before it, and any other after: only so it is known when it may be written anew.
    fn wrong_birth(&self, visit: &Visit<'_>, found: &PageHeader) -> Option<String> {
        let now = self.engine.cells.sequence();
        if found.birth > now {
            return Some(format!("a checkpoint number up to {now}"));
        }
        let fallback = visit.fallback?;
        let sequence = fallback.directory.sequence;
        let named = fallback.named.contains(&visit.number);
        match (named, found.birth < sequence) {
            (true, false) => Some(format!("a checkpoint number below {sequence}")),
            (false, true) => Some(format!("a checkpoint number from {sequence} on")),
            _ => None,
        }
    }

    /// Says whether a used slot leads to a committed version, or what it should hold.
    fn check_slot(&self, visit: &Visit<'_>, [cur, prev]: [u64; 2]) -> Result<bool, String> {
        let engine = self.engine;
        let stored = stored(cur, prev);
        let depth = visit.leaf.entry.depth().min(STORED_BITS);
        if stored >> (STORED_BITS - depth) != visit.leaf.prefix {
            return Err("a slot of the page's prefix".into());
        }
        let newest = position(cur, self.at)
            .and_then(|position| self.log.record(position).ok())
            .ok_or("a slot that leads to a record")?;
        let hash = engine.hasher.hash(newest.header().table, newest.key());
        if hash.stored() != stored && (newest.verify() || newest.position() >= self.at) {
            return Err("a slot that leads to a record of its hash".into());
        }
        if newest.position() >= self.at && (self.ours || !newest.verify()) {
            return Err(format!("a slot that leads to a record before {}", self.at));
        }
        self.check_older(visit, newest, position(prev, self.at))
    }

    /// The older version in a slot is one that the newer goes back to, and none that a power cut would fall back on was passed
    /// over (invariant I5).
    fn check_older(
        &self,
        visit: &Visit<'_>,
        newest: Record<'_>,
        older: Option<u64>,
    ) -> Result<bool, String> {
        let safe = visit.fallback.map_or(0, |fallback| fallback.position);
        let (mut record, mut known, mut committed) = (newest, false, false);
        loop {
            let position = record.position();
            committed |= position < self.at;
            known |= older == Some(position);
            if !known && older.is_some_and(|older| older > position) {
                break;
            }
            // The newest version before the checkpoint: a power cut may need it, unless the slot leads to it anyway.
            if position < safe && newest.position() >= safe && !known {
                return Err("a slot whose older version is the last durable one".into());
            }
            let settled = known || older.is_none() && newest.position() < safe;
            let prev = record.header().prev;
            if settled && committed || prev >= position {
                return Ok(committed);
            }
            if prev == 0 {
                break;
            }
            match self.log.record(prev) {
                Ok(next) => record = next,
                // The log is damaged there, which is found when it is read.
                Err(_) => return Ok(committed),
            }
        }
        if known || older.is_none() {
            Ok(committed)
        } else {
            Err("a slot whose older version is one of the key's".into())
        }
    }

    /// Reports the slots that lead to no record of the log, although each key leads to its newest one.
    pub(super) fn find_strays(&self, findings: &mut Findings) -> Result<()> {
        let positions = self.positions()?;
        let directory = self.engine.index.copy()?;
        let file = self.engine.file(index::NAME);
        let mut found = false;
        for leaf in directory.leaves().flatten() {
            for page in self.engine.index.chain(leaf.entry) {
                let (number, words) = page?;
                for word in all_slots() {
                    let at = position(words[word].load(Relaxed), self.at);
                    let stray =
                        at.filter(|at| *at < self.at && positions.binary_search(at).is_err());
                    if stray.is_some() {
                        found = true;
                        let offset = u64::from(number) * PAGE + 8 * word as u64;
                        findings.add(
                            file.clone(),
                            offset,
                            "a slot that leads to a record",
                            "bytes that are none",
                        );
                    }
                }
            }
        }
        if !found {
            findings.add(file, LINE as u64, "one slot for each key", "more or fewer");
        }
        Ok(())
    }
}

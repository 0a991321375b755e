//! Guesses at the keys that are lost: what still looks like a record where none passes its checksum, and what the index leads to.

use std::collections::{BTreeMap, HashMap};

use crate::error::Result;
use crate::format::hash::Hasher;
use crate::format::page::{LINE_SLOTS, LINES, PageHeader, line_word, position, stored};
use crate::format::{PAGE_BYTES, index, u64_at};
use crate::sys::Access;

use super::super::CATALOGUE;
use super::Damaged;
use super::identity::open;
use super::newest::{Head, Name, Newest};
use super::piece::{Entry, Piece};
use super::runs::Run;

/// A key whose record at `position` is lost.
#[derive(Clone, Debug)]
pub(super) struct Guess {
    pub(super) table: u32,
    pub(super) key: Vec<u8>,
    pub(super) position: u64,
    /// An older value was found.
    pub(super) older: bool,
}

/// What may be lost, as long as no newer version of it was found.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Keys that can be read where they were.
    named: BTreeMap<(u32, Vec<u8>), u64>,
    /// Hash bits that the index keeps, and the newest lost position that it leads to for them.
    slots: HashMap<u64, u64>,
    hasher: Option<Hasher>,
    sure: Vec<Guess>,
}

impl Suspects {
    /// Collects them. `hasher` is that of the store, if its superblock is left.
    pub(super) fn find(damaged: &Damaged, hasher: Option<Hasher>) -> Result<Suspects> {
        let (pieces, lost) = (&damaged.pieces, &damaged.lost);
        let mut suspects = Suspects { hasher, ..Suspects::default() };
        if lost.ranges().is_empty() {
            return Ok(suspects);
        }
        let mut named = HashMap::new();
        let (slots, pages) = slots(damaged)?;
        // Where the index tells which keys are lost, nothing else needs to be guessed.
        let told = hasher.is_some() && pages > 0;
        for (hash, position) in slots {
            let key = find(pieces, position).and_then(|piece| piece.key_at(position));
            let right = |(table, key): &(u32, &[u8])| {
                hasher.is_none_or(|hasher| hasher.hash(*table, key).stored() == hash)
            };
            match key.filter(right) {
                Some((table, key)) => {
                    named.insert(hash, (table, key));
                    suspects.name(table, key, position);
                }
                None => {
                    let newest = suspects.slots.entry(hash).or_default();
                    *newest = position.max(*newest);
                }
            }
        }
        // The bytes of a key's newest record may be gone, and those of an older one be there, to which another page leads.
        for (hash, (table, key)) in named {
            if let Some(position) = suspects.slots.remove(&hash) {
                suspects.name(table, key, position);
            }
        }
        for (from, to) in lost.ranges().iter().filter(|_| !told) {
            suspects.chain(pieces, *from, *to);
        }
        Ok(suspects)
    }

    fn name(&mut self, table: u32, key: &[u8], position: u64) {
        if table != CATALOGUE {
            let newest = self.named.entry((table, key.to_vec())).or_default();
            *newest = position.max(*newest);
        }
    }

    /// Headers that lead from the start of a lost range exactly to its end are likely those of the lost records.
    fn chain(&mut self, pieces: &[Piece], from: u64, to: u64) {
        let Some(piece) = find(pieces, from) else { return };
        let (mut at, mut met) = (from, Vec::new());
        while at < to
            && let Some(entry) = piece.entry(at)
        {
            met.push((entry.header.table, entry.key.to_vec(), at));
            at = entry.end();
        }
        if at == to {
            met.into_iter().for_each(|(table, key, at)| self.name(table, &key, at));
        }
    }

    /// Judges the keys of one part by their newest versions that were found.
    pub(super) fn judge(&mut self, newest: &Newest) {
        let sure = &mut self.sure;
        self.named.retain(|(table, key), position| {
            let name = Name::of(*table, key);
            if !newest.is_mine(name) {
                return true;
            }
            let head = newest.head(name);
            if head.is_none_or(|head| head.position < *position) {
                let older = head.is_some_and(|head| head.put);
                sure.push(Guess { table: *table, key: key.clone(), position: *position, older });
            }
            false
        });
    }

    /// Looks whether the index leads from a key's hash to a version of it that is lost. Called with each key's newest that is left.
    pub(super) fn meet(&mut self, entry: &Entry<'_>, head: Head) {
        let Some(hasher) = self.hasher.filter(|_| !self.slots.is_empty()) else { return };
        let (table, key) = (entry.header.table, entry.key.to_vec());
        let Some(position) = self.slots.remove(&hasher.hash(table, &key).stored()) else { return };
        if head.position < position && table != CATALOGUE {
            self.sure.push(Guess { table, key, position, older: head.put });
        }
    }

    /// The guesses, in the order of the log, and how many keys more the index leads to.
    pub(super) fn conclude(self) -> (Vec<Guess>, u64) {
        let mut sure = self.sure;
        sure.sort_by(|a, b| (a.position, &a.key).cmp(&(b.position, &b.key)));
        (sure, self.slots.len() as u64)
    }
}

/// The position is in one of the runs of records that are left.
fn is_left(runs: &[Run], position: u64) -> bool {
    let after = runs.partition_point(|run| run.from <= position);
    after.checked_sub(1).is_some_and(|at| position < runs[at].to)
}

/// The piece that a position is in.
fn find(pieces: &[Piece], position: u64) -> Option<&Piece> {
    let after = pieces.partition_point(|piece| piece.start <= position);
    pieces.get(after.checked_sub(1)?).filter(|piece| position < piece.end())
}

/// All slots of all pages of the index that lead to no record that is left, hash bits and position; and how many pages there are.
fn slots(damaged: &Damaged) -> Result<(Vec<(u64, u64)>, u64)> {
    let (disk, runs) = (&*damaged.disk, &damaged.runs);
    // Where the log's end is not known, what is behind the last commit that is left may have been committed as well.
    let limit = damaged.said.end.unwrap_or(u64::MAX);
    let mut all = (Vec::new(), 0);
    let Some(file) = open(disk, index::NAME)? else { return Ok(all) };
    let Some(len) = file.len().ok().and_then(|len| usize::try_from(len).ok()) else {
        return Ok(all);
    };
    if len < 2 * PAGE_BYTES {
        return Ok(all);
    }
    // What cannot be mapped only makes the guesses fewer.
    let Ok(region) = file.map(0, len, Access::Read) else { return Ok(all) };
    let bytes = region.bytes(0, len).unwrap_or_default();
    for (number, page) in (0u64..).zip(bytes.chunks_exact(PAGE_BYTES)) {
        let word = |at: usize| u64_at(page, 8 * at);
        let header = PageHeader::decode([word(0), word(1), word(2), word(3)]);
        if header.is_none_or(|header| u64::from(header.number) != number) {
            continue;
        }
        all.1 += 1;
        for line in 0..LINES {
            for slot in 0..LINE_SLOTS {
                let at = line_word(line) + 2 * slot;
                let (cur, prev) = (word(at), word(at + 1));
                if let Some(position) = position(cur, damaged.end)
                    && position < limit
                    && !is_left(runs, position)
                {
                    all.0.push((stored(cur, prev), position));
                }
            }
        }
    }
    Ok(all)
}

//! The newest version of each key: its last record in the log.
//!
//! A key is known by 128 bits of its hash. So that memory is bounded whatever the store holds, keys are taken in parts, and the
//! records are gone through once for each.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::piece::Entry;

/// Records that one part has, about: 16 million take up to a gigabyte.
const PART: u64 = 1 << 24;

/// A key of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name(u128);

impl Name {
    pub(super) fn of(table: u32, key: &[u8]) -> Name {
        Name(xxh3_128_with_seed(key, table.into()))
    }

    #[expect(clippy::cast_possible_truncation, reason = "some bits of a hash")]
    fn part(self, parts: u64) -> u64 {
        self.0 as u64 % parts
    }
}

/// How many parts there are for so many records.
pub(super) fn parts(records: u64) -> u64 {
    records.div_ceil(PART).max(1)
}

/// Where a key's newest version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Head {
    pub(super) position: u64,
    pub(super) put: bool,
}

/// The newest versions of the keys of one part.
#[derive(Debug)]
pub(super) struct Newest {
    heads: HashMap<Name, Head>,
    part: u64,
    parts: u64,
}

impl Newest {
    pub(super) fn new(part: u64, parts: u64) -> Newest {
        Newest { heads: HashMap::new(), part, parts }
    }

    pub(super) fn is_mine(&self, name: Name) -> bool {
        name.part(self.parts) == self.part
    }

    pub(super) fn note(&mut self, entry: &Entry<'_>) {
        let name = Name::of(entry.header.table, entry.key);
        if self.is_mine(name) {
            let head = Head { position: entry.position, put: entry.is_put() };
            let known = self.heads.entry(name).or_insert(head);
            *known = (*known).max(head);
        }
    }

    pub(super) fn head(&self, name: Name) -> Option<Head> {
        self.heads.get(&name).copied()
    }

    /// The record is its key's newest version.
    pub(super) fn is_head(&self, entry: &Entry<'_>) -> bool {
        let head = self.head(Name::of(entry.header.table, entry.key));
        head.is_some_and(|head| head.position == entry.position)
    }
}

//! The file `meta`: the superblock that never changes, the live cells that a running writer keeps, and the clean record.
//!
//! Three pages. The live cells are believed only while the page cache that they were written in lives (docs/design.md,
//! "life"), or when the clean record vouches for them; after a power cut only checksummed bytes are.

use super::checksum::crc;
use super::position::{ALIGN, MAX_POSITION};
use super::{PAGE, StoreId, VERSION, set, u32_at, u64_at};

/// Bytes of the file.
pub(crate) const BYTES: u64 = 3 * PAGE;
/// Bytes of the superblock.
pub(crate) const SUPERBLOCK: usize = 64;
const MAGIC: [u8; 8] = *b"mapstone";
const ENDIAN: u64 = 0x0102_0304_0506_0708;

/// Smallest and largest segment size, in bytes; it is a power of two.
pub(crate) const MIN_SEGMENT: u64 = PAGE;
pub(crate) const MAX_SEGMENT: u64 = 1 << 40;

/// What a store is, fixed when it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) id: StoreId,
    pub(crate) seed: u64,
    pub(crate) segment_bytes: u64,
}

/// Why bytes are no superblock of this release.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Nothing says that this is a store.
    Foreign,
    /// Offset and meaning of the first field that is wrong.
    Damaged(u64, &'static str),
    /// A version that a newer release wrote.
    Newer(u32),
}

impl Superblock {
    pub(crate) fn encode(&self) -> [u8; SUPERBLOCK] {
        let mut out = [0; SUPERBLOCK];
        set(&mut out, 0, &MAGIC);
        set(&mut out, 8, &VERSION.to_le_bytes());
        set(&mut out, 16, &ENDIAN.to_le_bytes());
        set(&mut out, 24, &self.id);
        set(&mut out, 40, &self.seed.to_le_bytes());
        set(&mut out, 48, &self.segment_bytes.to_le_bytes());
        let sum = crc(&out[..60]);
        set(&mut out, 60, &sum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8; SUPERBLOCK]) -> Result<Superblock, Unreadable> {
        if bytes[..8] != MAGIC {
            return Err(Unreadable::Foreign);
        }
        // The version comes before the checksum: a newer release may have moved that.
        let version = u32_at(bytes, 8);
        if version > VERSION {
            return Err(Unreadable::Newer(version));
        }
        if u32_at(bytes, 60) != crc(&bytes[..60]) {
            return Err(Unreadable::Damaged(60, "the checksum of the superblock"));
        }
        if version != VERSION || u32_at(bytes, 12) != 0 {
            return Err(Unreadable::Damaged(8, "format version 1 without features"));
        }
        if u64_at(bytes, 16) != ENDIAN {
            return Err(Unreadable::Damaged(16, "little-endian byte order"));
        }
        let segment_bytes = u64_at(bytes, 48);
        if !segment_bytes.is_power_of_two() || !(MIN_SEGMENT..=MAX_SEGMENT).contains(&segment_bytes)
        {
            return Err(Unreadable::Damaged(48, "a segment size that is a power of two"));
        }
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[24..40]);
        Ok(Superblock { id, seed: u64_at(bytes, 40), segment_bytes })
    }
}

/// Offsets in the file of the live cells, each an aligned word that is only ever loaded and stored whole.
pub(crate) mod cell {
    use crate::format::PAGE_BYTES;

    const BASE: usize = PAGE_BYTES;
    /// End of the last commit that anyone may see. Shares its line with `DIRECTORY`, the only other cell a `get` loads.
    pub(crate) const COMMITTED: usize = BASE;
    /// Where the directory is.
    pub(crate) const DIRECTORY: usize = BASE + 8;
    /// What only readers before this position need may be gone. Beside the two above, for a read that found nothing loads it.
    pub(crate) const HORIZON: usize = BASE + 16;
    /// Up to where the log is durable.
    pub(crate) const DURABLE: usize = BASE + 64;
    /// Position of the newest durable checkpoint.
    pub(crate) const CHECKPOINT: usize = BASE + 72;
    /// How many checkpoints have been captured.
    pub(crate) const SEQUENCE: usize = BASE + 80;
    /// Index pages from this number on were never used; a checked number.
    pub(crate) const WATERMARK: usize = BASE + 88;
    /// The page cache in which the cells were written.
    pub(crate) const LIFE: usize = BASE + 96;
    /// Process id of the writer; 0 after a clean close.
    pub(crate) const WRITER: usize = BASE + 104;
    /// Nonzero while an index sync runs, and `SYNC_FAILED` after any sync that failed.
    pub(crate) const SUSPECT: usize = BASE + 112;
    /// How many pages the directory leads to; a checked number. Unlike the counters it is exact in the middle of a commit.
    pub(crate) const PAGES: usize = BASE + 120;
    /// A split under way: the page that splits (low half) and the page for hash bit 0 (high half)…
    pub(crate) const SPLIT_FROM: usize = BASE + 128;
    /// …and the page for hash bit 1, plus a mark in the high half; 0 when none is under way.
    pub(crate) const SPLIT_TO: usize = BASE + 136;
    /// A page that the directory is about to lead to (low half), and how many it leads to then (high half).
    pub(crate) const NEXT_PAGES: usize = BASE + 144;
    /// The commit up to which the words of `usage` have been brought.
    pub(crate) const COUNTED: usize = BASE + 152;
    /// Turns of writers that share the store: even between turns, odd in one; what it was before, plus one, at each change.
    pub(crate) const TURN: usize = BASE + 160;
    /// Nonzero while one of the writers that share the store syncs the log.
    pub(crate) const SYNCING: usize = BASE + 168;
    /// Two sets of counters; the one whose position is `COMMITTED` counts.
    pub(crate) const COUNTERS: [usize; 2] = [BASE + 192, BASE + 256];
}

/// What `SUSPECT` holds after a failed sync, until a recovery has made everything durable.
pub(crate) const SYNC_FAILED: u64 = 2;

/// The mark in the high half of `WRITER`: the writer is one of several that share the store.
pub(crate) const SHARED: u64 = 1 << 32;

/// The mark in the high half of `SPLIT_TO`.
pub(crate) const SPLITTING: u64 = 1 << 32;

/// The word of a checked number: it in the low half, its complement in the high one, so that damage shows by itself.
pub(crate) fn checked(number: u32) -> u64 {
    u64::from(number) | u64::from(!number) << 32
}

/// The number that a checked word holds, with 0 in the high half (nobody wrote the complement) or what belongs there.
pub(crate) fn number_in(word: u64) -> Option<u32> {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    let (number, complement) = (word as u32, (word >> 32) as u32);
    (complement == 0 || complement == !number).then_some(number)
}

/// Checkpoint numbers are below this, so that one more is always a number.
pub(crate) const MAX_SEQUENCE: u64 = 1 << 63;

/// What is counted as commits go by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// The commit that these hold for: where the log ends.
    pub(crate) position: u64,
    /// Keys with a value, in all tables of the caller's.
    pub(crate) entries: u64,
    /// Bytes of the records that hold these values.
    pub(crate) live_bytes: u64,
    /// Bytes of all other records.
    pub(crate) dead_bytes: u64,
    /// Index pages that the directory leads to.
    pub(crate) pages: u64,
    /// Number of the segment in which the log ends.
    pub(crate) segment: u64,
}

impl Counters {
    pub(crate) const WORDS: usize = 6;

    pub(crate) fn words(&self) -> [u64; Self::WORDS] {
        [self.position, self.entries, self.live_bytes, self.dead_bytes, self.pages, self.segment]
    }

    /// The number of the first word that no log and no index can have led to, and what should be there. `watermark` pages of
    /// the index were used at the time.
    pub(crate) fn wrong(&self, watermark: u32) -> Option<(usize, &'static str)> {
        let bytes = self.live_bytes.saturating_add(self.dead_bytes);
        [
            (
                0,
                self.position < MAX_POSITION && self.position.is_multiple_of(ALIGN),
                "a position in a log",
            ),
            (1, self.entries <= self.position / ALIGN, "as many keys as the log has records"),
            (2, bytes <= self.position, "as many bytes as the log has"),
            (4, self.pages <= u64::from(watermark), "a number of pages"),
            (5, self.segment <= self.position / MIN_SEGMENT, "the segment in which the log ends"),
        ]
        .into_iter()
        .find_map(|(word, right, expected)| (!right).then_some((word, expected)))
    }

    pub(crate) fn from_words(words: [u64; Self::WORDS]) -> Counters {
        let [position, entries, live_bytes, dead_bytes, pages, segment] = words;
        Counters { position, entries, live_bytes, dead_bytes, pages, segment }
    }
}

/// What a clean close leaves: everything the next open needs, and the word that everything before is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clean {
    pub(crate) counters: Counters,
    pub(crate) directory: u64,
    pub(crate) watermark: u32,
    pub(crate) sequence: u64,
    pub(crate) checkpoint: u64,
    /// The commit up to which the words of `usage` have been brought; 0 in a store that has none.
    pub(crate) counted: u64,
}

impl Clean {
    /// Offset of the record in the file.
    pub(crate) const OFFSET: u64 = 2 * PAGE;
    pub(crate) const BYTES: usize = 128;
    const MAGIC: [u8; 8] = *b"mapstCLN";

    pub(crate) fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        set(&mut out, 0, &Self::MAGIC);
        for (at, word) in (8..).step_by(8).zip(self.counters.words()) {
            set(&mut out, at, &word.to_le_bytes());
        }
        set(&mut out, 56, &self.directory.to_le_bytes());
        set(&mut out, 64, &self.sequence.to_le_bytes());
        set(&mut out, 72, &self.checkpoint.to_le_bytes());
        set(&mut out, 80, &self.watermark.to_le_bytes());
        set(&mut out, 88, &self.counted.to_le_bytes());
        let sum = crc(&out[..124]);
        set(&mut out, 124, &sum.to_le_bytes());
        out
    }

    /// None when the store was not closed cleanly.
    pub(crate) fn decode(bytes: &[u8; Self::BYTES]) -> Option<Clean> {
        if bytes[..8] != Self::MAGIC || u32_at(bytes, 124) != crc(&bytes[..124]) {
            return None;
        }
        let mut words = [0; Counters::WORDS];
        for (at, word) in (8..).step_by(8).zip(&mut words) {
            *word = u64_at(bytes, at);
        }
        Some(Clean {
            counters: Counters::from_words(words),
            directory: u64_at(bytes, 56),
            sequence: u64_at(bytes, 64),
            checkpoint: u64_at(bytes, 72),
            watermark: u32_at(bytes, 80),
            counted: u64_at(bytes, 88),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_superblock_survives_its_encoding_and_no_flipped_bit_does() {
        let block = Superblock { id: [3; 16], seed: 42, segment_bytes: 1 << 26 };
        let good = block.encode();
        assert_eq!(Superblock::decode(&good), Ok(block));
        for bit in 0..8 * SUPERBLOCK {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::decode(&bad).is_err(), "bit {bit}");
        }
        assert_eq!(Superblock::decode(&[0; SUPERBLOCK]), Err(Unreadable::Foreign));
    }

    #[test]
    fn a_clean_record_survives_its_encoding_and_no_flipped_bit_does() {
        let clean = Clean {
            counters: Counters::from_words([1, 2, 3, 4, 5, 6]),
            directory: 9,
            watermark: 10,
            sequence: 11,
            checkpoint: 12,
            counted: 13,
        };
        let good = clean.encode();
        assert_eq!(Clean::decode(&good), Some(clean));
        for bit in 0..8 * Clean::BYTES {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Clean::decode(&bad), None, "bit {bit}");
        }
    }
}

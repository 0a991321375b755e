//! A checkpoint file: one page of header, then the body: a copy of the directory as it was at the checkpoint's position, and
//! what was known of each segment then.

use super::checksum::crc;
use super::directory::{ENTRY, MAX_DEPTH};
use super::meta::{Counters, MAX_SEQUENCE};
use super::position::ALIGN;
use super::{PAGE, StoreId, VERSION, set, u32_at, u64_at};

/// Offset of the directory in the file.
pub(crate) const BODY: u64 = PAGE;
/// Bytes of the header that hold something.
pub(crate) const HEADER: usize = 128;
/// Words of a row: the segment's number, and its words in `usage`.
pub(crate) const ROW_WORDS: usize = 4;
/// Bytes of a row.
const ROW: u64 = 8 * ROW_WORDS as u64;
/// The two files, written in turn.
pub(crate) const NAMES: [&str; 2] = ["checkpoint.a", "checkpoint.b"];
const MAGIC: [u8; 8] = *b"mapstCKP";

/// The header of a checkpoint file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CheckpointHeader {
    pub(crate) id: StoreId,
    /// Of two valid checkpoints the one with the greater sequence counts.
    pub(crate) sequence: u64,
    /// What was counted up to the checkpoint's position, which is `counters.position`.
    pub(crate) counters: Counters,
    /// Index pages from this number on were not yet used.
    pub(crate) watermark: u32,
    /// Hash bits that index the directory.
    pub(crate) depth: u32,
    /// CRC-32 of the body.
    pub(crate) body_crc: u32,
    /// Rows that follow the directory, one for each segment.
    pub(crate) rows: u32,
}

/// Which checkpoint is the newest durable one, in one word: its position, and in the low bits 1 for the first file or 2 for the
/// second. Two may have one position: then only the file tells them apart. Earlier releases, which had no such two, left 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Newest(pub(crate) u64);

impl Newest {
    const FILE: u64 = ALIGN - 1;

    pub(crate) fn new(position: u64, name: &str) -> Newest {
        let file = NAMES.iter().zip(1..).find(|(other, _)| **other == name);
        Newest(position | file.map_or(0, |(_, number)| number))
    }

    pub(crate) fn position(self) -> u64 {
        self.0 & !Self::FILE
    }

    /// The name of the file; None if that is not known.
    pub(crate) fn name(self) -> Option<&'static str> {
        let number = usize::try_from(self.0 & Self::FILE).ok()?;
        NAMES.get(number.checked_sub(1)?).copied()
    }

    /// A checkpoint at `position` in the file `name` can be the one.
    pub(crate) fn can_be(self, position: u64, name: &str) -> bool {
        position == self.position() && self.name().is_none_or(|own| own == name)
    }

    /// The word is one that a writer stores.
    pub(crate) fn is_valid(self) -> bool {
        self.0 & Self::FILE <= NAMES.len() as u64
    }
}

impl CheckpointHeader {
    /// Bytes of the directory that follows, and of the rows after it.
    pub(crate) fn body_bytes(&self) -> u64 {
        (ENTRY << self.depth) + u64::from(self.rows) * ROW
    }

    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        set(&mut out, 0, &MAGIC);
        set(&mut out, 8, &VERSION.to_le_bytes());
        set(&mut out, 12, &self.depth.to_le_bytes());
        set(&mut out, 16, &self.id);
        set(&mut out, 32, &self.sequence.to_le_bytes());
        for (at, word) in (40..).step_by(8).zip(self.counters.words()) {
            set(&mut out, at, &word.to_le_bytes());
        }
        set(&mut out, 88, &self.watermark.to_le_bytes());
        set(&mut out, 92, &self.body_crc.to_le_bytes());
        set(&mut out, 96, &self.rows.to_le_bytes());
        let sum = crc(&out[..124]);
        set(&mut out, 124, &sum.to_le_bytes());
        out
    }

    /// None when the file holds no whole checkpoint of this release.
    pub(crate) fn decode(bytes: &[u8; HEADER]) -> Option<CheckpointHeader> {
        let depth = u32_at(bytes, 12);
        if bytes[..8] != MAGIC
            || u32_at(bytes, 8) != VERSION
            || depth > MAX_DEPTH
            || u32_at(bytes, 124) != crc(&bytes[..124])
        {
            return None;
        }
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[16..32]);
        let mut words = [0; Counters::WORDS];
        for (at, word) in (40..).step_by(8).zip(&mut words) {
            *word = u64_at(bytes, at);
        }
        let header = CheckpointHeader {
            id,
            sequence: u64_at(bytes, 32),
            counters: Counters::from_words(words),
            watermark: u32_at(bytes, 88),
            depth,
            body_crc: u32_at(bytes, 92),
            rows: u32_at(bytes, 96),
        };
        let possible = header.sequence < MAX_SEQUENCE;
        (possible && header.counters.wrong(header.watermark).is_none()).then_some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_its_encoding_and_no_flipped_bit_does() {
        let header = CheckpointHeader {
            id: [1; 16],
            sequence: 2,
            counters: Counters::from_words([4096, 2, 3, 4, 5, 0]),
            watermark: 9,
            depth: 10,
            body_crc: 11,
            rows: 12,
        };
        let good = header.encode();
        assert_eq!(CheckpointHeader::decode(&good), Some(header));
        for bit in 0..8 * HEADER {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(CheckpointHeader::decode(&bad), None, "bit {bit}");
        }
    }

    #[test]
    fn a_header_that_no_log_has_led_to_is_none() {
        let counters = |word: usize, value: u64| {
            let mut words = [4096, 2, 3, 4, 5, 0];
            words[word] = value;
            Counters::from_words(words)
        };
        let header = |sequence, counters| CheckpointHeader {
            id: [1; 16],
            sequence,
            counters,
            watermark: 9,
            depth: 10,
            body_crc: 11,
            rows: 12,
        };
        let is_read = |header: CheckpointHeader| CheckpointHeader::decode(&header.encode());
        assert!(is_read(header(1, counters(0, 4096))).is_some());
        assert_eq!(is_read(header(u64::MAX, counters(0, 4096))), None);
        for word in 0..Counters::WORDS {
            assert_eq!(is_read(header(1, counters(word, u64::MAX))), None, "word {word}");
        }
    }
}

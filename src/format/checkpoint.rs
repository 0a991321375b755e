//! A checkpoint file: one page of header, then a copy of the directory as it was at the checkpoint's position.

use super::checksum::crc;
use super::directory::{ENTRY, MAX_DEPTH};
use super::meta::{Counters, MAX_SEQUENCE};
use super::{PAGE, StoreId, VERSION, set, u32_at, u64_at};

/// Offset of the directory in the file.
pub(crate) const BODY: u64 = PAGE;
/// Bytes of the header that hold something.
pub(crate) const HEADER: usize = 128;
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
    /// CRC-32 of the directory.
    pub(crate) body_crc: u32,
}

impl CheckpointHeader {
    /// Bytes of the directory that follows.
    pub(crate) fn body_bytes(&self) -> u64 {
        ENTRY << self.depth
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
        };
        let is_read = |header: CheckpointHeader| CheckpointHeader::decode(&header.encode());
        assert!(is_read(header(1, counters(0, 4096))).is_some());
        assert_eq!(is_read(header(u64::MAX, counters(0, 4096))), None);
        for word in 0..Counters::WORDS {
            assert_eq!(is_read(header(1, counters(word, u64::MAX))), None, "word {word}");
        }
    }
}

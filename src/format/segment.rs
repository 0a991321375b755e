//! The header of a segment file: the first 64 bytes.

use super::checksum::crc;
use super::position::Era;
use super::{StoreId, VERSION, set, u32_at, u64_at};

/// Bytes of the header; the first record starts here.
pub(crate) const HEADER: u64 = 64;
/// The same, for indexing memory.
pub(crate) const HEADER_BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"mapstSEG";

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) id: StoreId,
    /// Position of the header, divided by the segment size.
    pub(crate) number: u64,
    /// Raised by every recovery; part of each record's checksum.
    pub(crate) epoch: u32,
    /// Drawn anew with each epoch: a power cut may take back that an epoch was begun, and then another has its number.
    pub(crate) nonce: u32,
    /// Bytes of the file: the segment size, or a multiple of it for a segment that holds one large record.
    pub(crate) bytes: u64,
    /// Where the log ended in the segment before; 0 for the first.
    pub(crate) prev_end: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        set(&mut out, 0, &MAGIC);
        set(&mut out, 8, &VERSION.to_le_bytes());
        set(&mut out, 12, &self.nonce.to_le_bytes());
        set(&mut out, 16, &self.id);
        set(&mut out, 32, &self.number.to_le_bytes());
        set(&mut out, 40, &self.bytes.to_le_bytes());
        set(&mut out, 48, &self.prev_end.to_le_bytes());
        set(&mut out, 56, &self.epoch.to_le_bytes());
        let sum = crc(&out[..60]);
        set(&mut out, 60, &sum.to_le_bytes());
        out
    }

    /// What the header says, or the offset of the first field that is wrong and what it should be.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<SegmentHeader, (u64, &'static str)> {
        if bytes[..8] != MAGIC {
            return Err((0, "the magic of a segment"));
        }
        if u32_at(bytes, 60) != crc(&bytes[..60]) {
            return Err((60, "the checksum of the header"));
        }
        if u32_at(bytes, 8) != VERSION {
            return Err((8, "format version 1"));
        }
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[16..32]);
        Ok(SegmentHeader {
            id,
            number: u64_at(bytes, 32),
            bytes: u64_at(bytes, 40),
            prev_end: u64_at(bytes, 48),
            epoch: u32_at(bytes, 56),
            nonce: u32_at(bytes, 12),
        })
    }

    /// Number of the segment that follows, in a store of that segment size.
    pub(crate) fn after(&self, segment_bytes: u64) -> u64 {
        self.number + self.bytes.div_ceil(segment_bytes)
    }

    /// The epoch, told from any other of its number.
    pub(crate) fn era(&self) -> Era {
        Era::new(self.epoch, self.nonce)
    }
}

/// The file name of segment `number`, relative to the store's directory.
pub(crate) fn name(number: u64) -> String {
    format!("log/{number:010}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_its_encoding_and_no_flipped_bit_does() {
        let header = SegmentHeader {
            id: [9; 16],
            number: 3,
            epoch: 2,
            nonce: 7,
            bytes: 1 << 20,
            prev_end: 77 << 4,
        };
        let good = header.encode();
        assert_eq!(SegmentHeader::decode(&good), Ok(header));
        for bit in 0..8 * HEADER_BYTES {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bad).is_err(), "bit {bit}");
        }
    }
}

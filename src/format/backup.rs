//! What a backup says of itself: the file `backup`, and `backup.unfinished` while it is being made.

use super::checksum::crc;
use super::{StoreId, VERSION, set, u32_at, u64_at};

/// The file of a backup that is whole.
pub(crate) const NAME: &str = "backup";
/// The file that says that the directory is not a store yet, or not one any more.
pub(crate) const UNFINISHED: &str = "backup.unfinished";
/// The file under which either is prepared.
pub(crate) const PREPARED: &str = "backup.prepared";
/// Bytes of the file.
pub(crate) const BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"mapstBKU";

/// What the directory is, or is to be, a backup of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// The store.
    pub(crate) id: StoreId,
    /// The position that it is of.
    pub(crate) position: u64,
}

impl Note {
    pub(crate) fn encode(&self) -> [u8; BYTES] {
        let mut out = [0; BYTES];
        set(&mut out, 0, &MAGIC);
        set(&mut out, 8, &VERSION.to_le_bytes());
        set(&mut out, 16, &self.id);
        set(&mut out, 32, &self.position.to_le_bytes());
        let sum = crc(&out[..60]);
        set(&mut out, 60, &sum.to_le_bytes());
        out
    }

    /// What the file says, or the offset of the first field that is wrong and what it should be.
    pub(crate) fn decode(bytes: &[u8; BYTES]) -> Result<Note, (u64, &'static str)> {
        if bytes[..8] != MAGIC {
            return Err((0, "the magic of a backup"));
        }
        if u32_at(bytes, 60) != crc(&bytes[..60]) {
            return Err((60, "the checksum of the file"));
        }
        if u32_at(bytes, 8) != VERSION {
            return Err((8, "format version 1"));
        }
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[16..32]);
        Ok(Note { id, position: u64_at(bytes, 32) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_survives_its_encoding_and_no_flipped_bit_does() {
        let note = Note { id: [5; 16], position: 77 << 4 };
        let good = note.encode();
        assert_eq!(Note::decode(&good), Ok(note));
        for bit in 0..8 * BYTES {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Note::decode(&bad).is_err(), "bit {bit}");
        }
    }
}

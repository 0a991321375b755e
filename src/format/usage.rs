//! The file `usage`: a page of header, then words for each segment: bytes of the puts and of
//! the tombstones in it that the index leads to, and bytes of all records in it.

use super::checksum::crc;
use super::{PAGE, StoreId, VERSION, set, u32_at};

/// Bytes of the header that hold something.
pub(crate) const HEADER: usize = 64;
/// The file's name.
pub(crate) const NAME: &str = "usage";
const MAGIC: [u8; 8] = *b"mapstUSE";

/// Words for each segment; the last one is not used.
const EACH: u64 = 4;
/// Segments whose words a page holds.
const SEGMENTS: u64 = PAGE / 8 / EACH;

/// The lowest bit of a word: the count is known. Sizes of records are multiples of 16.
const KNOWN: u64 = 1;

/// The header of the file of one store.
pub(crate) fn encode(id: &StoreId) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    set(&mut out, 0, &MAGIC);
    set(&mut out, 8, &VERSION.to_le_bytes());
    set(&mut out, 16, id);
    let sum = crc(&out[..60]);
    set(&mut out, 60, &sum.to_le_bytes());
    out
}

/// These bytes are the header of this store's file.
pub(crate) fn is_header(bytes: &[u8; HEADER], id: &StoreId) -> bool {
    *bytes == encode(id) && u32_at(bytes, 8) == VERSION
}

/// Page and first word of segment `number`; None past the largest number that a file can have.
#[inline]
pub(crate) fn place(number: u64) -> Option<(u32, usize)> {
    let page = u32::try_from(1 + number / SEGMENTS).ok()?;
    Some((page, usize::try_from(number % SEGMENTS * EACH).ok()?))
}

/// The word for so many bytes.
#[inline]
pub(crate) fn word(bytes: Option<u64>) -> u64 {
    bytes.map_or(0, |bytes| bytes | KNOWN)
}

/// How many bytes; None when that is not known.
#[inline]
pub(crate) fn bytes(word: u64) -> Option<u64> {
    (word & KNOWN != 0).then_some(word & !KNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_its_encoding_and_no_flipped_bit_does() {
        let good = encode(&[5; 16]);
        assert!(is_header(&good, &[5; 16]) && !is_header(&good, &[6; 16]));
        for bit in 0..8 * HEADER {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_header(&bad, &[5; 16]), "bit {bit}");
        }
    }

    #[test]
    fn every_segment_has_a_word_and_nothing_is_known_of_zeros() {
        assert_eq!(place(0), Some((1, 0)));
        assert_eq!(place(127), Some((1, 508)));
        assert_eq!(place(128), Some((2, 0)));
        assert_eq!(place(u64::MAX), None);
        for live in [None, Some(0), Some(16), Some(1 << 40)] {
            assert_eq!(bytes(word(live)), live);
        }
        assert_eq!(bytes(0), None);
    }
}

//! What a cursor says: a file of its own in `cursors`, under the cursor's name.

use super::checksum::crc;
use super::position::{Bookmark, Era, Position};
use super::{StoreId, VERSION, set, u32_at, u64_at};

/// The directory of all cursors. It is made with the first.
pub(crate) const DIR: &str = "cursors";
/// What the name of a file ends in before it is whole.
pub(crate) const UNFINISHED: &str = ".unfinished";
/// Bytes of the file.
pub(crate) const BYTES: usize = 64;
/// Longest name, in bytes.
pub(crate) const MAX_NAME: usize = 100;
const MAGIC: [u8; 8] = *b"mapstCUR";

/// The name can be a cursor's: letters, digits, `.`, `-` and `_` of ASCII, the first no `.`, and it is no file's that is unfinished.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with('.')
        && !name.ends_with(UNFINISHED)
}

/// The bytes of a cursor at `at` in one store.
pub(crate) fn encode(id: &StoreId, at: Bookmark) -> [u8; BYTES] {
    let mut out = [0; BYTES];
    set(&mut out, 0, &MAGIC);
    set(&mut out, 8, &VERSION.to_le_bytes());
    set(&mut out, 16, id);
    set(&mut out, 32, &at.position.0.to_le_bytes());
    set(&mut out, 40, &at.era.0.to_le_bytes());
    let sum = crc(&out[..60]);
    set(&mut out, 60, &sum.to_le_bytes());
    out
}

/// Where the cursor is, or the offset of the first field that is wrong and what it should be.
pub(crate) fn decode(bytes: &[u8; BYTES], id: &StoreId) -> Result<Bookmark, (u64, &'static str)> {
    if bytes[..8] != MAGIC {
        return Err((0, "the magic of a cursor"));
    }
    if u32_at(bytes, 60) != crc(&bytes[..60]) {
        return Err((60, "the checksum of the file"));
    }
    if u32_at(bytes, 8) != VERSION {
        return Err((8, "format version 1"));
    }
    if bytes[16..32] != *id {
        return Err((16, "the id of this store"));
    }
    Ok(Bookmark { position: Position(u64_at(bytes, 32)), era: Era(u64_at(bytes, 40)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_encoding_and_no_flipped_bit_does() {
        let at = Bookmark { position: Position(77 << 4), era: Era(3 << 32 | 9) };
        let good = encode(&[5; 16], at);
        assert_eq!(decode(&good, &[5; 16]), Ok(at));
        assert_eq!(decode(&good, &[6; 16]), Err((16, "the id of this store")));
        for bit in 0..8 * BYTES {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad, &[5; 16]).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn names_are_plain() {
        for name in ["replica-1", "a", "A_b.c", &"x".repeat(100)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", ".x", "a/b", "a b", "é", "x.unfinished", &"x".repeat(101)] {
            assert!(!is_name(name), "{name}");
        }
    }
}

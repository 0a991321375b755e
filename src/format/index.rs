//! The header of the index file: page 0.

use super::checksum::crc;
use super::{StoreId, VERSION, set, u32_at};

/// Bytes of the header that hold something.
pub(crate) const HEADER: usize = 64;
/// The file's name.
pub(crate) const NAME: &str = "index";
const MAGIC: [u8; 8] = *b"mapstBKT";

/// The header of the index of one store.
pub(crate) fn encode(id: &StoreId) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    set(&mut out, 0, &MAGIC);
    set(&mut out, 8, &VERSION.to_le_bytes());
    set(&mut out, 16, id);
    let sum = crc(&out[..60]);
    set(&mut out, 60, &sum.to_le_bytes());
    out
}

/// The id of the store that the index belongs to, or the offset of the first wrong field and what it should be.
pub(crate) fn decode(bytes: &[u8; HEADER]) -> Result<StoreId, (u64, &'static str)> {
    if bytes[..8] != MAGIC {
        return Err((0, "the magic of an index"));
    }
    if u32_at(bytes, 60) != crc(&bytes[..60]) {
        return Err((60, "the checksum of the header"));
    }
    if u32_at(bytes, 8) != VERSION {
        return Err((8, "format version 1"));
    }
    let mut id = [0; 16];
    id.copy_from_slice(&bytes[16..32]);
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_its_encoding_and_no_flipped_bit_does() {
        let good = encode(&[5; 16]);
        assert_eq!(decode(&good), Ok([5; 16]));
        for bit in 0..8 * HEADER {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad).is_err(), "bit {bit}");
        }
    }
}

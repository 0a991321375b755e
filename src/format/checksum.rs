//! Checksums: CRC-32 (IEEE), and for records one that also depends on where and when they were written.

use super::StoreId;

/// CRC-32 of fields that stand in one file at one place for ever.
pub(crate) fn crc(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// What the checksum of every record of a segment starts from besides its position: the store and the epoch.
///
/// A CRC is a bijection of its initial value, so a record of another epoch or another place fails for certain
/// when the initial values differ, and not merely with high probability.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Salt(u32);

impl Salt {
    pub(crate) fn new(id: &StoreId, epoch: u32) -> Salt {
        Salt(crc(id) ^ epoch.wrapping_mul(0x9E37_79B1))
    }

    /// A checksum in progress for the record at `position`.
    #[inline]
    pub(crate) fn start(self, position: u64) -> crc32fast::Hasher {
        // The low half of a product by an odd constant tells apart any two positions within 64 GiB.
        let place = ((position / super::position::ALIGN).wrapping_mul(0x85EB_CA6B)
            ^ (position >> 36))
            & 0xFFFF_FFFF;
        crc32fast::Hasher::new_with_initial(self.0 ^ place as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_another_epoch_or_place_never_verifies() {
        let at = |epoch, position| {
            let mut crc = Salt::new(&[7; 16], epoch).start(position);
            crc.update(b"the same bytes");
            crc.finalize()
        };
        assert_eq!(at(1, 64), at(1, 64));
        assert_ne!(at(1, 64), at(2, 64));
        assert_ne!(at(1, 64), at(1, 80));
        assert_ne!(at(1, 64), at(1, 64 + (1 << 36)));
    }
}

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

    /// The salt as a number.
    pub(crate) fn word(self) -> u32 {
        self.0
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

    /// The checksum, at `position`, of `len` bytes whose plain CRC is known.
    pub(crate) fn of_plain(self, position: u64, plain: u32, len: u64) -> u32 {
        shift(self.start(position).finalize(), len) ^ plain
    }

    /// The one salt with which `len` bytes at `position` whose plain CRC is `plain` have the checksum `sum`.
    pub(crate) fn solve(position: u64, plain: u32, len: u64, sum: u32) -> Salt {
        // The powers of x repeat after 2^32 - 1: to append that many zero bytes less `len` takes `len` away.
        let start = shift(sum ^ plain, PERIOD - len % PERIOD);
        Salt(start ^ Salt(0).start(position).finalize())
    }

    /// The epoch of a store's segment that has this salt.
    pub(crate) fn epoch(self, id: &StoreId) -> u32 {
        // The inverse of the factor in `new`, modulo 2^32.
        (self.0 ^ crc(id)).wrapping_mul(0x0E8B_2F51)
    }
}

/// After how many bits a CRC-32 register that is fed zeros is what it was.
const PERIOD: u64 = 0xFFFF_FFFF;

/// The register after `len` zero bytes more, for a linear CRC.
fn shift(register: u32, len: u64) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(register);
    crc.combine(&crc32fast::Hasher::new_with_initial_len(0, len));
    crc.finalize()
}

/// The plain CRC of two ranges that follow each other, the second `len` bytes long.
pub(crate) fn join(first: u32, second: u32, len: u64) -> u32 {
    shift(first, len) ^ second
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
    #[test]
    fn a_sum_of_a_plain_crc_is_that_of_the_bytes_and_tells_the_salt() {
        for len in [0, 1, 4, 20, 4096, 70_001] {
            let bytes: Vec<u8> = (0..len).map(|i: u32| i.to_le_bytes()[0] ^ 0x5A).collect();
            let (id, plain, count) = ([9; 16], crc(&bytes), bytes.len() as u64);
            for (epoch, position) in [(1, 64), (77, 4096 * 9), (u32::MAX, 1 << 40)] {
                let salt = Salt::new(&id, epoch);
                let mut sum = salt.start(position);
                sum.update(&bytes);
                let sum = sum.finalize();
                assert_eq!(salt.of_plain(position, plain, count), sum);
                let solved = Salt::solve(position, plain, count, sum);
                assert_eq!((solved.0, solved.epoch(&id)), (salt.0, epoch));
            }
        }
    }

    #[test]
    fn crcs_of_neighbours_join() {
        let bytes: Vec<u8> = (0..9000u32).map(|i| i.to_le_bytes()[0]).collect();
        let (a, b) = bytes.split_at(4100);
        assert_eq!(join(crc(a), crc(b), b.len() as u64), crc(&bytes));
    }
}

//! The hash of a key: seeded XXH3, spread so that index pages fill up at different times.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How many hash bits a slot stores: pages split by these, without reading a key.
pub(crate) const STORED_BITS: u32 = 39;

/// Hashes keys with the seed of one store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hasher {
    seed: u64,
    /// All ones, unless a test wants keys to collide.
    mask: u64,
}

/// The spread hash of one key in one table. Its highest bits choose the page, its highest 39 stand in the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hash(pub(crate) u64);

impl Hasher {
    #[cfg(any(test, not(feature = "sim")))]
    pub(crate) fn new(seed: u64) -> Hasher {
        Hasher { seed, mask: u64::MAX }
    }

    /// A hash of which only the bits in `mask` differ between keys.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn rigged(seed: u64, mask: u64) -> Hasher {
        Hasher { seed, mask }
    }

    /// The hash of `key` in table `table`.
    #[inline]
    pub(crate) fn hash(&self, table: u32, key: &[u8]) -> Hash {
        let seed = self.seed.wrapping_add(u64::from(table).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        spread(xxh3_64_with_seed(key, seed) & self.mask)
    }
}

/// Maps a uniform hash to one whose density falls by half from the lowest to the highest value.
///
/// With a uniform hash all pages of an extendible index fill up and split at about the same time, and the bytes a key
/// needs swing between 17 and 33 as the store grows. A density that spans one octave spreads the splits over the whole
/// doubling, so that the bytes per key are the same at every size (Martin, "Spiral Storage", 1979).
#[inline]
fn spread(hash: u64) -> Hash {
    // x * (2/3 + x/3) for x in [0, 1): monotone, with a slope that runs from 2/3 to 4/3.
    let factor = 0xAAAA_AAAA_AAAA_AAAAu128 + u128::from(hash / 3);
    Hash(((u128::from(hash) * factor) >> 64) as u64)
}

impl Hash {
    /// The number that the first `bits` (0 to 39) bits form.
    #[inline]
    pub(crate) fn prefix(self, bits: u32) -> u64 {
        // Two shifts, since a shift by 64 is not defined.
        (self.0 >> 1) >> (63 - bits)
    }

    /// The 39 stored bits.
    #[inline]
    pub(crate) fn stored(self) -> u64 {
        self.0 >> (64 - STORED_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_stable_across_releases() {
        // These values are part of the format (docs/format.md).
        let hasher = Hasher::new(0);
        assert_eq!(hasher.hash(1, b"").0, spread(xxh3_64_with_seed(b"", 0x9E37_79B9_7F4A_7C15)).0);
        assert_eq!(spread(0).0, 0);
        assert_eq!(spread(u64::MAX).0, 0xFFFF_FFFF_FFFF_FFFE);
        assert_eq!(spread(1 << 63).0, 0x6AAA_AAAA_AAAA_AAAA);
    }

    #[test]
    fn spreading_keeps_order_and_varies_density_by_an_octave() {
        let low = spread(1 << 40).0;
        let high = u64::MAX - spread(u64::MAX - (1 << 40)).0;
        assert!(high > low * 19 / 10 && high < low * 21 / 10, "{low} {high}");
    }

    #[test]
    fn prefixes() {
        let hash = Hash(0b1011 << 60);
        assert_eq!(hash.prefix(0), 0);
        assert_eq!(hash.prefix(1), 1);
        assert_eq!(hash.prefix(4), 0b1011);
        assert_eq!(hash.prefix(STORED_BITS), hash.stored());
    }
}

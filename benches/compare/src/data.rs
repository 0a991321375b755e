//! Keys and values: the same for every peer, without order, checkable, and nothing a compressor could shrink.
//!
//! Key `i` is 16 bytes of a bijective scramble of `i`. A value begins with `i` and a version, and goes on with bytes of a pool that
//! `i` chooses; a reader checks both ends, and its length.

use std::sync::LazyLock;

pub const KEY: usize = 16;
/// The version that a load writes; overwrites write higher ones.
pub const LOADED: u64 = 1;

/// Room for the longest value, and for 512 places to start at.
const POOL: usize = (1 << 20) + 4096;

static BYTES: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..POOL as u64 / 8).flat_map(|i| scramble(!i).to_le_bytes()).collect());

/// Bijective, so that keys are distinct, and without any order.
pub fn scramble(i: u64) -> u64 {
    let mut x = i.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

pub fn key(i: u64) -> [u8; KEY] {
    let mut key = [0; KEY];
    key[..8].copy_from_slice(&scramble(i).to_be_bytes());
    key[8..].copy_from_slice(&scramble(i ^ 0x5555_5555_5555_5555).to_be_bytes());
    key
}

/// Fills `value`, at least 16 bytes, with what key `i` has at `version`.
pub fn fill(value: &mut [u8], i: u64, version: u64) {
    value[..8].copy_from_slice(&i.to_le_bytes());
    value[8..16].copy_from_slice(&version.to_le_bytes());
    let rest = value.len() - 16;
    value[16..].copy_from_slice(tail(i, rest));
}

fn tail(i: u64, len: usize) -> &'static [u8] {
    let start = (i % 512) as usize * 8;
    &BYTES[start..start + len]
}

/// The version of `value`, if it is one that key `i` may have at that length.
pub fn version(value: &[u8], i: u64, len: usize) -> Option<u64> {
    let expected = tail(i, len - 16);
    let last = expected.len().min(8);
    let sound = value.len() == len
        && value[..8] == i.to_le_bytes()
        && value[len - last..] == expected[expected.len() - last..];
    sound.then(|| u64::from_le_bytes(value[8..16].try_into().expect("eight bytes")))
}

/// The key number that `value` was written for.
pub fn number(value: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(value.get(..8)?.try_into().ok()?))
}

/// The sum of all words of `value`, the last one padded with zeros: every byte counts.
pub fn sum(value: &[u8]) -> u64 {
    let (words, rest) = value.as_chunks();
    let sum = words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    sum.wrapping_add(u64::from_le_bytes(last))
}

/// Key numbers in no order: a counter, scrambled. Each seed gives another sequence.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(scramble(seed))
    }

    /// The next number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        ((u128::from(scramble(self.0)) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_proves_its_key_its_version_and_its_length() {
        for len in [16, 17, 24, 100, 1024, 65536] {
            let mut value = vec![0; len];
            fill(&mut value, 7, 3);
            assert_eq!(version(&value, 7, len), Some(3));
            assert_eq!(version(&value, 8, len), None);
            assert_eq!(version(&value[..len - 1], 7, len), None);
            if len > 16 {
                value[len - 1] ^= 1;
                assert_eq!(version(&value, 7, len), None);
            }
        }
    }

    #[test]
    fn a_sum_shows_every_byte() {
        let mut value = vec![0; 100];
        fill(&mut value, 7, 3);
        let before = sum(&value);
        for place in 0..value.len() {
            value[place] ^= 0x10;
            assert_ne!(sum(&value), before, "byte {place}");
            value[place] ^= 0x10;
        }
    }
}

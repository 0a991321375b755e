//! The plain CRC of any range of a segment in bounded time, so that a search for records in damaged bytes takes time in proportion
//! to their number, whatever lengths these bytes may name.

use std::cell::OnceCell;

use crate::format::PAGE_BYTES;
use crate::format::checksum::{crc, join};

/// A segment's bytes, with the CRCs of its beginnings once they are needed.
#[derive(Debug)]
pub(super) struct Sums<'a> {
    bytes: &'a [u8],
    /// CRC of the first n pages.
    pages: OnceCell<Vec<u32>>,
}

impl<'a> Sums<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Sums<'a> {
        Sums { bytes, pages: OnceCell::new() }
    }

    /// The plain CRC of a range within the bytes.
    pub(super) fn plain(&self, from: usize, to: usize) -> u32 {
        if to - from <= 4 * PAGE_BYTES {
            return crc(&self.bytes[from..to]);
        }
        let (first, last) = (from.div_ceil(PAGE_BYTES), to / PAGE_BYTES);
        let pages = self.pages.get_or_init(|| beginnings(self.bytes));
        let middle = ((last - first) * PAGE_BYTES) as u64;
        let (start, end) = (first * PAGE_BYTES, last * PAGE_BYTES);
        // The CRC is linear: what is before the range is taken away from the CRC of everything up to its end.
        let middle_crc = join(pages[first], pages[last], middle);
        let front = join(crc(&self.bytes[from..start]), middle_crc, middle);
        join(front, crc(&self.bytes[end..to]), (to - end) as u64)
    }
}

fn beginnings(bytes: &[u8]) -> Vec<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut all = vec![0];
    for page in bytes.chunks_exact(PAGE_BYTES) {
        hasher.update(page);
        all.push(hasher.clone().finalize());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_of_any_range_is_that_of_its_bytes() {
        let bytes: Vec<u8> = (0..60_000u32).map(|i| (i * i / 8).to_le_bytes()[0]).collect();
        let sums = Sums::new(&bytes);
        for from in [0, 1, 16, 4095, 4096, 4097, 30_000] {
            for to in [from, from + 20, from + 16_384, from + 16_400, 50_000, 53_248, 60_000] {
                assert_eq!(sums.plain(from, to.max(from)), crc(&bytes[from..to.max(from)]));
            }
        }
    }
}

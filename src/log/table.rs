//! Which segments a handle has mapped: a table that grows without moving, so that lookups need no lock.

use std::sync::OnceLock;

use super::segment::Segment;

const FIRST: u64 = 64;
const BUCKETS: usize = 48;

type Bucket = Box<[OnceLock<Box<Segment>>]>;

/// Bucket k holds `64 << k` segments; each is made when the first of its segments is.
#[derive(Debug)]
pub(super) struct SegmentTable {
    buckets: [OnceLock<Bucket>; BUCKETS],
}

#[inline]
fn place(number: u64) -> (usize, u64) {
    let k = (number / FIRST + 1).ilog2();
    (k as usize, number - FIRST * ((1 << k) - 1))
}

impl SegmentTable {
    pub(super) fn new() -> SegmentTable {
        SegmentTable { buckets: [const { OnceLock::new() }; BUCKETS] }
    }

    #[inline]
    pub(super) fn get(&self, number: u64) -> Option<&Segment> {
        let (k, index) = place(number);
        let bucket = self.buckets.get(k)?.get()?;
        bucket.get(usize::try_from(index).ok()?)?.get().map(|segment| &**segment)
    }

    /// Keeps `segment`, unless another thread was first; returns the one that is kept.
    pub(super) fn insert(&self, number: u64, segment: Segment) -> &Segment {
        let (k, index) = place(number);
        let bucket =
            self.buckets[k].get_or_init(|| (0..FIRST << k).map(|_| OnceLock::new()).collect());
        let index = usize::try_from(index).expect("a 64-bit target");
        bucket[index].get_or_init(|| Box::new(segment))
    }

    pub(super) fn forget_from(&mut self, number: u64) {
        let (first, index) = place(number);
        let mut from = usize::try_from(index).expect("a 64-bit target");
        for bucket in &mut self.buckets[first..] {
            if let Some(bucket) = bucket.get_mut() {
                bucket[from..].iter_mut().for_each(|cell| drop(cell.take()));
            }
            from = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_one_place() {
        let mut expected = (0, 0);
        for number in 0..10_000 {
            assert_eq!(place(number), expected, "{number}");
            expected.1 += 1;
            if expected.1 == FIRST << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert!(place(u64::MAX >> 12).0 < BUCKETS);
    }
}

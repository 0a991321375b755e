//! Which segments a handle has mapped: a table that grows without moving, so that lookups need no lock.

use std::sync::OnceLock;

use crate::sys::{Limbo, Pin, Shelf};

use super::segment::Segment;

/// Segments that the table has room for from the start.
const FIRST: u64 = 256;
const FIRST_CELLS: usize = 256;
const BUCKETS: usize = 48;

type Cell = Shelf<Segment>;

/// The first segments are found at once; bucket k holds the next `FIRST << k`, and is made when the first of them is.
#[derive(Debug)]
pub(super) struct SegmentTable {
    first: Box<[Cell; FIRST_CELLS]>,
    buckets: [OnceLock<Box<[Cell]>>; BUCKETS],
}

/// Bucket of a number that is not among the first, and its place there.
fn place(number: u64) -> (usize, usize) {
    let k = (number / FIRST).ilog2();
    let index = usize::try_from(number - (FIRST << k)).expect("a 64-bit target");
    (k as usize, index)
}

impl SegmentTable {
    pub(super) fn new() -> SegmentTable {
        SegmentTable {
            first: Box::new([const { Shelf::new() }; FIRST_CELLS]),
            buckets: [const { OnceLock::new() }; BUCKETS],
        }
    }

    #[inline]
    pub(super) fn get<'p>(&'p self, number: u64, pin: &'p Pin) -> Option<&'p Segment> {
        #[expect(clippy::cast_possible_truncation, reason = "a 64-bit target")]
        let cell = match self.first.get(number as usize) {
            Some(cell) => cell,
            None => self.further(number)?,
        };
        cell.get(pin)
    }

    #[cold]
    fn further(&self, number: u64) -> Option<&Cell> {
        let (k, index) = place(number);
        self.buckets.get(k)?.get()?.get(index)
    }

    /// Keeps `segment`, unless another thread was first; returns the one that is kept.
    pub(super) fn insert<'p>(&'p self, number: u64, segment: Segment, pin: &'p Pin) -> &'p Segment {
        let cell = match usize::try_from(number).ok().and_then(|at| self.first.get(at)) {
            Some(cell) => cell,
            None => {
                let (k, index) = place(number);
                let empty = || (0..FIRST << k).map(|_| Shelf::new()).collect();
                &self.buckets[k].get_or_init(empty)[index]
            }
        };
        cell.fill(Box::new(segment), pin)
    }

    fn cells(&self) -> impl Iterator<Item = &Cell> {
        let further = self.buckets.iter().filter_map(OnceLock::get);
        self.first.iter().chain(further.flat_map(|bucket| bucket.iter()))
    }

    /// Takes one segment away.
    pub(super) fn take_away(&self, number: u64, limbo: &Limbo<Segment>) {
        let first = usize::try_from(number).ok().and_then(|at| self.first.get(at));
        if let Some(cell) = first.or_else(|| self.further(number)) {
            cell.empty(limbo);
        }
    }

    /// Takes the segments away of which `is_gone` says so.
    pub(super) fn take_away_all(&self, is_gone: impl Fn(u64) -> bool, limbo: &Limbo<Segment>) {
        let pin = Pin::new();
        for cell in self.cells() {
            if cell.get(&pin).is_some_and(|segment| is_gone(segment.number())) {
                cell.empty(limbo);
            }
        }
    }

    /// All segments, in order.
    pub(super) fn iter<'p>(&'p self, pin: &'p Pin) -> impl Iterator<Item = &'p Segment> {
        self.cells().filter_map(|cell| cell.get(pin))
    }

    /// Forgets the segments from `number` on.
    pub(super) fn forget_from(&mut self, number: u64) {
        let further = self.buckets.iter_mut().filter_map(OnceLock::get_mut);
        for cell in self.first.iter_mut().chain(further.flat_map(|bucket| bucket.iter_mut())) {
            cell.clear_if(|segment| segment.number() >= number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_one_place() {
        let mut expected = (0, 0);
        for number in FIRST..100_000 {
            assert_eq!(place(number), expected, "{number}");
            expected.1 += 1;
            if expected.1 == usize::try_from(FIRST).expect("small") << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert!(place(u64::MAX >> 12).0 < BUCKETS);
    }
}

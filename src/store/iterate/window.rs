//! A part of the log as one bit for each place where a record can begin: the positions that are noted come out in order, however
//! many there are, in memory that says nothing about how many.

use crate::format::position::ALIGN;

/// Positions from one to another, `ALIGN` bytes apart.
#[derive(Debug)]
pub(super) struct Window {
    /// Where the first one began.
    first: u64,
    start: u64,
    /// The last word is for positions that are elsewhere, so that no branch has to tell them apart: nobody could foresee it.
    bits: Vec<u64>,
    /// Words of which nothing is left.
    done: usize,
    /// The least position after the window that was to be noted.
    next: u64,
}

impl Window {
    /// One for at least `bytes` of the log from `start` on, into which nothing is noted yet.
    pub(super) fn new(start: u64, bytes: u64) -> Window {
        let words = bytes.div_ceil(ALIGN * u64::from(u64::BITS));
        let words = usize::try_from(words).expect("a few MiB");
        Window { first: start, start, bits: vec![0; words + 1], done: 0, next: u64::MAX }
    }

    /// The same for what comes next; false if there is nothing.
    pub(super) fn go_on(&mut self) -> bool {
        let more = self.next != u64::MAX;
        self.start = self.next;
        self.bits.fill(0);
        (self.done, self.next) = (0, u64::MAX);
        more
    }

    /// This is the first window, and the position is before it.
    pub(super) fn begins_after(&self, position: u64) -> bool {
        self.start == self.first && position < self.first
    }

    /// Notes a position, if it is in the window.
    #[inline]
    pub(super) fn note(&mut self, position: u64) {
        let last = self.bits.len() - 1;
        let bit = position.wrapping_sub(self.start) / ALIGN;
        let word = (bit / u64::from(u64::BITS)) as usize;
        let after = word >= last && position > self.start;
        self.next = self.next.min(if after { position } else { u64::MAX });
        self.bits[word.min(last)] |= 1 << (bit % u64::from(u64::BITS));
    }

    /// Takes out up to `most` positions, in order, and none that is much more than so many bytes after the first. Returns that one.
    pub(super) fn take(
        &mut self,
        most: usize,
        bytes: u64,
        mut each: impl FnMut(u64),
    ) -> Option<u64> {
        let last = self.bits.len() - 1;
        let (mut first, mut left) = (None, most);
        while self.done < last && left > 0 {
            let word = &mut self.bits[self.done];
            let start = self.start + self.done as u64 * u64::from(u64::BITS) * ALIGN;
            if first.is_some_and(|first| start >= first + bytes) {
                break;
            }
            while *word != 0 && left > 0 {
                let position = start + u64::from(word.trailing_zeros()) * ALIGN;
                first = first.or(Some(position));
                each(position);
                *word &= *word - 1;
                left -= 1;
            }
            self.done += usize::from(*word == 0);
        }
        first
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn taken(window: &mut Window, most: usize, bytes: u64) -> Vec<u64> {
        let mut positions = Vec::new();
        let first = window.take(most, bytes, |position| positions.push(position));
        assert_eq!(first, positions.first().copied());
        positions
    }

    #[test]
    fn what_is_noted_comes_out_in_order_part_by_part() {
        let mut window = Window::new(64 << 10, 4096);
        let mut positions: Vec<u64> =
            (0..500u64).map(|i| (64 << 10) + i * 7919 % 1024 * 16).collect();
        positions.iter().for_each(|position| window.note(*position));
        positions.sort_unstable();
        positions.dedup();
        let mut found = Vec::new();
        loop {
            let end = positions.iter().copied().find(|it| *it >= window.start + 4096);
            found.extend(taken(&mut window, usize::MAX, u64::MAX >> 1));
            assert!(found.iter().all(|it| *it < window.start + 4096));
            assert_eq!(window.next, end.unwrap_or(u64::MAX));
            if !window.go_on() {
                break;
            }
            positions.iter().for_each(|position| window.note(*position));
        }
        assert_eq!(found, positions);
    }

    #[test]
    fn no_more_is_taken_than_was_asked_for() {
        let mut window = Window::new(0, 1 << 20);
        for position in [16, 32, 1008, 1024, 40_000, 41_040] {
            window.note(position);
        }
        assert_eq!(taken(&mut window, 1, 1 << 20), [16]);
        assert_eq!(taken(&mut window, 9, 900), [32, 1008]);
        assert_eq!(taken(&mut window, 2, 1 << 20), [1024, 40_000]);
        assert_eq!(taken(&mut window, 9, 1 << 20), [41_040]);
        assert_eq!(taken(&mut window, 9, 1 << 20), []);
        assert!(!window.go_on());
    }
}

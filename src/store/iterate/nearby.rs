//! Putting numbers that are near to each other together, in a fraction of the time that sorting them takes.

/// Parts that a range of numbers is cut into: a few hundred numbers each, if there are as many as an iteration brings.
const PARTS: usize = 2048;

/// Puts the numbers into the order of the parts of their range that they are in; within a part they stay as they were. `other` is
/// for the numbers while they move, and becomes as long.
pub(super) fn bring_together(numbers: &mut Vec<u64>, other: &mut Vec<u64>) {
    let widen = |(min, max): (u64, u64), number: &u64| (min.min(*number), max.max(*number));
    let (min, max) = numbers.iter().fold((u64::MAX, 0), widen);
    // As many bits as say which part.
    let shift = (u64::BITS - max.saturating_sub(min).leading_zeros())
        .saturating_sub(PARTS.trailing_zeros());
    #[expect(clippy::cast_possible_truncation, reason = "a part")]
    let part = |number: u64| ((number - min) >> shift) as usize;
    let mut starts = [0; PARTS];
    for number in &*numbers {
        starts[part(*number)] += 1;
    }
    let mut before = 0;
    for start in &mut starts {
        before += std::mem::replace(start, before);
    }
    other.clear();
    other.resize(numbers.len(), 0);
    for number in &*numbers {
        let place = &mut starts[part(*number)];
        other[*place] = *number;
        *place += 1;
    }
    std::mem::swap(numbers, other);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn together(mut numbers: Vec<u64>) -> Vec<u64> {
        bring_together(&mut numbers, &mut vec![7; 3]);
        numbers
    }

    #[test]
    fn what_is_near_to_each_other_comes_together() {
        assert_eq!(together(vec![]), []);
        assert_eq!(together(vec![9]), [9]);
        assert_eq!(together(vec![u64::MAX, 5, 0, u64::MAX, 5]), [5, 0, 5, u64::MAX, u64::MAX]);
        let mixed: Vec<u64> =
            (0..10_000u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
        let mut sorted = mixed.clone();
        sorted.sort_unstable();
        let mut numbers = together(mixed);
        let part = |number: &u64| number >> (u64::BITS - PARTS.trailing_zeros());
        assert!(numbers.is_sorted_by_key(part));
        numbers.sort_unstable();
        assert_eq!(numbers, sorted);
    }

    /// So many that each part is one number.
    #[test]
    fn a_narrow_range_is_sorted() {
        let numbers = (0..PARTS as u64).rev().map(|i| 1_000 + i).collect();
        assert_eq!(together(numbers), (1_000..1_000 + PARTS as u64).collect::<Vec<_>>());
    }
}

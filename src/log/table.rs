//! Which segments a handle has mapped: a table that grows without moving, so that lookups need no lock.

use std::sync::OnceLock;

use crate::sys::{Limbo, Pin, Shelf};

use super::segment::Segment;

/// Segments that a leaf has room for; the first leaf is there from the start.
const LEAF: u64 = 256;
const LEAF_CELLS: usize = 256;
/// Levels of twigs above a leaf, at most: a number has 64 bits.
const LEVELS: usize = 7;

type Leaf = [Shelf<Segment>; LEAF_CELLS];

/// A node of a tree that is as deep as its numbers are large, and in which only what leads to a segment is made: a number in a
/// damaged file may be any, and must not take more memory than another.
#[derive(Debug)]
enum Node {
    Leaf(Box<Leaf>),
    Twig(Box<[OnceLock<Node>; LEAF_CELLS]>),
}

/// The first segments are found at once; those whose numbers have `k + 2` digits to the base of 256 are in tree `k`.
#[derive(Debug)]
pub(super) struct SegmentTable {
    first: Box<Leaf>,
    trees: [OnceLock<Node>; LEVELS],
}

fn empty() -> Box<Leaf> {
    Box::new([const { Shelf::new() }; LEAF_CELLS])
}

impl Node {
    fn new(levels: usize) -> Node {
        match levels {
            0 => Node::Leaf(empty()),
            _ => Node::Twig(Box::new([const { OnceLock::new() }; LEAF_CELLS])),
        }
    }

    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Shelf<Segment>)) {
        match self {
            Node::Leaf(leaf) => leaf.iter().for_each(visit),
            Node::Twig(twig) => {
                twig.iter().filter_map(OnceLock::get).for_each(|node| node.each(visit));
            }
        }
    }

    fn forget_from(&mut self, number: u64) {
        match self {
            Node::Leaf(leaf) => forget_from(leaf, number),
            Node::Twig(twig) => {
                let nodes = twig.iter_mut().filter_map(OnceLock::get_mut);
                nodes.for_each(|node| node.forget_from(number));
            }
        }
    }
}

fn forget_from(leaf: &mut Leaf, number: u64) {
    for cell in leaf {
        cell.clear_if(|segment| segment.number() >= number);
    }
}

/// The tree that a number which is not among the first is in: how many twigs lead to its leaf, less one.
fn tree(number: u64) -> usize {
    number.ilog2() as usize / LEAF.ilog2() as usize - 1
}

/// The digit of a number, to the base of 256.
fn digit(number: u64, level: usize) -> usize {
    usize::from(number.to_le_bytes()[level])
}

impl SegmentTable {
    pub(super) fn new() -> SegmentTable {
        SegmentTable { first: empty(), trees: [const { OnceLock::new() }; LEVELS] }
    }

    #[inline]
    pub(super) fn get<'p>(&'p self, number: u64, pin: &'p Pin) -> Option<&'p Segment> {
        self.place(number)?.get(pin)
    }

    /// The cell of a number, if it was made.
    #[inline]
    fn place(&self, number: u64) -> Option<&Shelf<Segment>> {
        #[expect(clippy::cast_possible_truncation, reason = "a 64-bit target")]
        match self.first.get(number as usize) {
            Some(cell) => Some(cell),
            None => self.further(number),
        }
    }

    #[cold]
    fn further(&self, number: u64) -> Option<&Shelf<Segment>> {
        let tree = tree(number);
        let mut node = self.trees[tree].get()?;
        let mut level = tree + 1;
        loop {
            match node {
                Node::Leaf(leaf) => return Some(&leaf[digit(number, 0)]),
                Node::Twig(twig) => node = twig[digit(number, level)].get()?,
            }
            level -= 1;
        }
    }

    /// The cell of a number, which is made if need be.
    fn cell(&self, number: u64) -> &Shelf<Segment> {
        if number < LEAF {
            return &self.first[digit(number, 0)];
        }
        let tree = tree(number);
        let mut level = tree + 1;
        let mut node = self.trees[tree].get_or_init(|| Node::new(level));
        loop {
            match node {
                Node::Leaf(leaf) => return &leaf[digit(number, 0)],
                Node::Twig(twig) => {
                    node = twig[digit(number, level)].get_or_init(|| Node::new(level - 1));
                }
            }
            level -= 1;
        }
    }

    /// Keeps `segment`, unless another thread was first; returns the one that is kept.
    pub(super) fn insert<'p>(&'p self, number: u64, segment: Segment, pin: &'p Pin) -> &'p Segment {
        self.cell(number).fill(Box::new(segment), pin)
    }

    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Shelf<Segment>)) {
        self.first.iter().for_each(&mut *visit);
        self.trees.iter().filter_map(OnceLock::get).for_each(|tree| tree.each(visit));
    }

    /// Takes one segment away.
    pub(super) fn take_away(&self, number: u64, limbo: &Limbo<Segment>) {
        if let Some(cell) = self.place(number) {
            cell.empty(limbo);
        }
    }

    /// Takes the segments away of which `is_gone` says so.
    pub(super) fn take_away_all(&self, is_gone: impl Fn(u64) -> bool, limbo: &Limbo<Segment>) {
        let pin = Pin::new();
        self.each(&mut |cell| {
            if cell.get(&pin).is_some_and(|segment| is_gone(segment.number())) {
                cell.empty(limbo);
            }
        });
    }

    /// All segments, in order.
    pub(super) fn iter<'p>(&'p self, pin: &'p Pin) -> impl Iterator<Item = &'p Segment> {
        let mut all: Vec<&Segment> = Vec::new();
        self.each(&mut |cell| all.extend(cell.get(pin)));
        all.into_iter()
    }

    /// The segments from number `first` to number `last`, in order.
    pub(super) fn between<'p>(
        &'p self,
        first: u64,
        last: u64,
        pin: &'p Pin,
    ) -> impl Iterator<Item = &'p Segment> {
        let few = last.saturating_sub(first) < LEAF;
        let near = few.then(|| (first..=last).filter_map(|number| self.get(number, pin)));
        let range = first..=last;
        let far = (!few).then(|| self.iter(pin).filter(move |it| range.contains(&it.number())));
        near.into_iter().flatten().chain(far.into_iter().flatten())
    }

    /// Forgets the segments from `number` on.
    pub(super) fn forget_from(&mut self, number: u64) {
        forget_from(&mut self.first, number);
        for tree in self.trees.iter_mut().filter_map(OnceLock::get_mut) {
            tree.forget_from(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_one_place() {
        let table = SegmentTable::new();
        // Enough to leave the first leaf; interpreted, all of them take minutes.
        let many = if cfg!(miri) { 2 * LEAF } else { 70_000 };
        let numbers = (0..many).chain((0..64).map(|bit| 1 << bit)).chain([u64::MAX, (1 << 24) + 1]);
        let mut places: Vec<(usize, u64)> =
            numbers.map(|number| (std::ptr::from_ref(table.cell(number)).addr(), number)).collect();
        for (place, number) in places.iter().filter(|(_, number)| *number >= LEAF) {
            let found = table.further(*number).map(|cell| std::ptr::from_ref(cell).addr());
            assert_eq!(found, Some(*place), "{number}");
        }
        places.sort_unstable();
        places.dedup();
        assert!(places.windows(2).all(|two| two[0].0 != two[1].0), "two numbers in one place");
    }

    /// One step for each number in between would take years.
    #[cfg(not(loom))]
    #[test]
    fn a_range_that_a_damaged_cell_makes_huge_is_synced_at_once() {
        let disk = crate::sys::sim::SimDisk::new(1).disk();
        disk.make_dir("").and_then(|()| disk.make_dir("log")).expect("space");
        let log = crate::log::Log::new(disk, [1; 16], 4096, crate::sys::Access::Write);
        log.begin(0, 1, 0).expect("space");
        let tail = log.begin(1 << 40, 1, 64).expect("space");
        log.sync(0, tail.position).expect("a sync");
        log.redirty(0, tail.position).expect("what is there");
        let pin = Pin::new();
        let between = |last| log.segments.between(0, last, &pin);
        let numbers: Vec<u64> = between(1 << 40).map(Segment::number).collect();
        assert_eq!(numbers, [0, 1 << 40]);
        assert_eq!(between(255).count(), 1);
    }
}

//! The file `meta`: superblock, live cells, clean record, each fact at all of its places or at one of them.

use arbitrary::Arbitrary;

use super::damage::{Change, change, repair_all};
use super::exercise::exercise;
use super::input;
use super::sample::{Sample, sample};

const CELLS: usize = 4096;
const CLEAN: usize = 8192;

/// Where one fact is: offset and width.
type Places = Vec<(usize, usize)>;

#[derive(Arbitrary, Debug)]
struct Step {
    fact: u8,
    /// Only one of its places.
    only: Option<u8>,
    to: Change,
}

#[derive(Arbitrary, Debug)]
struct Input {
    sample: u8,
    writing: bool,
    repair: bool,
    /// The clean record is not there.
    unclean: bool,
    steps: Vec<Step>,
}

/// The facts of `meta` (docs/format.md).
fn facts(sample: &Sample) -> Vec<Places> {
    let committed = sample.word("meta", CELLS);
    let set = if sample.word("meta", CELLS + 192) == committed { 192 } else { 256 };
    let mut facts: Vec<Places> = vec![
        vec![(CELLS, 8), (CELLS + set, 8), (CLEAN + 8, 8)],
        vec![(CELLS + 8, 8), (CLEAN + 56, 8)],
        // The first page of the directory alone, and its depth.
        vec![(CELLS + 8, 4), (CLEAN + 56, 4)],
        vec![(CELLS + 12, 1), (CLEAN + 60, 1)],
        vec![(CELLS + 64, 8)],
        vec![(CELLS + 72, 8), (CLEAN + 72, 8)],
        vec![(CELLS + 80, 8), (CLEAN + 64, 8)],
        vec![(CELLS + 88, 8), (CLEAN + 80, 4)],
        vec![(CELLS + 88, 4), (CLEAN + 80, 4)],
        vec![(CELLS + 96, 8)],
        vec![(CELLS + 104, 8)],
        vec![(CELLS + 112, 8)],
        vec![(CELLS + 128, 4)],
        vec![(CELLS + 132, 4)],
        vec![(CELLS + 136, 4)],
        vec![(CELLS + 140, 4)],
        vec![(CLEAN, 8)],
        vec![(CLEAN + 124, 4)],
    ];
    facts
        .extend((1..6).map(|field| vec![(CELLS + set + 8 * field, 8), (CLEAN + 8 + 8 * field, 8)]));
    facts.extend([(0, 8), (8, 4), (12, 4), (16, 8), (24, 8), (40, 8), (48, 8)].map(|it| vec![it]));
    facts
}

pub(super) fn run(data: &[u8]) {
    let Some(input) = input::<Input>(data) else { return };
    let sample = sample(input.sample);
    let mut files = sample.files.clone();
    let facts = facts(sample);
    for step in input.steps.iter().take(16) {
        let places = &facts[usize::from(step.fact) % facts.len()];
        let only = step.only.map(|only| usize::from(only) % places.len());
        for (number, (at, width)) in places.iter().enumerate() {
            if only.is_none_or(|only| only == number) {
                change(&mut files, "meta", *at, *width, step.to);
            }
        }
    }
    if input.unclean {
        change(&mut files, "meta", CLEAN, 8, Change::Small(0));
    }
    if input.repair {
        repair_all(&mut files);
    }
    exercise(sample, &files, input.writing);
}

//! The checkpoint files: their headers, the directories in them, with sums that are right, and both files in any state.

use arbitrary::Arbitrary;

use super::damage::{Change, change, repair_all};
use super::exercise::exercise;
use super::input;
use super::sample::sample;

const NAMES: [&str; 2] = ["checkpoint.a", "checkpoint.b"];

#[derive(Arbitrary, Debug)]
enum Step {
    Header {
        second: bool,
        field: u8,
        to: Change,
    },
    /// The page, the depth or all of a directory entry.
    Entry {
        second: bool,
        entry: u16,
        part: u8,
        to: Change,
    },
    Truncate {
        second: bool,
        len: u16,
    },
    Extend {
        second: bool,
        by: u16,
    },
    Remove {
        second: bool,
    },
    /// The other file gets this one's content.
    Copy {
        second: bool,
    },
    Blank {
        second: bool,
    },
    /// What the live cells say: checkpoint, durable, sequence, watermark, life.
    Cell {
        cell: u8,
        to: Change,
    },
}

#[derive(Arbitrary, Debug)]
struct Input {
    sample: u8,
    writing: bool,
    repair: bool,
    /// The store was not closed, or the clean record was lost.
    unclean: bool,
    steps: Vec<Step>,
}

pub(super) fn run(data: &[u8]) {
    let Some(input) = input::<Input>(data) else { return };
    let sample = sample(input.sample);
    let mut files = sample.files.clone();
    let name = |second: &bool| NAMES[usize::from(*second)];
    for step in input.steps.iter().take(16) {
        match step {
            Step::Header { second, field, to } => {
                let words = (32..88).step_by(8).map(|at| (at, 8));
                let fields: Vec<(usize, usize)> =
                    words.chain([(8, 4), (12, 4), (16, 8), (88, 4), (92, 4)]).collect();
                let (at, width) = fields[usize::from(*field) % fields.len()];
                change(&mut files, name(second), at, width, *to);
            }
            Step::Entry { second, entry, part, to } => {
                let entries =
                    files.get(name(second)).map_or(0, |it| it.len().saturating_sub(4096) / 8);
                let at = 4096 + 8 * (usize::from(*entry) % entries.clamp(1, 64));
                let (at, width) = [(at, 4), (at + 4, 1), (at, 8)][usize::from(*part % 3)];
                change(&mut files, name(second), at, width, *to);
            }
            Step::Truncate { second, len } => {
                if let Some(bytes) = files.get_mut(name(second)) {
                    bytes.truncate((*len).into());
                }
            }
            Step::Extend { second, by } => {
                if let Some(bytes) = files.get_mut(name(second)) {
                    bytes.resize(bytes.len() + usize::from(*by), 0);
                }
            }
            Step::Remove { second } => drop(files.remove(name(second))),
            Step::Copy { second } => {
                if let Some(bytes) = files.get(name(second)).cloned() {
                    files.insert(name(&!second).to_owned(), bytes);
                }
            }
            Step::Blank { second } => {
                files.get_mut(name(second)).into_iter().for_each(|bytes| bytes.fill(0));
            }
            Step::Cell { cell, to } => {
                let cells = [72, 64, 80, 88, 96, 112];
                let at = 4096 + cells[usize::from(*cell) % cells.len()];
                change(&mut files, "meta", at, 8, *to);
            }
        }
    }
    if input.unclean {
        change(&mut files, "meta", 8192, 8, Change::Small(0));
    }
    if input.repair {
        repair_all(&mut files);
    }
    exercise(sample, &files, input.writing);
}

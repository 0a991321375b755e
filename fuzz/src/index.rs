//! Index pages and directories: headers, slots, entries, pages that are elsewhere, and the words that lead to them.

use arbitrary::Arbitrary;

use super::damage::{Change, change, repair_all};
use super::exercise::exercise;
use super::input;
use super::sample::sample;

const PAGE: usize = 4096;

#[derive(Arbitrary, Debug)]
enum Step {
    /// The page, the depth with the chain bit, or all of an entry of the live directory.
    Entry {
        entry: u8,
        part: u8,
        to: Change,
    },
    /// Magic, number, prefix, depth, next, birth.
    Header {
        page: u8,
        field: u8,
        to: Change,
    },
    /// The position in a used slot, in units of 16 bytes; its tag stays.
    Slot {
        page: u8,
        slot: u8,
        prev: bool,
        to: Change,
    },
    /// All of a slot's word.
    Word {
        page: u8,
        slot: u8,
        prev: bool,
        to: Change,
    },
    /// A slot gets what another one holds.
    CopySlot {
        page: u8,
        from: u8,
        to: u8,
    },
    CopyPage {
        from: u8,
        to: u8,
    },
    Zero {
        page: u8,
    },
    /// The directory's first page and its depth, wherever they stand.
    Directory {
        depth: bool,
        to: Change,
    },
    Truncate {
        pages: u8,
    },
    Extend {
        pages: u8,
    },
}

#[derive(Arbitrary, Debug)]
struct Input {
    sample: u8,
    writing: bool,
    steps: Vec<Step>,
}

pub(super) fn run(data: &[u8]) {
    let Some(input) = input::<Input>(data) else { return };
    let sample = sample(input.sample);
    let mut files = sample.files.clone();
    let directory = sample.word("meta", 4104);
    let first = usize::try_from(directory & 0xFFFF_FFFF).expect("32 bits");
    let entries = 1usize << (directory >> 32 & 63);
    let pages = sample.files["index"].len() / PAGE;
    let page = |number: &u8| PAGE * (usize::from(*number) % pages);
    for step in input.steps.iter().take(24) {
        match step {
            Step::Entry { entry, part, to } => {
                let at = PAGE * first + 8 * (usize::from(*entry) % entries);
                let (at, width) = [(at, 4), (at + 4, 1), (at, 8)][usize::from(*part % 3)];
                change(&mut files, "index", at, width, *to);
            }
            Step::Header { page: number, field, to } => {
                let fields = [(0, 4), (4, 4), (8, 8), (16, 4), (20, 4), (24, 8)];
                let (at, width) = fields[usize::from(*field) % fields.len()];
                change(&mut files, "index", page(number) + at, width, *to);
            }
            Step::Slot { page: number, slot, prev, to } => {
                let at = page(number) + 64 + 16 * usize::from(*slot) + 8 * usize::from(*prev);
                change(&mut files, "index", at, 5, *to);
            }
            Step::Word { page: number, slot, prev, to } => {
                let at = page(number) + 64 + 16 * usize::from(*slot) + 8 * usize::from(*prev);
                change(&mut files, "index", at, 8, *to);
            }
            Step::CopySlot { page: number, from, to } => {
                let at = |slot: &u8| page(number) + 64 + 16 * usize::from(*slot).min(251);
                let (from, to) = (at(from), at(to));
                if let Some(bytes) =
                    files.get_mut("index").filter(|it| it.len() >= from.max(to) + 16)
                {
                    bytes.copy_within(from..from + 16, to);
                }
            }
            Step::CopyPage { from, to } => {
                let (from, to) = (page(from), page(to));
                if let Some(bytes) =
                    files.get_mut("index").filter(|it| it.len() >= from.max(to) + PAGE)
                {
                    bytes.copy_within(from..from + PAGE, to);
                }
            }
            Step::Zero { page: number } => {
                let at = page(number);
                let place = files.get_mut("index").and_then(|bytes| bytes.get_mut(at..at + PAGE));
                place.into_iter().for_each(|bytes| bytes.fill(0));
            }
            Step::Directory { depth, to } => {
                for at in [4104, 8192 + 56] {
                    let (at, width) = if *depth { (at + 4, 1) } else { (at, 4) };
                    change(&mut files, "meta", at, width, *to);
                }
            }
            Step::Truncate { pages } => {
                files.entry("index".into()).or_default().truncate(PAGE * usize::from(*pages));
            }
            Step::Extend { pages } => {
                let bytes = files.entry("index".into()).or_default();
                bytes.resize(bytes.len() + PAGE * usize::from(pages % 16), 0);
            }
        }
    }
    repair_all(&mut files);
    exercise(sample, &files, input.writing);
}

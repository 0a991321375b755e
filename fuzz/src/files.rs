//! Any byte of any file, files cut short, made longer, swapped, renamed and removed, with the headers' sums made right or not.

use arbitrary::Arbitrary;

use super::damage::{Change, Files, change, repair_all};
use super::exercise::{exercise, repair};
use super::input;
use super::sample::{SEGMENT, sample};

#[derive(Arbitrary, Debug)]
enum Step {
    Put {
        file: u8,
        at: u32,
        bytes: Vec<u8>,
    },
    Word {
        file: u8,
        word: u16,
        to: Change,
    },
    Flip {
        file: u8,
        bit: u32,
    },
    Truncate {
        file: u8,
        len: u32,
    },
    Extend {
        file: u8,
        by: u16,
        byte: u8,
    },
    Remove {
        file: u8,
    },
    /// A file gets the content of another one.
    Copy {
        from: u8,
        to: u8,
    },
    /// A page of a file gets the content of another page of any file.
    CopyPage {
        from: (u8, u8),
        to: (u8, u8),
    },
    /// A field of a segment's header: number, bytes, end of the one before, epoch.
    Segment {
        file: u8,
        field: u8,
        to: Change,
    },
    /// A segment gets another number, in its header and its name.
    Renumber {
        file: u8,
        to: Change,
    },
}

#[derive(Arbitrary, Debug)]
struct Input {
    sample: u8,
    writing: bool,
    repair: bool,
    steps: Vec<Step>,
}

pub(super) fn run(data: &[u8]) {
    let Some(input) = input::<Input>(data) else { return };
    let sample = sample(input.sample);
    let mut files = sample.files.clone();
    for step in input.steps.iter().take(16) {
        step.apply(&mut files);
    }
    if input.repair {
        repair_all(&mut files);
    }
    exercise(sample, &files, input.writing);
    repair(sample, &files);
}

fn name(files: &Files, which: u8) -> String {
    let names: Vec<&String> = files.keys().collect();
    names.get(usize::from(which) % names.len().max(1)).map(ToString::to_string).unwrap_or_default()
}

fn segment(files: &Files, which: u8) -> String {
    let names: Vec<&String> = files.keys().filter(|name| name.starts_with("log/")).collect();
    names.get(usize::from(which) % names.len().max(1)).map(ToString::to_string).unwrap_or_default()
}

impl Step {
    fn apply(&self, files: &mut Files) {
        match self {
            Step::Put { file, at, bytes } => {
                if let Some(to) = files.get_mut(&name(files, *file))
                    && !to.is_empty()
                {
                    let at = *at as usize % to.len();
                    let len = bytes.len().min(to.len() - at);
                    to[at..at + len].copy_from_slice(&bytes[..len]);
                }
            }
            Step::Word { file, word, to } => {
                change(files, &name(files, *file), 8 * usize::from(*word), 8, *to);
            }
            Step::Flip { file, bit } => {
                if let Some(to) = files.get_mut(&name(files, *file))
                    && !to.is_empty()
                {
                    let bit = *bit as usize % (8 * to.len());
                    to[bit / 8] ^= 1 << (bit % 8);
                }
            }
            Step::Truncate { file, len } => {
                if let Some(to) = files.get_mut(&name(files, *file)) {
                    to.truncate(*len as usize % (to.len() + 1));
                }
            }
            Step::Extend { file, by, byte } => {
                if let Some(to) = files.get_mut(&name(files, *file)) {
                    to.resize(to.len() + usize::from(*by), *byte);
                }
            }
            Step::Remove { file } => drop(files.remove(&name(files, *file))),
            Step::Copy { from, to } => {
                if let Some(content) = files.get(&name(files, *from)).cloned() {
                    files.insert(name(files, *to), content);
                }
            }
            Step::CopyPage { from, to } => {
                let page =
                    |number: u8| 4096 * usize::from(number)..4096 * (usize::from(number) + 1);
                let content = files.get(&name(files, from.0)).and_then(|it| it.get(page(from.1)));
                let content = content.map(<[u8]>::to_vec);
                let place = files.get_mut(&name(files, to.0)).and_then(|it| it.get_mut(page(to.1)));
                if let (Some(content), Some(place)) = (content, place) {
                    place.copy_from_slice(&content);
                }
            }
            Step::Segment { file, field, to } => {
                let fields = [(32, 8), (40, 8), (48, 8), (56, 4)];
                let (at, width) = fields[usize::from(*field) % fields.len()];
                change(files, &segment(files, *file), at, width, *to);
            }
            Step::Renumber { file, to } => renumber(files, &segment(files, *file), *to),
        }
    }
}

fn renumber(files: &mut Files, name: &str, to: Change) {
    change(files, name, 32, 8, to);
    let Some(bytes) = files.remove(name) else { return };
    let number = bytes.get(32..40).map_or(0, |it| u64::from_le_bytes(it.try_into().expect("8")));
    // Where its bytes would be in the log.
    let number = if number > u64::MAX / SEGMENT { number % SEGMENT } else { number };
    files.insert(format!("log/{number:010}"), bytes);
}

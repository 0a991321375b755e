//! Which bits of a store's files are read, worked out from docs/format.md alone.

use std::collections::{BTreeMap, BTreeSet};

use super::store::{Files, Left, Sample};

/// What reads a bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something does: a verification finds it.
    Read,
    /// A hint, that only means something together with other bits.
    Hint,
    /// Nothing does.
    Unread,
}

/// The kind of each bit of each file.
pub(crate) struct Ranges {
    /// Masks of the bits that are read, and of those that are hints, byte by byte.
    masks: BTreeMap<String, (Vec<u8>, Vec<u8>)>,
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn number(value: u64) -> usize {
    usize::try_from(value).expect("within a file")
}

const PAGE: usize = 4096;
/// The bits of a directory entry without its generation, and of the directory cell.
const ENTRY: u64 = (1 << 39) - 1;
const CELL: u64 = (1 << 38) - 1;
/// The bits of `prev`.
const TAG: u64 = ((1 << 19) - 1) << 44;
const OVERFLOW: u64 = 1 << 63;

impl Ranges {
    pub(crate) fn of(sample: &Sample) -> Ranges {
        let masks = sample
            .files
            .iter()
            .map(|(name, bytes)| (name.clone(), (vec![0; bytes.len()], vec![0; bytes.len()])));
        let mut ranges = Ranges { masks: masks.collect() };
        ranges.meta(sample);
        ranges.index(sample);
        ranges.log(&sample.files);
        ranges.checkpoints(sample);
        ranges.usage(&sample.files);
        if sample.left == Left::Lost {
            // What a recovery reads it may also replace, and it does not read everything.
            for (read, hint) in ranges.masks.values_mut() {
                for (read, hint) in read.iter_mut().zip(hint) {
                    *hint |= std::mem::take(read);
                }
            }
        }
        ranges
    }

    pub(crate) fn kind(&self, name: &str, bit: usize) -> Kind {
        let (read, hint) = &self.masks[name];
        let mask = 1 << (bit % 8);
        match (read[bit / 8] & mask != 0, hint[bit / 8] & mask != 0) {
            (true, _) => Kind::Read,
            (false, true) => Kind::Hint,
            (false, false) => Kind::Unread,
        }
    }

    fn read(&mut self, name: &str, at: usize, len: usize) {
        self.masks.get_mut(name).expect("a file").0[at..at + len].fill(0xFF);
    }

    fn hint(&mut self, name: &str, at: usize, len: usize) {
        self.masks.get_mut(name).expect("a file").1[at..at + len].fill(0xFF);
    }

    /// Of a word, the bits in `mask` are read.
    fn word(&mut self, name: &str, at: usize, mask: u64) {
        let read = &mut self.masks.get_mut(name).expect("a file").0;
        read[at..at + 8].copy_from_slice(&mask.to_le_bytes());
    }

    fn meta(&mut self, sample: &Sample) {
        let meta = &sample.files["meta"];
        self.read("meta", 0, 64);
        let live = if u64_at(meta, 4288) == u64_at(meta, 4096) { 4288 } else { 4352 };
        match sample.left {
            Left::Clean => {
                self.read("meta", 4096, 16);
                self.read("meta", 4160, 32);
                self.read("meta", live, 48);
                self.read("meta", 8192, 128);
            }
            Left::Killed | Left::Lost => {
                self.read("meta", 4096, 8);
                self.word("meta", 4104, CELL);
                // The position alone would do: without the bit that says which file, the cell is as earlier releases wrote it.
                self.hint("meta", 4168, 8);
                self.word("meta", 4168, !(u64_at(meta, 4168) & 15));
                self.read("meta", 4184, 8);
                self.read("meta", live, 32);
                self.read("meta", live + 40, 8);
                // How far the log was durable, how many checkpoints there are: more than that does no harm. The life and a
                // failed sync decide how the store is opened. The number of pages may lag behind.
                for at in [4160, 4176, 4192, 4208, live + 32] {
                    self.hint("meta", at, 8);
                }
            }
        }
        if sample.left != Left::Clean {
            // The two ends of a clean record that is not there: damage to both is reported, to one is not.
            self.hint("meta", 8192, 8);
            self.hint("meta", 8192 + 124, 4);
        }
        // The mark of a split under way.
        self.word("meta", 4232, 1 << 32);
        self.read("meta", 4216, 8);
        // The number that only counts if the directory leads to the page beside it.
        self.hint("meta", 4240, 8);
        // Where the set that does not count says that it is for this commit, there are two.
        self.hint("meta", 4288 + 4352 - live, 8);
    }

    /// What is known of each segment: words that may also say that nothing is.
    fn usage(&mut self, files: &Files) {
        self.read("usage", 0, 64);
        for name in files.keys().filter(|name| name.starts_with("cursors/")) {
            self.read(name, 0, 64);
        }
        for name in files.keys().filter_map(|name| name.strip_prefix("log/")) {
            let number: usize = name.parse().expect("a segment");
            self.hint("usage", PAGE + 32 * number, 24);
        }
        // The horizon, and the commit up to which all that is known.
        self.hint("meta", 4112, 8);
        self.hint("meta", 4248, 8);
    }

    fn index(&mut self, sample: &Sample) {
        let (meta, index) = (&sample.files["meta"], &sample.files["index"]);
        self.read("index", 0, 64);
        let cell = u64_at(meta, 4104);
        let (first, depth) = (number(cell & 0xFFFF_FFFF) * PAGE, cell >> 32 & 63);
        let mut pages = BTreeSet::new();
        for entry in 0..1usize << depth {
            let at = first + 8 * entry;
            self.word("index", at, ENTRY);
            pages.insert(number(u64_at(index, at) & 0xFFFF_FFFF));
        }
        // The checkpoint names pages that a power cut would fall back on.
        let (_, body) = newest(&sample.files);
        pages.extend(body.iter().map(|entry| number(entry & 0xFFFF_FFFF)));
        for page in pages {
            let at = page * PAGE;
            self.read("index", at, 24);
            self.hint("index", at + 24, 8);
            for slot in (at + 64..at + PAGE).step_by(16) {
                if u64_at(index, slot) > 1 {
                    self.read("index", slot, 8);
                    // Without an overflow bit a key on a later line is missed; with one too many it is looked for in vain.
                    self.word("index", slot + 8, TAG | u64_at(index, slot + 8) & OVERFLOW);
                    self.hint("index", slot + 8, 8);
                } else {
                    // Of an empty slot the lowest bit makes one that holds no key either.
                    self.word("index", slot, !1);
                }
            }
        }
    }

    fn log(&mut self, files: &Files) {
        let committed = u64_at(&files["meta"], 4096);
        let segment_size = u64_at(&files["meta"], 48);
        for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with("log/")) {
            self.read(name, 0, 64);
            let start = u64_at(bytes, 32) * segment_size;
            let mut at = 64;
            while at + 24 <= bytes.len() && start + (at as u64) < committed && bytes[at + 14] != 0 {
                let key_len = usize::from(u16::from_le_bytes([bytes[at + 12], bytes[at + 13]]));
                let value = (24 + key_len).next_multiple_of(16);
                let end = value + number(u64::from(u32_at(bytes, at + 4)));
                self.read(name, at, end);
                at += end.next_multiple_of(16);
            }
        }
    }

    fn checkpoints(&mut self, sample: &Sample) {
        let (newest, _) = newest(&sample.files);
        for name in ["checkpoint.a", "checkpoint.b"] {
            let bytes = &sample.files[name];
            if sample.left == Left::Clean || name == newest {
                self.read(name, 0, 128);
                let (directory, rows) = (8 << u32_at(bytes, 12), u32_at(bytes, 96) as usize);
                self.read(name, PAGE, directory + 32 * rows);
            } else {
                // It may be torn.
                self.hint(name, 0, 128);
            }
        }
    }
}

/// The checkpoint with the greater sequence: its file's name, and its directory.
fn newest(files: &Files) -> (&'static str, Vec<u64>) {
    let sequence = |name: &str| u64_at(&files[name], 32);
    let newer = sequence("checkpoint.a") < sequence("checkpoint.b");
    let name = if newer { "checkpoint.b" } else { "checkpoint.a" };
    let bytes = &files[name];
    let entries = 0..1usize << u32_at(bytes, 12);
    (name, entries.map(|entry| u64_at(bytes, PAGE + 8 * entry)).collect())
}

//! Records that carry the right sum and say anything at all: recovery, reading and writing survive them.

use arbitrary::Arbitrary;

use super::damage::Change;
use super::exercise::{exercise, repair};
use super::input;
use super::sample::{KEYS, SEGMENT, TABLE, sample};

#[derive(Arbitrary, Debug)]
enum Key {
    Known(u16),
    /// The catalogue's: the next number, the number of the table, its name.
    Next,
    Name,
    Number(u8),
    Bytes(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Prev {
    None,
    /// In units of 16 bytes, before this record's own position.
    Back(u16),
    Any(Change),
}

#[derive(Arbitrary, Debug)]
struct Record {
    key: Key,
    table: u8,
    kind: u8,
    flags: u8,
    prev: Prev,
    /// What the header claims beyond what is there.
    key_more: u8,
    value_more: u16,
    value: Vec<u8>,
    /// Of a relocated record.
    version: Change,
    /// The sum is wrong.
    broken: bool,
    /// The header's words after the sum become these, whatever the rest says.
    raw: Option<[u64; 2]>,
}

#[derive(Arbitrary, Debug)]
struct Input {
    sample: u8,
    writing: bool,
    records: Vec<Record>,
}

impl Key {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Key::Known(key) => (key % (KEYS + 20)).to_be_bytes().to_vec(),
            Key::Next => Vec::new(),
            Key::Name => [b"n", TABLE.as_bytes()].concat(),
            Key::Number(number) => [&b"i"[..], &u32::from(*number).to_le_bytes()].concat(),
            Key::Bytes(bytes) => bytes.clone(),
        }
    }
}

impl Record {
    /// The record as it would stand at `position`, and how many bytes its sum covers.
    fn encode(&self, position: u64) -> (Vec<u8>, usize) {
        let key = self.key.bytes();
        let key_len = key.len().min(300);
        let value_len = self.value.len().min(300);
        let key_at = if self.flags & 4 != 0 { 32 } else { 24 };
        // Mostly nothing more.
        let claimed_key = key_len + usize::from(self.key_more / 64);
        let claimed_value = value_len + usize::from(self.value_more / 4096);
        let value_at = (key_at + claimed_key).next_multiple_of(16);
        let end = value_at + claimed_value;
        let mut bytes = vec![0; end.next_multiple_of(16)];
        bytes[4..8].copy_from_slice(&u32::try_from(claimed_value).expect("small").to_le_bytes());
        bytes[8..12].copy_from_slice(&u32::from(self.table % 8).to_le_bytes());
        bytes[12..14].copy_from_slice(&u16::try_from(claimed_key).expect("small").to_le_bytes());
        bytes[14] = self.kind % 4;
        bytes[15] = self.flags % 16;
        let prev = match self.prev {
            Prev::None => 0,
            Prev::Back(units) => position.saturating_sub(16 * u64::from(units)),
            Prev::Any(change) => change.of(position),
        };
        bytes[16..24].copy_from_slice(&prev.to_le_bytes());
        if key_at == 32 {
            bytes[24..32].copy_from_slice(&self.version.of(position).to_le_bytes());
        }
        bytes[key_at..key_at + key_len].copy_from_slice(&key[..key_len]);
        bytes[value_at..value_at + value_len].copy_from_slice(&self.value[..value_len]);
        if let Some([first, second]) = self.raw {
            bytes[8..16].copy_from_slice(&first.to_le_bytes());
            bytes[16..24].copy_from_slice(&second.to_le_bytes());
        }
        (bytes, end)
    }
}

pub(super) fn run(data: &[u8]) {
    let Some(input) = input::<Input>(data) else { return };
    let sample = sample(input.sample);
    let mut files = sample.files.clone();
    // They go where the log ends: a recovery reads them first of all.
    let meta = &files["meta"];
    let committed = sample.word("meta", 4096);
    let number = committed / SEGMENT;
    let name = format!("log/{number:010}");
    let salt = crc32fast::hash(&meta[24..40]);
    let Some(segment) = files.get_mut(&name) else { return };
    let epoch = u32::from_le_bytes(segment[56..60].try_into().expect("four bytes"));
    let salt = salt ^ epoch.wrapping_mul(0x9E37_79B1);
    let mut at = usize::try_from(committed % SEGMENT).expect("below the size of a segment");
    for record in input.records.iter().take(16) {
        let position = number * SEGMENT + at as u64;
        let (mut bytes, end) = record.encode(position);
        let place = (position / 16).wrapping_mul(0x85EB_CA6B) & 0xFFFF_FFFF ^ position >> 36;
        let place = u32::try_from(place & 0xFFFF_FFFF).expect("masked");
        let mut sum = crc32fast::Hasher::new_with_initial(salt ^ place);
        sum.update(&bytes[4..end]);
        let sum = sum.finalize() ^ u32::from(record.broken);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        let Some(to) = segment.get_mut(at..at + bytes.len()) else { break };
        to.copy_from_slice(&bytes);
        at += bytes.len();
    }
    exercise(sample, &files, input.writing);
    repair(sample, &files);
}

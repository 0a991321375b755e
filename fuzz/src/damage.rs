//! Damage to the bytes of a store, and the checksums that make it believed.

use std::collections::BTreeMap;

use arbitrary::Arbitrary;

/// Contents of a store's files by name.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// What a number becomes.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Change {
    To(u64),
    Small(u8),
    /// A bit more or less than it was.
    By(i8),
    /// The same, in units of 16 bytes or of pages.
    ByUnits(i16),
    ByPages(i8),
    /// A power of two, and a bit more or less.
    Power(u8, i8),
    Flip(u8),
    Invert,
}

impl Change {
    pub(super) fn of(self, old: u64) -> u64 {
        let by = |units: i64, unit: i64| old.wrapping_add_signed(units * unit);
        match self {
            Change::To(value) => value,
            Change::Small(value) => value.into(),
            Change::By(units) => by(units.into(), 1),
            Change::ByUnits(units) => by(units.into(), 16),
            Change::ByPages(units) => by(units.into(), 4096),
            Change::Power(bit, off) => (1u64 << (bit % 64)).wrapping_add_signed(off.into()),
            Change::Flip(bit) => old ^ 1 << (bit % 64),
            Change::Invert => !old,
        }
    }
}

/// Changes the little-endian number of `width` bytes at `at`, if the file reaches that far.
pub(super) fn change(files: &mut Files, file: &str, at: usize, width: usize, to: Change) {
    let place = files.get_mut(file).and_then(|bytes| bytes.get_mut(at..at + width));
    let Some(bytes) = place else { return };
    let mut word = [0; 8];
    word[..width].copy_from_slice(bytes);
    let new = to.of(u64::from_le_bytes(word)).to_le_bytes();
    bytes.copy_from_slice(&new[..width]);
}

/// Makes the sum right that ends at `end` and covers what is before it from `start` on.
fn repair(bytes: &mut [u8], start: usize, end: usize) {
    if let Some(covered) = bytes.get(start..end - 4) {
        let sum = crc32fast::hash(covered).to_le_bytes();
        if let Some(to) = bytes.get_mut(end - 4..end) {
            to.copy_from_slice(&sum);
        }
    }
}

/// Makes the sums of all headers right, so that what they say is believed (docs/format.md).
pub(super) fn repair_all(files: &mut Files) {
    for (name, bytes) in files {
        match name.as_str() {
            "meta" => {
                repair(bytes, 0, 64);
                if bytes.get(8192..8200) == Some(b"mapstCLN") {
                    repair(bytes, 8192, 8320);
                }
            }
            "checkpoint.a" | "checkpoint.b" => {
                if let Some(depth) = bytes.get(12).filter(|depth| **depth < 20)
                    && let Some(body) = bytes.get(4096..4096 + (8 << depth))
                {
                    let sum = crc32fast::hash(body).to_le_bytes();
                    bytes[92..96].copy_from_slice(&sum);
                }
                if bytes.get(..8) == Some(b"mapstCKP") {
                    repair(bytes, 0, 128);
                }
            }
            "lock" | "readers.a" | "readers.b" | "waiters" => {}
            _ => repair(bytes, 0, 64),
        }
    }
}

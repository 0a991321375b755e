//! Damage of any kind to the files of a store.

use crate::store::Files;

/// A small generator: splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("small")
    }
}

/// Damages the files once; says how.
pub(crate) fn damage(files: &mut Files, random: &mut Random) -> String {
    let names: Vec<String> = files.keys().cloned().collect();
    if names.is_empty() {
        return "nothing is left".into();
    }
    let mut name = names[random.below(names.len())].clone();
    if random.below(3) > 0 {
        let logs: Vec<&String> = names.iter().filter(|name| name.starts_with("log/")).collect();
        name = logs.get(random.below(logs.len())).map_or(name, ToString::to_string);
    }
    let len = files[&name].len();
    let kind = random.below(9);
    if kind == 0 && random.below(3) == 0 {
        files.remove(&name);
        return format!("{name} removed");
    }
    let other = files[&names[random.below(names.len())]].clone();
    let bytes = files.get_mut(&name).expect("a file");
    if len == 0 {
        return format!("{name} is empty");
    }
    let at = random.below(len);
    let range = |from: usize, size: usize| from / size * size..(from / size * size + size).min(len);
    match kind {
        0..=3 => {
            bytes[at] ^= 1 << random.below(8);
            format!("{name}: a bit at {at}")
        }
        4 => {
            bytes[range(at, 512)].fill(0);
            format!("{name}: zeros at {:?}", range(at, 512))
        }
        5 => {
            for byte in &mut bytes[range(at, 512)] {
                *byte = random.next().to_le_bytes()[0];
            }
            format!("{name}: noise at {:?}", range(at, 512))
        }
        6 => {
            let to = range(at, 4096);
            let from = range(random.below(other.len()), 4096);
            let from = other.get(from).unwrap_or_default();
            let count = to.len().min(from.len());
            bytes[to.start..][..count].copy_from_slice(&from[..count]);
            format!("{name}: a page of another place at {}", to.start)
        }
        7 => {
            bytes.truncate(at);
            format!("{name}: cut at {at}")
        }
        _ => {
            // A length that leads anywhere.
            let word = at / 8 * 8;
            let new = random.next() >> random.below(64);
            let end = (word + 8).min(len);
            bytes[word..end].copy_from_slice(&new.to_le_bytes()[..end - word]);
            format!("{name}: a word at {word}")
        }
    }
}

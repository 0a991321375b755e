//! What the store should hold: tables, keys and values by number, so that states are cheap to keep and to compare.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;

/// Tables by number; 0 is the one without a name.
pub(crate) const TABLES: u8 = 4;
/// Keys by number.
pub(crate) const KEYS: u16 = 420;
/// The number of the longest key there can be.
pub(crate) const LONGEST: u16 = KEYS - 1;

/// The name of a table.
pub(crate) fn table_name(table: u8) -> String {
    match table {
        3 => "ü".repeat(127),
        _ => format!("table {table}"),
    }
}

fn make_key(number: u16) -> Vec<u8> {
    match number {
        0 => Vec::new(),
        LONGEST => vec![b'L'; 65_535],
        _ if number.is_multiple_of(61) => format!("{number:0>300}").into_bytes(),
        _ => format!("k{number}").into_bytes(),
    }
}

/// All keys, by number.
pub(crate) fn keys() -> &'static [Vec<u8>] {
    static KEY: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    KEY.get_or_init(|| (0..KEYS).map(make_key).collect())
}

/// The number of a key that the store gave.
pub(crate) fn key_number(key: &[u8]) -> u16 {
    static NUMBERS: OnceLock<HashMap<&'static [u8], u16>> = OnceLock::new();
    let numbers = NUMBERS.get_or_init(|| keys().iter().map(Vec::as_slice).zip(0..).collect());
    *numbers.get(key).unwrap_or_else(|| panic!("a key that nobody put: {key:?}"))
}

/// A value: its bytes follow from the two numbers, and the numbers from the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Val {
    seed: u32,
    len: u32,
}

impl std::fmt::Debug for Val {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Val::new({}, {})", self.seed, self.len)
    }
}

impl Val {
    pub(crate) fn new(seed: u32, len: u32) -> Val {
        let bits = 8 * len.min(4);
        let mask = if bits == 32 { u32::MAX } else { (1 << bits) - 1 };
        Val { seed: seed & mask, len }
    }

    pub(crate) fn len(self) -> usize {
        self.len as usize
    }

    /// Puts the value's bytes into `to`, which has its length.
    pub(crate) fn fill(self, to: &mut [u8]) {
        let mut word = self.seed;
        for chunk in to.chunks_mut(4) {
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
            word = word.wrapping_mul(0x9E37_79B1).wrapping_add(self.len) ^ word >> 15;
        }
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        self.fill(&mut bytes);
        bytes
    }

    /// The value that has these bytes, all of which are checked.
    pub(crate) fn of(bytes: &[u8]) -> Val {
        let mut seed = [0; 4];
        let known = bytes.len().min(4);
        seed[..known].copy_from_slice(&bytes[..known]);
        let len = u32::try_from(bytes.len()).expect("small");
        let value = Val::new(u32::from_le_bytes(seed), len);
        assert!(value.bytes() == bytes, "bytes that are no value which was put: {bytes:?}");
        value
    }
}

/// What a store holds after some commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Named tables that exist.
    pub(crate) tables: BTreeSet<u8>,
    pub(crate) data: BTreeMap<(u8, u16), Val>,
    /// Some table has ever been made.
    pub(crate) numbered: bool,
}

impl State {
    pub(crate) fn has(&self, table: u8) -> bool {
        table == 0 || self.tables.contains(&table)
    }

    pub(crate) fn set(&mut self, table: u8, key: u16, value: Option<Val>) {
        match value {
            Some(value) => drop(self.data.insert((table, key), value)),
            None => drop(self.data.remove(&(table, key))),
        }
    }

    pub(crate) fn drop_table(&mut self, table: u8) {
        self.tables.remove(&table);
        self.data.retain(|(of, _), _| *of != table);
    }

    /// Live bytes that a store of this state may have: a record that was moved carries its version as well.
    pub(crate) fn may_take(&self, live_bytes: u64) -> bool {
        let plain = self.live_bytes();
        let records = self.data.len() + 2 * self.tables.len() + usize::from(self.numbered);
        live_bytes.is_multiple_of(16) && (plain..=plain + 16 * records as u64).contains(&live_bytes)
    }

    /// Bytes of the records that hold the values, and the catalogue of tables.
    pub(crate) fn live_bytes(&self) -> u64 {
        let align = |bytes: usize| bytes.next_multiple_of(16);
        let size = |key: usize, value: usize| (align(align(24 + key) + value)) as u64;
        let data = self.data.iter().map(|((_, k), v)| size(keys()[usize::from(*k)].len(), v.len()));
        let catalogue = self.tables.iter().map(|table| {
            let name = table_name(*table).len();
            size(1 + name, 4) + size(5, name)
        });
        data.chain(catalogue).sum::<u64>() + if self.numbered { size(0, 4) } else { 0 }
    }
}

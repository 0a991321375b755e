//! Records that carry the right sum and say anything at all: recovery and reading survive them.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mapstone_fuzz::{exercise, templates, write};

#[derive(Arbitrary, Debug)]
struct Record {
    table: u8,
    kind: u8,
    flags: u8,
    /// In units of 16 bytes, before this record's own position.
    back: u8,
    /// What the header claims beyond what is there.
    key_more: u8,
    value_more: u16,
    key: Vec<u8>,
    value: Vec<u8>,
    /// The sum is wrong.
    broken: bool,
}

fuzz_target!(|records: Vec<Record>| {
    let mut files = templates()[0].clone();
    // They go where the log ends, in a store that was left open: recovery reads them first of all.
    let meta = &files["meta"];
    let committed = u64::from_le_bytes(meta[4096..4104].try_into().expect("a word"));
    let salt = crc32fast::hash(&meta[24..40]) ^ 1u32.wrapping_mul(0x9E37_79B1);
    let number = committed / 4096;
    let name = format!("log/{number:010}");
    let segment = files.get_mut(&name).expect("the last segment");
    assert_eq!(segment[56..60], [1, 0, 0, 0], "the epoch");
    let mut at = usize::try_from(committed % 4096).expect("below 4096");
    for record in &records {
        let key_len = record.key.len().min(300);
        let value_len = record.value.len().min(300);
        let key_at = if record.flags & 4 != 0 { 32 } else { 24 };
        let claimed_key = key_len + usize::from(record.key_more / 64);
        let claimed_value = value_len + usize::from(record.value_more / 4096);
        let value_at = (key_at + claimed_key).next_multiple_of(16);
        let end = value_at + claimed_value;
        let Some(bytes) = segment.get_mut(at..at + end.next_multiple_of(16)) else { break };
        let position = number * 4096 + at as u64;
        bytes.fill(0);
        bytes[4..8].copy_from_slice(&u32::try_from(claimed_value).expect("small").to_le_bytes());
        bytes[8..12].copy_from_slice(&u32::from(record.table % 8).to_le_bytes());
        bytes[12..14].copy_from_slice(&u16::try_from(claimed_key).expect("small").to_le_bytes());
        bytes[14] = record.kind % 4;
        bytes[15] = record.flags % 16;
        let prev = position.saturating_sub(16 * u64::from(record.back));
        bytes[16..24].copy_from_slice(&if record.back == 0 { 0 } else { prev }.to_le_bytes());
        bytes[key_at..key_at + key_len].copy_from_slice(&record.key[..key_len]);
        bytes[value_at..value_at + value_len].copy_from_slice(&record.value[..value_len]);
        let place = (position / 16).wrapping_mul(0x85EB_CA6B) & 0xFFFF_FFFF ^ position >> 36;
        let place = u32::try_from(place & 0xFFFF_FFFF).expect("masked");
        let mut sum = crc32fast::Hasher::new_with_initial(salt ^ place);
        sum.update(&bytes[4..end]);
        let sum = sum.finalize() ^ u32::from(record.broken);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        at += end.next_multiple_of(16);
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("db");
    write(&files, &path);
    exercise(&path);
});

//! Records that are copies of older ones, as compaction makes them: they count in their place, as every record does.

use mapstone::sim::SimDisk;

use crate::oracle::Record;
use crate::store::{Files, Left, Model, content, options};
use crate::{Ground, repair};

/// The records' checksum (docs/format.md).
fn sum(id: &[u8], epoch: u32, position: u64, bytes: &[u8]) -> u32 {
    let salt = crc32fast::hash(id) ^ epoch.wrapping_mul(0x9E37_79B1);
    let place = ((position / 16).wrapping_mul(0x85EB_CA6B) ^ position >> 36) & 0xFFFF_FFFF;
    let place = u32::try_from(place).expect("32 bits");
    let mut crc = crc32fast::Hasher::new_with_initial(salt ^ place);
    crc.update(bytes);
    crc.finalize()
}

/// Puts a copy of `record`, with another value if one is given, at the end of the log, as a commit of its own.
fn copy(files: &mut Files, last: &Record, record: &Record, value: &[u8]) {
    let bytes = files.get_mut(&last.file).expect("the last segment");
    let at = last.to.next_multiple_of(16);
    let position = last.position - last.from as u64 + at as u64;
    let mut copy = vec![0; 32];
    copy[4..8].copy_from_slice(&u32::try_from(value.len()).expect("small").to_le_bytes());
    copy[8..12].copy_from_slice(&record.table.to_le_bytes());
    copy[12..14].copy_from_slice(&u16::try_from(record.key.len()).expect("small").to_le_bytes());
    copy[14] = 1;
    // A commit mark, and relocated.
    copy[15] = 1 | 4;
    copy[16..24].copy_from_slice(&record.position.to_le_bytes());
    copy[24..32].copy_from_slice(&record.position.to_le_bytes());
    copy.extend_from_slice(&record.key);
    copy.resize(copy.len().next_multiple_of(16), 0);
    copy.extend_from_slice(value);
    let epoch = u32::from_le_bytes(bytes[56..60].try_into().expect("four bytes"));
    let crc = sum(&bytes[16..32], epoch, position, &copy[4..]);
    copy[..4].copy_from_slice(&crc.to_le_bytes());
    bytes[at..at + copy.len()].copy_from_slice(&copy);
}

/// What a repair finds, and what a new index leads to.
fn both(ground: &Ground, files: &Files) -> [Model; 2] {
    let (salvage, model) = repair(files, ground.sample.life).expect("a log");
    assert!(salvage.is_complete(), "{:?}", salvage.lost);
    let disk = SimDisk::holding(files, ground.sample.life);
    let store = options().rebuild_index(true).open_sim(&disk).expect("a sound log");
    assert!(store.verify().expect("sound").is_ok());
    [model, content(&store).expect("sound")]
}

/// Compaction copies nothing but newest versions; this is forged, and everybody has to see the same in it.
#[test]
fn the_last_record_of_a_key_counts_whatever_version_it_carries() {
    let ground = Ground::new(Left::Lost);
    let last = ground.all.last().expect("records");
    let older = ground.all.iter().find(|record| record.key == last.key && record.table == 1);
    let older = older.filter(|record| record.position != last.position).expect("overwritten");
    let files = ground.with(|files| copy(files, last, older, b"stale"));
    let mut expected = ground.sample.models[0].clone();
    let name = (String::new(), last.key.clone());
    *expected.get_mut(&name).expect("a key of the table without a name") = b"stale".to_vec();
    for model in both(&ground, &files) {
        assert!(model == expected);
    }
}

#[test]
fn a_copy_of_the_newest_version_counts_in_its_place() {
    let ground = Ground::new(Left::Lost);
    let last = ground.all.last().expect("records");
    let value = last.value.clone().expect("a put");
    let files = ground.with(|files| copy(files, last, last, &value));
    for model in both(&ground, &files) {
        assert!(model == ground.sample.models[0]);
    }
    // The original is lost.
    let files = ground.with(|files| {
        copy(files, last, last, &value);
        files.get_mut(&last.file).expect("a file")[last.to - 1] ^= 1;
    });
    let (salvage, model) = repair(&files, ground.sample.life).expect("a log");
    assert_eq!(salvage.lost.len(), 1);
    assert!(model == ground.sample.models[0]);
}

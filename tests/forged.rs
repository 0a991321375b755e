//! Files whose checksums are right and whose numbers are impossible: what fuzzing has found, each as a small test.
#![cfg(feature = "sim")]

use std::collections::BTreeMap;

use mapstone::sim::SimDisk;
use mapstone::{Error, Options, Store};

type Files = BTreeMap<String, Vec<u8>>;

const SEGMENT: u64 = 4096;
const CLEAN: usize = 8192;

fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(SEGMENT).background(false);
    options
}

/// A small store, closed or left open, and the page cache that it is in.
fn store(closed: bool) -> (Files, u64) {
    let disk = SimDisk::new(3);
    let store = options().open_sim(&disk).expect("a new store");
    store.table("fruit").and_then(|table| table.put("apple", "red")).expect("space");
    store.checkpoint().expect("space");
    for key in 0..40u8 {
        store.put([key], [key; 100]).expect("space");
    }
    if closed {
        store.close().expect("space");
        return (disk.files(), disk.page_cache());
    }
    let left = disk.process_kill();
    (left.files(), left.page_cache())
}

/// Puts a number into a file, and makes the checksum right that covers `sum`.
fn forge(files: &mut Files, file: &str, at: usize, value: u64, sum: std::ops::Range<usize>) {
    let bytes = files.get_mut(file).expect("a file");
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    let crc = crc32fast::hash(&bytes[sum.clone()]).to_le_bytes();
    bytes[sum.end..sum.end + 4].copy_from_slice(&crc);
}

fn open(files: &Files, life: u64) -> Result<Store, Error> {
    options().open_sim(&SimDisk::holding(files, life))
}

/// A checkpoint number of 2^64 - 1 was believed, and the next checkpoint overflowed.
#[test]
fn a_clean_record_with_impossible_numbers_is_an_error() {
    let (files, life) = store(true);
    // Position, entries, live and dead bytes, pages, segment; number of the checkpoints, and the position of the last.
    for at in [8, 16, 24, 32, 40, 48, 64, 72] {
        let mut forged = files.clone();
        forge(&mut forged, "meta", CLEAN + at, u64::MAX, CLEAN..CLEAN + 124);
        match open(&forged, life) {
            Err(Error::Corrupt { file, offset, .. }) => {
                assert!(file.ends_with("meta"), "{}", file.display());
                assert!((CLEAN as u64..CLEAN as u64 + 128).contains(&offset), "{at}: {offset}");
            }
            other => panic!("the word at {at}: {other:?}"),
        }
    }
}

/// The same in a checkpoint, which a recovery from a power cut goes by.
#[test]
fn a_checkpoint_with_impossible_numbers_is_none() {
    let (files, life) = store(false);
    for at in (32..88).step_by(8) {
        let mut forged = files.clone();
        for name in ["checkpoint.a", "checkpoint.b"] {
            if forged[name].starts_with(b"mapstCKP") {
                forge(&mut forged, name, at, u64::MAX, 0..124);
            }
        }
        let opened = open(&forged, life + 1);
        assert!(matches!(opened, Err(Error::Corrupt { .. })), "the word at {at}: {opened:?}");
    }
}

/// A checkpoint whose position is in another segment than it says: the walk over the log began before the segment.
#[test]
fn a_checkpoint_that_names_another_segment_is_an_error() {
    let (files, life) = store(false);
    let mut forged = files;
    for name in ["checkpoint.a", "checkpoint.b"] {
        if forged[name].starts_with(b"mapstCKP") {
            forge(&mut forged, name, 40, 64, 0..124);
            for word in [48, 56, 64, 80] {
                forge(&mut forged, name, word, 0, 0..124);
            }
        }
    }
    assert!(open(&forged, life + 1).is_ok(), "the log from its beginning");
    for name in ["checkpoint.a", "checkpoint.b"] {
        if forged[name].starts_with(b"mapstCKP") {
            forge(&mut forged, name, 40, SEGMENT + 640, 0..124);
        }
    }
    let opened = open(&forged, life + 1);
    assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
}

/// A segment file of any number took as many words of memory as it had predecessors.
#[test]
fn a_segment_with_a_huge_number_takes_no_more_memory_than_another() {
    let (mut files, life) = store(false);
    let number = 1u64 << 50;
    let mut segment = files["log/0000000000"].clone();
    segment[32..40].copy_from_slice(&number.to_le_bytes());
    let crc = crc32fast::hash(&segment[..60]).to_le_bytes();
    segment[60..64].copy_from_slice(&crc);
    files.insert(format!("log/{number:010}"), segment);
    let store = open(&files, life).expect("a store that was killed");
    assert_eq!(store.get([7]).expect("a sound store").as_deref(), Some(&[7; 100][..]));
    let reader = options().open_read_only_sim(&SimDisk::holding(&files, life)).expect("a store");
    // Verifying maps every segment there is.
    reader.verify().expect("a verification");
}

/// A catalogue that says that four thousand million tables were made was asked for each of them.
#[test]
fn a_number_of_tables_that_the_log_cannot_hold_is_an_error() {
    let disk = SimDisk::new(4);
    let store = options().open_sim(&disk).expect("a new store");
    store.table("fruit").expect("space");
    store.close().expect("space");
    let mut files = disk.files();
    let log = files.get_mut("log/0000000000").expect("a segment");
    // The record of the empty key in table 0, and its value 3 (docs/format.md).
    let header = |at: &usize| log[at + 4..at + 16] == [4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
    let at = (64..2048).step_by(16).find(header).expect("the next number");
    assert_eq!(log[at + 32..at + 36], [3, 0, 0, 0]);
    log[at + 32..at + 36].copy_from_slice(&u32::MAX.to_le_bytes());
    let store = open(&files, disk.page_cache()).expect("a store");
    let tables = store.tables();
    assert!(matches!(tables, Err(Error::Corrupt { .. })), "{tables:?}");
    assert!(matches!(store.table("another"), Err(Error::Corrupt { .. })));
}

/// A record at the end of the log whose version before is itself: the replay went on as if it could be.
#[test]
fn a_record_that_follows_no_earlier_one_is_an_error() {
    let (mut files, life) = store(false);
    let committed = u64::from_le_bytes(files["meta"][4096..4104].try_into().expect("8 bytes"));
    let salt = crc32fast::hash(&files["meta"][24..40]) ^ 0x9E37_79B1;
    let segment = files.get_mut(&format!("log/{:010}", committed / SEGMENT)).expect("a segment");
    let at = usize::try_from(committed % SEGMENT).expect("small");
    // A put of the empty key in table 0, with the commit mark (docs/format.md).
    let mut record = [0; 32];
    record[14..16].copy_from_slice(&[1, 1]);
    record[16..24].copy_from_slice(&committed.to_le_bytes());
    let place = (committed / 16).wrapping_mul(0x85EB_CA6B) & 0xFFFF_FFFF;
    let place = u32::try_from(place).expect("masked");
    let mut crc = crc32fast::Hasher::new_with_initial(salt ^ place);
    crc.update(&record[4..]);
    record[..4].copy_from_slice(&crc.finalize().to_le_bytes());
    segment[at..at + 32].copy_from_slice(&record);
    let opened = open(&files, life);
    assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
}

//! Threads on the simulated disk, few enough steps for Miri, which sees data races and gives loads the values that weakly ordered
//! memory may give. `tests/miri` runs it; elsewhere it is a small test like others.
#![cfg(feature = "sim")]

use mapstone::sim::SimDisk;
use mapstone::{Options, Store};

/// Only these bits of the hash differ between keys, so that few of them split pages.
const MASK: u64 = 0xC000_0000_0000_0000;

fn number(value: Option<mapstone::Value<'_>>) -> u32 {
    value.map_or(0, |value| *value.view::<u32>().expect("four bytes"))
}

/// Both keys are in every batch, and the last extra key is always there.
fn look(store: &Store) {
    let snapshot = store.snapshot().expect("memory");
    let first = number(snapshot.get("first").expect("sound"));
    assert_eq!(number(snapshot.get("second").expect("sound")), first);
    assert_eq!(snapshot.contains(first.to_le_bytes()).expect("sound"), first > 0);
    assert!(!snapshot.contains((first + 1).to_le_bytes()).expect("sound"));
    let many = snapshot.get_many(&["first", "second", "absent"]).expect("sound");
    assert!(many[0].as_deref() == many[1].as_deref() && many[2].is_none());
}

fn write(store: &Store, batches: std::ops::RangeInclusive<u32>) {
    for number in batches {
        let mut batch = store.batch();
        for key in ["first", "second"] {
            batch.put(key, number.to_le_bytes()).expect("small");
        }
        batch.put(number.to_le_bytes(), [7; 33]).expect("small");
        batch.commit().expect("space");
    }
}

/// Nobody calls the disk meanwhile: it copies pages as a whole, which Miri would call a race.
#[test]
fn a_reader_beside_a_writer() {
    let disk = SimDisk::new(3);
    let mut options = Options::new();
    options.segment_size(1 << 16).background(false).hash_mask(MASK);
    let store = options.open_sim(&disk).expect("a fresh store");
    write(&store, 1..=20);
    let attached = options.open_read_only_sim(&disk).expect("beside the writer");
    look(&attached);
    std::thread::scope(|scope| {
        for store in [&store, &attached] {
            scope.spawn(move || (0..6).for_each(|_| look(store)));
        }
        write(&store, 21..=50);
    });
    look(&attached);
    assert_eq!(attached.snapshot().expect("memory").len().expect("sound"), 52);
    store.close().expect("a sound disk");
}

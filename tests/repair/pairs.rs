//! Two damages of which one takes away what would tell of the other. Each of these once made a repair say too little.

use super::{Ground, LEFTS, sound};

fn grounds() -> impl Iterator<Item = Ground> {
    LEFTS.map(Ground::new).into_iter().chain([Ground::lives()])
}

fn segments(ground: &Ground) -> impl Iterator<Item = &String> {
    ground.sample.files.keys().filter(|name| name.starts_with("log/"))
}

/// One that is longer than others says so in its header. The checkpoint knows how many bytes of records it had.
#[test]
fn a_segment_may_be_short_and_without_its_header() {
    let mut wrong = Vec::new();
    for ground in grounds() {
        for name in segments(&ground) {
            let files = ground.with(|files| drop(files.insert(name.clone(), vec![0; 163])));
            wrong.extend(ground.judge(&files).err().map(|e| format!("{name}: {e}")));
        }
    }
    sound(wrong);
}

/// Noise among the live cells is no horizon before which compaction may have removed all.
#[test]
fn a_segment_may_be_missing_and_the_live_cells_noise() {
    let mut wrong = Vec::new();
    for ground in grounds() {
        for name in segments(&ground) {
            for byte in [0xA5, 0xFF, 0x10] {
                let files = ground.with(|files| {
                    files.remove(name);
                    files.get_mut("meta").expect("a file")[4096..4608].fill(byte);
                });
                wrong.extend(ground.judge(&files).err().map(|e| format!("{name}: {e}")));
            }
        }
    }
    sound(wrong);
}

/// Slots of pages that are no longer in use lead to the older one, whose key can still be read.
#[test]
fn a_keys_newest_record_may_be_zeros_and_the_one_before_damaged() {
    let mut wrong = Vec::new();
    for ground in grounds() {
        for (at, newest) in ground.all.iter().enumerate() {
            let same =
                |other: &&super::Record| (other.table, &other.key) == (newest.table, &newest.key);
            let older: Vec<_> = ground.all[..at].iter().filter(same).collect();
            if ground.all[at + 1..].iter().any(|other| same(&other)) || newest.table == 0 {
                continue;
            }
            for older in older.into_iter().filter(|older| older.value.is_some()) {
                let files = ground.with(|files| {
                    files.get_mut(&newest.file).expect("a file")[newest.from..newest.to].fill(0);
                    files.get_mut(&older.file).expect("a file")[older.to - 1] ^= 1;
                });
                let what = (&newest.file, newest.from, &older.file, older.from);
                wrong.extend(ground.judge(&files).err().map(|e| format!("{what:?}: {e}")));
            }
        }
    }
    sound(wrong);
}

/// What a checkpoint that is damaged knew to be gone is not known: what the other one had in use is missed.
#[test]
fn a_segment_may_be_missing_and_a_checkpoint_damaged() {
    let mut wrong = Vec::new();
    for ground in grounds() {
        for (name, checkpoint) in
            segments(&ground).flat_map(|name| ["checkpoint.a", "checkpoint.b"].map(|it| (name, it)))
        {
            let files = ground.with(|files| {
                files.remove(name);
                files.get_mut(checkpoint).expect("a file")[..512].fill(0xA5);
            });
            wrong.extend(ground.judge(&files).err().map(|e| format!("{name}, {checkpoint}: {e}")));
        }
    }
    sound(wrong);
}

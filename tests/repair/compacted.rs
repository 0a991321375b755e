//! Compaction removes segments: what it took is no loss, and what it left is.

use mapstone::Error;
use mapstone::sim::SimDisk;

use crate::index::rebuild;
use crate::store::{Files, Left, Model, content, options};
use crate::{LEFTS, repair};

/// A store of which compaction has taken most, with a deleted and a moved key, and its cache's life.
fn compacted(left: Left) -> (Files, u64, Model) {
    let disk = SimDisk::new(31);
    let store = options().open_sim(&disk).expect("a new store");
    for round in 0..6u32 {
        // Segments of keys that stay, and behind them such as are soon overwritten.
        for i in 0..150u32 {
            store.put((100 + 150 * round + i).to_be_bytes(), [7; 40]).expect("space");
        }
        for i in 0..200u32 {
            store.put((i % 90).to_be_bytes(), format!("value {i} of {round}")).expect("space");
        }
        store.delete((round * 5).to_be_bytes()).expect("space");
        store.table("other").expect("space").put([1], [0]).expect("space");
        if round % 2 == 1 {
            store.compact(|_| true).expect("space");
        }
    }
    store.checkpoint().expect("space");
    for i in 0..30u32 {
        store.put(i.to_be_bytes(), "after the checkpoint").expect("space");
    }
    store.delete(77u32.to_be_bytes()).expect("space");
    store.sync().expect("a sound disk");
    let model = content(&store).expect("sound");
    let disk = if left == Left::Clean {
        store.close().expect("space");
        disk
    } else {
        disk.process_kill()
    };
    (disk.files(), disk.page_cache() ^ u64::from(left == Left::Lost), model)
}

fn segments(files: &Files) -> Vec<String> {
    files.keys().filter(|name| name.starts_with("log/0")).cloned().collect()
}

/// What is left to say which segments may be gone.
fn forms(files: &Files) -> Vec<(Vec<&'static str>, Files)> {
    let forms: [&[&str]; 5] = [
        &[],
        &["index"],
        &["usage"],
        &["checkpoint.a", "checkpoint.b"],
        &["index", "usage", "checkpoint.a", "checkpoint.b"],
    ];
    let without = |names: &[&str]| {
        let mut files = files.clone();
        names.iter().for_each(|name| drop(files.remove(*name)));
        files
    };
    forms.map(|names| (names.to_vec(), without(names))).to_vec()
}

#[test]
fn what_compaction_took_is_no_loss() {
    for left in LEFTS {
        let (files, life, model) = compacted(left);
        let numbers = segments(&files);
        let number = |name: &String| name["log/".len()..].parse::<usize>().expect("a number");
        let holes = numbers.windows(2).filter(|two| number(&two[0]) + 1 < number(&two[1])).count();
        assert!(holes > 2 && numbers.len() > 10, "{holes} holes in {numbers:?}");
        for (what, files) in forms(&files) {
            let (salvage, found) = repair(&files, life).expect("a log");
            assert!(salvage.is_complete(), "{left:?} without {what:?}: {:?}", salvage.lost);
            assert!(found == model, "{left:?} without {what:?}");
            let rebuilt = rebuild(&SimDisk::holding(&files, life), &model);
            assert_eq!(rebuilt, Ok(()), "{left:?} without {what:?}");
        }
    }
}

#[test]
fn a_segment_that_held_something_is_missed_although_compaction_removes_others() {
    for left in LEFTS {
        let (files, life, model) = compacted(left);
        for segment in segments(&files) {
            let mut files = files.clone();
            files.remove(&segment);
            let (salvage, found) = repair(&files, life).expect("a log");
            if found != model {
                assert!(!salvage.is_complete(), "{left:?} without {segment}");
            }
            let disk = SimDisk::holding(&files, life);
            let rebuilt =
                options().rebuild_index(true).open_sim(&disk).map(|store| content(&store));
            match rebuilt {
                Ok(content) => {
                    assert!(content.expect("sound") == model, "{left:?} without {segment}")
                }
                Err(Error::Corrupt { .. }) => {}
                Err(error) => panic!("{left:?} without {segment}: {error}"),
            }
        }
    }
}

//! A process that is killed while it repairs: the new store is not there, or it is whole; and the repair can be done again.
#![cfg(feature = "cli")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use mapstone::sim::{CRASH_AT, Point};
use mapstone::{Options, Store};

use crate::store::content;

const KEYS: u32 = 9000;

fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(1 << 16);
    options
}

fn fill(path: &Path) {
    let store = options().open(path).expect("a new store");
    let mut batch = store.batch();
    for i in 0..KEYS {
        batch.put(i.to_be_bytes(), format!("value {i}")).expect("small");
    }
    batch.commit().expect("space");
    store.table("fruit").and_then(|table| table.put("apple", "red")).expect("space");
    store.close().expect("space");
}

/// All files below a directory, and what they hold.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.insert(path.display().to_string(), fs::read(&path).expect("a file"));
        }
    }
    all
}

/// Runs the command line, killed at a point if one is given; says whether it ended by itself.
fn run(args: &[&str], at: Option<(Point, u64)>) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mapstone"));
    command.arg("repair").args(args).stdout(Stdio::null());
    if let Some((point, times)) = at {
        command.env(CRASH_AT, format!("{}:{times}", point.name()));
    }
    let status = command.status().expect("the binary");
    assert!(status.success() || status.code().is_none(), "{args:?}: {status}");
    status.success()
}

fn holds_all(path: &Path) {
    let store = Store::open(path).expect("a store");
    let model = content(&store).expect("sound");
    assert_eq!(model.len(), KEYS as usize + 1);
    assert!(store.verify().expect("sound").is_ok());
}

#[test]
fn a_new_store_has_its_name_only_when_it_is_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let (damaged, new) = (dir.path().join("damaged"), dir.path().join("new"));
    fill(&damaged);
    fs::remove_file(damaged.join("meta")).expect("there");
    fs::remove_file(damaged.join("index")).expect("there");
    let before = files(&damaged);
    let to = ["--to", new.to_str().expect("UTF-8")];
    let args = [damaged.to_str().expect("UTF-8"), to[0], to[1]];
    let points = Point::ALL.iter().filter(|point| point.name().starts_with("repair."));
    let own = [
        Point::CreateRenamed,
        Point::AppendMarked,
        Point::SegmentRenamed,
        Point::CheckpointSet,
        Point::CleanSynced,
    ];
    for (point, times) in
        points.map(|it| (*it, 1)).chain(own.map(|it| (it, 1))).chain([(Point::RepairPut, 2)])
    {
        assert!(!run(&args, Some((point, times))), "{point:?} is not reached");
        assert!(files(&damaged) == before, "{point:?}: the damaged store was written to");
        if point == Point::RepairNamed {
            holds_all(&new);
            fs::remove_dir_all(&new).expect("there");
        }
        assert!(!new.exists(), "{point:?}");
    }
    assert!(run(&args, None));
    holds_all(&new);
    assert!(!dir.path().join("new.unfinished").exists());
}

#[test]
fn an_index_that_is_half_built_is_built_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let damaged = dir.path().join("damaged");
    fill(&damaged);
    let args = [damaged.to_str().expect("UTF-8"), "--index"];
    let points = Point::ALL.iter().filter(|point| point.name().starts_with("rebuild."));
    let own = [
        Point::PageWritten,
        Point::SplitLed,
        Point::DoubleSwitched,
        Point::RestoreSettled,
        Point::SealCleared,
    ];
    for point in points.copied().chain(own) {
        fs::write(damaged.join("index"), "noise").expect("space");
        assert!(!run(&args, Some((point, 1))), "{point:?} is not reached");
        match Store::open(&damaged) {
            Ok(store) => {
                assert_eq!(content(&store).expect("sound").len(), KEYS as usize + 1, "{point:?}")
            }
            Err(error) => {
                assert!(matches!(error, mapstone::Error::Corrupt { .. }), "{point:?} {error}")
            }
        }
        assert!(run(&args, None));
        holds_all(&damaged);
    }
}

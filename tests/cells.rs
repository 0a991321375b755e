//! Live cells that say anything, in the page cache they were written in: an error or an answer, never a panic or an endless loop.
//!
//! A store that was copied never believes them, so the writer dies here, in a child process, and its own files are damaged.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

use mapstone::{Options, Result, Store};

const PLACE: &str = "MAPSTONE_TEST_DYING_WRITER";
/// Where the cells are in `meta` (docs/format.md).
const CELLS: usize = 4096;
const WORDS: usize = 40;

fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(4096).background(false);
    options
}

#[test]
fn dying_writer() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let store = options().open(&place).expect("a fresh store");
    let table = store.table("table").expect("space");
    for i in 0..600u32 {
        store.put(i.to_le_bytes(), format!("value {i}")).expect("space");
        if i == 300 {
            store.checkpoint().expect("space");
        }
    }
    table.put("key", vec![1; 6000]).expect("space");
    std::process::abort();
}

/// The files of a store whose writer has died.
fn files(place: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for dir in [place.to_path_buf(), place.join("log")] {
        for entry in std::fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                files.insert(path.clone(), std::fs::read(&path).expect("a file"));
            }
        }
    }
    files
}

/// Puts the files back as they were, the same inodes as far as they are still there.
fn put_back(place: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(place.join("log")).expect("a directory") {
        let path = entry.expect("an entry").path();
        if !files.contains_key(&path) {
            std::fs::remove_file(path).expect("may");
        }
    }
    for (path, bytes) in files {
        std::fs::write(path, bytes).expect("may");
    }
}

/// Does everything once.
fn use_it(store: &Store) -> Result<()> {
    store.stats()?;
    let snapshot = store.snapshot()?;
    for item in snapshot.iter().take(5000) {
        item?;
    }
    for i in 0..50u32 {
        store.get(i.to_le_bytes())?;
    }
    store.get_many(&["a", "b"])?;
    store.tables()?;
    store.verify()?;
    if !store.is_read_only() {
        for i in 0..150u32 {
            store.put(i.to_le_bytes(), "again")?;
        }
        store.delete(7u32.to_le_bytes())?;
        store.checkpoint()?;
    }
    Ok(())
}

#[test]
fn damaged_cells_of_a_living_page_cache() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("store");
    let mut child = Command::new(std::env::current_exe().expect("this binary"));
    child.args(["--exact", "dying_writer", "--test-threads=1"]).env(PLACE, &place);
    let output = child.output().expect("a child");
    assert!(!output.status.success(), "it was to die");
    let before = files(&place);
    let meta = before[&place.join("meta")].clone();
    let mut panics = Vec::new();
    for word in 0..WORDS {
        let at = CELLS + 8 * word;
        let now = u64::from_le_bytes(meta[at..at + 8].try_into().expect("eight bytes"));
        for value in [0, 3, now ^ 16, now + 4096 * 3, 1 << 38, u64::MAX] {
            for read_only in [true, false] {
                put_back(&place, &before);
                let mut damaged = meta.clone();
                damaged[at..at + 8].copy_from_slice(&value.to_le_bytes());
                std::fs::write(place.join("meta"), damaged).expect("may");
                let used = catch_unwind(AssertUnwindSafe(|| {
                    let store = if read_only {
                        options().open_read_only(&place)?
                    } else {
                        options().open(&place)?
                    };
                    use_it(&store)
                }));
                if used.is_err() {
                    panics.push((8 * word, value, read_only));
                }
            }
        }
    }
    assert!(panics.is_empty(), "{panics:?}");
}

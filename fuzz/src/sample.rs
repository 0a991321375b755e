//! The stores that are damaged: small ones with a bit of everything, left in different ways, as plain bytes.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::OnceLock;

use mapstone::sim::{Point, SimDisk, at_points};
use mapstone::{Options, Result, Store};

use super::damage::Files;

/// One store.
pub(super) struct Sample {
    pub(super) files: Files,
    /// The page cache that the files are in.
    pub(super) life: u64,
    /// The hash bits by which its keys differ.
    mask: u64,
}

/// Bytes of a segment.
pub(super) const SEGMENT: u64 = 4096;
/// Keys of the table without a name are below this.
pub(super) const KEYS: u16 = 300;
/// Keys whose hashes begin with the same eleven bits: pages grow chains, since a small store's directory is no deeper than six.
const CHAINED: u64 = 0x001F_FFFF_FF00_0000;
pub(super) const TABLE: &str = "fruit";

impl Sample {
    pub(super) fn options(&self) -> Options {
        options(self.mask)
    }

    /// What a word of a file holds.
    pub(super) fn word(&self, file: &str, at: usize) -> u64 {
        let bytes = self.files[file][at..at + 8].try_into();
        u64::from_le_bytes(bytes.expect("eight bytes"))
    }
}

fn options(mask: u64) -> Options {
    let mut options = Options::new();
    options.segment_size(SEGMENT).background(false).hash_mask(mask);
    options
}

fn put(store: &Store, keys: std::ops::Range<u16>, word: &str) -> Result<()> {
    let mut batch = store.batch();
    for key in keys {
        batch.put(key.to_be_bytes(), format!("{word} {key}"))?;
    }
    batch.commit().map(drop)
}

/// Pages that a checkpoint names and the live directory has left, tombstones, a segment for one record, a table, and keys that
/// were written again since the checkpoint, durably and not.
fn fill(store: &Store) -> Result<()> {
    let fruit = store.table(TABLE)?;
    fruit.put("apple", "red")?;
    put(store, 0..KEYS / 2, "first")?;
    store.checkpoint()?;
    put(store, KEYS / 2..KEYS, "new")?;
    store.delete(7u16.to_be_bytes())?;
    store.put("large", vec![1; 5000])?;
    put(store, 0..20, "second")?;
    store.checkpoint()?;
    put(store, 10..15, "third")?;
    fruit.put("apple", "green")?;
    store.sync()?;
    put(store, 12..18, "last")
}

/// How a sample is left.
#[derive(Clone, Copy, PartialEq)]
enum Left {
    Closed,
    Killed,
    /// The power went, though not a byte was lost.
    Lost,
    /// The writer was killed while a page split.
    Splitting,
}

fn make(left: Left, mask: u64) -> Sample {
    let disk = SimDisk::new(5);
    let store = options(mask).open_sim(&disk).expect("a new store");
    fill(&store).expect("space");
    let mut files = None;
    match left {
        Left::Closed => store.close().expect("space"),
        Left::Splitting => files = Some(split(&store, &disk)),
        Left::Killed | Left::Lost => {}
    }
    let files = files.unwrap_or_else(|| disk.files());
    Sample { files, life: disk.page_cache() ^ u64::from(left == Left::Lost), mask }
}

/// Adds keys until a page splits; the files as they are in the middle of that.
fn split(store: &Store, disk: &SimDisk) -> Files {
    let seen = Rc::new(RefCell::new(None));
    let (found, watched) = (Rc::clone(&seen), disk.clone());
    at_points(Some(Box::new(move |point| {
        if point == Point::SplitHalf {
            found.borrow_mut().get_or_insert_with(|| watched.files());
        }
    })));
    for first in (1000..3000).step_by(50) {
        put(store, first..first + 50, "more").expect("space");
        if seen.borrow().is_some() {
            break;
        }
    }
    at_points(None);
    seen.take().expect("a split")
}

/// All samples.
pub(super) fn samples() -> &'static [Sample] {
    static SAMPLES: OnceLock<Vec<Sample>> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let plain = [Left::Killed, Left::Closed, Left::Lost, Left::Splitting];
        let chained = [Left::Killed, Left::Closed, Left::Lost];
        let plain = plain.into_iter().map(|left| make(left, u64::MAX));
        plain.chain(chained.into_iter().map(|left| make(left, CHAINED))).collect()
    })
}

/// The sample that a byte chooses.
pub(super) fn sample(which: u8) -> &'static Sample {
    let samples = samples();
    &samples[usize::from(which) % samples.len()]
}

//! The stores that are damaged: small ones with a bit of everything, as plain bytes, and what they must hold.

use std::collections::BTreeMap;

use mapstone::sim::SimDisk;
use mapstone::{Options, Result, Snapshot, Store};

/// Contents of a store's files by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;
/// Values by table (empty for the one without a name) and key.
pub(crate) type Model = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// How a store was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Closed.
    Clean,
    /// By a process that was killed.
    Killed,
    /// By a machine that lost its power, though by luck not a byte of what was written.
    Lost,
}

pub(crate) struct Sample {
    pub(crate) left: Left,
    pub(crate) files: Files,
    /// The page cache that the files are in.
    pub(crate) life: u64,
    /// What the store holds, and what it held before, back to the last durable commit.
    pub(crate) models: Vec<Model>,
}

pub(crate) const TABLE: &str = "fruit";

pub(crate) fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(4096).background(false);
    options
}

fn key(i: u32) -> [u8; 2] {
    u16::try_from(i).expect("small").to_be_bytes()
}

/// Puts `keys` into the table without a name, in one commit.
fn put(store: &Store, model: &mut Model, keys: std::ops::Range<u32>, word: &str) -> Result<()> {
    let mut batch = store.batch();
    for i in keys {
        let value = format!("{word} {i}").into_bytes();
        batch.put(key(i), &value)?;
        model.insert((String::new(), key(i).to_vec()), value);
    }
    batch.commit()?;
    Ok(())
}

/// Splits before and after a checkpoint, tombstones, a value that needs a segment of its own, keys overwritten once and twice
/// since the checkpoint, durably and not; and a cursor.
fn fill(store: &Store) -> Result<Vec<Model>> {
    let mut model = Model::new();
    let fruit = store.table(TABLE)?;
    put(store, &mut model, 0..250, "first")?;
    for i in [3, 77, 240] {
        store.delete(key(i))?;
        model.remove(&(String::new(), key(i).to_vec()));
    }
    fruit.put("apple", "red")?;
    store.put("large", vec![7; 5000])?;
    model.insert((String::new(), b"large".to_vec()), vec![7; 5000]);
    store.checkpoint()?;
    put(store, &mut model, 100..120, "second")?;
    put(store, &mut model, 250..400, "new")?;
    store.checkpoint()?;
    put(store, &mut model, 110..115, "third")?;
    put(store, &mut model, 395..560, "newer")?;
    fruit.put("apple", "green")?;
    model.insert((TABLE.into(), b"apple".to_vec()), b"green".to_vec());
    store.sync()?;
    store.cursor("follower")?;
    let mut models = vec![model.clone()];
    for (keys, word) in [(112..130, "last but one"), (112..114, "last")] {
        put(store, &mut model, keys, word)?;
        models.insert(0, model.clone());
    }
    Ok(models)
}

/// A store that was left in one of three ways.
pub(crate) fn sample(left: Left) -> Sample {
    let disk = SimDisk::new(11);
    let store = options().open_sim(&disk).expect("a new store");
    let models = fill(&store).expect("space");
    let disk = if left == Left::Clean {
        store.close().expect("space");
        disk
    } else {
        disk.process_kill()
    };
    let life = disk.page_cache() ^ u64::from(left == Left::Lost);
    let mut files = disk.files();
    // As on a disk that had no room for more pages than were needed.
    let watermark = u32::from_le_bytes(files["meta"][4184..4188].try_into().expect("four bytes"));
    let used = 4096 * usize::try_from(watermark).expect("small");
    files.get_mut("index").expect("an index").truncate(used);
    Sample { left, files, life, models }
}

/// All that a store holds, by iteration.
pub(crate) fn content(store: &Store) -> Result<Model> {
    let mut model = Model::new();
    let mut collect = |name: &str, snapshot: &Snapshot| -> Result<()> {
        for item in snapshot {
            let (key, value) = item?;
            let again = model.insert((name.to_owned(), key.to_vec()), value.to_vec());
            assert!(again.is_none(), "a key was seen twice");
        }
        Ok(())
    };
    let snapshot = store.snapshot()?;
    collect("", &snapshot)?;
    for name in snapshot.tables()? {
        let table = snapshot.table(&name)?;
        let Some(table) = table else { continue };
        collect(&name, &table)?;
    }
    Ok(model)
}

/// Fails unless looking the keys up one by one, and all at once, gives what iteration gave.
pub(crate) fn look_up(store: &Store, model: &Model) -> Result<bool> {
    let keys: Vec<&[u8]> =
        model.keys().filter(|(table, _)| table.is_empty()).map(|(_, key)| &key[..]).collect();
    let mut right = true;
    for (key, value) in keys.iter().zip(store.get_many(&keys)?) {
        let expected = model.get(&(String::new(), key.to_vec())).map(|value| &value[..]);
        right &= value.as_deref() == expected && store.get(key)?.as_deref() == expected;
    }
    for i in [3, 77, 240, 9999] {
        right &= store.get(key(i))?.is_none();
    }
    Ok(right)
}

/// Changes the store a little, as the model.
pub(crate) fn change(store: &Store, model: &mut Model) -> Result<()> {
    put(store, model, 110..118, "changed")?;
    put(store, model, 600..640, "added")?;
    store.delete(key(5))?;
    model.remove(&(String::new(), key(5).to_vec()));
    Ok(())
}

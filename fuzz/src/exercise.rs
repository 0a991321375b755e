//! Opens a store that may be damaged in every way, reads all of it, and writes to it.

use mapstone::sim::SimDisk;
use mapstone::{Error, Position, Salvage, Store};

use super::damage::Files;
use super::sample::{KEYS, SEGMENT, Sample, TABLE};

/// Opens what these files are read-only, reads it, and if `writing` opens it for that as well. Any error is fine, unless a
/// verification finds nothing wrong.
pub(super) fn exercise(sample: &Sample, files: &Files, writing: bool) {
    let disk = SimDisk::holding(files, sample.life);
    if !writing {
        if let Ok(store) = sample.options().open_read_only_sim(&disk) {
            look(&store);
        }
        return;
    }
    let mut options = sample.options();
    let store = match options.verify_on_read(true).open_sim(&disk) {
        Ok(store) => store,
        Err(Error::NoSuchTable { .. } | Error::ReadOnly | Error::Forked | Error::Poisoned) => {
            panic!("an error that opening has no cause for")
        }
        Err(_) => return,
    };
    // A record that was forged behind the end of the log counts once the log has come there.
    let whole = look(&store) && ends_in_zeros(&store, &disk);
    let written = write(&store);
    assert!(!whole || written.is_ok(), "a store without damage refuses a write: {written:?}");
    let closed = store.close();
    assert!(!whole || closed.is_ok(), "a store without damage is not closed: {closed:?}");
    match sample.options().open_sim(&disk) {
        Ok(store) => assert!(look(&store) || !whole, "damage after a close: {:?}", store.verify()),
        Err(error) => assert!(!whole, "a store that was closed is not opened: {error}"),
    }
}

fn ends_in_zeros(store: &Store, disk: &SimDisk) -> bool {
    let Some(last) = store.segments().ok().and_then(|segments| segments.last().cloned()) else {
        return false;
    };
    let end = store.position().as_u64() - last.number * SEGMENT;
    let end = usize::try_from(end).expect("a small store");
    let name = format!("log/{:010}", last.number);
    disk.files().get(&name).is_some_and(|file| file[end..].iter().all(|byte| *byte == 0))
}

/// Repairs what these files are, in both ways: the damaged store stays as it is, the new one is sound, and of a store that a
/// verification finds whole nothing is lost.
pub(super) fn repair(sample: &Sample, files: &Files) {
    let disk = SimDisk::holding(files, sample.life);
    let opened = sample.options().open_read_only_sim(&disk);
    let whole = opened.ok().filter(|store| store.verify().is_ok_and(|found| found.is_ok()));
    let whole =
        whole.map(|store| (store.position(), store.stats().expect("a sound store").entries));
    let before = disk.files();
    let new = SimDisk::new(1);
    let salvaged = sample.options().repair_sim(&disk, &new);
    assert!(disk.files() == before, "the damaged store was written to");
    if let Ok(salvage) = &salvaged {
        let store = sample.options().open_sim(&new).expect("a store that was closed");
        assert!(look(&store), "a new store is damaged");
        assert_eq!(store.stats().expect("a sound store").entries, salvage.entries);
    }
    assert!(salvaged.is_ok() || whole.is_none(), "{salvaged:?}");
    // What comes after the commit that was verified may be forged, and take from what there was.
    let salvage = salvaged.ok();
    let at = salvage.as_ref().map(|salvage| salvage.position);
    let entries = whole.filter(|(position, _)| Some(*position) == at).map(|(_, entries)| entries);
    let fits = |salvage: &Salvage| entries.is_none_or(|entries| entries <= salvage.entries);
    assert!(salvage.as_ref().is_none_or(fits), "{salvage:?} {entries:?}");
    let mut options = sample.options();
    if let Ok(store) = options.rebuild_index(true).open_sim(&SimDisk::holding(files, sample.life)) {
        look(&store);
        // An index that was built is one of the log that is there, forged or not.
        let damage = store.verify().expect("a log that was read").damage;
        assert!(
            damage.iter().all(|it| {
                let dir = it.file.parent().expect("a file of a store");
                dir.ends_with("log") || dir.ends_with("cursors")
            }),
            "{damage:?}"
        );
        let fits = |entries| store.stats().map_or(!damage.is_empty(), |it| it.entries >= entries);
        assert!(entries.is_none_or(fits), "{entries:?} {:?}", store.stats());
    }
}

/// Reads all there is through a handle. If a verification finds nothing wrong, that must work, and what is read one by one must
/// be what is read in a row. Says whether it did.
fn look(store: &Store) -> bool {
    let whole = store.verify().is_ok_and(|verification| verification.is_ok());
    let read = read(store);
    // A forged record can be of a table that there never was.
    let _ = changes(store);
    assert!(!whole || read.is_ok(), "what was verified cannot be read: {read:?}");
    whole
}

fn read(store: &Store) -> Result<(), Error> {
    // All of it is tried, whatever fails before.
    let parts = [
        store.stats().map(drop),
        store.tables().map(drop),
        many(store),
        store.get("large").map(drop),
        iterate(store),
        table(store),
        store.cursors().map(drop),
    ];
    parts.into_iter().collect()
}

/// All changes that the log still has.
fn changes(store: &Store) -> Result<(), Error> {
    let mut changes = match store.changes(Position::default()) {
        Err(Error::Compacted { oldest, .. }) => store.changes(Position::from_u64(oldest))?,
        changes => changes?,
    };
    while let Some(commit) = changes.next_commit()? {
        for change in &commit {
            std::hint::black_box(change?);
        }
    }
    Ok(())
}

fn many(store: &Store) -> Result<(), Error> {
    let keys: Vec<[u8; 2]> = (0..KEYS + 20).map(u16::to_be_bytes).collect();
    // All of them, even if one fails.
    let single: Vec<_> = keys.iter().step_by(7).map(|key| store.get(key).map(drop)).collect();
    let values = store.get_many(&keys)?;
    for value in values.into_iter().flatten() {
        std::hint::black_box(value.iter().fold(0u8, |sum, byte| sum ^ byte));
    }
    single.into_iter().collect()
}

/// Damage may lead to the same pages again and again; the keys that were ever there bound what is worth seeing.
const MOST: usize = 10_000;

fn iterate(store: &Store) -> Result<(), Error> {
    let snapshot = store.snapshot()?;
    let mut result = Ok(());
    let mut found = Vec::new();
    for item in snapshot.iter().take(MOST) {
        match item {
            Ok(entry) => found.push(entry),
            Err(error) => result = Err(error),
        }
    }
    result?;
    for (key, value) in found {
        if let Some(same) = snapshot.get(key)? {
            assert!(*same == *value || !store.verify()?.is_ok(), "two values of a key");
        }
    }
    Ok(())
}

fn table(store: &Store) -> Result<(), Error> {
    let snapshot = store.snapshot()?;
    let Some(table) = snapshot.table(TABLE)? else { return Ok(()) };
    table.get("apple")?;
    table.iter().take(MOST).try_for_each(|item| item.map(drop))
}

fn write(store: &Store) -> Result<(), Error> {
    let mut batch = store.batch();
    for key in 0..60u16 {
        batch.put((key * 40).to_be_bytes(), "written after")?;
    }
    let parts = [
        store.put(3u16.to_be_bytes(), "changed"),
        store.put_with(4u16.to_be_bytes(), 5000, |to| to.fill(1)),
        batch.commit().map(drop),
        store.delete(100u16.to_be_bytes()).map(drop),
        store.sync().map(drop),
        store.delete("large").map(drop),
        store.drop_table(TABLE).map(drop),
        store.checkpoint().map(drop),
        store.put(5u16.to_be_bytes(), "last"),
    ];
    parts.into_iter().collect()
}

//! Repair: what is left of a damaged store becomes a new one.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::faults::{Point, reach};
use crate::handle::Store;
use crate::options::{Durability, Options};
use crate::store::{Damaged, Item, LOCK, Progress, Salvage, Stats, holds_nothing_else};
use crate::sys::{Access, Disk, LockKind, Unfinished, Wishes, open_real};
use crate::table::Table;

/// A batch is committed when it has as many operations, or bytes of values.
const BATCH: usize = 4096;
const BATCH_BYTES: usize = 4 << 20;
/// A value from this size on is a commit of its own, and is not copied before.
const LARGE: usize = 1 << 20;

impl Options {
    /// Makes a new store in the directory `to` of all that is left of the damaged one in `from`, to which nothing is written.
    ///
    /// Every record that passes its checksum counts, whatever has become of `meta`, the index, the checkpoints and the rest of
    /// the log; the newest version of each key that is left is in the new store. What was deleted stays so if the tombstone
    /// is left, and what was never committed is not salvaged. The result says what is lost.
    ///
    /// `to` must not be there, or be an empty directory. The new store gets this name only when it is complete and durable;
    /// until then it is in a directory beside it, named with `.unfinished` at the end, which a repair that was cut short
    /// leaves and the next one replaces. Its segments have the size of the damaged ones; the other options hold as usual.
    ///
    /// The handler of [`Options::sigbus_guard`] is installed for it, so that a page that the disk cannot deliver is lost and nothing else.
    ///
    /// Takes as long as reading the log three times and writing what is left of it, and about 64 bytes of memory for each
    /// record, but not more than about a gigabyte.
    ///
    /// ```
    /// use mapstone::{Options, Store};
    /// # let dir = tempfile::tempdir()?;
    /// # let (damaged, new) = (dir.path().join("damaged"), dir.path().join("new"));
    /// # let store = Store::open(&damaged)?;
    /// # store.put("key", "value")?;
    /// # store.close()?;
    /// std::fs::remove_file(damaged.join("meta"))?;
    /// std::fs::remove_file(damaged.join("index"))?;
    /// assert!(Store::open(&damaged).is_err());
    ///
    /// let salvage = Options::new().repair(&damaged, &new)?;
    /// for lost in &salvage.lost {
    ///     eprintln!("lost: {lost}");
    /// }
    /// assert!(salvage.is_complete());
    /// assert_eq!(Store::open(&new)?.get("key")?.as_deref(), Some(&b"value"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Locked`] while the damaged store is open for writing, [`Error::NotFound`] and [`Error::NotAStore`] where nothing of
    /// one is left, [`Error::Version`] for one of a newer release, [`Error::AlreadyExists`] if there is something at `to`,
    /// [`Error::InvalidOption`] if that is inside the damaged store, [`Error::Full`] and [`Error::Io`]. Damage is no error.
    pub fn repair(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Salvage> {
        self.repair_with(from, to, |_| ())
    }

    /// As [`Options::repair`], and tells `watch` now and then how far it has come.
    ///
    /// # Errors
    /// As [`Options::repair`].
    pub fn repair_with(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        mut watch: impl FnMut(Progress),
    ) -> Result<Salvage> {
        let (from, to) = (from.as_ref(), to.as_ref());
        let place = Unfinished::new(to).map_err(|error| refused(to, error))?;
        if place.is_within(from) {
            let why = "the new store would be inside the damaged one".into();
            return Err(Error::InvalidOption { option: "to", why });
        }
        // A page that the disk cannot deliver is damage like any other.
        let damaged = Damaged::open(
            open_real(from, Wishes { guard: true, ..Wishes::default() }),
            &mut watch,
        )?;
        reach(Point::RepairRead);
        clear(&place)?;
        let disk = open_real(place.path(), Wishes::default());
        let salvage = self.rebuild(damaged, disk, &mut watch).inspect_err(|_| {
            // The first failure is the one to tell; what stays is replaced by the next repair.
            let _ = place.clear();
        })?;
        reach(Point::RepairBuilt);
        place.finish().map_err(|error| refused(to, error))?;
        reach(Point::RepairNamed);
        Ok(salvage)
    }

    /// Builds the index of the store in the directory `path` anew from its log, and its checkpoints with it; see
    /// [`Options::rebuild_index`]. Tells `watch` how far it has come.
    ///
    /// ```
    /// use mapstone::{Options, Store};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("db");
    /// # let store = Store::open(&path)?;
    /// # store.put("key", "value")?;
    /// # store.close()?;
    /// std::fs::write(path.join("index"), "not an index")?;
    /// assert!(Store::open(&path).is_err());
    ///
    /// let stats = Options::new().repair_index(&path, |progress| eprintln!("{progress:?}"))?;
    /// assert_eq!(stats.entries, 1);
    /// assert_eq!(Store::open(&path)?.get("key")?.as_deref(), Some(&b"value"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Options::rebuild_index`] says, and [`Error::NotFound`].
    pub fn repair_index(
        &self,
        path: impl AsRef<Path>,
        mut watch: impl FnMut(Progress),
    ) -> Result<Stats> {
        let mut options = self.clone();
        options.create(false).create_new(false).rebuild_index(true);
        options.check()?;
        let disk = open_real(path.as_ref(), self.wishes());
        let store = Store::open_watched_on(disk, &options, &mut watch)?;
        let stats = store.stats()?;
        store.close()?;
        Ok(stats)
    }

    /// Makes a new store on one simulated disk of what is left on another.
    #[cfg(all(any(test, feature = "sim"), not(all(test, loom))))]
    #[doc(hidden)]
    pub fn repair_sim(
        &self,
        from: &crate::sys::sim::SimDisk,
        to: &crate::sys::sim::SimDisk,
    ) -> Result<Salvage> {
        let damaged = Damaged::open(from.disk(), &mut |_| ())?;
        self.rebuild(damaged, to.disk(), &mut |_| ())
    }

    fn rebuild(
        &self,
        mut damaged: Damaged,
        disk: Arc<dyn Disk>,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<Salvage> {
        let mut options = self.clone();
        options.segment_size(damaged.segment_size()).create_new(true);
        options.check()?;
        let store = Store::open_on(disk, &options)?;
        let filler = std::cell::RefCell::new(Filler::new(&store));
        let salvage = damaged.salvage(
            self,
            watch,
            &mut |name| filler.borrow_mut().table(name).map(drop),
            &mut |item| filler.borrow_mut().put(item),
        )?;
        filler.into_inner().finish()?;
        store.checkpoint()?;
        store.close()?;
        Ok(salvage)
    }
}

/// Puts entries into a store in batches.
struct Filler<'a> {
    store: &'a Store,
    batch: Batch,
    bytes: usize,
    tables: HashMap<String, Table>,
}

impl<'a> Filler<'a> {
    fn new(store: &'a Store) -> Filler<'a> {
        Filler { store, batch: store.batch(), bytes: 0, tables: HashMap::new() }
    }

    fn table(&mut self, name: &str) -> Result<&Table> {
        if !self.tables.contains_key(name) {
            self.tables.insert(name.into(), self.store.table(name)?);
        }
        Ok(&self.tables[name])
    }

    fn put(&mut self, item: Item<'_>) -> Result<()> {
        let Item { table, key, value } = item;
        let table = table.map(|name| self.table(name).cloned()).transpose()?;
        match table {
            None if value.len() >= LARGE => return self.store.put(key, value),
            Some(table) if value.len() >= LARGE => return table.put(key, value),
            None => self.batch.put(key, value)?,
            Some(table) => self.batch.put_in(&table, key, value)?,
        };
        self.bytes += value.len();
        if self.batch.len() >= BATCH || self.bytes >= BATCH_BYTES {
            self.commit()?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        self.batch.commit_with(Durability::Eventual)?;
        self.bytes = 0;
        reach(Point::RepairPut);
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        if self.batch.is_empty() { Ok(()) } else { self.commit() }
    }
}

/// Why there can be no new store at `to`.
fn refused(to: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => {
            Error::AlreadyExists { path: to.to_path_buf() }
        }
        io::ErrorKind::InvalidInput => {
            Error::InvalidOption { option: "to", why: "it ends in no name".into() }
        }
        _ => Error::io("create", to, error),
    }
}

/// Removes what an earlier repair has left, unless it is still at it or it is something else.
fn clear(place: &Unfinished) -> Result<()> {
    let path = place.path();
    let disk = open_real(path, Wishes::default());
    match holds_nothing_else(&*disk) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(true) => {}
        Ok(false) => return Err(Error::AlreadyExists { path: path.to_path_buf() }),
        Err(error) => return Err(refused(path, error)),
    }
    let lock = disk.open(LOCK, Access::Write);
    let failed = |error| Error::io("lock", path.join(LOCK), error);
    if let Ok(lock) = &lock
        && !lock.try_lock(LockKind::Exclusive).map_err(failed)?
    {
        return Err(Error::Locked { path: path.to_path_buf(), pid: None });
    }
    place.clear().map_err(|error| Error::io("remove", path, error))
}

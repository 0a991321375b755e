//! The store's handle: what a program opens, clones, and lets go.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytemuck::NoUninit;

use crate::batch::Batch;
use crate::error::Result;
use crate::format::position::Position;
use crate::keyspace::Keyspace;
use crate::options::Options;
use crate::snapshot::Snapshot;
use crate::store::{
    Ahead, Background, Compaction, DEFAULT_TABLE, Effort, Engine, Holder, Progress, SegmentStats,
    Stats, Verification,
};
use crate::sys::Disk;
use crate::table::Table;
use crate::value::Value;

/// An open store. Cheap to clone, and may be used from any number of threads; the last clone to go closes it.
///
/// Its own methods work on the table without a name; [`Store::table`] gives the others.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let store = mapstone::Store::open(dir.path().join("db"))?;
/// store.put("greeting", "hello")?;
/// let writer = store.clone();
/// std::thread::spawn(move || writer.put("farewell", "bye")).join().expect("no panic")?;
/// assert_eq!(store.get("farewell")?.as_deref(), Some(&b"bye"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Store {
    handle: Arc<Handle>,
}

/// What all clones, tables, batches and snapshots of one open store share.
pub(crate) struct Handle {
    engine: Arc<Engine>,
}

impl Handle {
    #[inline]
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Without a clean record the next open recovers, so a failure here loses nothing. `Store::close` reports it.
        let _ = self.engine.close();
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("path", &self.engine.path()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path())
            .field("read_only", &self.is_read_only())
            .field("position", &self.position())
            .finish()
    }
}

impl Store {
    /// Opens the store in the directory `path` for writing, and creates it if it is not there.
    ///
    /// This handle is the one writer until it is closed; readers may come and go in any process. A store that was not closed
    /// cleanly is recovered: after a killed process in milliseconds, after a power cut in the time it takes to read the log
    /// since the last checkpoint and the index once. After a clean close opening takes the same time at every size.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = mapstone::Store::open(dir.path().join("db"))?;
    /// assert!(!store.is_read_only());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Locked`](crate::Error::Locked) while another handle writes, [`Error::NotAStore`](crate::Error::NotAStore),
    /// [`Error::Version`](crate::Error::Version), [`Error::Corrupt`](crate::Error::Corrupt),
    /// [`Error::Full`](crate::Error::Full), [`Error::Io`](crate::Error::Io).
    pub fn open(path: impl AsRef<Path>) -> Result<Store> {
        Options::new().open(path)
    }

    /// Opens the store in the directory `path` for reading, beside a writer or not. Needs no permission to write.
    ///
    /// The handle sees every commit as soon as it is published, in whichever process.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("db");
    /// let writer = mapstone::Store::open(&path)?;
    /// let reader = mapstone::Store::open_read_only(&path)?;
    /// writer.put("key", "value")?;
    /// assert_eq!(reader.get("key")?.as_deref(), Some(&b"value"[..]));
    /// assert!(reader.put("key", "other").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::NeedsRecovery`](crate::Error::NeedsRecovery) after a power cut
    /// when nobody has opened the store for writing since, and those of [`Store::open`] but `Locked` and `Full`.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Store> {
        Options::new().open_read_only(path)
    }

    pub(crate) fn open_on(disk: Arc<dyn Disk>, options: &Options) -> Result<Store> {
        Store::open_watched_on(disk, options, &mut |_| ())
    }

    /// The same, and tells how far it has come with an index that is built anew.
    pub(crate) fn open_watched_on(
        disk: Arc<dyn Disk>,
        options: &Options,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<Store> {
        let engine = Arc::new(Engine::open_watched(disk, options, watch)?);
        if options.background {
            Background::start(&engine);
            Ahead::start(&engine);
        }
        Ok(Store { handle: Arc::new(Handle { engine }) })
    }

    pub(crate) fn open_read_only_on(disk: Arc<dyn Disk>, options: &Options) -> Result<Store> {
        let engine = Arc::new(Engine::open_read_only(disk, options)?);
        Ok(Store { handle: Arc::new(Handle { engine }) })
    }

    /// Has the segment ready that comes next, as a thread of its own does in a load.
    #[cfg(any(test, feature = "sim"))]
    #[doc(hidden)]
    pub fn make_spare(&self) -> Result<()> {
        self.engine().make_spare()
    }

    #[inline]
    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    #[inline]
    pub(crate) fn engine(&self) -> &Engine {
        self.handle.engine()
    }

    #[inline]
    pub(crate) fn keyspace(&self) -> Keyspace<'_> {
        Keyspace { engine: self.engine(), table: DEFAULT_TABLE }
    }

    /// The directory of the store.
    pub fn path(&self) -> &Path {
        self.engine().path()
    }

    /// This handle was opened read-only.
    pub fn is_read_only(&self) -> bool {
        !self.engine().is_writer()
    }

    /// Position of the last commit that this handle sees.
    pub fn position(&self) -> Position {
        Position(self.engine().committed())
    }

    /// Waits until there is a commit after `position`, in any process, and returns the position of the last one; None when
    /// there is none within `timeout`.
    ///
    /// The thread sleeps, and the writer wakes it: tens of microseconds after the commit on Linux (a futex on a word that all
    /// processes share). Elsewhere, and for a process that may not write in the store's directory, it looks every millisecond.
    /// Commits are seen as soon as [`get`](Store::get) sees them, durable or not. Compaction moves the position too, which is
    /// no commit: who waits meanwhile goes on waiting. But a `position` that is so old that compaction has removed the log after
    /// it counts as passed, and so does one before a recovery, whether the content has changed or not.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use std::time::Duration;
    ///
    /// let store = mapstone::Store::open(dir.path().join("db"))?;
    /// let before = store.position();
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| store.put("key", "value"));
    ///     let after = store.wait(before, Duration::from_secs(10)).expect("readable");
    ///     assert!(after.is_some_and(|after| after > before));
    /// });
    /// assert_eq!(store.wait(store.position(), Duration::from_millis(5))?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`get`](Store::get), where a mapping is lost.
    pub fn wait(&self, position: Position, timeout: Duration) -> Result<Option<Position>> {
        Ok(self.engine().wait(position.0, timeout)?.map(Position))
    }

    /// The value of `key`, borrowed from the mapping; None if there is none. Makes no system call, takes no lock, writes no
    /// shared memory.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = mapstone::Store::open(dir.path().join("db"))?;
    /// store.put("key", "value")?;
    /// assert_eq!(&*store.get("key")?.expect("just put"), b"value");
    /// assert!(store.get("other")?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt), and [`Error::Io`](crate::Error::Io) when a segment cannot be mapped.
    #[inline]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value<'_>>> {
        self.keyspace().get(key.as_ref())
    }

    /// True if `key` has a value.
    ///
    /// # Errors
    /// As [`Store::get`].
    #[inline]
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.keyspace().contains(key.as_ref())
    }

    /// The values of many keys at one position, in their order; several times faster than one by one.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = mapstone::Store::open(dir.path().join("db"))?;
    /// store.put("a", "1")?;
    /// store.put("b", "2")?;
    /// let values = store.get_many(&["b", "x", "a"])?;
    /// assert_eq!(values[0].as_deref(), Some(&b"2"[..]));
    /// assert!(values[1].is_none());
    /// assert_eq!(values[2].as_deref(), Some(&b"1"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value<'_>>>> {
        self.keyspace().get_many(keys)
    }

    /// Gives `key` a value, as a commit of its own.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = mapstone::Store::open(dir.path().join("db"))?;
    /// store.put(b"key", [1, 2, 3])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) for a key above 65,535 bytes or a value above 4 GiB - 1, and those of
    /// [`Batch::commit_with`].
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.keyspace().put(key.as_ref(), value.as_ref())
    }

    /// Deletes `key`, as a commit of its own; false if it had no value, in which case nothing is written.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = mapstone::Store::open(dir.path().join("db"))?;
    /// store.put("key", "value")?;
    /// assert!(store.delete("key")?);
    /// assert!(!store.delete("key")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.keyspace().delete(key.as_ref())
    }

    /// Gives `key` a value of `len` bytes that `fill` writes straight into the mapped log; they are zero before.
    ///
    /// `fill` runs under the writer lock: it must not write to this store. If it panics nothing is committed.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = mapstone::Store::open(dir.path().join("db"))?;
    /// store.put_with("squares", 100, |bytes| {
    ///     for (i, byte) in (0u8..10).zip(bytes) {
    ///         *byte = i * i;
    ///     }
    /// })?;
    /// assert_eq!(store.get("squares")?.expect("just put")[9], 81);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        self.keyspace().put_with(key.as_ref(), len, fill)
    }

    /// Gives `key` the bytes of `value`, to be read with [`Value::view`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = mapstone::Store::open(dir.path().join("db"))?;
    /// store.put_pod("counter", &7u64)?;
    /// assert_eq!(*store.get("counter")?.expect("just put").view::<u64>()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::put`], and [`Error::View`](crate::Error::View) for a type that needs an alignment above 16.
    pub fn put_pod<T: NoUninit>(&self, key: impl AsRef<[u8]>, value: &T) -> Result<()> {
        self.keyspace().put_slice(key.as_ref(), std::slice::from_ref(value))
    }

    /// Gives `key` the bytes of `values`, to be read with [`Value::view_slice`].
    ///
    /// # Errors
    /// As [`Store::put_pod`].
    pub fn put_slice<T: NoUninit>(&self, key: impl AsRef<[u8]>, values: &[T]) -> Result<()> {
        self.keyspace().put_slice(key.as_ref(), values)
    }

    /// An empty batch.
    pub fn batch(&self) -> Batch {
        Batch::new(Arc::clone(&self.handle))
    }

    /// Makes everything committed so far durable, and returns up to where that is.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = mapstone::Store::open(dir.path().join("db"))?;
    /// store.put("key", "value")?;
    /// assert_eq!(store.sync()?, store.position());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when the sync fails and [`Error::Poisoned`](crate::Error::Poisoned) ever after;
    /// [`Error::ReadOnly`](crate::Error::ReadOnly).
    pub fn sync(&self) -> Result<Position> {
        self.engine().sync().map(Position)
    }

    /// Makes everything committed so far durable, index included, so that recovery after a power cut starts here.
    ///
    /// Checkpoints are made by themselves; this is for those who want one at a given moment.
    ///
    /// # Errors
    /// As [`Store::sync`], and [`Error::Full`](crate::Error::Full), after which the checkpoint before stays in force.
    pub fn checkpoint(&self) -> Result<Position> {
        self.engine().checkpoint().map(Position)
    }

    /// The store as of the last commit, to be read for as long as one likes.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = mapstone::Store::open(dir.path().join("db"))?;
    /// store.put("key", "old")?;
    /// let snapshot = store.snapshot()?;
    /// store.put("key", "new")?;
    /// assert_eq!(snapshot.get("key")?.as_deref(), Some(&b"old"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when its position cannot be marked for other processes to see.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::hold(&self.handle, DEFAULT_TABLE)
    }

    /// The table `name`, created if need be: a keyspace of its own. Names have 1 to 255 bytes.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = mapstone::Store::open(dir.path().join("db"))?;
    /// let users = store.table("users")?;
    /// users.put("7", "Ada")?;
    /// assert!(store.get("7")?.is_none());
    /// assert_eq!(store.tables()?, ["users"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::put`]; through a read-only handle [`Error::NoSuchTable`](crate::Error::NoSuchTable) if it does not exist.
    pub fn table(&self, name: &str) -> Result<Table> {
        let id = self.engine().open_table(name)?;
        Ok(Table::new(Arc::clone(&self.handle), id, name))
    }

    /// Names of all named tables, sorted.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn tables(&self) -> Result<Vec<String>> {
        let names = self.engine().fresh(|at| self.engine().table_names(at).map(Some));
        Ok(names?.unwrap_or_default())
    }

    /// Drops a table with all its keys, in one commit; false if there is none of that name.
    ///
    /// Visits every key of the store once, and writes a tombstone for each key of the table. Snapshots still see the table;
    /// a [`Table`] of it that is still around fails to write.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn drop_table(&self, name: &str) -> Result<bool> {
        self.engine().drop_table(name)
    }

    /// Compacts the log, and the index with it: what is live moves out of the segments that hold much that is dead, and these
    /// are removed. Returns when there is nothing left to win at a sensible price, or nothing but what a snapshot holds.
    ///
    /// `progress` is told after each step what has been done so far, and stops the compaction by returning false; what was
    /// done stays done. Others read and write meanwhile. Space that readers have mapped comes back when they let go of it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = mapstone::Store::open(dir.path().join("db"))?;
    /// store.put("key", "value")?;
    /// let done = store.compact(|so_far| so_far.read < 1 << 30)?;
    /// println!("{} bytes moved, {} bytes freed", done.moved, done.freed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::put`]. [`Error::Full`](crate::Error::Full) when there is no space to move to: the store is as usable as
    /// before, and compaction goes on when there is. How much it needs: nothing for segments in which nothing is alive any
    /// more; for the others what is left of the last segment, or else one segment
    /// ([`Options::segment_size`](crate::Options::segment_size)), and what goes makes room for the next.
    pub fn compact(&self, mut progress: impl FnMut(&Compaction) -> bool) -> Result<Compaction> {
        let mut total = Compaction::default();
        loop {
            let step = self.engine().compact_step(Effort::Thorough, 1 << 20)?;
            total = total.and(step);
            if !progress(&total) || total.done {
                return Ok(total);
            }
        }
    }

    /// One step of [`Store::compact`], which reads about `budget` bytes of the log. There may be more to do unless `done` is set.
    ///
    /// # Errors
    /// As [`Store::compact`].
    pub fn compact_step(&self, budget: u64) -> Result<Compaction> {
        self.engine().compact_step(Effort::Thorough, budget)
    }

    /// The positions that snapshots hold, of all processes. What a reader there needs is not reclaimed.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn holders(&self) -> Result<Vec<Holder>> {
        self.engine().holders()
    }

    /// Figures about the store as of the last commit.
    ///
    /// # Errors
    /// As [`Store::get`], and [`Error::Io`](crate::Error::Io) when the files cannot be listed.
    pub fn stats(&self) -> Result<Stats> {
        self.engine().stats()
    }

    /// Figures about each segment of the log, oldest first.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when the files cannot be listed.
    pub fn segments(&self) -> Result<Vec<SegmentStats>> {
        self.engine().segments()
    }

    /// Reads every record, index page and checkpoint, and says exactly what is wrong where. Takes as long as reading all
    /// files; writes through this handle wait meanwhile.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = mapstone::Store::open(dir.path().join("db"))?;
    /// store.put("key", "value")?;
    /// let verification = store.verify()?;
    /// assert!(verification.is_ok(), "{:?}", verification.damage);
    /// assert_eq!(verification.entries, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Damage is part of the result and no error; [`Error::Io`](crate::Error::Io) when a file cannot be read.
    pub fn verify(&self) -> Result<Verification> {
        self.engine().verify()
    }

    /// Closes the store and reports what `drop` would swallow. If clones, tables, batches or snapshots are still around, they
    /// keep it open, and the last of them closes it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let store = mapstone::Store::open(dir.path().join("db"))?;
    /// store.put("key", "value")?;
    /// store.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::checkpoint`]. The next open recovers, and finds every commit that was durable.
    pub fn close(self) -> Result<()> {
        match Arc::into_inner(self.handle) {
            Some(handle) => handle.engine.close(),
            None => Ok(()),
        }
    }
}

impl Options {
    /// Opens the store at `path` for writing; see [`Store::open`].
    ///
    /// # Errors
    /// As [`Store::open`], and [`Error::InvalidOption`](crate::Error::InvalidOption).
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Store> {
        self.check()?;
        Store::open_on(crate::sys::open_real(path.as_ref(), self.wishes()), self)
    }

    /// Opens the store at `path` read-only; see [`Store::open_read_only`].
    ///
    /// # Errors
    /// As [`Store::open_read_only`].
    pub fn open_read_only(&self, path: impl AsRef<Path>) -> Result<Store> {
        Store::open_read_only_on(crate::sys::open_real(path.as_ref(), self.wishes()), self)
    }

    /// Opens for writing the store that a simulated disk holds.
    #[cfg(all(any(test, feature = "sim"), not(all(test, loom))))]
    #[doc(hidden)]
    pub fn open_sim(&self, disk: &crate::sys::sim::SimDisk) -> Result<Store> {
        self.check()?;
        Store::open_on(disk.disk(), self)
    }

    /// Opens read-only the store that a simulated disk holds.
    #[cfg(all(any(test, feature = "sim"), not(all(test, loom))))]
    #[doc(hidden)]
    pub fn open_read_only_sim(&self, disk: &crate::sys::sim::SimDisk) -> Result<Store> {
        Store::open_read_only_on(disk.disk(), self)
    }
}
